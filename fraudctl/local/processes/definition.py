"""What a program of the stack is started with, written to disk for `launch`."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fraudctl.atomic import atomic_write, private_folder
from fraudctl.errors import OperationFailed
from fraudctl.local.processes.paths import StackPaths


@dataclass(frozen=True, slots=True)
class Definition:
    """One program: its command line, and the files it reads by their names in the stack's config folder.

    `set_up` writes what else it needs before a start; `inputs` is the part of that which counts for the digest.
    """

    name: str
    arguments: tuple[str, ...]
    folder: Path
    files: Mapping[str, str] = field(default_factory=dict)
    inputs: str = ""
    set_up: Callable[[], object] = lambda: None

    @property
    def digest(self) -> str:
        """A digest of everything: a program that was started with another one has to be restarted."""
        what = [self.arguments, str(self.folder), dict(self.files), self.inputs]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]

    def write(self, paths: StackPaths) -> None:
        """Write the program's files and its description for `launch`; raises `OperationFailed`."""
        description = {"arguments": list(self.arguments), "folder": str(self.folder)}
        try:
            private_folder(self.folder)
            self.set_up()
            for name, text in {**self.files, f"{self.name}.json": json.dumps(description, indent=2)}.items():
                atomic_write(paths.config / name, text.encode())
        except OSError as error:
            raise OperationFailed(
                f"{self.name}: {error.filename}: {error.strerror}",
                hint="remove what is in the way or make room, then run `fraudctl deploy` again",
            ) from error


def last_error(log: Path) -> str:
    """Return the last line of a log that names an error, else the last line that says anything."""
    try:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-50:]]
    except OSError:
        return "without a log"
    telling = [line for line in lines if line and not line.startswith("at ")]
    causes = [line for line in telling if "Exception" in line or "Error" in line or "ERROR" in line]
    return (causes or telling or ["without a word"])[-1][:300]
