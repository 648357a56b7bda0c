"""The Flink application as one JVM under supervisord: started from its newest state, stopped with a savepoint."""

import os
import re
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Final

from fraudctl.atomic import atomic_write
from fraudctl.clock import Clock
from fraudctl.errors import FraudctlError, OperationFailed, Refused, TimedOut, Unreachable
from fraudctl.local.flink.rest import NAME, FlinkRest, StopResult, all_running
from fraudctl.local.flink.unread import Guard
from fraudctl.local.kafka.unread import ACCEPT, listed
from fraudctl.local.processes.paths import FlinkFolders
from fraudctl.local.processes.supervisor import ProgramInfo, Supervisor
from fraudctl.pipeline.questions import Place
from fraudctl.services.interrupts import interruptible
from fraudctl.target import Event, FlinkStatus, Phase, Savepoint

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 60.0
_END_SECONDS: Final = 20.0
_SAVEPOINT_EVERY_SECONDS: Final = 0.1
# A JVM that has decided how it ends is gone within a second.
_SETTLE_SECONDS: Final = 3.0
_SETTLE_EVERY_SECONDS: Final = 0.1
# `status` answers within 5 s whatever hangs; an idle machine needs 0.3 s.
_POSITIONS_SECONDS: Final = 1.5
_ALIVE: Final = frozenset({"RUNNING", "STARTING", "BACKOFF"})
_HINT: Final = "run `fraudctl logs flink`"
_NO_SAVEPOINT: Final = "run `fraudctl flink stop --no-savepoint`; it resumes from its newest checkpoint"
_CHECKPOINT: Final = re.compile(r"chk-\d+")


