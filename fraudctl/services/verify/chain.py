"""The evidence chain of one detection, and why a transaction was not detected."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from fraudctl import tables
from fraudctl.errors import Unreachable
from fraudctl.pipeline import topics
from fraudctl.pipeline.audit_table import AuditRow
from fraudctl.pipeline.dates import date_milliseconds
from fraudctl.pipeline.names import FLINK_GROUP
from fraudctl.pipeline.reader import Record
from fraudctl.pipeline.records import FlaggedTransaction, Malformed, Transaction
from fraudctl.pipeline.text import iso, shown
from fraudctl.services.audit.find import NoSuchTransaction, find
from fraudctl.services.flags import reading
from fraudctl.services.flags.rule import FlagEvent, Rule
from fraudctl.services.verify import evidence
from fraudctl.services.verify.evidence import Evidence, Identity, Place, Sent
from fraudctl.services.verify.reconcile import bounds
from fraudctl.services.verify.verdicts import Case, Judge, Word
from fraudctl.tables import Column
from fraudctl.target import Target

COLUMNS: Final = (
    Column("step"),
    Column("at", text=tables.short_time, drop=1),
    Column("after_ms", heading="after", text=tables.duration, drop=2),
    Column("place"),
    Column("says", wrap=True),
)
_AROUND: Final = 2  # flag events that are shown before and after the one in force


@dataclass(frozen=True, slots=True)
class Step:
    """One piece of evidence: what it is, when it was published (epoch milliseconds), where it lies, what it says.

    `expired`: Kafka has deleted it. `after_ms` is the time since the step before.
    """

    what: str
    at: int | None
    place: str | None
    says: str = ""
    after_ms: int | None = None
    expired: bool = False

    def cells(self) -> dict[str, Any]:
        """Return the step's cells; the time is an ISO date."""
        return {
            "step": self.what,
            "at": iso(self.at),
            "after_ms": self.after_ms,
            "place": self.place,
            "says": "expired from Kafka" if self.expired else self.says,
        }


@dataclass(frozen=True, slots=True)
class Chain:
    """The steps of a detection in their order, and the verdict on its row."""

    steps: tuple[Step, ...]
    case: Case

    @property
    def verdict(self) -> str:
        """Whether row and evidence agree, as a sentence."""
        if self.case.word is Word.OK:
            return "Verdict: ok, the row is what the topics say."
        return f"Verdict: {self.case.word}: {self.case.why}."


def explained(
    target: Target, transaction_id: str, note: Callable[[str], None] = lambda _: None
) -> list[tuple[AuditRow, Chain | None]]:
    """Return the rows of a transaction, each with its evidence; None, and a note, where Kafka does not answer.

    Raises:
        BadConfig: Several ids start so.
        NoSuchTransaction: It is not in the table; the message says why, as far as that can be told.
        NotDeployed: There is no table.
    """
    try:
        found = find(target.audit_table(), transaction_id)
    except NoSuchTransaction as error:
        if not transaction_id:
            raise
        try:
            why = why_not(target, transaction_id)
        except Unreachable as silent:
            why = f"why is not known: {silent}"
        raise NoSuchTransaction(f"{error}; {why}", hint=error.hint) from error
    result: list[tuple[AuditRow, Chain | None]] = []
    for row in found:
        try:
            result.append((row, chain(target, row)))
        except Unreachable as error:
            note(f"The evidence cannot be read: {error}.")
            result.append((row, None))
    return result


def document(found: Chain | None) -> dict[str, Any]:
    """Return the evidence as further fields of the row's JSON."""
    if found is None:
        return {"verdict": None, "why": None, "evidence": None}
    return {
        "verdict": found.case.word.value,
        "why": found.case.why or None,
        "evidence": [step.cells() for step in found.steps],
    }


def chain(target: Target, row: AuditRow) -> Chain:
    """Return the evidence for a row: transaction, flag events, processed record; raises `Unreachable`."""
    outputs, records, judge = target.stack.outputs(), target.records, Judge({})
    bounds(target, judge)
    histories = reading.histories(records, judge.flags, row.account_id)
    events = histories[row.account_id].events if row.account_id in histories else []
    judge.events = {(event.partition, event.offset): event for event in events}
    rule = Rule(histories, outputs.hold_ms, outputs.slack_ms)
    found = Evidence(evidence.identity(row))
    place = (row.transaction_partition, row.transaction_offset)
    published = _sent(target, rule, place, found)
    detected = (row.processed_partition, row.processed_offset)
    processed = evidence.at(records, topics.PROCESSED.name, detected)
    if processed is not None:
        try:
            detection = FlaggedTransaction.parse(processed.value)
            if evidence.identity(detection) == found.identity:
                found.processed.append(evidence.claim(detection, detected))
        except Malformed:
            pass  # the verdict says that no such record lies there
    found.rows.append(evidence.claim(row, detected))
    case = judge.judge(found)
    made = date_milliseconds(row.transaction_date)
    written = None if processed is None else processed.timestamp
    steps = [
        Step("transaction made", made, None, f"{row.amount} at {shown(row.merchant_type)}"),
        Step(
            "transaction published",
            *(published, _named(topics.TRANSACTIONS.name, place)),
            after_ms=None if published is None else published - made,
            expired=published is None,
        ),
        *_flags(events, (row.flag_partition, row.flag_offset)),
        Step(
            "detected",
            *(written, _named(topics.PROCESSED.name, detected)),
            after_ms=None if written is None or published is None else written - published,
            expired=processed is None,
        ),
    ]
    return Chain(tuple(steps), case or Case(found.identity, Word.UNKNOWN))


