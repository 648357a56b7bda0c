"""The application on Managed Flink: every start and stop is followed by its operation, never by the status alone."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from aws_bench import Bench
from stubs import BEGIN, STACK, Aws, FakeTime, at

from fraudctl.aws.resources.flink import AwsFlink
from fraudctl.aws.resources.logs import AwsLogs
from fraudctl.aws.resources.metrics import Metrics
from fraudctl.aws.resources.schedule import AwsSchedule
from fraudctl.errors import NotDeployed, OperationFailed, Refused, TimedOut
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


def test_an_operation_that_is_stuck_is_said_before_it_is_waited_for() -> None:
    """With what force costs; the wait goes on, for it may end all the same."""
    time = FakeTime(at=BEGIN + 3600)
    with Aws() as aws:
        Bench(aws).application("AUTOSCALING")
        aws.on("kinesisanalyticsv2").list_application_operations(
            ApplicationName=NAME, OperationStatus="IN_PROGRESS", Limit=1
        ).returns({"ApplicationOperationInfoList": [{"OperationId": "op-1", "StartTime": at(0)}]})
        snapshots(aws, "newest")
        operation(aws, "SUCCESSFUL")
        Bench(aws).application("RUNNING")
        Bench(aws).application("RUNNING")
        told = [event.detail for event in flink(aws, time).start()]
    assert told[1].startswith(
        "it has been AUTOSCALING for 60 min and looks stuck; `fraudctl flink stop --no-savepoint`"
    )
    assert "its state since the snapshot of 2026-11-24T00:00:00.000Z is lost" in told[1]
    assert told[-1] == "running"


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
        snapshots(aws, "newest")
        time.on_sleep = lambda: setattr(time, "at", time.at + 1201)
        with pytest.raises(TimedOut, match="still STARTING after 20 min") as caught:
            list(flink(aws, time).start())
    assert caught.value.hint == (
        "`fraudctl flink stop --no-savepoint` stops it by force: its state since the snapshot"
        " of 2026-11-24T00:00:00.000Z is lost; it goes on from there"
    )


def test_a_stop_names_its_snapshot() -> None:
    """It is what a start goes on from."""
    with Aws() as aws:
        Bench(aws).application("RUNNING")
        aws.on("kinesisanalyticsv2").stop_application(ApplicationName=NAME, Force=False).returns(
            {"OperationId": "op-1"}
        )
        operation(aws, "SUCCESSFUL")
        Bench(aws).application("READY")
        snapshots(aws, "taken-just-now")
        assert list(flink(aws).stop())[-1].detail == "stopped, snapshot taken-just-now"


def test_a_fresh_start_of_a_running_application_is_an_error() -> None:
    """As on the local target: it would silently keep its state."""
    with Aws() as aws:
        Bench(aws).application("RUNNING")
        with pytest.raises(OperationFailed, match="cannot start without its state") as caught:
            list(flink(aws).start(fresh=True))
    assert caught.value.hint == "run `fraudctl flink stop` first"


def operations(aws: Aws, *found: tuple[str, str, float]) -> None:
    """Expect the question for the operations: name, status and when it began, in seconds after the script's begin."""
    listed = [
        {"Operation": name, "OperationStatus": status, "OperationId": "op-1", "StartTime": at(seconds)}
        for name, status, seconds in found
    ]
    aws.on("kinesisanalyticsv2").list_application_operations(ApplicationName=NAME, Limit=50).returns(
        {"ApplicationOperationInfoList": listed}
    )


SEARCH = (
    f'SEARCH(\'Namespace="AWS/KinesisAnalytics" Application="{NAME}" (MetricName="numRestarts" OR'
    ' MetricName="runningTime" OR MetricName="restartingTime" OR MetricName="records_lag_max" OR'
    ' MetricName="numberOfFailedCheckpoints" OR MetricName="lastCheckpointSize")\', \'Maximum\', 60)'
)


def watched(aws: Aws, moment: float, **values: list[float]) -> None:
    """Expect the question for metrics; each series has its newest value first, and may come more than once."""
    found = [
        {
            "Id": "found",
            "Label": name,
            "Timestamps": [at(moment - 60 * back) for back in range(len(points))],
            "Values": points,
        }
        for name, points in values.items()
    ]
    aws.on("cloudwatch").get_metric_data(
        MetricDataQueries=[{"Id": "found", "Expression": SEARCH, "Label": "${PROP('MetricName')}"}],
        StartTime=at(moment - 600),
        EndTime=at(moment),
        ScanBy="TimestampDescending",
    ).returns({"MetricDataResults": found})


def logged(aws: Aws, since: float, *messages: str) -> None:
    """Expect the question for exceptions since a moment, in seconds after the script's begin."""
    aws.on("logs").filter_log_events(
        logGroupName=f"/aws/kinesis-analytics/{NAME}",
        startTime=int((BEGIN + since) * 1000),
        filterPattern="%Exception%",
    ).returns(
        {
            "events": [
                {"eventId": str(number), "timestamp": int((BEGIN + since + number) * 1000), "message": message}
                for number, message in enumerate(messages)
            ]
        }
    )


def whole(aws: Aws, time: FakeTime) -> AwsFlink:
    """Return it with metrics and logs."""
    logs = AwsLogs(lambda: aws.client("logs"), STACK, time.clock())
    return AwsFlink(
        lambda: aws.client("kinesisanalyticsv2"),
        lambda: NAME,
        time.clock(),
        metrics=Metrics(lambda: aws.client("cloudwatch"), time.clock()),
        logs=logs,
    )


