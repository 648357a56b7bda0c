"""supervisord on a unix socket: keeps the stack's programs running, rotates their logs.

http://supervisord.org/configuration.html; driven over its XML-RPC (http://supervisord.org/api.html).
"""

import contextlib
import http.client
import re
import shlex
import signal
import socket
import subprocess
import sys
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psutil

from fraudctl.atomic import atomic_write
from fraudctl.clock import Clock
from fraudctl.errors import OperationFailed, TimedOut, Unreachable
from fraudctl.local.processes import process_table
from fraudctl.local.processes.paths import MARK, StackPaths

_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 30.0
# It answers in milliseconds, and `status` has 5 s for everything.
_ANSWER_SECONDS: Final = 2.0
_STOPPING_EVERY_SECONDS: Final = 0.05
_MODULE: Final = "supervisor.supervisord"
# supervisor.xmlrpc.Faults.NOT_RUNNING, and BAD_NAME: a supervisord of an earlier version does not know every program.
_NOT_RUNNING: Final = frozenset({70, 10})
_ALREADY_STARTED: Final = 60  # Faults.ALREADY_STARTED
_SHUTTING_DOWN: Final = 6  # Faults.SHUTDOWN_STATE
# 2026-01-31 12:00:00,123 WARN exited: kafka (terminated by SIGKILL; not expected)
_EXITED: Final = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) \w+ exited: (\S+) \((.*; not expected)\)")


@dataclass(frozen=True, slots=True)
class Program:
    """A program to keep running; a shutdown stops the higher `priority` first.

    `restart_on_success`: it is started again even when it ended by itself with exit code 0.
    """

    name: str
    priority: int
    stop_seconds: int = 10
    restart_on_success: bool = True


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """How supervisord sees a program; `started_at` in epoch milliseconds."""

    name: str
    state: str
    pid: int | None
    started_at: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How supervisord is: its process, None when it does not run, and why it cannot be asked (empty: it can).

    `hung`: its socket is there, and nothing comes back.
    """

    process: psutil.Process | None
    trouble: str = ""
    hung: bool = False


@dataclass(frozen=True, slots=True)
class Restarts:
    """How often a program ended without being asked to, when last (epoch milliseconds), and how."""

    count: int = 0
    last_at: int | None = None
    last_reason: str = ""


def restarts(log: Path) -> dict[str, Restarts]:
    """Return the unasked-for ends of each program, read from supervisord's log; empty without a log."""
    found: dict[str, Restarts] = {}
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        if match := _EXITED.match(line):
            moment, millis, name, reason = match.groups()
            at = int(datetime.fromisoformat(moment).astimezone().timestamp()) * 1000 + int(millis)
            found[name] = Restarts(found.get(name, Restarts()).count + 1, at, reason)
    return found


