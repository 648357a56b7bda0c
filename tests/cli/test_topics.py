"""fraudctl topics on a target in memory, and --watch."""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from conftest import Run
from fakes import FakeTarget, FakeTopics, Terminal

from fraudctl.clock import Clock
from fraudctl.commands import watching
from fraudctl.config import Format
from fraudctl.errors import NotDeployed, Unreachable
from fraudctl.pipeline import topics
from fraudctl.render import Renderer
from fraudctl.services import topics as service
from fraudctl.target import ConsumerLag, FlinkStatus, Origin, PartitionInfo, Setting, TopicInfo

NOW_MS = 1_790_000_000_000


@dataclass
class Busy(FakeTopics):
    """Large topics; `ends` are raised when they were looked at so often."""

    most: int | None = None
    looks: int = 0

    def list(self, *, activity: bool = False) -> list[TopicInfo]:
        """Return the topics; after the last look somebody presses Ctrl-C."""
        self._look()
        return [self._large(found) for found in super().list(activity=activity)]

    def describe(self, name: str) -> TopicInfo:
        """Return one."""
        self._look()
        return self._large(super().describe(name))

    def consumers(self, *, timed: bool = False) -> Sequence[ConsumerLag]:
        """Return one that falls behind by 600 records from look to look."""
        assert timed
        return [
            ConsumerLag("audit-writer", topics.PROCESSED.name, 1000 + 600 * self.looks, 7_200_000, behind_ms=95_000)
        ]

    def _look(self) -> None:
        if self.looks == self.most:
            raise KeyboardInterrupt
        self.looks += 1

    def _large(self, found: TopicInfo) -> TopicInfo:
        if not found.exists:
            return found
        partitions = tuple(
            PartitionInfo(
                partition=number,
                leader=1,
                earliest=1_000,
                latest=1_001_000 + self.looks,
                replicas=(1, 2, 3),
                isr=(1, 3),
                stable=1_000_900,
                newest_at=NOW_MS - 61_000 - number,
                last_10s=1234,
                last_minute=7000,
                size_bytes=123_456_789,
            )
            for number in range(4)
        )
        return replace(found, partitions=partitions, replication=3)


def test_topics_list(run: Run) -> None:
    """A missing one is listed as missing."""
    target = FakeTarget(topics=FakeTopics(frozenset({"dead_letters"})))
    done = run(target, "topics", "list", output="json")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [(row["topic"], row["exists"], row["records"]) for row in rows] == [
        ("transactions", True, 4),
        ("flagged", True, 0),
        ("processed", True, 0),
        ("dead-letters", False, 0),
    ]
    assert "demo_transactions" in run(target, "topics", "list").out


def test_topics_describe(run: Run) -> None:
    """Partitions and configuration, by alias or by name."""
    for name in ("transactions", "demo_transactions"):
        done = run(FakeTarget(), "topics", "describe", name, output="json")
        document = json.loads(done.out)
        assert document["config"] == topics.TRANSACTIONS.config
        assert document["partitions"][3] == {
            "partition": 3,
            "leader": 1,
            "replicas": [1],
            "isr": [1],
            "earliest": 0,
            "latest": 1,
            "stable": None,
            "size_bytes": None,
            "newest_at_ms": None,
            "records_last_10s": None,
            "records_last_minute": None,
        }
    done = run(FakeTarget(), "topics", "describe", "transactions")
    assert "LogAppendTime" in done.out
    assert "earliest" in done.out


def test_topics_describe_what_is_not_there(run: Run) -> None:
    """An unknown name is usage, a missing topic is not deployed."""
    done = run(FakeTarget(), "topics", "describe", "nonsense")
    assert (done.code, done.out) == (2, "")
    target = FakeTarget(topics=FakeTopics(frozenset({"processed_topic"})))
    done = run(target, "topics", "describe", "processed")
    assert (done.code, done.out) == (3, "")
    assert "`fraudctl topics create`" in done.err


def test_topics_create_holds_the_lock(run: Run) -> None:
    """Already so is exit 0; events go to stderr."""
    target = FakeTarget()
    done = run(target, "topics", "create")
    assert (done.code, done.out) == (0, "")
    assert "all 4 as they should be" in done.err
    assert (target.locked, target.topics.calls) == (1, ["create"])


