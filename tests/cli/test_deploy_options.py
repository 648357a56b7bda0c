"""The options of fraudctl deploy that not every target has, on a target in memory."""

from pathlib import Path

import pytest
from conftest import Run
from fakes import FakeStack, FakeTarget

from fraudctl import config
from fraudctl.context import Context
from fraudctl.render import Renderer
from fraudctl.target import Change, Options, Plan

CHANGE = Change("update", "Cluster", "MSK Cluster")
REFUSED = Change("replace", "Cluster", "Cluster would be replaced; lost would be every topic")


def test_parameters_and_allowances_reach_the_target(run: Run) -> None:
    """Values keep what stands behind the first equals sign."""
    target = FakeTarget()
    done = run(
        target, "deploy", "--set", "A=1", "--set", "B=x=y", "--set", "C=", "--allow-replacement", "Cluster", "--plan"
    )
    assert done.code == 0
    assert target.stack.options == Options({"A": "1", "B": "x=y", "C": ""}, frozenset({"Cluster"}))


@pytest.mark.parametrize("arguments", [("--set", "A"), ("--set", "=1"), ("--skip", "Cluster")], ids=" ".join)
def test_malformed_options_are_usage(run: Run, arguments: tuple[str, ...]) -> None:
    """Exit 2 before the target is asked."""
    target = FakeTarget()
    done = run(target, "deploy", *arguments)
    assert (done.code, target.stack.calls) == (2, [])


@pytest.mark.parametrize("yes", [(), ("--yes",)], ids=["asked", "yes"])
def test_a_refused_plan_is_shown_and_not_applied(run: Run, yes: tuple[str, ...]) -> None:
    """Exit 7 with the option that allows it, --yes or not; what planning left behind is removed."""
    plan = Plan("fraud-detection", (CHANGE,), refusals=(REFUSED,))
    target = FakeTarget(stack=FakeStack([plan]))
    done = run(target, "deploy", *yes)
    assert (done.code, done.out) == (7, "")
    assert "update   Cluster" in done.err
    assert "Cluster would be replaced; lost would be every topic" in done.err
    assert "--allow-replacement Cluster" in done.err
    assert target.stack.calls == [("plan", None)]
    assert target.stack.discarded == [plan]


def test_every_plan_is_discarded(run: Run) -> None:
    """Shown, declined, applied or empty: the other side is left clean."""
    for plan, arguments in (
        (Plan("fraud-detection", (CHANGE,)), ("--plan",)),
        (Plan("fraud-detection", (CHANGE,)), ("--yes",)),
        (Plan("fraud-detection", ()), ()),
    ):
        target = FakeTarget(stack=FakeStack([plan]))
        assert run(target, "deploy", *arguments).code == 0
        assert target.stack.discarded == [plan]


def test_attach_follows_and_finishes(run: Run) -> None:
    """No plan, no question; the application is started after it."""
    target = FakeTarget()
    done = run(target, "deploy", "--attach")
    assert (done.code, target.locked) == (0, 1)
    assert target.stack.calls == ["attach"]
    assert target.flink.calls == [("start", False)]


def test_continue_rollback(run: Run) -> None:
    """With what is to be left out; the next step is said."""
    target = FakeTarget()
    done = run(target, "deploy", "--continue-rollback", "--skip", "Cluster", "--skip", "Writer")
    assert done.code == 0
    assert target.stack.calls == [("continue_rollback", ("Cluster", "Writer"))]
    assert "Next: `fraudctl deploy`" in done.err


def test_partitions_and_parallelism_are_settings_that_the_command_can_give(run: Run, tmp_path: Path) -> None:
    """A flag wins over file and environment; what is not given stays as it is, and its source is kept."""
    (tmp_path / "fraudctl.toml").write_text("partitions = 6\n", encoding="utf-8")
    context = Context(config.load(environment={}, folder=tmp_path), Renderer())
    assert context.having(partitions=None).settings.given("partitions") == 6
    having = context.having(partitions=8, parallelism=None)
    assert (having.settings.given("partitions"), having.settings.given("parallelism")) == (8, None)
    assert having.settings.sources["partitions"] == "--partitions"
    for arguments in (("--partitions", "0"), ("--partitions", "101"), ("--parallelism", "33")):
        target = FakeTarget()
        done = run(target, "deploy", *arguments)
        assert (done.code, target.stack.calls) == (2, [])
    assert run(FakeTarget(), "deploy", "--partitions", "8", "--parallelism", "4").code == 0
