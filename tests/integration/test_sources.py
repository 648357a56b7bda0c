"""One behaviour for every source of records, on a real Kafka: its own protocol, and the function TopicReader."""

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined] # its stub forgets it
from fakes import FakeTarget
from lambda_servers import Servers, servers
from lambda_tools import wait_for
from topic_functions import TopicFunctions, environment, topic_functions

from fraudctl.aws.resources.functions import FunctionError
from fraudctl.aws.resources.reader import TopicReader
from fraudctl.aws.resources.records import AwsRecords
from fraudctl.clock import Clock
from fraudctl.errors import Unreachable
from fraudctl.local.kafka.records import LocalRecords
from fraudctl.pipeline import kafka, reader, topics
from fraudctl.pipeline.reader import Batch, Reader, Record, Request, Source
from fraudctl.services import kafka_errors, reading
from fraudctl.services.dead_letters.letters import Wanted
from fraudctl.services.dead_letters.outcomes import Outcome
from fraudctl.services.dead_letters.redrive import Redrive
from fraudctl.target import From, Outgoing, Range

pytestmark = pytest.mark.integration

WITHIN_SECONDS = 30.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Run Kafka."""
    with servers(tmp_path_factory.mktemp("servers")) as found:
        yield found


@pytest.fixture
def functions(running: Servers, monkeypatch: pytest.MonkeyPatch) -> TopicFunctions:
    """The functions, with nothing kept from an earlier test."""
    for name, value in environment(running.brokers).items():
        monkeypatch.setenv(name, value)
    return topic_functions()


@dataclass
class Topic:
    """A topic of the test's own, which TopicReader may read."""

    running: Servers
    name: str = field(default_factory=lambda: f"sources-{uuid.uuid4().hex[:8]}")
    partitions: int = 2
    config: dict[str, str] = field(default_factory=dict)

    def create(self) -> None:
        """Create it, and wait until it can be used."""
        new = NewTopic(self.name, self.partitions, 1, config=self.config)
        self.running.admin.create_topics([new])[self.name].result(30)
        self.write([(0, b"")])
        self.delete_before(0, 1)

    def write(self, values: list[tuple[int, bytes]], times: list[int] | None = None, **more: Any) -> None:
        """Write values, each into its partition, at the times if there are some."""
        producer = Producer(kafka.producer(kafka.client(self.running.brokers)))
        for (partition, value), at in zip(values, times or [0] * len(values), strict=True):
            producer.produce(self.name, value, partition=partition, timestamp=at, **more)
        assert producer.flush(30) == 0

    def delete_before(self, partition: int, offset: int) -> None:
        """Delete the records before an offset, as retention does."""
        place = TopicPartition(self.name, partition, offset)
        self.running.admin.delete_records([place])[place].result(30)


@pytest.fixture
def topic(running: Servers, monkeypatch: pytest.MonkeyPatch) -> Topic:
    """A topic whose partition 0 begins at offset 1."""
    made = Topic(running, config={"max.message.bytes": "2097152"})
    made.create()
    allowed = topics.Topic("sources", made.name, {})
    monkeypatch.setattr(topics, "ALL", (*topics.ALL, allowed))
    return made


@pytest.fixture(params=["Kafka", "TopicReader"])
def source(request: pytest.FixtureRequest, running: Servers, functions: TopicFunctions) -> Iterator[Source]:
    """Each source."""
    if request.param == "TopicReader":
        yield TopicReader(functions.invoke, Clock())
        return
    consumer = kafka.open_consumer(reader.properties(kafka.client(running.brokers)))
    yield Reader(consumer)
    consumer.close()


def everything(source: Source, request: Request) -> list[Batch]:
    """Poll until the ends."""
    found = [source.poll(request)]
    deadline = time.monotonic() + WITHIN_SECONDS
    while not found[-1].at_end:
        assert time.monotonic() < deadline
        last = found[-1]
        found.append(source.poll(Request(request.topic, last.positions, last.ends, limit=request.limit)))
    return found


def records(batches: list[Batch]) -> list[Record]:
    """Return all records."""
    return [record for batch in batches for record in batch.records]