def test_partitions_are_added_after_a_yes(run: Run) -> None:
    """With the application stopped meanwhile: it reads new partitions from their first record when it starts."""
    target = FakeTarget()
    done = run(target, "topics", "create", "--partitions", "transactions=8")
    assert (done.code, done.out) == (7, "")
    assert "Adding partitions needs confirmation" in done.err
    assert target.flink.calls == []
    done = run(target, "topics", "create", "--partitions", "transactions=8", "--yes")
    assert (done.code, done.out) == (0, "")
    assert re.search(r"add +demo_transactions +4 → 8 partitions", done.err)
    assert "another partition" in done.err
    assert target.topics.calls == ["create", "create", ("add_partitions", "demo_transactions", 8)]
    assert target.flink.calls == [("stop", True), ("start", False)]
    done = run(target, "topics", "create", "--partitions", "transactions=8")
    assert (done.code, len(target.flink.calls)) == (0, 2)
    assert "so many partitions already" in done.err


def test_only_what_the_application_reads_restarts_it(run: Run) -> None:
    """One that is stopped stays so."""
    target = FakeTarget()
    assert run(target, "topics", "create", "--partitions", "processed=5", "--yes").code == 0
    target.flink.found = FlinkStatus("STOPPED")
    assert run(target, "topics", "create", "--partitions", "flagged=5", "--yes").code == 0
    assert target.topics.numbers == {"processed_topic": 5, "flagged_accounts": 5}
    assert target.flink.calls == []


def test_the_application_starts_again_when_partitions_cannot_be_added(run: Run) -> None:
    """The error is told, not hidden by the start."""

    class Full(FakeTopics):
        def add_partitions(self, name: str, number: int) -> None:
            raise Unreachable(f"topic {name}: Kafka does not answer for {number}")

    target = FakeTarget(topics=Full())
    done = run(target, "topics", "create", "--partitions", "flagged=5", "--yes")
    assert done.code == 4
    assert "Kafka does not answer for 5" in done.err
    assert target.flink.calls == [("stop", True), ("start", False)]


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ("transactions=3", 7, "has 4 partitions, and Kafka cannot take any away"),
        ("transactions", 2, "--partitions transactions: not a topic and its number"),
        ("transactions=101", 2, "100 at most"),
        ("transactions=0", 2, "not a topic and its number"),
        ("nothing=8", 2, "no such topic"),
    ],
)
def test_partitions_that_cannot_be(run: Run, given: str, code: int, said: str) -> None:
    """Nothing is changed."""
    target = FakeTarget()
    done = run(target, "topics", "create", "--partitions", given, "--yes")
    assert done.code == code
    assert said in done.err
    assert target.topics.numbers == {}


def test_topic_settings_are_in_units(run: Run) -> None:
    """Durations and sizes for people, the broker's own values for programs; and who set them."""
    out = run(FakeTarget(), "topics", "describe", "processed").out
    assert re.search(r"retention\.ms +30 d +the pipeline", out)
    assert re.search(r"max\.message\.bytes +2\.1 MB", out)
    assert re.search(r"retention\.ms +unlimited", run(FakeTarget(), "topics", "describe", "flagged").out)
    rows = list(csv.DictReader(io.StringIO(run(FakeTarget(), "topics", "describe", "processed", output="csv").out)))
    assert [row["partition"] for row in rows] == ["0", "1", "2", "3"]


def test_settings_that_somebody_changed(run: Run) -> None:
    """With the pipeline's own value and the command that brings it back."""

    class Changed(FakeTopics):
        def describe(self, name: str) -> TopicInfo:
            settings = (
                Setting("retention.ms", "60000", None, Origin.CHANGED, "2592000000"),
                Setting("segment.ms", "5000", "604800000", Origin.ADDED),
                Setting("segment.bytes", "134217728", "1073741824", Origin.BROKER),
            )
            return replace(super().describe(name), settings=settings)

    target = FakeTarget(topics=Changed())
    out = run(target, "topics", "describe", "processed").out
    assert re.search(r"retention\.ms +1 min +somebody; the pipeline's is 30 d, see `fraudctl topics create`", out)
    assert re.search(r"segment\.ms +5 s +7 d +somebody; the pipeline leaves it", out)
    assert re.search(r"segment\.bytes +134 MB +1\.1 GB +the brokers", out)
    (document,) = map(json.loads, run(target, "topics", "describe", "processed", output="json").out.splitlines())
    assert document["settings"][0] == {
        "name": "retention.ms",
        "value": "60000",
        "default": None,
        "origin": "changed",
        "defined": "2592000000",
    }


