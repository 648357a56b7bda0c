"""Read topics by hand-made assignment: no consumer group is joined, no offset committed, nothing on the broker changes.

A `Source` answers three questions about a topic: what it holds (`bounds`), where a time lies (`offsets_at`), and what
comes next from given positions (`poll`). `Reader` is the source with Kafka's own protocol; `fraudctl.services.reading`
strings its answers together, wherever they are made.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter, methodcaller
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, overload

from fraudctl.pipeline import kafka

if TYPE_CHECKING:
    from confluent_kafka import Consumer, TopicPartition

Positions = Mapping[int, int]

# A few thousand objects stay in the processor's caches; 10,000 at a time take a third longer.
_BATCH: Final = 2_000
_ANSWER_SECONDS: Final = 5.0
_STILL_THERE_SECONDS: Final = 2.0


class Record(NamedTuple):
    """One Kafka record as the broker has it; `timestamp` in epoch milliseconds, None when the broker has none.

    A named tuple, because many are made: a frozen dataclass takes four times as long.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class _Access(NamedTuple):
    """How the items of `Records` are asked for a column; each in C, so that a column of thousands is made by `map`."""

    partition: Callable[[Any], int]
    offset: Callable[[Any], int]
    timestamp: Callable[[Any], Any]
    key: Callable[[Any], bytes | None]
    value: Callable[[Any], bytes | None]
    headers: Callable[[Any], Any]


_NAMES: Final = _Access._fields
_OF_RECORDS: Final = _Access(*map(attrgetter, _NAMES))
_OF_MESSAGES: Final = _Access(*map(methodcaller, _NAMES))
_ERROR: Final = methodcaller("error")


class Records(Sequence[Record]):
    """Records of one topic, as columns or one by one; a `Record` is made only when it is asked for.

    Most readers need the values alone, or five columns of a thousand records at a time. Making a million `Record`
    takes longer than reading them from the broker.
    """

    __slots__ = ("_access", "_items", "_offsets", "_partitions", "topic")

    def __init__(self, topic: str, items: list[Any], access: _Access = _OF_RECORDS) -> None:
        """Store the items: `Record`, or whatever `access` can ask."""
        self.topic, self._items, self._access = topic, items, access
        self._partitions: list[int] | None = None
        self._offsets: list[int] | None = None

    @classmethod
    def of_messages(cls, topic: str, messages: list[Any]) -> "Records":
        """Return consumed messages of confluent_kafka, none of them an error, as records."""
        return cls(topic, messages, _OF_MESSAGES)

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._items)

    def __iter__(self) -> Iterator[Record]:
        """Yield each as a `Record`."""
        if self._access is _OF_RECORDS:
            return iter(self._items)
        columns = (self.partitions(), self.offsets(), self.timestamps(), self.keys(), self.values(), self.headers())
        return (Record(self.topic, *fields) for fields in zip(*columns, strict=True))

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> "Records": ...

    def __getitem__(self, index: int | slice) -> "Record | Records":
        """Return one as a `Record`, or several as `Records`."""
        if isinstance(index, slice):
            return Records(self.topic, self._items[index], self._access)
        (record,) = Records(self.topic, [self._items[index]], self._access)
        return record

    def __eq__(self, other: object) -> bool:
        """Return whether another sequence has the same records."""
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def take(self, indexes: Iterable[int]) -> "Records":
        """Return the records at these indexes, in their order."""
        items = self._items
        return Records(self.topic, [items[index] for index in indexes], self._access)

    def joined(self, others: Iterable["Records"]) -> "Records":
        """Return these and others of the same source as one."""
        items = list(chain(self._items, *(other._items for other in others)))  # noqa: SLF001 - its own kind
        return Records(self.topic, items, self._access)

    def partitions(self) -> list[int]:
        """Return each record's partition; asked for twice, made once."""
        if self._partitions is None:
            self._partitions = list(map(self._access.partition, self._items))
        return self._partitions

    def offsets(self) -> list[int]:
        """Return each record's offset; asked for twice, made once."""
        if self._offsets is None:
            self._offsets = list(map(self._access.offset, self._items))
        return self._offsets

    def timestamps(self) -> list[int | None]:
        """Return each record's time in epoch milliseconds, None where there is none."""
        found = map(self._access.timestamp, self._items)
        if self._access is _OF_RECORDS:
            return list(found)
        return [timestamp if kind else None for kind, timestamp in found]

    def keys(self) -> list[bytes | None]:
        """Return each record's key."""
        return list(map(self._access.key, self._items))

    def values(self) -> list[bytes | None]:
        """Return each record's value."""
        return list(map(self._access.value, self._items))

    def headers(self) -> list[tuple[tuple[str, bytes | None], ...]]:
        """Return each record's headers."""
        if self._access is _OF_RECORDS:
            return list(map(self._access.headers, self._items))
        try:
            if not any(map(self._access.headers, self._items)):
                return [()] * len(self._items)
        except (SystemError, UnicodeDecodeError):
            pass  # read one by one below: a name that is not UTF-8
        return list(map(kafka.headers, self._items))


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a topic holds: each partition's lowest offset, and its end, which open transactions hold back."""

    lows: Positions
    highs: Positions


