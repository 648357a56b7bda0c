"""Attaching: what comes after an operation that ended, or runs, while nobody watched."""

import pytest
from aws_bench import Bench
from stubs import ANY, STACK, STACK_ID, Aws, event, page

from fraudctl.errors import OperationFailed, Refused


def test_attaching_after_the_end_says_how_it_ended_and_goes_on() -> None:
    """Nothing runs: the last end is told, and the second pass done if it is due."""
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        bench.found("UPDATE_COMPLETE")
        bench.found("UPDATE_COMPLETE")
        bench.brokers()
        told = list(bench.stack().attach())
    assert "the last one ended in UPDATE_COMPLETE" in told[0].detail


@pytest.mark.parametrize("status", ["UPDATE_ROLLBACK_COMPLETE", "ROLLBACK_COMPLETE"])
def test_attaching_after_a_failure_raises_its_root_cause(status: str) -> None:
    """It ended while nobody watched: exit 5 with the resource that failed, as a moment before, and no second pass."""
    failed = event("Cluster", "UPDATE_FAILED", "AWS::MSK::Cluster", reason="Unsupported InstanceType")
    history = page(failed, event(STACK, status))
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        bench.found(status)
        for _ in ("which operation", "what happened"):
            aws.on("cloudformation").describe_stack_events(StackName=STACK_ID).returns(history)
        aws.on("cloudformation").describe_events(StackName=STACK_ID, Filters=ANY).fails("AccessDenied")
        steps = bench.stack().attach()
        assert f"the last one ended in {status}" in next(steps).detail
        with pytest.raises(OperationFailed, match=r"Cluster \(AWS::MSK::Cluster\): Unsupported InstanceType") as caught:
            list(steps)
    assert "--set KafkaInstanceType=kafka.m7g.large" in str(caught.value.hint)


def test_attaching_after_a_failure_whose_events_are_gone_does_not_wait() -> None:
    """There is nothing to follow: exit 5 with what is known."""
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        bench.found("UPDATE_ROLLBACK_COMPLETE")
        bench.operation()
        aws.on("cloudformation").describe_events(StackName=STACK_ID, Filters=ANY).returns({"OperationEvents": []})
        with pytest.raises(OperationFailed, match="it ended in UPDATE_ROLLBACK_COMPLETE"):
            list(bench.stack().attach())


def test_attaching_to_the_shell_of_a_plan_says_that_nothing_runs() -> None:
    """REVIEW_IN_PROGRESS has no operation and never ends by itself; without tags it is still ours."""
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        bench.found("REVIEW_IN_PROGRESS", outputs={})
        with pytest.raises(OperationFailed, match="no operation is running") as caught:
            list(bench.stack().attach())
    assert caught.value.hint == "run `fraudctl deploy`"


def test_attaching_to_a_deletion_is_refused() -> None:
    """Following a teardown is teardown's."""
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        bench.found("DELETE_IN_PROGRESS")
        with pytest.raises(Refused, match="being torn down"):
            list(bench.stack().attach())
