"""The Flink application on Managed Service for Apache Flink.

A status alone says little: RUNNING comes back also after a failed update. So every start and stop is followed by its
operation, whose end says whether it worked and why not.
"""

from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

from botocore.exceptions import ClientError

from fraudctl.aws.errors import asking
from fraudctl.clock import Clock
from fraudctl.errors import NotDeployed, OperationFailed, TimedOut
from fraudctl.target import Event, FlinkStatus, Phase, Savepoint

_FIRST_POLL_SECONDS: Final = 0.5
_LAST_POLL_SECONDS: Final = 5.0
_WAIT_SECONDS: Final = 20 * 60.0
_BUSY: Final = frozenset({"STARTING", "STOPPING", "FORCE_STOPPING", "UPDATING", "AUTOSCALING", "MAINTENANCE"})
_MOVING: Final = _BUSY | {"ROLLING_BACK", "DELETING"}
_LOGS: Final = "run `fraudctl flink logs`"


class AwsFlink:
    """Starts, stops and describes the application; `name` gives its name once it is needed."""

    def __init__(self, client: Callable[[], Any], name: Callable[[], str], clock: Clock) -> None:
        """Keep where to ask."""
        self._client, self._name, self._clock = client, name, clock

    def start(self, *, fresh: bool = False) -> Iterator[Event]:
        """Start it from its newest snapshot and follow the operation to its end; nothing to do when it runs."""
        name = self._name()
        state = yield from self._settle(name)
        if state == "RUNNING":
            yield Event("flink", Phase.DONE, "running")
            return
        restore = "SKIP_RESTORE_FROM_SNAPSHOT" if fresh else "RESTORE_FROM_LATEST_SNAPSHOT"
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
        yield Event("flink", Phase.STARTED, "stopping")
        with asking(f"flink application {name}"):
            operation = self._client().stop_application(ApplicationName=name, Force=not savepoint).get("OperationId")
        yield from self._follow(name, operation, "stopping", until="READY")
        yield Event("flink", Phase.DONE, "stopped")

    def status(self) -> FlinkStatus:
        """Say how AWS sees it; RUNNING does not yet mean that its job is well."""
        state = self._state(self._name())
        return FlinkStatus(state="STOPPED" if state == "READY" else state)

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
        """Give all snapshots as AWS lists them, those being made or deleted too."""
        name = self._name()
        found: list[dict[str, Any]] = []
        arguments: dict[str, Any] = {"ApplicationName": name, "Limit": 50}
        with asking(f"snapshots of {name}"):
            while True:
                page = self._client().list_application_snapshots(**arguments)
                found += page["SnapshotSummaries"]
                if not (more := page.get("NextToken")):
                    return found
                arguments["NextToken"] = more

    def state(self) -> str:
        """Give AWS's word for its state; raises `NotDeployed`."""
        return self._state(self._name())

    def _settle(self, name: str) -> Generator[Event, None, str]:
        """Wait until no operation is under way, and give the state then."""
        state = self._state(name)
        if state in _MOVING:
            yield Event("flink", Phase.STARTED, f"it is {state}; waiting for that to end")
            yield from self._follow(name, self._running_operation(name), state.lower(), until="")
            state = self._state(name)
        return state

    def _follow(self, name: str, operation: str | None, doing: str, *, until: str) -> Iterator[Event]:
        deadline = self._clock.now() + _WAIT_SECONDS
        pause = _FIRST_POLL_SECONDS
        while True:
            status, why = self._operation(name, operation) if operation else ("", "")
            if status in {"FAILED", "CANCELLED"}:
                raise OperationFailed(f"flink application {name}: {doing} {status.lower()}: {why}", hint=_LOGS)
            state = self._state(name)
            if (state == until or (not until and state not in _MOVING)) and status != "IN_PROGRESS":
                return
            if status == "SUCCESSFUL" and until and state not in _MOVING:
                raise OperationFailed(f"flink application {name}: it is {state} after {doing}", hint=_LOGS)
            if self._clock.now() > deadline:
                raise TimedOut(
                    f"flink application {name}: still {state} after {_WAIT_SECONDS / 60:.0f} min",
                    hint="run `fraudctl flink status`; `fraudctl flink stop` forces a stuck one",
                )
            yield Event("flink", Phase.PROGRESS, f"{doing} ({state})")
            self._clock.sleep(pause)
            pause = min(pause * 1.5, _LAST_POLL_SECONDS)

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

    def _running_operation(self, name: str) -> str | None:
        with asking(f"flink application {name}"):
            found = self._client().list_application_operations(
                ApplicationName=name, OperationStatus="IN_PROGRESS", Limit=1
            )["ApplicationOperationInfoList"]
        return str(found[0]["OperationId"]) if found else None

    def _state(self, name: str) -> str:
        with asking(f"flink application {name}"):
            try:
                found = self._client().describe_application(ApplicationName=name)
            except ClientError as error:
                if error.response["Error"]["Code"] == "ResourceNotFoundException":
                    raise NotDeployed(
                        f"flink application {name}: it is not there", hint="run `fraudctl deploy`"
                    ) from error
                raise
        return str(found["ApplicationDetail"]["ApplicationStatus"])
