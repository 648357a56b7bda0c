"""The rule of detection: which flag event, if any, detects a transaction.

A transaction counts as detected when, at some moment from its publishing to `hold` later, the flag event in force says
FLAGGED. In force is, among the account's last 64 events published by then, the one with the latest flag_date at or
before the transaction's date; of two with the same flag_date the later one.

The application that decides live may not have read events of the last `slack` before a transaction, nor one of the same
millisecond: each such outcome is right.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from fraudctl.pipeline.dates import date_milliseconds
from fraudctl.pipeline.records import Transaction

KEPT_EVENTS: Final = 64


class FlagEvent(NamedTuple):
    """One flag event and where it lies; `published` and `date` in epoch milliseconds."""

    published: int
    date: int
    flagged: bool
    partition: int
    offset: int
    flag_date: str
    reason: str | None
    flagged_by: str


class History:
    """The flag events of one account in the order in which they take effect."""

    def __init__(self, events: Iterable[FlagEvent]) -> None:
        """Sort them by publishing; within a partition the order of offsets is kept."""
        self.events = sorted(events, key=lambda event: (event.published, event.partition, event.offset))
        self._published = [event.published for event in self.events]

    def outcomes(self, published: int, date: int, *, hold: int, slack: int) -> frozenset[FlagEvent | None]:
        """Return every right outcome for a transaction: the event that detects it, None for "not detected".

        Times are in epoch milliseconds. One outcome means that there is no race.
        """
        known = bisect_right(self._published, published - slack), bisect_right(self._published, published)
        last = bisect_right(self._published, published + hold)
        # Backwards, since deciding with fewer events known comes to the same once the next one has been read.
        found: set[FlagEvent | None] = set()
        detects: FlagEvent | None = None
        for count in range(last, known[0] - 1, -1):
            force = self.in_force(count, date)
            if force is not None and force.flagged:
                detects = force
            if count <= known[1]:
                found.add(detects)
        return frozenset(found)

    def in_force(self, count: int, date: int) -> FlagEvent | None:
        """Return the event in force at a date when the first `count` events are known."""
        force: FlagEvent | None = None
        for event in self.events[max(0, count - KEPT_EVENTS) : count]:
            if event.date <= date and (force is None or event.date >= force.date):
                force = event
        return force

    def detecting(self) -> Iterator[FlagEvent]:
        """Yield the events that may detect something."""
        return (event for event in self.events if event.flagged)


@dataclass(frozen=True, slots=True)
class Rule:
    """What decides: the accounts' flag events, and the application's `hold` and `slack` in milliseconds."""

    histories: Mapping[int, History]
    hold: int
    slack: int

    def outcomes(self, transaction: Transaction, published: int) -> frozenset[FlagEvent | None]:
        """Return every right outcome for a transaction."""
        history = self.histories.get(transaction.account_id)
        if history is None:
            return frozenset({None})
        date = date_milliseconds(transaction.transaction_date)
        return history.outcomes(published, date, hold=self.hold, slack=self.slack)
