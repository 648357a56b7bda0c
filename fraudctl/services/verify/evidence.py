"""What is known of each transaction: from the topics, the audit table and the on-failure destination."""

import json
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fraudctl.pipeline import topics
from fraudctl.pipeline.audit_table import AuditRow, transaction_key
from fraudctl.pipeline.dates import date_milliseconds
from fraudctl.pipeline.reader import Record
from fraudctl.pipeline.reader import Records as Columns
from fraudctl.pipeline.records import FlaggedTransaction, Malformed
from fraudctl.services.audit.bulk import Item
from fraudctl.services.audit.table import translated
from fraudctl.services.flags.reading import ACCOUNT, Reach, naming
from fraudctl.services.flags.rule import Rule
from fraudctl.services.verify import shapes
from fraudctl.services.verify.shapes import Detected, Identity, Place, digest, identity
from fraudctl.target import From, Range, Records

__all__ = ["Claim", "Evidence", "Identity", "Place", "Sent", "claim", "digest", "identity"]

_NOT = frozenset({None})


class Sent(NamedTuple):
    """A transaction as it lies in its topic; `flags` are the places of the events of every right outcome."""

    place: Place
    published: int
    flags: tuple[Place | None, ...]
    digest: str


class Claim(NamedTuple):
    """What says that a transaction was detected: a processed record, a row or an on-failure document.

    `place` is that of the processed record, `at` when that was published (epoch milliseconds); `why` the flag event's
    date, reason and author as they are said there.
    """

    place: Place
    transaction: Place
    flag: Place
    why: tuple[str, str | None, str]
    digest: str
    at: int = 0


@dataclass(slots=True)
class Evidence:
    """All that is known of one transaction, and of its copies."""

    identity: Identity
    sent: list[Sent] = field(default_factory=list)
    processed: list[Claim] = field(default_factory=list)
    rows: list[Claim] = field(default_factory=list)
    failed: list[Claim] = field(default_factory=list)


def at(records: Records, topic: str, place: Place) -> Record | None:
    """Return the record at a place; None when Kafka does not have it any more."""
    wanted = Range(From.OFFSETS, offsets={place[0]: place[1]}, limit=1, follow=False)
    found = next(records.read(topic, wanted), None)
    return found if found is not None and found.offset == place[1] else None


def named(records: Records, topic: str, transaction_id: str) -> Iterator[Record]:
    """Yield the records of a topic whose value has a transaction's id somewhere."""
    keep = naming(transaction_id.encode())
    return records.read(topic, Range(From.BEGINNING, follow=False, keep=keep))


class Read(NamedTuple):
    """What a batch of the transactions' topic came to.

    `times` are those of all its transactions (epoch milliseconds), `found` those that are detected, or may be.
    `positions` are where the next batch begins. `unread` is the time of the first one that the application has not
    read, `lost` how many were deleted before they could be read.
    """

    times: Sequence[int]
    found: Sequence[tuple[Identity, Sent]]
    positions: Mapping[int, int]
    unread: int | None = None
    lost: int = 0


def sent(
    records: Records,
    wanted: Range,
    rule: Rule,
    reach: Reach,
    committed: Mapping[int, int],
    before: int | None = None,
    ends: Mapping[int, int] | None = None,
) -> Iterator[Read]:
    """Yield, batch by batch, what was read of the transactions' topic; `reach` is told what that was.

    `committed` is where the application goes on. With `before`, in epoch milliseconds, each partition is read up to the
    first transaction that was published then or later; with `ends`, at least up to those.
    """
    accounts = {b"%d" % account for account in rule.histories}
    cut: dict[int, int] = {}
    positions: dict[int, int] = {}
    for batch in records.batches(topics.TRANSACTIONS.name, wanted):
        columns = batch.records if isinstance(batch.records, Columns) else Columns("", list(batch.records))
        if before is not None:
            columns = _before(columns, before, cut)
        partitions, offsets = columns.partitions(), columns.offsets()
        times = [at or 0 for at in columns.timestamps()]
        for partition in set(partitions) - reach.starts.keys():
            at = partitions.index(partition)
            reach.starts[partition], reach.first_at[partition] = offsets[at], times[at]
        found = []
        for index, value in _of_accounts(accounts, columns.values()):
            try:
                known, date, content = shapes.transaction(value)
            except Malformed:
                continue  # a dead letter
            history = rule.histories.get(known[0])
            if history is None:
                continue
            outcomes = history.outcomes(times[index], date, hold=rule.hold, slack=rule.slack)
            if outcomes == _NOT:
                continue
            flags = tuple(event and (event.partition, event.offset) for event in outcomes)
            found.append((known, Sent((partitions[index], offsets[index]), times[index], flags, content)))
        positions = {**positions, **batch.positions, **cut}
        unread = None
        if any(positions[partition] > committed.get(partition, 0) for partition in set(partitions)):
            places = zip(partitions, offsets, times, strict=True)
            unread = min(
                (at for partition, offset, at in places if offset >= committed.get(partition, 0)), default=None
            )
        reach.ends.update(positions)
        yield Read(times, found, positions, unread, sum(batch.lost.values()))
        last = batch.ends if ends is None else ends
        if (cut or ends) and all(p in cut or positions.get(p, 0) >= end for p, end in last.items()):
            return


