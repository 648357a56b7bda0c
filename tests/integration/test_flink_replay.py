"""Backlogs: whatever is read first, and however slowly, the application gives exactly what the oracle gives."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME
from fakes import FakeTarget
from flink_runs import (
    CORPUS,
    HEADERS,
    NOBODY,
    Application,
    Detected,
    Topics,
    detected,
    malformed,
    missing_and_extra,
    new_topics,
    running_broker,
    wait_until,
)
from histories import flag_json, history, messages, transaction_json
from oracle import Flag, Transaction, detections

from fraudctl.local.kafka.records import LocalRecords
from fraudctl.pipeline import kafka
from fraudctl.pipeline import topics as pipeline
from fraudctl.pipeline.reader import Batch
from fraudctl.pipeline.text import iso
from fraudctl.services.accounts.flag_list import Wanted
from fraudctl.services.accounts.found import ADDED, DETECTED, REMOVED, THEN, Tally
from fraudctl.services.accounts.what_if import BackTest, Question
from fraudctl.target import Range

pytestmark = pytest.mark.integration

HOLD = 60_000
SEEDS = 20
FILLER = 20_000
# So slow that reading takes longer than any idle time-out.
SLOW = {"consumer.max.poll.records": "100"}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Kafka broker of the module's own."""
    with running_broker(tmp_path_factory.mktemp("kafka")) as address:
        yield address


@dataclass(frozen=True)
class Replay:
    """What a backlog held and what came of it."""

    topics: Topics
    bad: list[tuple[str, bytes | None]]
    wanted: set[tuple[tuple[int, int, str], int, str]]
    found: list[Detected]
    metrics: dict[str, float]
    started: int


# What is read first, the partitions of each topic, the application's parallelism.
RUNS = {
    "transactions are read first": ("flagged", 4, 1),
    "flag events are read first": ("transactions", 4, 1),
    "more partitions than tasks": ("flagged", 8, 4),
    "more tasks than partitions": ("transactions", 2, 4),
}


