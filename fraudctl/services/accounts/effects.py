"""What the flag events of one account did: their detections, what they came too late for, and what is still to come."""

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from fraudctl import tables
from fraudctl.errors import NotDeployed
from fraudctl.pipeline import topics
from fraudctl.pipeline.dates import date_milliseconds
from fraudctl.pipeline.reader import Records as Columns
from fraudctl.pipeline.records import Malformed, Status, Transaction, key
from fraudctl.pipeline.text import iso
from fraudctl.services.audit.table import AuditReader, Query
from fraudctl.services.flags import reading, timeline
from fraudctl.services.flags.rule import KEPT_EVENTS, FlagEvent, History
from fraudctl.services.flags.timeline import Standing, State
from fraudctl.tables import Column
from fraudctl.target import From, Outputs, Range, Target

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
        standing, sent = self.standing, self.transactions
        return {
            "account_id": self.account_id,
            "state": standing.state.value,
            "since": iso(standing.since),
            "until": iso(standing.until),
            "reason": standing.event.reason,
            "flagged_by": standing.event.flagged_by,
            "detections": _counted(self.detections),
            "transactions": f"{_counted(sent)} ({self._coverage()})",
        }

    def document(self) -> dict[str, Any]:
        """Return it as one JSON document."""
        standing = self.standing
        return {
            "account_id": self.account_id,
            "state": standing.state.value,
            "since": iso(standing.since),
            "until": iso(standing.until),
            "reason": standing.event.reason,
            "flagged_by": standing.event.flagged_by,
            "next": [{"at": event.flag_date, "status": _status(event)} for event in self.to_come],
            "detections": {**self.detections.document(), "unexplained": self.unexplained},
            "transactions": {**self.transactions.document(), "published_since": iso(self.since)},
            "events": [effect.cells() for effect in self.effects],
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


def account(target: Target, number: int, since: int | None = None, clock: Callable[[], float] = time.time) -> Account:
    """Return all of an account; with `since`, in epoch milliseconds, its transactions from that time of publishing on.

    Transactions are found by their key, which is the account.

    Raises:
        NotDeployed: The account has no flag events, or there is no such stack.
        Unreachable: Kafka or DynamoDB does not answer.
    """
    found = reading.histories(target.records, reading.Reach(), number).get(number)
    now = int(clock() * 1000)
    standing = None if found is None else timeline.standing(found, now)
    if found is None or standing is None:
        raise NotDeployed(f"account {number}: was never flagged or cleared", hint="run `fraudctl accounts list`")
    outputs = target.stack.outputs()
    effects = _effects(found, outputs, now)
    by_place = {(effect.event.partition, effect.event.offset): effect for effect in effects}
    detections, unexplained = Sum(), 0
    for row in AuditReader(target.audit_table()).rows(Query(number)):
        detections.add(row.amount, row.transaction_date)
        effect = by_place.get((row.flag_partition, row.flag_offset))
        if effect is None:
            unexplained += 1
        else:
            effect.detections.add(row.amount, row.transaction_date)
    sent = Sum()
    for transaction, published in _transactions(target, number, since):
        sent.add(transaction.amount, transaction.transaction_date)
        missed_by = _missed_by(found, transaction, published, outputs)
        if missed_by is not None:
            by_place[missed_by.partition, missed_by.offset].missed.add(transaction.amount, transaction.transaction_date)
    begin = _begin(target)
    if since is not None:
        begin = max(since, begin or 0)
    to_come = [event for event in timeline.steps(found) if event.date > now]
    return Account(number, standing, effects, detections, unexplained, sent, begin, _changes(standing, to_come))


def _effects(history: History, outputs: Outputs, now: int) -> list[Effect]:
    effective = timeline.steps(history)
    by_date = {event.date: event for event in effective}
    begun = bisect_right(effective, now, key=lambda event: event.date)
    in_force = effective[begun - 1] if begun else None
    kept = len(history.events) - KEPT_EVENTS
    result = []
    for index, event in enumerate(history.events):
        effect = Effect(event, Role.PAST)
        if index < kept:
            effect.role = Role.DROPPED
        elif by_date[event.date] is not event:
            effect.role, effect.by = Role.SUPERSEDED, by_date[event.date]
        elif event is in_force:
            effect.role = Role.IN_FORCE
        elif event.date > now:
            effect.role = Role.SCHEDULED
        late = event.published - event.date
        # An event is always published some milliseconds after its default date; the application itself cannot tell what
        # came within slack.
        if late > outputs.slack_ms:
            effect.late_ms = late
            if late > outputs.hold_ms:
                effect.reaches_back_to = event.published - outputs.hold_ms
        result.append(effect)
    return result


def _missed_by(history: History, transaction: Transaction, published: int, outputs: Outputs) -> FlagEvent | None:
    """Return the flag event that came too late for a transaction, which it would have detected by its date."""
    date = date_milliseconds(transaction.transaction_date)
    force = history.in_force(len(history.events), date)
    if force is None or not force.flagged or force.published <= published + outputs.hold_ms:
        return None
    outcomes = history.outcomes(published, date, hold=outputs.hold_ms, slack=outputs.slack_ms)
    return force if outcomes == {None} else None


def _transactions(target: Target, number: int, since: int | None) -> Iterator[tuple[Transaction, int]]:
    own = key(number)

    def keep(records: Columns) -> list[int]:
        return [index for index, found in enumerate(records.keys()) if found == own]

    start = From.BEGINNING if since is None else From.TIME
    # All partitions: not every producer chooses them as fraudctl does.
    wanted = Range(start, since=since, follow=False, keep=keep)
    for record in target.records.read(topics.TRANSACTIONS.name, wanted):
        try:
            transaction = Transaction.parse(record.value)
        except Malformed:
            continue  # a dead letter
        if transaction.account_id == number:
            yield transaction, record.timestamp or 0


def _begin(target: Target) -> int | None:
    """Return the time of publishing from which on Kafka has all transactions; None when it has deleted none."""
    name = topics.TRANSACTIONS.name
    partitions = next(info.partitions for info in target.topics.list() if info.name == name)
    first = [
        record.timestamp or 0
        for at in partitions
        if at.earliest
        for record in target.records.read(
            name, Range(From.OFFSETS, offsets={at.partition: at.earliest}, limit=1, follow=False)
        )
    ]
    return max(first, default=None)


def _changes(standing: Standing, to_come: Sequence[FlagEvent]) -> list[FlagEvent]:
    """Return those of the events to come that flag the account, or end that."""
    flagged, result = standing.state is State.FLAGGED, []
    for event in to_come:
        if event.flagged != flagged:
            result.append(event)
            flagged = event.flagged
    return result


def _counted(found: Sum) -> str:
    if not found.count:
        return "0"
    return f"{found.count:,}, {tables.money(found.amount)} in all, from {found.first} to {found.last}"


def _place(event: FlagEvent) -> str:
    return f"{event.partition}:{event.offset}"


def _status(event: FlagEvent) -> str:
    return (Status.FLAGGED if event.flagged else Status.CLEARED).value
