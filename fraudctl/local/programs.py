"""The stack's programs: what each is started with, as pure functions of folders, ports and tools."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fraudctl.errors import OperationFailed
from fraudctl.local.flink.application import FlinkFolders
from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.ports import LOOPBACK
from fraudctl.local.processes.supervisor import Program

NAMES: Final = ("kafka", "dynamodb", "lambda", "flink")
PORTS: Final = ("kafka", "controller", "dynamodb", "lambda", "flink")
HOLDS: Final[Mapping[str, str]] = {
    "kafka": "one broker, four topics",
    "dynamodb": "DynamoDB Local with the audit table",
    "lambda": "the three functions, their schedule and event source mapping",
    "flink": "the detection",
}
SUPERVISED: Final = (
    Program("kafka", stop_seconds=20, priority=10),
    Program("dynamodb", priority=10),
    Program("lambda", priority=20),
    # Stop with savepoint ends the JVM with exit code 0: that is no reason to start it again.
    Program("flink", stop_seconds=20, priority=20, restart_on_success=False),
)


@dataclass(frozen=True, slots=True)
class Definition:
    """One program: its command line, and the files it reads by their names in the stack's config folder.

    `prepare` writes what else it needs before a start; `inputs` is the part of that which counts for the digest.
    """

    name: str
    arguments: tuple[str, ...]
    folder: Path
    files: Mapping[str, str] = field(default_factory=dict)
    inputs: str = ""
    prepare: Callable[[], object] = lambda: None

    @property
    def digest(self) -> str:
        """Give a digest of everything: what was started with another one has to be restarted."""
        what = [self.arguments, str(self.folder), dict(self.files), self.inputs]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]

    def write(self, paths: StackPaths) -> None:
        """Write the program's files and its description for `launch`; raises `OperationFailed`."""
        description = {"arguments": list(self.arguments), "folder": str(self.folder)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.prepare()
            for name, text in {**self.files, f"{self.name}.json": json.dumps(description, indent=2)}.items():
                (paths.config / name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise OperationFailed(
                f"{self.name}: {error.filename}: {error.strerror}",
                hint="remove what is in the way or make room, then run `fraudctl deploy` again",
            ) from error


def bootstrap(ports: Mapping[str, int]) -> str:
    """Give Kafka's bootstrap servers."""
    return f"{LOOPBACK}:{ports['kafka']}"


def address(name: str, port: int) -> str:
    """Give a component's address for people: a URL, or host:port for Kafka."""
    return f"{LOOPBACK}:{port}" if name == "kafka" else f"http://{LOOPBACK}:{port}"


def table_name(stack: str) -> str:
    """Give the audit table's name."""
    return f"{stack}-audit"


def function_name(stack: str, name: str) -> str:
    """Give a function's full name."""
    return f"{stack}-{name}"


def flink_folders(paths: StackPaths) -> FlinkFolders:
    """Give where the application's state lies."""
    data = paths.data / "flink"
    return FlinkFolders(data / "checkpoints", data / "savepoints", data / "fresh")


def stopped_marker(paths: StackPaths, name: str) -> Path:
    """Give the file that says: stopped on purpose, a repair leaves it so."""
    return paths.data / f"{name}.stopped"


def last_words(log: Path) -> str:
    """Give a log's last line that says anything, for an error message."""
    try:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-50:]]
    except OSError:
        return "without a log"
    telling = [line for line in lines if line and not line.startswith("at ")]
    causes = [line for line in telling if "Exception" in line or "Error" in line or "ERROR" in line]
    return (causes or telling or ["without a word"])[-1][:300]