@pytest.fixture(scope="module", params=RUNS)
def replay(request: pytest.FixtureRequest, broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    """20 seeds and every malformed record of the corpus, published before the start; one topic is read much later.

    What is read first is filled first. The topics' heads are gone, as retention takes them, and the last records were
    written in transactions, whose markers lie at the ends.
    """
    start = round(time.time() * 1000) - 3_600_000
    histories = [history(seed, start=start, span=10 * HOLD) for seed in range(SEEDS)]
    bad = malformed(CORPUS)
    times = [start + 600 * number for number in range(len(bad))]
    late, partitions, parallelism = RUNS[request.param]
    flags_late = late == "flagged"
    filler = (
        ("flagged", start, NOBODY + number, flag_json(Flag(start, NOBODY + number, start, flagged=False, reason="")))
        if flags_late
        else ("transactions", start, NOBODY, transaction_json(Transaction(start, NOBODY, start, f"f-{number}")))
        for number in range(FILLER)
    )
    name = f"late-{late}-{partitions}"
    topics = new_topics(broker, name, log_append_time=False, partitions=partitions)
    topics.write(filler)
    topics.trim(topics.flagged if flags_late else topics.transactions, 100)
    everything = [message for part in histories for message in messages(part)]
    everything += [(topic, at, NOBODY, value) for (topic, value), at in zip(bad, times, strict=True)]
    for topic in ("transactions", "flagged") if flags_late else ("flagged", "transactions"):
        own = sorted((message for message in everything if message[0] == topic), key=lambda message: message[1])
        topics.write(own[:-50])
        topics.write(own[-50:], transaction=True)
    wanted = set().union(*(detections(part.transactions, part.flags, HOLD) for part in histories))
    folder = tmp_path_factory.mktemp("application")
    settings = {"hold.ms": str(HOLD), "flink.parallelism.default": str(parallelism), **SLOW}
    application = Application(topics, folder, settings, as_service=flags_late)
    application.start()
    try:
        wait_until(lambda: topics.count(topics.dead_letters) >= len(bad), "the dead letters", logs=[application.log])

        def complete() -> bool:
            found = {(d.identity, d.flag_date, d.reason) for d in detected(topics.read(topics.processed))}
            # Flink's REST server fetches metrics every 10 s.
            return len(found) >= len(wanted) and application.metrics().get("detection.pending") == 0

        wait_until(complete, "every detection, and nothing pending", logs=[application.log])
        yield Replay(
            topics, bad, wanted, detected(topics.read(topics.processed)), application.metrics(), start + 3_600_000
        )
    finally:
        application.kill()


def test_exact(replay: Replay) -> None:
    """The detections are those of the oracle, each transaction once; the backlog ended by itself."""
    found = {(d.identity, d.flag_date, str(d.reason)) for d in replay.found}
    assert found == replay.wanted, missing_and_extra(list(replay.wanted), list(found))
    assert max(Counter(d.source for d in replay.found).values()) == 1


def test_dead_letters(replay: Replay) -> None:
    """Each malformed record is a dead letter: its bytes, key and headers, then headers that say why, where and when."""
    places = {
        (message.topic(), message.partition(), message.offset()): message
        for topic in (replay.topics.transactions, replay.topics.flagged)
        for message in replay.topics.read(topic)
    }
    letters = replay.topics.read(replay.topics.dead_letters)
    assert len(letters) == len(replay.bad)
    for letter in letters:
        found: Any = list(letter.headers() or [])
        assert found[: len(HEADERS)] == HEADERS
        assert [name for name, _ in found[len(HEADERS) :]] == ["error", "topic", "partition", "offset", "timestamp"]
        headers = {name: bytes(value).decode() for name, value in found[len(HEADERS) :]}
        original = places[headers["topic"], int(headers["partition"]), int(headers["offset"])]
        assert (letter.value(), letter.key()) == (original.value(), original.key())
        assert headers["error"].isprintable()
        assert (headers["timestamp"], letter.timestamp()[0]) == (iso(original.timestamp()[1]), TIMESTAMP_CREATE_TIME)
        assert letter.timestamp()[1] >= replay.started, "retention goes by when it became a dead letter"
    assert Counter(letter.value() for letter in letters) == Counter(value for _, value in replay.bad)


def test_metrics(replay: Replay) -> None:
    """The application's metrics are visible over REST and count what happened."""
    count = len(replay.topics.read(replay.topics.transactions))
    bad = Counter(topic for topic, _ in replay.bad)
    assert replay.metrics["parse-transactions.transactionsIn"] == count - bad["transactions"]
    assert replay.metrics["parse-transactions.deadLetters"] == bad["transactions"]
    assert replay.metrics["parse-flagged.deadLetters"] == bad["flagged"]
    assert replay.metrics["detection.detected"] == len(replay.found)
    assert 0 < replay.metrics["detection.lateFlagsApplied"] < len(replay.found)
    assert replay.metrics["detection.pending"] == 0
    assert 0 <= replay.metrics["detection.eventTimeLagMs"] < 30_000


class OfTest(LocalRecords):
    """The records of a test's topics, under the names of the pipeline's."""

    def __init__(self, found: Topics) -> None:
        """Connect to the test's broker."""
        super().__init__(lambda: kafka.client(found.broker))
        self._own = {pipeline.TRANSACTIONS.name: found.transactions, pipeline.FLAGGED.name: found.flagged}

    def batches(self, topic: str, wanted: Range) -> Iterator[Batch]:
        """Yield those of the test's topic."""
        return super().batches(self._own[topic], wanted)


def asked(topics: Topics, *wanted: Wanted) -> dict[str, Tally]:
    """Back-test a list on what lies in the topics."""
    target: Any = FakeTarget(records=OfTest(topics))  # type: ignore[arg-type]
    test = BackTest(target, Question(wanted={flag.account: flag for flag in wanted}))
    list(test.run())
    return test.result.tallies


def test_what_if_counts_what_was_detected(replay: Replay) -> None:
    """With the flags as they were at each transaction; a list of nobody changes nothing."""
    tallies = asked(replay.topics, Wanted(NOBODY + FILLER))
    detections_once = {found.identity for found in replay.found}
    assert tallies[DETECTED].transactions == tallies[THEN].transactions == len(detections_once)
    assert tallies[DETECTED].accounts == len({account for account, *_ in detections_once})
    assert (tallies[ADDED].transactions, tallies[REMOVED].transactions) == (0, 0)


def test_what_if_predicts_what_a_list_detects(broker: str, tmp_path: Path) -> None:
    """The same transactions, replayed with the list's flags among the others, give what was predicted."""
    start = round(time.time() * 1000) - 3_600_000
    parts = [history(seed, start=start, span=10 * HOLD) for seed in range(3)]
    transactions = [message for part in parts for message in messages(part) if message[0] == "transactions"]
    flags = [flag for part in parts for flag in part.flags]
    accounts = sorted({account for _, _, account, _ in transactions})
    wanted = {
        account: Wanted(account, start + n * HOLD if n % 2 else None, start + 8 * HOLD if n % 3 else None)
        for n, account in enumerate(accounts[1:8])
    }
    before = new_topics(broker, "before", log_append_time=False)
    before.write(transactions)
    before.write(("flagged", flag.published, flag.account, flag_json(flag)) for flag in flags)
    predicted = asked(before, *wanted.values())
    assert predicted[ADDED].transactions > 0
    assert predicted[REMOVED].transactions > 0

    with_list = [
        *(Flag(start, account, flag.start or 0, flagged=True, reason="list") for account, flag in wanted.items()),
        *(
            Flag(start, account, flag.until, flagged=False, reason="end")
            for account, flag in wanted.items()
            if flag.until is not None
        ),
        *(flag for flag in flags if flag.account not in wanted or flag.date < (wanted[flag.account].start or 0)),
    ]
    after = new_topics(broker, "after", log_append_time=False)
    after.write(("flagged", flag.published, flag.account, flag_json(flag)) for flag in with_list)
    after.write(transactions)
    application = Application(after, tmp_path, {"hold.ms": str(HOLD)})
    application.start()
    try:

        def complete() -> bool:
            found = {detection.identity for detection in detected(after.read(after.processed))}
            return len(found) >= predicted[THEN].transactions and application.metrics().get("detection.pending") == 0

        wait_until(complete, "the detections that were predicted", logs=[application.log])
    finally:
        application.kill()
    found = {detection.identity for detection in detected(after.read(after.processed))}
    assert len(found) == predicted[THEN].transactions
    assert len({account for account, *_ in found}) == predicted[THEN].accounts


@pytest.mark.parametrize("ending", ["savepoint", "kill"])
def test_idle_tasks_stay_idle_after_a_restart(broker: str, tmp_path: Path, ending: str) -> None:
    """Two partitions, four tasks: restored from a snapshot or not, those without a partition hold nothing back."""
    topics = new_topics(broker, f"idle-{ending}", log_append_time=True, partitions=2)
    application = Application(topics, tmp_path, {"hold.ms": str(HOLD), "flink.parallelism.default": "4"})

    def detects(account: int) -> None:
        now = round(time.time() * 1000)
        topics.write([("transactions", 0, account, transaction_json(Transaction(now, account, now, f"t-{account}")))])
        topics.write([("flagged", 0, account, flag_json(Flag(now, account, now, flagged=True, reason="seen")))])
        wait_until(
            lambda: account in {found.identity[0] for found in detected(topics.read(topics.processed))},
            f"the detection of account {account}",
            logs=[application.log],
        )

    application.start()
    try:
        detects(4711)
        wait_until(lambda: any((tmp_path / "checkpoints").rglob("_metadata")), "a checkpoint", logs=[application.log])
        if ending == "savepoint":
            application.stop_with_savepoint()
        else:
            application.kill()
        application.start()
        detects(4712)
    finally:
        application.kill()
