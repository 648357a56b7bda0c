"""Records that are deleted before the application reads them are never passed over in silence."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from flink_runs import Application, detected, new_topics, running_broker, wait_until
from histories import flag_json, transaction_json
from oracle import Flag, Transaction

from fraudctl.local.clients import JsonClient
from fraudctl.local.flink import snapshots
from fraudctl.local.flink.rest import FlinkRest
from fraudctl.local.flink.unread import Guard, Unread, positions_of, waiting
from fraudctl.local.kafka.admin import KafkaAdmin
from fraudctl.local.kafka.topics import LocalTopics
from fraudctl.local.kafka.unread import Gap, Ledger
from fraudctl.pipeline import topics as pipeline

pytestmark = pytest.mark.integration

ACCOUNTS = range(7001, 7021)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Kafka broker of the module's own."""
    with running_broker(tmp_path_factory.mktemp("kafka")) as address:
        yield address


class Runner(JsonClient):
    """A function runner whose mapping has lost what the test says, until that is accepted."""

    def __init__(self) -> None:
        """Be reachable nowhere."""
        super().__init__("lambda", lambda: "http://127.0.0.1:1")
        self.losses: list[dict[str, Any]] = []

    def get(self, path: str, *, timeout: float = 10) -> Any:
        """Give the status."""
        del timeout
        assert path == "/_fraudctl/status"
        return {"mapping": {"losses": list(self.losses)}}

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, method: str = "POST", timeout: float = 10
    ) -> Any:
        """Accept them."""
        assert (path, body, method, timeout) == ("/_fraudctl/mapping/accept-loss", None, "POST", 10)
        self.losses.clear()


class Case:
    """One application with its topics, flagged accounts, and what guards its start."""

    def __init__(self, broker: str, name: str, folder: Path) -> None:
        """Make the topics and flag the accounts."""
        self.topics = new_topics(broker, name, log_append_time=True)
        self.application = Application(self.topics, folder)
        self.admin = KafkaAdmin(lambda: {"bootstrap.servers": broker})
        self.ledger = Ledger(folder / "lost.jsonl")
        self.runner = Runner()
        self.guard = Guard(folder / "spec.json", self.admin, self.ledger, self.runner)
        self.numbers = 0
        now = time.time_ns() // 1_000_000
        flags = (Flag(0, account, now - 60_000, flagged=True, reason="r") for account in ACCOUNTS)
        self.topics.write(("flagged", 0, flag.account, flag_json(flag)) for flag in flags)

    def send(self, number: int) -> list[str]:
        """Write transactions of the flagged accounts in turn; give their identifiers."""
        now = time.time_ns() // 1_000_000
        numbers = range(self.numbers, self.numbers + number)
        self.numbers += number
        sent = [Transaction(now, ACCOUNTS[n % len(ACCOUNTS)], now, f"t-{n}") for n in numbers]
        self.topics.write(("transactions", 0, t.account, transaction_json(t)) for t in sent)
        return [t.id for t in sent]

    def ends(self) -> dict[int, int]:
        """Give where the partitions of the transactions end."""
        places = [(self.topics.transactions, number) for number in range(pipeline.PARTITIONS)]
        return {place[1]: at for place, at in self.admin.offsets(places, latest=True).items()}

    def delete(self, before: dict[int, int], topic: str | None = None) -> None:
        """Delete the records before these offsets, as retention does."""
        parts = [TopicPartition(topic or self.topics.transactions, number, at) for number, at in before.items()]
        admin = AdminClient({"bootstrap.servers": self.topics.broker})
        for future in admin.delete_records(parts).values():
            future.result(30)

    def create_anew(self) -> str:
        """Delete the topic of the transactions and create it again; give its name."""
        admin, topic = AdminClient({"bootstrap.servers": self.topics.broker}), self.topics.transactions
        admin.delete_topics([topic])[topic].result(30)
        wait_until(lambda: topic not in self.admin.topics(), "the topic is gone")
        admin.create_topics([NewTopic(topic, pipeline.PARTITIONS, 1)])[topic].result(30)
        return topic

    def found(self) -> set[str]:
        """Give the detected transactions."""
        return {found.identity[2] for found in detected(self.topics.read(self.topics.processed))}

    def wait_for(self, identifiers: list[str]) -> None:
        """Wait until all of them are detected."""
        wait_until(lambda: self.found() >= set(identifiers), "the detections", logs=[self.application.log])

    def waits(self) -> str:
        """Wait until the launcher waits for consent; give what it says."""
        file = self.application.folder / "unread"
        return str(wait_until(lambda: waiting(file), "the launcher waits", logs=[self.application.log]))

    def gaps(self, before: dict[int, int], after: dict[int, int]) -> tuple[Gap, ...]:
        """Give the gaps of every partition between two moments."""
        topic = self.topics.transactions
        identifier = self.admin.topic_ids([topic])[topic]
        return tuple(
            Gap(topic, topic, identifier, number, before[number], after[number])
            for number in sorted(before)
            if before[number] < after[number]
        )


