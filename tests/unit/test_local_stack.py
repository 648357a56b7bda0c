"""The local stack's guards, without a process."""

import shutil
import xmlrpc.client
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from fraudctl.errors import BadConfig, NotDeployed, OperationFailed, Unreachable
from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.state import StackState
from fraudctl.local.processes.supervisor import Supervisor
from fraudctl.local.processes.tools import Toolbox
from fraudctl.local.stack import LocalStack
from fraudctl.target import Consent


class Usage(NamedTuple):
    """What shutil.disk_usage gives."""

    total: int
    used: int
    free: int


@pytest.fixture
def stack(tmp_path: Path) -> LocalStack:
    """A stack that was never deployed."""
    paths = StackPaths(tmp_path / "home", "demo", tmp_path / "run")
    return LocalStack(paths, Supervisor(paths, {}), Toolbox(tmp_path / "cache", None), 60_000, 5_000)


def test_a_full_disk_is_named_before_anything_starts(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder, what is needed and what is free; nothing was downloaded or started."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100, 90, 10_000_000))
    with pytest.raises(OperationFailed, match=r"demo: no disk space: 256 MB are needed, 10 MB are free"):
        list(stack.apply(stack.plan()))
    assert not stack.paths.socket.exists()


def test_a_new_stack_is_planned_whole(stack: LocalStack) -> None:
    """Every component is created, and no consent is needed."""
    plan = stack.plan()
    assert [(change.action, change.component) for change in plan.changes] == [
        ("create", name) for name in ("kafka", "dynamodb", "lambda", "flink")
    ]
    assert plan.consent is Consent.NONE


def test_partitions_never_shrink_and_stay_unless_asked(stack: LocalStack) -> None:
    """Exit 2 at once, with the least that is possible; without a word the stack keeps what it has."""
    stack.paths.make_folders()
    StackState(ports={}, deployed=True, partitions=8, parallelism=4).save(stack.paths.state)
    fewer = replace(stack, partitions=4)
    with pytest.raises(BadConfig, match="partitions 4: the stack has 8, and Kafka's topics never shrink") as caught:
        fewer.plan()
    assert caught.value.hint == "leave it out, or give at least 8"
    before = StackState(partitions=8, parallelism=4)
    for made, wanted in ((stack, (8, 4)), (replace(stack, partitions=12, parallelism=2), (12, 2))):
        state, _ = made._choose_ports(before)
        assert (state.partitions, state.parallelism) == wanted


def test_an_interrupted_deploy_counts_as_not_deployed(stack: LocalStack) -> None:
    """The outputs say why, and teardown finds something to remove."""
    stack.paths.make_folders()
    stack.paths.state.write_text('{"format": 1, "deployed": false}')
    with pytest.raises(NotDeployed, match="stack demo: deploying it was interrupted"):
        stack.outputs()
    assert [change.component for change in stack.plan_teardown(keep_data=False).changes] == ["folder"]


def test_teardown_says_what_is_lost(stack: LocalStack) -> None:
    """Data asks for consent; kept data does not."""
    with pytest.raises(NotDeployed, match="stack demo: not deployed"):
        stack.plan_teardown(keep_data=False)
    (stack.paths.data / "kafka").mkdir(parents=True)
    plan = stack.plan_teardown(keep_data=False)
    assert (plan.consent, plan.losses) == (Consent.YES, ("topics, audit rows and checkpoints",))
    assert stack.plan_teardown(keep_data=True).consent is Consent.NONE


def test_teardown_keeps_the_data_folder_only_when_asked(stack: LocalStack) -> None:
    """Kept data stays where the next deploy finds it; without keeping, not even the folder is left."""
    stack.paths.make_folders()
    (stack.paths.data / "rows").write_text("x")
    list(stack.teardown(stack.plan_teardown(keep_data=True)))
    assert [path.name for path in stack.paths.root.iterdir()] == ["data"]
    list(stack.teardown(stack.plan_teardown(keep_data=False)))
    assert not stack.paths.root.exists()


def test_a_supervisor_on_its_way_out_counts_as_gone(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it shuts down it refuses every order: no pid, no programs, and starting one says what to do."""
    stack.paths.make_folders()
    stack.paths.socket.touch()

    class Leaving:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def __getattr__(self, name: str) -> object:
            def refuse(*_: object) -> None:
                raise xmlrpc.client.Fault(6, f"SHUTDOWN_STATE: {name}")

            return refuse

    monkeypatch.setattr(xmlrpc.client, "ServerProxy", Leaving)
    assert stack.supervisor.pid() is None
    assert stack.supervisor.programs() == {}
    stack.supervisor.stop_program("kafka")
    with pytest.raises(Unreachable, match=r"kafka: the supervisor does not answer: SHUTDOWN_STATE"):
        stack.supervisor.start_program("kafka")


@pytest.mark.parametrize("code", [70, 10])
def test_a_program_that_does_not_run_is_stopped(stack: LocalStack, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Nor is one that the supervisord of an earlier version does not know: an upgrade stops what has changed."""
    stack.paths.make_folders()
    stack.paths.socket.touch()

    asked: list[str] = []

    class Refusing:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def __getattr__(self, name: str) -> object:
            def answer(*_: object) -> list[object]:
                if name == "supervisor.stopProcess":
                    asked.append(name)
                    raise xmlrpc.client.Fault(code, f"no: {name}")
                return []

            return answer

    monkeypatch.setattr(xmlrpc.client, "ServerProxy", Refusing)
    stack.supervisor.stop_program("watchdog")
    assert asked == ["supervisor.stopProcess"]
