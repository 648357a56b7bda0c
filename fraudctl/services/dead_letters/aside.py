"""What AuditWriter put aside into its on-failure destination, and its way into the audit table.

A record goes to AuditWriter again in an event like the one that it came in. A row is written once, whoever sends what
how often, so nothing has to be kept of it: a record is settled when its row is there. Documents stay where they are.
"""

import json
from base64 import b64decode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby, islice
from typing import Any, Final

from fraudctl import tables
from fraudctl.errors import FraudctlError, NotAsAsked
from fraudctl.pipeline import on_failure, topics
from fraudctl.pipeline.audit_table import transaction_key
from fraudctl.pipeline.dates import parse_moment
from fraudctl.pipeline.reader import Record
from fraudctl.pipeline.records import FlaggedTransaction, Malformed
from fraudctl.pipeline.text import iso
from fraudctl.services.audit.rewrite import Rewritten, rewrite
from fraudctl.services.audit.table import translated
from fraudctl.services.dead_letters.letters import Letter, Wanted, missing
from fraudctl.tables import Column
from fraudctl.target import Change, Consent, Event, Phase, Plan, Target

_WRITER: Final = "AuditWriter"
_NAMED: Final = 10
_SHOWN_EVERY: Final = 50
_LOG: Final = "lambda"

COLUMNS: Final = (Column("letter"), Column("outcome"), Column("why", wrap=True), Column("transaction_id", drop=1))


class Outcome(StrEnum):
    """What became of a record."""

    READY = "ready"
    WRITTEN = "written"
    THERE = "already a row"
    REFUSED = "refused"  # by the table, once more
    FOREIGN = "no detection"


@dataclass(frozen=True, slots=True)
class Aside:
    """A record put aside: as a letter, as it stood in the event, and that event without its records.

    `unwritten`: it may be a detection, as far as its document says.
    """

    letter: Letter
    body: Mapping[str, Any]
    event: Mapping[str, Any]
    unwritten: bool

    def detection(self) -> FlaggedTransaction | None:
        """Return what it is; None for what is no detection."""
        try:
            return FlaggedTransaction.parse(self.letter.value)
        except Malformed:
            return None


def asides(documents: Iterable[bytes]) -> Iterator[Aside]:
    """Yield the records of documents, each as often as it lies in one; what is no such document is left out."""
    for document in documents:
        try:
            found = json.loads(document)
            event = json.loads(found["payload"])
            bodies = [body for bodies in event.pop("records").values() for body in bodies]
            at = int(parse_moment(found["timestamp"]).timestamp() * 1000)
            unwritten = on_failure.is_unwritten(document)
            letters = [_letter(found, body, at) for body in bodies]
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        for letter, body in zip(letters, bodies, strict=True):
            yield Aside(letter, body, event, unwritten)


def read(target: Target, wanted: Wanted) -> list[Aside]:
    """Return the records that are wanted, each once, as its newest document has it; raises `NotDeployed`."""
    newest: dict[tuple[Any, ...], Aside] = {}
    for aside in asides(target.on_failure()):
        letter, body = aside.letter, aside.body
        record = Record(
            *(topics.PROCESSED.name, *letter.place, body.get("timestamp"), letter.key, letter.value),
            (*letter.headers, ("error", letter.error.encode())),  # where a filter finds it in any other dead letter
        )
        if not wanted.in_time(letter.at) or not wanted.matches(record, timed=False):
            continue
        # The time tells records of a topic that was deleted and made again from those at the same offsets before.
        identity = (*letter.place, body.get("timestamp"))
        if identity not in newest or (newest[identity].letter.at or 0) <= (letter.at or 0):
            newest[identity] = aside
    found = sorted(newest.values(), key=lambda aside: (aside.letter.at or 0, aside.letter.place))
    if gone := wanted.places - {aside.letter.place for aside in found}:
        raise missing(gone, "the on-failure destination", " --from on-failure")
    return found


def one(target: Target, wanted: Wanted) -> Letter:
    """Return the letter at the only place that is wanted; raises `NotDeployed`."""
    return read(target, wanted)[-1].letter


@dataclass(slots=True)
class Item:
    """A record on its way, what it is, and what became of it."""

    aside: Aside
    detection: FlaggedTransaction | None
    outcome: Outcome
    why: str = ""

    def row(self) -> dict[str, Any]:
        """Return its cells."""
        return {
            "letter": self.aside.letter.name,
            "outcome": self.outcome.value,
            "why": self.why or None,
            "transaction_id": self.detection and self.detection.transaction_id,
        }


