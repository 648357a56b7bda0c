"""The event source mapping: what it commits and when, on a consumer that only pretends."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from lambda_tools import wait_for

from fraudctl.local.lambda_runner.event_source_mapping import EventSourceMapping
from fraudctl.local.lambda_runner.functions import Result
from fraudctl.local.lambda_runner.spec import EventSourceMappingSpec

DOWN = KafkaError(KafkaError._ALL_BROKERS_DOWN)


class Pretended:
    """A consumer of one topic with two partitions, fed and watched by the test."""

    def __init__(self) -> None:
        """Begin without records."""
        self.lock = threading.Lock()
        self.waiting: list[Message] = []
        self.errors: list[KafkaError] = []
        self.committed_offsets: dict[int, int] = {0: 4}
        self.commits: list[dict[int, int]] = []
        self.refuse_commits = False
        self.loses = False
        self.answers = True
        self.properties: dict[str, Any] = {}
        self.opened = self.closed = 0

    def open(self, properties: dict[str, Any]) -> "Pretended":
        """Be opened."""
        self.properties = properties
        self.opened += 1
        return self

    def feed(self, *places: tuple[int, int]) -> None:
        """Let these records come, by partition and offset."""
        with self.lock:
            self.waiting += [Message("processed_topic", *place, b"k", b"v", timestamp=(1, 5)) for place in places]

    def subscribe(self, topics: list[str], on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        """Be given both partitions."""
        assert topics == ["processed_topic"]
        self.on_revoke, self.on_lost = on_revoke, on_lost
        on_assign(self, self.assignment())

    def assignment(self) -> list[TopicPartition]:
        """Have both partitions."""
        return [TopicPartition("processed_topic", 0), TopicPartition("processed_topic", 1)]

    def consume(self, number: int, timeout: float) -> list[Message]:
        """Give what was fed; report errors, and partitions that are lost, as librdkafka does."""
        while self.errors:
            self.properties["error_cb"](self.errors.pop())
        if self.loses:
            self.on_lost(self, self.assignment())
            self.loses = False
        with self.lock:
            taken, self.waiting = self.waiting[:number], self.waiting[number:]
        if not taken:
            threading.Event().wait(min(timeout, 0.01))
        return taken

    def committed(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """Give the committed offsets, -1001 where there is none."""
        assert timeout > 0
        return [
            TopicPartition(place.topic, place.partition, self.committed_offsets.get(place.partition, -1001))
            for place in places
        ]

    def get_watermark_offsets(self, place: TopicPartition, **_: Any) -> tuple[int, int]:
        """Say that each partition begins at 2 and ends at 10."""
        assert place.topic == "processed_topic"
        return (2, 10)

    def commit(self, offsets: list[TopicPartition], *, asynchronous: bool) -> None:
        """Keep the commit, or refuse it."""
        assert asynchronous is False
        if self.refuse_commits:
            raise KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION))
        self.commits.append({place.partition: place.offset for place in offsets})

    def list_topics(self, topic: str, timeout: float) -> None:
        """Answer, or not."""
        assert (topic, timeout) == ("processed_topic", 1.0)
        if not self.answers:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def close(self) -> None:
        """Give the partitions back."""
        self.on_revoke(self, self.assignment())
        self.closed += 1


class Invoked:
    """Functions whose one function the test answers for; `gate` holds an invocation up."""

    def __init__(self) -> None:
        """Succeed until told otherwise."""
        self.events: list[list[tuple[int, int]]] = []
        self.answer: Any = {"batchItemFailures": []}
        self.gate = threading.Event()
        self.gate.set()

    def invoke(self, _name: str, event: dict[str, Any]) -> Result:
        """Keep the places and answer; an exception fails the invocation."""
        entries = [entry for entries in event["records"].values() for entry in entries]
        self.events.append([(entry["partition"], entry["offset"]) for entry in entries])
        assert self.gate.wait(30)
        if isinstance(self.answer, Exception):
            return Result("id", json.dumps({"errorMessage": str(self.answer)}).encode(), "Unhandled", b"", 0.0)
        return Result("id", json.dumps(self.answer).encode(), None, b"", 0.0)


@pytest.fixture
def consumer() -> Pretended:
    """Give the consumer."""
    return Pretended()


@pytest.fixture
def functions() -> Invoked:
    """Give the functions."""
    return Invoked()


Make = Callable[..., EventSourceMapping]


@pytest.fixture
def make(tmp_path: Path, consumer: Pretended, functions: Invoked) -> Iterator[Make]:
    """Give a maker of started mappings; all are ended afterwards."""
    made: list[EventSourceMapping] = []

    def maker(**changes: Any) -> EventSourceMapping:
        spec = EventSourceMappingSpec(
            **{
                "function": "writer",
                "topic": "processed_topic",
                "group": "audit",
                "on_failure": str(tmp_path / "failed"),
            }
            | changes
        )
        opener: Any = consumer.open
        invoked: Any = functions
        made.append(EventSourceMapping(spec, "127.0.0.1:9092", invoked, opener=opener))
        made[-1].start_thread()
        return made[-1]

    yield maker
    functions.gate.set()
    for mapping in made:
        mapping.end()
        assert mapping.join(10)


def test_the_consumer_is_the_designs(make: Make, consumer: Pretended) -> None:
    """It is a group's member that reads committed records from the beginning and commits by hand."""
    make()
    wait_for(lambda: consumer.opened, "the consumer is opened")
    properties = consumer.properties
    assert (properties["group.id"], properties["auto.offset.reset"]) == ("audit", "earliest")
    assert (properties["isolation.level"], properties["enable.auto.commit"]) == ("read_committed", False)


