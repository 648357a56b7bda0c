"""Ctrl-C at a moment that suits the work: operations that say what goes on without them, streams that stop cleanly."""

import signal
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")


def interruptible(source: Generator[T, None, None]) -> Iterator[T]:
    """Yield the steps of `source`; an interrupt while a step is shown is raised inside `source` when it continues.

    Steps that `source` yields in response are passed on before KeyboardInterrupt is raised. A second Ctrl-C interrupts
    at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield from source
        return
    pending = working = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal pending
        if pending or working:
            raise KeyboardInterrupt
        pending = True

    before = signal.signal(signal.SIGINT, on_signal)
    thrown = False
    try:
        while True:
            working = True
            try:
                if pending and not thrown:
                    thrown = True
                    item = source.throw(KeyboardInterrupt())
                else:
                    item = next(source)
            except StopIteration:
                return
            working = False
            yield item
    finally:
        signal.signal(signal.SIGINT, before)


class GracefulStop:
    """Ends an iterator at the first Ctrl-C, so that what was done can be counted; a second one interrupts at once."""

    def __init__(self) -> None:
        """Start without a request to stop."""
        self.requested = False
        self._waiting = False

    def items(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items until Ctrl-C, which also ends the wait for the next one."""
        source = iter(items)
        while not self.requested:
            self._waiting = True
            try:
                item = next(source)
            except StopIteration:
                return
            except KeyboardInterrupt:
                self.requested = True
                return
            finally:
                self._waiting = False
            yield item

    @contextmanager
    def on_interrupt(self) -> Iterator[None]:
        """Handle SIGINT inside the block; restore the previous handler afterwards."""
        before = signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested or self._waiting:
            self.requested = True
            raise KeyboardInterrupt
        self.requested = True
