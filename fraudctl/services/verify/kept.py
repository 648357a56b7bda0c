"""Where a run keeps how far it has come, so that it can go on after an interruption."""

import hashlib
import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fraudctl.atomic import private_folder
from fraudctl.errors import BadConfig


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, as it was typed: a run goes on only with the same."""

    since: str | None = None
    until: str | None = None
    by: str | None = None
    follow: bool = False

    def words(self) -> list[str]:
        """Return the options again, as arguments of a command."""
        pairs = (("--since", self.since), ("--until", self.until), ("--by", self.by))
        named = [word for name, value in pairs if value is not None for word in (name, value)]
        return [*named, *(["--follow"] if self.follow else [])]

    def command(self, *more: str) -> str:
        """Return the command that goes on."""
        return "fraudctl audit verify " + shlex.join([*self.words(), *more, "--resume"])

    def file(self, folder: Path) -> Path:
        """Return the file of this question."""
        digest = hashlib.sha256(json.dumps(self.words()).encode()).hexdigest()[:12]
        return folder / f"verify-{digest}.sqlite"


@contextmanager
def kept(
    folder: Path, question: Question, *, resume: bool, note: Callable[[str], None] = lambda _: None
) -> Iterator[Path | None]:
    """Yield the question's file, a new one unless this is to `resume`; None, and a note, where none can be kept.

    Raises `BadConfig` when there is nothing to resume.
    """
    import filelock

    file = question.file(folder)
    if resume and not file.is_file():
        words = question.words()
        raise BadConfig(
            "--resume: no such run was interrupted",
            hint=f"begin it: `{shlex.join(['fraudctl', 'audit', 'verify', *words])}`",
        )
    lock = filelock.FileLock(file.with_suffix(".lock"), timeout=0, mode=0o600)
    try:
        private_folder(folder)
        lock.acquire()
    except (filelock.Timeout, OSError) as error:
        why = "the same runs already" if isinstance(error, filelock.Timeout) else str(error)
        if resume:
            raise BadConfig(f"--resume: {why}", hint="wait until it has ended") from error
        note(f"This cannot be resumed after an interruption: {why}.")
        yield None
        return
    try:
        if not resume:
            forget(file)
        yield file
    finally:
        lock.release()


def forget(file: Path) -> None:
    """Remove a question's file."""
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            file.with_name(file.name + suffix).unlink()
