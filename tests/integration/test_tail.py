"""`fraudctl tail` on a real Kafka: what it shows is compared with what was written, and with what kcat shows."""

import base64
import json
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import accumulate
from typing import Any, NamedTuple

import psutil
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # its stub forgets them
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from conftest import Run
from executable import EXECUTABLE, Fraudctl, kafka_alone
from fakes import FakeTarget
from lambda_servers import Servers, servers
from lambda_tools import wait_for

from fraudctl.local.kafka.admin import KafkaAdmin
from fraudctl.local.kafka.records import LocalRecords
from fraudctl.local.kafka.topics import LocalTopics
from fraudctl.pipeline import kafka, topics
from fraudctl.pipeline.reader import Record
from fraudctl.services import tail
from fraudctl.services.tail_options import TailOptions

pytestmark = pytest.mark.integration

KIB, MIB = 1024, 1024 * 1024
HOUR_MS = 3_600_000
BACKLOG_BYTES, BACKLOG_RECORDS = 100 * MIB, 100 * KIB
needs_kcat = pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not on PATH (Debian: apt install kcat)")


class Written(NamedTuple):
    """A record as the broker confirmed it."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Run Kafka with all topics."""
    with servers(tmp_path_factory.mktemp("servers")) as found:
        list(LocalTopics(KafkaAdmin(lambda: kafka.client(found.brokers))).create())
        yield found


@pytest.fixture(scope="module")
def fraudctl(running: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fraudctl]:
    """Give the executable, with a stack of this Kafka alone."""
    with kafka_alone(tmp_path_factory.mktemp("home"), running.brokers) as found:
        yield found


def target(running: Servers) -> FakeTarget:
    """Give a target with this Kafka's records."""
    found = FakeTarget()
    found.records = LocalRecords(lambda: kafka.client(running.brokers))  # type: ignore[assignment] # the real ones
    return found


def write(running: Servers, topic: str, records: Sequence[dict[str, Any]], **properties: Any) -> list[Written]:
    """Write records with a plain producer, and give what the broker confirmed."""
    found: list[Written] = []

    def confirmed(error: object, message: Message) -> None:
        assert error is None
        found.append(
            Written(
                message.partition() or 0,
                message.offset() or 0,
                message.timestamp()[1],
                message.key(),
                message.value(),
            )
        )

    producer = Producer({"bootstrap.servers": running.brokers, "message.max.bytes": 2 * MIB, **properties})
    for record in records:
        while True:
            try:
                producer.produce(topic, on_delivery=confirmed, **record)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(60) == 0
    assert len(found) == len(records)
    return found


def make(running: Servers, name: str, partitions: int, **config: Any) -> topics.Topic:
    """Make a topic, as one of the pipeline's that has another name."""
    new = NewTopic(name, partitions, 1, config={key.replace("_", "."): str(value) for key, value in config.items()})
    running.admin.create_topics([new])[name].result(30)
    admin = KafkaAdmin(lambda: kafka.client(running.brokers))
    admin.offsets([(name, partition) for partition in range(partitions)], latest=True)  # waits for the leaders
    return replace(topics.PROCESSED, name=name)


def everything(running: Servers, topic: topics.Topic, **options: Any) -> tuple[list[Record], list[str]]:
    """Tail a topic to its end; give the records, and the lines beside them."""
    notes: list[str] = []
    prepared = tail.prepare(topic, TailOptions(**options))
    found = [record for batch in tail.records(target(running), prepared, notes.append) for record in batch]
    return found, notes


# Ranges: what each option gives, computed from what was written.


@pytest.fixture(scope="module")
def written(running: Servers) -> list[Written]:
    """Write 600 records with keys into the dead letters, three hours ago, 20 s out of order at most."""
    rng = random.Random(12)  # noqa: S311 - the same each time
    begin = int(time.time() * 1000) - 3 * HOUR_MS
    moments = sorted(begin + number * 1000 + rng.randrange(1000) for number in range(600))
    disordered = sorted(moments, key=lambda moment: moment + rng.randrange(20_000))
    records = [
        {"key": b"%d" % (1000000001 + rng.randrange(9)), "value": b'{"n":%d}' % number, "timestamp": moment}
        for number, moment in enumerate(disordered)
    ]
    return write(running, topics.DEAD_LETTERS.name, records, partitioner="murmur2_random")


