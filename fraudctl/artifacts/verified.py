"""Which cached files were verified, so that a warm start hashes nothing: ``verified.json`` beside them."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from fraudctl.artifacts.pins import Artifact

_FILE: Final = "verified.json"


@dataclass(slots=True)
class Verified:
    """Path → size, modification time in nanoseconds and sha256 of every file whose hash was once computed."""

    folder: Path
    entries: dict[str, tuple[int, int, str]]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the index; one that is missing or damaged counts as empty, and everything is hashed again."""
        try:
            data = json.loads((folder / _FILE).read_bytes())
            return cls(folder, {path: (int(size), int(mtime), str(sha)) for path, (size, mtime, sha) in data.items()})
        except (OSError, ValueError, TypeError, AttributeError):
            return cls(folder, {})

    def holds(self, artifact: Artifact) -> bool:
        """Say whether the file is there, unchanged since it was found to be the pinned one."""
        size, mtime, sha256 = self.entries.get(str(artifact.cache_path), (0, 0, ""))
        if sha256 != artifact.sha256:
            return False
        try:
            found = (self.folder / artifact.cache_path).stat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (size, mtime)

    def add(self, artifact: Artifact) -> None:
        """Note that the file is the pinned one now."""
        found = (self.folder / artifact.cache_path).stat()
        self.entries[str(artifact.cache_path)] = (found.st_size, found.st_mtime_ns, artifact.sha256)

    def drop(self, artifact: Artifact) -> None:
        """Forget a file that is not the pinned one."""
        self.entries.pop(str(artifact.cache_path), None)

    def save(self) -> None:
        """Replace the index by this one in one step."""
        partial = self.folder / f".{_FILE}"
        partial.write_text(json.dumps(self.entries, indent=0, sort_keys=True), encoding="utf-8")
        partial.replace(self.folder / _FILE)


def sha256_of(path: Path) -> str:
    """Give the file's sha256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