def test_numbers_of_a_topic_for_programs() -> None:
    """Exact, with their units in the names."""
    listed = service.listed(FakeTarget(topics=Busy()), Clock(now=lambda: NOW_MS / 1000))
    assert listed.document()["at_ms"] == NOW_MS
    assert listed.rows()[0] == {
        "topic": "transactions",
        "name": "demo_transactions",
        "exists": True,
        "partitions": 4,
        "replication": 3,
        "records": 4_000_004,
        "size_bytes": 493_827_156,
        "newest_at_ms": NOW_MS - 61_000,
        "newest_age_ms": 61_000,
        "records_last_10s": 4936,
        "records_last_minute": 28_000,
        "records_per_second": 493.6,
    }


@pytest.mark.parametrize("command", [("list",), ("describe", "processed")], ids=" ".join)
@pytest.mark.parametrize("width", [80, 100])
def test_tables_fit_their_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], width: int
) -> None:
    """The rate and the lag stay, whatever has to go; a setting's origin may take two lines."""
    monkeypatch.setenv("COLUMNS", str(width))
    shown = Terminal()
    monkeypatch.setattr(Renderer, "out", property(lambda _: shown))
    monkeypatch.setattr(watching, "looks", lambda _render, _every, look: iter([look()]))
    assert run(FakeTarget(topics=Busy()), "topics", *command).code == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown.getvalue())
    assert max(map(len, text.splitlines())) <= width
    assert "493.6" in text
    if command == ("describe", "processed"):
        assert re.search(r"audit-writer +\d,\d00 +1 min 35 s", text)
        assert re.search(r"held back(.|\n)* 101 ", text)


def test_watching_gives_a_document_a_look_until_ctrl_c(run: Run) -> None:
    """In a pipe; exit 130, and no half document."""
    done = run(FakeTarget(topics=Busy(most=3)), "topics", "list", "--every", "0.1", output="json")
    assert done.code == 130
    looks = [json.loads(line) for line in done.out.splitlines()]
    assert [look["topics"][0]["records"] for look in looks] == [4_000_004, 4_000_008, 4_000_012]
    assert done.err == "Interrupted.\n"


def test_watching_shows_the_trend_since_the_look_before(run: Run) -> None:
    """The first has none; nobody waits a second for it."""
    done = run(FakeTarget(topics=Busy(most=3)), "topics", "describe", "processed", "--every", "0.1", output="json")
    assert done.code == 130
    consumers = [json.loads(line)["consumers"][0] for line in done.out.splitlines()]
    assert [found["trend"] for found in consumers] == [None, "growing", "growing"]
    assert consumers[1] | {"lag_change_per_second": 0} == {
        "group": "audit-writer",
        "lag_records": 2200,
        "lag_ms": 95_000,
        "trend": "growing",
        "lag_change_per_second": 0,
        "headroom_ms": 7_200_000,
    }


@pytest.mark.parametrize("command", [("list",), ("describe", "processed")], ids=" ".join)
def test_watching_as_csv_is_one_table(run: Run, command: tuple[str, ...]) -> None:
    """With one header, and the time of each look."""
    done = run(FakeTarget(topics=Busy(most=2)), "topics", *command, "--every", "0.1", output="csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert len(rows) == 8
    assert len({row["at_ms"] for row in rows}) == 2
    assert all(row["size_bytes"].isdigit() for row in rows)


def test_watching_survives_a_broker_that_is_away() -> None:
    """Said once; the first look still fails at once, and a stack that is gone ends it."""
    away, gone = Unreachable("topics: Kafka does not answer"), NotDeployed("gone")
    answers: list[Any] = [1, away, away, 2, away, gone]

    def look() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return int(answer)

    err = io.StringIO()
    render = Renderer(Format.TABLE, out=Terminal(), err=err)
    found = watching.looks(render, 1.0, look, Clock(sleep=lambda _: None))
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(NotDeployed):
        next(found)
    assert err.getvalue() == "topics: Kafka does not answer; waiting.\n" * 2
    answers[:] = [away]
    with pytest.raises(Unreachable):
        next(watching.looks(render, 1.0, look, Clock(sleep=lambda _: None)))


def test_a_terminal_is_cleared_before_each_of_several_looks() -> None:
    """A single look leaves what stands above it."""
    out = Terminal()
    render = Renderer(Format.TABLE, out=out)
    assert list(watching.looks(render, None, lambda: 1)) == [1]
    assert out.getvalue() == ""
    looks = watching.looks(render, 1.0, lambda: 1, Clock(sleep=lambda _: None))
    assert [next(looks), next(looks)] == [1, 1]
    assert out.getvalue() == "\x1b[H\x1b[2J" * 2
