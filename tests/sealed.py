"""A pipeline in memory whose rows can be sealed: topics of two partitions, and rows that tests spoil."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fakes import OUTPUTS, FakeTarget, FakeTopics
from histories import flag_json, transaction_json
from oracle import Flag, Transaction

from fraudctl.errors import NotDeployed
from fraudctl.pipeline import audit_table, records, topics
from fraudctl.pipeline.audit_table import AuditRow
from fraudctl.pipeline.dates import format_milliseconds
from fraudctl.pipeline.names import FLINK_GROUP
from fraudctl.pipeline.reader import Batch, Record
from fraudctl.services.seal import canonical
from fraudctl.services.seal.canonical import FIELDS, Identity, Line
from fraudctl.target import From, PartitionInfo, Range, TopicInfo

HOUR = 3_600_000
START = 1_795_773_600_000 - 1_795_773_600_000 % HOUR  # a whole hour
PARTITIONS = 2


@dataclass
class MemoryRecords:
    """Topics as lists; the earliest records can be dropped, as retention does."""

    kept: dict[str, dict[int, list[Record]]] = field(
        default_factory=lambda: {topic.name: {number: [] for number in range(PARTITIONS)} for topic in topics.ALL}
    )
    ends: dict[tuple[str, int], int] = field(default_factory=dict)

    def add(self, topic: str, partition: int, at: int, value: bytes) -> int:
        """Append a record; give its offset."""
        offset = self.ends.get((topic, partition), 0)
        self.ends[topic, partition] = offset + 1
        self.kept[topic][partition].append(Record(topic, partition, offset, at, None, value))
        return offset

    def read(self, topic: str, wanted: Range) -> Iterator[Record]:
        """Yield the records of all batches."""
        for batch in self.batches(topic, wanted):
            yield from batch.records

    def batches(self, topic: str, wanted: Range) -> Iterator[Batch]:
        """Yield one batch with all partitions."""
        found: list[Record] = []
        for partition, kept in self.kept[topic].items():
            if wanted.start is From.OFFSETS and partition not in wanted.offsets:
                continue
            found += [
                record
                for record in kept
                if (wanted.start is not From.TIME or (record.timestamp or 0) >= (wanted.since or 0))
                and (wanted.start is not From.OFFSETS or record.offset >= wanted.offsets[partition])
            ]
        ends = {partition: self.ends.get((topic, partition), 0) for partition in self.kept[topic]}
        yield Batch(found[: wanted.limit], ends, ends, scanned=len(found))


@dataclass
class MemoryTopics(FakeTopics):
    """What those topics hold."""

    records: MemoryRecords = field(default_factory=MemoryRecords)

    def list(self, *, activity: bool = False) -> list[TopicInfo]:
        """Give all topics."""
        del activity
        return [self.describe(topic.name) for topic in topics.ALL]

    def describe(self, name: str) -> TopicInfo:
        """Give one topic."""
        kept = self.records.kept[name]
        ends = {number: self.records.ends.get((name, number), 0) for number in kept}
        found = tuple(
            PartitionInfo(number, 1, kept[number][0].offset if kept[number] else ends[number], ends[number])
            for number in kept
        )
        return TopicInfo(name, name, exists=True, partitions=found)


class Pipeline:
    """Account 7001 is flagged, 7002 is not; every transaction of the first is detected 100 ms after it."""

    def __init__(self, table: Any) -> None:
        """Flag the account days before it starts."""
        self.table, self.records = table, MemoryRecords()
        topic = MemoryTopics(records=self.records)
        target: Any = FakeTarget(topics=topic, records=self.records, table=table)  # type: ignore[arg-type]
        target.stack.outputs = lambda: replace(OUTPUTS, slack_ms=0)
        self.target = target
        self.flag = Flag(0, 7001, START - 99 * HOUR, flagged=True, reason="stolen")
        self.records.add(topics.FLAGGED.name, 0, START - 99 * HOUR, flag_json(self.flag))
        self.items: list[dict[str, Any]] = []
        self.caught_up()

    def caught_up(self) -> None:
        """Let the application and AuditWriter have read everything."""
        ends = {
            name: {number: self.records.ends.get((name, number), 0) for number in range(PARTITIONS)}
            for name in self.records.kept
        }
        self.target.topics.positions = {
            topics.TRANSACTIONS.name: {FLINK_GROUP: ends[topics.TRANSACTIONS.name]},
            topics.FLAGGED.name: {FLINK_GROUP: ends[topics.FLAGGED.name]},
            topics.PROCESSED.name: {"audit-writer": ends[topics.PROCESSED.name]},
        }

    def send(self, at: int, name: str, partition: int = 0, account: int = 7001) -> dict[str, Any]:
        """Send a transaction some milliseconds after the start; detect it and write its row, if that is to be."""
        sent = Transaction(START + at, account, START + at, name)
        offset = self.records.add(topics.TRANSACTIONS.name, partition, START + at, transaction_json(sent))
        if account != 7001:
            self.caught_up()
            return {}
        event = records.AccountFlag.parse(flag_json(self.flag))
        found = records.FlaggedTransaction(
            **records.Transaction.parse(transaction_json(sent)).values(),
            flag_date=event.flag_date,
            flag_reason=event.reason,
            flagged_by=event.flagged_by,
            transaction_partition=partition,
            transaction_offset=offset,
            flag_partition=0,
            flag_offset=0,
        )
        place = self.records.add(topics.PROCESSED.name, partition, START + at + 100, found.to_json())
        item = audit_table.item(found, START + at + 100, partition, place)
        self.table.put_item(Item=item)
        self.items.append(item)
        self.caught_up()
        return item

    def forget(self, *names: str) -> None:
        """Delete all records of topics, as retention does."""
        for name in names:
            for kept in self.records.kept[name].values():
                kept.clear()


class MemoryRows:
    """Rows as `Check` takes them, which a test changes; `window` finds them by the key of the index, as DynamoDB."""

    def __init__(self, items: Sequence[dict[str, Any]]) -> None:
        """Copy the items."""
        self.items = [dict(item) for item in items]

    def window(self, since: int | None, until: int, fields: Sequence[str] = FIELDS) -> Iterator[Line]:
        """Yield the rows of a window."""
        low, high = (format_milliseconds(at) for at in (since or 0, until))
        for item in self.items:
            if low <= item["detected_key"] < high:
                yield canonical.line(canonical.values(AuditRow.from_item(item)), fields)

    def has(self, identity: Identity) -> bool:
        """Say whether a row is there, by its key."""
        account, date, transaction = identity
        key = account, audit_table.transaction_key(date, transaction)
        return any((item["account_id"], item["transaction_key"]) == key for item in self.items)


@dataclass
class MemoryArchive:
    """An archive as a dict."""

    files: dict[str, bytes] = field(default_factory=dict)
    place: str = "memory"

    def names(self) -> list[str]:
        """Give the names."""
        return sorted(self.files)

    def read(self, name: str) -> bytes:
        """Give a file, or refuse as a folder does."""
        if name not in self.files:
            raise NotDeployed(f"{name}: there is no such file", hint="")
        return self.files[name]

    def put(self, name: str, data: bytes) -> bool:
        """Keep a file unless there is one."""
        return self.files.setdefault(name, data) is data