@dataclass(frozen=True, slots=True)
class Request:
    """What to read next: from `positions`, nothing at or beyond `ends`, at most `limit` records.

    A poll waits up to `wait_s` seconds for a record. The partitions in `paused` are left alone.
    """

    topic: str
    positions: Positions
    ends: Positions = field(default_factory=dict)
    paused: frozenset[int] = frozenset()
    limit: int | None = None
    wait_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Batch:
    """What one poll read, where the next begins (`positions`), where the topic ends, and why no broker answers.

    `ends` are the request's as far as they still exist: those of a topic that was created anew are lower. `lost` has
    the number of records of a partition that were deleted before they could be read. `scanned` counts the records
    that `records` was chosen from.
    """

    records: Sequence[Record]
    positions: Positions
    ends: Positions
    unreachable: str | None = None
    lost: Positions = field(default_factory=dict)
    scanned: int = 0

    @property
    def at_end(self) -> bool:
        """Whether everything up to the ends was read."""
        return all(self.positions[partition] >= end for partition, end in self.ends.items())


class Source(Protocol):
    """Where records come from. Raises KafkaException: for a topic that does not exist, or without an answer."""

    def bounds(self, topic: str) -> Bounds:
        """Return the range of offsets of every partition."""

    def offsets_at(self, topic: str, ends: Positions, moment: int) -> Positions:
        """Return the offset of the first record at or after a time, in epoch milliseconds; else the partition's end."""

    def poll(self, request: Request) -> Batch:
        """Return a batch as soon as there are records, else after the wait or at the request's ends."""


def properties(connection: Mapping[str, Any]) -> dict[str, Any]:
    """Return a reading consumer's properties. librdkafka needs a group id; no member of that group ever appears."""
    return {
        **connection,
        "group.id": "fraudctl-reader",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # Records deleted meanwhile are an event of their partition: they are counted, then the oldest left comes.
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 100,
        # By default a full queue pauses fetching for a second, longer than it takes to empty it.
        "fetch.queue.backoff.ms": 10,
        # What is fetched ahead, over all partitions; 64 MB by default, and fetches of 50 MB on top of it.
        "queued.max.messages.kbytes": 32 * 1024,
        "fetch.max.bytes": 8 * 1024 * 1024,
        # Whoever pipes into a pager may read for hours.
        "max.poll.interval.ms": 24 * 60 * 60 * 1000,
    }


