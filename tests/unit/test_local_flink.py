"""The Flink application's start and stop, with its supervisor and its REST API replaced."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from stubs import FakeTime

from fraudctl.errors import OperationFailed, Refused, Unreachable
from fraudctl.local.clients import JsonClient
from fraudctl.local.flink.application import LocalFlink
from fraudctl.local.flink.rest import FlinkRest, all_running
from fraudctl.local.flink.unread import Guard
from fraudctl.local.kafka.unread import Gap
from fraudctl.local.processes.paths import FlinkFolders, StackPaths
from fraudctl.local.processes.supervisor import ProgramInfo, Supervisor

JOB = {"jid": "0f", "start-time": 1, "state": "RUNNING"}


@dataclass
class FakeServer(JsonClient):
    """Answers by path; a job runs when all its tasks do."""

    tasks: int = 2
    answers: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Be reachable nowhere."""
        super().__init__("flink", lambda: "http://127.0.0.1:1")

    def get(self, path: str, *, timeout: float = 10) -> Any:
        """Give what is prepared, or the job."""
        del timeout
        job = JOB | {"tasks": {"running": self.tasks, "total": 2}}
        return self.answers.get(path, {"jobs": [job]})

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, method: str = "POST", timeout: float = 10
    ) -> Any:
        """Take the order to stop."""
        assert (path, method, timeout) == ("/jobs/0f/stop", "POST", 10)
        assert body is not None
        return {"request-id": "7"}


class FakeSupervisor(Supervisor):
    """One program in a state, or none."""

    def __init__(self, paths: StackPaths, state: str | None) -> None:
        """Keep the state."""
        super().__init__(paths, {})
        self.state = state
        self.orders: list[str] = []

    def programs(self) -> dict[str, ProgramInfo]:
        """Give the program."""
        return {} if self.state is None else {"flink": ProgramInfo("flink", self.state, 1, 1, "")}

    def start_program(self, name: str) -> None:
        """Run it."""
        self.orders.append(f"start {name}")
        self.state = "RUNNING"

    def stop_program(self, name: str, *, grace: float | None = None) -> None:  # noqa: ARG002 - as in the base class
        """Stop it."""
        self.orders.append(f"stop {name}")
        self.state = "STOPPED"


@dataclass
class Made:
    """An application and what is around it."""

    flink: LocalFlink
    server: FakeServer
    supervisor: FakeSupervisor
    folders: FlinkFolders
    stopped: Path


def make(tmp_path: Path, state: str | None, tasks: int = 2) -> Made:
    """Make one whose program is in a state."""
    paths = StackPaths(tmp_path, "demo", tmp_path)
    folders = paths.flink
    folders.checkpoints.parent.mkdir(parents=True)
    supervisor = FakeSupervisor(paths, state)
    server, stopped = FakeServer(tasks=tasks), tmp_path / "stopped"
    rest = FlinkRest(lambda: server.address)
    rest._client = server
    flink = LocalFlink(rest, supervisor, folders, stopped, clock=FakeTime().clock())
    return Made(flink, server, supervisor, folders, stopped)


@pytest.mark.parametrize(
    ("state", "running", "total", "ready"),
    [("RUNNING", 2, 2, True), ("RUNNING", 1, 2, False), ("RUNNING", 0, 0, False), ("RESTARTING", 2, 2, False)],
)
def test_readiness_has_one_judge(state: str, running: int, total: int, *, ready: bool) -> None:
    """RUNNING with every task running; a job that has no tasks yet is not ready, for `status` as for `flink start`."""
    assert all_running({"state": state, "tasks": {"running": running, "total": total}}) is ready


@pytest.mark.parametrize("tasks", [2, 1])
def test_an_application_that_is_up_does_not_start_fresh(tmp_path: Path, tasks: int) -> None:
    """Not even while it restarts; and no later start loses its state because of that."""
    made = make(tmp_path, "RUNNING", tasks)
    with pytest.raises(OperationFailed, match="it runs, so it cannot start without its state"):
        list(made.flink.start(fresh=True))
    assert not made.folders.fresh.exists()


def test_a_running_application_is_not_stopped_on_purpose(tmp_path: Path) -> None:
    """What an interrupted stop left behind is removed by start, so a new supervisor brings it back."""
    made = make(tmp_path, "RUNNING")
    made.stopped.touch()
    *waits, last = [event.detail for event in made.flink.start()]
    assert last == "running already"
    assert set(waits) == {"a stop was interrupted; waiting for what becomes of it"}
    assert not made.stopped.exists()


def test_a_stop_that_was_interrupted_but_succeeds_is_started_again(tmp_path: Path) -> None:
    """The command was killed, the savepoint was taken: the JVM ends for good a moment after `start` has looked."""
    made = make(tmp_path, "RUNNING")
    made.stopped.touch()
    events = made.flink.start()
    next(events)
    made.supervisor.state = "EXITED"
    assert [event.detail for event in events][-1].startswith("running, web UI ")
    assert made.supervisor.orders == ["start flink"]


