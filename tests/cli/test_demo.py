"""fraudctl demo, on a target in memory: it deploys as `deploy` does, then shows the first detection."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from conftest import Run
from fakes import FakeFlink, FakeFunctions, FakeRecords, FakeStack, FakeTarget, batch, detection, record

from fraudctl.clock import Clock
from fraudctl.errors import OperationFailed, TimedOut
from fraudctl.pipeline import audit_table
from fraudctl.services import demo
from fraudctl.target import Change, Consent, Event, Phase, Plan

CHANGE = Change("create", "Cluster", "MSK cluster")
ASKS = Plan("fraud-detection", (CHANGE,), Consent.YES, notes=("about $0.85 an hour",))
FOUND = detection(3, flag_partition=1, flag_offset=0)  # the first flag that the fake function writes


def processed() -> FakeRecords:
    """Return a topic with a record of somebody else, a detection by another flag, and the one waited for."""
    values = (b"{}", detection(1, flag_partition=1, flag_offset=99).to_json(), FOUND.to_json())
    return FakeRecords([batch(*(record(offset, value) for offset, value in enumerate(values)))])


def test_the_demo_shows_the_plan_and_asks(run: Run) -> None:
    """Without a terminal and without --yes: exit 7 with an option that it has; nothing is applied or left behind."""
    target = FakeTarget(stack=FakeStack([ASKS]))
    done = run(target, "demo")
    assert (done.code, done.out) == (7, "")
    assert "create   Cluster          MSK cluster" in done.err
    assert "about $0.85 an hour" in done.err
    assert "Deploying fraud-detection needs confirmation, and there is no terminal to ask on" in done.err
    assert "--yes" in done.err
    assert target.stack.calls == [("plan", True)]
    assert target.stack.discarded == [ASKS]
    assert target.functions.payloads == []


def test_the_demo_deploys_and_shows_the_first_detection(run: Run, audit: Any) -> None:
    """Of its own flags: the row on stdout, the rest on stderr."""
    audit.put_item(Item=audit_table.item(FOUND, 1_790_000_003_000, 0, 2))
    target = FakeTarget(stack=FakeStack([ASKS]), records=processed(), table=audit)
    done = run(target, "demo", "--yes", output="json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["transaction_id"] == "t-3"
    assert target.stack.calls == [("plan", True), ("apply", ASKS)]
    assert target.stack.discarded == [ASKS]
    assert target.flink.calls == [("start", False)]
    assert target.locked == 1
    assert target.functions.payloads == [{"flagged_by": "fraudctl demo"}]
    assert "flag to first audit row" in done.err


def test_a_stack_that_is_up_to_date_is_not_touched(run: Run, audit: Any) -> None:
    """Nothing is asked; accounts are flagged all the same."""
    audit.put_item(Item=audit_table.item(FOUND, 1_790_000_003_000, 0, 2))
    target = FakeTarget(records=processed(), table=audit)
    assert run(target, "demo").code == 0
    assert target.stack.calls == [("plan", True)]
    assert target.flink.calls == []
    assert len(target.functions.payloads) == 1


@pytest.mark.parametrize("arguments", [(), ("--yes",)], ids=["asked", "yes"])
def test_a_plan_with_refusals_is_refused(run: Run, arguments: tuple[str, ...]) -> None:
    """As by deploy: shown, exit 7, nothing applied, nothing left behind."""
    plan = Plan("fraud-detection", (CHANGE,), refusals=(Change("replace", "Cluster", "Cluster would be replaced"),))
    target = FakeTarget(stack=FakeStack([plan]))
    done = run(target, "demo", *arguments)
    assert (done.code, done.out) == (7, "")
    assert "create   Cluster" in done.err
    assert "Cluster would be replaced" in done.err
    assert "`fraudctl deploy --allow-replacement Cluster`" in done.err
    assert target.stack.calls == [("plan", True)]
    assert target.stack.discarded == [plan]
    assert target.functions.payloads == []


@dataclass
class Broken(FakeFlink):
    """An application that does not start."""

    def start(self, *, fresh: bool = False, accept_loss: bool = False) -> Any:
        """Begin, then fail."""
        del accept_loss
        yield Event("flink", Phase.STARTED, f"{fresh}")
        raise OperationFailed("flink: no slots")


@pytest.mark.parametrize("command", ["demo", "deploy"])
def test_a_failed_deploy_discards_its_plan_too(run: Run, command: str) -> None:
    """Exit 5; the component that failed is marked."""
    target = FakeTarget(stack=FakeStack([ASKS]), flink=Broken())
    done = run(target, command, "--yes")
    assert (done.code, done.out) == (5, "")
    assert "✗ flink" in done.err
    assert target.stack.discarded == [ASKS]
    assert target.functions.payloads == []


class Empty:
    """A table whose rows never come; counts how often it was asked."""

    asked = 0

    def get_item(self, **_: Any) -> dict[str, Any]:
        """Return an answer without an item."""
        self.asked += 1
        return {}


def test_a_row_that_does_not_come_ends_the_wait() -> None:
    """Three minutes after flagging, asking 50 times a second; the hint names the log to read."""
    now = [1000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    clock = Clock(lambda: now[0], sleep, lambda: now[0])
    target = FakeTarget(records=processed(), functions=FakeFunctions(), table=Empty())
    flagged = demo.flag(target, clock)
    with pytest.raises(TimedOut, match="transaction t-3: detected, but not in the audit table within 180 s") as raised:
        demo.first_detection(target, flagged, clock)
    assert raised.value.hint == "run `fraudctl logs lambda`"
    assert now[0] - 1000 == pytest.approx(180, abs=0.05)
    assert target.table.asked == pytest.approx(9001, abs=5)


def test_no_detection_ends_the_demo(run: Run) -> None:
    """Exit 6, and where to look."""
    target = FakeTarget(records=FakeRecords([batch(record(0, b"{}"))]))
    done = run(target, "demo")
    assert (done.code, done.out) == (6, "")
    assert "Error: demo: no detection within 180 s of flagging" in done.err
    ((topic, wanted),) = target.records.asked
    assert topic == "processed_topic"
    assert (wanted.until or 0) - (wanted.since or 0) == 180_000
