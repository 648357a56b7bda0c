"""A live run of the application with kills, a stop with savepoint and a replay: what the tests and the soak look at."""

import random
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Message
from flink_runs import (
    CORPUS,
    NOBODY,
    Application,
    Detected,
    Topics,
    detected,
    malformed,
    new_topics,
    published,
    wait_until,
)
from histories import History, flag_json, history, transaction_json
from oracle import Flag, Identity, Transaction, accepted, detections

from fraudctl.pipeline import records

HOLD = 6_000
SLACK = 3_000
PROPERTIES = {"hold.ms": str(HOLD), "slack.ms": str(SLACK)}
# As an older version had them: without a field that is there now. To it that is one more unknown field.
OLDER = {"fields.transaction": ",".join(field.rule() for field in records.Transaction.FIELDS if field.name != "amount")}


def play(topics: Topics, histories: list[History], start: int, bad: list[tuple[str, bytes | None]]) -> None:
    """Publish histories in real time, each record when its time has come, and malformed records in between."""
    end = max(t.published for part in histories for t in part.transactions)
    events = [
        *((topic, start + (end - start) * n // len(bad), NOBODY, value) for n, (topic, value) in enumerate(bad)),
        *(
            ("transactions", t.published, t.account, transaction_json(t))
            for part in histories
            for t in part.transactions
        ),
        *(("flagged", f.published, f.account, flag_json(f)) for part in histories for f in part.flags),
    ]
    producer = topics.producer()
    begin = time.time() * 1000
    for topic, at, account, value in sorted(events, key=lambda event: event[1]):
        while (wait := (at - start) - (time.time() * 1000 - begin)) > 0:
            producer.poll(wait / 1000)
        producer.produce(topics.names()[topic], value, records.key(account))
    assert producer.flush(30) == 0


@dataclass(frozen=True)
class Live:
    """What was published, with the broker's times, and what came of it live and in a replay."""

    transactions: dict[Identity, list[Transaction]]
    flags: dict[int, list[Flag]]
    live: list[Detected]
    values: list[bytes]
    after_savepoint: list[Detected]
    replayed: list[Detected]
    exact: set[tuple[Identity, int, str]]
    bad: list[tuple[str, bytes | None]]
    dead: list[Message]


def live_run(broker: str, folder: Path, *, seeds: range, kills: int, span: int) -> Live:
    """Play the seeds live over `span` milliseconds, killing at random moments; stop with a savepoint amid five more.

    While the application is stopped another five begin: however long it took, it finds something new after the start.
    """
    topics, bad = new_topics(broker, "live", log_append_time=True), malformed(CORPUS)
    application = Application(topics, folder, {**PROPERTIES, **OLDER})
    application.start()
    try:
        start = 1_000_000_000_000
        histories = [history(seed, start=start, span=span, hold=HOLD) for seed in seeds]
        playing = threading.Thread(target=play, args=(topics, histories, start, bad), daemon=True)
        playing.start()
        for _ in range(kills):
            time.sleep(random.uniform(0.5, 3))  # noqa: S311 - a random moment is the point
            application.kill()
            application.start()
        wait_until(lambda: any((folder / "checkpoints").rglob("_metadata")), "a checkpoint", logs=[application.log])
        playing.join()
        more = [history(seeds.stop + number, start=start, span=5_000, hold=HOLD) for number in range(10)]
        amid, after = (
            threading.Thread(target=play, args=(topics, part, start, []), daemon=True) for part in (more[:5], more[5:])
        )
        amid.start()
        application.stop_with_savepoint()
        at_savepoint = topics.count(topics.processed)
        after.start()
        application.properties = PROPERTIES
        application.start()
        amid.join()
        after.join()
        written = settled(application, topics)
        application.kill()
        application.forget()
        before = topics.count(topics.processed)
        application.start()
        replayed = detected(settled(application, topics, after=before))
        transactions, flags = published(topics)
        dead = topics.read(topics.dead_letters)
    finally:
        application.kill()
    copies, events = defaultdict(list), defaultdict(list)
    for transaction in transactions:
        copies[transaction.identity].append(transaction)
    for flag in flags:
        events[flag.account].append(flag)
    exact = set().union(
        *(detections([t for t in transactions if t.account == account], own, HOLD) for account, own in events.items())
    )
    live = detected(written)
    values = [message.value() or b"" for message in written]
    return Live(dict(copies), dict(events), live, values, live[at_savepoint:], replayed, exact, bad, dead)


def settled(application: Application, topics: Topics, *, after: int = 0) -> list[Message]:
    """Give the detections in the order of their publication once everything is read and nothing is pending."""
    count = topics.count(topics.transactions)

    def done() -> bool:
        metrics = application.metrics()
        lag = metrics.get("detection.eventTimeLagMs", 10**9)
        return metrics.get("detection.pending") == 0 and 0 <= lag < SLACK and reading_ended(application, count)

    wait_until(done, "everything read and nothing pending", logs=[application.log])
    application.stop_with_savepoint()  # flushes the sink
    messages = sorted(topics.read(topics.processed), key=lambda message: message.timestamp()[1])
    return messages[after:]


def reading_ended(application: Application, count: int) -> bool:
    """Say whether the committed offsets, written at checkpoints, are at the end."""
    from confluent_kafka import Consumer, TopicPartition

    topics = application.topics
    consumer = Consumer({"bootstrap.servers": topics.broker, "group.id": topics.transactions})
    found = consumer.committed([TopicPartition(topics.transactions, partition) for partition in range(4)], timeout=10)
    consumer.close()
    return sum(max(0, part.offset) for part in found) == count


def outcomes(run: Live, transaction: Transaction) -> set[tuple[int, str] | None]:
    """Give the right outcomes for one copy of a transaction."""
    return accepted(transaction, run.flags.get(transaction.account, []), HOLD, SLACK)