def why_not(target: Target, transaction_id: str) -> str:
    """Return in a sentence why a transaction is not in the audit table; raises `Unreachable`."""
    judge = Judge({})
    bounds(target, judge)
    found = None
    for record in evidence.named(target.records, topics.TRANSACTIONS.name, transaction_id):
        try:
            transaction = Transaction.parse(record.value)
        except Malformed as error:
            return f"it is malformed and a dead letter: {error}"
        if transaction.transaction_id == transaction_id:
            found = record, transaction
    if found is None:
        gone = any(judge.transactions.earliest.values())
        return "it was never seen" + (", or Kafka has deleted it" if gone else "")
    record, transaction = found
    outputs = target.stack.outputs()
    histories = reading.histories(target.records, judge.flags, transaction.account_id)
    outcomes = Rule(histories, outputs.hold_ms, outputs.slack_ms).outcomes(transaction, record.timestamp or 0)
    if outcomes == {None}:
        history = histories.get(transaction.account_id)
        return _not_flagged(transaction, history.events if history else [])
    return _stopped(target, record, evidence.identity(transaction), certain=None not in outcomes)


def _stopped(target: Target, record: Record, identity: Identity, *, certain: bool) -> str:
    """Return where the detection of a transaction has come to, which the rule asks for, or at least allows."""
    if any(found == identity for found, _ in evidence.failed(target.on_failure())):
        return "it was detected, and lies in the on-failure destination"
    if any(evidence.named(target.records, topics.PROCESSED.name, identity[2])):
        return f"it was detected, and lies in {topics.PROCESSED.name}; AuditWriter has not written it"
    read = target.topics.committed(topics.TRANSACTIONS.name).get(FLINK_GROUP, {})
    if record.offset >= read.get(record.partition, 0):
        return "it is pending: by its last checkpoint, the application has not read it"
    if certain:
        return "it had to be detected and was not: see `fraudctl audit verify`"
    return "a flag event was published about when it was, and the order of reading decided against it"


def _not_flagged(transaction: Transaction, events: list[FlagEvent]) -> str:
    if not any(event.flagged for event in events):
        return f"account {transaction.account_id} was never flagged"
    date = date_milliseconds(transaction.transaction_date)
    before = [event for event in events if event.date <= date]
    if not before:
        first = min((event for event in events if event.flagged), key=lambda event: event.date)
        return f"account {transaction.account_id} was flagged from {first.flag_date} on, after its date"
    last = max(before, key=lambda event: (event.date, event.published))
    if last.flagged:
        return f"the flag from {last.flag_date} on was published more than hold after it"
    return f"account {transaction.account_id} was cleared from {last.flag_date} on"


def _sent(target: Target, rule: Rule, place: Place, found: Evidence) -> int | None:
    record = evidence.at(target.records, topics.TRANSACTIONS.name, place)
    if record is None:
        return None
    try:
        transaction = Transaction.parse(record.value)
    except Malformed:
        return record.timestamp
    if evidence.identity(transaction) == found.identity:
        outcomes = rule.outcomes(transaction, record.timestamp or 0)
        flags = tuple(event and (event.partition, event.offset) for event in outcomes)
        found.sent.append(Sent(place, record.timestamp or 0, flags, evidence.digest(transaction)))
    return record.timestamp


def _flags(events: list[FlagEvent], decisive: Place) -> Iterator[Step]:
    """Yield the flag event that detected it, and those around it."""
    places = [(event.partition, event.offset) for event in events]
    at = places.index(decisive) if decisive in places else None
    if at is None:
        yield Step("flag event in force", None, _named(topics.FLAGGED.name, decisive), "there is no such event")
        return
    for index in range(max(0, at - _AROUND), min(len(events), at + _AROUND + 1)):
        event = events[index]
        what = "flag event in force" if index == at else f"flag event {'before' if index < at else 'after'} it"
        status = "FLAGGED" if event.flagged else "CLEARED"
        reason = f": {shown(event.reason)}" if event.reason else ""
        says = f"{status} from {event.flag_date} on, by {shown(event.flagged_by)}{reason}"
        yield Step(what, event.published, _named(topics.FLAGGED.name, places[index]), says)


def _named(topic: str, place: Place) -> str:
    return f"{topic}/{place[0]}:{place[1]}"
