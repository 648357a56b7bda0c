"""Reading topics: real clients on librdkafka's mock broker, or a scripted consumer where that is too simple."""

import itertools
import re
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from fraudctl.clock import Clock
from fraudctl.errors import NotDeployed, Unreachable
from fraudctl.local.kafka.records import LocalRecords
from fraudctl.pipeline import kafka, reader
from fraudctl.pipeline.reader import Batch, Bounds, Positions, Reader, Record, Records, Request
from fraudctl.services import reading
from fraudctl.services.kafka_errors import missing
from fraudctl.target import From, Outgoing, Range

START = 1_790_000_000_000


@dataclass(frozen=True)
class Topic:
    """A topic of the mock broker's."""

    servers: str
    name: str = field(default_factory=lambda: f"topic-{uuid.uuid4().hex[:8]}")

    @property
    def records(self) -> LocalRecords:
        """What fraudctl reads and writes with."""
        return LocalRecords(lambda: kafka.client(self.servers))

    def write(self, numbers: range, partition: int | None = None) -> None:
        """Write one record per number: number n at second n, in partition n % 4 unless told otherwise."""
        producer = Producer({"bootstrap.servers": self.servers, "log_level": 0})
        for number in numbers:
            producer.produce(
                self.name,
                str(number),
                str(number),
                partition=number % 4 if partition is None else partition,
                timestamp=START + number * 1000,
                headers=[("n", b"%d" % number)],
            )
        assert producer.flush(30) == 0

    def read(self, wanted: Range) -> list[int]:
        """Read the numbers."""
        return [int(record.value or b"") for record in self.records.read(self.name, wanted)]


@pytest.fixture
def topic(broker: str) -> Topic:
    """A topic with the numbers 0 to 39."""
    topic = Topic(broker)
    topic.write(range(40))
    return topic


def test_a_record_is_read_as_the_broker_has_it(topic: Topic) -> None:
    """Every field, with the broker's own offset and time."""
    records = list(topic.records.read(topic.name, Range(From.BEGINNING, follow=False)))
    assert len(records) == 40
    assert Record(topic.name, 1, 2, START + 9000, b"9", b"9", (("n", b"9"),)) in records


def test_from_the_beginning_in_order_within_each_partition(topic: Topic) -> None:
    """All of it, once."""
    numbers = topic.read(Range(From.BEGINNING, follow=False))
    assert sorted(numbers) == list(range(40))
    for partition in range(4):
        mine = [number for number in numbers if number % 4 == partition]
        assert mine == sorted(mine)


@pytest.mark.parametrize("count", [0, 1, 3, 7, 40, 100])
def test_the_last_records_over_all_partitions_by_time(topic: Topic, count: int) -> None:
    """Merged by timestamp, oldest first."""
    assert topic.read(Range(From.LAST, count=count, follow=False)) == list(range(40))[40 - min(count, 40) :]


def test_the_last_records_may_all_lie_in_one_partition(broker: str) -> None:
    """As many from each partition as are needed."""
    topic = Topic(broker)
    topic.write(range(10))
    topic.write(range(10, 30), partition=2)
    assert topic.read(Range(From.LAST, count=15, follow=False)) == list(range(15, 30))


def test_from_now_on_ends_at_once_without_following(topic: Topic) -> None:
    """There is nothing to wait for."""
    assert topic.read(Range(From.NOW, follow=False)) == []


def test_the_limit_ends_even_an_endless_read(topic: Topic) -> None:
    """Exactly so many."""
    assert len(topic.read(Range(From.BEGINNING, limit=7))) == 7
    assert topic.read(Range(From.LAST, count=3, limit=3)) == [37, 38, 39]


def test_since_and_until_bound_the_time(topic: Topic) -> None:
    """The first that counts and the first that does not; a time that is over ends the read."""
    wanted = Range(From.BEGINNING, since=START + 5000, until=START + 8000)
    assert sorted(topic.read(wanted)) == [5, 6, 7]


