"""What is known of each transaction: from the topics, the audit table and the on-failure destination.

Evidence lies in a SQLite file in the folder for temporary files, so memory does not grow with the number of
detections; only the flag events of all accounts are held.
"""

import hashlib
import json
import sqlite3
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from fraudctl.pipeline import topics
from fraudctl.pipeline.audit_table import AuditRow
from fraudctl.pipeline.fields import decode, dump
from fraudctl.pipeline.reader import Record
from fraudctl.pipeline.reader import Records as Columns
from fraudctl.pipeline.records import FlaggedTransaction, Malformed, Transaction
from fraudctl.services.flags.reading import ACCOUNT, Reach, naming
from fraudctl.services.flags.rule import Rule
from fraudctl.target import From, Range, Records

Identity = tuple[int, str, str]  # account_id, transaction_date, transaction_id
Place = tuple[int, int]  # partition and offset

_CENT: Final = ".2f"
_AT_ONCE: Final = 5_000
_NOT: Final = frozenset({None})


class Sent(NamedTuple):
    """A transaction as it lies in its topic; `flags` are the places of the events of every right outcome."""

    place: Place
    published: int
    flags: tuple[Place | None, ...]
    digest: str


class Claim(NamedTuple):
    """What says that a transaction was detected: a processed record, a row or an on-failure document.

    `place` is that of the processed record; `why` the flag event's date, reason and author as they are said there.
    """

    place: Place
    transaction: Place
    flag: Place
    why: tuple[str, str | None, str]
    digest: str


@dataclass(slots=True)
class Evidence:
    """All that is known of one transaction, and of its copies."""

    identity: Identity
    sent: list[Sent] = field(default_factory=list)
    processed: list[Claim] = field(default_factory=list)
    rows: list[Claim] = field(default_factory=list)
    failed: list[Claim] = field(default_factory=list)


_KINDS: Final = ("sent", "processed", "rows", "failed")


class Store:
    """Evidence by transaction, on disk."""

    def __init__(self, file: Path) -> None:
        """Make the file; raises OSError and what sqlite3 raises."""
        self._connection = sqlite3.connect(file)
        self._connection.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
            "CREATE TABLE evidence (account INTEGER, date TEXT, id TEXT, kind INTEGER, content TEXT)"
        )
        self._new: list[tuple[int, str, str, int, str]] = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._connection.close()

    def add(self, kind: str, identity: Identity, found: Sent | Claim) -> None:
        """Keep one piece of evidence."""
        self._new.append((*identity, _KINDS.index(kind), json.dumps(found)))
        if len(self._new) >= _AT_ONCE:
            self._flush()

    def all(self) -> Iterator[Evidence]:
        """Yield the evidence of each transaction, account by account in the order of dates."""
        self._flush()
        found = self._connection.execute("SELECT * FROM evidence ORDER BY account, date, id, kind, rowid")
        for identity, entries in groupby(found, key=lambda entry: (entry[0], entry[1], entry[2])):
            evidence = Evidence(identity)
            for *_, kind, content in entries:
                getattr(evidence, _KINDS[kind]).append((_sent if kind == 0 else _claim)(json.loads(content)))
            yield evidence

    def _flush(self) -> None:
        self._connection.executemany("INSERT INTO evidence VALUES (?, ?, ?, ?, ?)", self._new)
        self._new.clear()


def _sent(content: Sequence[Any]) -> Sent:
    place, published, flags, digest = content
    return Sent((place[0], place[1]), published, tuple(flag and (flag[0], flag[1]) for flag in flags), digest)


def _claim(content: Sequence[Any]) -> Claim:
    place, transaction, flag, why, digest = content
    return Claim((place[0], place[1]), (transaction[0], transaction[1]), (flag[0], flag[1]), tuple(why), digest)


def at(records: Records, topic: str, place: Place) -> Record | None:
    """Return the record at a place; None when Kafka does not have it any more."""
    wanted = Range(From.OFFSETS, offsets={place[0]: place[1]}, limit=1, follow=False)
    found = next(records.read(topic, wanted), None)
    return found if found is not None and found.offset == place[1] else None


def named(records: Records, topic: str, transaction_id: str) -> Iterator[Record]:
    """Yield the records of a topic whose value has a transaction's id somewhere."""
    keep = naming(transaction_id.encode())
    return records.read(topic, Range(From.BEGINNING, follow=False, keep=keep))