@pytest.fixture
def case(broker: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Case]:
    """Give a case that ends with the test."""
    made = Case(broker, request.node.name.replace("_", "-")[:60].strip("-[]").replace("[", "-"), tmp_path / "a b")
    yield made
    made.application.kill()


def test_a_stopped_application_does_not_start_over_a_gap(case: Case) -> None:
    """It is named by partition, from, to and count; accepted, it is on record, and what is left is detected."""
    case.application.start()
    case.wait_for(case.send(40))
    case.application.stop_with_savepoint()
    before = case.ends()
    case.send(200)
    middle = case.ends()
    left = case.send(40)
    spec = snapshots.Spec.from_json((case.application.folder / "spec.json").read_text())
    snapshot = snapshots.next_snapshot(spec)
    assert snapshot is not None
    positions = positions_of(spec, snapshot)
    assert {n: positions[case.topics.transactions, n] for n in before} == before
    assert case.guard.check(fresh=False, running=False) == ()
    case.delete(middle)
    found = case.guard.check(fresh=False, running=False)
    assert found == case.gaps(before, middle)
    assert sum(gap.end - gap.first for gap in found) == 200
    # Whoever starts it by another way does not get past it either.
    case.application.launch()
    assert case.waits().count(" records of ") == len(found)
    case.guard.accept(found)
    wait_until(case.application.running, "the application runs", logs=[case.application.log])
    case.wait_for(left)
    entries = [json.loads(line) for line in (case.application.folder / "lost.jsonl").read_text().splitlines()]
    assert [(e["partition"], e["from"], e["to"], e["records"]) for e in entries] == [
        (gap.partition, gap.first, gap.end, gap.end - gap.first) for gap in found
    ]
    assert all(abs(entry["when"] - time.time() * 1000) < 120_000 for entry in entries)
    # What is accepted is accepted, also for the state that stands before it.
    assert Unread(spec, case.admin, case.ledger).check(snapshot).gaps == ()
    assert not (case.application.folder / "unread").exists()


def test_an_application_that_is_too_slow_fails_by_name(case: Case) -> None:
    """What retention takes from under a running job ends it at once, and the launcher says what is gone."""
    case.application.properties = {"consumer.max.poll.records": "1", "consumer.max.partition.fetch.bytes": "1"}
    case.application.start()
    group = case.topics.transactions
    # Without a checkpoint nobody knows where it was: it would begin with what is left.
    wait_until(lambda: len(case.admin.committed(group)) == pipeline.PARTITIONS, "a checkpoint")
    before = case.ends()
    case.send(20_000)
    case.delete(case.ends())
    # As the supervisor does it: the JVM has ended, not by itself.
    wait_until(lambda: case.application.ended() not in (None, 0), "the job fails", logs=[case.application.log])
    assert "records were deleted before they were read: " in case.application.log.read_text()
    assert (case.application.folder / "unread").exists()
    case.application.launch()
    said = case.waits()
    assert f"were deleted before {case.topics.transactions} read them" in said
    found = case.guard.check(fresh=False, running=False)
    assert {gap.end for gap in found} <= set(case.ends().values())
    assert all(gap.first >= before[gap.partition] for gap in found)
    case.guard.accept(found)
    wait_until(case.application.running, "the application runs", logs=[case.application.log])
    case.wait_for(case.send(40))


def test_what_was_lost_before_the_first_checkpoint(case: Case) -> None:
    """No state and no committed offset say where it was: what counts is where it first began."""
    case.application.properties = {
        "flink.execution.checkpointing.interval": "600s",
        "flink.execution.checkpointing.min-pause": "600s",
        "consumer.max.poll.records": "1",
        "consumer.max.partition.fetch.bytes": "1",
    }
    case.application.start()
    before = dict.fromkeys(case.ends(), 0)
    case.send(20_000)
    case.delete(case.ends())
    wait_until(lambda: case.application.ended() not in (None, 0), "the job fails", logs=[case.application.log])
    assert case.admin.committed(case.topics.transactions) == {}
    case.application.launch()
    assert f"were deleted before {case.topics.transactions} read them" in case.waits()
    found = case.guard.check(fresh=False, running=False)
    assert found == case.gaps(before, case.ends())
    case.guard.accept(found)
    wait_until(case.application.running, "the application runs", logs=[case.application.log])
    case.wait_for(case.send(40))


