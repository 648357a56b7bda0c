"""fraudctl flink, logs, deploy, teardown and status, on a target in memory."""

import csv
import io
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_tree import TREE, leaves
from conftest import Run
from fakes import FakeFlink, FakeStack, FakeTarget, FakeTopics, Terminal, Undeployed
from typer.testing import CliRunner

from fraudctl import config
from fraudctl.cli import app
from fraudctl.clock import Clock
from fraudctl.config import Format
from fraudctl.context import Context
from fraudctl.lock import stack_lock
from fraudctl.pipeline import topics
from fraudctl.render import Renderer
from fraudctl.services import health
from fraudctl.target import (
    Change,
    Component,
    Consent,
    ConsumerLag,
    FlinkStatus,
    Health,
    PartitionInfo,
    Plan,
    PutAside,
    Savepoint,
    TopicInfo,
)

CHANGES = (Change("create", "kafka"),)
UP_TO_DATE = Plan("fraud-detection", ())


def test_flink_start_and_stop(run: Run) -> None:
    """Options reach the application, under the lock."""
    target = FakeTarget()
    for arguments in (("start",), ("start", "--fresh"), ("stop",), ("stop", "--no-savepoint")):
        assert run(target, "flink", *arguments).code == 0
    assert target.flink.calls == [("start", False), ("start", True), ("stop", True), ("stop", False)]
    assert target.locked == 4


def test_flink_status_and_savepoints(run: Run) -> None:
    """Times are ISO, counters come along."""
    states = [Savepoint("/data/chk-3", "checkpoint", 1_790_000_000_000, 17)]
    target = FakeTarget(flink=FakeFlink(states=states))
    document = json.loads(run(target, "flink", "status", output="json").out)
    assert document["state"] == "RUNNING"
    assert document["started_at"] == "2026-09-21T14:13:20.000Z"
    assert document["metrics"] == {"detected": 3}
    assert "detected     3\n" in run(target, "flink", "status").out
    assert json.loads(run(target, "flink", "savepoints", output="json").out) == {
        "location": "/data/chk-3",
        "kind": "checkpoint",
        "created_at": "2026-09-21T14:13:20.000Z",
        "size_bytes": 17,
    }


