"""SampleTransactionGenerator: writes made-up transactions, spread over a minute or as fast as it can."""

import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from random import SystemRandom
from typing import Any, Final, Protocol, Self

from fraudctl.pipeline import kafka, samples, topics

# The time left when it stops by itself: enough to flush, and of that what is left to answer.
RESERVE_MS: Final = 6_000
ANSWER_MS: Final = 2_000
SHORTEST_FLUSH_S: Final = 0.5
LONGEST_PAUSE_S: Final = 0.1


class Context(Protocol):
    """The part of Lambda's context object that the function uses."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the time-out."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to write: `count` at once, or `per_second` evenly spread over `seconds`."""

    count: int
    per_second: float | None

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Self:
        """Read ``{"count": N}`` or ``{"per_second": 10, "seconds": 55}``, the default; raises ValueError."""
        if unknown := set(event) - {"count", "per_second", "seconds"}:
            raise ValueError(f"unknown in the payload: {', '.join(sorted(unknown))}")
        if "count" in event:
            return cls(_positive(event, "count", 0, whole=True), None)
        per_second, seconds = _positive(event, "per_second", 10), _positive(event, "seconds", 55)
        return cls(max(1, round(per_second * seconds)), per_second)


def pace(
    number: int,
    per_second: float,
    *,
    stop: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[int]:
    """Yield 0 to `number` - 1 at an even pace; ends at most `LONGEST_PAUSE_S` after `stop` returns true."""
    start = clock()
    for index in range(number):
        while (wait := start + index / per_second - clock()) > 0 and not stop():
            sleep(min(wait, LONGEST_PAUSE_S))
        if stop():
            return
        yield index


def records(request: Request, stop: Callable[[], bool]) -> Iterator[kafka.Outgoing]:
    """Yield the transactions at the requested pace."""
    if request.per_second is None:
        ticks: Iterator[int] = itertools.takewhile(lambda _: not stop(), range(request.count))
    else:
        ticks = pace(request.count, request.per_second, stop=stop)
    drawn = samples.stream(SystemRandom())
    for _ in ticks:
        key, value = next(drawn)
        yield kafka.Outgoing(topics.TRANSACTIONS.name, key, value)


@cache
def producer() -> kafka.KeptProducer:
    """Return the producer that all invocations share."""
    return kafka.KeptProducer(kafka.producer(kafka.connection(os.environ, "GENERATOR")))


def warm() -> None:
    """Open what the first invocation would wait for; the local runner calls this when it loads the function."""
    producer().get()


def handler(event: Mapping[str, Any], context: Context) -> dict[str, int]:
    """Write the transactions; return how many the brokers confirmed, fewer than asked for when the time is over.

    Raises RuntimeError when one was not confirmed.
    """
    request, left, kept = Request.of(event), context.get_remaining_time_in_millis, producer()
    delivery = kafka.deliver(
        kept.get(),
        records(request, lambda: left() < RESERVE_MS),
        timeout_s=lambda: max((left() - ANSWER_MS) / 1000, SHORTEST_FLUSH_S),
        refusals=kept.refusals,
    )
    if delivery.failed:
        raise RuntimeError(f"{len(delivery.failed)} transactions were not delivered: {delivery.failed[0].reason}")
    return {"sent": delivery.delivered, "failed": 0}


def _positive(event: Mapping[str, Any], name: str, default: int, *, whole: bool = False) -> Any:  # noqa: ANN401
    value = event.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or value <= 0:
        raise ValueError(f"{name} is not a positive {'integer' if whole else 'number'}")
    return value