def test_bounds_and_reading_all_between(source: Source, topic: Topic) -> None:
    """Every record once, in order within its partition, and positions that end where the topic does."""
    topic.write([(number % 2, b"%d" % number) for number in range(5000)])
    bounds = source.bounds(topic.name)
    assert bounds.lows == {0: 1, 1: 0}
    assert bounds.highs == {0: 2501, 1: 2500}
    batches = everything(source, Request(topic.name, bounds.lows, bounds.highs))
    found = records(batches)
    for partition in (0, 1):
        mine = [int(record.value or b"") for record in found if record.partition == partition]
        assert mine == list(range(partition, 5000, 2))
    assert batches[-1].positions == bounds.highs
    assert {record.topic for record in found} == {topic.name}
    assert sum(batch.scanned for batch in batches) == 5000


def test_a_record_comes_as_the_broker_has_it(source: Source, topic: Topic) -> None:
    """Key, value, headers and time: bytes of any kind, none at all, repeated names."""
    headers = [("a", b"1"), ("a", b"\xff"), ("b", None), ("c", b"")]
    topic.write([(1, b"\x00\xff\n")], key=b"\xfe", headers=headers, times=[1_790_000_000_123])
    topic.write([(1, b"")], times=[1_790_000_000_124])
    producer = Producer(kafka.client(topic.running.brokers))
    producer.produce(topic.name, None, b"k", partition=1)
    assert producer.flush(30) == 0
    found = records(everything(source, Request(topic.name, {1: 0}, {1: 3})))
    assert found[0] == Record(topic.name, 1, 0, 1_790_000_000_123, b"\xfe", b"\x00\xff\n", tuple(headers))
    assert found[1] == Record(topic.name, 1, 1, 1_790_000_000_124, None, b"")
    assert (found[2].key, found[2].value) == (b"k", None)


def test_nothing_beyond_the_ends_and_nothing_of_what_is_paused(source: Source, topic: Topic) -> None:
    """What has an end is read up to it, what is paused not at all."""
    topic.write([(number % 2, b"%d" % number) for number in range(40)])
    found = records(everything(source, Request(topic.name, {0: 1, 1: 5}, {0: 11, 1: 9})))
    assert sorted((record.partition, record.offset) for record in found) == [
        *((0, offset) for offset in range(1, 11)),
        *((1, offset) for offset in range(5, 9)),
    ]
    batch = source.poll(Request(topic.name, {0: 1, 1: 0}, {0: 11, 1: 9}, frozenset({0}), wait_s=5))
    assert {record.partition for record in batch.records} == {1}
    assert batch.positions[0] == 1


def test_the_limit_holds_for_each_poll(source: Source, topic: Topic) -> None:
    """At most so many records; the next poll goes on behind them."""
    topic.write([(0, b"%d" % number) for number in range(20)])
    batches = everything(source, Request(topic.name, {0: 1}, {0: 21}, limit=7))
    assert max(len(batch.records) for batch in batches) <= 7
    assert [int(record.value or b"") for record in records(batches)] == list(range(20))


def test_a_topic_that_does_not_exist(source: Source, topic: Topic) -> None:
    """The brokers' own error, by its code."""
    topic.running.admin.delete_topics([topic.name])[topic.name].result(30)

    def code() -> int | None:
        try:
            source.bounds(topic.name)
        except KafkaException as error:
            return int(error.args[0].code())
        return None  # a broker may know it for a moment still

    assert wait_for(code, "no such topic") == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_offsets_by_time(source: Source, topic: Topic) -> None:
    """The first record at or after the moment; the end where there is none."""
    topic.write([(1, b"")] * 10, times=[1_790_000_000_000 + number * 1000 for number in range(10)])
    ends = {0: 1, 1: 10}
    assert source.offsets_at(topic.name, ends, 1_790_000_003_500) == {0: 1, 1: 4}
    assert source.offsets_at(topic.name, ends, 1_790_000_003_000) == {0: 1, 1: 3}
    assert source.offsets_at(topic.name, ends, 1_890_000_000_000) == ends


