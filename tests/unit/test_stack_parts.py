"""The small parts of a local stack: ports, state, lock, history, log files, configuration text."""

import errno
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, NotDeployed, OperationFailed, Refused, TimedOut
from fraudctl.local.logs import LocalLogs
from fraudctl.local.processes import ports
from fraudctl.local.processes.definition import Definition, last_error
from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.state import StackState
from fraudctl.local.processes.supervisor import Program, configuration, restarts
from fraudctl.lock import stack_lock


@pytest.fixture
def taken() -> Iterator[int]:
    """A loopback port that another program listens on."""
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


def test_new_ports_are_free_and_distinct() -> None:
    """Every name gets a port of its own."""
    chosen, stolen = ports.choose(("a", "b", "c"), {}, lambda _: False)
    assert len(set(chosen.values())) == 3
    assert all(map(ports.is_free, chosen.values()))
    assert stolen == {}


def test_a_stolen_port_is_replaced_and_named(taken: int) -> None:
    """A remembered port that somebody else listens on is given up."""
    chosen, stolen = ports.choose(("kafka",), {"kafka": taken}, lambda _: False)
    assert chosen["kafka"] != taken
    assert stolen == {"kafka": taken}


def test_a_port_that_is_our_own_stays(taken: int) -> None:
    """A remembered port on which the stack itself listens is kept."""
    assert ports.choose(("kafka",), {"kafka": taken}, lambda port: port == taken) == ({"kafka": taken}, {})


def test_state_survives_a_round_trip(tmp_path: Path) -> None:
    """What was saved is what is loaded."""
    state = StackState(ports={"kafka": 1}, deployed=True, programs={"kafka": "abc"})
    state.save(tmp_path / "stack.json")
    assert StackState.load(tmp_path / "stack.json") == state


def test_a_state_of_another_version_keeps_what_is_known(tmp_path: Path) -> None:
    """A stack that an earlier or a later version deployed is still found, at its ports."""
    text = '{"ports": {"kafka": 7}, "deployed": true, "samples": true, "jar": "a.jar", "programs": {}, "format": 1}'
    (tmp_path / "stack.json").write_text(text, encoding="utf-8")
    assert StackState.load(tmp_path / "stack.json") == StackState(ports={"kafka": 7}, deployed=True)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}', "null"])
def test_a_damaged_state_counts_as_none(tmp_path: Path, text: str) -> None:
    """A file cut off by a crash, or of another version, is as if it were not there."""
    (tmp_path / "stack.json").write_text(text)
    assert StackState.load(tmp_path / "stack.json") is None


def test_a_second_holder_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    """The lock is between processes, and names who has it."""
    holder = (
        "import sys; from pathlib import Path; from fraudctl.lock import stack_lock\n"
        "with stack_lock(Path(sys.argv[1]), 'demo'): print('held', flush=True); sys.stdin.read()"
    )
    path = tmp_path / "demo.lock"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        refused = pytest.raises(Refused, match=rf"stack demo is locked: another fraudctl \(pid {process.pid}\)")
        with refused, stack_lock(path, "demo", wait=0.1):
            pass
        process.communicate("")
    with stack_lock(path, "demo", wait=0.1):
        assert path.read_text() == str(os.getpid())


def test_the_lock_is_held_on_a_full_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`teardown`, which would free it, must run: the pid in the file is only for the message."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    refused = pytest.raises(Refused, match=r"pid unknown")
    path = tmp_path / "demo.lock"
    with stack_lock(path, "demo"), refused, stack_lock(path, "demo", wait=0.1):
        pass


