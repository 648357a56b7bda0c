"""Time as a collaborator, and the one loop that asks again and again until something is so."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Self

from fraudctl.errors import TimedOut

_GROWTH: Final = 1.5
_EVERY_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Clock:
    """`now` gives epoch seconds, `sleep` waits for some, `monotonic` gives seconds that never go back."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic

    def poll(self, every: float, *, longest: float | None = None, within: float | None = None) -> "Poll":
        """Return the turns of a loop that asks at once, then every `every` seconds, until `within` seconds are over.

        With `longest`, each pause is half as long again as the one before, up to `longest` seconds. The last turn comes
        at or after the deadline, so a condition that is met in time is always seen.
        """
        return Poll(self, every, longest or every, within)

    def until(self, ready: Callable[[], bool], *, within: float, what: str, hint: str) -> Iterator[None]:
        """Yield between tries until `ready` returns True.

        Raises:
            TimedOut: `within` seconds have passed; `what` begins the message.
        """
        for _ in self.poll(_EVERY_SECONDS, within=within):
            if ready():
                return
            yield
        raise TimedOut(f"{what}: not ready after {within:.0f} s", hint=hint)


class Poll(Iterator[float]):
    """The turns of `Clock.poll`; each gives the seconds since the first."""

    def __init__(self, clock: Clock, every: float, longest: float, within: float | None) -> None:
        """Start counting with the first turn."""
        self._clock, self._every, self._longest, self._within = clock, every, longest, within
        self._pause = every
        self._begun: float | None = None

    def __iter__(self) -> Self:
        """Return itself."""
        return self

    def __next__(self) -> float:
        """Wait, unless it is the first turn; the end comes when the time is over."""
        if self._begun is None:
            self._begun = self._clock.monotonic()
            return 0.0
        if self._within is not None and self._clock.monotonic() - self._begun >= self._within:
            raise StopIteration
        self._clock.sleep(self._pause)
        self._pause = min(self._pause * _GROWTH, self._longest)
        return self._clock.monotonic() - self._begun

    def restart(self) -> None:
        """Begin again with the shortest pause: something has just happened."""
        self._pause = self._every
