"""``python -P -m fraudctl.local.watchdog HOME STACK RUNTIME``: kill what hangs, so that supervisord starts it again.

supervisord restarts a program that has ended, but not one that runs and does not answer. The watchdog asks each program
the question that `status` asks. One that this very process has answered before, and has not answered for
`HUNG_SECONDS`, gets SIGKILL. What is still on its way up, was stopped on purpose, or answers that it is not ready is
left alone.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from fraudctl.atomic import atomic_write
from fraudctl.clock import Clock
from fraudctl.errors import FraudctlError
from fraudctl.local.components import Answer, Probes
from fraudctl.local.definitions import NAMES
from fraudctl.local.processes.paths import MARK, StackPaths
from fraudctl.local.processes.state import StackState
from fraudctl.local.processes.supervisor import ProgramInfo, Supervisor
from fraudctl.pipeline import names

HUNG_SECONDS: Final = 15.0
EVERY_SECONDS: Final = 3.0
# Longer than `status` waits: a busy program is not to be killed.
_ANSWER_SECONDS: Final = 4.0
# After a longer pause between two turns it was the machine, or the watchdog, that stood still.
_GAP_SECONDS: Final = 15.0


@dataclass(slots=True)
class Watched:
    """One process of a program: whether it has answered, and since when it has not (monotonic seconds)."""

    process: psutil.Process
    answered: bool = False
    silent_since: float | None = None


class Watchdog:
    """The watchdog of one stack; `turn` does everything once."""

    def __init__(
        self,
        paths: StackPaths,
        programs: Callable[[], Mapping[str, ProgramInfo]],
        probe: Callable[[tuple[str, ...]], Mapping[str, Answer]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        write: Callable[[str], object] | None = None,
    ) -> None:
        """Store the collaborators; no I/O."""
        self._paths, self._programs, self._probe = paths, programs, probe
        self._monotonic, self._write = monotonic, write or _write
        self._watched: dict[str, Watched] = {}
        self._last: float | None = None
        self._unasked = False

    def turn(self) -> None:
        """Ask every program that runs, and kill what has been silent for too long."""
        running = self._running()
        for name in set(self._watched) - set(running):
            del self._watched[name]
        for name, info in running.items():
            self._recognise(name, info)
        answers = self._probe(tuple(self._watched))
        now = self._monotonic()
        if self._last is not None and now - self._last > _GAP_SECONDS:
            for watched in self._watched.values():
                watched.silent_since = None
        self._last = now
        for name, watched in self._watched.items():
            self._judge(name, watched, answers[name], now)
        self._note()

    def _running(self) -> dict[str, ProgramInfo]:
        try:
            found = self._programs()
        except FraudctlError as error:
            if not self._unasked:
                self._write(f"{error}; nothing can be restarted")
            self._unasked = True
            return {}
        self._unasked = False
        return {
            name: info
            for name, info in found.items()
            if name in NAMES and info.state == "RUNNING" and not self._paths.stopped_marker(name).exists()
        }

    def _recognise(self, name: str, info: ProgramInfo) -> None:
        watched = self._watched.get(name)
        if watched is not None and watched.process.pid == info.pid and watched.process.is_running():
            return
        self._watched.pop(name, None)
        try:
            self._watched[name] = Watched(psutil.Process(info.pid))
        except psutil.Error:
            return  # it has ended since

    def _judge(self, name: str, watched: Watched, answer: Answer, now: float) -> None:
        if answer is not Answer.SILENT:
            watched.answered, watched.silent_since = True, None
        elif watched.answered and watched.silent_since is None:
            watched.silent_since = now
            self._write(f"{name}: pid {watched.process.pid} does not answer")
        elif watched.silent_since is not None and now - watched.silent_since >= HUNG_SECONDS:
            self._kill(name, watched, now - watched.silent_since)

    def _kill(self, name: str, watched: Watched, seconds: float) -> None:
        info = self._running().get(name)
        process = watched.process
        try:
            # psutil compares start times: a process that has got the pid since is not touched.
            if info is None or info.pid != process.pid or process.environ().get(MARK) != str(self._paths.root):
                return
            process.kill()
        except psutil.Error:
            return
        self._write(f"{name}: pid {process.pid} has not answered for {seconds:.0f} s: killed, to be started again")

    def _note(self) -> None:
        """Write down who has answered, and that the watchdog has looked."""
        found = {name: watched.process.pid for name, watched in self._watched.items() if watched.answered}
        text = json.dumps(found, sort_keys=True).encode()
        path = self._paths.answered
        try:
            if path.exists() and path.read_bytes() == text:
                path.touch()
            else:
                atomic_write(path, text)
        except OSError as error:  # a full disk
            self._write(f"{path.name}: {error.strerror}")


def main() -> None:
    """Watch until SIGTERM."""
    home, stack, runtime = sys.argv[1:]
    paths = StackPaths(Path(home), stack, Path(runtime))
    state = StackState.load(paths.state) or StackState()
    probes = Probes(state.ports, names.audit_table(stack), seconds=_ANSWER_SECONDS)
    watchdog = Watchdog(paths, Supervisor(paths, {}).programs, lambda programs: probes.look(programs).answers)
    for _ in Clock().poll(EVERY_SECONDS):
        watchdog.turn()


def _write(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
