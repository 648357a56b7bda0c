"""SampleTransactionGenerator, on librdkafka's mock broker."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from lambda_tools import load, mock_brokers, read, topics

from fraudctl.pipeline import kafka
from fraudctl.pipeline.records import Transaction, key


class Remaining:
    """A context with a fixed remaining time."""

    def __init__(self, milliseconds: int = 60_000) -> None:
        """Keep the time."""
        self.milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        """Give the time."""
        return self.milliseconds


@pytest.fixture
def brokers() -> Iterator[str]:
    """Run a mock broker and give its address."""
    with mock_brokers() as address:
        yield address


@pytest.fixture
def generator(brokers: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Load the generator against the mock broker."""
    monkeypatch.setenv("GENERATOR_BOOTSTRAP_SERVERS", brokers)
    module = load("sample_transaction_generator")
    yield module
    module.producer().get().close()


def test_the_generator_writes_what_it_says(generator: Any, brokers: str) -> None:
    """As many transactions as asked for lie in Kafka, each good and keyed by its account."""
    assert generator.handler({"count": 250}, Remaining()) == {"sent": 250, "failed": 0}
    messages = read(brokers, "demo_transactions", 250)
    transactions = [Transaction.parse(message.value()) for message in messages]
    assert [message.key() for message in messages] == [key(transaction.account_id) for transaction in transactions]
    assert len({transaction.transaction_id for transaction in transactions}) == 250


def test_the_generator_keeps_its_producer(generator: Any) -> None:
    """A second invocation uses the first one's producer, which a warm-up may have opened."""
    generator.warm()
    first = generator.producer().get()
    generator.handler({"count": 1}, Remaining())
    assert generator.producer().get() is first


def test_the_generator_spreads_its_transactions(generator: Any, brokers: str) -> None:
    """At 100 a second 30 transactions take at least their 0.29 s, and carry the dates of their moments."""
    start = time.monotonic()
    assert generator.handler({"per_second": 100, "seconds": 0.3}, Remaining()) == {"sent": 30, "failed": 0}
    assert time.monotonic() - start > 0.28
    messages = read(brokers, "demo_transactions", 30)
    assert len({Transaction.parse(message.value()).transaction_date for message in messages}) > 1


def test_the_generator_stops_early(generator: Any, brokers: str) -> None:
    """When the time is nearly over it ends at once, and says what it has sent."""
    assert generator.handler({}, Remaining(generator.RESERVE_MS - 1)) == {"sent": 0, "failed": 0}
    assert "demo_transactions" not in topics(brokers)


def test_the_generator_by_count_stops_early_too(generator: Any, brokers: str) -> None:
    """A count that the time does not suffice for ends with what was confirmed, not with a time-out."""

    class Running(Remaining):
        def get_remaining_time_in_millis(self) -> int:
            self.milliseconds -= 100
            return self.milliseconds

    answer = generator.handler({"count": 10_000_000}, Running(generator.RESERVE_MS + 10_000))
    assert 90 <= answer["sent"] <= 100
    assert len(read(brokers, "demo_transactions", answer["sent"])) == answer["sent"]


def test_the_generator_answers_in_time_without_brokers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brokers that fall silent cost the rest of the invocation's time and not thirty seconds more."""
    monkeypatch.setenv("GENERATOR_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    generator = load("sample_transaction_generator")
    kept = kafka.KeptProducer(kafka.producer(kafka.client("127.0.0.1:1")))
    monkeypatch.setattr(generator, "producer", lambda: kept)
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="3 transactions were not delivered: no answer within 4 s"):
        generator.handler({"count": 3}, Remaining(generator.RESERVE_MS))
    assert time.monotonic() - start < 15
    kept.get().close()


def test_the_generator_raises_when_something_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a broker the invocation fails, and says how many were lost and why."""
    monkeypatch.setenv("GENERATOR_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    generator = load("sample_transaction_generator")
    quick = kafka.producer(kafka.client("127.0.0.1:1")) | {"delivery.timeout.ms": 300, "linger.ms": 0}
    kept = kafka.KeptProducer(quick)
    monkeypatch.setattr(generator, "producer", lambda: kept)
    with pytest.raises(RuntimeError, match="3 transactions were not delivered: Local: Message timed out"):
        generator.handler({"count": 3}, Remaining())
    generator.producer().get().close()


@pytest.mark.parametrize(
    ("event", "count", "per_second"),
    [
        ({}, 550, 10),
        ({"per_second": 2, "seconds": 3}, 6, 2),
        ({"per_second": 0.5, "seconds": 1}, 1, 0.5),
        ({"count": 7}, 7, None),
    ],
)
def test_the_generators_payloads(event: dict[str, Any], count: int, per_second: float | None) -> None:
    """The payload says how many, and at what pace."""
    request = load("sample_transaction_generator").Request.of(event)
    assert (request.count, request.per_second) == (count, per_second)


@pytest.mark.parametrize(
    "event",
    [
        {"count": 0},
        {"count": -1},
        {"count": 1.5},
        {"count": True},
        {"count": "1"},
        {"count": None},
        {"per_second": 0},
        {"seconds": -1},
        {"per_second": "10"},
        {"counts": 1},
    ],
)
def test_the_generator_refuses_nonsense(event: dict[str, Any]) -> None:
    """A payload that is wrong is refused by name before anything is sent."""
    with pytest.raises(ValueError, match=next(iter(event))):
        load("sample_transaction_generator").Request.of(event)


def test_the_pace_is_even() -> None:
    """On a made-up clock every number comes at its time, without drift and in short pauses."""
    pace = load("sample_transaction_generator").pace
    now, pauses = [100.0], []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    times = [now[0] for _ in pace(20, 4, stop=lambda: False, clock=lambda: now[0], sleep=sleep)]
    assert times == pytest.approx([100 + number / 4 for number in range(20)])
    assert max(pauses) <= 0.1


def test_the_pace_catches_up() -> None:
    """After a hold-up the numbers that are due come at once, and the rest at their own times."""
    pace = load("sample_transaction_generator").pace
    now, times = [0.0], []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    for number in pace(10, 1, stop=lambda: False, clock=lambda: now[0], sleep=sleep):
        times.append(now[0])
        if number == 2:
            now[0] = 6.5
    assert times == pytest.approx([0, 1, 2, 6.5, 6.5, 6.5, 6.5, 7, 8, 9])


def test_the_pace_stops_while_it_waits() -> None:
    """A stop in the middle of a long pause ends it within a tenth of a second."""
    pace = load("sample_transaction_generator").pace
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    assert list(pace(5, 0.01, stop=lambda: now[0] > 3, clock=lambda: now[0], sleep=sleep)) == [0]
    assert now[0] < 3.2
