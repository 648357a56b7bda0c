"""Kafka's topics in memory: what is written can be read, by the code that reads real ones."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from fraudctl.clock import Clock
from fraudctl.pipeline import topics
from fraudctl.pipeline.reader import Batch, Bounds, Positions, Record, Request
from fraudctl.services import reading
from fraudctl.target import Outgoing, PartitionInfo, Range, Report, TopicInfo

PARTITIONS = 2


@dataclass
class TopicsInMemory:
    """Reads and writes; satisfies `Records`, and `fraudctl.pipeline.reader.Source`.

    Records get the time of `now`, a second later with each. `written` is told of each record that was written.
    `fails_after` records a write is interrupted, as by a kill.
    """

    now: int = 1_790_000_000_000
    logs: dict[str, list[list[Record]]] = field(default_factory=dict)
    lows: dict[str, dict[int, int]] = field(default_factory=dict)
    written: Callable[[Record], None] = lambda _: None
    fails_after: int | None = None
    asked: list[tuple[str, Range]] = field(default_factory=list)

    def log(self, topic: str) -> list[list[Record]]:
        """Return a topic's partitions."""
        return self.logs.setdefault(topic, [[] for _ in range(PARTITIONS)])

    def append(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = b"7001",
        headers: tuple[tuple[str, bytes | None], ...] = (),
        partition: int = 0,
    ) -> Record:
        """Add a record and return it."""
        self.now += 1000
        log = self.log(topic)[partition]
        record = Record(topic, partition, len(log), self.now, key, value, headers)
        log.append(record)
        self.written(record)
        return record

    def delete(self, topic: str, partition: int, before: int) -> None:
        """Delete records as retention does."""
        self.lows.setdefault(topic, {})[partition] = before

    def infos(self) -> list[TopicInfo]:
        """Return the pipeline's topics with the ranges of their offsets."""
        return [
            TopicInfo(
                topic.alias,
                topic.name,
                exists=True,
                partitions=tuple(
                    PartitionInfo(number, 1, self._low(topic.name, number), len(log))
                    for number, log in enumerate(self.log(topic.name))
                ),
            )
            for topic in topics.ALL
        ]

    def read(self, topic: str, wanted: Range) -> Iterator[Record]:
        """Yield the records of all batches."""
        for batch in self.batches(topic, wanted):
            yield from batch.records

    def batches(self, topic: str, wanted: Range) -> Iterator[Batch]:
        """Yield batches as the local target does."""
        self.asked.append((topic, wanted))
        yield from reading.batches(self, topic, wanted, Clock(now=lambda: self.now / 1000))

    def write(self, topic: str, records: Iterable[Outgoing]) -> Report:
        """Add the records."""
        count = 0
        for record in records:
            if self.fails_after is not None and count == self.fails_after:
                raise KeyboardInterrupt
            self.append(topic, record.value, record.key, record.headers, partition=count % PARTITIONS)
            count += 1
        return Report(count)

    def generate(self, count: int) -> None:
        """Leave it to the caller."""

    def bounds(self, topic: str) -> Bounds:
        """Return the range of offsets of every partition."""
        logs = self.log(topic)
        return Bounds(
            {number: self._low(topic, number) for number in range(len(logs))},
            {number: len(log) for number, log in enumerate(logs)},
        )

    def offsets_at(self, topic: str, ends: Positions, moment: int) -> dict[int, int]:
        """Return where a time lies."""
        return {
            number: next(
                (r.offset for r in log[self._low(topic, number) :] if (r.timestamp or 0) >= moment), ends[number]
            )
            for number, log in enumerate(self.log(topic))
        }

    def poll(self, request: Request) -> Batch:
        """Return all that there is."""
        logs = self.log(request.topic)
        ends = request.ends or {number: len(logs[number]) for number in request.positions}
        found = [
            record
            for number, at in request.positions.items()
            for record in logs[number][max(at, self._low(request.topic, number)) : ends.get(number, len(logs[number]))]
        ]
        positions = {number: max(at, ends.get(number, at)) for number, at in request.positions.items()}
        return Batch(found, positions, dict(ends), scanned=len(found))

    def _low(self, topic: str, partition: int) -> int:
        return self.lows.get(topic, {}).get(partition, 0)
