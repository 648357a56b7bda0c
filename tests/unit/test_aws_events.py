"""Following an operation: hours of waiting, lost connections, expired credentials, Ctrl-C, and the way back."""

from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError
from stubs import STACK, STACK_ID, Aws, FakeTime, at, event, page

from fraudctl.aws.cloudformation.events import Followed, Operation, follow, latest
from fraudctl.aws.cloudformation.operations import Operations
from fraudctl.aws.errors import ConnectionLost, CredentialsExpired
from fraudctl.errors import OperationFailed, TimedOut
from fraudctl.target import Event, Phase

CLUSTER = "AWS::MSK::Cluster"
OPERATION = Operation(STACK_ID, STACK, "token")
LOST = EndpointConnectionError(endpoint_url="https://cloudformation.eu-west-1.amazonaws.com")


def look(aws: Aws, *events: dict[str, Any], **more: Any) -> None:
    """Expect a look at the events; what happened before is on the page too."""
    aws.on("cloudformation").describe_stack_events(StackName=STACK_ID).returns(page(*events, **more))


def run(aws: Aws, time: FakeTime, operation: Operation = OPERATION) -> tuple[list[Event], Followed]:
    """Follow to the end."""
    ended = Followed()
    return list(follow(aws.client("cloudformation"), time.clock(), operation, ended)), ended


BEGUN = event(STACK, "CREATE_IN_PROGRESS")
CREATING = event("Cluster", "CREATE_IN_PROGRESS", CLUSTER)
CREATED = event("Cluster", "CREATE_COMPLETE", CLUSTER)
ENDED = event(STACK, "CREATE_COMPLETE")


def test_half_an_hour_of_a_cluster() -> None:
    """Hundreds of looks without news: each event is told once, with how long clusters take; polling slows to 5 s."""
    time = FakeTime()
    with Aws() as aws:
        look(aws, BEGUN)
        for _ in range(400):
            look(aws, BEGUN, CREATING)
        look(aws, BEGUN, CREATING, CREATED, ENDED)
        told, ended = run(aws, time)
    assert told == [
        Event("Cluster", Phase.PROGRESS, "creating; MSK clusters take 20–35 min"),
        Event("Cluster", Phase.DONE, "created"),
    ]
    assert (ended.status, ended.failures, ended.running) == ("CREATE_COMPLETE", [], {})
    assert max(time.slept) == 5.0
    assert 30 * 60 < time.at - 1_790_000_000 < 36 * 60


def test_events_of_other_operations_are_not_told() -> None:
    """Only what bears the operation's token; a page back is read as long as it is new."""
    old = event("Old", "DELETE_FAILED", ClientRequestToken="yesterday", reason="long ago", seconds=-100)
    with Aws() as aws:
        look(aws, CREATED, ENDED, NextToken="2")
        aws.on("cloudformation").describe_stack_events(StackName=STACK_ID, NextToken="2").returns(
            page(event(STACK, "CREATE_COMPLETE", EventId="older", ClientRequestToken="yesterday"), old, CREATING)
        )
        told, ended = run(aws, FakeTime())
    assert [item.detail for item in told] == ["creating; MSK clusters take 20–35 min", "created"]
    assert ended.failures == []


