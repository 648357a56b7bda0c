"""What is pinned: artifacts by Maven coordinates, sha256 and size, read from lock files.

A lock file has one artifact a line, ``group:artifact:version[:classifier[:extension]] sha256 bytes``; ``#`` starts a
comment. The extension is ``jar`` unless it is given.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Self

from fraudctl.errors import BadConfig

# Everything that may become part of a path: no separator, and no part that is only dots.
_PART: Final = r"(?!\.+(?:[:\s]|$))[A-Za-z0-9._-]+"
_LINE: Final = re.compile(
    rf"(?P<coordinates>{_PART}:{_PART}:{_PART}(?::(?:{_PART})?(?::{_PART})?)?)"
    r" (?P<sha256>[0-9a-f]{64}) (?P<size>\d+)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of a Maven repository. `coordinates` as in a lock file, `sha256` in lower-case hex, `size` in bytes."""

    coordinates: str
    sha256: str
    size: int

    @property
    def file_name(self) -> str:
        """The file's name, the same in a repository and in the cache."""
        _, name, version, classifier, extension = self._parts()
        return f"{name}-{version}{'-' if classifier else ''}{classifier}.{extension}"

    @property
    def cache_path(self) -> PurePosixPath:
        """Where it lies below the cache's ``jars``."""
        group, name, version, _, _ = self._parts()
        return PurePosixPath(group, name, version, self.file_name)

    @property
    def repository_path(self) -> PurePosixPath:
        """Where it lies below a repository's address (Maven's "default" layout)."""
        group, name, version, _, _ = self._parts()
        return PurePosixPath(*group.split("."), name, version, self.file_name)

    def _parts(self) -> tuple[str, str, str, str, str]:
        group, name, version, *rest = self.coordinates.split(":")
        return group, name, version, rest[0] if rest else "", rest[1] if len(rest) > 1 else "jar"


@dataclass(frozen=True, slots=True)
class Lock:
    """The artifacts of one lock file, in its order."""

    artifacts: tuple[Artifact, ...]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a lock file; raises `BadConfig` naming the file and the line that is wrong."""
        matches = locked_lines(path, _LINE, "coordinates sha256 bytes")
        artifacts = (Artifact(match["coordinates"], match["sha256"], int(match["size"])) for match in matches)
        return cls(tuple(artifacts))


def locked_lines(path: Path, pattern: re.Pattern[str], form: str) -> Iterator[re.Match[str]]:
    """Yield the match of every line that is more than a comment; raises `BadConfig` naming one that is not `form`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"lock file {path}: {error}", hint="install fraudctl again") from error
    for number, line in enumerate(lines, start=1):
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        match = pattern.fullmatch(text)
        if match is None:
            raise BadConfig(f"lock file {path}: line {number} is not {form!r}", hint="install fraudctl again")
        yield match


def distinct(locks: Iterable[Lock]) -> list[Artifact]:
    """Return every artifact of the locks once, in order of first appearance."""
    return list(dict.fromkeys(artifact for lock in locks for artifact in lock.artifacts))
