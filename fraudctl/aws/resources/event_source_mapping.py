"""The event source mapping that feeds the audit writer."""

from collections.abc import Iterator
from typing import Any, Final

from botocore.exceptions import ClientError

from fraudctl.aws.errors import asking
from fraudctl.clock import Clock
from fraudctl.errors import TimedOut
from fraudctl.target import Event, Phase

_NAME: Final = "mapping"
_POLL_SECONDS: Final = 3.0
_WAIT_SECONDS: Final = 15 * 60.0
_MOVING: Final = frozenset({"Creating", "Enabling", "Disabling", "Updating", "Deleting"})


def state(client: Any, uuid: str) -> str:  # noqa: ANN401 - a boto3 client
    """Return its state in Lambda's words; empty when it is not there."""
    if not uuid:
        return ""
    with asking("event source mapping"):
        try:
            return str(client.get_event_source_mapping(UUID=uuid)["State"])
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return ""
            raise


def switch(client: Any, clock: Clock, uuid: str, *, on: bool) -> Iterator[Event]:  # noqa: ANN401 - a boto3 client
    """Enable or disable it and wait until it is so; one that does not exist is left alone.

    Lambda refuses while an earlier change is under way, so that is waited for first.
    """
    wanted = "Enabled" if on else "Disabled"
    asked = False
    found = ""
    for _ in clock.poll(_POLL_SECONDS, within=_WAIT_SECONDS):
        found = state(client, uuid)
        if found in {wanted, ""}:
            break
        if not asked and found not in _MOVING:
            with asking("event source mapping"):
                client.update_event_source_mapping(UUID=uuid, Enabled=on)
            asked = True
        yield Event(_NAME, Phase.PROGRESS, f"{'enabling' if on else 'disabling'} ({found})")
    else:
        raise TimedOut(f"event source mapping: still {found}", hint="run the command again later")
    if found:
        yield Event(_NAME, Phase.DONE, wanted.lower())
