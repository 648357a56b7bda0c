"""Kafka's own transactions in the input: aborted ones never happened, open ones hold back what lies behind them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from confluent_kafka import Message, Producer
from flink_runs import Application, Topics, detected, new_topics, running_broker, wait_until
from histories import flag_json, transaction_json
from oracle import Flag, Transaction

from fraudctl.clock import Clock
from fraudctl.local.kafka.admin import KafkaAdmin
from fraudctl.pipeline import records
from fraudctl.target import OpenTransaction

pytestmark = pytest.mark.integration

ACCOUNTS = range(7001, 7021)
BATCH = b"x" * 20_000


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Kafka broker of the module's own."""
    with running_broker(tmp_path_factory.mktemp("kafka")) as address:
        yield address


@dataclass
class Running:
    """The application, caught up; two flagged accounts whose transactions lie in different partitions."""

    topics: Topics
    application: Application
    first: int
    second: int

    def send(self, producer: Producer, identifier: str, account: int) -> tuple[int, int]:
        """Write one transaction and give its partition and its offset."""
        return send(self.topics, producer, identifier, account)

    def found(self) -> set[str]:
        """Give the detected transactions."""
        return {found.identity[2] for found in detected(self.topics.read(self.topics.processed))}

    def wait_for(self, *identifiers: str) -> None:
        """Wait until all of them are detected."""
        wait_until(
            lambda: self.found() >= set(identifiers), f"detections of {identifiers}", logs=[self.application.log]
        )


def now() -> int:
    """Give the time in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def send(topics: Topics, producer: Producer, identifier: str, account: int) -> tuple[int, int]:
    """Write one transaction and give its partition and its offset."""
    sent: list[Message] = []
    value = transaction_json(Transaction(now(), account, now(), identifier))
    producer.produce(
        topics.transactions,
        value,
        records.key(account),
        on_delivery=lambda _, message: sent.append(message),
    )
    assert producer.flush(30) == 0
    partition, offset = sent[0].partition(), sent[0].offset()
    assert partition is not None
    assert offset is not None
    return partition, offset


def transactional(topics: Topics, name: str) -> Producer:
    """Give a producer with an open transaction."""
    producer = topics.producer(**{"transactional.id": f"{topics.transactions}-{name}", "linger.ms": "0"})
    producer.init_transactions(30)
    producer.begin_transaction()
    return producer


@pytest.fixture(scope="module")
def running(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Start over a backlog: a committed transaction, then 4 MB of aborted ones whose two markers end the partition."""
    topics = new_topics(broker, "transactions", log_append_time=True)
    topics.write(
        ("flagged", 0, account, flag_json(Flag(0, account, now() - 60_000, flagged=True, reason="r")))
        for account in ACCOUNTS
    )
    committed = transactional(topics, "committed")
    first, second = ACCOUNTS[0], ACCOUNTS[1]
    home, _ = send(topics, committed, "committed-1", first)
    committed.commit_transaction(30)
    for account in ACCOUNTS[1:]:
        partition, _ = send(topics, topics.producer(), f"plain-{account}", account)
        if partition != home:
            second = account
    aborted = [transactional(topics, name) for name in ("one", "two")]
    for producer in aborted:
        send(topics, producer, "aborted-1", first)
        for _ in range(100):
            producer.produce(topics.transactions, BATCH, records.key(first))
            producer.flush(30)
    for producer in aborted:
        producer.abort_transaction(30)
    application = Application(topics, tmp_path_factory.mktemp("application"))
    application.start()
    try:
        yield Running(topics, application, first, second)
    finally:
        application.kill()


def test_aborted_records_are_not_read(running: Running) -> None:
    """Neither detected nor dead letters, and the backlog that ends with them ends by itself."""
    running.wait_for("committed-1", *(f"plain-{account}" for account in ACCOUNTS[1:]))
    assert "aborted-1" not in running.found()
    assert running.topics.read(running.topics.dead_letters) == []


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_an_open_transaction_holds_back_only_what_lies_behind_it(running: Running, end: str) -> None:
    """Other partitions go on, also where they waited for the clock; the end of the transaction sets the rest free."""
    plain, admin = running.topics.producer(), KafkaAdmin(lambda: {"bootstrap.servers": running.topics.broker})
    hanging = transactional(running.topics, f"hanging-{end}")
    before = now()
    partition, offset = running.send(hanging, f"hanging-{end}", running.first)
    running.send(plain, f"behind-{end}", running.first)
    running.send(plain, f"beside-{end}", running.second)
    running.wait_for(f"beside-{end}")
    held = admin.open_transactions([running.topics.transactions, running.topics.processed])
    assert held == [OpenTransaction(running.topics.transactions, partition, offset, 2, held[0].since)]
    assert before - 1000 <= (held[0].since or 0) <= now()
    # The clock goes on: caught up means read to the last stable offset.
    wait_until(
        lambda: 0 <= running.application.metrics().get("detection.eventTimeLagMs", -1) < 5000, "the clock goes on"
    )
    assert not {f"hanging-{end}", f"behind-{end}"} & running.found()
    if end == "commit":
        hanging.commit_transaction(30)
        running.wait_for("hanging-commit", "behind-commit")
    else:
        hanging.abort_transaction(30)
        running.wait_for("behind-abort")
        assert "hanging-abort" not in running.found()
    for _ in Clock().until(
        lambda: not admin.open_transactions([running.topics.transactions]), within=30, what="a", hint=""
    ):
        pass
