"""The Flink application's start and stop, with its supervisor and its REST API replaced."""

import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from stubs import BEGIN, FakeTime

from fraudctl.errors import FraudctlError, OperationFailed, Refused, TimedOut, Unreachable
from fraudctl.local.clients import JsonClient
from fraudctl.local.flink.application import LocalFlink
from fraudctl.local.flink.rest import FlinkRest, all_running
from fraudctl.local.flink.unread import Guard
from fraudctl.local.kafka.unread import Gap, Place
from fraudctl.local.processes.paths import FlinkFolders, StackPaths
from fraudctl.local.processes.supervisor import ProgramInfo, Supervisor
from fraudctl.target import Phase

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
        return self._given(path, {"jobs": [job]})

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, method: str = "POST", timeout: float = 10
    ) -> Any:
        """Take the order to stop."""
        assert (path, method, timeout) == ("/jobs/0f/stop", "POST", 10)
        assert body is not None
        return self._given(path, {"request-id": "7"})

    def _given(self, path: str, otherwise: Any) -> Any:
        answer = self.answers.get(path, otherwise)
        if isinstance(answer, Exception):
            raise answer
        return answer


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
    time: FakeTime


def make(tmp_path: Path, state: str | None, tasks: int = 2, server: FakeServer | None = None) -> Made:
    """Make one whose program is in a state."""
    paths = StackPaths(tmp_path, "demo", tmp_path)
    folders = paths.flink
    folders.checkpoints.parent.mkdir(parents=True)
    supervisor = FakeSupervisor(paths, state)
    server, stopped, time = server or FakeServer(tasks=tasks), tmp_path / "stopped", FakeTime()
    rest = FlinkRest(lambda: server.address, clock=time.clock())
    rest._client = server
    flink = LocalFlink(rest, supervisor, folders, stopped, clock=time.clock())
    return Made(flink, server, supervisor, folders, stopped, time)


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


RESULT = "/jobs/0f/savepoints/7"
GONE = Unreachable("flink: does not answer", hint="")


def savepoint(made: Made, name: str = "savepoint-1") -> None:
    """Leave a complete savepoint."""
    folder = made.folders.savepoints / name
    folder.mkdir(parents=True)
    (folder / "_metadata").touch()


def test_a_stop_that_succeeds_leaves_the_marker(tmp_path: Path) -> None:
    """The JVM has ended before Flink was asked; the savepoint is found in its folder."""
    made = make(tmp_path, "RUNNING")
    made.server.answers[RESULT] = GONE
    said = []
    for event in made.flink.stop():
        said.append(event.detail)
        if event.phase is Phase.PROGRESS and made.supervisor.state == "RUNNING":
            savepoint(made)
            made.supervisor.state = "EXITED"
    assert said[-1] == "stopped, savepoint savepoint-1"
    assert (made.stopped.exists(), made.supervisor.orders) == (True, [])


def test_a_jvm_that_does_not_end_after_its_savepoint_is_ended(tmp_path: Path) -> None:
    """Its job is over, so nothing is lost."""
    made = make(tmp_path, "RUNNING")
    made.server.answers[RESULT] = {"status": {"id": "COMPLETED"}, "operation": {"location": "file:///s/savepoint-1"}}
    assert [event.detail for event in made.flink.stop()][-1] == "stopped, savepoint savepoint-1"
    assert (made.stopped.exists(), made.supervisor.orders) == (True, ["stop flink"])


FAILURE = {"status": {"id": "COMPLETED"}, "operation": {"failure-cause": {"stack-trace": "java.io.IOException: no"}}}


@pytest.mark.parametrize(
    ("answers", "state", "error"),
    [
        ({RESULT: {"status": {"id": "IN_PROGRESS"}}}, "RUNNING", "no savepoint after 60 s; the application runs on"),
        ({RESULT: GONE}, "RUNNING", "no savepoint after 60 s; the application runs on"),
        ({RESULT: GONE}, "EXITED", "the application ended without a savepoint"),
        ({RESULT: OperationFailed("flink: 404: unknown job")}, "RUNNING", "404: unknown job"),
        ({RESULT: FAILURE}, "RUNNING", "no savepoint: java.io.IOException: no"),
        ({"/jobs/0f/stop": GONE}, "RUNNING", "flink: does not answer"),
        ({"/jobs/0f/stop": OperationFailed("flink: 409: no")}, "RUNNING", "409: no"),
        ({"/jobs/overview": GONE}, "RUNNING", "flink: does not answer"),
    ],
    ids=["time-out", "hung", "crash", "restarted", "failure", "hung-at-once", "refused", "hung-before"],
)
def test_a_stop_that_fails_is_called_off(tmp_path: Path, answers: dict[str, Any], state: str, error: str) -> None:
    """No end after that looks as if it had been asked for, not even after an earlier stop that was killed."""
    made = make(tmp_path, "RUNNING")
    made.stopped.touch()
    made.server.answers |= answers

    def follow() -> None:
        for event in made.flink.stop():
            if event.phase is Phase.STARTED:
                made.supervisor.state = state

    with pytest.raises(FraudctlError, match=re.escape(error)):
        follow()
    assert (made.stopped.exists(), made.supervisor.orders) == (False, [])


def test_a_stop_while_a_vertex_does_not_come_up_is_called_off(tmp_path: Path) -> None:
    """With the command that stops it all the same."""
    made = make(tmp_path, "RUNNING", tasks=1)
    made.stopped.touch()
    with pytest.raises(TimedOut, match="not ready after 60 s") as raised:
        list(made.flink.stop())
    assert "`fraudctl flink stop --no-savepoint`" in str(raised.value.hint)
    assert not made.stopped.exists()


