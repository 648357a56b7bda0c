"""What hangs: supervisord, the programs it runs, and the watchdog's verdict; hung is told apart from dead and busy."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import EndpointConnectionError
from executable import eventually

from fraudctl import config
from fraudctl.errors import Unreachable
from fraudctl.local import clients, components, stack
from fraudctl.local.components import Answer, Probes, Verdict, answered
from fraudctl.local.definitions import NAMES, PORTS
from fraudctl.local.functions import LocalFunctions
from fraudctl.local.processes import launch, process_table
from fraudctl.local.processes.paths import MARK, StackPaths, hosts_file
from fraudctl.local.processes.state import StackState
from fraudctl.local.processes.supervisor import ProgramInfo, Standing, Supervisor
from fraudctl.local.processes.tools import Toolbox
from fraudctl.local.stack import LocalStack
from fraudctl.local.target import LocalTarget
from fraudctl.local.watchdog import Watchdog
from fraudctl.target import Component, Health, PutAside

SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def paths(tmp_path: Path) -> StackPaths:
    """The folders of a stack; the socket's path is short enough for every temporary folder."""
    found = StackPaths(tmp_path / "home", "demo", Path(f"/tmp/fraudctl-test-{os.getpid()}"))  # noqa: S108
    found.make_folders()
    return found


@pytest.fixture
def silent() -> Iterator[dict[str, int]]:
    """Ports on which somebody listens, takes every connection and never says a word, as a stopped process does."""
    with ExitStack() as held:
        yield {name: held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for name in PORTS}


@pytest.fixture
def supervisord(paths: StackPaths) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that is taken for the stack's supervisord: by its mark, its command line and the pid file."""
    with subprocess.Popen(
        [sys.executable, "-c", SLEEP, "supervisor.supervisord"], env={**os.environ, MARK: str(paths.root)}
    ) as process:
        (paths.run / "supervisor.pid").write_text(f"{process.pid}\n", encoding="ascii")
        yield process
        process.kill()


@pytest.fixture
def mute_socket(paths: StackPaths) -> Iterator[None]:
    """A control socket that takes connections and says nothing."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(paths.socket))
        server.listen()
        yield
    paths.socket.unlink()


def info(name: str, pid: int | None, *, state: str = "RUNNING", age: float = 1.0) -> ProgramInfo:
    """How supervisord sees a program that was started `age` seconds ago."""
    return ProgramInfo(name, state, pid, int((time.time() - age) * 1000), "")


@pytest.mark.usefixtures("mute_socket")
def test_a_hung_supervisor_is_told_apart_from_a_dead_one(
    paths: StackPaths, supervisord: "subprocess.Popen[bytes]"
) -> None:
    """It runs, does not answer within its limit, and questions about its programs say so instead of "none"."""
    supervisor = Supervisor(paths, {})
    began = time.monotonic()
    standing = supervisor.standing()
    assert time.monotonic() - began < 4
    assert standing.process is not None
    assert (standing.process.pid, standing.trouble, standing.hung) == (supervisord.pid, "it does not answer", True)
    with pytest.raises(Unreachable, match=rf"supervisor \(pid {supervisord.pid}\): it runs, but it does not answer"):
        supervisor.programs()
    supervisord.kill()
    supervisord.wait()
    assert supervisor.standing() == Standing(None)
    assert supervisor.programs() == {}


def test_a_missing_control_socket_is_not_a_dead_supervisor(
    paths: StackPaths, supervisord: "subprocess.Popen[bytes]"
) -> None:
    """The process is found by its pid file; without it, and without a socket, nothing runs."""
    supervisor = Supervisor(paths, {})
    standing = supervisor.standing()
    assert standing.process is not None
    assert (standing.process.pid, standing.trouble, standing.hung) == (
        supervisord.pid,
        "its control socket is missing",
        False,
    )
    with pytest.raises(Unreachable, match="its control socket is missing") as caught:
        supervisor.programs()
    assert "fraudctl deploy" in str(caught.value.hint)
    (paths.run / "supervisor.pid").unlink()
    assert supervisor.standing() == Standing(None)


def test_the_pid_of_another_program_is_no_supervisor(paths: StackPaths) -> None:
    """A pid that the system has given away since, even to a program of this stack, is not taken for supervisord."""
    with subprocess.Popen([sys.executable, "-c", SLEEP], env={**os.environ, MARK: str(paths.root)}) as process:
        (paths.run / "supervisor.pid").write_text(str(process.pid), encoding="ascii")
        assert Supervisor(paths, {}).recorded() is None
        process.kill()


def test_all_programs_are_asked_side_by_side(silent: dict[str, int]) -> None:
    """Four programs that do not answer take no longer than one."""
    began = time.monotonic()
    look = Probes(silent, "demo-audit").look()
    assert time.monotonic() - began < 4
    assert look.answers == dict.fromkeys(NAMES, Answer.SILENT)
    assert (look.runner, look.table) == (None, None)


def test_status_asks_once_what_does_not_answer(
    paths: StackPaths, silent: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `components` every other question to the same programs is answered at once, and by name."""
    StackState(ports=silent, deployed=True).save(paths.state)
    settings = config.load({"stack": "demo"}, environment={"FRAUDCTL_HOME": str(paths.home)}, folder=paths.home)
    target = LocalTarget(settings)
    monkeypatch.setattr(Toolbox, "versions", lambda _: dict.fromkeys(NAMES, "1"))
    found = {component.name: component for component in target.components()}
    assert {found[name].health for name in NAMES} == {Health.STOPPED}  # no supervisord runs
    began = time.monotonic()
    for question, name in (
        (target.topics.list, "kafka"),
        (target.topics.consumers, "kafka"),
        (target.audit_table, "dynamodb"),
        (target.schedule.status, "lambda"),
        (target.flink._rest.job, "flink"),
        (lambda: target.functions.invoke("FlagAccountGenerator", {}), "lambda"),
    ):
        with pytest.raises(Unreachable, match=rf"^{name}: does not answer on .*127\.0\.0\.1:{silent[name]}$"):
            question()
    assert time.monotonic() - began < 1