def test_waiting_for_a_record_ends_with_it(source: Source, topic: Topic) -> None:
    """The wait is a long poll: a record that comes meanwhile is there long before its end; without one it ends."""
    at = {0: 1, 1: 0}
    begun = time.monotonic()
    empty = source.poll(Request(topic.name, at, wait_s=0.2))
    assert (list(empty.records), empty.positions, empty.unreachable) == ([], at, None)
    assert time.monotonic() - begun < 5
    timer = threading.Timer(0.3, lambda: topic.write([(0, b"late")]))
    timer.start()
    found: list[Record] = []
    begun = time.monotonic()
    while not found:
        found = list(source.poll(Request(topic.name, at, wait_s=10)).records)
        assert time.monotonic() - begun < 8
    timer.join()
    assert [record.value for record in found] == [b"late"]


def test_deleted_records_are_counted(source: Source, topic: Topic) -> None:
    """What was deleted before it could be read is a number of its partition, and reading goes on behind it."""
    topic.write([(0, b"%d" % number) for number in range(20)])
    topic.delete_before(0, 9)
    batches = everything(source, Request(topic.name, {0: 1}, {0: 21}))
    assert {p: number for batch in batches for p, number in batch.lost.items()} == {0: 8}
    assert [int(record.value or b"") for record in records(batches)] == list(range(8, 20))


def test_reading_ends_behind_the_markers_of_transactions(source: Source, topic: Topic) -> None:
    """The last offset is no record, and an aborted one never happened."""
    producer = Producer({"bootstrap.servers": topic.running.brokers, "transactional.id": topic.name})
    producer.init_transactions(30)
    for abort in (False, True):
        producer.begin_transaction()
        producer.produce(topic.name, b"%d" % abort, partition=1)
        assert producer.flush(30) == 0
        producer.abort_transaction(30) if abort else producer.commit_transaction(30)
    bounds = source.bounds(topic.name)
    assert bounds.highs[1] == 4
    found = everything(source, Request(topic.name, {1: 0}, {1: bounds.highs[1]}))
    assert [record.value for record in records(found)] == [b"0"]
    assert found[-1].positions == {1: 4}


def test_large_records_that_do_not_compress(source: Source, topic: Topic) -> None:
    """A dozen of nearly two megabytes: each once, in order, whatever fits into an answer."""
    rng = random.Random(7)  # noqa: S311 - no secret
    values = [rng.randbytes(2_097_152 - 200) for _ in range(12)]
    topic.write([(1, value) for value in values])
    found = records(everything(source, Request(topic.name, {1: 0}, {1: 12})))
    assert [record.value == value for record, value in zip(found, values, strict=True)] == [True] * 12


RANGES: dict[str, Callable[[int], Range]] = {
    "all by time": lambda _: Range(From.BEGINNING, follow=False, by_time=True),
    "the last": lambda _: Range(From.LAST, count=30, follow=False),
    "of one partition": lambda _: Range(From.BEGINNING, follow=False, partitions=frozenset({1})),
    "from a time": lambda at: Range(From.TIME, since=at + 50_000, until=at + 150_000, follow=False, by_time=True),
    "from offsets": lambda _: Range(From.OFFSETS, offsets={0: 5, 1: 7}, limit=100, by_time=True),
    "those kept": lambda _: Range(From.LAST, count=9, follow=False, keep=lambda found: range(0, len(found), 3)),
}


@pytest.mark.parametrize("name", RANGES)
def test_ranges_give_the_same_from_every_source(
    name: str, running: Servers, functions: TopicFunctions, topic: Topic
) -> None:
    """What `tail` reads does not depend on where from."""
    start = 1_790_000_000_000
    values = [(number % 2, b"%d" % number) for number in range(200)]
    topic.write(values, times=[start + number * 1000 for number in range(200)])
    wanted = RANGES[name](start)
    consumer = kafka.open_consumer(reader.properties(kafka.client(running.brokers)))
    mine = [r for batch in reading.batches(Reader(consumer), topic.name, wanted) for r in batch.records]
    consumer.close()
    remote = TopicReader(functions.invoke, Clock())
    theirs = [r for batch in reading.batches(remote, topic.name, wanted) for r in batch.records]
    assert mine
    assert theirs == mine