def merged(records: Sequence[Written]) -> list[Written]:
    """Give records in the order of time; one that is earlier than its predecessor counts as if it had its time."""
    timed = []
    for partition in {record.partition for record in records}:
        own = sorted(record for record in records if record.partition == partition)
        timed += list(zip(accumulate((record.timestamp for record in own), max), own, strict=True))
    return [record for _, record in sorted(timed)]


def moment(milliseconds: int) -> str:
    """Give a time as it is typed."""
    return str(milliseconds)


def newest(records: Sequence[Written], number: int) -> list[Written]:
    """Give the last ones in the order of time, which goes by the last ones of each partition alone."""
    own = [[one for one in sorted(records) if one.partition == partition][-number:] for partition in range(4)]
    return merged([one for some in own for one in some])[-number:]


Oracle = Callable[[list[Written]], list[Written]]
TENTH, HALF = 60, 300  # records


def at(records: list[Written], number: int) -> int:
    """Give the time of the n-th oldest record."""
    return sorted(record.timestamp for record in records)[number]


RANGES: dict[str, tuple[Callable[[list[Written]], tuple[str, ...]], Oracle]] = {
    "from the beginning": (lambda _: ("--from-beginning", "--no-follow"), merged),
    "the last 0": (lambda _: ("--last", "0"), lambda _: []),
    "the last 7": (lambda _: ("--last", "7"), lambda all_: newest(all_, 7)),
    "the last 250": (lambda _: ("--last", "250"), lambda all_: newest(all_, 250)),
    "more than there are": (lambda _: ("--last", "5000"), merged),
    "the last of a partition": (
        lambda _: ("--last", "9", "--partition", "2"),
        lambda all_: merged([one for one in all_ if one.partition == 2])[-9:],
    ),
    "since": (
        lambda all_: ("--since", moment(at(all_, TENTH)), "--no-follow"),
        lambda all_: merged([one for one in all_ if one.timestamp >= at(all_, TENTH)]),
    ),
    "since and until": (
        lambda all_: ("--since", moment(at(all_, TENTH)), "--until", moment(at(all_, HALF))),
        lambda all_: merged([one for one in all_ if at(all_, TENTH) <= one.timestamp < at(all_, HALF)]),
    ),
    "until": (
        lambda all_: ("--until", moment(at(all_, HALF))),
        lambda all_: merged([one for one in all_ if one.timestamp < at(all_, HALF)]),
    ),
    "the last before a time": (
        lambda all_: ("--last", "5", "--until", moment(at(all_, HALF))),
        lambda all_: newest([one for one in all_ if one.timestamp < at(all_, HALF)], 5),
    ),
    "offsets": (
        lambda _: ("--offsets", "0:10,2:5", "--no-follow"),
        lambda all_: merged([one for one in all_ if one.offset >= {0: 10, 2: 5}.get(one.partition, 10_000)]),
    ),
    "partitions": (
        lambda _: ("--partition", "1", "--partition", "3", "--from-beginning", "--no-follow"),
        lambda all_: merged([one for one in all_ if one.partition in {1, 3}]),
    ),
    "so many": (lambda _: ("--from-beginning", "--max", "13"), lambda all_: merged(all_)[:13]),
    "so many since": (
        lambda all_: ("--since", moment(at(all_, HALF)), "--max", "40"),
        lambda all_: merged([one for one in all_ if one.timestamp >= at(all_, HALF)])[:40],
    ),
    "for a time": (lambda _: ("--from-beginning", "--for", "2s"), merged),
    "nothing new for a time": (lambda _: ("--for", "600ms"), lambda _: []),
    "a key": (
        lambda _: ("--from-beginning", "--no-follow", "--account", "1000000004"),
        lambda all_: merged([one for one in all_ if one.key == b"1000000004"]),
    ),
    "the last of a key": (
        lambda _: ("--last", "3", "--key", "1000000004"),
        lambda all_: merged([one for one in all_ if one.key == b"1000000004"])[-3:],
    ),
    "the last that match": (
        lambda _: ("--last", "3", "--where", "n < 100"),
        lambda all_: merged([one for one in all_ if json.loads(one.value or b"")["n"] < 100])[-3:],
    ),
}


def places(done: str) -> list[tuple[int, int]]:
    """Give the partition and the offset of each document."""
    documents = map(json.loads, done.splitlines())
    return [(document["partition"], document["offset"]) for document in documents]


