"""What processed_topic still has of the windows to seal: the rows that its records have to have become."""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from fraudctl import tables
from fraudctl.clock import Clock
from fraudctl.pipeline import audit_table, topics
from fraudctl.pipeline.audit_table import AuditRow
from fraudctl.pipeline.reader import Record
from fraudctl.pipeline.records import FlaggedTransaction, Malformed
from fraudctl.services.seal import canonical
from fraudctl.services.verify.reconcile import committed_by_writer
from fraudctl.target import Event, From, Phase, Range, Target

_AT_ONCE: Final = 5_000
_SHOWN_EVERY_SECONDS: Final = 0.5
NEVER: Final = 2**63

Place = tuple[int, int]


@dataclass(slots=True)
class Read:
    """What was read: the earliest offset that each partition has, and up to which time AuditWriter has read all.

    `transactions` has the first transaction of each partition that a record came from.
    """

    earliest: dict[int, int] = field(default_factory=dict)
    horizon: int = NEVER
    transactions: dict[int, int] = field(default_factory=dict)


class Processed:
    """The records of processed_topic as the rows that they have to be, by their place, in a file."""

    def __init__(self, file: Path, clock: Clock) -> None:
        """Make the file; raises OSError and what sqlite3 raises."""
        self._clock = clock
        self._connection = sqlite3.connect(file)
        self._connection.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
            "CREATE TABLE processed (partition INTEGER, offset INTEGER, at INTEGER, digest TEXT,"
            " PRIMARY KEY (partition, offset)) WITHOUT ROWID"
        )
        self.read = Read()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._connection.close()

    def fill(self, target: Target, since: int) -> Iterator[Event]:
        """Read what was published from a time on, in epoch milliseconds; raises `Unreachable`.

        How far AuditWriter is, is asked before: what lies below has been written when rows are read later.
        """
        name, count, shown = topics.PROCESSED.name, 0, self._clock.monotonic()
        yield Event(name, Phase.STARTED)
        written = committed_by_writer(target)
        found = target.topics.describe(name)
        self.read.earliest = {part.partition: part.earliest for part in found.partitions}
        new: list[tuple[int, int, int, str | None]] = []
        for batch in target.records.batches(name, Range(From.TIME, since=since, follow=False)):
            for record in batch.records:
                at = record.timestamp or 0
                if record.offset >= written.get(record.partition, 0):
                    self.read.horizon = min(self.read.horizon, at)
                new.append((record.partition, record.offset, at, self._digest(record)))
                count += 1
            if len(new) >= _AT_ONCE:
                self._keep(new)
            if self._clock.monotonic() - shown >= _SHOWN_EVERY_SECONDS:
                shown = self._clock.monotonic()
                yield Event(name, Phase.PROGRESS, f"{count:,} records")
        self._keep(new)
        yield Event(name, Phase.DONE, tables.plural(count, "record"))

    def at(self, place: Place) -> tuple[int, str | None] | None:
        """Return when a record was published and the digest of its row, None for what is no detection."""
        found = self._connection.execute("SELECT at, digest FROM processed WHERE partition = ? AND offset = ?", place)
        row: tuple[int, str | None] | None = found.fetchone()
        return row

    def _digest(self, record: Record) -> str | None:
        try:
            detection = FlaggedTransaction.parse(record.value)
        except Malformed:
            return None  # somebody else's; AuditWriter puts it aside
        first = self.read.transactions
        place = detection.transaction_partition
        first[place] = min(first.get(place, NEVER), detection.transaction_offset)
        with suppress(OverflowError):
            item = audit_table.item(detection, record.timestamp or 0, record.partition, record.offset)
            return canonical.line(canonical.values(AuditRow.from_item(item))).digest
        return None

    def _keep(self, new: list[tuple[int, int, int, str | None]]) -> None:
        # SQLite's integers have 64 bits, as Kafka's offsets.
        self._connection.executemany("INSERT OR REPLACE INTO processed VALUES (?, ?, ?, ?)", new)
        new.clear()