def test_partitions_and_lag_of_groups(running: Servers, functions: TopicFunctions, topic: Topic) -> None:
    """Offsets, times and rates of a topic; how far the pipeline's groups are behind, and no other group's."""
    remote = TopicReader(functions.invoke, Clock())
    assert remote.lags(timed=True) == []  # no group has committed anything yet
    now = int(time.time() * 1000)
    topic.write([(1, b"")] * 3, times=[now - 300_000, now - 30_000, now - 5_000])
    found = remote.partitions([topic.name, topics.DEAD_LETTERS.name])
    assert set(found) - {topics.DEAD_LETTERS.name} == {topic.name}
    zero, one = found[topic.name]
    assert (zero["earliest"], zero["latest"], zero["last_minute"]) == (1, 1, 0)
    assert (one["earliest"], one["latest"], one["stable"], one["newest_at"]) == (0, 3, 3, now - 5_000)
    assert (one["last_minute"], one["last_10s"]) == (2, 1)
    assert one["leader"] == one["replicas"][0] == one["isr"][0]

    for group in ("fraud-detection", "somebody-elses"):
        at = ConsumerGroupTopicPartitions(group, [TopicPartition(topic.name, 1, 1)])
        running.admin.alter_consumer_group_offsets([at])[group].result(30)
    (lag,) = remote.lags(timed=True)
    assert (lag["group"], lag["topic"], lag["lag"]) == ("fraud-detection", topic.name, 2)
    assert 29_000 < lag["behind_ms"] < 90_000
    assert remote.lags(timed=False)[0]["behind_ms"] is None


def test_a_reader_follows_topics_in_turn_without_mixing_them(functions: TopicFunctions, topic: Topic) -> None:
    """The function keeps a reader of each topic; the same positions in another topic are other records."""
    topic.write([(0, b"first"), (1, b"second")])
    remote = TopicReader(functions.invoke, Clock())
    other = topics.TRANSACTIONS.name
    bounds = remote.bounds(other)
    for _ in range(3):
        found = records(everything(remote, Request(topic.name, {0: 1, 1: 0}, {0: 2, 1: 1})))
        assert sorted(record.value or b"" for record in found) == [b"first", b"second"]
        assert all(r.topic == other for r in records(everything(remote, Request(other, bounds.lows, bounds.highs))))


def test_what_is_written_through_the_function_is_what_kafka_gets(functions: TopicFunctions, topic: Topic) -> None:
    """Tens of thousands in several batches, each once, in the partition that Java's clients would choose; any bytes."""
    found: Any = functions
    clock = Clock()
    records_ = AwsRecords(TopicReader(functions.invoke, clock), found, clock)
    odd = (Outgoing(b"\x00\xff", None, (("a", b"1"), ("a", None))), Outgoing(None, b"\xff\n\x00"))
    many = [Outgoing(b"%d" % (number % 100), b"%d " % number + b"x" * 200) for number in range(40_000)]
    report = records_.write(topic.name, [*odd, *many])
    assert (report.delivered, report.failed, report.stopped) == (40_002, 0, "")
    assert functions.invoked.count("TopicWriter") > 2
    everything_ = list(records_.read(topic.name, Range(From.BEGINNING, follow=False)))
    assert len(everything_) == 40_002
    written = {r.value: r for r in everything_}
    assert len(written) == 40_002
    assert written[None].key == b"\x00\xff"
    assert written[None].headers == (("a", b"1"), ("a", None))
    assert written[b"\xff\n\x00"].key is None
    for one in many[:200]:
        assert written[one.value].partition == kafka.partition_of(one.key or b"", topic.partitions)

    too_large = Outgoing(b"1", b"x" * 2_097_152)
    report = records_.write(topic.name, [Outgoing(b"1", b"fits"), too_large, Outgoing(b"1", b"fits too")])
    assert (report.delivered, report.failed) == (2, 1)
    assert "large" in report.reasons[0].lower()


