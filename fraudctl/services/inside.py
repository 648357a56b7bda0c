"""Ctrl-C that reaches the work also when it comes between two of its steps, so that the work can say what goes on."""

import signal
import threading
from collections.abc import Generator, Iterator
from types import FrameType
from typing import TypeVar

T = TypeVar("T")


def interruptible(source: Generator[T, None, None]) -> Iterator[T]:
    """Yield what `source` does; an interrupt while a step is shown is raised inside `source`, at its next turn.

    What it yields in answer is passed on before the interrupt goes its way. A second Ctrl-C does not wait.
    """
    if threading.current_thread() is not threading.main_thread():
        yield from source
        return
    late = waiting = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal late
        if late or waiting:
            raise KeyboardInterrupt
        late = True

    before = signal.signal(signal.SIGINT, on_signal)
    thrown = False
    try:
        while True:
            waiting = True
            try:
                if late and not thrown:
                    thrown = True
                    item = source.throw(KeyboardInterrupt())
                else:
                    item = next(source)
            except StopIteration:
                return
            waiting = False
            yield item
    finally:
        signal.signal(signal.SIGINT, before)
