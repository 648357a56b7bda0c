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
        self.refuse_watermarks = False
        self.topic_id: str | None = "first"
        self.low, self.high = 2, 10
        self.assigned: dict[int, int] = {}
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
        """Be given both partitions at the next look for records, as librdkafka does."""
        assert topics == ["processed_topic"]
        self.on_revoke, self.on_lost = on_revoke, on_lost
        try:
            on_assign(self, self.assignment())
        except KafkaException as error:  # as confluent_kafka 2.16 does it, which no `except Exception` catches
            raise SystemExit from error

    def assign(self, places: list[TopicPartition]) -> None:
        """Read these partitions from there."""
        self.assigned = {place.partition: place.offset for place in places}

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
        """Say where each partition begins and ends: at 2 and 10 unless the test says otherwise."""
        assert place.topic == "processed_topic"
        if self.refuse_watermarks:
            raise KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION))
        return (self.low, self.high)

    def commit(self, offsets: list[TopicPartition], *, asynchronous: bool) -> None:
        """Keep the commit, or refuse it."""
        assert asynchronous is False
        if self.refuse_commits:
            raise KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION))
        self.commits.append({place.partition: place.offset for place in offsets})
        self.committed_offsets |= self.commits[-1]

    def ask_topic_id(self, topic: str) -> str | None:
        """Answer, or not."""
        assert topic == "processed_topic"
        if not self.answers:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return self.topic_id

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
                "state_file": str(tmp_path / "data" / "mapping.json"),
            }
            | changes
        )
        opener: Any = consumer.open
        invoked: Any = functions
        made.append(EventSourceMapping(spec, "127.0.0.1:9092", invoked, opener=opener, topic_ids=consumer.ask_topic_id))
        made[-1].start_thread()
        return made[-1]

    yield maker
    functions.gate.set()
    for mapping in made:
        mapping.end()
        assert mapping.join(10)


def test_the_consumer_is_the_designs(make: Make, consumer: Pretended) -> None:
    """It is a group's member that reads committed records, commits by hand, and skips nothing by itself."""
    make()
    wait_for(lambda: consumer.opened, "the consumer is opened")
    properties = consumer.properties
    assert (properties["group.id"], properties["auto.offset.reset"]) == ("audit", "error")
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
    """A topic that is not there yet is a problem that is said once and passes when it is made."""
    consumer.topic_id = None
    mapping = make()
    with caplog.at_level(logging.INFO):
        problem = "PROBLEM: there is no topic processed_topic"
        wait_for(lambda: mapping.status()["last_result"] == problem, "the problem")
        assert consumer.opened == 0
        consumer.topic_id = "first"
        wait_for(lambda: mapping.status()["last_result"] == "No records processed", "the recovery, without any record")
        consumer.feed((0, 4))
        wait_for(lambda: consumer.commits == [{0: 5}], "the commit")
    assert caplog.messages.count("there is no topic processed_topic; waiting") == 1


def test_a_topic_made_again_is_read_from_its_beginning(make: Make, consumer: Pretended, tmp_path: Path) -> None:
    """Another id is another topic: a new consumer begins at its start, whatever is committed, and that is no loss."""
    mapping = make()
    wait_for(lambda: consumer.assigned == {0: 4, 1: 2}, "the first assignment")
    consumer.committed_offsets = {0: 9, 1: 2}
    consumer.topic_id, consumer.low = "second", 0
    error = KafkaError(KafkaError.UNKNOWN_TOPIC_ID)
    consumer.waiting.append(Message("processed_topic", 0, -1, error=error))
    wait_for(lambda: consumer.assigned == {0: 0, 1: 0}, "the second assignment")
    assert (consumer.opened, consumer.closed) == (2, 1)
    assert consumer.committed_offsets == {0: 0, 1: 0}, "committed before the new id is kept"
    assert json.loads((tmp_path / "data" / "mapping.json").read_text())["topic_id"] == "second"
    status = mapping.status()
    assert (status["last_result"], status["losses"]) == ("No records processed", [])


