"""The application on Managed Flink: every start and stop is followed by its operation, never by the status alone."""

from datetime import UTC, datetime
from typing import Any

import pytest
from aws_bench import Bench
from stubs import Aws, FakeTime

from fraudctl.aws.resources.flink import AwsFlink
from fraudctl.aws.resources.schedule import AwsSchedule
from fraudctl.errors import NotDeployed, OperationFailed, TimedOut
from fraudctl.target import Phase

NAME = "fraud-detection-detection"


def flink(aws: Aws, time: FakeTime | None = None) -> AwsFlink:
    """Return what is tested."""
    return AwsFlink(lambda: aws.client("kinesisanalyticsv2"), lambda: NAME, (time or FakeTime()).clock())


def started(aws: Aws, restore: str = "RESTORE_FROM_LATEST_SNAPSHOT") -> None:
    """Expect the application to be started."""
    aws.on("kinesisanalyticsv2").start_application(
        ApplicationName=NAME,
        RunConfiguration={
            "FlinkRunConfiguration": {"AllowNonRestoredState": False},
            "ApplicationRestoreConfiguration": {"ApplicationRestoreType": restore},
        },
    ).returns({"OperationId": "op-1"})


def snapshots(aws: Aws, *names: str) -> None:
    """Expect the question for the snapshots."""
    moment = datetime(2026, 11, 24, tzinfo=UTC)
    found = [
        {
            "SnapshotName": name,
            "SnapshotStatus": "READY",
            "ApplicationVersionId": 1,
            "SnapshotCreationTimestamp": moment,
        }
        for name in names
    ]
    aws.on("kinesisanalyticsv2").list_application_snapshots(ApplicationName=NAME, Limit=50).returns(
        {"SnapshotSummaries": found}
    )


def operation(aws: Aws, status: str, why: str = "") -> None:
    """Expect the question for the operation."""
    moment = datetime(2026, 11, 24, tzinfo=UTC)
    details: dict[str, Any] = {"Operation": "StartApplication", "StartTime": moment, "EndTime": moment}
    details |= {"OperationStatus": status}
    if why:
        details["OperationFailureDetails"] = {"ErrorInfo": {"ErrorString": why}}
    aws.on("kinesisanalyticsv2").describe_application_operation(ApplicationName=NAME, OperationId="op-1").returns(
        {"ApplicationOperationInfoDetails": details}
    )


def test_a_start_is_followed_to_its_end() -> None:
    """Through STARTING until the operation succeeded and it runs."""
    with Aws() as aws:
        bench = Bench(aws)
        bench.application("READY")
        snapshots(aws, "newest")
        started(aws)
        for _ in range(20):
            operation(aws, "IN_PROGRESS")
            bench.application("STARTING")
        operation(aws, "SUCCESSFUL")
        bench.application("RUNNING")
        told = list(flink(aws).start())
    assert (told[0].detail, told[-1].detail) == ("starting, some 90 s", "running")
    assert told[1].detail == "starting (STARTING)"


def test_a_first_start_restores_nothing() -> None:
    """There is no snapshot yet, and what AWS does when asked to restore the newest of none is not documented."""
    with Aws() as aws:
        bench = Bench(aws)
        bench.application("READY")
        snapshots(aws)
        started(aws, "SKIP_RESTORE_FROM_SNAPSHOT")
        operation(aws, "SUCCESSFUL")
        bench.application("RUNNING")
        assert list(flink(aws).start())[-1].detail == "running"


def test_a_failed_start_says_why() -> None:
    """The operation's own text, in one line."""
    with Aws() as aws:
        Bench(aws).application("READY")
        started(aws, "SKIP_RESTORE_FROM_SNAPSHOT")
        operation(aws, "FAILED", "org.apache.flink.FlinkException:\n  code is missing")
        with pytest.raises(OperationFailed, match=r"starting failed: .*FlinkException: code is missing"):
            list(flink(aws).start(fresh=True))


def test_a_start_that_ends_where_it_began_is_a_failure() -> None:
    """The operation succeeded, the application does not run: RUNNING is what was asked for."""
    with Aws() as aws:
        Bench(aws).application("READY")
        snapshots(aws, "newest")
        started(aws)
        operation(aws, "SUCCESSFUL")
        Bench(aws).application("READY")
        with pytest.raises(OperationFailed, match="it is READY after starting"):
            list(flink(aws).start())


