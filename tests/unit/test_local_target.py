"""The local target: constructing its adapters touches nothing; what needs the stack asks for it explicitly."""

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from fraudctl import config
from fraudctl.errors import NotDeployed
from fraudctl.local.target import LocalTarget
from fraudctl.target import Range


@pytest.fixture
def target(tmp_path: Path) -> LocalTarget:
    """A target in an empty folder."""
    return LocalTarget(config.load({}, environment={"FRAUDCTL_HOME": str(tmp_path / "home")}, folder=tmp_path))


def test_properties_construct_and_do_nothing_else(target: LocalTarget, tmp_path: Path) -> None:
    """No adapter reads a file, asks a process or makes a folder before it is used."""
    for name in ("stack", "flink", "topics", "records", "functions", "schedule", "logs"):
        assert getattr(target, name) is not None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda target: target.recover(),
        lambda target: target.components(),
        lambda target: target.audit_table(),
        lambda target: target.topics.list(),
        lambda target: list(target.topics.create()),
        lambda target: next(target.records.read("demo_transactions", Range())),
        lambda target: target.functions.invoke("FlagAccountGenerator", {}),
        lambda target: target.schedule.status(),
        lambda target: target.flink.savepoints() or target.stack.outputs(),
    ],
)
def test_without_a_stack_everything_is_not_deployed(target: LocalTarget, ask: Callable[[LocalTarget], object]) -> None:
    """Whoever uses an adapter without `recover` first still gets exit 3, not a bug."""
    with pytest.raises(NotDeployed, match="stack fraud-detection: not deployed") as raised:
        ask(target)
    assert raised.value.hint == "run `fraudctl deploy` first"


def test_the_caller_is_the_user_of_the_operating_system(target: LocalTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id without a name, as in some containers, is nobody."""
    assert target.caller() == pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert target.caller() is None
