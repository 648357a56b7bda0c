"""Read topics by hand-made assignment: no consumer group is joined, no offset committed, nothing on the broker changes.

`Reader.poll` reads once; `fraudctl.pipeline.polling` strings such reads together, wherever they are made.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import merge
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from fraudctl.pipeline.kafka import headers

if TYPE_CHECKING:
    from confluent_kafka import Consumer, TopicPartition

Start = Literal["now", "beginning", "last", "time"]
Positions = Mapping[int, int]

_BATCH: Final = 10_000
_ANSWER_SECONDS: Final = 5.0
_STILL_THERE_SECONDS: Final = 2.0
# Producers set the time in some topics, so a record may lie a little behind newer ones.
_DISORDER_MS: Final = 60_000


class Record(NamedTuple):
    """One Kafka record as the broker has it; `timestamp` in epoch milliseconds, None when the broker has none.

    A named tuple, because millions of them are made: a frozen dataclass takes four times as long.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """What to read. Times are epoch milliseconds: `since` is the first that counts, `until` the first that doesn't.

    The start is `start` (the last `count` records over all partitions, or the first at or after `since`) unless an
    earlier batch's `positions` are given; nothing at or beyond `ends` is read. A poll waits `wait_s` seconds
    for a record.
    """

    topic: str
    start: Start = "now"
    count: int = 0
    since: int | None = None
    until: int | None = None
    positions: Positions = field(default_factory=dict)
    ends: Positions = field(default_factory=dict)
    limit: int | None = None
    wait_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Batch:
    """What one poll read, where the next begins (`positions`), where the topic ends, and why no broker answers."""

    records: Sequence[Record]
    positions: Positions
    ends: Positions
    unreachable: str | None = None

    @property
    def at_end(self) -> bool:
        """Whether everything up to the ends was read."""
        return all(self.positions[partition] >= end for partition, end in self.ends.items())


def properties(connection: Mapping[str, Any]) -> dict[str, Any]:
    """Return a reading consumer's properties. librdkafka needs a group id; no member of that group ever appears."""
    return {
        **connection,
        "group.id": "fraudctl-reader",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",  # of records deleted meanwhile: go on with the oldest that is left
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 100,
        # By default a full queue pauses fetching for a second, longer than it takes to empty it.
        "fetch.queue.backoff.ms": 10,
        # Whoever pipes into a pager may read for hours.
        "max.poll.interval.ms": 24 * 60 * 60 * 1000,
    }


