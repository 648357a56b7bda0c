"""Why an operation failed: the earliest real cause in one line, and what to do about it."""

import re
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from fraudctl.aws.cloudformation.events import Failure, Followed, Operation
from fraudctl.aws.session import items
from fraudctl.errors import OperationFailed

# Consequences, not causes: CloudFormation stops what runs beside the resource that failed.
_CONSEQUENCE: Final = re.compile(
    r"cancelled|canceled|The following resource\(s\) failed|Resource creation Initiated|^$", re.IGNORECASE
)
_ADVICE: Final = (
    (
        # kafka-consumer-group-id.md; a configuration of MSK keeps its versions, and its name.
        r"custom-named resource requires replac|ConsumerGroupId.*(cannot|can not|not supported|immutable)",
        "an older version made this; `fraudctl teardown --keep-data`, then `fraudctl deploy`: rows stay, topics do not",
    ),
    (
        r"Unsupported InstanceType|instance type .* not supported",
        "run `fraudctl deploy --set KafkaInstanceType=kafka.m7g.large`",
    ),
    (
        r"(limit|quota).*(exceed|reached)|LimitExceeded|has reached .* limit|maximum number",
        "raise that quota in the Service Quotas console, then `fraudctl deploy`",
    ),
    (
        r"AccessDenied|not authorized|UnauthorizedOperation|no identity-based policy",
        "ask for that permission, or deploy with another --profile",
    ),
    (
        r"already exists|AlreadyExists|is already in use|ResourceInUse",
        "remove or rename what has this name, or deploy under another --stack",
    ),
    (
        r"InsufficientCapacity|Insufficient capacity|not have enough .* capacity",
        "try again later, or in another --region",
    ),
    (
        r"NetworkInterface|DependencyViolation|has a dependent object|has dependencies",
        "network interfaces go by themselves within 40 min; run the command again then",
    ),
    (r"not empty|BucketNotEmpty", "run `fraudctl teardown` again: it empties its buckets"),
    (r"NoSuchKey|S3 Error Code|does not exist in S3|Access Denied.*S3", "run `fraudctl deploy` again: it uploads anew"),
    (r"NotStabilized|did not stabilize|timed? ?out|Exceeded attempts", "run `fraudctl deploy` again: AWS was too slow"),
)
_AGAIN: Final = "fix that, then run `fraudctl deploy` again; --verbose shows what else failed"


def explain(cfn: Any, operation: Operation, ended: Followed, *, doing: str = "deploy") -> OperationFailed:  # noqa: ANN401 - a boto3 client
    """Return the error to raise: the root cause in its message, the rest as notes that ``--verbose`` shows."""
    causes = _causes(cfn, operation) or [failure for failure in ended.failures if _is_cause(failure)]
    outcome = _outcome(ended.status)
    if not causes:
        return OperationFailed(
            f"{doing} {operation.stack}: it ended in {ended.status} and names no resource; {outcome}",
            hint="`aws cloudformation describe-stack-events` has all of it",
        )
    first = causes[0]
    error = OperationFailed(
        f"{doing} {operation.stack}: {first.logical_id} ({first.type}): {first.reason.strip()}",
        hint=f"{outcome}; {advice(first)}",
    )
    for failure in dict.fromkeys([*causes[1:], *ended.failures]):
        if failure.logical_id != first.logical_id:
            error.add_note(f"also: {failure.logical_id} ({failure.type}): {failure.reason}")
    return error


def advice(failure: Failure) -> str:
    """Return what to do about it."""
    for pattern, hint in _ADVICE:
        if re.search(pattern, failure.reason, re.IGNORECASE):
            return hint
    return _AGAIN


def _causes(cfn: Any, operation: Operation) -> list[Failure]:  # noqa: ANN401 - a boto3 client
    """Return the failed events of this operation, earliest first; none when CloudFormation cannot tell."""
    found: list[Failure] = []
    arguments: dict[str, Any] = {"StackName": operation.stack_id, "Filters": {"FailedEvents": True}}
    try:
        for event in items(cfn, "describe_events", "OperationEvents", **arguments):
            if operation.token and event.get("ClientRequestToken") != operation.token:
                continue  # of an earlier operation
            if operation.since and event["Timestamp"] < operation.since:
                continue
            reason = event.get("ResourceStatusReason") or event.get("ValidationStatusReason") or ""
            found.append(Failure(event.get("LogicalResourceId", "?"), event.get("ResourceType", "?"), reason))
    except (ClientError, BotoCoreError):
        return []  # not allowed, or an endpoint without it: the stack's events have to do
    return [failure for failure in reversed(found) if _is_cause(failure)]


def _is_cause(failure: Failure) -> bool:
    return failure.type != "AWS::CloudFormation::Stack" and not _CONSEQUENCE.search(failure.reason)


def _outcome(status: str) -> str:
    match status:
        case "UPDATE_ROLLBACK_COMPLETE":
            return "everything is as it was before"
        case "ROLLBACK_COMPLETE":
            return "what was created is removed again, and the next deploy starts afresh"
        case "UPDATE_ROLLBACK_FAILED":
            return "rolling back failed too: run `fraudctl deploy --continue-rollback`"
        case _:
            return f"the stack is in {status}"
