"""What the flag events of one account did: their detections, what they came too late for, and what is still to come."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from fraudctl import tables
from fraudctl.clock import Clock
from fraudctl.errors import NotDeployed
from fraudctl.pipeline import topics
from fraudctl.pipeline.dates import date_milliseconds
from fraudctl.pipeline.reader import Records as Columns
from fraudctl.pipeline.records import Malformed, Transaction, key
from fraudctl.services.accounts.account_view import Account, Effect, Role, Sum
from fraudctl.services.audit.table import AuditReader, Query
from fraudctl.services.flags import reading, timeline
from fraudctl.services.flags.rule import KEPT_EVENTS, FlagEvent, History
from fraudctl.services.flags.timeline import Standing, State
from fraudctl.target import From, Outputs, Range, Target

_SAID_EVERY_SECONDS: Final = 5.0


def account(
    target: Target,
    number: int,
    since: int | None = None,
    note: Callable[[str], None] = lambda _: None,
    clock: Clock = Clock(),  # noqa: B008 - frozen
) -> Account:
    """Return all of an account; with `since`, in epoch milliseconds, its transactions from that time of publishing on.

    Transactions are found by their key, which is the account. `note` is told how far reading has come if that takes
    long.

    Raises:
        NotDeployed: The account has no flag events, or there is no such stack.
        Unreachable: Kafka or DynamoDB does not answer.
    """
    found = reading.histories(target.records, reading.Reach(), number).get(number)
    now = int(clock.now() * 1000)
    standing = None if found is None else timeline.standing(found, now)
    if found is None or standing is None:
        raise NotDeployed(f"account {number}: was never flagged or cleared", hint="run `fraudctl accounts list`")
    outputs = target.stack.outputs()
    effects = _effects(found, outputs, now)
    by_place = {(effect.event.partition, effect.event.offset): effect for effect in effects}
    detections, unexplained = Sum(), 0
    for row in AuditReader(target.audit_table(), note).rows(Query(number)):
        detections.add(row.amount, row.transaction_date)
        effect = by_place.get((row.flag_partition, row.flag_offset))
        if effect is None:
            unexplained += 1
        else:
            effect.detections.add(row.amount, row.transaction_date)
    sent = Sum()
    for transaction, published in _transactions(target, number, since, note, clock):
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


def _transactions(
    target: Target, number: int, since: int | None, note: Callable[[str], None], clock: Clock
) -> Iterator[tuple[Transaction, int]]:
    own = key(number)

    def keep(records: Columns) -> list[int]:
        return [index for index, found in enumerate(records.keys()) if found == own]

    start = From.BEGINNING if since is None else From.TIME
    read, said = 0, clock.monotonic()
    # All partitions: not every producer chooses them as fraudctl does.
    for batch in target.records.batches(topics.TRANSACTIONS.name, Range(start, since=since, follow=False, keep=keep)):
        for record in batch.records:
            try:
                transaction = Transaction.parse(record.value)
            except Malformed:
                continue  # a dead letter
            if transaction.account_id == number:
                yield transaction, record.timestamp or 0
        read += batch.scanned
        if clock.monotonic() - said >= _SAID_EVERY_SECONDS:
            said = clock.monotonic()
            left = sum(max(0, end - batch.positions.get(partition, 0)) for partition, end in batch.ends.items())
            note(f"Read {tables.plural(read, 'transaction')}; {left:,} to come.")


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