def test_following_gives_what_comes_later_and_nothing_twice(topic: Topic) -> None:
    """From now on, then records written while reading."""
    found = topic.records.read(topic.name, Range(From.LAST, count=2, limit=6))
    assert [int(next(found).value or b"") for _ in range(2)] == [38, 39]
    writer = threading.Thread(target=topic.write, args=(range(40, 44),))
    writer.start()
    assert sorted(int(record.value or b"") for record in found) == [40, 41, 42, 43]
    writer.join()


def test_no_group_is_joined_and_nothing_committed(topic: Topic) -> None:
    """A look leaves the consumer assigned by hand; the group has no offsets."""
    consumer = Consumer(reader.properties(kafka.client(topic.servers)))
    batch = Reader(consumer).poll(Request(topic.name, dict.fromkeys(range(4), 0)))
    assert batch.records
    assert sorted(place.partition for place in consumer.assignment()) == [0, 1, 2, 3]
    assert consumer.memberid() in {None, ""}
    committed = consumer.committed([TopicPartition(topic.name, number) for number in range(4)], timeout=10)
    assert [place.offset for place in committed] == [-1001] * 4
    consumer.close()


def test_a_look_goes_on_where_another_reader_s_look_ended(topic: Topic) -> None:
    """The positions of a batch are all that is needed, so each look may be made elsewhere."""
    ends = dict.fromkeys(range(4), 10)
    request, found = Request(topic.name, dict.fromkeys(range(4), 0), ends, limit=9), []
    for _ in range(60):
        consumer = Consumer(reader.properties(kafka.client(topic.servers)))
        batch = Reader(consumer).poll(request)
        consumer.close()
        found += [int(record.value or b"") for record in batch.records]
        assert batch.ends == dict.fromkeys(range(4), 10)
        if batch.at_end:
            break
        request = replace(request, positions=batch.positions)
    assert sorted(found) == list(range(40))


def test_a_missing_topic_is_not_deployed() -> None:
    """With the topics that exist, and the command that helps."""
    host = Producer({"test.mock.num.brokers": 1, "log_level": 0})  # without the topics of other tests
    found = next(iter(host.list_topics(timeout=10).brokers.values()))
    topic = Topic(f"{found.host}:{found.port}")
    topic.write(range(4))
    with pytest.raises(NotDeployed, match="topic nowhere: does not exist in Kafka, which has ") as raised:
        list(topic.records.read("nowhere", Range()))
    assert topic.name in str(raised.value)
    assert raised.value.hint == "run `fraudctl topics create`"


@pytest.mark.parametrize(
    ("existing", "said"),
    [
        ((), ""),
        (("b", "__consumer_offsets"), ", which has b"),
        (("b", "c", "a"), ", which has a, b and c"),
        ([f"t{number:02d}" for number in range(1000)], ", which has " + "".join(f"t{n:02d}, " for n in range(10))),
    ],
    ids=["none", "one", "some", "many"],
)
def test_the_topics_that_exist_are_named(existing: Sequence[str], said: str) -> None:
    """The first ten, and how many more there are; Kafka's own are nobody's business."""
    text = str(missing("topic x", existing))
    many = len(existing) > 10
    assert text == "topic x: does not exist in Kafka" + (f"{said[:-2]} and 990 more" if many else said)


def test_every_client_says_who_it_is() -> None:
    """By name and version, in the characters that Kafka has always allowed, at the head of each request."""
    assert re.fullmatch(r"fraudctl-[0-9][A-Za-z0-9._-]*", kafka.CLIENT_ID)
    heard: list[bytes] = []

    def listen(server: socket.socket) -> None:
        for _ in range(3):
            with server.accept()[0] as client:
                heard.append(client.recv(4096))

    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = kafka.client(f"127.0.0.1:{server.getsockname()[1]}")
        listener = threading.Thread(target=listen, args=(server,))
        listener.start()
        clients: list[Any] = [
            kafka.open_consumer(reader.properties(connection)),
            kafka.open_producer(kafka.producer(connection)),
            AdminClient(connection),
        ]
        for client in clients:
            client.poll(0)
        listener.join(30)
        assert not listener.is_alive()
    # ApiVersions, key 18: size, key, version, correlation id, then the client's name with its length.
    wanted = len(kafka.CLIENT_ID).to_bytes(2, "big") + kafka.CLIENT_ID.encode()
    assert [request[4:6] for request in heard] == [b"\x00\x12"] * 3
    assert all(request[12:].startswith(wanted) for request in heard), heard


