"""The components' logs from CloudWatch Logs: the last lines in order, then each new one once."""

import json
from itertools import islice
from typing import Any

import pytest
from stubs import BEGIN, STACK, Aws, FakeTime

from fraudctl.aws.names import Names
from fraudctl.aws.resources.logs import AwsLogs
from fraudctl.errors import BadConfig, NotDeployed, Unreachable

WRITER = f"/aws/lambda/{STACK}-AuditWriter"


def logs(aws: Aws, time: FakeTime | None = None) -> AwsLogs:
    """Return what is tested."""
    return AwsLogs(lambda: aws.client("logs"), STACK, (time or FakeTime()).clock())


def event(seconds: float, message: str, number: int | None = None) -> dict[str, Any]:
    """Return an event some seconds after the script's begin."""
    return {
        "eventId": str(seconds if number is None else number),
        "timestamp": int((BEGIN + seconds) * 1000),
        "message": message,
    }


def newest(aws: Aws, group: str, *events: dict[str, Any], token: str = "", after: str = "") -> None:
    """Expect the question for a group's newest events; they come newest first."""
    answer: dict[str, Any] = {"events": list(events), **({"nextToken": token} if token else {})}
    more = {"nextToken": after} if after else {}
    aws.on("logs").filter_log_events(
        logGroupName=group, startTime=1_704_067_200_000, startFromHead=False, **more
    ).returns(answer)


def lately(aws: Aws, seconds: float, *events: dict[str, Any]) -> None:
    """Expect the question for AuditWriter's events of the last minute, at a moment after the script's begin."""
    aws.on("logs").filter_log_events(logGroupName=WRITER, startTime=int((BEGIN + seconds - 60) * 1000)).returns(
        {"events": list(events)}
    )


def test_the_last_lines_come_in_order_with_their_times() -> None:
    """AWS gives the newest first, a page at a time; no more pages than needed are asked for."""
    with Aws() as aws:
        newest(aws, WRITER, event(3, "three\n"), token="2")
        newest(aws, WRITER, event(2, "two\nof two"), event(1, "one"), token="3", after="2")
        found = list(logs(aws).lines("audit-writer", last=2, follow=False))
    assert found == ["2026-09-21T14:13:22.000Z two", "of two", "2026-09-21T14:13:23.000Z three"]


def test_functions_come_together_each_with_its_name() -> None:
    """`lambda` is what it is on a laptop: all functions, by the time."""
    with Aws() as aws:
        groups = {group.name: number for number, group in enumerate(logs(aws).groups()["lambda"])}
        assert sorted(groups) == [f"/aws/lambda/{name}" for name in Names(STACK).functions]
        for group, number in groups.items():
            newest(aws, group, event(10 - number, "said"))
        found = list(logs(aws).lines("lambda", last=50, follow=False))
    assert found[-1] == "2026-09-21T14:13:30.000Z SampleTransactionGenerator said"
    assert len(found) == len(groups)


def test_the_applications_entries_read_as_lines() -> None:
    """Managed Flink logs JSON; what is thrown follows its line."""
    entry = {
        "messageType": "WARN",
        "logger": "org.x.Y",
        "message": "it failed",
        "throwableInformation": ["java.lang.Error: no\n\tat a.B"],
    }
    with Aws() as aws:
        newest(aws, f"/aws/kinesis-analytics/{STACK}-detection", event(1, json.dumps(entry)), event(0, '{"a": 1}'))
        found = list(logs(aws).lines("flink", last=9, follow=False))
    assert found == [
        '2026-09-21T14:13:20.000Z {"a": 1}',
        "2026-09-21T14:13:21.000Z WARN org.x.Y - it failed",
        "java.lang.Error: no",
        "\tat a.B",
    ]