class Reader:
    """A consumer that stays where the last poll left it, so that what it has fetched ahead is not thrown away."""

    def __init__(self, consumer: "Consumer", *, clock: Callable[[], float] = time.time) -> None:
        """Store the consumer, made with `properties`, and the clock, which returns epoch seconds; no I/O."""
        self._consumer, self._clock = consumer, clock
        self._positions: dict[int, int] = {}
        self._paused: frozenset[int] = frozenset()
        self._highs: dict[int, int] = {}

    def bounds(self, topic: str) -> Bounds:
        """Return the range of offsets of every partition.

        Raises:
            KafkaException: The topic does not exist, or no broker answers.
        """
        from confluent_kafka import KafkaException

        metadata = self._consumer.list_topics(topic, timeout=_ANSWER_SECONDS).topics[topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        lows = self._watermarks(topic, sorted(metadata.partitions), _ANSWER_SECONDS)
        return Bounds(lows, {partition: self._highs[partition] for partition in lows})

    def offsets_at(self, topic: str, ends: Positions, moment: int) -> dict[int, int]:
        """Return the offset of the first record at or after a time, in epoch milliseconds; else the partition's end."""
        from confluent_kafka import TopicPartition

        wanted = [TopicPartition(topic, partition, moment) for partition in ends]
        found = self._consumer.offsets_for_times(wanted, timeout=_ANSWER_SECONDS)
        return {p.partition: p.offset if p.offset >= 0 else ends[p.partition] for p in found}

    def poll(self, request: Request) -> Batch:
        """Return a batch as soon as there are records, else after `wait_s` or at the request's ends.

        Raises KafkaException when the topic does not exist (any more).
        """
        topic, bounds = request.topic, dict(request.ends)
        if request.positions != self._positions:
            self._watermarks(topic, request.positions, _ANSWER_SECONDS)
            self._assign(topic, request.positions)
        # What grows beyond its end while the others are read would be fetched for nothing.
        done = {partition for partition, end in bounds.items() if self._positions[partition] >= end}
        if (paused := request.paused | done) != self._paused:
            self._pause(topic, paused)
        records: Records = Records.of_messages(topic, [])
        unreachable, lost = None, dict[int, int]()
        if not bounds or any(self._positions[partition] < end for partition, end in bounds.items()):
            size = _BATCH if request.limit is None else min(_BATCH, request.limit)
            messages = self._messages(size, request.wait_s)
            if any(map(_ERROR, messages)):
                events = [message for message in messages if message.error() is not None]
                messages = [message for message in messages if message.error() is None]
                records = self._records(topic, messages, bounds)
                for event in events:
                    lost.update(self._event(topic, event, bounds))
            else:
                records = self._records(topic, messages, bounds)
                if not messages:
                    unreachable = self._silent(topic)
        ends = bounds or self._ends(topic)
        return Batch(records, dict(self._positions), ends, unreachable, lost, len(records))

    def _messages(self, size: int, wait_s: float) -> list[Any]:
        # consume() waits until the batch is full, so the first record of a quiet topic is waited for by poll().
        messages = self._consumer.consume(size, 0)
        if not messages and (first := self._consumer.poll(wait_s)) is not None:
            messages = [first, *self._consumer.consume(size - 1, 0)] if size > 1 else [first]
        return messages

    def _records(self, topic: str, messages: list[Any], bounds: Positions) -> Records:
        """Return the messages below the bounds as records, and move the positions behind them."""
        records = Records.of_messages(topic, messages)
        # Offsets grow within a partition, so the last one stays in the dictionary.
        last = dict(zip(records.partitions(), records.offsets(), strict=True))
        beyond = False
        for partition, offset in last.items():
            end = bounds.get(partition)
            beyond = beyond or (end is not None and offset >= end)
            self._positions[partition] = offset + 1 if end is None else min(offset + 1, end)
        if not beyond:
            return records
        places = zip(records.partitions(), records.offsets(), strict=True)
        return records.take(i for i, (partition, offset) in enumerate(places) if offset < bounds[partition])

    def _event(self, topic: str, message: Any, bounds: dict[int, int]) -> dict[int, int]:  # noqa: ANN401 - a Message
        """Take note of the end of a partition, or go on behind deleted records and return how many they were."""
        from confluent_kafka import KafkaError, KafkaException

        error, partition = message.error(), message.partition()
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own codes are named so
            # A transaction's marker is no record: only this event tells that the end lies beyond it.
            end = message.offset()
            self._positions[partition] = max(self._positions[partition], min(end, bounds.get(partition, end)))
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            return self._reset(topic, partition, bounds)
        elif error.code() in {
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError._AUTHENTICATION,  # noqa: SLF001
            KafkaError._FATAL,  # noqa: SLF001
        }:
            raise KafkaException(error)
        return {}

    def _reset(self, topic: str, partition: int, bounds: dict[int, int]) -> dict[int, int]:
        low = self._watermarks(topic, [partition], _ANSWER_SECONDS)[partition]
        at, end = self._positions[partition], bounds.get(partition)
        if at > self._highs[partition]:  # a topic of the same name, created meanwhile
            lost = 0
            self._positions[partition] = low
            if end is not None:
                bounds[partition] = self._highs[partition]
        else:
            # librdkafka may say it again when the oldest left is long behind: nobody goes back.
            self._positions[partition] = max(at, low if end is None else min(low, end))
            lost = self._positions[partition] - at
        self._assign(topic, self._positions)
        return {partition: lost} if lost else {}

    def _silent(self, topic: str) -> str | None:
        """Return why no broker answers, or None if only the topic is silent; librdkafka itself reports neither."""
        from confluent_kafka import KafkaException

        try:
            self._watermarks(topic, self._positions, _STILL_THERE_SECONDS)
        except KafkaException as error:
            return str(error.args[0].str())
        return None

    def _assign(self, topic: str, positions: Positions) -> None:
        paused = self._paused
        self._consumer.assign(self._partitions(topic, positions, positions))
        self._positions, self._paused = dict(positions), frozenset()
        if paused:
            self._pause(topic, paused & set(positions))

    def _pause(self, topic: str, paused: frozenset[int]) -> None:
        if more := paused - self._paused:
            self._consumer.pause(self._partitions(topic, more))
        if fewer := self._paused - paused:
            self._consumer.resume(self._partitions(topic, fewer))
        self._paused = paused

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
