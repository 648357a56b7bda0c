"""Files named on the command line, ``-`` for standard input."""

import io
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from fraudctl.errors import BadConfig


@contextmanager
def opened(name: str) -> Iterator[io.BufferedReader]:
    """Open a file for reading bytes; raises `BadConfig` when it cannot be read."""
    if name == "-":
        yield buffered(sys.stdin.buffer)
        return
    try:
        stream = Path(name).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise BadConfig(f"file {name}: {error.strerror}", hint="name a readable file, or - for stdin") from error
    with stream:
        yield stream


def buffered(stream: BinaryIO) -> io.BufferedReader:
    """Return a stream that can be peeked into."""
    return stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", stream))


@contextmanager
def rewindable(stream: io.BufferedReader) -> Iterator[io.BufferedReader]:
    """Yield a stream that can be read twice: the same one, or for a pipe a temporary copy on disk."""
    if stream.seekable():
        yield stream
        return
    import shutil  # not for `--help`: they take milliseconds
    import tempfile

    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(stream, copy)
        copy.seek(0)
        yield buffered(cast("BinaryIO", copy))


def reading(stream: io.BufferedReader) -> Callable[[], tuple[int, int] | None]:
    """Return a function for the bytes read and in total; it returns None for a stream without a size, like a pipe."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, io.UnsupportedOperation):
        return lambda: None
    if not stat.S_ISREG(status.st_mode):
        return lambda: None
    return lambda: (stream.tell(), status.st_size)