def configuration(paths: StackPaths, programs: Sequence[Program], python: str = sys.executable) -> str:
    """Return supervisord.conf. Its paths are relative to the folder that supervisord starts in, the stack's.

    Neither the path itself nor ``%(here)s``, which expands too early, would survive a % in the folder's name.
    """
    socket = str(paths.socket).replace("%", "%%")
    sections = [
        f"""\
[unix_http_server]
file={socket}
chmod=0700

[supervisord]
logfile=logs/supervisor.log
logfile_maxbytes=5MB
logfile_backups=2
pidfile=run/supervisor.pid
childlogdir=logs
umask=077
strip_ansi=true

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
    ]
    command = f"{shlex.quote(python)} -P -m fraudctl.local.processes.launch".replace("%", "%%")
    sections += [
        f"""\
[program:{program.name}]
command={command} {program.name}
priority={program.priority}
autostart=false
autorestart={"true" if program.restart_on_success else "unexpected"}
exitcodes={"" if program.restart_on_success else "0"}
startsecs=3
startretries=8
stopwaitsecs={program.stop_seconds}
redirect_stderr=true
stdout_logfile=logs/{program.name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3
"""
        for program in programs
    ]
    return "\n".join(sections)


class Supervisor:
    """The stack's supervisord: started when needed, asked over its socket."""

    def __init__(
        self,
        paths: StackPaths,
        environment: Mapping[str, str],
        *,
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        """Store where it lives and the environment its programs get; no I/O."""
        self._paths, self._environment, self._clock = paths, environment, clock

    def pid(self) -> int | None:
        """Return the pid of the running supervisord; None when it does not answer."""
        try:
            return int(self._call("supervisor.getPID"))
        except OSError:
            return None

    def standing(self) -> Standing:
        """Return whether supervisord runs and can be asked: hung is not dead, and a socket that is gone neither."""
        try:
            return Standing(psutil.Process(int(self._call("supervisor.getPID"))))
        except (OSError, psutil.NoSuchProcess) as error:
            return self._standing(error)

    def recorded(self) -> psutil.Process | None:
        """Return the process that supervisord's pid file names, whether it answers or not; None when it has ended."""
        try:
            process = psutil.Process(int((self._paths.run / "supervisor.pid").read_text(encoding="ascii")))
            ours = process.environ().get(MARK) == str(self._paths.root) and _MODULE in process.cmdline()
        except (OSError, ValueError, psutil.Error):
            return None
        return process if ours else None

    def start(self, programs: Sequence[Program]) -> None:
        """Start supervisord with these programs; one that runs with another configuration is replaced."""
        path = self._paths.config / "supervisord.conf"
        wanted = configuration(self._paths, programs)
        running = self.process()
        if running is not None:
            if path.exists() and path.read_text(encoding="utf-8") == wanted:
                return
            self.shutdown()
            process_table.end([running], grace=_STOP_SECONDS)
        atomic_write(path, wanted.encode())
        self._paths.socket.unlink(missing_ok=True)
        self._paths.runtime.mkdir(parents=True, exist_ok=True, mode=0o700)
        done = subprocess.run(
            [sys.executable, "-P", "-m", _MODULE, "-c", str(path)],
            env={**self._environment, MARK: str(self._paths.root)},
            cwd=self._paths.root,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C on the terminal is for fraudctl, not for the stack
            timeout=_START_SECONDS,
            umask=0o077,  # for the files that it opens before it reads its own setting
        )
        if done.returncode:
            why = [line for line in f"{done.stderr}{done.stdout}".splitlines() if line.startswith("Error")]
            raise OperationFailed(
                f"supervisor: did not start: {why[0] if why else f'exit code {done.returncode}'}",
                hint=f"see {self._paths.log('supervisor')}",
            )
        if not any(self.pid() is not None for _ in self._clock.poll(0.02, within=_START_SECONDS)):
            raise OperationFailed(
                "supervisor: does not answer on its socket", hint=f"see {self._paths.log('supervisor')}"
            )

    def programs(self) -> dict[str, ProgramInfo]:
        """Return the programs by name; empty when supervisord does not run.

        Raises `Unreachable` when it runs, but does not answer or has lost its control socket.
        """
        try:
            infos: list[dict[str, Any]] = self._call("supervisor.getAllProcessInfo")
        except OSError as error:
            standing = self._standing(error)
            if standing.process is not None and isinstance(error, TimeoutError | FileNotFoundError):
                raise unreachable(standing) from error
            return {}
        return {
            info["name"]: ProgramInfo(
                name=info["name"],
                state=info["statename"],
                pid=info["pid"] or None,
                started_at=info["start"] * 1000 if info["pid"] else None,
                detail=info["spawnerr"] or info["description"],
            )
            for info in infos
        }

    def start_program(self, name: str) -> None:
        """Start a program unless it runs; returns at once. Raises `Unreachable` when supervisord does not answer."""
        try:
            self._call("supervisor.startProcess", name, False)  # noqa: FBT003 - the RPC's `wait`
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != _ALREADY_STARTED:
                raise OperationFailed(f"{name}: {fault.faultString}", hint=f"run `fraudctl logs {name}`") from fault
        except OSError as error:
            raise Unreachable(
                f"{name}: the supervisor does not answer: {error}", hint="run `fraudctl deploy`"
            ) from error

    def stop_program(self, name: str, *, grace: float | None = None) -> None:
        """Stop a program and wait until it is gone; fine when it does not run.

        It gets SIGTERM, and SIGKILL when it is still there after its `stop_seconds` or, if given, `grace` seconds.
        """
        try:
            info = self.programs().get(name)
            self._call("supervisor.stopProcess", name, False)  # noqa: FBT003 - the RPC's `wait`
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in _NOT_RUNNING:
                raise OperationFailed(f"{name}: {fault.faultString}", hint="run `fraudctl status`") from fault
        except OSError:
            return
        else:
            if info is not None and info.pid is not None:
                self._end(info.pid, grace)
        for _ in self._clock.poll(_STOPPING_EVERY_SECONDS, within=_STOP_SECONDS):
            info = self.programs().get(name)
            if info is None or info.state != "STOPPING":
                return
        raise TimedOut(f"{name}: still there {_STOP_SECONDS:.0f} s after it was stopped", hint="run `fraudctl status`")

    def shutdown(self) -> None:
        """Stop every program, newest first, then supervisord itself; returns at once."""
        try:
            self._call("supervisor.shutdown")
        except (OSError, xmlrpc.client.Fault):
            return

    def process(self) -> psutil.Process | None:
        """Return supervisord's own process; None when it does not run."""
        pid = self.pid()
        try:
            return psutil.Process(pid) if pid else None
        except psutil.NoSuchProcess:
            return None

    def _standing(self, error: Exception) -> Standing:
        """Return what it means that supervisord has not answered."""
        process = self.recorded()
        if process is None:
            return Standing(None)
        if isinstance(error, TimeoutError):
            return Standing(process, "it does not answer", hung=True)
        missing = isinstance(error, FileNotFoundError)
        trouble = "its control socket is missing" if missing else "it does not listen on its control socket"
        return Standing(process, trouble)

    def _end(self, pid: int, grace: float | None) -> None:
        """Let the SIGTERM that supervisord has sent reach a process that was stopped; kill it after `grace` seconds."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.environ().get(MARK) != str(self._paths.root):
                return
            process.send_signal(signal.SIGCONT)  # signals wait until a stopped process goes on
            if grace is not None and process_table.wait([process], grace):
                process.kill()

    def _call(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 - XML-RPC values
        if not self._paths.socket.exists():
            raise FileNotFoundError(self._paths.socket)
        transport = _Transport(str(self._paths.socket))
        try:
            proxy = xmlrpc.client.ServerProxy("http://localhost", transport=transport)
            return getattr(proxy, method)(*arguments)
        except xmlrpc.client.ProtocolError as error:
            raise OSError(error.errmsg) from error
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == _SHUTTING_DOWN:  # it takes no orders any more: as good as gone
                raise OSError(fault.faultString) from fault
            raise
        finally:
            transport.close()


def unreachable(standing: Standing) -> Unreachable:
    """Return the error for a supervisord that runs, but cannot be asked."""
    pid = standing.process.pid if standing.process else "unknown"
    return Unreachable(
        f"supervisor (pid {pid}): it runs, but {standing.trouble}",
        hint="run `fraudctl deploy`: it is stopped and started again, with its programs",
    )


class _Connection(http.client.HTTPConnection):
    """HTTP on a unix socket, with a limit on each wait."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ANSWER_SECONDS)
        self.sock.connect(self._path)


class _Transport(xmlrpc.client.Transport):
    """XML-RPC on a unix socket. supervisor's own transport has no limit: a stopped supervisord would hold it up."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:  # noqa: ANN401 - as the base class has it
        self._connection = host, _Connection(self._path)
        return self._connection[1]