def _before(columns: Columns, moment: int, cut: dict[int, int]) -> Columns:
    """Return the records before a moment, and note in `cut` where each partition passes it."""
    times = columns.timestamps()
    if not cut and all(at is None or at < moment for at in times):
        return columns
    kept = []
    for index, (partition, offset, at) in enumerate(zip(columns.partitions(), columns.offsets(), times, strict=True)):
        if partition in cut:
            continue
        if (at or 0) >= moment:
            cut[partition] = offset
        else:
            kept.append(index)
    return columns.take(kept)


def _of_accounts(accounts: set[bytes], values: Sequence[bytes | None]) -> Iterator[tuple[int, bytes | None]]:
    """Yield, with their indexes, the values that may be of one of the accounts.

    Most are of accounts that were never flagged; to find that out, a record need not be decoded.
    """
    find = ACCOUNT.findall
    for index, value in enumerate(values):
        named = find(value or b"")
        if len(named) != 1 or named[0] in accounts or b"\\" in value:  # type: ignore[operator] # it has a match
            yield index, value


def processed(records: Records, wanted: Range, reach: Reach) -> Iterator[list[tuple[Identity, Claim]]]:
    """Yield the detections in processed_topic, batch by batch; `reach` is told what was read."""
    for batch in records.batches(topics.PROCESSED.name, wanted):
        columns = batch.records if isinstance(batch.records, Columns) else Columns("", list(batch.records))
        found = []
        places = zip(columns.partitions(), columns.offsets(), columns.timestamps(), columns.values(), strict=True)
        for partition, offset, at, value in places:
            reach.starts.setdefault(partition, offset)
            try:
                known = shapes.detection(value)
            except Malformed:
                continue  # somebody else's; AuditWriter puts it aside
            found.append((known.identity, _claim(known, (partition, offset), at or 0)))
        reach.ends.update(batch.positions)
        yield found


def row(item: Item) -> tuple[Identity, Claim]:
    """Return a row, given as DynamoDB has it on the wire."""
    known = shapes.item(item)
    try:
        at = date_milliseconds(item["detected_at"]["S"])
    except (KeyError, ValueError):
        at = 0
    return known.identity, _claim(known, shapes.place(item), at)


def row_by_key(table: Any, identity: Identity) -> Claim | None:  # noqa: ANN401 - a boto3 Table
    """Return the row of a transaction as the table itself has it now; None when there is none."""
    account, date, transaction = identity
    key = {"account_id": account, "transaction_key": transaction_key(date, transaction)}
    with translated():
        found = table.get_item(Key=key, ConsistentRead=True).get("Item")
    if found is None:
        return None
    wire = {name: {"S": value} if isinstance(value, str) else {"N": str(value)} for name, value in found.items()}
    known, claim = row(wire)
    return claim if known == identity else None


def failed(documents: Iterable[bytes]) -> Iterator[tuple[Identity, Claim]]:
    """Yield the detections in documents of the on-failure destination; what is none is left out."""
    for body in bodies(documents):
        try:
            known = shapes.detection(b64decode(body.get("value") or ""))
        except Malformed:
            continue
        yield known.identity, _claim(known, (body["partition"], body["offset"]), body.get("timestamp") or 0)


def bodies(documents: Iterable[bytes]) -> Iterator[Mapping[str, Any]]:
    """Yield the records in documents of the on-failure destination, as they stood in the event; others are left out."""
    for document in documents:
        try:
            payload = json.loads(json.loads(document)["payload"])
        except (ValueError, KeyError, TypeError):
            continue
        for records in payload.get("records", {}).values():
            yield from records


def claim(found: FlaggedTransaction | AuditRow, place: Place, at: int = 0) -> Claim:
    """Return what a detection says; `place` is that of its processed record, `at` when that was published."""
    return _claim(shapes.detected(found), place, at)


def _claim(known: Detected, place: Place, at: int) -> Claim:
    return Claim(place, known.transaction, known.flag, known.why, known.digest, at)
