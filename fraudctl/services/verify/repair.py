"""Write what is in processed_topic, or in the on-failure destination, and not in the table; AuditWriter writes it."""

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fraudctl import tables
from fraudctl.errors import NotAsAsked
from fraudctl.pipeline import topics
from fraudctl.pipeline.reader import Records as Columns
from fraudctl.pipeline.records import Malformed
from fraudctl.services.audit.rewrite import Body, body, rewrite
from fraudctl.services.verify import evidence, shapes
from fraudctl.services.verify.reconcile import Result
from fraudctl.services.verify.verdicts import Case, Word
from fraudctl.target import Change, Consent, Event, From, Phase, Plan, Range, Target

_TABLE: Final = "audit table"
_NEEDED: Final = {"topic", "partition", "offset", "timestamp", "value"}


@dataclass(slots=True)
class Repair:
    """What is to be written, and how it went: what is in the table now as the topics say, and what is not."""

    lost: Sequence[Case]
    recovered: Sequence[Case]
    written: list[Case] = field(default_factory=list)
    missing: list[Case] = field(default_factory=list)

    def plan(self, stack: str) -> Plan:
        """Return what will be done."""
        sources = ((self.lost, topics.PROCESSED.name), (self.recovered, "the on-failure destination"))
        changes = [
            Change("write", _TABLE, f"{tables.plural(len(cases), 'row')} from {source}, by AuditWriter")
            for cases, source in sources
            if cases
        ]
        return Plan(stack, tuple(changes), Consent.YES)

    @property
    def question(self) -> str:
        """What is asked before."""
        return f"Write {tables.plural(len(self.lost) + len(self.recovered), 'row')}"

    def document(self) -> dict[str, int]:
        """Return the outcome as JSON has it."""
        return {"repaired": len(self.written), "not_repaired": len(self.missing)}

    def settle(self, result: Result) -> None:
        """Count what is in the table now as ok."""
        done = set(self.written)
        for case in done:
            result.counts[case.word] -= 1
            result.counts[Word.OK] += 1
        result.cases = [case for case in result.cases if case not in done]

    def note(self) -> str:
        """Return the outcome as people read it."""
        there = f"Looked again: {tables.plural(len(self.written), 'row')} now in the table as the topics say"
        return there + (f", {len(self.missing):,} still not." if self.missing else ".")

    def check(self) -> None:
        """Raise `NotAsAsked` when something could not be written."""
        if self.missing:
            raise NotAsAsked(
                f"audit verify: {tables.plural(len(self.missing), 'row')} could not be written",
                hint="run `fraudctl logs lambda` to see what AuditWriter says, then `fraudctl audit verify`",
            )


def needed(result: Result) -> Repair:
    """Return what can be written of that which is not in the table."""
    return Repair(
        [case for case in result.cases if case.word is Word.LOST and case.processed is not None],
        [case for case in result.cases if case.word is Word.RECOVERED],
    )


def repair(target: Target, wanted: Repair) -> Iterator[Event]:
    """Have AuditWriter write the rows, then look at each of them in the table.

    Raises:
        OperationFailed: AuditWriter failed. What it wrote before is written; it can be asked again.
        NotDeployed: There is no such function, or no table.
        Unreachable: Kafka, DynamoDB or the function cannot be reached.
    """
    bodies: dict[evidence.Identity, Body] = {}
    yield Event("evidence", Phase.STARTED)
    for found in (*_processed(target, wanted.lost), *_failed(target, wanted.recovered)):
        try:
            bodies.setdefault(shapes.detection(b64decode(found["value"])).identity, found)
        except (Malformed, KeyError):
            continue
    yield Event("evidence", Phase.DONE, tables.plural(len(bodies), "record"))
    yield Event(_TABLE, Phase.STARTED)
    given = 0
    for done in rewrite(target.functions, bodies.values(), target.stack.outputs().bootstrap_servers):
        given += len(done.given)
        yield Event(_TABLE, Phase.PROGRESS, "", given, len(bodies), "rows")
    for case in (*wanted.lost, *wanted.recovered):
        there = case.identity in bodies and _is_there(target, case, bodies[case.identity])
        (wanted.written if there else wanted.missing).append(case)
    yield Event(_TABLE, Phase.DONE, f"{tables.plural(len(wanted.written), 'row')} written")


def _processed(target: Target, cases: Sequence[Case]) -> Iterator[Body]:
    """Yield the records of processed_topic, as far as Kafka still has them."""
    places = {case.processed for case in cases if case.processed is not None}
    first: dict[int, int] = {}
    for partition, offset in places:
        first[partition] = min(offset, first.get(partition, offset))

    def keep(records: Columns) -> list[int]:
        found = zip(records.partitions(), records.offsets(), strict=True)
        return [index for index, place in enumerate(found) if place in places]

    if places:
        wanted = Range(From.OFFSETS, offsets=first, limit=len(places), keep=keep, follow=False)
        for record in target.records.read(topics.PROCESSED.name, wanted):
            yield body(record)


def _failed(target: Target, cases: Sequence[Case]) -> Iterator[Body]:
    """Yield the records of the on-failure destination that are of these transactions."""
    identities = {case.identity for case in cases}
    for found in evidence.bodies(target.on_failure()) if identities else ():
        if not found.keys() >= _NEEDED:
            continue  # a document that somebody else has put there
        try:
            if shapes.detection(b64decode(found["value"])).identity in identities:
                yield found
        except Malformed:
            continue


def _is_there(target: Target, case: Case, found: Mapping[str, str]) -> bool:
    """Return whether the table has the row that says what the record says."""
    row = evidence.row_by_key(target.audit_table(), case.identity)
    known = shapes.detection(b64decode(found["value"]))
    return row is not None and row[1:-1] == known[1:]