def test_cleaning_up_after_an_update_is_part_of_it() -> None:
    """UPDATE_COMPLETE comes after the clean-up; a resource removed in it is told."""
    with Aws() as aws:
        look(aws, event(STACK, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"), event("Old", "DELETE_IN_PROGRESS"))
        look(aws, event("Old", "DELETE_COMPLETE"), event(STACK, "UPDATE_COMPLETE"))
        told, ended = run(aws, FakeTime())
    assert [item.detail for item in told] == ["removing", "removed"]
    assert ended.status == "UPDATE_COMPLETE"


def test_a_rollback_is_said_aloud_and_keeps_the_failures() -> None:
    """What failed is noted at once; the end says how the stack stands."""
    with Aws() as aws:
        look(
            aws,
            event("AuditTable", "CREATE_FAILED", reason="name is taken"),
            event(STACK, "ROLLBACK_IN_PROGRESS", reason="The following resource(s) failed"),
            event(STACK, "ROLLBACK_COMPLETE"),
        )
        told, ended = run(aws, FakeTime())
    assert told[0] == Event("AuditTable", Phase.NOTE, "failed: name is taken")
    assert "it failed; rolling back (ROLLBACK_IN_PROGRESS)" in told[2].detail
    assert ended.status == "ROLLBACK_COMPLETE"
    assert [failure.reason for failure in ended.failures] == ["name is taken"]


def test_a_kept_resource_is_said_to_be_kept() -> None:
    """DELETE_SKIPPED is what Retain looks like."""
    with Aws() as aws:
        look(aws, event("AuditTable", "DELETE_SKIPPED"), event(STACK, "DELETE_COMPLETE"))
        told, _ = run(aws, FakeTime())
    assert told == [Event("AuditTable", Phase.DONE, "kept")]


@pytest.mark.parametrize("problem", ["lost", "throttled"])
def test_a_short_loss_is_waited_out(problem: str) -> None:
    """No answer, or an answer only to slow down: it goes on when AWS is back."""
    with Aws() as aws:
        look(aws, CREATING)
        for _ in range(3):
            call = aws.on("cloudformation").describe_stack_events(StackName=STACK_ID)
            if problem == "lost":
                call.raises(LOST)
            else:
                call.fails("Throttling", "Rate exceeded")
        look(aws, CREATING, CREATED, ENDED)
        told, ended = run(aws, FakeTime())
    assert [item.detail for item in told].count("AWS does not answer; trying again") == 3
    assert ended.status == "CREATE_COMPLETE"


def test_a_loss_between_two_pages_loses_no_events() -> None:
    """The first look at a long history: its first page, which has the end, is told once the others are read too."""
    url = "https://cloudformation.eu-west-1.amazonaws.com"
    with Aws() as aws:
        for lost in (True, False):
            look(aws, CREATED, ENDED, NextToken="2")
            second = aws.on("cloudformation").describe_stack_events(StackName=STACK_ID, NextToken="2")
            if lost:
                second.raises(ConnectTimeoutError(endpoint_url=url))
            else:
                second.returns(page(BEGUN, CREATING))
        told, ended = run(aws, FakeTime())
    assert [item.detail for item in told] == [
        "AWS does not answer; trying again",
        "creating; MSK clusters take 20–35 min",
        "created",
    ]
    assert ended.status == "CREATE_COMPLETE"


def test_a_long_loss_says_what_goes_on_and_how_to_come_back() -> None:
    """After five minutes: exit 4, the resource that AWS is working on, and the command."""
    time = FakeTime()
    with Aws() as aws:
        look(aws, CREATING)
        for _ in range(66):
            aws.on("cloudformation").describe_stack_events(StackName=STACK_ID).raises(LOST)
        with pytest.raises(ConnectionLost, match="AWS goes on with fraud-detection: Cluster creating") as caught:
            run(aws, time)
    assert caught.value.exit_code == 4
    assert caught.value.hint == "when the network is back, `fraudctl deploy --attach` follows it"
    assert 300 < time.at - 1_790_000_000 < 315


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException", "RequestExpired"])
def test_credentials_that_end_in_the_middle(code: str) -> None:
    """The deploy goes on in AWS; signing in and attaching are the way back."""
    with Aws() as aws:
        look(aws, CREATING)
        aws.on("cloudformation").describe_stack_events(StackName=STACK_ID).fails(code, "The security token is expired")
        with pytest.raises(CredentialsExpired, match="AWS goes on with fraud-detection: Cluster creating") as caught:
            run(aws, FakeTime())
    assert caught.value.exit_code == 4
    assert caught.value.hint == "sign in again (`aws sso login`), then `fraudctl deploy --attach` follows it"


def test_after_three_hours_it_times_out() -> None:
    """Exit 6: still running; attaching goes on watching."""
    time = FakeTime()
    with Aws() as aws:
        look(aws, CREATING)
        look(aws, CREATING)
        time.on_sleep = lambda: setattr(time, "at", time.at + 3 * 3600)
        with pytest.raises(TimedOut, match="Cluster creating after three hours") as caught:
            run(aws, time)
    assert "deploy --attach" in str(caught.value.hint)


def test_ctrl_c_says_what_goes_on() -> None:
    """The last thing heard names the resource and the command; then the interrupt goes on."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with Aws() as aws:
        look(aws, CREATING)
        clock = FakeTime(on_sleep=interrupt).clock()
        steps = Operations(aws.client("cloudformation"), clock, STACK, lambda: "token").follow(OPERATION, "deploy")
        heard = [next(steps), next(steps), next(steps)]
        with pytest.raises(KeyboardInterrupt):
            next(steps)
    assert heard[2].phase is Phase.NOTE
    assert heard[2].detail == (
        "AWS goes on with fraud-detection (Cluster creating); `fraudctl deploy --attach` follows it"
    )


def test_attaching_finds_the_running_operation_by_its_token() -> None:
    """The newest event of the stack itself bears the token, also during a rollback."""
    with Aws() as aws:
        look(aws, BEGUN, event(STACK, "ROLLBACK_IN_PROGRESS", ClientRequestToken="now"), CREATING)
        assert latest(aws.client("cloudformation"), STACK_ID, STACK) == Operation(STACK_ID, STACK, "now")


def test_attaching_finds_an_operation_without_a_token_by_its_begin() -> None:
    """One that was started elsewhere: everything since its first event, nothing before."""
    before = event("Old", "CREATE_FAILED", reason="yesterday", seconds=-900, EventId="0", ClientRequestToken=None)
    begin = event(STACK, "UPDATE_IN_PROGRESS", seconds=10, ClientRequestToken=None)
    rolls = event(STACK, "UPDATE_ROLLBACK_IN_PROGRESS", seconds=20, ClientRequestToken=None)
    end = event(STACK, "UPDATE_ROLLBACK_COMPLETE", seconds=30, ClientRequestToken=None)
    with Aws() as aws:
        look(aws, before, begin, rolls)
        found = latest(aws.client("cloudformation"), STACK_ID, STACK)
        assert found == Operation(STACK_ID, STACK, since=at(10))
        look(aws, before, begin, rolls, end)
        _, ended = run(aws, FakeTime(), found)
    assert (ended.status, ended.failures) == ("UPDATE_ROLLBACK_COMPLETE", [])


def test_a_failed_operation_raises_its_root_cause() -> None:
    """Followed to a rollback: exit 5, with the resource that failed first."""
    with Aws() as aws:
        look(
            aws,
            event("Cluster", "CREATE_FAILED", CLUSTER, reason="Unsupported InstanceType"),
            event(STACK, "ROLLBACK_COMPLETE"),
        )
        aws.on("cloudformation").describe_events(StackName=STACK_ID, Filters={"FailedEvents": True}).fails(
            "AccessDenied"
        )
        steps = Operations(aws.client("cloudformation"), FakeTime().clock(), STACK, lambda: "token")
        with pytest.raises(OperationFailed, match=r"Cluster \(AWS::MSK::Cluster\): Unsupported InstanceType") as caught:
            list(steps.follow(OPERATION, "deploy"))
    assert "--set KafkaInstanceType=kafka.m7g.large" in str(caught.value.hint)
