"""Topics on a real Kafka: times, settings, lag in time and more partitions, which its mock does not know."""

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from lambda_servers import Servers, servers
from lambda_tools import wait_for

from fraudctl.errors import NotDeployed, OperationFailed
from fraudctl.local.kafka.admin import KafkaAdmin
from fraudctl.local.kafka.records import LocalRecords
from fraudctl.local.kafka.topics import LocalTopics
from fraudctl.pipeline import kafka, topics
from fraudctl.target import Origin, Outgoing

pytestmark = pytest.mark.integration

TRANSACTIONS, FLAGGED, PROCESSED, DEAD_LETTERS = (topic.name for topic in topics.ALL)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Run Kafka with all topics."""
    with servers(tmp_path_factory.mktemp("servers")) as found:
        list(LocalTopics(KafkaAdmin(lambda: kafka.client(found.brokers))).create())
        yield found


def admin(running: Servers) -> KafkaAdmin:
    """Give an admin client."""
    return KafkaAdmin(lambda: kafka.client(running.brokers))


def test_a_group_that_does_not_exist_has_committed_nothing(running: Servers) -> None:
    """Also on a broker that has never had a group, whose answer the client does not survive."""
    assert admin(running).groups() == []
    assert admin(running).committed("nobody") == {}


def test_newest_record_and_rate(running: Servers) -> None:
    """By the broker's time; nothing of an empty topic."""
    before = int(time.time() * 1000)
    records = LocalRecords(lambda: kafka.client(running.brokers))
    assert records.write(FLAGGED, [Outgoing(b"1", b"%d" % number) for number in range(20)]).delivered == 20
    after = int(time.time() * 1000)
    found = {info.name: info for info in LocalTopics(admin(running)).list(activity=True)}
    (busy,) = [partition for partition in found[FLAGGED].partitions if partition.latest]
    assert before <= (busy.newest_at or 0) <= after
    assert (busy.last_10s, busy.last_minute, busy.isr, busy.size_bytes) == (20, 20, (1,), None)
    assert [partition.newest_at for partition in found[DEAD_LETTERS].partitions] == [None] * 4


def test_settings_and_who_made_them(running: Servers) -> None:
    """Kafka says what its own default is, and which value is whose."""
    changed = {"segment.ms": "60000", "min.compaction.lag.ms": "5", "max.message.bytes": "3000000"}
    admin(running).change({PROCESSED: changed})
    found = {one.name: one for one in LocalTopics(admin(running)).describe(PROCESSED).settings}
    assert (found["segment.ms"].origin, found["segment.ms"].default) == (Origin.ADDED, None)  # it counts that in hours
    assert found["min.compaction.lag.ms"].default == "0"
    assert found["retention.ms"].origin is Origin.PIPELINE
    limit = found["max.message.bytes"]
    assert (limit.value, limit.default, limit.defined) == ("3000000", "1048588", "2097152")
    assert limit.origin is Origin.CHANGED
    notes = [event.detail for event in LocalTopics(admin(running)).create()]
    assert f"{PROCESSED}: max.message.bytes was 3000000, is 2097152 now" in notes
    assert f"{PROCESSED}: segment.ms is 60000; left, the pipeline has none" in notes


def test_lag_in_time(running: Servers) -> None:
    """The age of the first record behind what the group has committed; 0 at the end."""
    producer = Producer({"bootstrap.servers": running.brokers})
    hour_ago = int(time.time() * 1000) - 3_600_000
    for minute in range(3):
        producer.produce(DEAD_LETTERS, b"x", partition=2, timestamp=hour_ago + minute * 60_000)
    assert producer.flush(30) == 0
    group = Consumer({"bootstrap.servers": running.brokers, "group.id": "reader"})
    for offset, lag, least in ((1, 2, 3_540_000), (3, 0, 0)):
        group.commit(offsets=[TopicPartition(DEAD_LETTERS, 2, offset)], asynchronous=False)
        (found,) = LocalTopics(admin(running)).consumers(timed=True)
        assert (found.group, found.topic, found.lag) == ("reader", DEAD_LETTERS, lag)
        assert least <= (found.behind_ms or 0) <= (least + 60_000 if least else 0)
    group.close()


def test_an_open_transaction_holds_readers_back(running: Servers) -> None:
    """The last stable offset stays where it begins, until it ends."""
    producer = Producer({"bootstrap.servers": running.brokers, "transactional.id": "open"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(DEAD_LETTERS, b"x", partition=0)
    producer.flush(30)
    (held,) = [p for p in LocalTopics(admin(running)).describe(DEAD_LETTERS).partitions if p.stable != p.latest]
    assert (held.partition, held.stable, held.latest) == (0, 0, 1)
    producer.abort_transaction(30)
    wait_for(
        lambda: all(p.stable == p.latest for p in LocalTopics(admin(running)).describe(DEAD_LETTERS).partitions),
        "its end",
    )


def test_more_partitions(running: Servers) -> None:
    """Usable at once; fewer, or of a topic that is not there, are refused by Kafka itself."""
    LocalTopics(admin(running)).add_partitions(TRANSACTIONS, 6)
    info = LocalTopics(admin(running)).describe(TRANSACTIONS)
    assert [partition.partition for partition in info.partitions] == [0, 1, 2, 3, 4, 5]
    assert all(partition.leader == 1 for partition in info.partitions)
    with pytest.raises(OperationFailed, match="6 partition"):
        LocalTopics(admin(running)).add_partitions(TRANSACTIONS, 5)
    with pytest.raises(NotDeployed):
        LocalTopics(admin(running)).add_partitions("nothing", 6)
