"""The latency of detection, measured on the records that a tail reads."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from fraudctl.clock import Clock
from fraudctl.pipeline.reader import Record
from fraudctl.tables import duration

_LONGEST_MS: Final = 3_600_000
_PERCENTILES: Final = (50, 95, 99)


class Latency:
    """Counts records and, of those with a `transaction_date`, the time from there to the broker's timestamp.

    On processed_topic that is the time from a transaction to its detection. Latencies are counted by the millisecond,
    those over an hour as an hour, so memory stays bounded.
    """

    def __init__(self, clock: Clock) -> None:
        """Start the clock."""
        import orjson

        self._loads, self._clock = orjson.loads, clock
        self._begun = self._since = clock.monotonic()
        self._records = self._before = 0
        self._all: Counter[int] = Counter()
        self._new: Counter[int] = Counter()

    def add(self, records: Sequence[Record]) -> None:
        """Take note of records."""
        self._records += len(records)
        for record in records:
            found = self._of(record)
            if found is not None:
                self._new[found] += 1

    def due(self, seconds: float) -> bool:
        """Return whether the last line is as old as that."""
        return self._clock.monotonic() - self._since >= seconds

    def line(self) -> str:
        """Return the rate and the percentiles since the last line."""
        now = self._clock.monotonic()
        text = _text(self._records - self._before, now - self._since, self._new)
        self._all.update(self._new)
        self._new.clear()
        self._since, self._before = now, self._records
        return text

    def total(self) -> str:
        """Return those of the whole time."""
        self._all.update(self._new)
        self._new.clear()
        seconds = self._clock.monotonic() - self._begun
        return f"In {duration(seconds * 1000)}: {_text(self._records, seconds, self._all)}"

    def _of(self, record: Record) -> int | None:
        try:
            made = datetime.fromisoformat(self._loads(record.value or b"")["transaction_date"])
            latency = (record.timestamp or 0) - int(made.timestamp() * 1000)
        except (ValueError, TypeError, KeyError, OverflowError):
            return None
        return max(0, min(latency, _LONGEST_MS)) if record.timestamp is not None else None


def _text(records: int, seconds: float, latencies: Counter[int]) -> str:
    rate = records / seconds if seconds > 0 else 0.0
    text = f"{records:,} records, {rate:,.0f} a second"
    if not latencies:
        return text
    figures = ", ".join(f"p{share} {duration(value)}" for share, value in _percentiles(latencies).items())
    return f"{text}; from transaction to detection {figures}"


def _percentiles(latencies: Counter[int]) -> dict[int, int]:
    """Return the smallest latency that so many per cent do not exceed (nearest rank)."""
    total, found = latencies.total(), dict[int, int]()
    counted = 0
    for value, count in sorted(latencies.items()):
        counted += count
        for share in _PERCENTILES:
            if share not in found and counted * 100 >= total * share:
                found[share] = value
    return found
