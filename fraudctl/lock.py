"""One lock per stack and machine: a second command that changes things waits a little, then says who holds it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from fraudctl.atomic import private_folder
from fraudctl.errors import BadConfig, Refused

_WAIT_SECONDS: Final = 5.0


@contextmanager
def stack_lock(path: Path, stack: str, *, wait: float = _WAIT_SECONDS) -> Iterator[None]:
    """Hold the lock; raises `Refused` naming the holder's pid after `wait` seconds."""
    import filelock

    try:
        private_folder(path.parent)
        lock = filelock.FileLock(path, timeout=wait, mode=0o600)
        lock.acquire()
    except filelock.Timeout as error:
        raise Refused(
            f"stack {stack} is locked: another fraudctl (pid {_holder(path)}) is changing it",
            hint="wait for it to end, then try again",
        ) from error
    except OSError as error:
        raise BadConfig(
            f"state folder {path.parent}: {error.strerror or error}", hint="set FRAUDCTL_HOME to a folder you can write"
        ) from error
    try:
        with suppress(OSError):  # a full disk: `teardown` must still run, and the lock is held without it
            path.write_text(str(os.getpid()), encoding="ascii")
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip() or "unknown"
    except OSError:
        return "unknown"
