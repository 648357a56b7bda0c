"""The Flink application as one JVM: its REST API, and its program under supervisord."""

import os
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fraudctl.errors import OperationFailed, TimedOut, Unreachable
from fraudctl.local import waiting
from fraudctl.local.processes.supervisor import Supervisor
from fraudctl.local.rest import Rest
from fraudctl.target import Event, FlinkStatus, Phase, Savepoint

NAME: Final = "flink"
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 60.0
_HINT: Final = "run `fraudctl logs flink`"
# The group that Managed Flink sends to CloudWatch; the application uses it on both targets.
_METRICS: Final = ".KinesisAnalytics."
_NO_SAVEPOINT: Final = "run `fraudctl flink stop --no-savepoint`; it resumes from its newest checkpoint"
_CHECKPOINT: Final = re.compile(r"chk-\d+")


@dataclass(frozen=True, slots=True)
class FlinkFolders:
    """Where the application's state lies; a file `fresh` asks the launcher to start without any."""

    checkpoints: Path
    savepoints: Path
    fresh: Path


class LocalFlink:
    """Starts, stops and asks the application. `stopped` is a file that says: on purpose, leave it so."""

    def __init__(
        self,
        rest: Rest,
        supervisor: Supervisor,
        folders: FlinkFolders,
        stopped: Path,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Keep the collaborators; no I/O."""
        self._rest, self._supervisor, self._sleep = rest, supervisor, sleep
        self._folders, self._stopped = folders, stopped

    def running(self) -> bool:
        """Say whether the job and every vertex of it run; False too when nothing answers."""
        try:
            job = self._job()
            return job is not None and all_running(job)
        except (Unreachable, OperationFailed):
            return False

    def start(self, *, fresh: bool = False) -> Iterator[Event]:
        """Start the program unless it runs, and wait until every vertex is RUNNING."""
        info = self._supervisor.programs().get(NAME)
        if info is None:
            raise Unreachable("flink: the supervisor does not run", hint="run `fraudctl deploy`")
        alive = info.state in {"RUNNING", "STARTING"}
        if alive and fresh:
            raise OperationFailed(
                "flink: it runs, so it cannot start without its state", hint="run `fraudctl flink stop` first"
            )
        self._stopped.unlink(missing_ok=True)
        if alive and self.running():
            yield Event(NAME, Phase.DONE, "running already")
            return
        if fresh:
            self._folders.fresh.touch()
        yield Event(NAME, Phase.STARTED, "starting the application")
        if not alive:
            self._supervisor.start_program(NAME)
        for _ in waiting.until(self._up, seconds=_START_SECONDS, what=NAME, hint=_HINT, sleep=self._sleep):
            yield Event(NAME, Phase.PROGRESS, "starting the application")
        yield Event(NAME, Phase.DONE, f"running, web UI {self._rest.address}")

    def stop(self, *, savepoint: bool = True) -> Iterator[Event]:
        """Stop the job, with a savepoint unless told otherwise, and wait until its JVM has ended."""
        info = self._supervisor.programs().get(NAME)
        if info is None:
            raise Unreachable("flink: the supervisor does not run", hint="run `fraudctl deploy`")
        if info.state not in {"RUNNING", "STARTING"}:
            self._end()  # it may be between two attempts to start
            yield Event(NAME, Phase.DONE, "stopped already")
            return
        job = self._job() if savepoint else None
        if job is None:
            yield Event(NAME, Phase.STARTED, "stopping")
            self._end()
            yield Event(NAME, Phase.DONE, "stopped without a savepoint; it resumes from its newest checkpoint")
            return
        yield Event(NAME, Phase.STARTED, "taking a savepoint")
        # Flink drops the request while a vertex is still starting, and the job just goes on.
        for _ in waiting.until(self.running, seconds=_START_SECONDS, what=NAME, hint=_NO_SAVEPOINT, sleep=self._sleep):
            yield Event(NAME, Phase.PROGRESS, "waiting for every vertex to run")
        location = yield from self._stop_with_savepoint(str(job["jid"]))
        for _ in waiting.until(self._ended, seconds=_STOP_SECONDS, what=NAME, hint=_HINT, sleep=self._sleep):
            yield Event(NAME, Phase.PROGRESS, "waiting for the JVM to end")
        yield Event(NAME, Phase.DONE, f"stopped, savepoint {Path(location).name}")

    def status(self) -> FlinkStatus:
        """Ask the REST API; the state is STOPPED when the program does not run."""
        info = self._supervisor.programs().get(NAME)
        if info is None or info.state not in {"RUNNING", "STARTING"}:
            return FlinkStatus(state="STOPPED")
        job = self._job()
        if job is None:
            return FlinkStatus(state="STARTING", web_ui=self._rest.address)
        job_id = str(job["jid"])
        checkpoints = self._rest.get(f"/jobs/{job_id}/checkpoints")
        newest = (checkpoints.get("latest") or {}).get("completed") or {}
        restored = (checkpoints.get("latest") or {}).get("restored") or {}
        root = self._rest.get(f"/jobs/{job_id}/exceptions").get("root-exception")
        state = str(job["state"])
        if state == "RUNNING" and not all_running(job):
            state = "STARTING"
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
            exception=root.splitlines()[0] if root else None,
            metrics=self._metrics(job_id),
        )

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

    def _job(self) -> Mapping[str, Any] | None:
        jobs = self._rest.get("/jobs/overview", timeout=3)["jobs"]
        return max(jobs, key=lambda job: job["start-time"], default=None)

    def _up(self) -> bool:
        if self.running():
            return True
        info = self._supervisor.programs().get(NAME)
        if info is not None and info.state in {"FATAL", "EXITED"}:
            raise OperationFailed(f"flink: the application ended: {info.detail}", hint=_HINT)
        return False

    def _end(self) -> None:
        self._stopped.touch()
        self._supervisor.stop_program(NAME)

    def _ended(self) -> bool:
        info = self._supervisor.programs().get(NAME)
        return info is None or info.state not in {"RUNNING", "STARTING", "STOPPING"}

    def _stop_with_savepoint(self, job_id: str) -> Generator[Event, None, str]:
        body = {"targetDirectory": f"file://{self._folders.savepoints}", "drain": False}
        before = {savepoint.location for savepoint in self.savepoints()}
        self._stopped.touch()  # from here on its end is no accident
        trigger = self._rest.post(f"/jobs/{job_id}/stop", body)["request-id"]
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = self._rest.get(f"/jobs/{job_id}/savepoints/{trigger}")
            except Unreachable:  # the JVM ends as soon as the savepoint is complete, often before it is asked
                return self._newest_since(before)
            operation = answer.get("operation") or {}
            if answer["status"]["id"] == "COMPLETED":
                if "failure-cause" in operation:
                    self._stopped.unlink(missing_ok=True)  # the job runs on
                    why = str(operation["failure-cause"].get("stack-trace", "")).splitlines()
                    raise OperationFailed(f"flink: no savepoint: {why[0] if why else 'unknown'}", hint=_HINT)
                return str(operation["location"])
            yield Event(NAME, Phase.PROGRESS, "taking a savepoint")
            self._sleep(0.1)
        raise TimedOut(f"flink: no savepoint after {_STOP_SECONDS:.0f} s", hint="run `fraudctl flink status`")

    def _newest_since(self, before: set[str]) -> str:
        for savepoint in self.savepoints():
            if savepoint.kind == "savepoint" and savepoint.location not in before:
                return savepoint.location
        raise OperationFailed("flink: the application ended without a savepoint", hint=_HINT)

    def _metrics(self, job_id: str) -> dict[str, int | float]:
        """Give the application's own metrics, added up over its operators."""
        found: dict[str, int | float] = {}
        for vertex in self._rest.get(f"/jobs/{job_id}").get("vertices", []):
            base = f"/jobs/{job_id}/vertices/{vertex['id']}/subtasks/metrics"
            ours = [m["id"] for m in self._rest.get(base) if _METRICS in m["id"]]
            if ours:
                for metric in self._rest.get(f"{base}?get={','.join(ours)}&agg=sum"):
                    name = metric["id"].rsplit(_METRICS, 1)[1]
                    found[name] = found.get(name, 0) + int(metric["sum"])
        return found


def all_running(job: Mapping[str, Any]) -> bool:
    """Say whether every task of a job runs, by the overview: Flink answers ``/jobs/ID`` from a cache of 3 s."""
    return bool(job["tasks"]["running"] == job["tasks"]["total"] > 0)
