"""What is known of one account and its flag events, as people and programs see it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from fraudctl import tables
from fraudctl.pipeline.records import Status
from fraudctl.pipeline.text import iso
from fraudctl.services.flags.rule import KEPT_EVENTS, FlagEvent
from fraudctl.services.flags.timeline import Standing, State
from fraudctl.tables import Column

FIELDS: Final = (
    *("published", "flag_date", "status", "reason", "flagged_by", "partition", "offset", "role"),
    *("detections", "amount", "late_ms", "reaches_back_to", "missed", "missed_amount"),
)
COLUMNS: Final = (
    Column("published", text=tables.short_time),
    Column("flag_date", text=tables.short_time),
    Column("status"),
    Column("reason", wrap=True),
    Column("flagged_by", drop=2),
    Column("place", drop=3),
    Column("detections", text=tables.count),
    Column("amount", text=tables.money),
    Column("remark", wrap=True),
)
_NOTHING: Final = Decimal("0.00")


class Role(StrEnum):
    """What an event means now."""

    IN_FORCE = "in force"
    SCHEDULED = "scheduled"  # its date is yet to come
    PAST = "past"  # another one has taken effect since
    SUPERSEDED = "superseded"  # by a later one with the same date
    DROPPED = "dropped"  # the application keeps an account's last 64


@dataclass(slots=True)
class Sum:
    """How many transactions, the sum of their amounts, and the earliest and the latest of their times."""

    count: int = 0
    amount: Decimal = _NOTHING
    first: str | None = None
    last: str | None = None

    def add(self, amount: Decimal | None, at: str) -> None:
        """Count one; the amount is None in a row from before the field was there."""
        self.count += 1
        self.amount += amount or 0
        self.first = min(self.first or at, at)
        self.last = max(self.last or at, at)

    def document(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {"count": self.count, "amount": self.amount, "first": self.first, "last": self.last}


@dataclass(slots=True)
class Effect:
    """One flag event and what it did.

    `late_ms` is how long after its date it was published, None when it was not late. `reaches_back_to` is set where
    that was more than hold: transactions published before it stay undetected. `missed` are those of them that Kafka
    still has.
    """

    event: FlagEvent
    role: Role
    by: FlagEvent | None = None
    late_ms: int | None = None
    reaches_back_to: int | None = None
    detections: Sum = field(default_factory=Sum)
    missed: Sum = field(default_factory=Sum)

    def cells(self) -> dict[str, Any]:
        """Return its fields for programs."""
        event = self.event
        return {
            "published": iso(event.published),
            "flag_date": event.flag_date,
            "status": _status(event),
            "reason": event.reason,
            "flagged_by": event.flagged_by,
            "partition": event.partition,
            "offset": event.offset,
            "role": self.role.value,
            "detections": self.detections.count,
            "amount": self.detections.amount,
            "late_ms": self.late_ms,
            "reaches_back_to": iso(self.reaches_back_to),
            "missed": self.missed.count,
            "missed_amount": self.missed.amount,
        }

    def line(self) -> dict[str, Any]:
        """Return its cells for people."""
        flagged = self.event.flagged
        return {
            **self.cells(),
            "place": _place(self.event),
            "detections": self.detections.count if flagged else None,
            "amount": self.detections.amount if flagged else None,
            "remark": "; ".join(self._remarks()),
        }

    def _remarks(self) -> Iterator[str]:
        if self.role is Role.DROPPED:
            yield f"dropped: the last {KEPT_EVENTS} events count"
        elif self.by is not None:
            yield f"superseded at {tables.short_time(iso(self.by.published))}"
        elif self.role is not Role.PAST:
            yield self.role.value
        if self.late_ms is not None:
            yield f"late by {tables.duration(self.late_ms)}"
        if self.event.flagged and self.reaches_back_to is not None:
            yield f"reaches back to {tables.short_time(iso(self.reaches_back_to))}"
        if self.missed.count:
            yield f"missed {tables.plural(self.missed.count, 'transaction')}, {tables.money(self.missed.amount)}"


@dataclass(frozen=True, slots=True)
class Account:
    """All of one account. `transactions` are those that Kafka has; `since` is from when on those are, None for all."""

    account_id: int
    standing: Standing
    effects: Sequence[Effect]
    detections: Sum
    unexplained: int
    transactions: Sum
    since: int | None
    to_come: Sequence[FlagEvent]

    def record(self) -> dict[str, Any]:
        """Return what stands at its head, for people."""
        sent = self.transactions
        return {
            **self._head(),
            "detections": _counted(self.detections),
            "transactions": f"{_counted(sent)} ({self._coverage()})",
        }

    def document(self) -> dict[str, Any]:
        """Return it as one JSON document."""
        return {
            **self._head(),
            "next": [{"at": event.flag_date, "status": _status(event)} for event in self.to_come],
            "detections": {**self.detections.document(), "unexplained": self.unexplained},
            "transactions": {**self.transactions.document(), "published_since": iso(self.since)},
            "events": [effect.cells() for effect in self.effects],
        }

    def _head(self) -> dict[str, Any]:
        standing = self.standing
        return {
            "account_id": self.account_id,
            "state": standing.state.value,
            "since": iso(standing.since),
            "until": iso(standing.until),
            "reason": standing.event.reason,
            "flagged_by": standing.event.flagged_by,
        }

    def notes(self) -> Iterator[str]:
        """Yield what is to be said below: what happens next, and what does not count any more."""
        if self.to_come:
            steps = ", ".join(f"{_status(event)} from {event.flag_date} on" for event in self.to_come)
            yield f"Next: {steps}."
        else:
            stays = "flagged" if self.standing.state is State.FLAGGED else "as it is"
            yield f"Nothing is scheduled: it stays {stays}."
        dropped = sum(effect.role is Role.DROPPED for effect in self.effects)
        if dropped:
            number = tables.plural(dropped, "event")
            yield f"{number} dropped: the application keeps an account's last {KEPT_EVENTS}."
        if self.unexplained:
            yield f"{tables.plural(self.unexplained, 'detection')} of flag events that are not in the topic."

    def _coverage(self) -> str:
        return "all there were" if self.since is None else f"published since {iso(self.since)}"


def _counted(found: Sum) -> str:
    if not found.count:
        return "0"
    return f"{found.count:,}, {tables.money(found.amount)} in all, from {found.first} to {found.last}"


def _place(event: FlagEvent) -> str:
    return f"{event.partition}:{event.offset}"


def _status(event: FlagEvent) -> str:
    return (Status.FLAGGED if event.flagged else Status.CLEARED).value
