"""The records of a file at the distances of their own dates, with the dates moved to now."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from fraudctl.clock import Clock
from fraudctl.errors import BadConfig
from fraudctl.pipeline.records import Transaction, format_date, parse_date
from fraudctl.target import Outgoing

_TIMES: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)x", re.ASCII)
_LONGEST_PAUSE_SECONDS: Final = 0.1


def speed(text: str) -> float:
    """Return how many times as fast as the file's own dates ``live`` or ``100x`` is; raises `BadConfig`."""
    if text == "live":
        return 1.0
    if (match := _TIMES.fullmatch(text)) and float(match[1]):
        return float(match[1])
    raise BadConfig(f"--pace {text}: neither live nor a speed", hint="use live, or 100x for a hundred times as fast")


def paced(records: Iterable[Outgoing], times: float, clock: Clock = Clock()) -> Iterator[Outgoing]:  # noqa: B008 - frozen
    """Yield transactions in their order, the first one now, each when its date has come at `times` the speed.

    Dates become the moments at which their distances from the first date are over. One that lies before the transaction
    ahead of it is sent at once, with the date that its distance gives.
    """
    first: datetime | None = None
    begun, started = datetime.fromtimestamp(clock.now(), UTC), clock.monotonic()
    for outgoing in records:
        transaction = Transaction.parse(outgoing.value)
        date = parse_date(transaction.transaction_date)
        if first is None:
            first, begun, started = date, datetime.fromtimestamp(clock.now(), UTC), clock.monotonic()
        after = (date - first).total_seconds() / times
        while (wait := started + after - clock.monotonic()) > 0:
            clock.sleep(min(wait, _LONGEST_PAUSE_SECONDS))
        moved = replace(transaction, transaction_date=format_date(begun + timedelta(seconds=after)))
        yield replace(outgoing, value=moved.to_json())
