"""DynamoDB Local as one process on loopback, by a launcher of our own: its main class listens on every interface."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fraudctl.atomic import private_folder
from fraudctl.local.processes import jvm
from fraudctl.local.processes.definition import Definition
from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.state import StackState
from fraudctl.local.processes.tools import Tools

_MAIN: Final = "io.fraudctl.local.DynamoDb"
# For each page of a scan it loads all that is left of the table, 2 to 4 kB a row, and ends when that is too
# much. Nothing of fraudctl scans, but people do.
_HEAP_MB: Final = (32, 1024)


def command(java: Path, local_jar: Path, classpath: Sequence[Path], port: int, data_dir: Path, tmp: Path) -> list[str]:
    """Return the command line; it listens on 127.0.0.1:`port`.

    `data_dir` and `tmp` must exist. SQLite's native library lies in DynamoDB Local's own jar, for Linux and macOS on
    x86-64 and ARM, and is unpacked into `tmp` at each start.
    """
    return jvm.command(
        java,
        (local_jar, *classpath),
        _MAIN,
        [str(port), str(data_dir)],
        heap_mb=_HEAP_MB,
        tmp=tmp,
        level="warn",
    )


def definition(paths: StackPaths, state: StackState, tools: Tools) -> Definition:
    """Return what DynamoDB Local is started with."""
    data, temporary = paths.data / "dynamodb", paths.temporary("dynamodb")
    line = command(tools.java, tools.local_jar, tools.dynamodb, state.ports["dynamodb"], data, temporary)
    return Definition("dynamodb", tuple(line), temporary, set_up=lambda: private_folder(data))