def test_lambdas_json_reads_as_locally() -> None:
    """Level, text and the function's own fields; exceptions with their stack; Lambda's own events by their kind.

    The forms are those of the runtime (awslambdaric, lambda_runtime_log_utils.py and bootstrap.py) and of the
    developer guide (monitoring-cloudwatchlogs-logformat).
    """
    own = {"timestamp": "2026-09-21T14:13:20.000Z", "logger": "audit_writer", "requestId": "r-1"}
    batch = {**own, "level": "INFO", "message": "batch: 7 written", "written": 7, "offsets": {"t-0": [1, 7]}}
    raised = {
        "level": "ERROR",
        "errorType": "OutOfTime",
        "errorMessage": "throttled",
        "stackTrace": ["  File a\n", "  b\n"],
    }
    start = {"time": "2026-09-21T14:13:20.000Z", "type": "platform.start", "record": {"requestId": "r-1"}}
    with Aws() as aws:
        entries = ({"level": "INFO", "message": "", "a": 1}, raised | own, batch, start)
        newest(aws, WRITER, *(event(3 - number, json.dumps(found) + "\n") for number, found in enumerate(entries)))
        found = list(logs(aws).lines("audit-writer", last=9, follow=False))
    assert [line.removeprefix("2026-09-21T14:13:2") for line in found] == [
        '0.000Z platform.start {"requestId": "r-1"}',
        '1.000Z INFO batch: 7 written {"written": 7, "offsets": {"t-0": [1, 7]}}',
        "2.000Z ERROR OutOfTime: throttled",
        "  File a",
        "  b",
        '3.000Z INFO {"a": 1}',
    ]


def test_following_shows_each_new_line_once() -> None:
    """What was there before is not new, what comes late is, and nothing comes twice."""
    time = FakeTime()
    with Aws() as aws:
        lately(aws, 0, event(-50, "old"), event(-40, "older than the last line, and within the minute"))
        newest(aws, WRITER, event(-40, "older than the last line, and within the minute"))
        lately(aws, 0, event(-50, "old"), event(-40, "older than the last line, and within the minute"))
        lately(aws, 2, event(-45, "late"), event(1, "new"))
        lately(aws, 4, event(-45, "late"), event(1, "new"), event(3, "newer"))
        lines = logs(aws, time).lines("audit-writer", last=1, follow=True)
        found = list(islice(lines, 4))
    assert [line.split(" ", 1)[1] for line in found] == [
        "older than the last line, and within the minute",
        "late",
        "new",
        "newer",
    ]
    assert time.slept == [2.0, 2.0]


def test_what_is_not_there_is_named() -> None:
    """A component without a log, a group that nobody made, a permission that is missing."""
    with Aws() as aws:
        with pytest.raises(BadConfig, match="no log on AWS") as unknown:
            list(logs(aws).lines("dynamodb", last=1, follow=False))
        assert "kafka, lambda, sample-transaction-generator" in str(unknown.value.hint)
        call = aws.on("logs").filter_log_events(
            logGroupName=f"/fraudctl/{STACK}/kafdrop", startTime=1_704_067_200_000, startFromHead=False
        )
        call.fails("ResourceNotFoundException")
        with pytest.raises(NotDeployed, match="kafdrop: there is none"):
            list(logs(aws).lines("kafdrop", last=1, follow=False))
        call = aws.on("logs").filter_log_events(logGroupName=WRITER, startTime=1_704_067_200_000, startFromHead=False)
        call.fails("AccessDeniedException", "User: x is not authorized to perform: logs:FilterLogEvents on resource: y")
        with pytest.raises(Unreachable, match="logs:FilterLogEvents is not allowed") as denied:
            list(logs(aws).lines("audit-writer", last=1, follow=False))
    assert "cfn/deployer-policy.json" in str(denied.value.hint)


def test_every_group_is_one_of_the_stack() -> None:
    """Their names are those that the teardown removes."""
    found = {
        group.name for groups in AwsLogs(lambda: None, STACK, FakeTime().clock()).groups().values() for group in groups
    }
    for name in found:
        assert any(name == prefix or name.startswith(prefix) for prefix in Names(STACK).log_groups), name
