"""Topics, reading and writing on a real Kafka: what its mock cannot show."""

import io
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from confluent_kafka import Producer
from fakes import FakeTarget
from lambda_servers import Servers, servers
from lambda_tools import wait_for

from fraudctl.errors import NotDeployed
from fraudctl.local.clients import DynamoDbClient
from fraudctl.local.kafka.admin import KafkaAdmin
from fraudctl.local.kafka.records import LocalRecords
from fraudctl.local.kafka.topics import LocalTopics
from fraudctl.pipeline import audit_table, kafka, topics
from fraudctl.pipeline.reader import Record
from fraudctl.services import tail, transactions
from fraudctl.services.read_options import OnError, ReadOptions
from fraudctl.services.record_formats import JsonLines
from fraudctl.services.tail_options import TailOptions
from fraudctl.target import From, Outgoing, Phase, Range

pytestmark = pytest.mark.integration

PROCESSED, DEAD_LETTERS, TRANSACTIONS = topics.PROCESSED.name, topics.DEAD_LETTERS.name, topics.TRANSACTIONS.name


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Run Kafka, with two of the four topics in it."""
    with servers(tmp_path_factory.mktemp("servers")) as found:
        yield found


@pytest.fixture(scope="module")
def ready(running: Servers) -> Servers:
    """Run Kafka with all topics."""
    list(LocalTopics(KafkaAdmin(lambda: kafka.client(running.brokers))).create())
    return running


def transactional(brokers: str, topic: str) -> None:
    """Write 0 to 9 committed and 10 to 19 aborted into partition 0: a marker each, and ten records nobody may see."""
    producer = Producer({"bootstrap.servers": brokers, "transactional.id": f"{topic}-{time.time_ns()}"})
    producer.init_transactions(30)
    for first in (0, 10):
        producer.begin_transaction()
        for number in range(first, first + 10):
            producer.produce(topic, str(number), partition=0)
        assert producer.flush(30) == 0
        if first:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)


def test_topics_are_created_then_repaired(running: Servers) -> None:
    """Usable at once, with the configuration that was meant; again there is nothing to do."""
    admin = LocalTopics(KafkaAdmin(lambda: kafka.client(running.brokers)))
    with pytest.raises(NotDeployed):
        LocalRecords(lambda: kafka.client(running.brokers)).write(DEAD_LETTERS, [Outgoing(None, b"")])
    *_, done = admin.create()
    assert done.phase is Phase.DONE
    assert "processed_topic created" in done.detail
    assert "demo_transactions repaired" in done.detail  # made without the laptop's limit
    assert [info.exists for info in admin.list()] == [True] * 4
    *_, done = admin.create()
    assert done.detail == "all 4 as they should be"
    assert admin.describe(PROCESSED).config == {"retention.ms": "2592000000", "max.message.bytes": "2097152"}


def test_topics_are_usable_right_after_some_were_deleted(running: Servers) -> None:
    """Again and again, with a client that knows nothing yet and with one that knows the old ones."""
    own = [replace(topic, alias=f"again-{topic.alias}", name=f"again_{topic.name}") for topic in topics.ALL]
    shared = KafkaAdmin(lambda: kafka.client(running.brokers))
    for turn in range(40):
        admin = KafkaAdmin(lambda: kafka.client(running.brokers)) if turn % 4 else shared
        begun = time.monotonic()
        *_, done = LocalTopics(admin, own).create()
        assert time.monotonic() - begun < 10
        assert done.phase is Phase.DONE
        assert "created" in done.detail
        assert set(admin.offsets([(topic.name, 0) for topic in own], latest=True).values()) == {0}
        for answer in running.admin.delete_topics([topic.name for topic in own[turn % 3 :]]).values():
            answer.result(30)


def test_reading_ends_behind_transaction_markers(ready: Servers) -> None:
    """The last offsets are no records; the aborted ones are not shown."""
    transactional(ready.brokers, DEAD_LETTERS)
    records = LocalRecords(lambda: kafka.client(ready.brokers))
    begun = time.monotonic()
    found = [record.value for record in records.read(DEAD_LETTERS, Range(From.BEGINNING, follow=False))]
    assert found == [b"%d" % number for number in range(10)]
    last = [record.value for record in records.read(DEAD_LETTERS, Range(From.LAST, count=3, follow=False))]
    assert last == [b"7", b"8", b"9"]
    assert time.monotonic() - begun < 20  # not by running into a time-out


def test_reading_from_a_time(ready: Servers) -> None:
    """The broker's time of the record, inclusive; the end exclusive."""
    records = LocalRecords(lambda: kafka.client(ready.brokers))
    assert records.write(TRANSACTIONS, [Outgoing(b"1", b"%d" % number) for number in range(5)]).delivered == 5
    wait_for(lambda: len(list(records.read(TRANSACTIONS, Range(From.BEGINNING, follow=False)))) >= 5, "five records")
    time.sleep(0.002)  # another millisecond of the broker's clock
    middle = int(time.time() * 1000)
    assert records.write(TRANSACTIONS, [Outgoing(b"1", b"%d" % number) for number in range(5, 9)]).delivered == 4
    later = list(records.read(TRANSACTIONS, Range(From.TIME, since=middle, follow=False)))
    assert [record.value for record in later] == [b"5", b"6", b"7", b"8"]
    first = later[0].timestamp or 0
    before = [r.value for r in records.read(TRANSACTIONS, Range(From.BEGINNING, until=first, follow=False))]
    assert before == [b"0", b"1", b"2", b"3", b"4"]