@pytest.mark.parametrize("name", RANGES)
def test_each_range_has_the_records_that_were_written(
    running: Servers, run: Run, written: list[Written], name: str
) -> None:
    """All of them, none besides, in the order of time."""
    options, oracle = RANGES[name]
    expected = oracle(written)
    begun = time.monotonic()
    done = run(target(running), "tail", "dead-letters", *options(written), output="json")
    assert done.code == 0, done.err
    assert places(done.out) == [(one.partition, one.offset) for one in expected]
    assert [json.loads(line)["value"] for line in done.out.splitlines()] == [
        json.loads(one.value or b"") for one in expected
    ]
    assert time.monotonic() - begun < 10  # stopped by position, not by running into a time-out


def test_the_order_of_partitions_has_the_same_records(running: Servers, run: Run, written: list[Written]) -> None:
    """Within each partition by offset."""
    options = ("--from-beginning", "--no-follow", "--order", "partition")
    found = places(run(target(running), "tail", "dead-letters", *options, output="json").out)
    assert sorted(found) == sorted((one.partition, one.offset) for one in written)
    for partition in range(4):
        offsets = [offset for own, offset in found if own == partition]
        assert offsets == sorted(offsets)


def test_following_ends_after_so_many_and_goes_on_where_it_ended(
    running: Servers, run: Run, written: list[Written]
) -> None:
    """`--expect` counts what matches, whether it lies there or comes."""
    expect = ("--from-beginning", "--where", "n >= 590", "--expect", "10")
    done = run(target(running), "tail", "dead-letters", *expect, output="json")
    assert done.code == 0
    assert len(done.out.splitlines()) == 10
    assert done.err.splitlines() == [f"Matched 10 of {len(written)}."]
    done = run(target(running), "tail", "dead-letters", *expect[:-1], "11", "--timeout", "500ms", output="json")
    assert done.code == 8
    assert "10 of 11 expected records within 0.5 s" in done.err


# Topics of which something is gone.


def compact_quickly(running: Servers) -> None:
    """Let the broker look for what to compact five times a second, instead of every 15 s."""
    often = ConfigEntry("log.cleaner.backoff.ms", "200", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.BROKER, "1", incremental_configs=[often])
    for answer in running.admin.incremental_alter_configs([resource]).values():
        answer.result(30)


