"""Where seals lie: a folder, a bucket, or the file that `audit export --evidence` has written."""

from pathlib import Path
from typing import Protocol

from fraudctl.atomic import create_file, private_folder
from fraudctl.errors import BadConfig, NotDeployed


class Archive(Protocol):
    """Files by their names (``00000/20261127T100000Z.json``). None of them is ever replaced."""

    @property
    def place(self) -> str:
        """Where it is, as people write it."""

    def names(self) -> list[str]:
        """Return the names in their order; an archive that does not exist yet is empty."""

    def read(self, name: str) -> bytes:
        """Return a file; raises `NotDeployed` when there is no such file."""

    def put(self, name: str, data: bytes) -> bool:
        """Write a file that appears whole; False, and nothing written, when one of this name is there."""


class FolderArchive:
    """An archive in a folder."""

    def __init__(self, folder: Path) -> None:
        """Store the folder; no I/O."""
        self._folder = folder

    @property
    def place(self) -> str:
        """The folder's path."""
        return str(self._folder)

    def names(self) -> list[str]:
        """Return the names of all files in it; those with a dot in front are no part of it."""
        if self._folder.exists() and not self._folder.is_dir():
            raise BadConfig(f"{self.place}: not a folder", hint="name a folder, or s3://BUCKET/PREFIX")
        found = (path.relative_to(self._folder) for path in self._folder.rglob("*") if path.is_file())
        return sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError as error:
            raise NotDeployed(f"{self.place}/{name}: there is no such file", hint="is it the right folder?") from error

    def put(self, name: str, data: bytes) -> bool:
        """Write a file, durably, unless it is there."""
        path = self._folder / name
        private_folder(path.parent)
        return create_file(path, data)
