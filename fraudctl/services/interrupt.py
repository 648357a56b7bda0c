"""Ctrl-C that ends a stream of work between two pieces of it, so that what was done can be counted."""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")


class Brake:
    """Ends the iterator it wraps at the first Ctrl-C; the second one interrupts as usual."""

    def __init__(self) -> None:
        """Start released."""
        self.pulled = False
        self._waiting = False

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items until Ctrl-C, also while the next one is waited for."""
        source = iter(items)
        while not self.pulled:
            self._waiting = True
            try:
                item = next(source)
            except StopIteration:
                return
            except KeyboardInterrupt:
                self.pulled = True
                return
            finally:
                self._waiting = False
            yield item

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Listen for Ctrl-C."""
        before = signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.pulled or self._waiting:
            self.pulled = True
            raise KeyboardInterrupt
        self.pulled = True