def test_the_largest_record_passes(ready: Servers) -> None:
    """A detection with everything that may be added to the largest transaction."""
    records = LocalRecords(lambda: kafka.client(ready.brokers))
    value = b"x" * (2_097_152 - 200)
    assert records.write(PROCESSED, [Outgoing(b"1", value)]).delivered == 1
    (record,) = records.read(PROCESSED, Range(From.LAST, count=1, follow=False))
    assert record.value == value


def test_following_survives_a_restart_of_kafka(ready: Servers) -> None:
    """Silence is said once and its end too; the records before and after come, none is lost and none comes twice."""
    target, shown, notes = FakeTarget(), list[bytes | None](), list[str]()
    records = LocalRecords(lambda: kafka.client(ready.brokers))
    target.records = records  # type: ignore[assignment] # the real ones

    def follow() -> None:
        for batch in tail.records(target, tail.prepare(topics.PROCESSED, TailOptions(most=40)), notes.append):
            shown.extend(record.value for record in batch)

    def write(numbers: range) -> None:
        sent = [Outgoing(b"%d" % number, b"%d" % number) for number in numbers]
        assert records.write(PROCESSED, sent).delivered == len(sent)

    reader = threading.Thread(target=follow, daemon=True)
    reader.start()
    wait_for(lambda: notes, "it waits for records")
    write(range(20))
    wait_for(lambda: len(shown) == 20, "the first records")
    ready.kafka.kill()
    wait_for(lambda: len(notes) > 1, "silence is noticed")
    ready.kafka.start()
    write(range(20, 40))
    reader.join(60)
    assert not reader.is_alive()
    assert sorted(shown, key=lambda value: int(value or b"")) == [b"%d" % number for number in range(40)]
    assert notes[0].startswith("Waiting for records in processed_topic")
    assert notes[1:] == ["Kafka does not answer; waiting.", "Kafka is back."]


def test_what_tail_prints_is_sent_again_as_it_was(ready: Servers) -> None:
    """Key, value and headers, byte for byte: binary ones, a tombstone, repeated headers, digits."""
    values = (b'{"amount":12.50,"n":123456789012345678901234567890}', b"\xff\x00", b"not JSON", b"", None)
    headers = (("a", b"1"), ("a", b"\xff"), ("a", None), ("b", b""))
    written = [Outgoing(b"\x00\xff", value, headers) for value in values] + [Outgoing(None, b"{}")]
    target = FakeTarget()
    target.records = LocalRecords(lambda: kafka.client(ready.brokers))  # type: ignore[assignment] # the real ones

    def after(mark: int) -> list[Record]:
        found = target.records.read(DEAD_LETTERS, Range(From.TIME, since=mark, follow=False))
        return sorted(found, key=lambda record: (record.timestamp, record.offset))

    first = int(time.time() * 1000)
    assert target.records.write(DEAD_LETTERS, written).delivered == len(written)
    originals = after(first)
    assert len(originals) == len(written)
    content = JsonLines().lines(originals)
    time.sleep(0.002)  # another millisecond of the clock
    second = int(time.time() * 1000)
    sent = transactions.send(
        lambda: target,
        io.BufferedReader(io.BytesIO(content)),
        "slice.jsonl",
        options=ReadOptions(),
        on_error=OnError.STOP,
        on_invalid=lambda line: pytest.fail(line.text),
        show=lambda _: None,
        topic=topics.DEAD_LETTERS,
    )
    assert sent.delivered == len(written)

    def parts(records: list[Record]) -> list[tuple[object, ...]]:
        return sorted(((one.key, one.value, one.headers) for one in records), key=repr)

    assert parts(after(second)) == parts(originals)
    assert parts(originals) == sorted(((one.key, one.value, one.headers) for one in written), key=repr)


def test_what_compresses_well_is_not_let_in(ready: Servers) -> None:
    """The limit on input is on its real size: five megabytes in a few thousand bytes would stop the application."""
    heard: list[str] = []
    producer = Producer(
        {
            "bootstrap.servers": ready.brokers,
            "compression.type": "gzip",
            "message.max.bytes": 10_000_000,
            "log_level": 0,
        }
    )
    for value in (b"x" * 5_000_000, b"x" * 1_000_000):
        producer.produce(TRANSACTIONS, value, on_delivery=lambda error, _: heard.append(error.name() if error else ""))
        assert producer.flush(30) == 0
    assert heard == ["MSG_SIZE_TOO_LARGE", ""]


def test_whether_the_audit_table_exists(running: Servers) -> None:
    """Asked of DynamoDB Local itself, which gives no table for one that it does not have."""
    running.table_client.create_table(**audit_table.definition("there"))
    client = DynamoDbClient(int(running.table_client.meta.endpoint_url.rsplit(":", 1)[1]))
    assert client.has_table("there", timeout=10)
    assert not client.has_table("elsewhere", timeout=10)