def test_a_running_application_is_left_alone() -> None:
    """One question."""
    with Aws() as aws:
        Bench(aws).application("RUNNING")
        assert [item.phase for item in flink(aws).start()] == [Phase.DONE]


def test_an_update_that_is_under_way_is_waited_for() -> None:
    """Its operation is found and followed; a failed one is said."""
    with Aws() as aws:
        Bench(aws).application("UPDATING")
        aws.on("kinesisanalyticsv2").list_application_operations(
            ApplicationName=NAME, OperationStatus="IN_PROGRESS", Limit=1
        ).returns({"ApplicationOperationInfoList": [{"OperationId": "op-1"}]})
        operation(aws, "FAILED", "rolled back")
        with pytest.raises(OperationFailed, match="updating failed: rolled back"):
            list(flink(aws).start())


def test_a_forced_stop_does_not_wait_for_anything() -> None:
    """It takes no snapshot; that is how a stuck application is stopped too."""
    with Aws() as aws:
        Bench(aws).application("UPDATING")
        aws.on("kinesisanalyticsv2").stop_application(ApplicationName=NAME, Force=True).returns({"OperationId": "op-1"})
        operation(aws, "SUCCESSFUL")
        Bench(aws).application("READY")
        assert list(flink(aws).stop(savepoint=False))[-1].detail == "stopped"


def test_a_start_that_never_ends_times_out() -> None:
    """Exit 6 after twenty minutes."""
    time = FakeTime()
    with Aws() as aws:
        Bench(aws).application("READY")
        snapshots(aws, "newest")
        started(aws)
        for _ in range(2):
            operation(aws, "IN_PROGRESS")
            Bench(aws).application("STARTING")
        time.on_sleep = lambda: setattr(time, "at", time.at + 1201)
        with pytest.raises(TimedOut, match="still STARTING after 20 min"):
            list(flink(aws, time).start())


def test_without_an_application() -> None:
    """Exit 3."""
    with Aws() as aws:
        aws.on("kinesisanalyticsv2").describe_application(ApplicationName=NAME).fails("ResourceNotFoundException")
        with pytest.raises(NotDeployed):
            flink(aws).status()


def test_snapshots_come_newest_first_over_all_pages() -> None:
    """Only those that can be used; their moment is exact to the millisecond."""

    def snapshot(name: str, millisecond: int, status: str = "READY") -> dict[str, Any]:
        moment = datetime(2026, 11, 24, 10, 0, 0, millisecond * 1000, UTC)
        found = {"SnapshotName": name, "SnapshotStatus": status, "ApplicationVersionId": 1}
        return found | {"SnapshotCreationTimestamp": moment}

    with Aws() as aws:
        listed = aws.on("kinesisanalyticsv2")
        listed.list_application_snapshots(ApplicationName=NAME, Limit=50).returns(
            {"SnapshotSummaries": [snapshot("a", 123), snapshot("b", 1, "DELETING")], "NextToken": "2"}
        )
        listed.list_application_snapshots(ApplicationName=NAME, Limit=50, NextToken="2").returns(
            {"SnapshotSummaries": [snapshot("c", 124)]}
        )
        found = flink(aws).savepoints()
    assert [item.location for item in found] == ["c", "a"]
    assert found[1].created_at % 1000 == 123


def test_the_schedule_is_switched_with_all_it_has() -> None:
    """UpdateSchedule replaces the definition, so everything else is sent again; switching twice is one call."""
    kept = {
        "Name": "fraud-detection-samples",
        "GroupName": "default",
        "ScheduleExpression": "rate(1 minute)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": "arn:aws:lambda:x", "RoleArn": "arn:aws:iam::1:role/x", "Input": "{}"},
    }
    with Aws() as aws:
        schedule = AwsSchedule(lambda: aws.client("scheduler"), lambda: "fraud-detection-samples")
        aws.on("scheduler").get_schedule(Name="fraud-detection-samples").returns({**kept, "State": "ENABLED"})
        aws.on("scheduler").update_schedule(**kept, State="DISABLED").returns({"ScheduleArn": "arn:aws:scheduler:x"})
        assert schedule.stop()
        aws.on("scheduler").get_schedule(Name="fraud-detection-samples").returns({**kept, "State": "DISABLED"})
        assert not schedule.stop()
        aws.on("scheduler").get_schedule(Name="fraud-detection-samples").fails("ResourceNotFoundException")
        with pytest.raises(NotDeployed):
            schedule.start()
