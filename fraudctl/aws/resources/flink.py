"""The Flink application on Managed Service for Apache Flink.

A status alone says little: RUNNING comes back also after a failed update. So every start and stop is followed by its
operation, whose end says whether it worked and why not.
"""

from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

from botocore.exceptions import ClientError

from fraudctl.aws.errors import asking
from fraudctl.aws.names import application_log_group
from fraudctl.aws.session import items
from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, NotDeployed, OperationFailed, TimedOut
from fraudctl.target import Event, FlinkStatus, Phase, Savepoint

_POLL_SECONDS: Final = 0.5
_LONGEST_POLL_SECONDS: Final = 5.0
_WAIT_SECONDS: Final = 20 * 60.0
_BUSY: Final = frozenset({"STARTING", "STOPPING", "FORCE_STOPPING", "UPDATING", "AUTOSCALING", "MAINTENANCE"})
_MOVING: Final = _BUSY | {"ROLLING_BACK", "DELETING"}
_PAGE: Final = 50  # the most that ListApplicationSnapshots takes


class AwsFlink:
    """Starts, stops and describes the application; `name` gives its name once it is needed."""

    def __init__(self, client: Callable[[], Any], name: Callable[[], str], clock: Clock) -> None:
        """Store the collaborators; no I/O."""
        self._client, self._name, self._clock = client, name, clock

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
        yield Event("flink", Phase.STARTED, "stopping")
        with asking(f"flink application {name}"):
            operation = self._client().stop_application(ApplicationName=name, Force=not savepoint).get("OperationId")
        yield from self._follow(name, operation, "stopping", until="READY")
        yield Event("flink", Phase.DONE, "stopped")

    def status(self) -> FlinkStatus:
        """Return its state as AWS reports it; RUNNING does not mean yet that its job works."""
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

    def state(self) -> str:
        """Return its state as AWS names it; raises `NotDeployed`."""
        return self._state(self._name())

    def _settle(self, name: str) -> Generator[Event, None, str]:
        """Wait until no operation is running, and return the state then."""
        state = self._state(name)
        if state in _MOVING:
            yield Event("flink", Phase.STARTED, f"it is {state}; waiting for that to end")
            yield from self._follow(name, self._running_operation(name), state.lower(), until="")
            state = self._state(name)
        return state

    def _follow(self, name: str, operation: str | None, doing: str, *, until: str) -> Iterator[Event]:
        state = ""
        for _ in self._clock.poll(_POLL_SECONDS, longest=_LONGEST_POLL_SECONDS, within=_WAIT_SECONDS):
            status, why = self._operation(name, operation) if operation else ("", "")
            if status in {"FAILED", "CANCELLED"}:
                raise OperationFailed(f"flink application {name}: {doing} {status.lower()}: {why}", hint=_log(name))
            state = self._state(name)
            if (state == until or (not until and state not in _MOVING)) and status != "IN_PROGRESS":
                return
            if status == "SUCCESSFUL" and until and state not in _MOVING:
                raise OperationFailed(f"flink application {name}: it is {state} after {doing}", hint=_log(name))
            yield Event("flink", Phase.PROGRESS, f"{doing} ({state})")
        raise TimedOut(
            f"flink application {name}: still {state} after {_WAIT_SECONDS / 60:.0f} min",
            hint="`fraudctl flink status` shows its state; `fraudctl flink stop --no-savepoint` stops it by force",
        )

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


def _log(name: str) -> str:
    return f"`aws logs tail {application_log_group(name)}` shows what it logged"