def test_a_redrive_through_the_functions_is_known_to_kafkas_own_protocol(
    running: Servers, functions: TopicFunctions
) -> None:
    """Headers and key of a dead letter go through TopicWriter as they are; who asks by other means is told of it."""
    names = [topics.DEAD_LETTERS.name, topics.TRANSACTIONS.name]
    wanted = [NewTopic(name, 2, 1) for name in set(names) - running.admin.list_topics(timeout=30).topics.keys()]
    for created in running.admin.create_topics(wanted).values() if wanted else ():
        created.result(30)
    own = [("error", b"why"), ("topic", names[1].encode()), ("partition", b"0"), ("offset", b"7")]
    producer = Producer(kafka.producer(kafka.client(running.brokers)))
    producer.produce(names[0], b"\xff", b"\xfe", partition=1, headers=[("a", b"\xff"), ("a", None), *own])
    assert producer.flush(30) == 0
    clock = Clock()
    invoking: Any = functions
    sources = (
        AwsRecords(TopicReader(functions.invoke, clock), invoking, clock),
        LocalRecords(lambda: kafka.client(running.brokers)),
    )
    redrives = []
    for records_ in sources:
        target: Any = FakeTarget()
        target.records = records_
        redrive = Redrive(target, Wanted())
        list(redrive.read())
        list(redrive.send())
        redrives.append(redrive)
    by_functions, by_kafka = redrives
    assert [item.outcome for item in by_functions.items] == [Outcome.SENT]
    assert (by_kafka.items, [item.outcome for item in by_kafka.left]) == ([], [Outcome.REDRIVEN])
    (sent,) = [record for record in sources[1].read(names[1], Range(From.BEGINNING, follow=False)) if record.headers]
    marks = (("redrive-of", b"dead_letters/1:0"), ("redrive-count", b"1"))
    assert (sent.key, sent.value, sent.headers) == (b"\xfe", b"\xff", (("a", b"\xff"), ("a", None), *marks))


def test_what_the_functions_refuse(functions: TopicFunctions) -> None:
    """Topics that are not the pipeline's, questions that are none, blocks that are none."""
    for payload, said in (
        ({"ask": "bounds", "topic": "__consumer_offsets"}, "is none of"),
        ({"ask": "delete", "topic": "demo_transactions"}, "ask is none of bounds"),
        ({"ask": "poll", "topic": "demo_transactions"}, "positions is empty"),
        ({"ask": "partitions", "topics": ["__consumer_offsets"]}, "is none of"),
        ({"ask": "offsets_at", "topic": "demo_transactions", "ends": {"0": 0}, "moment": "now"}, "moment is not"),
    ):
        with pytest.raises(FunctionError, match=said) as caught:
            functions.invoke("TopicReader", payload)
        assert caught.value.kind == "ValueError"
    for payload, said in (
        ({"topic": "__consumer_offsets", "records": ""}, "is none of"),
        ({"topic": "demo_transactions"}, "records is not a block"),
        ({"topic": "demo_transactions", "records": "eA=="}, "records is not a block"),
    ):
        with pytest.raises(FunctionError, match=said):
            functions.invoke("TopicWriter", payload)


def test_silence_is_said_and_reading_goes_on_after_it(running: Servers, source: Source, topic: Topic) -> None:
    """While no broker answers, batches say so, and what needs an answer fails as silence; then nothing is missing."""
    topic.write([(0, b"before")])
    found = records(everything(source, Request(topic.name, {0: 1}, {0: 2})))
    positions = {0: 2}
    running.kafka.kill()
    wait_for(lambda: source.poll(Request(topic.name, positions, wait_s=0.2)).unreachable is not None, "silence")
    with pytest.raises(KafkaException) as caught:
        source.bounds(topic.name)
    assert isinstance(kafka_errors.meaning("topic", caught.value), Unreachable)
    running.kafka.start()
    topic.write([(0, b"after")])

    def rest() -> bool:
        nonlocal positions
        batch = source.poll(Request(topic.name, positions, wait_s=1))
        positions = dict(batch.positions)
        found.extend(batch.records)
        return bool(batch.records)

    wait_for(rest, "the record after the silence", 60)
    assert [record.value for record in found] == [b"before", b"after"]
