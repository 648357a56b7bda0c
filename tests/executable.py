"""The installed executable, as a user types it, on real components."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from fraudctl import config
from fraudctl.local.processes import process_table
from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.state import StackState
from fraudctl.local.processes.supervisor import Supervisor

EXECUTABLE = Path(sys.executable).with_name("fraudctl")
# A state folder that breaks whatever does not quote: blanks, %, ; and 150 characters.
Answer = TypeVar("Answer")
AWKWARD = "state of 100% ; # " + "x" * 132


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The JSON documents on stdout, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Fraudctl:
    """Runs fraudctl with a home of its own."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """The user's environment with that home, and the executable on PATH."""
        path = f"{EXECUTABLE.parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "FRAUDCTL_HOME": str(self.home), "NO_COLOR": "1", "PATH": path}

    def __call__(self, *arguments: str, stdin: str = "", code: int | None = 0, timeout: float = 240) -> Done:
        """Run to the end; fails the test unless it ends with `code` (None: any)."""
        done = subprocess.run(
            [str(EXECUTABLE), *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        result = Done(done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in result.err, result.err
        if code is not None:
            assert result.code == code, f"{arguments} ended with {result.code}\n{result.out}\n{result.err}{self.logs()}"
        return result

    def popen(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start and leave running."""
        return subprocess.Popen(
            [str(EXECUTABLE), *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def status(self, *, code: int | None = 0) -> dict[str, Any]:
        """Return `status` as a document."""
        return self("status", "-o", "json", code=code).documents[0]

    def healthy(self, *, seconds: float = 180.0) -> dict[str, Any]:
        """Wait until `status` finds nothing wrong, and give that document.

        A component may need longer for an answer than `status` waits for it, when it or the machine is busy.
        """

        def found() -> dict[str, Any]:
            document = self.status(code=None)
            return document if document["healthy"] else {}

        return eventually(found, seconds=seconds)

    def is_up_to_date(self) -> bool:
        """Whether nothing is left to do; a component that has just started may not answer every question yet."""
        return "is up to date." in self("deploy", "--plan", code=None).err

    def pid(self, component: str) -> int:
        """Return a component's pid."""
        return int(next(item["pid"] for item in self.status(code=None)["components"] if item["name"] == component))

    def logs(self) -> str:
        """Return the tails of all logs, for a failed test."""
        tails = []
        for log in sorted(self.home.rglob("logs/*.log")):
            lines = log.read_text(errors="replace").splitlines()[-15:]
            tails += [f"\n--- {log.name}", *lines]
        return "\n".join(tails)


@dataclass(frozen=True)
class WithEditor(Fraudctl):
    """Runs fraudctl with an editor of its own."""

    editor: str

    @property
    def environment(self) -> dict[str, str]:
        """The same, with the editor."""
        return {**super().environment, "VISUAL": self.editor}


@contextmanager
def kafka_alone(home: Path, brokers: str) -> Iterator[Fraudctl]:
    """Give fraudctl with a stack of supervisord and these brokers, which is all that `tail` and `topics` ask."""
    settings = config.load(environment={"FRAUDCTL_HOME": str(home)}, folder=home)
    paths = StackPaths(settings.home, settings.stack, settings.runtime)
    paths.make_folders()
    StackState(ports={"kafka": int(brokers.rpartition(":")[2])}, deployed=True).save(paths.state)
    supervisor = Supervisor(paths, config.program_environment())
    supervisor.start([])
    try:
        yield Fraudctl(home)
    finally:
        left = process_table.of_stack(paths.root)
        supervisor.shutdown()
        process_table.end(left)


def output_until(text: str, process: "subprocess.Popen[str]", *, seconds: float = 240.0) -> str:
    """Return what a running command has said up to the line with this; fails when it ends or the time is over before.

    It takes no more from the pipe than it gives: `communicate` gives exactly the rest.
    """
    assert process.stderr is not None
    output = b""
    timer = threading.Timer(seconds, process.kill)  # ends the reading
    timer.start()
    try:
        while not (text.encode() in output and output.endswith(b"\n")):
            some = os.read(process.stderr.fileno(), 65536)
            assert some, f"{text!r} was not said:\n{output.decode(errors='replace')}"
            output += some
    finally:
        timer.cancel()
    return output.decode()


def alive(pids: Iterable[int]) -> list[int]:
    """Return those whose process has not ended; one that only waits for init to notice has."""
    found = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def eventually(question: Callable[[], Answer], *, seconds: float = 60.0) -> Answer:
    """Ask until the answer is true, and give it; fails with the last answer."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
        time.sleep(0.2)
    return answer