class Reader:
    """A consumer that stays where the last poll left it, so that what it has fetched ahead is not thrown away."""

    def __init__(self, consumer: "Consumer", *, clock: Callable[[], float] = time.time) -> None:
        """Store the consumer, made with `properties`, and the clock, which returns epoch seconds; no I/O."""
        self._consumer, self._clock = consumer, clock
        self._positions: dict[int, int] = {}
        self._highs: dict[int, int] = {}

    def poll(self, request: Request) -> Batch:
        """Return a batch as soon as there are records, else after `wait_s` or at the request's ends.

        Raises KafkaException when the start cannot be found out, or when the topic does not exist (any more).
        """
        if request.positions:
            bounds = dict(request.ends)
            if request.positions != self._positions:
                self._watermarks(request.topic, request.positions, _ANSWER_SECONDS)
                self._assign(request.topic, request.positions)
        else:
            starts, bounds = self._start(request)
            if request.start == "last":
                return self._last(request, starts, bounds)
            self._assign(request.topic, starts)
        return self._next(request, bounds)

    def _next(self, request: Request, bounds: dict[int, int]) -> Batch:
        records: list[Record] = []
        unreachable = None
        if not bounds or any(self._positions[partition] < end for partition, end in bounds.items()):
            size = _BATCH if request.limit is None else min(_BATCH, request.limit)
            messages = self._messages(size, request.wait_s)
            records = self._records(request.topic, messages)
            if not messages:
                unreachable = self._silent(request.topic)
        if bounds:
            records = [record for record in records if record.offset < bounds[record.partition]]
            self._positions = {p: min(at, bounds[p]) for p, at in self._positions.items()}
        ends = bounds or self._ends(request.topic)
        return Batch(_within(records, request), dict(self._positions), ends, unreachable)

    def _messages(self, size: int, wait_s: float) -> list[Any]:
        # consume() waits until the batch is full, so the first record of a quiet topic is waited for by poll().
        messages = self._consumer.consume(size, 0)
        if not messages and (first := self._consumer.poll(wait_s)) is not None:
            messages = [first, *self._consumer.consume(size - 1, 0)] if size > 1 else [first]
        return messages

    def _records(self, topic: str, messages: list[Any]) -> list[Record]:
        records = []
        positions = self._positions
        for message in messages:
            if message.error() is not None:
                self._event(message)
                continue
            partition, offset = message.partition(), message.offset()
            kind, timestamp = message.timestamp()
            records.append(
                Record(
                    topic,
                    partition,
                    offset,
                    timestamp if kind else None,
                    message.key(),
                    message.value(),
                    headers(message),
                )
            )
            positions[partition] = offset + 1
        return records

    def _event(self, message: Any) -> None:  # noqa: ANN401 - a Message with an error, which its type calls optional
        from confluent_kafka import KafkaError, KafkaException

        error = message.error()
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own codes are named so
            # A transaction's marker is no record: only this event tells that the end lies beyond it.
            partition = message.partition()
            self._positions[partition] = max(self._positions[partition], message.offset())
        elif error.code() in {
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError._AUTHENTICATION,  # noqa: SLF001
            KafkaError._FATAL,  # noqa: SLF001
        }:
            raise KafkaException(error)

    def _silent(self, topic: str) -> str | None:
        """Return why no broker answers, or None if only the topic is silent; librdkafka itself reports neither."""
        from confluent_kafka import KafkaException

        try:
            self._watermarks(topic, self._positions, _STILL_THERE_SECONDS)
        except KafkaException as error:
            return str(error.args[0].str())
        return None

    def _start(self, request: Request) -> tuple[dict[int, int], dict[int, int]]:
        """Return where each partition starts and, if the request can be answered from what is there, where it ends."""
        from confluent_kafka import KafkaException

        metadata = self._consumer.list_topics(request.topic, timeout=_ANSWER_SECONDS).topics[request.topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        lows = self._watermarks(request.topic, metadata.partitions, _ANSWER_SECONDS)
        highs = dict(self._highs)
        bounds = dict(request.ends)
        if request.until is not None and request.until + _DISORDER_MS < self._clock() * 1000:
            bounds = self._at_time(request.topic, highs, request.until + _DISORDER_MS)
        match request.start:
            case "now":
                return highs, bounds
            case "beginning":
                return lows, bounds
            case "time":
                return self._at_time(request.topic, highs, request.since or 0), bounds
            case "last":
                return lows, bounds or highs

    def _at_time(self, topic: str, highs: Positions, moment: int) -> dict[int, int]:
        from confluent_kafka import TopicPartition

        wanted = [TopicPartition(topic, partition, moment) for partition in highs]
        found = self._consumer.offsets_for_times(wanted, timeout=_ANSWER_SECONDS)
        return {p.partition: p.offset if p.offset >= 0 else highs[p.partition] for p in found}

    def _last(self, request: Request, lows: Positions, bounds: dict[int, int]) -> Batch:
        """Read back in every partition until `count` records or its beginning are reached; return the newest."""
        lists: dict[int, list[Record]] = {partition: [] for partition in lows}
        open_ = {partition for partition, low in lows.items() if low < bounds[partition]} if request.count else set()
        back = request.count
        while open_:
            starts = {partition: max(lows[partition], bounds[partition] - back) for partition in open_}
            self._assign(request.topic, starts)
            found = self._all(request, {partition: bounds[partition] for partition in open_})
            for partition in sorted(open_):
                lists[partition] = [record for record in found if record.partition == partition]
                if len(lists[partition]) >= request.count or starts[partition] == lows[partition]:
                    open_.discard(partition)
            back *= 4
        self._assign(request.topic, bounds)
        merged = list(merge(*lists.values(), key=lambda record: record.timestamp or 0))
        return Batch(merged[-request.count :] if request.count else [], dict(bounds), dict(bounds))

    def _all(self, request: Request, bounds: dict[int, int]) -> list[Record]:
        from confluent_kafka import KafkaError, KafkaException

        records: list[Record] = []
        last_heard = self._clock()
        while True:
            batch = self._next(replace(request, limit=None), bounds)
            records += batch.records
            if batch.at_end:
                return records
            if batch.unreachable is None:
                last_heard = self._clock()
            elif self._clock() - last_heard > _ANSWER_SECONDS:
                raise KafkaException(KafkaError(KafkaError._TRANSPORT, batch.unreachable))  # noqa: SLF001

    def _assign(self, topic: str, positions: Positions) -> None:
        self._consumer.assign(self._partitions(topic, positions, positions))
        self._positions = dict(positions)

    def _watermarks(self, topic: str, numbers: Iterable[int], timeout: float) -> dict[int, int]:
        """Return the partitions' lowest offsets from the brokers, and store their ends."""
        lows = {}
        for partition in self._partitions(topic, numbers):
            number = partition.partition
            lows[number], self._highs[number] = self._consumer.get_watermark_offsets(partition, timeout=timeout)
        return lows

    def _ends(self, topic: str) -> dict[int, int]:
        """Return the end offsets as far as known; what was fetched last is newer than what was asked for."""
        for partition in self._partitions(topic, self._positions):
            number = partition.partition
            _, fetched = self._consumer.get_watermark_offsets(partition, cached=True)
            self._highs[number] = max(fetched, self._highs[number], self._positions[number])
        return {number: self._highs[number] for number in self._positions}

    @staticmethod
    def _partitions(topic: str, numbers: Iterable[int], offsets: Positions | None = None) -> "list[TopicPartition]":
        from confluent_kafka import TopicPartition

        if offsets is None:
            return [TopicPartition(topic, number) for number in numbers]
        return [TopicPartition(topic, number, offsets[number]) for number in numbers]


def _within(records: list[Record], request: Request) -> list[Record]:
    since, until = request.since, request.until
    if since is None and until is None:
        return records
    lowest = since if since is not None else 0
    highest = until if until is not None else 2**63
    return [record for record in records if lowest <= (record.timestamp or 0) < highest]