def test_flink_status_reads_well(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes, durations and counts in units; how old the figures are; nothing that is empty."""
    now = int(time.time() * 1000)
    monkeypatch.setattr("fraudctl.commands.flink.Clock", lambda: Clock(now=lambda: now / 1000))
    status = FlinkStatus(
        "RUNNING",
        "j1",
        now - 125_000,
        checkpoints_completed=1200,
        checkpoint_at=now - 7_500,
        checkpoint_bytes=210_582,
        metrics={"detected": 1234, "eventTimeLagMs": 1200},
        metrics_at=now - 61_000,
    )
    out = run(FakeTarget(flink=FakeFlink(status)), "flink", "status").out
    shown = dict(re.split("  +", line, maxsplit=1) for line in out.splitlines())
    assert shown["checkpoints"] == "1,200 completed, 0 failed; newest 7 s ago, 211 kB"
    assert (shown["detected"], shown["event time lag"]) == ("1,234", "1.2 s")
    assert (shown["up"], shown["metrics as of"]) == ("2 min 5 s", "1 min 1 s ago")
    assert "last failure" not in shown


@pytest.mark.parametrize(
    ("states", "shown", "hint"),
    [
        (
            [Savepoint("/data/savepoint-7", "savepoint", 1_790_000_000_000, 210_582)],
            ("stopped", "2026-09-21T14:13:20.000Z", "/data/savepoint-7", "211 kB"),
            "Start it from this state with `fraudctl flink start`.",
        ),
        ([Savepoint("/data/chk-3", "checkpoint", 1_790_000_000_000)], ("newest state of", "/data/chk-3"), "this state"),
        ([], ("STOPPED",), "from the beginning with `fraudctl flink start`"),
    ],
    ids=["savepoint", "checkpoint", "nothing"],
)
def test_flink_status_of_a_stopped_application(
    run: Run, states: list[Savepoint], shown: tuple[str, ...], hint: str
) -> None:
    """Since when, where it goes on, and what to type."""
    done = run(FakeTarget(flink=FakeFlink(FlinkStatus("STOPPED"), states)), "flink", "status")
    assert [text for text in shown if text not in done.out] == []
    assert hint in done.err


@dataclass
class Found(FakeTopics):
    """Topics with records among the dead letters and a consumer whose lag is another at each look."""

    lags: list[int] = field(default_factory=lambda: [0])
    dead: int = 0

    def list(self, *, activity: bool = False) -> list[TopicInfo]:
        """Return the topics."""
        partitions = (PartitionInfo(0, 1, 0, self.dead),)
        return [
            replace(topic, partitions=partitions) if topic.alias == "dead-letters" else topic
            for topic in super().list(activity=activity)
        ]

    def consumers(self, *, timed: bool = False) -> Sequence[ConsumerLag]:
        """Return the next lag, the last again and again."""
        assert not timed  # `status` has no time for that
        lag = self.lags.pop(0) if len(self.lags) > 1 else self.lags[0]
        return [ConsumerLag("audit-writer", topics.PROCESSED.name, lag)]


@dataclass
class Judged(FakeTarget):
    """A target whose components are given."""

    found: tuple[Component, ...] = (Component("kafka", Health.HEALTHY),)
    table: Any = field(default_factory=lambda: SimpleNamespace(item_count=1))

    def components(self) -> list[Component]:
        """Return them."""
        return list(self.found)


@pytest.mark.parametrize(
    ("lags", "healthy", "said"),
    [
        ([999], True, None),
        ([5000, 6000], False, "audit-writer: 6,000 records behind the end of processed_topic, and not catching up"),
        ([5000, 5000], False, "5,000 records behind the end of processed_topic, and not catching up"),
        ([5000, 1], True, None),
        ([5000, 4000], True, "audit-writer: 4,000 records behind the end of processed_topic, catching up"),
    ],
    ids=str,
)
def test_healthy_means_well_for_lag(lags: list[int], healthy: Any, said: str | None) -> None:
    """A consumer that is far behind is looked at twice: one that catches up is well, one that does not is not."""
    slept: list[float] = []
    status = health.read(Judged(topics=Found(lags=lags)), Clock(sleep=slept.append))
    assert status.healthy is healthy
    assert (said is None) == (not status.problems + status.notes)
    assert said is None or said in " ".join(status.notes if healthy else status.problems)
    assert len(slept) == (lags != [999])


@dataclass
class Application(FakeTopics):
    """Topics that the Flink application reads; its lag is another at each look."""

    found: list[ConsumerLag] = field(default_factory=list)

    def consumers(self, *, timed: bool = False) -> Sequence[ConsumerLag]:
        """Return the next, the last again and again."""
        assert not timed
        return [self.found.pop(0) if len(self.found) > 1 else self.found[0]]


def unread(lag: int, headroom: int | None = None, *, as_of_checkpoint: bool = False) -> ConsumerLag:
    """Give what the application has not read."""
    return ConsumerLag("fraud-detection", topics.TRANSACTIONS.name, lag, headroom, as_of_checkpoint)


BEHIND = "records behind the end of demo_transactions"
LEFT = "until unread records are deleted at the rate of the last minute"


@pytest.mark.parametrize(
    ("found", "healthy", "said"),
    [
        ([unread(999)], True, None),
        ([unread(5000), unread(6000)], False, f"6,000 {BEHIND}, and not catching up"),
        ([unread(5000), unread(4000)], True, f"4,000 {BEHIND}, catching up"),
        ([unread(5000), unread(0)], True, None),
        ([unread(5000, 7_200_000), unread(4000, 7_200_000)], True, f"4,000 {BEHIND}, 2 h {LEFT}, catching up"),
        ([unread(5000, 1_800_000), unread(4000, 1_800_000)], False, f"4,000 {BEHIND}, 30 min {LEFT}"),
    ],
    ids=str,
)
def test_what_the_application_has_not_read(found: list[ConsumerLag], healthy: Any, said: str | None) -> None:
    """It is where it is now, so one that does not catch up is a problem, as are records about to be deleted."""
    slept: list[float] = []
    status = health.read(Judged(topics=Application(found=list(found))), Clock(sleep=slept.append))
    assert (status.healthy, len(slept)) == (healthy, len(found) - 1)
    assert (*status.problems, *status.notes) == ((f"fraud-detection: {said}",) if said else ())


@pytest.mark.parametrize(
    ("headroom", "left", "healthy"),
    [(None, "", True), (7_200_000, f", 2 h {LEFT}", True), (1_800_000, f", 30 min {LEFT}", False)],
    ids=str,
)
def test_an_application_that_is_stopped_is_as_of_its_last_checkpoint(
    headroom: int | None, left: str, healthy: Any
) -> None:
    """That is said, and no problem, unless records are deleted soon; there is no second look."""
    slept: list[float] = []
    stopped = Application(found=[unread(1001, headroom, as_of_checkpoint=True)])
    status = health.read(Judged(topics=stopped), Clock(sleep=slept.append))
    (said,) = status.notes if healthy else status.problems
    assert said == f"fraud-detection: 1,001 {BEHIND}{left}, as of its last checkpoint"
    assert (status.healthy, slept) == (healthy, [])


def test_detections_that_wait_behind_a_mapping_in_trouble_are_a_problem() -> None:
    """However few."""
    ill = Component("audit mapping", Health.UNHEALTHY, "PROBLEM: Function call failed")
    status = health.read(Judged(topics=Found(lags=[3]), found=(ill,)))
    (problem,) = status.problems
    assert problem.startswith("audit-writer: 3 records behind the end of processed_topic: these detections wait")


def test_dead_letters_are_noted(run: Run) -> None:
    """The stack is healthy, and says where to look."""
    done = run(Judged(topics=Found(dead=1200)), "status")
    assert done.code == 0
    assert "healthy, 1 note below" in done.out
    assert "dead letters: 1,200 malformed records; see why with `fraudctl dead-letters list`" in done.err
    assert "dead letters: 1 malformed record;" in run(Judged(topics=Found(dead=1)), "status").err


LOOK = "fraudctl dead-letters list --from on-failure`"


@pytest.mark.parametrize(
    ("put_aside", "code", "said"),
    [
        (
            PutAside(15, 0, "/a b"),
            0,
            f"audit mapping: 15 records of processed_topic are no detections and lie in /a b; see why with `{LOOK}",
        ),
        (PutAside(1, 0, "/f"), 0, "audit mapping: 1 record of processed_topic is no detection and lies in /f; see"),
        (
            PutAside(1200, 1200, "/f"),
            8,
            f"audit mapping: 1,200 records could not be written to the audit table and lie in /f; see why with `{LOOK}",
        ),
    ],
    ids=str,
)
def test_records_put_aside_are_said_to_be(run: Run, put_aside: PutAside, code: int, said: str) -> None:
    """How many, where, and how to see why: a note for what is no detection, a problem for what may be one."""
    target = Judged(found=(Component("audit mapping", Health.HEALTHY, "OK", put_aside=put_aside),))
    done = run(target, "status")
    assert done.code == code
    assert said in done.err
    document = json.loads(run(target, "status", output="json").out)
    lines = document["problems" if code else "notes"]
    assert [line for line in lines if said in line] == lines != []
    assert document["components"][0]["put_aside"]["place"] == put_aside.place


def test_what_restarts_by_itself_needs_no_deploy(run: Run) -> None:
    """Not healthy yet, and no hint to repair; next to something that is broken the hint is right."""
    restarting = Component("flink", Health.RESTARTING, "it does not answer yet")
    done = run(Judged(found=(restarting,)), "status")
    assert done.code == 8
    assert "Hint: run `fraudctl status --watch` to see it come up" in done.err
    assert "repair" not in done.err
    stopped = Component("flink", Health.STOPPED, "stopped by `fraudctl flink stop`")
    assert "Hint: run `fraudctl flink start`" in run(Judged(found=(stopped,)), "status").err
    done = run(Judged(found=(restarting, Component("kafka", Health.UNHEALTHY))), "status")
    assert "Hint: run `fraudctl deploy` to repair" in done.err


COMPONENTS = (
    Component(
        "kafka",
        Health.HEALTHY,
        "",
        "3.9.2",
        "127.0.0.1:27874",
        21_808,
        1_790_000_000_000,
        202_399_744,
        2,
        1_790_000_000_000,
    ),
    Component("audit mapping", Health.UNHEALTHY, "PROBLEM: the function failed and the batch is tried again and again"),
)


def test_status_as_csv_is_a_row_a_component(run: Run) -> None:
    """With values that a spreadsheet can count with."""
    rows = list(csv.DictReader(io.StringIO(run(Judged(found=COMPONENTS), "status", output="csv").out)))
    assert [row["component"] for row in rows] == ["kafka", "audit mapping"]
    assert (rows[0]["started_at"], rows[0]["memory_bytes"], rows[0]["restarts"]) == (
        "2026-09-21T14:13:20.000Z",
        "202399744",
        "2",
    )


@pytest.mark.parametrize(("width", "there"), [(200, "202 MB"), (100, "127.0.0.1:27874"), (80, "127.0.0.1:27874")])
def test_status_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int, there: str) -> None:
    """No value but the detail is folded, the health is coloured, and numbers have units."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm-256color")
    out = Terminal()
    status = health.read(Judged(found=COMPONENTS))
    Renderer(Format.TABLE, out=out).rows(status.component_rows(), status.component_columns(Clock()))
    assert "\x1b[32mhealthy" in out.getvalue()
    assert "\x1b[31munhealthy" in out.getvalue()
    lines = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()
    assert max(map(len, lines)) <= width
    assert there in "\n".join(lines)


