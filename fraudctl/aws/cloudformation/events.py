"""Following a stack operation by its events, however long it takes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from botocore.exceptions import ClientError

from fraudctl.aws import resource_types
from fraudctl.aws.errors import ConnectionLost, CredentialsExpired, Throttled, asking
from fraudctl.aws.session import items
from fraudctl.clock import Clock
from fraudctl.errors import TimedOut
from fraudctl.target import Event, Phase

_STACK: Final = "AWS::CloudFormation::Stack"
_POLL_SECONDS: Final = 0.3
_LONGEST_POLL_SECONDS: Final = 5.0
# A cluster may take two hours before CloudFormation itself gives up on it.
_PATIENCE_SECONDS: Final = 3 * 60 * 60.0
# How long AWS may be out of reach before following is given up; the operation goes on meanwhile.
_LOST_SECONDS: Final = 300.0
_VERBS: Final = {"CREATE": "creating", "UPDATE": "updating", "DELETE": "removing", "IMPORT": "importing"}
_DONE: Final = {"CREATE": "created", "UPDATE": "updated", "DELETE": "removed", "IMPORT": "imported"}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on a stack, known by the token it was started with, or by when it began.

    `resume` is the command of fraudctl that follows it again after an interruption.
    """

    stack_id: str
    stack: str
    token: str = ""
    since: datetime | None = None
    resume: str = "`fraudctl deploy --attach`"


@dataclass(frozen=True, slots=True)
class Failure:
    """One resource that failed, with AWS's reason."""

    logical_id: str
    type: str
    reason: str
    status: str = ""


@dataclass(slots=True)
class Followed:
    """How the operation ended: the stack's last status, and what failed, earliest first."""

    status: str = ""
    failures: list[Failure] = field(default_factory=list)
    running: dict[str, str] = field(default_factory=dict)


def follow(cfn: Any, clock: Clock, operation: Operation, ended: Followed) -> Iterator[Event]:  # noqa: ANN401 - a boto3 client
    """Yield what happens until the operation ends; `ended` then says how, and what ran when it was interrupted.

    Raises `CredentialsExpired`, `ConnectionLost` (after five minutes) or `TimedOut`; the operation goes on in AWS, and
    the message says what was going on.
    """
    seen: set[str] = set()
    lost_at: float | None = None
    poll = clock.poll(_POLL_SECONDS, longest=_LONGEST_POLL_SECONDS, within=_PATIENCE_SECONDS)
    for elapsed in poll:
        try:
            fresh = _fresh(cfn, operation, seen)
        except (ConnectionLost, Throttled) as error:
            lost_at = elapsed if lost_at is None else lost_at
            if elapsed - lost_at > _LOST_SECONDS:
                raise _left(error, operation, ended) from error
            yield Event(operation.stack, Phase.PROGRESS, "AWS does not answer; trying again")
            continue
        except CredentialsExpired as error:
            raise _left(error, operation, ended) from error
        lost_at = None
        for event in fresh:
            yield from _told(event, operation, ended)
        if ended.status:
            return
        if fresh:
            poll.restart()
    raise TimedOut(
        f"stack {operation.stack}: {_going_on(ended)} after three hours",
        hint=f"{operation.resume} follows it again",
    )


def latest(cfn: Any, stack_id: str, stack: str) -> Operation:  # noqa: ANN401 - a boto3 client
    """Return the operation that is running, or ran last, on a stack: by its token, else by when it began."""
    with asking(f"events of stack {stack}"):
        for event in items(cfn, "describe_stack_events", "StackEvents", StackName=stack_id):
            if not _of_stack(event, stack_id):
                continue
            if token := event.get("ClientRequestToken"):
                return Operation(stack_id, stack, token)
            if _begins(event):
                return Operation(stack_id, stack, since=event["Timestamp"])
    return Operation(stack_id, stack)