def sent(
    records: Records, wanted: Range, rule: Rule, reach: Reach, committed: Mapping[int, int]
) -> Iterator[tuple[int, int | None, tuple[Identity, Sent] | None]]:
    """Yield, batch by batch, what was read of the transactions' topic.

    Each is a count, the time of the first record that the application has not read (`committed` is where it goes on),
    and a transaction that is detected, or may be, or None.
    """
    accounts = {b"%d" % account for account in rule.histories}
    for batch in records.batches(topics.TRANSACTIONS.name, wanted):
        found = batch.records if isinstance(batch.records, Columns) else Columns("", list(batch.records))
        values, partitions, offsets, times = found.values(), found.partitions(), found.offsets(), found.timestamps()
        for partition in set(partitions) - reach.starts.keys():
            at = partitions.index(partition)
            reach.starts[partition], reach.first_at[partition] = offsets[at], times[at] or 0
        for index, value in enumerate(values):
            # Most are of accounts that were never flagged; to find that out, the record need not be decoded.
            named = ACCOUNT.findall(value or b"")
            if len(named) == 1 and named[0] not in accounts and b"\\" not in value:  # type: ignore[operator]
                continue
            try:
                transaction = Transaction.parse(value)
            except Malformed:
                continue  # a dead letter
            published = times[index] or 0
            outcomes = rule.outcomes(transaction, published)
            if outcomes == _NOT:
                continue
            places = tuple(event and (event.partition, event.offset) for event in outcomes)
            piece = Sent((partitions[index], offsets[index]), published, places, digest(transaction))
            yield 0, None, (identity(transaction), piece)
        unread = None
        if any(batch.positions[partition] > committed.get(partition, 0) for partition in set(partitions)):
            places_and_times = zip(partitions, offsets, times, strict=True)
            unread = min((at or 0 for p, offset, at in places_and_times if offset >= committed.get(p, 0)), default=None)
        reach.ends.update(batch.positions)
        yield len(found), unread, None


def processed(records: Records, wanted: Range, reach: Reach) -> Iterator[tuple[Identity, Claim]]:
    """Yield the detections in processed_topic."""
    for batch in records.batches(topics.PROCESSED.name, wanted):
        for record in batch.records:
            reach.starts.setdefault(record.partition, record.offset)
            try:
                found = FlaggedTransaction.parse(record.value)
            except Malformed:
                continue  # somebody else's; AuditWriter puts it aside
            yield identity(found), claim(found, (record.partition, record.offset))
        reach.ends.update(batch.positions)


def failed(documents: Iterable[bytes]) -> Iterator[tuple[Identity, Claim]]:
    """Yield the detections in documents of the on-failure destination; what is none is left out."""
    for document in documents:
        try:
            payload = json.loads(json.loads(document)["payload"])
        except (ValueError, KeyError, TypeError):
            continue
        for records in payload.get("records", {}).values():
            for record in records:
                try:
                    found = FlaggedTransaction.parse(b64decode(record.get("value") or ""))
                except Malformed:
                    continue
                yield identity(found), claim(found, (record["partition"], record["offset"]))


def identity(found: Transaction | FlaggedTransaction | AuditRow) -> Identity:
    """Return what makes two records the same transaction."""
    return found.account_id, found.transaction_date, found.transaction_id


def claim(found: FlaggedTransaction | AuditRow, place: Place) -> Claim:
    """Return what a detection says; `place` is that of its processed record."""
    return Claim(
        place,
        (found.transaction_partition, found.transaction_offset),
        (found.flag_partition, found.flag_offset),
        (found.flag_date, found.flag_reason, found.flagged_by),
        digest(found),
    )


def digest(found: Transaction | FlaggedTransaction | AuditRow) -> str:
    """Return what tells a transaction's content, further fields included, from any other."""
    parts = [str(getattr(found, field.name)) for field in Transaction.FIELDS if field.name != "amount"]
    parts.append(format(found.amount, _CENT))
    if found.extra:
        parts.append(dump(dict(sorted(decode(found.extra).items()))))
    return hashlib.sha256("\x1f".join(parts).encode(errors="surrogatepass")).hexdigest()[:16]