def test_a_second_teardown_has_nothing_to_do(run: Run) -> None:
    """Exit 0 and no question: what was asked for is so."""
    for target in (Undeployed(), None):
        done = run(target, "teardown")
        assert (done.code, done.out) == (0, "")
        assert done.err == "Stack fraud-detection: nothing to tear down.\n"


def test_logs_in_a_pipe_are_the_lines_as_they_are(tmp_path: Path) -> None:
    """What grep and less want; a format that was asked for is given."""
    settings = config.load({"output": "auto"}, environment={"FRAUDCTL_HOME": str(tmp_path)}, folder=tmp_path)
    context = Context(settings, Renderer(settings.output, color=False), FakeTarget())
    done = CliRunner().invoke(app, ["logs", "kafka", "-n", "2"], obj=context)
    assert done.stdout == "\tfirst line\nsecond \x1b[31mline\n"


def test_logs(run: Run) -> None:
    """Lines for people, documents for programs; tabs are blanks, escapes are shown."""
    target = FakeTarget()
    assert run(target, "logs", "kafka", "--last", "7").out == "        first line\nsecond \\x1b[31mline\n"
    done = run(target, "logs", "kafka", "--follow", output="json")
    assert json.loads(done.out.splitlines()[0]) == {"component": "kafka", "line": "\tfirst line"}
    assert target.logs.asked == [("kafka", 7, False), ("kafka", 50, True)]
    done = run(target, "logs", "nonsense")
    assert (done.code, done.out) == (2, "")
    assert "the components are kafka" in done.err