def going_on(operation: Operation, ended: Followed) -> str:
    """Return in one line what AWS is still doing, and how to come back."""
    return f"AWS goes on with {operation.stack} ({_going_on(ended)}); {operation.resume} follows it"


def _left(error: Exception, operation: Operation, ended: Followed) -> CredentialsExpired | ConnectionLost:
    kind = CredentialsExpired if isinstance(error, CredentialsExpired) else ConnectionLost
    first = "sign in again (`aws sso login`), then" if kind is CredentialsExpired else "when the network is back,"
    return kind(
        f"{error}. AWS goes on with {operation.stack}: {_going_on(ended)}",
        hint=f"{first} {operation.resume} follows it",
    )


def _going_on(ended: Followed) -> str:
    running = [f"{name} {verb}" for name, verb in ended.running.items()]
    return ", ".join(running[:4]) + (f" and {len(running) - 4} more" if len(running) > 4 else "") or "still running"  # noqa: PLR2004 - a line's worth


def _fresh(cfn: Any, operation: Operation, seen: set[str]) -> list[dict[str, Any]]:  # noqa: ANN401 - a boto3 client
    """Return the operation's unseen events, oldest first. They count as seen only once every page is read."""
    fresh: list[dict[str, Any]] = []
    read: set[str] = set()
    with asking(f"events of stack {operation.stack}"):
        try:
            for event in items(cfn, "describe_stack_events", "StackEvents", StackName=operation.stack_id):
                if event["EventId"] in seen or (operation.since and event["Timestamp"] < operation.since):
                    break  # newest first: what follows is seen, too, and its pages need not be read
                read.add(event["EventId"])
                if not operation.token or event.get("ClientRequestToken") == operation.token:
                    fresh.append(event)
        except ClientError as error:
            if "does not exist" in error.response["Error"]["Message"]:
                return []  # a stack that was asked for a moment ago
            raise
    seen |= read
    return fresh[::-1]


def _told(event: dict[str, Any], operation: Operation, ended: Followed) -> Iterator[Event]:
    status, name = event["ResourceStatus"], event["LogicalResourceId"]
    reason = event.get("ResourceStatusReason", "")
    if _of_stack(event, operation.stack_id):
        if not status.endswith("_IN_PROGRESS"):
            ended.status = status
        elif "ROLLBACK" in status and not status.endswith("CLEANUP_IN_PROGRESS"):
            yield Event(operation.stack, Phase.NOTE, f"it failed; rolling back ({status})")
        return
    verb, _, phase = status.partition("_")
    if phase == "IN_PROGRESS":
        usual = resource_types.of(event["ResourceType"]).waiting.get(verb)
        doing = _VERBS.get(verb, verb.lower())
        ended.running[name] = doing
        yield Event(name, Phase.PROGRESS, f"{doing}; {usual}" if usual else doing)
    elif status.endswith("_FAILED"):
        ended.running.pop(name, None)
        ended.failures.append(Failure(name, event["ResourceType"], reason, status))
        yield Event(name, Phase.NOTE, f"failed: {reason}")
        yield Event(name, Phase.DONE, "failed")
    elif name in ended.running or phase in {"COMPLETE", "SKIPPED"}:
        ended.running.pop(name, None)
        kept = resource_types.of(event["ResourceType"]).skipped
        yield Event(name, Phase.DONE, kept if phase == "SKIPPED" else _DONE.get(verb, verb.lower()))


def _of_stack(event: dict[str, Any], stack_id: str) -> bool:
    return event["ResourceType"] == _STACK and event.get("PhysicalResourceId") == stack_id


def _begins(event: dict[str, Any]) -> bool:
    """Whether it is an operation's first event; a rollback is only when a person asked to continue it."""
    status = event["ResourceStatus"]
    return status in {f"{verb}_IN_PROGRESS" for verb in _VERBS} or (
        status == "UPDATE_ROLLBACK_IN_PROGRESS" and event.get("ResourceStatusReason") == "User Initiated"
    )
