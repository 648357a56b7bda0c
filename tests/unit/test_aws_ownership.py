"""Whose a stack and the data of its name are: what is somebody else's is neither changed nor removed."""

from collections.abc import Callable
from typing import Any, Final

import pytest
from aws_bench import FIRST, Bench, change
from stubs import ACCOUNT, REGION, STACK, Aws, missing, tags

from fraudctl.aws.stack import AwsStack
from fraudctl.errors import Refused

ASKING: Final[tuple[Callable[[AwsStack], Any], ...]] = (
    lambda it: it.plan(),
    lambda it: list(it.attach()),
    lambda it: list(it.continue_rollback()),
)


@pytest.mark.parametrize("owner", ["other", None])
@pytest.mark.parametrize(
    "status", ["UPDATE_COMPLETE", "UPDATE_ROLLBACK_FAILED", "ROLLBACK_COMPLETE", "CREATE_FAILED", "CREATE_IN_PROGRESS"]
)
def test_a_stack_of_somebody_else_is_left_alone(status: str, owner: str | None) -> None:
    """Only the tag says whose it is: it is neither updated, deleted, followed nor rolled back, whatever its state."""
    found: dict[str, Any] = {"Tags": tags(owner) if owner else [{"Key": "team", "Value": "payments"}], "outputs": {}}
    with Aws() as aws:
        bench = Bench(aws)
        for ask in ASKING:
            bench.identity()
            bench.found(status, **found)
            with pytest.raises(Refused, match="without the tag fraudctl:stack=fraud-detection,"):
                ask(bench.stack())


def test_a_stack_of_somebody_else_is_not_deployed_into_after_a_plan() -> None:
    """It is looked at again before anything is removed: consent may come late."""
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        bench.found("ROLLBACK_COMPLETE", outputs={})
        subject = bench.stack()
        plan = subject.plan()
        bench.found("ROLLBACK_COMPLETE", outputs={}, Tags=[])
        with pytest.raises(Refused, match="somebody else's"):
            list(subject.apply(plan))
    assert bench.release.steps == []


@pytest.mark.parametrize("owner", [STACK, "other", None])
def test_a_kept_bucket_is_adopted_if_it_has_the_tag(owner: str | None) -> None:
    """In the same account there may be somebody else's of this name, with another tag or with none."""
    name = {"Bucket": f"{STACK}-failed-{ACCOUNT}-{REGION}", "ExpectedBucketOwner": ACCOUNT}
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        missing(aws)
        aws.on("dynamodb").describe_table(TableName=f"{STACK}-audit").fails("ResourceNotFoundException")
        aws.on("s3").head_bucket(**name).returns()
        tagging = aws.on("s3").get_bucket_tagging(**name)
        if owner is None:
            tagging.fails("NoSuchTagSet")
        else:
            tagging.returns({"TagSet": tags(owner)})
        if owner == STACK:
            bench.free_cluster()
            adopted = {"ParameterKey": "AdoptOnFailureBucket", "ParameterValue": "true"}
            bench.change_set("CREATE", [*FIRST, adopted], [change("Cluster", "AWS::MSK::Cluster")])
            assert bench.stack().plan().changes
        else:
            with pytest.raises(Refused, match=r"bucket fraud-detection-failed-\S+: .* somebody else's"):
                bench.stack().plan()
