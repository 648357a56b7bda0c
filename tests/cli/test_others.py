"""fraudctl topics, flink, logs, deploy, teardown and status, on a target in memory."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from command_tree import TREE, leaves
from conftest import Run
from fakes import FakeFlink, FakeStack, FakeTarget, FakeTopics, Undeployed

from fraudctl.lock import stack_lock
from fraudctl.pipeline import topics
from fraudctl.target import Change, Consent, Plan, Savepoint

CHANGES = (Change("create", "kafka"),)
UP_TO_DATE = Plan("fraud-detection", ())


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
        assert document["partitions"][3] == {"partition": 3, "leader": 1, "earliest": 0, "latest": 1}
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
    assert "detected=3" in run(target, "flink", "status").out
    assert json.loads(run(target, "flink", "savepoints", output="json").out) == {
        "location": "/data/chk-3",
        "kind": "checkpoint",
        "created_at": "2026-09-21T14:13:20.000Z",
        "size_bytes": 17,
    }


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


NEED_A_STACK = pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("flag-accounts",),
        ("tail", "processed"),
        ("audit", "query"),
        ("audit", "show", "t-1"),
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
        ("teardown", "--yes"),
    ],
    ids=" ".join,
)


def test_the_table_of_commands_that_need_a_stack_is_complete() -> None:
    """Every command is in it but those that bring a stack about, and those that need more than arguments."""
    (table,) = NEED_A_STACK.args[1:]
    names = {" ".join(words) for arguments in table for words in (arguments[:1], arguments[:2])}
    assert {name for name, _ in leaves(TREE)} - names == {"demo", "deploy", "transactions send"}


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