class Rewrite:
    """One redrive of what was put aside: `read`, `plan`, `send`."""

    def __init__(self, target: Target, wanted: Wanted, *, most: int | None = None) -> None:
        """Store what is asked for; no I/O."""
        self._target, self._wanted, self._most = target, wanted, most
        self.items: list[Item] = []
        self.left: list[Item] = []
        self._more = False

    def read(self) -> Iterator[Event]:
        """Find the records, and which of them have their rows; raises `NotDeployed` and `Unreachable`."""
        yield Event("on-failure", Phase.STARTED)
        found = read(self._target, self._wanted)
        table = self._target.audit_table()
        for number, aside in enumerate(found, 1):
            detection = aside.detection()
            if detection is None:
                wrong = aside.letter.wrong(aside.letter.value)
                why = f"AuditWriter would put it aside again: {wrong[0]}" if wrong else ""
                self.left.append(Item(aside, None, Outcome.FOREIGN, why))
            elif has_row(table, detection):
                self.left.append(Item(aside, detection, Outcome.THERE))
            elif self._most is not None and len(self.items) >= self._most:
                self._more = True
            else:
                self.items.append(Item(aside, detection, Outcome.READY))
            if not number % _SHOWN_EVERY:
                yield Event("on-failure", Phase.PROGRESS, f"{number:,} of {len(found):,}")
        yield Event("on-failure", Phase.DONE, tables.plural(len(found), "record"))

    def plan(self) -> Plan:
        """Return what would be written, and what is left out; no changes where nothing would be."""
        changes = []
        if self.items:
            named = [item.aside.letter.name for item in self.items]
            places = ", ".join(named[:_NAMED]) + (", …" if len(named) > _NAMED else "")
            number = tables.plural(len(named), "detection")
            changes.append(Change("write", "audit table", f"{number}: {places}, by {_WRITER}"))
        left = Counter(item.outcome for item in self.left)
        notes = []
        if number_there := left[Outcome.THERE]:
            notes.append(f"left out: {tables.plural(number_there, 'record')} with a row in the audit table already")
        if number_foreign := left[Outcome.FOREIGN]:
            are = "is no detection" if number_foreign == 1 else "are no detections"
            notes.append(f"left out: {tables.plural(number_foreign, 'record')} that {are}, for good")
        if self._more:
            notes.append("there are more: run the command again for those behind them")
        return Plan(self._target.stack.outputs().stack, tuple(changes), Consent.YES, notes=tuple(notes))

    def send(self) -> Iterator[Event]:
        """Have AuditWriter write them, and look for their rows.

        Raises:
            OperationFailed: AuditWriter failed; what it has written by then stays written.
            Unreachable: It does not answer.
        """
        yield Event(_WRITER, Phase.STARTED)
        done = 0
        table, items = self._target.audit_table(), iter(self.items)
        for call in self._calls():
            for item in islice(items, len(call.given)):
                if item.aside.letter.place in call.failed or item.detection is None:
                    item.outcome, item.why = Outcome.REFUSED, f"see `fraudctl logs {_LOG}`"
                elif has_row(table, item.detection):
                    item.outcome = Outcome.WRITTEN
                else:
                    item.outcome, item.why = Outcome.REFUSED, "there is no row, though AuditWriter has not complained"
            done += len(call.given)
            yield Event(_WRITER, Phase.PROGRESS, f"{done:,} of {len(self.items):,}")
        written = sum(item.outcome is Outcome.WRITTEN for item in self.items)
        yield Event(_WRITER, Phase.DONE, f"{tables.plural(written, 'row')} written")

    def check(self) -> None:
        """Raise `NotAsAsked` when records were refused once more, naming each."""
        refused = [item for item in self.items if item.outcome is Outcome.REFUSED]
        if not refused:
            return
        excerpt = [f"{item.aside.letter.name}: {item.why}" for item in refused[:_NAMED]]
        raise NotAsAsked(
            f"redrive: {len(refused):,} of {len(self.items):,} were refused again",
            hint=f"run `fraudctl logs {_LOG}`",
            excerpt=excerpt,
        )

    def _calls(self) -> Iterator[Rewritten]:
        """Send the records to AuditWriter, in their order, those of one event together; yield how each call ended."""
        for event, items in groupby(self.items, key=lambda item: item.aside.event):
            yield from rewrite(self._target.functions, (item.aside.body for item in items), event=event)


def has_row(table: Any, detection: FlaggedTransaction) -> bool:  # noqa: ANN401 - a boto3 Table
    """Return whether the audit table has a row of a detection's transaction; raises `NotDeployed` and `Unreachable`."""
    key = transaction_key(detection.transaction_date, detection.transaction_id)
    with translated():
        answer = table.get_item(Key={"account_id": detection.account_id, "transaction_key": key}, ConsistentRead=True)
    return "Item" in answer


def without_row(target: Target, most: int) -> int | None:
    """Return how many of the records that could not be written have no row yet; None when that cannot be told.

    Of more than `most` records it is not asked, which would take too long.
    """
    try:
        table, seen, lacking = target.audit_table(), set[tuple[Any, ...]](), 0
        for aside in asides(target.on_failure()):
            identity = (*aside.letter.place, aside.body.get("timestamp"))
            if not aside.unwritten or identity in seen:
                continue
            if len(seen) == most:
                return None
            seen.add(identity)
            detection = aside.detection()
            lacking += detection is None or not has_row(table, detection)
    except FraudctlError:
        return None
    return lacking if seen else None


def _letter(document: Mapping[str, Any], body: Mapping[str, Any], at: int) -> Letter:
    place = int(body["partition"]), int(body["offset"])
    # Lambda writes a header's bytes as Java has them, from -128 on.
    headers = [
        (name, bytes(byte & 0xFF for byte in content))
        for header in body.get("headers", ())
        for name, content in header.items()
    ]
    return Letter(
        place=place,
        at=at,
        key=_decoded(body.get("key")),
        value=_decoded(body.get("value")),
        headers=tuple(headers),
        error=_error(document, body),
        topic=topics.PROCESSED.name,
        origin=place,
        published=iso(body.get("timestamp")),
        lies_in=topics.PROCESSED.name,
    )


def _error(document: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """Return why it was given up. Lambda's own documents have only a word for it."""
    own = document.get("errors", {}).get(str(body["offset"]))
    context = document.get("requestContext", {}), document.get("responseContext", {})
    words = (own, document.get("error"), context[1].get("functionError"), context[0].get("condition"))
    return str(next(filter(None, words), "no reason is given"))


def _decoded(content: str | None) -> bytes | None:
    return None if content is None else b64decode(content)
