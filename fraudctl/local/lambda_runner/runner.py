"""The runner: functions, server, schedule and mapping put together, until SIGTERM."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from fraudctl.local.lambda_runner.event_source_mapping import EventSourceMapping
from fraudctl.local.lambda_runner.functions import Functions, Stopper
from fraudctl.local.lambda_runner.schedule import Schedule
from fraudctl.local.lambda_runner.server import Server
from fraudctl.local.lambda_runner.spec import RunnerSpec
from fraudctl.pipeline.text import iso

END_S: Final = 5.0
GRACE_S: Final = 3.0  # what running functions are told they have left
_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT})

log = logging.getLogger(__name__)


class Runner:
    """Everything that one spec names."""

    def __init__(self, spec: RunnerSpec) -> None:
        """Bind the port; raises OSError when it is taken. Nothing runs before `run`."""
        self._stopper = Stopper()
        self._functions = Functions(spec.functions, Path(spec.lambdas_folder), self._stopper)
        self._schedule = Schedule(spec.schedule, self._functions) if spec.schedule else None
        self._mapping = (
            EventSourceMapping(spec.mapping, spec.bootstrap_servers, self._functions) if spec.mapping else None
        )
        self._started = iso(int(time.time() * 1000))
        self._server = Server(spec.port, self._functions, self._controls())

    def run(self) -> bool:
        """Work until a signal comes, then end within 5 s; says whether everything came to its end."""
        # Blocked before the first thread starts, in all of them: a handler would run in the main thread only, and a
        # signal that another thread gets does not wake that one up.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._functions.set_environment()
        threading.Thread(target=self._server.serve_forever, args=(0.25,), name="server", daemon=True).start()
        log.info("ready at %s:%d, functions: %s", *self._server.server_address[:2], ", ".join(self._functions.names()))
        threading.Thread(target=self._functions.warm, name="warm", daemon=True).start()
        for part in self._parts():
            part.start_thread()
        signal.sigwait(_SIGNALS)
        return self._end()

    def _end(self) -> bool:
        log.info("stopping")
        deadline = time.monotonic() + END_S
        for part in self._parts():
            part.end()
        self._stopper.stop(GRACE_S)
        self._server.shutdown()
        waits: list[Callable[[float], bool]] = [part.join for part in self._parts()]
        ended = [wait(max(0.0, deadline - time.monotonic())) for wait in [*waits, self._functions.wait_until_idle]]
        log.info("stopped" if all(ended) else "stopped; what was still running is abandoned and comes again")
        return all(ended)

    def _parts(self) -> list[Schedule | EventSourceMapping]:
        return [part for part in (self._schedule, self._mapping) if part]

    def _controls(self) -> dict[str, Callable[[], Any]]:
        controls: dict[str, Callable[[], Any]] = {"GET /status": self._status}
        if self._schedule:
            controls["POST /schedule/start"] = self._schedule.start
            controls["POST /schedule/stop"] = self._schedule.stop
        if self._mapping:
            controls["POST /mapping/accept-loss"] = self._mapping.accept_loss
        return controls

    def _status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "started": self._started,
            "functions": self._functions.names(),
            "schedule": self._schedule.status() if self._schedule else None,
            "mapping": self._mapping.status() if self._mapping else None,
        }