class LocalFlink:
    """Starts, stops and describes the application. `stopped` is a file that says: on purpose, leave it so.

    Without a `guard` nothing is compared with what Kafka still has.
    """

    def __init__(
        self,
        rest: FlinkRest,
        supervisor: Supervisor,
        folders: FlinkFolders,
        stopped: Path,
        *,
        guard: Guard | None = None,
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        """Store the collaborators; no I/O."""
        self._rest, self._supervisor, self._clock = rest, supervisor, clock
        self._folders, self._stopped, self._guard = folders, stopped, guard

    def start(self, *, fresh: bool = False, accept_loss: bool = False) -> Iterator[Event]:
        """Start the program unless it runs, and wait until every vertex is RUNNING.

        Raises `Refused` while records are gone that it, or AuditWriter, has not read, unless `accept_loss`.
        """
        info = self._program()
        alive = info.state in {"RUNNING", "STARTING"}
        if alive and fresh:
            raise OperationFailed(
                "flink: it runs, so it cannot start without its state", hint="run `fraudctl flink stop` first"
            )
        if alive and self._stopped.exists():
            alive = yield from self._settled()
        running = alive and self._rest.ready()
        gaps = self._guard.check(fresh=fresh, running=running) if self._guard else ()
        if gaps and not accept_loss:
            raise Refused(f"flink: {listed(gaps)}", hint=ACCEPT)
        self._stopped.unlink(missing_ok=True)
        if fresh:
            atomic_write(self._folders.fresh, b"")
        if gaps and self._guard:
            self._guard.accept(gaps)
            yield Event(NAME, Phase.NOTE, f"recorded as lost: {listed(gaps)}")
        if running:
            yield Event(NAME, Phase.DONE, "running already")
            return
        yield Event(NAME, Phase.STARTED, "starting the application")
        if not alive:
            self._supervisor.start_program(NAME)
        for _ in self._clock.until(self._up, within=_START_SECONDS, what=NAME, hint=_HINT):
            yield Event(NAME, Phase.PROGRESS, "starting the application")
        yield Event(NAME, Phase.DONE, f"running, web UI {self._rest.address}")

    def _settled(self) -> Generator[Event, None, bool]:
        """Return whether the program still runs some seconds after a stop that was interrupted is called off.

        A JVM that ends while the marker is there ends for good (exit code 0); one that ends later is started again.
        """
        self._stopped.unlink(missing_ok=True)
        for _ in self._clock.poll(_SETTLE_EVERY_SECONDS, within=_SETTLE_SECONDS):
            if self._ended():
                return False
            yield Event(NAME, Phase.PROGRESS, "a stop was interrupted; waiting for what becomes of it")
        return True

    def stop(self, *, savepoint: bool = True) -> Iterator[Event]:
        """Stop the job, with a savepoint unless told otherwise, and wait until its JVM has ended.

        A stop that fails, or is interrupted, is called off: what ends after that is started again by the supervisor.
        """
        return interruptible(self._stop(savepoint=savepoint))

    def _stop(self, *, savepoint: bool) -> Generator[Event, None, None]:
        try:
            if self._program().state in {"RUNNING", "STARTING"}:
                yield from self._stop_running(savepoint=savepoint)
            else:
                self._end()  # it may be between two attempts to start
                yield Event(NAME, Phase.DONE, "stopped already")
        except KeyboardInterrupt:
            self._call_off()
            yield Event(NAME, Phase.NOTE, "the stop is called off; what ends all the same is started again")
            raise
        except BaseException:
            self._call_off()
            raise

    def _stop_running(self, *, savepoint: bool) -> Generator[Event, None, None]:
        job = self._rest.job() if savepoint and not self._waits() else None
        if job is None:
            yield Event(NAME, Phase.STARTED, "stopping")
            self._end()
            yield Event(NAME, Phase.DONE, "stopped without a savepoint; it resumes from its newest checkpoint")
            return
        yield Event(NAME, Phase.STARTED, "taking a savepoint")
        # Flink drops the request while a vertex is still starting, and the job just goes on.
        for _ in self._clock.until(self._rest.ready, within=_START_SECONDS, what=NAME, hint=_NO_SAVEPOINT):
            yield Event(NAME, Phase.PROGRESS, "waiting for every vertex to run")
        location = yield from self._stop_with_savepoint(str(job["jid"]))
        for _ in self._clock.poll(_SAVEPOINT_EVERY_SECONDS, within=_END_SECONDS):
            if self._ended():
                break
            yield Event(NAME, Phase.PROGRESS, "waiting for the JVM to end")
        else:
            self._end()  # the job is over, so nothing is lost with its JVM
        yield Event(NAME, Phase.DONE, f"stopped, savepoint {Path(location).name}")

    def status(self) -> FlinkStatus:
        """Return what the REST API says; the state is STOPPED when the program does not run."""
        info = self._supervisor.programs().get(NAME)
        if info is None or info.state not in {"RUNNING", "STARTING"}:
            return FlinkStatus(state="STOPPED")
        if waits := self._waits():
            return FlinkStatus(state="FAILED", exception=f"{waits}; {ACCEPT}")
        job = self._rest.job()
        if job is None:
            return FlinkStatus(state="STARTING", web_ui=self._rest.address)
        job_id = str(job["jid"])
        checkpoints = self._rest.checkpoints(job_id)
        newest = (checkpoints.get("latest") or {}).get("completed") or {}
        restored = (checkpoints.get("latest") or {}).get("restored") or {}
        state = str(job["state"])
        if state == "RUNNING" and not all_running(job):
            state = "STARTING"
        metrics = self._rest.metrics(job_id)
        return FlinkStatus(
            state=state,
            job_id=job_id,
            started_at=job["start-time"],
            web_ui=self._rest.address,
            checkpoints_completed=checkpoints.get("counts", {}).get("completed", 0),
            checkpoints_failed=checkpoints.get("counts", {}).get("failed", 0),
            checkpoint_at=newest.get("latest_ack_timestamp"),
            checkpoint_bytes=newest.get("state_size"),
            restored_from=restored.get("external_path"),
            exception=self._rest.exception(job_id),
            metrics=metrics.values,
            metrics_at=metrics.at,
        )

    def positions(self) -> Mapping[Place, int | None] | None:
        """Return the next offset of each partition that the running job reads, not older than this question.

        None for a partition of which it has read nothing since its start. None instead of all of them when it does not
        run, or does not say so in time.
        """
        try:
            return self._rest.positions(since=self._clock.now(), within=_POSITIONS_SECONDS)
        except FraudctlError:
            return None

    def savepoints(self) -> list[Savepoint]:
        """List complete checkpoints and savepoints (those with a ``_metadata`` file), newest first."""
        found = []
        for kind, folder in (("checkpoint", self._folders.checkpoints), ("savepoint", self._folders.savepoints)):
            for name, _, files in os.walk(folder):  # which leaves out what Flink removes meanwhile
                where = Path(name)
                if "_metadata" not in files or (kind == "checkpoint" and not _CHECKPOINT.fullmatch(where.name)):
                    continue
                try:
                    size = sum((where / file).stat().st_size for file in files)
                    found.append(Savepoint(name, kind, int((where / "_metadata").stat().st_mtime * 1000), size))
                except FileNotFoundError:
                    continue
        return sorted(found, key=lambda item: item.created_at, reverse=True)

    def _program(self) -> ProgramInfo:
        info = self._supervisor.programs().get(NAME)
        if info is None:
            raise Unreachable("flink: the supervisor does not run", hint="run `fraudctl deploy`")
        return info

    def _up(self) -> bool:
        if self._rest.ready():
            return True
        if waits := self._waits():
            raise Refused(f"flink: {waits}", hint=ACCEPT)
        info = self._supervisor.programs().get(NAME)
        if info is not None and info.state in {"FATAL", "EXITED"}:
            raise OperationFailed(f"flink: the application ended: {info.detail}", hint=_HINT)
        return False

    def _waits(self) -> str | None:
        return self._guard.waits() if self._guard else None

    def _end(self) -> None:
        atomic_write(self._stopped, b"")
        self._supervisor.stop_program(NAME)
        if self._program().state in _ALIVE:
            raise Unreachable("flink: the supervisor has not stopped it", hint="run `fraudctl status`")

    def _call_off(self) -> None:
        """Let the marker stand only for what the supervisor has stopped, or is about to."""
        try:
            info = self._supervisor.programs().get(NAME)
        except Unreachable:
            info = None
        if info is None or info.state not in {"STOPPED", "STOPPING"}:
            self._stopped.unlink(missing_ok=True)

    def _ended(self) -> bool:
        info = self._supervisor.programs().get(NAME)
        return info is None or info.state not in {"RUNNING", "STARTING", "STOPPING"}

    def _stop_with_savepoint(self, job_id: str) -> Generator[Event, None, str]:
        before = {savepoint.location for savepoint in self.savepoints()}
        atomic_write(self._stopped, b"")  # from here on its end is no accident
        request_id = self._rest.stop(job_id, self._folders.savepoints)
        for _ in self._clock.poll(_SAVEPOINT_EVERY_SECONDS, within=_STOP_SECONDS):
            try:
                result = self._rest.stop_result(job_id, request_id)
            except Unreachable:  # the JVM ends as soon as the savepoint is complete, often before it is asked
                ended = self._ended()  # asked first: nothing is added after that
                result = StopResult(location=self._newest_since(before))
                if result.location is None and ended:
                    raise OperationFailed("flink: the application ended without a savepoint", hint=_HINT) from None
            if result.failure is not None:
                raise OperationFailed(f"flink: no savepoint: {result.failure}", hint=_HINT)
            if result.location is not None:
                return result.location
            yield Event(NAME, Phase.PROGRESS, "taking a savepoint")
        raise TimedOut(f"flink: no savepoint after {_STOP_SECONDS:.0f} s; the application runs on", hint=_NO_SAVEPOINT)

    def _newest_since(self, before: set[str]) -> str | None:
        new = (item for item in self.savepoints() if item.kind == "savepoint" and item.location not in before)
        return next((item.location for item in new), None)