def test_a_status_without_trouble() -> None:
    """Its operation, and metrics under the names of both targets; nothing is looked for in the log."""
    time = FakeTime(at=BEGIN + 7200)
    with Aws() as aws:
        Bench(aws).application("RUNNING")
        operations(aws, ("CreateApplication", "SUCCESSFUL", 0), ("StartApplication", "SUCCESSFUL", 60))
        watched(
            aws,
            7200,
            numRestarts=[0.0],
            runningTime=[7_000_000.0, 6_940_000.0],
            records_lag_max=[12.0, 900.0],
            numberOfFailedCheckpoints=[2.0],
            lastCheckpointSize=[4096.0],
        )
        found = whole(aws, time).status()
    assert (found.state, found.note, found.exception) == ("RUNNING", None, None)
    assert found.last_operation == "StartApplication of 2026-09-21T14:14:20.000Z: SUCCESSFUL"
    assert (found.checkpoints_completed, found.checkpoints_failed, found.checkpoint_bytes) == (None, 2, 4096)
    assert found.metrics == {"restarts": 0, "runningMs": 7_000_000, "recordsLagMax": 12}


def test_metrics_are_asked_for_every_half_minute_at_most() -> None:
    """They come by the minute, each one costs, and a status may be watched."""
    time = FakeTime(at=BEGIN + 600)
    with Aws() as aws:
        subject = whole(aws, time)
        for moment in (600, 629, 630):
            time.at = BEGIN + moment
            Bench(aws).application("RUNNING")
            operations(aws)
            if moment != 629:
                watched(aws, moment, records_lag_max=[float(moment)])
            assert subject.status().metrics == {"recordsLagMax": 630 if moment == 630 else 600}


def test_a_restarting_application_names_its_first_exception() -> None:
    """The first since it was started and within the hour, and no line that only mentions one."""
    time = FakeTime(at=BEGIN + 7200)
    thrown = "java.lang.IllegalStateException: boom\n\tat io.fraudctl.Main"
    messages = (
        json.dumps({"messageType": "INFO", "message": "FooException is handled", "logger": "x"}),
        json.dumps({"messageType": "WARN", "message": "failed", "throwableInformation": [thrown]}),
        json.dumps({"messageType": "ERROR", "message": "a later Exception"}),
    )
    with Aws() as aws:
        Bench(aws).application("RUNNING")
        operations(aws, ("StartApplication", "SUCCESSFUL", 0))
        watched(aws, 7200, numRestarts=[3.0], restartingTime=[800.0])
        logged(aws, 3600, *messages)
        found = whole(aws, time).status()
    assert found.exception == "2026-09-21T15:13:21.000Z java.lang.IllegalStateException: boom at io.fraudctl.Main"
    assert found.metrics == {"restarts": 3, "restartingMs": 800}


def test_a_stopped_application_says_how_its_start_failed() -> None:
    """READY is stopped; the operation's own text is the reason."""
    time = FakeTime(at=BEGIN + 100)
    with Aws() as aws:
        Bench(aws).application("READY")
        operations(aws, ("StartApplication", "FAILED", 10))
        watched(aws, 100)
        operation(aws, "FAILED", "no such\n bucket")
        logged(aws, 10)
        found = whole(aws, time).status()
    assert found.state == "STOPPED"
    assert found.last_operation == "StartApplication of 2026-09-21T14:13:30.000Z: FAILED: no such bucket"


@pytest.mark.parametrize(
    ("state", "began", "note"),
    [
        ("MAINTENANCE", 0, "AWS is patching it: its job stops for 10 to 30 s"),
        ("STARTING", 3500, "it is STARTING; `fraudctl flink start` waits for that to end"),
        ("UPDATING", 2000, "it has been UPDATING for 27 min and looks stuck; `fraudctl flink stop --no-savepoint`"),
    ],
)
def test_a_transient_state_says_what_to_do(state: str, began: float, note: str) -> None:
    """Maintenance is named; what takes too long can be stopped by force, and that has a price."""
    time = FakeTime(at=BEGIN + 3600)
    with Aws() as aws:
        Bench(aws).application(state)
        operations(aws, ("UpdateApplication", "IN_PROGRESS", began))
        watched(aws, 3600)
        if "stuck" in note:
            snapshots(aws)
        logged(aws, began)
        found = whole(aws, time).status()
    assert str(found.note).startswith(note)
    assert ("its state is lost, for there is no snapshot" in str(found.note)) is ("stuck" in note)


def test_the_page_is_signed_and_there_only_while_it_runs() -> None:
    """A new address each time."""
    with Aws() as aws:
        Bench(aws).application("RUNNING")
        aws.on("kinesisanalyticsv2").create_application_presigned_url(
            ApplicationName=NAME, UrlType="FLINK_DASHBOARD_URL"
        ).returns({"AuthorizedUrl": "https://x.example/flinkdashboard?authToken=1"})
        page = flink(aws).page()
        assert page.address == "https://x.example/flinkdashboard?authToken=1"
        assert "within three minutes" in page.note
        Bench(aws).application("READY")
        with pytest.raises(Refused, match="it is READY"):
            flink(aws).page()


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
