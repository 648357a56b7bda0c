"""The clock that makes sample transactions: one EventBridge schedule."""

from collections.abc import Callable
from typing import Any, Final

from botocore.exceptions import ClientError

from fraudctl.aws.errors import asking
from fraudctl.errors import NotDeployed
from fraudctl.target import ScheduleStatus

_KEPT: Final = (
    *("Name", "GroupName", "ScheduleExpression", "ScheduleExpressionTimezone", "StartDate", "EndDate"),
    *("Description", "KmsKeyArn", "Target", "FlexibleTimeWindow", "ActionAfterCompletion"),
)


class AwsSchedule:
    """Switches the schedule; `name` gives its name once it is needed."""

    def __init__(self, scheduler: Callable[[], Any], name: Callable[[], str]) -> None:
        """Store where to ask."""
        self._scheduler, self._name = scheduler, name

    def start(self) -> bool:
        """Switch it on; False when it was on already."""
        return self._switch("ENABLED")

    def stop(self) -> bool:
        """Switch it off; False when it was off already."""
        return self._switch("DISABLED")

    def status(self) -> ScheduleStatus:
        """Return whether it is on."""
        return ScheduleStatus(enabled=self._get()["State"] == "ENABLED")

    def _switch(self, state: str) -> bool:
        found = self._get()
        if found["State"] == state:
            return False
        # UpdateSchedule replaces the whole definition: what is left out falls back to its default.
        kept = {key: found[key] for key in _KEPT if found.get(key) is not None}
        with asking(f"schedule {found['Name']}"):
            self._scheduler().update_schedule(**kept, State=state)
        return True

    def _get(self) -> dict[str, Any]:
        name = self._name()
        group, _, short = name.rpartition("|")  # CloudFormation calls a schedule GROUP|NAME in some places
        with asking(f"schedule {name}"):
            try:
                found: dict[str, Any] = self._scheduler().get_schedule(
                    Name=short, **({"GroupName": group} if group else {})
                )
            except ClientError as error:
                if error.response["Error"]["Code"] == "ResourceNotFoundException":
                    raise NotDeployed(f"schedule {short}: it is not there", hint="run `fraudctl deploy`") from error
                raise
        return found