def offsets_left(running: Servers, topic: str) -> list[int]:
    """Give the offsets in partition 0, read by a plain consumer."""
    consumer = Consumer(
        {
            "bootstrap.servers": running.brokers,
            "group.id": "unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = []
    while (message := consumer.poll(10)) is not None and message.error() is None:
        found.append(message.offset() or 0)
    consumer.close()
    return found


def test_a_compacted_topic_is_read_to_its_end(running: Servers) -> None:
    """Over holes; ends that lie in one are reached; behind the last record is the marker of an aborted transaction."""
    compact_quickly(running)
    compacted = make(
        running,
        "compacted",
        1,
        cleanup_policy="compact",
        segment_bytes=4 * KIB,
        min_cleanable_dirty_ratio=0.001,
        delete_retention_ms=0,
    )
    begin = int(time.time() * 1000) - 2 * HOUR_MS
    records = [
        {
            "key": b"only" + b"%d" % number if number % 100 == 0 else b"%d" % (number % 10),  # one of a hundred stays
            "value": b'{"n":%d}' % number,
            "timestamp": begin + number * 1000,
        }
        for number in range(1000)
    ]
    write(running, compacted.name, records, **{"batch.num.messages": 20})
    producer = Producer({"bootstrap.servers": running.brokers, "transactional.id": "compacted"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(compacted.name, b"never seen", b"3", timestamp=begin + HOUR_MS)
    assert producer.flush(30) == 0
    producer.abort_transaction(30)
    wait_for(lambda: len(offsets_left(running, compacted.name)) < 200, "compaction", 30)
    left = offsets_left(running, compacted.name)
    assert [offset for offset in left if offset < 800] == list(range(0, 800, 100))
    assert left[-1] == 999
    begun = time.monotonic()
    found, notes = everything(running, compacted, from_beginning=True, follow=False)
    assert [record.offset for record in found] == left
    assert [record.value for record in found] == [b'{"n":%d}' % offset for offset in left]
    assert notes == []  # holes are no losses
    found, _ = everything(running, compacted, last=5)
    assert [record.offset for record in found] == left[-5:]
    found, _ = everything(running, compacted, offsets="0:150", follow=False)
    assert [record.offset for record in found] == left[2:]
    # Times may be a minute out of order, so the end of this read is the first record at or after 799, which is gone.
    found, _ = everything(running, compacted, until=str(begin + 799_000 - 60_000))
    assert [record.offset for record in found] == list(range(0, 800, 100))
    found, _ = everything(running, compacted, since=str(begin + 650_000), until=str(begin + 690_000))
    assert found == []
    assert time.monotonic() - begun < 10  # stopped by position, not by running into a time-out


def test_an_open_transaction_ends_a_bounded_read_before_it(running: Servers) -> None:
    """What is not committed is not there yet; afterwards it is, behind what was aborted."""
    topic = make(running, "open", 1)
    write(running, topic.name, [{"value": b"before"}])
    producer = Producer({"bootstrap.servers": running.brokers, "transactional.id": "open"})
    producer.init_transactions(30)
    for ended in (producer.abort_transaction, producer.commit_transaction):
        producer.begin_transaction()
        for number in range(3):
            producer.produce(topic.name, b"%s %d" % (ended.__name__.encode(), number))
        assert producer.flush(30) == 0
        write(running, topic.name, [{"value": b"behind"}])
        begun = time.monotonic()
        found, _ = everything(running, topic, from_beginning=True, follow=False)
        assert time.monotonic() - begun < 5
        assert {record.value for record in found} == {b"before", b"behind"} - (
            {b"behind"} if ended == producer.abort_transaction else set()
        )
        ended(30)
    found, _ = everything(running, topic, last=100)
    committed = [b"commit_transaction %d" % number for number in range(3)]
    assert [record.value for record in found] == [b"before", b"behind", *committed, b"behind"]


@pytest.fixture(scope="module")
def backlog(running: Servers) -> int:
    """Write 100 MB into processed_topic and give the number of records; they do not compress."""
    noise = random.Random(7).randbytes(2 * MIB).hex().encode()  # noqa: S311 - the same each time
    size = BACKLOG_BYTES // BACKLOG_RECORDS - 80
    records = [
        {"value": b'{"n":%d,"noise":"%b"}' % (number, noise[number : number + size]), "partition": number % 4}
        for number in range(BACKLOG_RECORDS)
    ]
    producer = {"linger.ms": 5, "queue.buffering.max.kbytes": 200 * KIB, "queue.buffering.max.messages": 200_000}
    return len(write(running, topics.PROCESSED.name, records, **producer))


def peak(fraudctl: Fraudctl, *arguments: str) -> tuple[int, int, int]:
    """Run to the end; give the most memory that the process had, and what it wrote: bytes and lines."""
    process = subprocess.Popen(
        [EXECUTABLE, *arguments], env=fraudctl.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    written = lines = most = 0
    me = psutil.Process(process.pid)
    while some := os.read(process.stdout.fileno(), MIB):
        written += len(some)
        lines += some.count(b"\n")
        most = max(most, me.memory_info().rss)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")
    return most, written, lines


@pytest.mark.parametrize("options", [("--raw", "--order", "partition"), ("-o", "json")], ids=" ".join)
def test_a_backlog_of_100_mb_is_read_in_little_memory(
    fraudctl: Fraudctl, backlog: int, options: tuple[str, ...]
) -> None:
    """Every record, and not more memory for twice as many."""
    all_ = ("tail", "processed", "--from-beginning", "--no-follow", *options)
    half, _, lines = peak(fraudctl, *all_, "--max", str(backlog // 2))
    assert lines == backlog // 2
    most, written, lines = peak(fraudctl, *all_)
    assert lines == backlog
    assert written > 0.9 * BACKLOG_BYTES
    assert most < 200_000_000
    assert most - half < 30_000_000


def test_records_that_are_deleted_while_they_are_read_are_counted(running: Servers, backlog: int) -> None:
    """What was shown and what is said to be lost is all there was; nothing is shown twice or after a gap unsaid."""
    notes: list[str] = []
    ready = tail.prepare(topics.PROCESSED, TailOptions(from_beginning=True, follow=False))
    reading = tail.records(target(running), ready, notes.append)
    shown = list(next(reading))
    each = backlog // 4
    before = {0: each // 2, 1: each - 100, 2: each - 1, 3: each}  # some, nearly all, all but one, all
    asked = [TopicPartition(topics.PROCESSED.name, partition, offset) for partition, offset in before.items()]
    for answer in running.admin.delete_records(asked).values():
        answer.result(30)
    for batch in reading:
        shown += batch
    offsets = {partition: [one.offset for one in shown if one.partition == partition] for partition in before}
    lost = dict.fromkeys(before, 0)
    for note in notes:
        said = re.fullmatch(
            r"([\d,]+) records of processed_topic, partition (\d), were deleted before they could be read.", note
        )
        assert said is not None, note
        lost[int(said[2])] += int(said[1].replace(",", ""))
    for partition, found in offsets.items():
        assert found == sorted(set(found))
        assert len(found) + lost[partition] == each
        gone = sorted(set(range(each)) - set(found))
        assert len(gone) <= before[partition]
        assert gone == [] or (gone[-1] == before[partition] - 1 and gone == list(range(gone[0], gone[-1] + 1)))
    assert sum(lost.values()) > each  # more than what had been fetched ahead was deleted


def test_records_of_a_megabyte(running: Servers, fraudctl: Fraudctl) -> None:
    """Byte for byte, also the last few."""
    rng = random.Random(1)  # noqa: S311 - the same each time
    values = [rng.randbytes(500_000).hex().encode() for _ in range(24)]
    records = [{"value": value, "partition": number % 4} for number, value in enumerate(values)]
    write(running, topics.TRANSACTIONS.name, records)
    for options, expected in (
        (("--from-beginning", "--no-follow"), values),
        (("--partition", "1", "--last", "3"), values[1::4][-3:]),
        (("--partition", "2", "--from-beginning", "--max", "5"), values[2::4][:5]),
    ):
        done = subprocess.run(
            [EXECUTABLE, "tail", "transactions", "--raw", *options],
            env=fraudctl.environment,
            capture_output=True,
            timeout=60,
            check=True,
        )
        assert sorted(done.stdout.splitlines()) == sorted(expected)


# Against kcat, on values of every odd kind.


HOSTILE: list[dict[str, Any]] = [
    {"key": b"1000000001", "value": b'{"amount":12.50,"n":123456789012345678901234567890,"f":1e400,"d":0.1000}'},
    {"key": b"tombstone", "value": None},
    {"key": b"empty", "value": b""},
    {"key": b"null", "value": b"null"},
    {"key": None, "value": b"no key"},
    {"key": b"", "value": b"empty key"},
    {"key": b"\xff\x00\x01", "value": b"\x00\x00\x00\x00\x07\x0cabc\xfe\xff"},
    {"key": b"\\xff\\x00", "value": b"\\xff\\x00"},
    {"key": b"escape\x1b[31m", "value": b"\x1b]0;title\x07\x1b[2J\r\x7f\xc2\x9b31m"},
    {"key": b"lines", "value": b"one\ntwo\r\nthree\n"},
    {"key": b"pretty", "value": b'{\r\n  "a": [1,\n 2]\n}\n'},
    {"key": "schl\u00fcssel\u2028".encode(), "value": 'line one\nline two,"quoted"\t\u00a0\u3000\u202eend'.encode()},
    {"key": b"surrogate", "value": b'{"note":"cut \\ud83d"}'},
    {"key": b"duplicate", "value": b'{"a":1,"a":2}'},
    {"key": b"deep", "value": b"[" * 300 + b"]" * 300},
    {"key": b"bom", "value": b"\xef\xbb\xbf{}"},
    {"key": b"nan", "value": b"NaN"},
    {"key": b"latin", "value": b'{"name":"caf\xe9"}'},
    {
        "key": b"headers",
        "value": b"{}",
        "headers": [("a", b"1"), ("b", b"\xff\xfe"), ("a", b"2"), ("nul", None), ("", b""), ("\u00fc", b"\x1b[0m")],
    },
    {"key": b"1970", "value": b"{}", "timestamp": 1},
    {"key": b"microseconds", "value": b"{}", "timestamp": 1_732_444_800_000_000},
]


@pytest.fixture(scope="module")
def hostile(running: Servers) -> str:
    """Write each of them into partition 0 of processed_topic; give the place of the first, as it is typed."""
    first, *_ = write(running, topics.PROCESSED.name, [{**record, "partition": 0} for record in HOSTILE])
    return f"0:{first.offset}"


def kcat(running: Servers, place: str, *options: str) -> bytes:
    """Give what kcat shows of processed_topic from this place on."""
    partition, offset = place.split(":")
    command = [
        "kcat",
        "-C",
        "-e",
        "-q",
        "-b",
        running.brokers,
        "-t",
        topics.PROCESSED.name,
        "-p",
        partition,
        "-o",
        offset,
    ]
    return subprocess.run([*command, *options], capture_output=True, timeout=60, check=True).stdout


def shown(fraudctl: Fraudctl, place: str, *options: str) -> bytes:
    """Give what fraudctl shows of it."""
    range_ = ["--offsets", place, "--no-follow", "--order", "partition"]
    return subprocess.run(
        [EXECUTABLE, "tail", "processed", *range_, *options],
        env=fraudctl.environment,
        capture_output=True,
        timeout=60,
        check=True,
    ).stdout


@needs_kcat
def test_raw_values_are_those_of_kcat(running: Servers, fraudctl: Fraudctl, hostile: str) -> None:
    """Byte for byte."""
    expected = kcat(running, hostile)
    assert expected.count(b"\n") > len(HOSTILE)
    assert shown(fraudctl, hostile, "--raw") == expected


@needs_kcat
def test_json_has_the_fields_of_kcat(running: Servers, fraudctl: Fraudctl, hostile: str) -> None:
    """Topic, partition, offset, time, key, headers and value, each to the byte."""
    ours = [json.loads(line, **EXACT) for line in shown(fraudctl, hostile, "-o", "json").splitlines()]
    # kcat writes bytes that are not UTF-8 as they are, into a document that is no JSON then.
    theirs = kcat(running, hostile, "-J").decode(errors="surrogateescape").split("\n")[:-1]
    assert len(ours) == len(theirs) == len(HOSTILE)
    for line, document in zip(theirs, ours, strict=True):
        peer = json.loads(line, **EXACT)
        assert [document[name] for name in ("topic", "partition", "offset")] == [
            peer[name] for name in ("topic", "partition", "offset")
        ]
        assert milliseconds(document["timestamp"]) == int(peer["ts"])
        assert exact(document, "key") == in_bytes(peer["key"])
        assert headers(document) == grouped(peer.get("headers", []))
        payload = in_bytes(peer["payload"])
        if payload is None:
            assert (document["value"], document["tombstone"]) == (None, True)
        elif "value_base64" in document:
            assert base64.b64decode(document["value_base64"]) == payload
        else:
            assert document["value"] == json.loads(payload, **EXACT)


EXACT: dict[str, Any] = {"parse_int": str, "parse_float": str}  # numbers as they are written


def in_bytes(text: str | None) -> bytes | None:
    """Give the bytes of a text of kcat's."""
    return None if text is None else text.encode(errors="surrogateescape")


def exact(document: dict[str, Any], name: str) -> bytes | None:
    """Give the bytes of a key of ours."""
    if (spelled := document.get(f"{name}_base64")) is not None:
        return base64.b64decode(spelled)
    return in_bytes(document[name])


def grouped(pairs: list[str | None]) -> dict[str | None, list[bytes | None]]:
    """Give the values of each header of kcat's."""
    found: dict[str | None, list[bytes | None]] = {}
    for name, value in zip(pairs[::2], pairs[1::2], strict=True):
        found.setdefault(name, []).append(in_bytes(value))
    return found


def headers(document: dict[str, Any]) -> dict[str | None, list[bytes | None]]:
    """Give the values of each header of ours."""
    binary = document.get("headers_base64", {})
    found: dict[str | None, list[bytes | None]] = {}
    for name, texts in document["headers"].items():
        values = binary.get(name, texts)
        read = base64.b64decode if name in binary else str.encode
        found[name] = [
            None if value is None else read(value) for value in (values if isinstance(values, list) else [values])
        ]
    return found


def milliseconds(spelled: str) -> int:
    """Give a time of ours in epoch milliseconds; what lies beyond the calendar is a number already."""
    if spelled.lstrip("-").isdigit():
        return int(spelled)
    return round(datetime.fromisoformat(spelled).timestamp() * 1000)


def test_no_group_was_ever_joined(running: Servers, run: Run) -> None:
    """Neither by a tail that ends nor by one that follows; nor by any above: the broker has never seen a group."""
    assert run(target(running), "tail", "flagged", "--last", "1").code == 0
    assert run(target(running), "tail", "flagged", "--for", "300ms").code == 0
    assert KafkaAdmin(lambda: kafka.client(running.brokers)).groups() == []