def test_restarts_are_read_from_the_supervisors_log(tmp_path: Path) -> None:
    """Only ends that nobody asked for count, with the newest time and reason."""
    log = tmp_path / "supervisor.log"
    log.write_text(
        "2026-01-31 12:00:00,000 INFO spawned: 'kafka' with pid 5\n"
        "2026-01-31 12:00:01,000 WARN exited: kafka (terminated by SIGKILL; not expected)\n"
        "2026-01-31 12:00:09,250 WARN exited: kafka (exit status 3; not expected)\n"
        "2026-01-31 12:00:10,000 WARN stopped: flink (terminated by SIGTERM)\n"
        "2026-01-31 12:00:11,000 INFO exited: flink (exit status 0; expected)\n"  # after a savepoint
    )
    found = restarts(log)
    assert set(found) == {"kafka"}
    assert (found["kafka"].count, found["kafka"].last_reason) == (2, "exit status 3; not expected")
    assert found["kafka"].last_at is not None
    assert found["kafka"].last_at % 60_000 == 9_250
    assert restarts(tmp_path / "none") == {}


def test_supervisord_never_reads_a_path_of_the_stack(tmp_path: Path) -> None:
    """Blanks, % and ; in the state folder cannot break the configuration: it is not in there."""
    paths = StackPaths(tmp_path / "a b%c;d #e", "demo", Path("/run/100%/x"))
    text = configuration(paths, [Program("kafka", 10, stop_seconds=20)], python="/opt/my py%/python")
    assert "a b" not in text
    assert "file=/run/100%%/x/" in text
    assert "command='/opt/my py%%/python' -P -m fraudctl.local.processes.launch kafka\n" in text
    assert "stopwaitsecs=20" in text


def test_the_socket_path_is_short_however_long_the_folder_is() -> None:
    """A unix socket's path is limited to some 104 bytes."""
    paths = StackPaths(Path("/") / ("x" * 300), "demo", Path("/run/user/1000/fraudctl"))
    assert len(str(paths.socket)) < 60


def test_log_lines_last_and_followed_through_a_rotation(tmp_path: Path) -> None:
    """Following goes on in the file that replaces a rotated one."""
    log = tmp_path / "kafka.log"
    log.write_text("one\ntwo\nthree\n")

    def sleep(_: float) -> None:
        if log.read_text().endswith("three\n"):
            log.rename(tmp_path / "kafka.log.1")
            log.write_text("four\n")

    logs = LocalLogs(tmp_path, ("kafka",), sleep=sleep)
    assert list(itertools.islice(logs.lines("kafka", last=2, follow=True), 3)) == ["two", "three", "four"]
    assert list(logs.lines("kafka", last=10, follow=False)) == ["four"]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "UTC"])
def test_the_supervisor_s_times_are_utc_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    """It writes local time itself; whatever else a line has, and other components' lines, stay as they are."""
    written = 1_795_774_211.694
    with monkeypatch.context() as patched:
        patched.setenv("TZ", zone)
        time.tzset()
        local = datetime.fromtimestamp(written).strftime("%Y-%m-%d %H:%M:%S")  # noqa: DTZ006 - as supervisord does
        for component in ("supervisor", "kafka"):
            (tmp_path / f"{component}.log").write_text(f"{local},694 INFO spawned: 'kafka'\n  a line without a time\n")
        logs = LocalLogs(tmp_path, ("supervisor", "kafka"))
        found = list(logs.lines("supervisor", last=5, follow=False))
        other = list(logs.lines("kafka", last=1000, follow=False))
    time.tzset()
    assert found == ["2026-11-27T10:10:11.694Z INFO spawned: 'kafka'", "  a line without a time"]
    assert other[0] == f"{local},694 INFO spawned: 'kafka'"


def test_logs_of_an_unknown_component_name_the_known_ones(tmp_path: Path) -> None:
    """A typing error is a usage error; a missing log is not deployed."""
    logs = LocalLogs(tmp_path, ("kafka", "flink"))
    with pytest.raises(BadConfig) as unknown:
        list(logs.lines("kafak", last=1, follow=False))
    assert unknown.value.hint == "the components are kafka, flink"
    with pytest.raises(NotDeployed):
        list(logs.lines("kafka", last=1, follow=False))