def test_deploy_shows_the_plan_and_applies_it(run: Run) -> None:
    """The stack, then the application; stdout stays empty."""
    plan = Plan("fraud-detection", CHANGES)
    target = FakeTarget(stack=FakeStack([plan]))
    done = run(target, "deploy")
    assert (done.code, done.out) == (0, "")
    assert ("apply", plan) in target.stack.calls
    assert target.flink.calls == [("start", False)]
    assert target.locked == 1


def test_deploy_with_nothing_to_do(run: Run) -> None:
    """Up to date, exit 0, nothing touched."""
    target = FakeTarget(stack=FakeStack([UP_TO_DATE]))
    done = run(target, "deploy")
    assert (done.code, done.out) == (0, "")
    assert "fraud-detection is up to date." in done.err
    assert target.flink.calls == []


def test_deploy_plan_changes_nothing(run: Run) -> None:
    """It shows, and stops."""
    target = FakeTarget(stack=FakeStack([Plan("fraud-detection", CHANGES)]))
    done = run(target, "deploy", "--plan")
    assert done.code == 0
    assert "create" in done.err
    assert [call[0] for call in target.stack.calls] == ["plan"]


def test_teardown_needs_a_yes(run: Run) -> None:
    """Without a terminal to ask on: exit 7, nothing removed, the option named."""
    plan = Plan("fraud-detection", CHANGES, Consent.NAME, losses=("4 topics",))
    target = FakeTarget(stack=FakeStack(teardown_plan=plan))
    done = run(target, "teardown")
    assert (done.code, done.out) == (7, "")
    assert "lost for good: 4 topics" in done.err
    assert "--yes" in done.err
    assert [call[0] for call in target.stack.calls] == ["plan_teardown"]
    done = run(target, "teardown", "--yes", "--keep-data")
    assert done.code == 0
    assert target.stack.calls[-1] == ("teardown", replace(plan, keep_data=True), True)


