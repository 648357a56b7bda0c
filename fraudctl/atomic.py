"""Files that appear whole or not at all, and folders, for the user alone."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a path in the target's folder to write to; it becomes the target in one step if the block ends well."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def atomic_write(target: Path, data: bytes, *, durable: bool = False) -> None:
    """Replace a file's content in one step: a reader, or a crash, finds the old content or the new, never half of it.

    With `durable` the content is on disk when this returns; without, a power cut may still lose it. Raises OSError.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with atomic_file(target) as partial, os.fdopen(os.open(partial, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def create_file(target: Path, data: bytes) -> bool:
    """Write a new file in one step, durably; False, and nothing changed, when one is there. Raises OSError.

    Of several that try at the same time one succeeds. A hard link makes it so, since it appears with its content; where
    the file system has none, the file is opened so that it must be new, and a crash may leave a part of it.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    partial = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        partial.unlink(missing_ok=True)
        _write_new(partial, data, flags)
        try:
            os.link(partial, target)
        except FileExistsError:
            return False
        except OSError:
            try:
                _write_new(target, data, flags)
            except FileExistsError:
                return False
    finally:
        partial.unlink(missing_ok=True)
    return True


def _write_new(path: Path, data: bytes, flags: int) -> None:
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def private_folder(folder: Path) -> None:
    """Create a folder and its missing parents with mode 0700; what exists stays as it is. Raises OSError.

    Not ``mkdir(parents=True, mode=0o700)``, which gives that mode to the last one only.
    """
    for path in (*reversed(folder.parents), folder):
        path.mkdir(mode=0o700, exist_ok=True)