def test_last_words_prefer_a_cause_over_its_stack_trace(tmp_path: Path) -> None:
    """An error message quotes the line that says why."""
    log = tmp_path / "flink.log"
    log.write_text("INFO starting\njava.net.BindException: Address already in use\n\tat java.base/sun.nio\n")
    assert last_error(log) == "java.net.BindException: Address already in use"
    assert last_error(tmp_path / "none") == "without a log"


def test_a_definitions_digest_changes_with_what_it_starts(tmp_path: Path) -> None:
    """Whatever a program is started with is part of its digest."""
    one = Definition("kafka", ("java", "-Xmx1m"), tmp_path)
    assert one.digest == Definition("kafka", ("java", "-Xmx1m"), tmp_path).digest
    others = (
        Definition("kafka", ("java", "-Xmx2m"), tmp_path),
        Definition("kafka", ("java", "-Xmx1m"), tmp_path, files={"a": "b"}),
        Definition("kafka", ("java", "-Xmx1m"), tmp_path, inputs="x"),
    )
    assert len({one.digest, *(other.digest for other in others)}) == 4


def test_a_definition_writes_what_launch_reads(tmp_path: Path) -> None:
    """The launcher becomes exactly the program described, in its folder."""
    paths = StackPaths(tmp_path / "it's a %s; # test", "demo", tmp_path)
    paths.make_folders()
    code = "import os, sys; print(os.getcwd(), sys.argv[1:])"
    Definition("echo", (sys.executable, "-c", code, "a b", "%d"), paths.run / "tmp" / "echo").write(paths)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "fraudctl.local.processes.launch", "echo"],
        env={**os.environ, "FRAUDCTL_STACK_FOLDER": str(paths.root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"{paths.run / 'tmp' / 'echo'} ['a b', '%d']"
    assert json.loads((paths.config / "echo.json").read_text())["arguments"][0] == sys.executable


def test_what_an_earlier_version_left_open_is_closed_to_others(tmp_path: Path) -> None:
    """Group and others lose what they may do, the user nothing; a link's target outside stays as it is."""
    paths = StackPaths(tmp_path, "one", tmp_path / "runtime")
    (paths.data / "kafka").mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.write_bytes(b"")
    (paths.data / "link").symlink_to(outside)
    modes = {outside: 0o644, paths.root: 0o755, paths.data / "kafka": 0o775, paths.data / "kafka" / "run": 0o755}
    (paths.data / "kafka" / "run").write_bytes(b"")
    for path, mode in modes.items():
        path.chmod(mode)
    paths.make_folders()
    assert [path.stat().st_mode & 0o777 for path in modes] == [0o644, 0o700, 0o700, 0o700]
    assert {path.stat().st_mode & 0o777 for path in (paths.config, paths.data, paths.logs, paths.run)} == {0o700}


def test_a_file_in_the_way_of_a_programs_folder_is_named(tmp_path: Path) -> None:
    """What the operating system refuses names the program, the path and the reason."""
    paths = StackPaths(tmp_path, "one", tmp_path / "runtime")
    paths.make_folders()
    blocked = paths.data / "kafka"
    blocked.write_text("not a folder")
    definition = Definition("kafka", ("true",), tmp_path, set_up=lambda: blocked.mkdir(parents=True, exist_ok=True))
    with pytest.raises(OperationFailed, match=rf"^kafka: {re.escape(str(blocked))}: File exists$") as caught:
        definition.write(paths)
    assert "fraudctl deploy" in str(caught.value.hint)


def test_waiting_ends_when_ready_or_when_time_is_up() -> None:
    """The clock decides, not the number of tries."""
    answers = iter([False, False, True])
    assert len(list(Clock(sleep=lambda _: None).until(lambda: next(answers), within=9, what="x", hint="y"))) == 2
    ticks = itertools.count(step=4.0)
    with pytest.raises(TimedOut, match="kafka: not ready after 10 s"):
        list(
            Clock(sleep=lambda _: None, monotonic=lambda: next(ticks)).until(
                lambda: False, within=10, what="kafka", hint="y"
            )
        )