def test_nobody_on_the_port_is_unreachable(capfd: pytest.CaptureFixture[str]) -> None:
    """Exit 4 within seconds, and librdkafka keeps its lines off the terminal."""
    with pytest.raises(Unreachable, match="topic t: Kafka does not answer"):
        next(LocalRecords(lambda: kafka.client("127.0.0.1:9")).read("t", Range()))
    assert capfd.readouterr() == ("", "")


def test_write_reports_every_delivery(topic: Topic) -> None:
    """And a record that is too large is counted, with the reason."""
    report = topic.records.write(topic.name, [Outgoing(b"k", b"40"), Outgoing(None, b"x" * 3_000_000)])
    assert (report.delivered, report.failed) == (1, 1)
    assert "too large" in report.reasons[0]
    assert len(topic.read(Range(From.BEGINNING, follow=False))) == 41


class FakeMessage:
    """A record or an event of a partition."""

    def __init__(self, partition: int, offset: int, error: int | None = None, timestamp: int = START) -> None:
        """An event when there is an error."""
        self._partition, self._offset, self._error, self._timestamp = partition, offset, error, timestamp

    def partition(self) -> int:
        """Its partition."""
        return self._partition

    def offset(self) -> int:
        """Its offset."""
        return self._offset

    def error(self) -> KafkaError | None:
        """Its error."""
        return None if self._error is None else KafkaError(self._error, "told so")

    def timestamp(self) -> tuple[int, int]:
        """Its time, or none for a negative one."""
        return (1, self._timestamp) if self._timestamp >= 0 else (0, -1)

    def key(self) -> bytes:
        """Its key."""
        return b"k"

    def value(self) -> bytes:
        """Its value."""
        return b"%d" % self._offset

    def headers(self) -> None:
        """It has none."""