def test_stopping_ends_further_attempts_to_start(tmp_path: Path) -> None:
    """A program between two attempts counts as stopped, and no attempt follows."""
    made = make(tmp_path, "BACKOFF")
    assert [event.detail for event in made.flink.stop()] == ["stopped already"]
    assert made.supervisor.orders == ["stop flink"]
    assert made.stopped.exists()


@pytest.mark.parametrize("verb", ["start", "stop"])
def test_without_a_supervisor_nothing_is_known(tmp_path: Path, verb: str) -> None:
    """Neither order pretends that it was carried out."""
    made = make(tmp_path, None)
    with pytest.raises(Unreachable, match="the supervisor does not run"):
        list(getattr(made.flink, verb)())


def test_a_failed_savepoint_leaves_the_job_running(tmp_path: Path) -> None:
    """The reason is the error, and the job does not count as stopped on purpose."""
    made = make(tmp_path, "RUNNING")
    cause = {"stack-trace": "java.io.IOException: no space\n\tat X"}
    made.server.answers["/jobs/0f/savepoints/7"] = {
        "status": {"id": "COMPLETED"},
        "operation": {"failure-cause": cause},
    }
    with pytest.raises(OperationFailed, match=r"no savepoint: java\.io\.IOException: no space"):
        list(made.flink.stop())
    assert not made.stopped.exists()
    assert made.supervisor.orders == []


def test_savepoints_that_vanish_while_they_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flink removes old checkpoints at any moment; the others are listed."""
    made = make(tmp_path, "RUNNING")
    for number in (1, 2):
        folder = made.folders.checkpoints / "job" / f"chk-{number}"
        folder.mkdir(parents=True)
        (folder / "_metadata").write_bytes(b"x" * number)
    real = Path.stat

    def stat(path: Path, **options: Any) -> Any:
        if path.name == "_metadata" and path.parent.name == "chk-1":
            raise FileNotFoundError(path)
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    assert [(Path(found.location).name, found.size_bytes) for found in made.flink.savepoints()] == [("chk-2", 2)]


GAP = Gap("fraud-detection", "demo_transactions", "id-1", 2, 900, 1900)
SAID = "1,000 records of demo_transactions/2 (offsets 900 to 1899) were deleted before fraud-detection read them"


@dataclass
class FakeGuard(Guard):
    """Finds what it is given; each call is noted."""

    gaps: tuple[Gap, ...] = ()
    text: str | None = None
    calls: list[Any] = field(default_factory=list)

    def check(self, *, fresh: bool, running: bool) -> tuple[Gap, ...]:
        """Give the gaps."""
        self.calls.append(("check", fresh, running))
        return self.gaps

    def accept(self, gaps: Iterable[Gap]) -> None:
        """Note them."""
        self.calls.append(("accept", *gaps))
        self.text = None

    def waits(self) -> str | None:
        """Say what was set."""
        return self.text


def guarded(tmp_path: Path, state: str, guard: FakeGuard) -> Made:
    """Make one with a guard."""
    made = make(tmp_path, state)
    made.flink._guard = guard
    return made


@pytest.mark.parametrize("fresh", [True, False])
def test_it_does_not_start_over_records_that_are_gone(tmp_path: Path, *, fresh: bool) -> None:
    """Refused with what is gone and how to go on; nothing has changed by that."""
    guard = FakeGuard(gaps=(GAP,))
    made = guarded(tmp_path, "STOPPED", guard)
    made.stopped.touch()
    with pytest.raises(Refused, match=re.escape(SAID)) as refused:
        list(made.flink.start(fresh=fresh))
    assert "`fraudctl flink start --accept-loss`" in str(refused.value.hint)
    assert (made.supervisor.orders, made.stopped.exists(), made.folders.fresh.exists()) == ([], True, False)
    assert guard.calls == [("check", fresh, False)]


def test_an_accepted_loss_is_recorded_before_it_starts(tmp_path: Path) -> None:
    """And named; a running application is only asked about AuditWriter."""
    guard = FakeGuard(gaps=(GAP,))
    made = guarded(tmp_path, "STOPPED", guard)
    first, *_ = made.flink.start(accept_loss=True)
    assert first.detail == f"recorded as lost: {SAID}"
    assert (guard.calls, made.supervisor.orders) == ([("check", False, False), ("accept", GAP)], ["start flink"])
    assert [event.detail for event in made.flink.start(accept_loss=True)][-1] == "running already"
    assert guard.calls[-2:] == [("check", False, True), ("accept", GAP)]


def test_while_it_waits_for_consent(tmp_path: Path) -> None:
    """The status says why, starting ends at once with that, and stopping asks for no savepoint."""
    made = guarded(tmp_path, "RUNNING", FakeGuard(text=SAID))
    made.server.tasks = 0
    assert (made.flink.status().state, str(made.flink.status().exception).startswith(SAID)) == ("FAILED", True)
    with pytest.raises(Refused, match=re.escape(SAID)):
        list(made.flink.start())
    assert [event.detail for event in made.flink.stop()] == [
        "stopping",
        "stopped without a savepoint; it resumes from its newest checkpoint",
    ]
    assert made.supervisor.orders == ["stop flink"]