def test_a_start_without_state_counts_what_was_not_committed(case: Case) -> None:
    """A fresh start reads what is left; what lies between the committed offsets and that is a gap all the same."""
    case.application.start()
    case.wait_for(case.send(40))
    places = [(case.topics.transactions, number) for number in range(pipeline.PARTITIONS)]
    ends = case.ends()

    def committed() -> bool:
        known = case.admin.committed(case.topics.transactions)
        return all(known.get(place, -1) == ends[place[1]] or not ends[place[1]] for place in places)

    wait_until(committed, "committed offsets", logs=[case.application.log])
    case.application.kill()
    case.send(100)
    case.delete(case.ends())
    assert case.guard.check(fresh=True, running=False) == case.gaps(ends, case.ends())


def test_a_topic_that_was_created_anew_is_read_from_its_beginning(case: Case) -> None:
    """It has lost nothing; the application goes on with its state, and says so."""
    case.application.start()
    case.wait_for(case.send(400))
    case.application.stop_with_savepoint()
    topic = case.create_anew()
    sent = case.send(40)
    assert case.guard.check(fresh=False, running=False) == ()
    case.application.start()
    case.wait_for(sent)
    assert f"{topic} was deleted and created anew; it is read from its beginning" in case.application.log.read_text()


def test_a_topic_created_anew_under_a_running_application(case: Case) -> None:
    """Its first records are read too, also when it is longer than what was read of the old one."""
    case.application.start()
    case.wait_for(case.send(40))
    old = case.admin.topic_ids([case.topics.transactions])
    wait_until(lambda: case.application.metrics().get("detection.eventTimeLagMs", -1) >= 0, "the clock")
    time.sleep(2)  # the application has looked at the topic by then: it does once a second, and shows it nowhere
    topic = case.create_anew()
    sent = case.send(400)
    assert case.admin.topic_ids([topic]) != old
    wait_until(lambda: case.application.ended() not in (None, 0), "the job ends", logs=[case.application.log])
    case.application.start()
    case.wait_for(sent)
    assert f"{topic} was deleted and created anew" in case.application.log.read_text()


def test_what_audit_writer_has_not_read(case: Case) -> None:
    """The mapping that waits for consent is asked and told, also while the application runs."""
    case.application.folder.mkdir(parents=True)
    loss = {"topic": case.topics.processed, "partition": 2, "from": 5, "to": 9}
    case.runner.losses.append(loss)
    found = case.guard.check(fresh=False, running=True)
    identifier = case.admin.topic_ids([case.topics.processed])[case.topics.processed]
    assert found == (Gap("AuditWriter", case.topics.processed, identifier, 2, 5, 9),)
    case.guard.accept(found)
    assert case.guard.check(fresh=False, running=True) == ()
    assert case.ledger.gaps() == list(found)
    assert not (case.application.folder / "unread").exists()


def test_what_is_unread_is_asked_of_the_running_job(broker: str, tmp_path: Path) -> None:
    """Not of its checkpoints, of which there is none: read within moments; an open transaction's records are unread."""
    case = Case(broker, "lag", tmp_path)
    # Flink makes the first checkpoint at a random moment between the pause and the interval.
    case.application.properties = {
        "flink.execution.checkpointing.interval": "600s",
        "flink.execution.checkpointing.min-pause": "600s",
    }
    case.application.start()
    rest = FlinkRest(lambda: case.application.address)
    group, name = case.topics.transactions, case.topics.transactions
    asked = {group: lambda: rest.positions(since=time.time(), within=10)}
    found = LocalTopics(case.admin, [replace(pipeline.TRANSACTIONS, name=name)], positions=asked)

    def unread() -> int | None:
        consumers = {consumer.group: consumer.lag for consumer in found.consumers() if not consumer.as_of_checkpoint}
        return consumers.get(group)

    try:
        wait_until(lambda: unread() == 0, "it has its partitions", logs=[case.application.log])
        case.send(1000)
        wait_until(lambda: unread() == 0, "all 1,000 are read", seconds=10, logs=[case.application.log])
        assert case.admin.committed(group) == {}
        producer = case.topics.producer(**{"transactional.id": "lag"})
        producer.init_transactions(30)
        producer.begin_transaction()
        for _ in range(50):
            producer.produce(name, b"{}", str(ACCOUNTS[0]))
        assert producer.flush(30) == 0
        assert unread() == 50
        producer.abort_transaction(30)
        # Kafka writes the marker after it has answered, and what is sent is to lie behind it.
        wait_until(lambda: sum(case.ends().values()) == 1051, "the marker is there")
        case.send(len(ACCOUNTS))
        wait_until(lambda: unread() == 0, "the aborted ones are passed over", seconds=10)
    finally:
        case.application.kill()
