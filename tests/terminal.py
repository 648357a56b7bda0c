"""A program on a pseudo-terminal: what it writes there, what is typed into it, how wide it is."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

# Takes the terminal on standard input for its own, as a shell's child has it: Ctrl-C and a new size become signals.
_OWN_TERMINAL = (
    "import fcntl, os, sys, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\nos.execv(sys.argv[1], sys.argv[1:])"
)
CTRL_C = b"\x03"


class Terminal:
    """The side of the person: `output` is all that has been read so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", side: int) -> None:
        """Store the program and this side of its terminal."""
        self._process, self._side = process, side
        self.output = b""

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._side, keys)

    def resize(self, columns: int, lines: int = 24) -> None:
        """Change the size, which the program is told by a signal."""
        _resize(self._side, columns, lines)

    def read_until(self, text: bytes, seconds: float = 60.0) -> bytes:
        """Return what was written from the last such call on, up to the line with this text."""
        begin = len(self.output)
        deadline = time.monotonic() + seconds
        while text not in self.output[begin:] or not self.output.endswith(b"\n"):
            left = deadline - time.monotonic()
            assert left > 0, f"not in {seconds:g} s: {text!r} in {self.output[begin:]!r}"
            assert self._some(left), f"ended without {text!r}: {self.output[begin:]!r}"
        return self.output[begin:]

    def end(self, seconds: float = 60.0) -> int:
        """Read to the end and return the exit code."""
        deadline = time.monotonic() + seconds
        while self._some(max(0.0, deadline - time.monotonic())):
            assert time.monotonic() < deadline, f"still runs after {seconds:g} s: {self.output!r}"
        return self._process.wait(seconds)

    def _some(self, seconds: float) -> bool:
        """Read what comes within this time; False at the end."""
        if not select.select([self._side], [], [], seconds)[0]:
            return True
        try:
            some = os.read(self._side, 65536)
        except OSError:  # how Linux says that nobody has the other side any more
            return False
        self.output += some
        return bool(some)


def _resize(side: int, columns: int, lines: int) -> None:
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


@contextmanager
def on_terminal(command: Sequence[str], environment: Mapping[str, str], columns: int = 100) -> Iterator[Terminal]:
    """Run a program on a terminal of its own until the block ends; it is killed if it runs still."""
    ours, its = pty.openpty()
    _resize(ours, columns, 24)
    process = subprocess.Popen(
        [sys.executable, "-c", _OWN_TERMINAL, *command],
        stdin=its,
        stdout=its,
        stderr=its,
        env=environment,
        start_new_session=True,
    )
    os.close(its)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
