"""Time as a collaborator: tests pass one that does not wait."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """`now` gives epoch seconds, `sleep` waits for some."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