def judged(
    monkeypatch: pytest.MonkeyPatch, paths: StackPaths, ports: Mapping[str, int], info_of_kafka: ProgramInfo
) -> Component:
    """Give Kafka's component when supervisord runs it and it does not answer."""
    monkeypatch.setattr(Supervisor, "standing", lambda _: Standing(psutil.Process()))
    monkeypatch.setattr(components, "Probes", partial(Probes, seconds=0.2))
    monkeypatch.setattr(Supervisor, "programs", lambda _: {"kafka": info_of_kafka})
    verdict = components.judge(paths, StackState(ports=ports), Supervisor(paths, {}), dict.fromkeys(NAMES, "1"))
    assert "kafka" in verdict.silent
    return next(component for component in verdict.components if component.name == "kafka")


def test_starting_restarting_and_hung_are_told_apart(
    paths: StackPaths, silent: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On its way up; on its way up again by itself; known to have answered and silent now."""
    me = os.getpid()
    found = judged(monkeypatch, paths, silent, info("kafka", me))
    assert (found.health, found.detail) == (Health.STARTING, "it does not answer yet")
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() - 2))
    paths.log("supervisor").write_text(f"{moment},000 WARN exited: kafka (terminated by SIGKILL; not expected)\n")
    found = judged(monkeypatch, paths, silent, info("kafka", me))
    assert (found.health, found.restarts) == (Health.RESTARTING, 1)
    found = judged(monkeypatch, paths, silent, info("kafka", None, state="BACKOFF"))
    assert found.health is Health.RESTARTING
    paths.answered.write_text(json.dumps({"kafka": me}))
    found = judged(monkeypatch, paths, silent, info("kafka", me))
    assert found.health is Health.UNHEALTHY
    assert found.detail.startswith("it does not answer; the watchdog restarts it")


def test_a_program_is_hung_only_when_it_is_known_to_be_able_to_answer(
    paths: StackPaths, silent: dict[str, int]
) -> None:
    """A broker that reads its log again for minutes is not; nor is one whose predecessor has answered."""
    paths.answered.write_text(json.dumps({"kafka": os.getpid() + 1}))
    port, me = silent["kafka"], os.getpid()
    assert not components.is_hung(paths, info("kafka", me, age=200), port)
    assert not components.is_hung(paths, info("kafka", None), port)
    assert components.is_hung(paths, info("kafka", me, age=400), port)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        free = nobody.getsockname()[1]
    assert not components.is_hung(paths, info("kafka", me, age=400), free)
    paths.answered.write_text(json.dumps({"kafka": me}))
    assert components.is_hung(paths, info("kafka", me), free)


@pytest.mark.parametrize("text", ["", "[]", '{"kafka": null}', "{"])
def test_a_damaged_note_of_the_watchdog_counts_as_none(tmp_path: Path, text: str) -> None:
    """As after a crash."""
    (tmp_path / "answered.json").write_text(text)
    assert answered(tmp_path / "answered.json") == {}
    assert answered(tmp_path / "none") == {}


class Times:
    """A watchdog on one real process: what the program answers and what time it is are set by the test."""

    def __init__(self, paths: StackPaths, pid: int) -> None:
        """Start with a program that runs and is silent."""
        self.now, self.answer = 100.0, Answer.SILENT
        self.info = info("kafka", pid)
        self.said: list[str] = []
        self.watchdog = Watchdog(
            paths,
            lambda: {"kafka": self.info},
            lambda programs: dict.fromkeys(programs, self.answer),
            monotonic=lambda: self.now,
            write=self.said.append,
        )

    def turns(self, number: int, answer: Answer, every: float = 3.0) -> None:
        """Take some turns with the same answer."""
        self.answer = answer
        for _ in range(number):
            self.now += every
            self.watchdog.turn()


@pytest.fixture
def program(paths: StackPaths) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of the stack."""
    with subprocess.Popen([sys.executable, "-c", SLEEP], env={**os.environ, MARK: str(paths.root)}) as process:
        yield process
        process.kill()


def test_the_watchdog_kills_what_has_answered_and_does_not_any_more(
    paths: StackPaths, program: "subprocess.Popen[bytes]"
) -> None:
    """Not at the first silence, but after 15 s of it, stopped or not; each step is written down."""
    times = Times(paths, program.pid)
    times.turns(1, Answer.READY)
    assert answered(paths.answered) == {"kafka": program.pid}
    program.send_signal(signal.SIGSTOP)
    times.turns(5, Answer.SILENT)
    assert program.poll() is None
    times.turns(1, Answer.SILENT)
    assert program.wait(10) == -signal.SIGKILL
    assert times.said == [
        f"kafka: pid {program.pid} does not answer",
        f"kafka: pid {program.pid} has not answered for 15 s: killed, to be started again",
    ]


def test_the_watchdog_leaves_alone_what_is_not_hung(paths: StackPaths, program: "subprocess.Popen[bytes]") -> None:
    """Still on its way up, busy, silent for a moment, starting, stopped on purpose, and another process than asked."""
    times = Times(paths, program.pid)
    times.turns(100, Answer.SILENT)  # it has never answered
    times.turns(100, Answer.BUSY)
    for _ in range(10):
        times.turns(5, Answer.SILENT)
        times.turns(1, Answer.READY)
    times.turns(5, Answer.SILENT)
    times.now += 3600  # the machine slept
    times.turns(5, Answer.SILENT)
    times.info = info("kafka", program.pid, state="STOPPING")
    times.turns(10, Answer.SILENT)
    times.info = info("kafka", program.pid)
    times.turns(1, Answer.READY)
    paths.stopped_marker("kafka").touch()
    times.turns(10, Answer.SILENT)
    paths.stopped_marker("kafka").unlink()
    assert program.poll() is None


def test_the_watchdog_kills_no_process_of_somebody_else(paths: StackPaths) -> None:
    """A pid that does not belong to the stack is never signalled."""
    with subprocess.Popen([sys.executable, "-c", SLEEP], env={**os.environ, MARK: "/another"}) as process:
        times = Times(paths, process.pid)
        times.turns(1, Answer.READY)
        times.turns(20, Answer.SILENT)
        assert process.poll() is None
        process.kill()


def test_a_supervisor_that_cannot_be_asked_is_said_once(paths: StackPaths) -> None:
    """The watchdog goes on, and writes one line, not one a turn."""

    def unreachable() -> dict[str, ProgramInfo]:
        raise Unreachable("supervisor (pid 7): it runs, but it does not answer")

    said: list[str] = []
    watchdog = Watchdog(paths, unreachable, lambda _: {}, write=said.append)
    for _ in range(5):
        watchdog.turn()
    assert said == ["supervisor (pid 7): it runs, but it does not answer; nothing can be restarted"]


def test_a_stopped_process_ends_by_sigterm(program: "subprocess.Popen[bytes]") -> None:
    """It goes on in order to end: no need to wait for SIGKILL."""
    program.send_signal(signal.SIGSTOP)
    process = psutil.Process(program.pid)
    eventually(lambda: process_table.is_stopped(program.pid))
    began = time.monotonic()
    assert process_table.end([process], grace=30) == []
    assert time.monotonic() - began < 10
    assert process.wait(10) == -signal.SIGTERM  # which psutil has kept


@pytest.mark.parametrize(
    ("component", "planned"),
    [
        (Component("audit table", Health.UNHEALTHY, "x does not exist"), ("repair", "audit table", "x does not exist")),
        (Component("audit mapping", Health.UNHEALTHY, "it is off"), ("repair", "audit mapping", "it is off")),
        (Component("supervisor", Health.UNHEALTHY, "no socket"), ("repair", "supervisor", "no socket")),
        (Component("watchdog", Health.STOPPED), ("start", "watchdog", "it does not run")),
        (Component("kafka", Health.RESTARTING, "not yet"), ("repair", "kafka", "not yet")),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_whatever_status_finds_deploy_repairs(
    paths: StackPaths, monkeypatch: pytest.MonkeyPatch, component: Component, planned: tuple[str, str, str]
) -> None:
    """One list drives both: each component that is not healthy is a line of the plan."""
    well = [Component(name, Health.HEALTHY) for name in (*NAMES, "supervisor") if name != component.name]
    monkeypatch.setattr(stack, "judge", lambda *_: Verdict((*well, component), frozenset()))
    monkeypatch.setattr(LocalStack, "_definitions", lambda *_: {})
    monkeypatch.setattr(LocalStack, "_missing_topics", lambda *_: [])
    monkeypatch.setattr(Toolbox, "missing", lambda _: "")
    monkeypatch.setattr(Toolbox, "versions", lambda _: {})
    StackState(deployed=True).save(paths.state)
    made = LocalStack(paths, Supervisor(paths, {}), Toolbox(paths.home, None), 1, 1)
    changes = made.plan().changes
    assert [(change.action, change.component, change.detail) for change in changes] == [planned]


def test_a_mapping_that_suffers_from_kafka_is_not_blamed(paths: StackPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka is repaired; the mapping goes on by itself."""
    found = [Component(name, Health.HEALTHY) for name in (*NAMES[1:], "supervisor")]
    found += [Component("kafka", Health.UNHEALTHY, "silent"), Component("audit mapping", Health.UNHEALTHY, "PROBLEM")]
    monkeypatch.setattr(stack, "judge", lambda *_: Verdict(tuple(found), frozenset({"kafka"})))
    monkeypatch.setattr(LocalStack, "_definitions", lambda *_: {})
    monkeypatch.setattr(Toolbox, "missing", lambda _: "")
    monkeypatch.setattr(Toolbox, "versions", lambda _: {})
    StackState(deployed=True).save(paths.state)
    made = LocalStack(paths, Supervisor(paths, {}), Toolbox(paths.home, None), 1, 1)
    assert [change.component for change in made.plan().changes] == ["kafka"]


@pytest.mark.parametrize(
    ("mapping", "health", "well"),
    [
        ({"state": "Enabled", "last_result": "OK"}, Health.HEALTHY, True),
        ({"state": "Disabled", "last_result": "OK"}, Health.UNHEALTHY, False),
        ({"state": "Enabled", "last_result": "PROBLEM: Function call failed"}, Health.UNHEALTHY, False),
        ({"state": "Enabled", "last_result": "PROBLEM: deleted unread", "losses": [{}]}, Health.UNHEALTHY, True),
    ],
)
def test_a_mapping_that_a_restart_can_repair_is_restarted(
    silent: dict[str, int], monkeypatch: pytest.MonkeyPatch, mapping: dict[str, Any], health: Health, *, well: bool
) -> None:
    """One that is off or fails; not one that waits for somebody to accept a loss, which is no less unhealthy."""
    probes = Probes(silent, "demo-audit")
    monkeypatch.setattr(probes._runner, "get", lambda *_, **__: {"mapping": mapping})
    assert probes.is_mapping_well() is well
    found = components._event_source_mapping({"mapping": mapping})
    assert found is not None
    assert found.health is health


def test_what_the_mapping_put_aside_is_numbers() -> None:
    """For `status` to say; nothing put aside is None, and a runner of an earlier version does not tell them apart."""
    mapping = {"state": "Enabled", "last_result": "OK", "on_failure": 15, "on_failure_folder": "/f"}
    for more, unwritten in (({}, 0), ({"on_failure_unwritten": 2}, 2)):
        found = components._event_source_mapping({"mapping": mapping | more})
        assert found is not None
        assert (found.health, found.detail) == (Health.HEALTHY, "OK")
        assert found.put_aside == PutAside(15, unwritten, "/f")
    found = components._event_source_mapping({"mapping": mapping | {"on_failure": 0}})
    assert found is not None
    assert found.put_aside is None


def test_the_machines_aws_settings_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that does not exist, files that cannot be parsed and values that nobody knows change nothing."""
    broken = tmp_path / "broken"
    broken.write_text("no ini [")
    for name, value in {
        "AWS_PROFILE": "nope",
        "AWS_CONFIG_FILE": str(broken),
        "AWS_SHARED_CREDENTIALS_FILE": str(broken),
        "AWS_RETRY_MODE": "nonsense",
        "AWS_MAX_ATTEMPTS": "many",
        "AWS_DEFAULTS_MODE": "nonsense",
        "AWS_ENDPOINT_URL": "http://192.0.2.1:1",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_DATA_PATH": str(broken),
        "HTTP_PROXY": "http://192.0.2.1:1",
        "http_proxy": "http://192.0.2.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        questions = (
            lambda: clients.dynamodb(port).list_tables(),
            lambda: list(clients.dynamodb_resource(port).tables.all()),
            lambda: clients.lambda_client(port).invoke(FunctionName="x"),
        )
        for question in questions:
            with pytest.raises(EndpointConnectionError, match=rf"http://127\.0\.0\.1:{port}/"):
                question()


def test_the_programs_get_neither_an_aws_account_nor_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else is in the environment stays; what fetches packages keeps its proxy."""
    for name in ("AWS_PROFILE", "AWS_CONFIG_FILE", "HTTPS_PROXY", "no_proxy", "KEPT"):
        monkeypatch.setenv(name, "x")
    found = config.program_environment()
    assert {"KEPT", "PATH"} <= set(found)
    assert not {name for name in found if name.startswith("AWS_") or name.upper().endswith("_PROXY")}
    assert config.child_environment()["HTTPS_PROXY"] == "x"


def test_the_jvms_know_the_machines_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is called at that moment, in a file that launch writes before each start."""
    monkeypatch.setattr(socket, "gethostname", lambda: "no-such-host-xyz")
    launch.write_hosts(hosts_file(tmp_path))  # no folder, as on a full disk: the program starts all the same
    (tmp_path / "run").mkdir()
    launch.write_hosts(hosts_file(tmp_path))
    assert hosts_file(tmp_path).read_text() == "127.0.0.1 localhost no-such-host-xyz\n"


class FakeRunner(clients.JsonClient):
    """A function runner that answers."""

    def __init__(self) -> None:
        """Open nothing."""
        super().__init__("lambda", lambda: "http://127.0.0.1:1")

    def get(self, path: str, *, timeout: float = 0) -> Any:
        """Give a status; the question has a limit of seconds."""
        assert (path, timeout <= 5) == ("/_fraudctl/status", True)
        return {}


def test_a_function_that_kafka_does_not_answer_is_unreachable() -> None:
    """Exit 4, Kafka by name, and that the flag may still arrive."""

    class Client:
        def invoke(self, **_: Any) -> dict[str, Any]:
            error = {
                "errorType": "NotConfirmed",
                "errorMessage": "not confirmed, and may still arrive, accounts 7: no answer within 30 s",
            }
            body = type("Body", (), {"read": lambda _: json.dumps(error).encode()})()
            return {"Payload": body, "FunctionError": "Unhandled"}

    functions = LocalFunctions("demo", Client, FakeRunner())
    with pytest.raises(Unreachable) as caught:
        functions.invoke("FlagAccountGenerator", {})
    assert str(caught.value) == (
        "FlagAccountGenerator: Kafka does not answer: "
        "not confirmed, and may still arrive, accounts 7: no answer within 30 s"
    )
    assert caught.value.exit_code == 4