@dataclass
class FakeConsumer:
    """Partitions with holes: `records` lie below `highs`, whose last offsets may be markers that are no records."""

    lows: Mapping[int, int]
    highs: Mapping[int, int]
    records: Mapping[int, list[tuple[int, int]]]  # partition -> (offset, time)
    down: bool = False
    paused: set[int] = field(default_factory=set)
    assigned: list[dict[int, int]] = field(default_factory=list)
    _queue: Iterator[FakeMessage] = field(default_factory=lambda: iter(()))

    def list_topics(self, topic: str, timeout: float) -> Any:
        """One topic."""
        del timeout
        return type("", (), {"topics": {topic: type("", (), {"error": None, "partitions": dict(self.highs)})}})

    def get_watermark_offsets(
        self, place: TopicPartition, timeout: float = 0, *, cached: bool = False
    ) -> tuple[int, int]:
        """Fails when the broker is down; what is cached is unknown here."""
        if cached:
            return (-1001, -1001)
        if self.down:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT, f"nobody there after {timeout}"))
        return self.lows[place.partition], self.highs[place.partition]

    def offsets_for_times(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """The first offset at or after a time."""
        del timeout
        return [
            TopicPartition(
                place.topic,
                place.partition,
                next((offset for offset, time in self.records[place.partition] if time >= place.offset), -1),
            )
            for place in places
        ]

    def assign(self, places: list[TopicPartition]) -> None:
        """Serve each partition from there, then its end event."""
        self.assigned.append({place.partition: place.offset for place in places})
        self._queue = itertools.chain.from_iterable(
            [
                *(
                    FakeMessage(place.partition, offset, timestamp=time)
                    for offset, time in self.records[place.partition]
                    if offset >= place.offset
                ),
                FakeMessage(place.partition, self.highs[place.partition], KafkaError._PARTITION_EOF),
            ]
            for place in places
        )

    def pause(self, places: list[TopicPartition]) -> None:
        """Take note."""
        self.paused |= {place.partition for place in places}

    def resume(self, places: list[TopicPartition]) -> None:
        """Take note."""
        self.paused -= {place.partition for place in places}

    def consume(self, number: int, timeout: float) -> list[FakeMessage]:
        """Give what is there."""
        assert timeout == 0
        return [] if self.down else list(itertools.islice(self._queue, number))

    def poll(self, timeout: float) -> FakeMessage | None:
        """Give one more."""
        assert timeout > 0
        return None if self.down else next(self._queue, None)


@dataclass
class Scripted:
    """A source whose polls are answered from a list."""

    answers: Iterator[Batch]

    def bounds(self, topic: str) -> Bounds:
        """One partition with one record."""
        del topic
        return Bounds({0: 0}, {0: 1})

    def offsets_at(self, topic: str, ends: Positions, moment: int) -> Positions:
        """Nothing is asked by time."""
        raise NotImplementedError((topic, ends, moment))

    def poll(self, request: Request) -> Batch:
        """Give the next answer."""
        assert request.topic == "t"
        return next(self.answers)


def look_at(consumer: FakeConsumer) -> Reader:
    """A reader on a scripted consumer; mypy knows the real one only."""
    stand_in: Any = consumer
    return Reader(stand_in)


def test_the_end_is_reached_beyond_markers_and_holes() -> None:
    """After transactions the last offset is no record: waiting for it would take for ever."""
    consumer = FakeConsumer({0: 0, 1: 5}, {0: 4, 1: 9}, {0: [(0, START), (2, START)], 1: []})
    found = list(reading.batches(look_at(consumer), "t", Range(From.BEGINNING, follow=False)))
    assert [record.offset for batch in found for record in batch.records] == [0, 2]
    assert found[-1].positions == {0: 4, 1: 9}


def test_deleted_records_are_counted_once_however_often_it_is_said() -> None:
    """The reader goes on with the oldest that is left, and never back to it."""

    class Repeating(FakeConsumer):
        turns = 0

        def consume(self, number: int, timeout: float) -> list[FakeMessage]:
            """Say twice that the position is gone; the second time two records have been read since."""
            self.turns += 1
            before = {1: 0, 2: 2}.get(self.turns, number)
            gone = [FakeMessage(0, 0, KafkaError._AUTO_OFFSET_RESET)] if self.turns < 3 else []
            return [*super().consume(before, timeout), *gone]

    consumer = Repeating({0: 5}, {0: 9}, {0: [(offset, START) for offset in range(5, 9)]})
    wanted = Range(From.OFFSETS, offsets={0: 1}, follow=False)
    found = list(reading.batches(look_at(consumer), "t", wanted))
    assert [record.offset for batch in found for record in batch.records] == [5, 6, 7, 8]
    assert [dict(batch.lost) for batch in found if batch.lost] == [{0: 4}]
    assert found[-1].at_end


def test_the_last_records_are_searched_further_back_past_holes() -> None:
    """Each partition shows as many records as were asked for, or its beginning."""
    consumer = FakeConsumer(
        {0: 0, 1: 0}, {0: 100, 1: 100}, {0: [(at, START + at) for at in (1, 2, 3, 90)], 1: [(95, START + 95)]}
    )
    (batch,) = reading.batches(look_at(consumer), "t", Range(From.LAST, count=3, follow=False))
    assert [(record.partition, record.offset) for record in batch.records] == [(0, 3), (0, 90), (1, 95)]
    assert batch.positions == {0: 100, 1: 100}


def test_a_start_in_time_is_found_in_every_partition() -> None:
    """A partition without later records starts at its end."""
    consumer = FakeConsumer(
        {0: 0, 1: 0}, {0: 3, 1: 2}, {0: [(0, START), (1, START + 10), (2, START + 20)], 1: [(0, START), (1, START)]}
    )
    found = list(reading.batches(look_at(consumer), "t", Range(From.TIME, since=START + 10, follow=False)))
    assert consumer.assigned == [{0: 1, 1: 2}]
    assert [record.offset for batch in found for record in batch.records] == [1, 2]


def test_a_record_a_little_out_of_order_is_not_missed_by_until() -> None:
    """Producers' clocks differ: a record behind a newer one still counts."""
    consumer = FakeConsumer({0: 0}, {0: 4}, {0: [(0, START), (1, START + 500), (2, START + 90), (3, START + 70_000)]})
    found = reading.batches(look_at(consumer), "t", Range(From.BEGINNING, until=START + 100))
    assert [record.offset for batch in found for record in batch.records] == [0, 2]


def test_a_record_without_a_time() -> None:
    """Has none."""
    consumer = FakeConsumer({0: 0}, {0: 1}, {0: [(0, -1)]})
    (record,) = look_at(consumer).poll(Request("t", {0: 0})).records
    assert record.timestamp is None


def test_silence_of_the_brokers_is_told_from_silence_of_the_topic() -> None:
    """Both look alike to a consumer; the batch says which, and the position stays."""
    consumer = FakeConsumer({0: 0}, {0: 1}, {0: [(0, START)]})
    found = reading.batches(look_at(consumer), "t", Range(From.BEGINNING))
    assert next(found).positions == {0: 1}
    assert next(found).unreachable is None
    consumer.down = True
    silent = next(found)
    assert silent.unreachable == "nobody there after 2.0"
    assert (list(silent.records), silent.positions) == ([], {0: 1})
    consumer.down = False
    assert next(found).unreachable is None
    assert consumer.assigned == [{0: 0}]


def test_a_bounded_read_gives_up_after_a_while() -> None:
    """A script must not hang for ever; whoever follows wants to."""
    times = iter(range(0, 1000, 10))
    clock = Clock(monotonic=lambda: next(times))
    silent = Batch([], {0: 0}, {0: 1}, unreachable="nobody there")
    found = reading.batches(Scripted(itertools.repeat(silent)), "t", Range(From.BEGINNING, follow=False), clock)
    with pytest.raises(TimeoutError, match="nobody there"):
        list(found)
    answers = itertools.chain(itertools.repeat(silent, 51), [Batch([], {0: 0}, {0: 1})])
    found = reading.batches(Scripted(answers), "t", Range(From.BEGINNING), clock)
    assert [batch.unreachable for batch in itertools.islice(found, 52)][-2:] == ["nobody there", None]


def test_a_topic_that_vanishes_ends_the_read() -> None:
    """Its error comes out; an error of another kind is librdkafka's own business."""
    consumer = FakeConsumer({0: 0}, {0: 1}, {0: []})
    read = look_at(consumer)
    read.poll(Request("t", {0: 0}))
    consumer._queue = iter([FakeMessage(0, 0, KafkaError._MAX_POLL_EXCEEDED)])
    assert list(read.poll(Request("t", {0: 1})).records) == []
    consumer._queue = iter([FakeMessage(0, 0, KafkaError.UNKNOWN_TOPIC_OR_PART)])
    with pytest.raises(KafkaException, match="told so"):
        read.poll(Request("t", {0: 1}))


def test_the_last_records_are_those_at_the_moment_of_looking() -> None:
    """What arrives meanwhile is not read too: the end is where the look ended."""
    consumer = FakeConsumer({0: 0}, {0: 3}, {0: [(at, START + at) for at in range(3)]})
    real = consumer.assign

    def assign(places: list[TopicPartition]) -> None:
        real(places)
        consumer.highs = {0: 9}
        consumer.records = {0: [(at, START + at) for at in range(9)]}

    consumer.assign = assign  # type: ignore[method-assign]
    found = list(reading.batches(look_at(consumer), "t", Range(From.LAST, count=2, follow=False)))
    assert [record.offset for batch in found for record in batch.records] == [1, 2]


def test_merged_by_time_over_all_partitions(topic: Topic) -> None:
    """Every record once, in the order of the brokers' timestamps."""
    assert topic.read(Range(From.BEGINNING, follow=False, by_time=True)) == list(range(40))
    assert topic.read(Range(From.BEGINNING, by_time=True, limit=7)) == list(range(7))


def test_following_merges_what_was_there_and_shows_what_comes(topic: Topic) -> None:
    """A backlog in order; a new record is held back for a moment only."""
    found = topic.records.read(topic.name, Range(From.BEGINNING, by_time=True, limit=42))
    assert [int(next(found).value or b"") for _ in range(40)] == list(range(40))
    topic.write(range(40, 42))
    assert [int(record.value or b"") for record in found] == [40, 41]


def test_the_offsets_that_are_named(topic: Topic) -> None:
    """Those partitions alone, each from there; and partitions alone."""
    wanted = Range(From.OFFSETS, offsets={0: 8, 3: 9}, follow=False, by_time=True)
    assert topic.read(wanted) == [32, 36, 39]
    assert topic.read(Range(From.BEGINNING, partitions=frozenset({1}), follow=False)) == list(range(1, 40, 4))


def test_a_filter_decides_what_counts(topic: Topic) -> None:
    """The limit and the last N count what matches; all that was read is counted beside it."""

    def odd(records: Records) -> list[int]:
        return [index for index, value in enumerate(records.values()) if int(value or b"") % 2]

    found = list(topic.records.batches(topic.name, Range(From.LAST, count=3, keep=odd, follow=False)))
    assert [int(record.value or b"") for batch in found for record in batch.records] == [35, 37, 39]
    found = list(topic.records.batches(topic.name, Range(From.BEGINNING, keep=odd, follow=False, by_time=True)))
    assert [int(record.value or b"") for batch in found for record in batch.records] == list(range(1, 40, 2))
    assert sum(batch.scanned for batch in found) == 40


@pytest.mark.parametrize("limit", [1, 5, 17])
def test_a_read_goes_on_where_it_was_cut(topic: Topic, limit: int) -> None:
    """The positions of the last batch are those of what was not passed on, whatever lay in between."""
    *_, last = first = list(topic.records.batches(topic.name, Range(From.BEGINNING, limit=limit, by_time=True)))
    rest = topic.records.batches(topic.name, Range(From.OFFSETS, offsets=last.positions, follow=False, by_time=True))
    numbers = [int(record.value or b"") for batch in (*first, *rest) for record in batch.records]
    assert numbers == list(range(40))


def test_a_time_that_is_over_ends_the_read(topic: Topic) -> None:
    """Without an end of its own."""
    assert len(topic.read(Range(From.BEGINNING, seconds=1.0, by_time=True))) == 40


@pytest.mark.parametrize("key", [b"", b"1", b"22", b"1000000003", b"account", b"\xff\x00\x01\x02\x03"])
def test_a_key_lies_in_the_partition_that_producers_choose(broker: str, key: bytes) -> None:
    """Ours, librdkafka's and so the Java clients'."""
    placed: list[int | None] = []
    producer = Producer({"bootstrap.servers": broker, "partitioner": "murmur2_random", "log_level": 0})
    name = f"topic-{uuid.uuid4().hex[:8]}"
    for suffix in (b"", b"a", b"bc", b"def", b"ghij"):
        producer.produce(name, b"v", key + suffix, on_delivery=lambda _, message: placed.append(message.partition()))
        assert producer.flush(30) == 0
    keys = [key + suffix for suffix in (b"", b"a", b"bc", b"def", b"ghij")]
    assert [kafka.partition_of(one, 4) for one in keys if one] == [
        p for one, p in zip(keys, placed, strict=True) if one
    ]