def test_an_alarm_alone_is_nothing_that_a_deploy_repairs(run: Run) -> None:
    """Exit 8 with another hint: its own description says what to do."""
    target = FakeTarget(table=SimpleNamespace(item_count=0))
    raised = Component("alarms", Health.UNHEALTHY, "dead-letters: fix its source")
    target.components = lambda: [Component("kafka", Health.HEALTHY), raised]  # type: ignore[method-assign]
    done = run(target, "status")
    assert done.code == 8
    assert "dead-letters: fix its source" in done.out
    assert "Hint: each alarm says what to do" in done.err


NEED_A_STACK = pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("flag-accounts",),
        ("accounts", "list"),
        ("accounts", "diff", "1d"),
        ("accounts", "show", "1000000003"),
        ("tail", "processed"),
        ("audit", "query"),
        ("audit", "show", "t-1"),
        ("audit", "stats"),
        ("audit", "verify"),
        ("audit", "export", "detections.jsonl"),
        ("audit", "seal", "--to", "seals"),
        ("dead-letters", "list"),
        ("dead-letters", "show", "0:1"),
        ("dead-letters", "redrive"),
        ("transactions", "generate"),
        ("transactions", "start"),
        ("transactions", "stop"),
        ("topics", "create"),
        ("topics", "list"),
        ("topics", "describe", "processed"),
        ("flink", "start"),
        ("flink", "stop"),
        ("flink", "status"),
        ("flink", "savepoints"),
        ("logs", "kafka"),
        ("ui", "flink"),
        ("ui", "topics"),
        ("pause",),
        ("resume",),
    ],
    ids=" ".join,
)


def test_the_table_of_commands_that_need_a_stack_is_complete() -> None:
    """Every command is in it but those that bring a stack about, and those that need more than arguments."""
    (table,) = NEED_A_STACK.args[1:]
    names = {" ".join(words) for arguments in table for words in (arguments[:1], arguments[:2])}
    assert {name for name, _ in leaves(TREE)} - names == {
        *("demo", "deploy", "teardown", "transactions send", "accounts what-if", "accounts apply")
    }


@NEED_A_STACK
@pytest.mark.parametrize("output", ["table", "json"])
def test_without_a_stack_every_command_says_what_to_run(run: Run, arguments: tuple[str, ...], output: str) -> None:
    """Exit 3, nothing on stdout, the command that helps."""
    done = run(Undeployed(), *arguments, output=output)
    assert (done.code, done.out) == (3, "")
    assert "Error: stack fraud-detection: not deployed" in done.err
    assert "Hint: run `fraudctl deploy` first" in done.err


def test_logs_are_shown_of_a_stack_that_does_not_run(run: Run) -> None:
    """After a deploy that failed the logs are what is needed most: they are files, nobody has to answer."""

    class Stopped(FakeTarget):
        def recover(self) -> bool:
            return False

    done = run(Stopped(), "logs", "kafka")
    assert (done.code, done.err) == (0, "")
    assert done.out


@NEED_A_STACK
def test_the_real_target_in_an_empty_folder_says_the_same(run: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """No bug, no traceback; the lock is free again, and neither a folder of the stack nor anything in it is left."""
    done = run(None, *arguments)
    assert (done.code, done.out) == (3, ""), done.err
    assert "Error: stack fraud-detection: not deployed" in done.err
    assert "Hint: run `fraudctl deploy` first" in done.err
    assert "Traceback" not in done.err
    assert [path for path in tmp_path.rglob("*") if path.name in {"fraud-detection", "bug.log"}] == []
    with stack_lock(tmp_path / "stacks" / "fraud-detection.lock", "fraud-detection", wait=0):
        pass


def test_a_file_for_a_stack_that_is_not_deployed(run: Run, tmp_path: Path) -> None:
    """It is read first; then exit 3 from the fake and from the real target."""
    file = tmp_path / "file.jsonl"
    file.touch()
    for target in (Undeployed(), None):
        done = run(target, "transactions", "send", str(file))
        assert (done.code, done.out) == (3, ""), done.err
        assert "Hint: run `fraudctl deploy` first" in done.err
