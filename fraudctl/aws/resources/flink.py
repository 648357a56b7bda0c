"""The Flink application on Managed Service for Apache Flink.

A status alone says little: RUNNING comes back also after a failed update. So every start and stop is followed by its
operation, whose end says whether it worked and why not.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

from fraudctl.aws.errors import asking
from fraudctl.aws.resources.logs import AwsLogs
from fraudctl.aws.resources.metrics import Metrics
from fraudctl.aws.session import items
from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, FraudctlError, NotDeployed, OperationFailed, Refused, TimedOut
from fraudctl.pipeline.text import iso
from fraudctl.target import Event, FlinkStatus, Page, Phase, Savepoint

_POLL_SECONDS: Final = 0.5
_LONGEST_POLL_SECONDS: Final = 5.0
_WAIT_SECONDS: Final = 20 * 60.0
_BUSY: Final = frozenset({"STARTING", "STOPPING", "FORCE_STOPPING", "UPDATING", "AUTOSCALING", "MAINTENANCE"})
_MOVING: Final = _BUSY | {"ROLLING_BACK", "DELETING"}
_PAGE: Final = 50  # the most that ListApplicationSnapshots and ListApplicationOperations take
# Longer than any of them takes when all is well: a start some 90 s, an update with its snapshot a few minutes.
_STUCK_MS: Final = 15 * 60 * 1000
_HOUR_MS: Final = 60 * 60 * 1000
# As documented for an application (managed-flink, metrics-dimensions.md) → `FlinkStatus.metrics`.
_METRICS: Final = {
    "numRestarts": "restarts",
    "runningTime": "runningMs",
    "restartingTime": "restartingMs",
    "records_lag_max": "recordsLagMax",
}
_FAILED_CHECKPOINTS: Final = "numberOfFailedCheckpoints"
_CHECKPOINT_BYTES: Final = "lastCheckpointSize"
_LOG: Final = "`fraudctl logs flink` shows what it logged"
_MAINTENANCE: Final = "AWS is patching it: its job stops for 10 to 30 s and goes on from a snapshot by itself"


class AwsFlink:
    """Starts, stops and describes the application; `name` gives its name once it is needed.

    `metrics` and `logs` are what `status` needs beside the application.
    """

    def __init__(
        self,
        client: Callable[[], Any],
        name: Callable[[], str],
        clock: Clock,
        *,
        metrics: Metrics | None = None,
        logs: AwsLogs | None = None,
    ) -> None:
        """Store the collaborators; no I/O."""
        self._client, self._name, self._clock = client, name, clock
        self._watched, self._logs = metrics, logs

    def start(self, *, fresh: bool = False, accept_loss: bool = False) -> Iterator[Event]:
        """Start it from its newest snapshot and follow the operation to its end; nothing to do when it runs.

        Without a snapshot it starts without state: AWS does not say what restoring one that does not exist does.
        Raises `BadConfig` for `accept_loss`: what Kafka still has cannot be asked from outside the network.
        """
        if accept_loss:
            raise BadConfig(
                "--accept-loss: not on the aws target",
                hint="run `fraudctl flink start --fresh` to read from the oldest records that are left",
            )
        name = self._name()
        state = yield from self._settle(name)
        if state == "RUNNING" and fresh:
            raise OperationFailed(
                f"flink application {name}: it runs, so it cannot start without its state",
                hint="run `fraudctl flink stop` first",
            )
        if state == "RUNNING":
            yield Event("flink", Phase.DONE, "running")
            return
        anew = fresh or not self.savepoints()
        restore = "SKIP_RESTORE_FROM_SNAPSHOT" if anew else "RESTORE_FROM_LATEST_SNAPSHOT"
        yield Event("flink", Phase.STARTED, "starting, some 90 s")
        with asking(f"flink application {name}"):
            operation = (
                self._client()
                .start_application(
                    ApplicationName=name,
                    RunConfiguration={
                        # State that the jar does not know is a reason to stop and ask, not to drop it.
                        "FlinkRunConfiguration": {"AllowNonRestoredState": False},
                        "ApplicationRestoreConfiguration": {"ApplicationRestoreType": restore},
                    },
                )
                .get("OperationId")
            )
        yield from self._follow(name, operation, "starting", until="RUNNING")
        yield Event("flink", Phase.DONE, "running")

    def stop(self, *, savepoint: bool = True) -> Iterator[Event]:
        """Stop it, with a snapshot first unless told otherwise, and follow the operation to its end."""
        name = self._name()
        state = self._state(name) if not savepoint else (yield from self._settle(name))
        if state in {"READY", "DELETING"}:
            yield Event("flink", Phase.DONE, "stopped")
            return
        yield Event("flink", Phase.STARTED, "stopping, with a snapshot" if savepoint else "stopping by force")
        with asking(f"flink application {name}"):
            operation = self._client().stop_application(ApplicationName=name, Force=not savepoint).get("OperationId")
        yield from self._follow(name, operation, "stopping", until="READY")
        taken = self.savepoints()[:1] if savepoint else []
        yield Event("flink", Phase.DONE, f"stopped, snapshot {taken[0].location}" if taken else "stopped")

    def status(self) -> FlinkStatus:
        """Return what AWS documents: its state, the last operation, metrics of the last minutes, the first exception.

        RUNNING alone does not mean that its job works; restarts and the exception say whether it does.
        """
        name = self._name()
        state = self._state(name)
        last = self._last_operation(name)
        values = self._metrics(name)
        failed = values.get(_FAILED_CHECKPOINTS)
        size = values.get(_CHECKPOINT_BYTES, -1)
        trouble = state != "RUNNING" or bool(values.get("numRestarts")) or last.get("OperationStatus") == "FAILED"
        return FlinkStatus(
            state="STOPPED" if state == "READY" else state,
            note=self._note(state, last),
            last_operation=self._described(name, last),
            checkpoints_completed=None,
            checkpoints_failed=None if failed is None else int(failed),
            checkpoint_bytes=int(size) if size >= 0 else None,  # below zero until the first one
            exception=self._exception(last) if trouble else None,
            metrics={ours: int(values[theirs]) for theirs, ours in _METRICS.items() if theirs in values},
        )

    def savepoints(self) -> list[Savepoint]:
        """List the snapshots it can start from, newest first."""
        made = [
            # Whole milliseconds: what deletes a snapshot has to name its moment exactly.
            Savepoint(item["SnapshotName"], "snapshot", round(item["SnapshotCreationTimestamp"].timestamp() * 1000))
            for item in self.snapshots()
            if item["SnapshotStatus"] == "READY"
        ]
        return sorted(made, key=lambda snapshot: -snapshot.created_at)

    def snapshots(self) -> list[dict[str, Any]]:
        """Return all snapshots as AWS lists them, those being made or deleted too."""
        name, limit = self._name(), {"PageSize": _PAGE}
        with asking(f"snapshots of {name}"):
            return list(
                items(
                    self._client(),
                    "list_application_snapshots",
                    "SnapshotSummaries",
                    ApplicationName=name,
                    PaginationConfig=limit,
                )
            )

    def page(self) -> Page:
        """Return the address of Flink's own page, which has to be opened within three minutes; raises `Refused`."""
        name = self._name()
        if (state := self._state(name)) != "RUNNING":
            raise Refused(
                f"flink application {name}: it is {state}, and has a page only while it runs",
                hint="run `fraudctl flink start`",
            )
        with asking(f"flink application {name}"):
            found = self._client().create_application_presigned_url(ApplicationName=name, UrlType="FLINK_DASHBOARD_URL")
        return Page(str(found["AuthorizedUrl"]), "Open it within three minutes; whoever has it can.")

    def state(self) -> str:
        """Return its state as AWS names it; raises `NotDeployed`."""
        return self._state(self._name())

    def _settle(self, name: str) -> Generator[Event, None, str]:
        """Wait until no operation is running, and return the state then."""
        state = self._state(name)
        if state in _MOVING:
            running = self._running_operation(name)
            yield Event("flink", Phase.STARTED, f"it is {state}; waiting for that to end")
            if stuck := self._stuck(state, running):
                yield Event("flink", Phase.NOTE, stuck)
            yield from self._follow(name, running.get("OperationId"), state.lower(), until="")
            state = self._state(name)
        return state

    def _follow(self, name: str, operation: str | None, doing: str, *, until: str) -> Iterator[Event]:
        state = ""
        for _ in self._clock.poll(_POLL_SECONDS, longest=_LONGEST_POLL_SECONDS, within=_WAIT_SECONDS):
            status, why = self._operation(name, operation) if operation else ("", "")
            if status in {"FAILED", "CANCELLED"}:
                raise OperationFailed(f"flink application {name}: {doing} {status.lower()}: {why}", hint=_LOG)
            state = self._state(name)
            if (state == until or (not until and state not in _MOVING)) and status != "IN_PROGRESS":
                return
            if status == "SUCCESSFUL" and until and state not in _MOVING:
                raise OperationFailed(f"flink application {name}: it is {state} after {doing}", hint=_LOG)
            yield Event("flink", Phase.PROGRESS, f"{doing} ({state})")
        raise TimedOut(
            f"flink application {name}: still {state} after {_WAIT_SECONDS / 60:.0f} min", hint=self._by_force()
        )

    def _by_force(self) -> str:
        """Return how to stop it by force, and what that costs."""
        try:
            newest = next((f"of {iso(found.created_at)}" for found in self.savepoints()), None)
        except FraudctlError:
            newest = "that is newest"
        price = (
            f"its state since the snapshot {newest} is lost; it goes on from there"
            if newest
            else "its state is lost, for there is no snapshot; it reads both topics from the beginning"
        )
        return f"`fraudctl flink stop --no-savepoint` stops it by force: {price}"

    def _note(self, state: str, last: Mapping[str, Any]) -> str | None:
        if state == "MAINTENANCE":
            return _MAINTENANCE
        if state not in _MOVING:
            return None
        running = last if last.get("OperationStatus") == "IN_PROGRESS" else {}
        return self._stuck(state, running) or f"it is {state}; `fraudctl flink start` waits for that to end"

    def _stuck(self, state: str, running: Mapping[str, Any]) -> str | None:
        """Return what to do about an operation that takes longer than it should; None when it does not."""
        if "StartTime" not in running:
            return None
        for_ms = self._clock.now() * 1000 - running["StartTime"].timestamp() * 1000
        if for_ms < _STUCK_MS:
            return None
        return f"it has been {state} for {for_ms / 60_000:.0f} min and looks stuck; {self._by_force()}"

    def _metrics(self, name: str) -> Mapping[str, float]:
        if self._watched is None:
            return {}
        names = (*_METRICS, _FAILED_CHECKPOINTS, _CHECKPOINT_BYTES)
        return self._watched.newest("AWS/KinesisAnalytics", ("Application", name), names)

    def _exception(self, last: Mapping[str, Any]) -> str | None:
        """Return the first exception within an hour, and since the last operation began."""
        if self._logs is None:
            return None
        since = int(self._clock.now() * 1000) - _HOUR_MS
        if last:
            since = max(since, int(last["StartTime"].timestamp() * 1000))
        try:
            return self._logs.first_failure(since)
        except NotDeployed:  # nothing was logged yet
            return None

    def _last_operation(self, name: str) -> Mapping[str, Any]:
        """Return the operation that began last; empty when there was none, or this cannot be told."""
        with asking(f"flink application {name}"):
            try:
                found = self._client().list_application_operations(ApplicationName=name, Limit=_PAGE)
            except ClientError as error:
                if error.response["Error"]["Code"] == "UnsupportedOperationException":
                    return {}
                raise
        listed: list[dict[str, Any]] = found["ApplicationOperationInfoList"]
        return max(listed, key=lambda one: one["StartTime"], default={})

    def _described(self, name: str, last: Mapping[str, Any]) -> str | None:
        if not last:
            return None
        when = iso(int(last["StartTime"].timestamp() * 1000))
        said = f"{last['Operation']} of {when}: {last['OperationStatus']}"
        if last["OperationStatus"] == "FAILED":
            said += f": {self._operation(name, last['OperationId'])[1]}"
        return said

    def _operation(self, name: str, operation: str) -> tuple[str, str]:
        with asking(f"flink application {name}"):
            try:
                found = self._client().describe_application_operation(ApplicationName=name, OperationId=operation)
            except ClientError as error:
                if error.response["Error"]["Code"] in {"UnsupportedOperationException", "ResourceNotFoundException"}:
                    return "", ""
                raise
        details = found["ApplicationOperationInfoDetails"]
        why = details.get("OperationFailureDetails", {}).get("ErrorInfo", {}).get("ErrorString", "no reason given")
        return str(details["OperationStatus"]), " ".join(str(why).split())

    def _running_operation(self, name: str) -> Mapping[str, Any]:
        """Return the operation under way; empty when there is none."""
        with asking(f"flink application {name}"):
            found = self._client().list_application_operations(
                ApplicationName=name, OperationStatus="IN_PROGRESS", Limit=1
            )["ApplicationOperationInfoList"]
        return found[0] if found else {}

    def _state(self, name: str) -> str:
        return str(self.detail(name)["ApplicationStatus"])

    def detail(self, name: str | None = None) -> Mapping[str, Any]:
        """Return the application as AWS describes it; raises `NotDeployed`."""
        name = name or self._name()
        with asking(f"flink application {name}"):
            try:
                found: dict[str, Any] = self._client().describe_application(ApplicationName=name)["ApplicationDetail"]
            except ClientError as error:
                if error.response["Error"]["Code"] == "ResourceNotFoundException":
                    raise NotDeployed(
                        f"flink application {name}: it is not there", hint="run `fraudctl deploy`"
                    ) from error
                raise
        return found
