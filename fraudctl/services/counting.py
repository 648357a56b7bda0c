"""Counting what goes by, shown a few times a second."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from fraudctl.target import Event, Phase

T = TypeVar("T")
Done = Callable[[], tuple[int, int] | None]

_SHOW_SECONDS: Final = 0.1
_LOOK_EVERY: Final = 256  # looking at the clock for each of a million would show


class Counter:
    """Turns a stream's items into progress events of the component `what`."""

    def __init__(
        self, what: str, show: Callable[[Event], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Keep where to show; `clock` gives seconds."""
        self._what, self._show, self._clock = what, show, clock
        self._started = clock()

    @property
    def seconds(self) -> float:
        """Seconds since it was made."""
        return self._clock() - self._started

    def over(self, items: Iterable[T], done: Done = lambda: None) -> Iterator[T]:
        """Yield the items and show how many there were; `done` gives how many bytes of how many are read, if known."""
        self._show(Event(self._what, Phase.STARTED))
        shown = self._clock()
        for number, item in enumerate(items, 1):
            yield item
            if number % _LOOK_EVERY and number > _LOOK_EVERY:
                continue
            if (now := self._clock()) - shown > _SHOW_SECONDS:
                shown = now
                so_far, total = done() or (None, None)
                self._show(Event(self._what, Phase.PROGRESS, f"{number:,} so far", so_far, total))

    def finish(self, text: str) -> None:
        """Show how it ended."""
        self._show(Event(self._what, Phase.DONE, text))
