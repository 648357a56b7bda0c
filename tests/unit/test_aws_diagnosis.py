"""Root causes: the earliest real one first, with what to do about it."""

from typing import Any

import pytest
from stubs import STACK, STACK_ID, Aws, at

from fraudctl.aws.cloudformation.diagnosis import advice, explain
from fraudctl.aws.cloudformation.events import Failure, Followed, Operation

OPERATION = Operation(STACK_ID, STACK, "token")
FILTER = {"FailedEvents": True}


def failed(
    name: str, reason: str, seconds: int, kind: str = "AWS::Lambda::Function", mark: str = "token"
) -> dict[str, Any]:
    """Return one of DescribeEvents' failed events."""
    return {
        "LogicalResourceId": name,
        "ResourceType": kind,
        "ResourceStatusReason": reason,
        "Timestamp": at(seconds),
        "ClientRequestToken": mark,
    }


def test_the_earliest_real_cause_comes_first_and_the_rest_is_for_verbose() -> None:
    """Cancelled resources, the stack's own failure and earlier operations are no causes; pages are read to the end."""
    with Aws() as aws:
        aws.on("cloudformation").describe_events(StackName=STACK_ID, Filters=FILTER).returns(
            {
                "OperationEvents": [
                    failed(
                        STACK, "The following resource(s) failed to create: [A, B].", 9, "AWS::CloudFormation::Stack"
                    ),
                    failed("C", "Resource creation cancelled", 8),
                    failed("B", "second reason", 7),
                ],
                "NextToken": "2",
            }
        )
        aws.on("cloudformation").describe_events(StackName=STACK_ID, Filters=FILTER, NextToken="2").returns(
            {"OperationEvents": [failed("A", "first reason", 6), failed("Z", "last week", -9, mark="old")]}
        )
        error = explain(aws.client("cloudformation"), OPERATION, Followed("ROLLBACK_COMPLETE"))
    assert str(error) == "deploy fraud-detection: A (AWS::Lambda::Function): first reason"
    assert error.exit_code == 5
    assert error.hint is not None
    assert error.hint.startswith("what was created is removed again, and the next deploy starts afresh; ")
    assert error.__notes__ == ["also: B (AWS::Lambda::Function): second reason"]


@pytest.mark.parametrize("answer", ["denied", "nothing"])
def test_without_events_of_failures_the_stacks_own_events_do(answer: str) -> None:
    """Old endpoints, missing permissions and empty answers: what was seen while following is used."""
    seen = [Failure("C", "T", "Resource update cancelled"), Failure("A", "T", "real"), Failure("B", "T", "later")]
    with Aws() as aws:
        call = aws.on("cloudformation").describe_events(StackName=STACK_ID, Filters=FILTER)
        if answer == "denied":
            call.fails("AccessDenied", "not authorized to perform cloudformation:DescribeEvents")
        else:
            call.returns({"OperationEvents": []})
        error = explain(aws.client("cloudformation"), OPERATION, Followed("UPDATE_ROLLBACK_COMPLETE", seen))
    assert str(error) == "deploy fraud-detection: A (T): real"
    assert str(error.hint).startswith("everything is as it was before; ")
    assert error.__notes__ == ["also: B (T): later", "also: C (T): Resource update cancelled"]


def test_a_failure_without_a_resource_names_the_status() -> None:
    """There is always something to go by."""
    with Aws() as aws:
        aws.on("cloudformation").describe_events(StackName=STACK_ID, Filters=FILTER).returns({"OperationEvents": []})
        error = explain(aws.client("cloudformation"), OPERATION, Followed("UPDATE_ROLLBACK_FAILED"))
    assert "it ended in UPDATE_ROLLBACK_FAILED and names no resource" in str(error)
    assert "deploy --continue-rollback" in str(error)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("Unsupported InstanceType", "--set KafkaInstanceType=kafka.m7g.large"),
        ("The maximum number of VPCs has been reached. (LimitExceeded)", "Service Quotas"),
        ("User: x is not authorized to perform: iam:CreateRole", "permission"),
        ("fraud-detection-audit already exists in stack y", "another --stack"),
        ("We currently do not have sufficient capacity. InsufficientCapacity", "another --region"),
        ("resource sg-1 has a dependent object (DependencyViolation)", "within 40 min"),
        ("The bucket you tried to delete is not empty", "empties its buckets"),
        ("S3 Error Code: NoSuchKey", "uploads anew"),
        ("Exceeded attempts to wait", "AWS was too slow"),
        ("something nobody has seen", "--verbose"),
    ],
)
def test_known_reasons_come_with_what_to_do(reason: str, expected: str) -> None:
    """Each known reason has its next step, an unknown one says where the rest is."""
    assert expected in advice(Failure("A", "T", reason))
