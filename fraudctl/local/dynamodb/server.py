"""DynamoDB Local as one process on loopback, by a launcher of our own: its main class listens on every interface."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fraudctl.artifacts.jars import JarBuild
from fraudctl.local.processes import jvm

LOCK: Final = Path(__file__).with_name("dynamodb.lock")
_SOURCES: Final = Path(__file__).with_name("java_src")
_MAIN: Final = "io.fraudctl.local.DynamoDb"
_HEAP_MB: Final = (32, 256)


def launcher(ecj: Path, classpath: Sequence[Path], out_dir: Path) -> JarBuild:
    """Describe the launcher's jar; `classpath` is that of `LOCK`."""
    return JarBuild("dynamodb-launcher", _SOURCES, tuple(classpath), ecj, out_dir)


def command(
    java: Path, launcher_jar: Path, classpath: Sequence[Path], port: int, data_dir: Path, tmp: Path
) -> list[str]:
    """Give the command line; it listens on 127.0.0.1:`port`.

    `data_dir` and `tmp` must exist. SQLite's native library lies in DynamoDB Local's own jar, for Linux and macOS on
    x86-64 and ARM, and is unpacked into `tmp` at each start.
    """
    return jvm.command(
        java,
        (launcher_jar, *classpath),
        _MAIN,
        [str(port), str(data_dir)],
        heap_mb=_HEAP_MB,
        tmp=tmp,
        level="warn",
    )
