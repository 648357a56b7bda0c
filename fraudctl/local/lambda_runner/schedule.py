"""The schedule: invokes a function every minute, the first time at once, for as long as it is on."""

import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fraudctl.atomic import atomic_write
from fraudctl.local.lambda_runner.functions import Functions, Stopper
from fraudctl.local.lambda_runner.spec import ScheduleSpec

log = logging.getLogger(__name__)


class Schedule:
    """A thread that invokes and then waits for the next minute; so two ticks never overlap.

    Whether it is on lies in a file of the stack and survives a restart. Stopping ends a running tick early.
    """

    def __init__(
        self,
        spec: ScheduleSpec,
        functions: Functions,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Read whether the schedule is on; nothing runs before `start_thread`."""
        self._spec, self._functions, self._clock, self._wall = spec, functions, clock, wall
        self._file = Path(spec.state_file)
        self._changed = threading.Condition()
        self._enabled = self._read()
        self._ended = False
        self._stopper: Stopper | None = None
        self._last_at: int | None = None
        self._last_ok: bool | None = None
        self._last_result = ""
        self._next: float | None = None
        self._thread = threading.Thread(target=self._run, name="schedule", daemon=True)

    def start_thread(self) -> None:
        """Begin; the first tick is due at once."""
        self._thread.start()

    def start(self) -> dict[str, Any]:
        """Switch on; the next tick is due at once, or after the running one. Gives the status and `changed`."""
        return self._switch(enabled=True)

    def stop(self) -> dict[str, Any]:
        """Switch off, and let a running tick come to its end early. Gives the status and `changed`."""
        return self._switch(enabled=False)

    def end(self) -> None:
        """End the thread after the running tick."""
        with self._changed:
            self._ended = True
            if self._stopper:
                self._stopper.stop(0)
            self._changed.notify_all()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; returns whether it has ended."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def status(self) -> dict[str, Any]:
        """Return whether it is on, when the last and the next tick are (epoch ms), and how the last one ended."""
        with self._changed:
            due = None if self._next is None else self._wall() + self._next - self._clock()
            return {
                "enabled": self._enabled,
                "running": self._stopper is not None,
                "function": self._spec.function,
                "payload": self._spec.payload,
                "every_s": self._spec.every_s,
                "last_at": self._last_at,
                "last_ok": self._last_ok,
                "last_result": self._last_result,
                "next_at": None if due is None else int(due * 1000),
            }

    def _switch(self, *, enabled: bool) -> dict[str, Any]:
        with self._changed:
            changed = enabled != self._enabled
            if changed:
                self._enabled = enabled
                self._next = None
                log.info("schedule %s", "started" if enabled else "stopped")
            if not enabled and self._stopper:
                self._stopper.stop(0)
            self._changed.notify_all()
            if changed:  # last: on a full disk it raises, but the flow has stopped
                self._write(enabled=enabled)
        return self.status() | {"changed": changed}

    def _run(self) -> None:
        while stopper := self._wait():
            started = int(self._wall() * 1000)
            result = self._functions.invoke(self._spec.function, self._spec.payload, stopper)
            answer = result.value()
            with self._changed:
                self._stopper = None
                self._last_at, self._last_ok = started, result.error is None
                self._last_result = str(answer["errorMessage"]) if result.error else json.dumps(answer)
            if result.error:
                log.warning("the scheduled %s failed: %s", self._spec.function, self._last_result)

    def _wait(self) -> Stopper | None:
        """Wait until a tick is due and give what can end it early; None when the thread shall end."""
        with self._changed:
            while not self._ended:
                now = self._clock()
                if not self._enabled:
                    self._next = None
                    self._changed.wait()
                elif self._next is None or self._next <= now:
                    # Ticks keep their minute; those that a long one ran over are left out.
                    missed = 0 if self._next is None else (now - self._next) // self._spec.every_s
                    self._next = (now if self._next is None else self._next) + (missed + 1) * self._spec.every_s
                    self._stopper = Stopper(self._clock)
                    return self._stopper
                else:
                    self._changed.wait(self._next - now)
            return None

    def _read(self) -> bool:
        try:
            return bool(json.loads(self._file.read_text(encoding="utf-8"))["enabled"])
        except FileNotFoundError:
            return self._spec.enabled
        except (OSError, ValueError, KeyError, TypeError):
            log.warning("%s cannot be read; the schedule is %s", self._file, "on" if self._spec.enabled else "off")
            return self._spec.enabled

    def _write(self, *, enabled: bool) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(self._file, json.dumps({"enabled": enabled}).encode())