def test_offsets_are_committed_after_success(make: Make, consumer: Pretended, functions: Invoked) -> None:
    """Nothing is committed while the function runs; then the offset after the last record of each partition is."""
    functions.gate.clear()
    mapping = make()
    consumer.feed((0, 4), (1, 2), (0, 5))
    wait_for(lambda: functions.events, "the invocation")
    assert consumer.commits == []
    functions.gate.set()
    wait_for(lambda: consumer.commits, "the commit")
    assert functions.events == [[(0, 4), (0, 5), (1, 2)]]
    assert consumer.commits == [{0: 6, 1: 3}]
    wait_for(lambda: mapping.status()["lag"] == 4 + 7, "the lag")


def test_batches_have_a_size(make: Make, consumer: Pretended, functions: Invoked) -> None:
    """No event holds more records than the batch size, and each batch is committed for itself."""
    consumer.feed(*((0, offset) for offset in range(4, 11)))
    make(batch_size=3)
    wait_for(lambda: len(consumer.commits) == 3, "three commits")
    assert [len(event) for event in functions.events] == [3, 3, 1]
    assert consumer.commits == [{0: 7}, {0: 10}, {0: 11}]


def test_a_failing_function_holds_its_batch(make: Make, consumer: Pretended, functions: Invoked) -> None:
    """While the function fails nothing is committed and no later record is taken; afterwards all are done once."""
    functions.answer = ConnectionError("no table")
    mapping = make(batch_size=2)
    consumer.feed((0, 4), (0, 5), (0, 6))
    wait_for(lambda: len(functions.events) >= 3, "three attempts")
    assert set(map(tuple, functions.events)) == {((0, 4), (0, 5))}
    assert consumer.commits == []
    assert mapping.status()["last_result"] == "PROBLEM: Function call failed"
    functions.answer = None
    wait_for(lambda: consumer.commits == [{0: 6}, {0: 7}], "both commits")
    status = mapping.status()
    assert (status["received"], status["processed"], status["failed"], status["last_result"]) == (3, 3, 0, "OK")


def test_a_given_up_record_is_committed_with_its_file(
    make: Make, consumer: Pretended, functions: Invoked, tmp_path: Path
) -> None:
    """A record that keeps failing lies on file before its offset is committed, and the next ones go on."""
    functions.answer = {
        "batchItemFailures": [{"itemIdentifier": {"partition": "processed_topic-0", "offset": 5}}],
    }
    mapping = make(retries=1)
    consumer.feed((0, 4), (0, 5), (0, 6))
    wait_for(lambda: consumer.commits, "the commit")
    assert functions.events == [[(0, 4), (0, 5), (0, 6)], [(0, 5)]]
    assert consumer.commits == [{0: 7}]
    assert [file.name for file in (tmp_path / "failed").iterdir()] == ["processed_topic-0.5-5.1.5.json"]
    assert (mapping.status()["failed"], mapping.status()["on_failure"]) == (1, 1)


def test_a_stop_does_not_commit_what_is_undone(make: Make, consumer: Pretended, functions: Invoked) -> None:
    """Ended while the function fails, the mapping commits nothing and gives its place in the group up."""
    functions.answer = ConnectionError("no table")
    mapping = make()
    consumer.feed((0, 4))
    wait_for(lambda: len(functions.events) >= 2, "two attempts")
    mapping.end()
    assert mapping.join(10)
    assert (consumer.commits, consumer.closed, mapping.status()["state"]) == ([], 1, "Disabled")


def test_a_stop_finishes_the_running_invocation(make: Make, consumer: Pretended, functions: Invoked) -> None:
    """Ended while the function runs, the mapping waits for it and commits what it did."""
    functions.gate.clear()
    mapping = make()
    consumer.feed((0, 4))
    wait_for(lambda: functions.events, "the invocation")
    mapping.end()
    assert not mapping.join(0.05)
    functions.gate.set()
    assert mapping.join(10)
    assert (consumer.commits, consumer.closed) == ([{0: 5}], 1)


