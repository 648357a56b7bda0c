"""Wait for a condition with a deadline, and say what is known when it passes."""

import time
from collections.abc import Callable, Iterator
from typing import Final

from fraudctl.errors import TimedOut

_PAUSE_SECONDS: Final = 0.05


def until(
    ready: Callable[[], bool],
    *,
    seconds: float,
    what: str,
    hint: str,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Yield between tries until `ready` says so; raises `TimedOut` after `seconds`."""
    deadline = clock() + seconds
    while not ready():
        if clock() > deadline:
            raise TimedOut(f"{what}: not ready after {seconds:.0f} s", hint=hint)
        yield
        sleep(_PAUSE_SECONDS)