def test_a_topic_made_again_while_the_runner_was_down(make: Make, consumer: Pretended, tmp_path: Path) -> None:
    """The id is kept across runs: offsets that lie within the new topic, but are the old one's, hide nothing."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mapping.json").write_text('{"topic_id": "zeroth", "accepted": []}')
    consumer.committed_offsets = {0: 7}
    make()
    wait_for(lambda: consumer.assigned == {0: 2, 1: 2}, "the assignment")


def test_a_deleted_topic_is_waited_for(make: Make, consumer: Pretended) -> None:
    """A topic deleted in mid-run is noticed without any error from librdkafka, and read when it is back."""
    mapping = make()
    wait_for(lambda: consumer.assigned, "the first assignment")
    consumer.assigned, consumer.topic_id = {}, None
    wait_for(lambda: mapping.status()["last_result"] == "PROBLEM: there is no topic processed_topic", "the problem")
    consumer.topic_id = "second"
    wait_for(lambda: consumer.assigned == {0: 2, 1: 2}, "the second assignment")
    wait_for(lambda: mapping.status()["last_result"] == "No records processed", "the recovery")


def test_offsets_beyond_the_end_hide_nothing(make: Make, consumer: Pretended, caplog: pytest.LogCaptureFixture) -> None:
    """A committed offset behind the last record begins anew, for good, and the log says so."""
    consumer.committed_offsets = {0: 11, 1: 10}
    make()
    wait_for(lambda: consumer.assigned == {0: 2, 1: 10}, "the assignment")
    assert consumer.committed_offsets == {0: 2, 1: 10}
    assert "processed_topic-0 is read from offset 2, not 11" in caplog.messages


def test_records_deleted_unread_are_a_named_problem(make: Make, consumer: Pretended) -> None:
    """A log start beyond a committed offset stops that partition, not the other, until the loss is accepted."""
    consumer.committed_offsets = {0: 4, 1: 8}
    consumer.low = 7
    mapping = make()
    problem = "PROBLEM: records of processed_topic were deleted unread: 3 in partition 0 (offsets 4 to 6)"
    wait_for(lambda: mapping.status()["last_result"] == problem, "the problem")
    loss = {"topic": "processed_topic", "partition": 0, "from": 4, "to": 7}
    assert mapping.status()["losses"] == [loss]
    assert consumer.assigned == {1: 8}
    consumer.feed((1, 8))
    wait_for(lambda: consumer.commits == [{1: 9}], "the other partition goes on")
    assert mapping.status()["last_result"] == problem

    accepted = mapping.accept_loss()["accepted"]
    assert [{name: found[name] for name in loss} for found in accepted] == [loss]
    wait_for(lambda: consumer.assigned == {0: 7, 1: 9}, "both partitions")
    wait_for(lambda: mapping.status()["last_result"] == "OK", "the recovery")
    assert consumer.committed_offsets == {0: 7, 1: 9}
    assert (mapping.status()["losses"], mapping.status()["accepted_losses"]) == ([], accepted)
    assert mapping.accept_loss() == {"accepted": []}


def test_an_accepted_loss_does_not_cover_more(make: Make, consumer: Pretended) -> None:
    """What is deleted unread after a loss was accepted is a loss of its own."""
    consumer.committed_offsets, consumer.low = {0: 4, 1: 8}, 6
    mapping = make()
    wait_for(lambda: mapping.status()["losses"], "the loss")
    consumer.low = 8
    mapping.accept_loss()
    wait_for(lambda: mapping.status()["losses"], "the second loss")
    assert mapping.status()["losses"] == [{"topic": "processed_topic", "partition": 0, "from": 6, "to": 8}]


def test_a_running_consumer_skips_nothing(make: Make, consumer: Pretended) -> None:
    """When librdkafka reports an offset out of range, the mapping looks anew and names what was lost."""
    mapping = make()
    wait_for(lambda: consumer.assigned, "the first assignment")
    consumer.low = 6
    error = KafkaError(KafkaError._AUTO_OFFSET_RESET)
    consumer.waiting.append(Message("processed_topic", 0, 4, error=error))
    wait_for(lambda: mapping.status()["losses"], "the loss")
    assert mapping.status()["losses"] == [{"topic": "processed_topic", "partition": 0, "from": 4, "to": 6}]
    assert consumer.opened == 2


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


def test_a_refusal_while_partitions_are_given_out_is_no_end(make: Make, consumer: Pretended) -> None:
    """A topic just made again may have no leader yet; the mapping begins anew until it has."""
    consumer.refuse_watermarks = True
    mapping = make()
    wait_for(lambda: consumer.opened >= 2, "another try")
    consumer.refuse_watermarks = False
    consumer.feed((0, 4))
    wait_for(lambda: consumer.commits == [{0: 5}], "the commit")
    assert mapping.status()["state"] == "Enabled"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_end_by_itself_is_a_problem(make: Make, consumer: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapping that nobody stopped and that reads no more does not pass for well."""
    monkeypatch.setattr(consumer, "consume", lambda *_: (_ for _ in ()).throw(GeneratorExit()))
    mapping = make()
    wait_for(lambda: str(mapping.status()["last_result"]).startswith("PROBLEM: it has ended by itself"), "the problem")