def test_a_refused_commit_is_made_up_for(make: Make, consumer: Pretended, functions: Invoked) -> None:
    """When a commit fails the work goes on, and the offsets are committed as soon as that is possible."""
    consumer.refuse_commits = True
    make()
    consumer.feed((0, 4), (1, 2))
    wait_for(lambda: functions.events, "the invocation")
    consumer.refuse_commits = False
    wait_for(lambda: consumer.commits, "the commit")
    assert consumer.commits == [{0: 5, 1: 3}]


def test_lost_partitions_are_not_committed(make: Make, consumer: Pretended, functions: Invoked) -> None:
    """Offsets of partitions that another member may have by now are forgotten, not committed late."""
    consumer.refuse_commits = True
    mapping = make()
    consumer.feed((0, 4))
    wait_for(lambda: functions.events, "the invocation")
    wait_for(lambda: mapping._unsaved, "the refused commit")
    consumer.loses = True
    wait_for(lambda: not consumer.loses, "the loss")
    consumer.refuse_commits = False
    consumer.feed((1, 2))
    wait_for(lambda: consumer.commits, "the next commit")
    assert consumer.commits == [{1: 3}]


def test_the_position_is_known_before_the_first_record(make: Make) -> None:
    """At the start the lag counts from the committed offset, or from the beginning where there is none."""
    mapping = make()
    wait_for(lambda: mapping.status()["lag"] == 6 + 8, "the lag")
    assert mapping.status()["partitions"] == [
        {"partition": 0, "position": 4, "end": 10, "lag": 6},
        {"partition": 1, "position": 2, "end": 10, "lag": 8},
    ]
    assert (mapping.status()["state"], mapping.status()["last_result"]) == ("Enabled", "No records processed")


def test_an_outage_is_said_once(make: Make, consumer: Pretended, caplog: pytest.LogCaptureFixture) -> None:
    """However often librdkafka reports it, the log says once that Kafka is down and once that it is back."""
    mapping = make()
    consumer.answers = False
    with caplog.at_level(logging.INFO):
        consumer.errors += [DOWN] * 5
        wait_for(lambda: mapping.status()["last_result"] == "PROBLEM: Kafka does not answer", "the problem")
        consumer.errors += [DOWN] * 5
        wait_for(lambda: not consumer.errors, "more reports")
        consumer.answers = True
        wait_for(lambda: mapping.status()["last_result"] == "No records processed", "the recovery")
        consumer.errors += [DOWN]  # old news
        wait_for(lambda: not consumer.errors, "the late report")
        mapping.end()
        assert mapping.join(10)  # what it makes of the report it has said by now
    texts = [message for message in caplog.messages if "Kafka" in message]
    assert texts == ["Kafka does not answer at 127.0.0.1:9092; waiting", "Kafka answers again"]


def test_a_missing_topic_is_waited_for(make: Make, consumer: Pretended, caplog: pytest.LogCaptureFixture) -> None:
    """A topic that is not there yet is a problem that is said once and passes with the first record."""
    mapping = make()
    with caplog.at_level(logging.INFO):
        error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
        consumer.waiting += [Message("processed_topic", 0, -1, error=error)] * 3
        problem = "PROBLEM: there is no topic processed_topic"
        wait_for(lambda: mapping.status()["last_result"] == problem, "the problem")
        wait_for(lambda: not consumer.waiting, "all errors")
        consumer.feed((0, 4))
        wait_for(lambda: mapping.status()["last_result"] == "OK", "the recovery")
        wait_for(lambda: consumer.commits == [{0: 5}], "the commit")
    assert caplog.messages.count("there is no topic processed_topic; waiting") == 1


def test_a_lost_consumer_is_opened_again(make: Make, consumer: Pretended) -> None:
    """After a fatal error the consumer is closed, and a new one goes on from the committed offsets."""
    make()
    wait_for(lambda: consumer.opened, "the first consumer")
    consumer.errors.append(KafkaError(KafkaError.FENCED_INSTANCE_ID, fatal=True))
    wait_for(lambda: consumer.opened == 2, "the second consumer")
    consumer.feed((0, 4))
    wait_for(lambda: consumer.commits == [{0: 5}], "the commit")
    assert consumer.closed == 1


def test_an_unexpected_error_is_no_end(
    make: Make, consumer: Pretended, functions: Invoked, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong in the thread is logged, and the mapping begins anew without committing what was undone."""
    working = functions.invoke
    functions.invoke = lambda *_: 1 / 0  # type: ignore[assignment] # a bug
    make()
    consumer.feed((0, 4))
    wait_for(lambda: consumer.closed, "the consumer is closed")
    assert consumer.commits == []
    functions.invoke = working  # type: ignore[method-assign]
    consumer.feed((0, 4))
    wait_for(lambda: consumer.commits == [{0: 5}], "the commit")
    assert "the event source mapping starts again" in caplog.messages