def test_an_interrupted_stop_is_called_off(tmp_path: Path) -> None:
    """Ctrl-C at each step, while it is shown: said, and no later end looks asked for."""
    made = make(tmp_path, "RUNNING")
    made.server.answers[RESULT] = {"status": {"id": "IN_PROGRESS"}}
    for steps in (1, 2, 5):
        events = made.flink.stop()
        for _ in range(steps):
            next(events)
        assert made.stopped.exists() is (steps > 1)
        signal.raise_signal(signal.SIGINT)
        assert next(events).detail == "the stop is called off; what ends all the same is started again"
        with pytest.raises(KeyboardInterrupt):
            next(events)
        assert not made.stopped.exists()


def test_a_stop_that_is_not_followed_to_its_end_is_called_off(tmp_path: Path) -> None:
    """Whoever shows its steps fails: a full disk, a closed pipe."""
    made = make(tmp_path, "RUNNING")
    made.server.answers[RESULT] = {"status": {"id": "IN_PROGRESS"}}
    events = made.flink._stop(savepoint=True)
    for _ in range(3):
        next(events)
    assert made.stopped.exists()
    events.close()
    assert not made.stopped.exists()


@pytest.mark.parametrize(
    ("after", "error", "kept"),
    [
        ("RUNNING", None, False),
        ("STOPPING", TimedOut("flink: still there", hint=""), True),
        ("RUNNING", Unreachable("supervisor: it runs, but", hint=""), False),
        ("RUNNING", KeyboardInterrupt(), False),
        ("STOPPED", KeyboardInterrupt(), True),
        (None, Unreachable("supervisor: it has gone", hint=""), False),
    ],
    ids=["not-stopped", "slow", "hung", "interrupted-before", "interrupted-after", "gone"],
)
def test_a_stop_without_a_savepoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str | None, error: BaseException | None, *, kept: bool
) -> None:
    """The marker stands for what the supervisor has stopped, or is about to."""
    made = make(tmp_path, "RUNNING")

    def stop_program(name: str) -> None:
        assert name == "flink"
        assert made.stopped.exists()
        made.supervisor.state = after
        if error is not None:
            raise error

    monkeypatch.setattr(made.supervisor, "stop_program", stop_program)
    with pytest.raises(type(error) if error else Unreachable):
        list(made.flink.stop(savepoint=False))
    assert made.stopped.exists() is kept


VERTICES = [
    "Source: one -> parse-one",
    "Source: flags -> parse-flags",
    "detection -> processed: Writer",
    "dead: Writer",
]
OFFSETS = {"v0": {"one.two.partition.0": 41, "one.two.partition.1": -1}, "v1": {"flags.partition.3": 0}}
POSITIONS = {("one.two", 0): 42, ("one.two", 1): None, ("flags", 3): 1}


class Metrics(FakeServer):
    """A job's metrics as Flink gives them; each question about their time gets the next, 0 for none."""

    def __init__(self, *times: float) -> None:
        """Keep the times, epoch seconds."""
        super().__init__()
        self.times = list(times)

    def get(self, path: str, *, timeout: float = 10) -> Any:
        """Answer with a list of names, or with the values of those that exist."""
        assert 0 < timeout <= 1.5
        if path in self.answers:
            return super().get(path, timeout=timeout)
        name, _, query = path.partition("?")
        vertex = name.removeprefix("/jobs/0f/vertices/").removesuffix("/subtasks/metrics")
        if name == "/jobs/0f":
            return {"vertices": [{"id": f"v{number}", "name": name} for number, name in enumerate(VERTICES)]}
        if vertex == "v2":
            assert query == "get=detection.observedAtMs&agg=min"
            at = self.times.pop(0)
            return [{"id": "detection.observedAtMs", "min": at * 1000}] if at else []
        if vertex not in OFFSETS:
            return super().get(path, timeout=timeout)
        found = {f"Source__x.KafkaSourceReader.topic.{at}.currentOffset": n for at, n in OFFSETS[vertex].items()}
        if not query:
            return [{"id": name} for name in ("Source__x.KafkaSourceReader.commitsFailed", *found)]
        assert query == f"get={','.join(found)}&agg=max"
        return [{"id": name, "max": float(offset)} for name, offset in found.items()]


@pytest.mark.parametrize(
    ("times", "expected"),
    [((BEGIN + 0.1,), POSITIONS), ((0, BEGIN - 60, BEGIN - 1, BEGIN), POSITIONS), ((BEGIN - 1,) * 99, None)],
    ids=["fresh", "fresh-later", "old"],
)
def test_positions_are_not_older_than_the_question(
    tmp_path: Path, times: tuple[float, ...], expected: dict[Place, int | None] | None
) -> None:
    """Flink answers with what it knew at the question before; what stays old is no answer, and waited for briefly."""
    made = make(tmp_path, "RUNNING", server=Metrics(*times))
    assert made.flink.positions() == expected
    assert made.time.at - BEGIN < 2


@pytest.mark.parametrize("path", ["/jobs/overview", "/jobs/0f", "/jobs/0f/vertices/v1/subtasks/metrics"])
def test_there_are_no_positions_when_flink_does_not_answer(tmp_path: Path, path: str) -> None:
    """At whatever question it hangs; nor of a job that does not run."""
    made = make(tmp_path, "RUNNING", server=Metrics(BEGIN))
    made.server.answers[path] = GONE
    assert made.flink.positions() is None
    assert make(tmp_path / "other", "RUNNING", tasks=1).flink.positions() is None
