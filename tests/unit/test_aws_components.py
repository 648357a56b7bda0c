"""The verdicts on a stack on AWS: each service's own words, what to do, and what could not be asked."""

from collections.abc import Mapping
from typing import Any
from unittest.mock import ANY

import pytest
from aws_bench import CLUSTER, MAPPING, OUTPUTS, Bench
from stubs import STACK, STACK_ID, Aws, FakeTime

from fraudctl.aws.cloudformation.describe import Described
from fraudctl.aws.components import AwsComponents
from fraudctl.aws.errors import CredentialsExpired
from fraudctl.aws.resources.flink import AwsFlink
from fraudctl.aws.resources.metrics import Metrics
from fraudctl.pipeline.names import FUNCTIONS
from fraudctl.target import Component, Health

APPLICATION = f"{STACK}-detection"


def judge(aws: Aws, outputs: Mapping[str, str] = OUTPUTS) -> dict[str, Component]:
    """Return the components by name."""
    session, clock = aws.session(), FakeTime().clock()
    flink = AwsFlink(lambda: session.client("kinesisanalyticsv2"), lambda: APPLICATION, clock)
    described = Described(STACK_ID, STACK, "UPDATE_COMPLETE", "", {}, outputs, {}, protected=False)
    return {
        found.name: found
        for found in AwsComponents(
            session, Metrics(lambda: session.client("cloudwatch"), clock), flink, described
        ).judge()
    }


def cluster(aws: Aws, state: str = "ACTIVE", why: str = "") -> None:
    """Expect the question for the cluster."""
    found: dict[str, Any] = {
        "State": state,
        "Provisioned": {
            "BrokerNodeGroupInfo": {"ClientSubnets": [], "InstanceType": "kafka.m7g.large"},
            "CurrentBrokerSoftwareInfo": {"KafkaVersion": "3.9.x.kraft"},
            "NumberOfBrokerNodes": 2,
        },
    }
    if why:
        found["StateInfo"] = {"Message": why}
    aws.on("kafka").describe_cluster_v2(ClusterArn=CLUSTER).returns({"ClusterInfo": found})


def functions(aws: Aws, **states: dict[str, str]) -> None:
    """Expect the questions for the functions."""
    for short in FUNCTIONS.values():
        found = {"State": "Active", "LastUpdateStatus": "Successful", "Runtime": "python3.13", **states.get(short, {})}
        aws.on("lambda").get_function_configuration(FunctionName=f"{STACK}-{short}").returns(found)


def application(aws: Aws, state: str = "RUNNING") -> None:
    """Expect the questions for the application."""
    Bench(aws).application(state)
    aws.on("kinesisanalyticsv2").list_application_operations(ApplicationName=APPLICATION, Limit=50).returns(
        {"ApplicationOperationInfoList": []}
    )


def mapping(aws: Aws, state: str = "Enabled", result: str = "OK", behind: float | None = None, why: str = "") -> None:
    """Expect the questions for the event source mapping."""
    found = {"State": state, "LastProcessingResult": result, "StateTransitionReason": why or "USER_INITIATED"}
    aws.on("lambda").get_event_source_mapping(UUID=MAPPING).returns(found)
    points = [] if behind is None else [behind]
    series = {"Label": "SumOffsetLag", "Timestamps": ["2026-09-21T14:13:20Z"] * len(points), "Values": points}
    aws.on("cloudwatch").get_metric_data(
        MetricDataQueries=ANY, StartTime=ANY, EndTime=ANY, ScanBy="TimestampDescending"
    ).returns({"MetricDataResults": [series]})


def table(aws: Aws, state: str = "ACTIVE") -> None:
    """Expect the question for the table."""
    aws.on("dynamodb").describe_table(TableName=f"{STACK}-audit").returns({"Table": {"TableStatus": state}})


def alarms(aws: Aws, *raised: tuple[str, str]) -> None:
    """Expect the questions for the alarms: those of the stack, then which of them are raised."""
    names = [f"{STACK}-dead-letters", f"{STACK}-mapping-failing"]
    summaries = [
        {
            "LogicalResourceId": f"Alarm{number}",
            "PhysicalResourceId": name,
            "ResourceType": "AWS::CloudWatch::Alarm",
            "ResourceStatus": "CREATE_COMPLETE",
            "LastUpdatedTimestamp": 0,
        }
        for number, name in enumerate(names)
    ]
    aws.on("cloudformation").list_stack_resources(StackName=STACK_ID).returns({"StackResourceSummaries": summaries})
    found = [{"AlarmName": f"{STACK}-{name}", "AlarmDescription": text} for name, text in raised]
    aws.on("cloudwatch").describe_alarms(AlarmNames=names, StateValue="ALARM").returns({"MetricAlarms": found})


def test_a_healthy_stack() -> None:
    """Every component with its address; the names are those of the logs."""
    with Aws() as aws:
        cluster(aws)
        functions(aws)
        application(aws)
        mapping(aws)
        table(aws)
        alarms(aws)
        found = judge(aws)
    assert list(found) == [
        "kafka",
        *(folder.replace("_", "-") for folder in FUNCTIONS),
        "flink",
        "audit mapping",
        "audit table",
        "alarms",
    ]
    assert {one.health for one in found.values()} == {Health.HEALTHY}
    assert (found["kafka"].version, found["kafka"].address) == ("3.9.x.kraft", OUTPUTS["BootstrapServers"])
    assert found["alarms"].detail == "none of 2 in ALARM"


def test_an_ill_stack_says_what_is_wrong_in_aws_words() -> None:
    """Problems, lags and alarms, each in its component's line."""
    with Aws() as aws:
        cluster(aws, "FAILED", "out of\n capacity")
        functions(
            aws,
            AuditWriter={"LastUpdateStatus": "Failed", "LastUpdateStatusReason": "no such key"},
            FlagAccountGenerator={"State": "Inactive"},
            SampleTransactionGenerator={"State": "Pending", "StateReason": "The function is being created."},
        )
        application(aws, "MAINTENANCE")
        mapping(aws, result="PROBLEM: Connection error", behind=1234.0)
        table(aws, "INACCESSIBLE_ENCRYPTION_CREDENTIALS")
        alarms(aws, ("mapping-failing", "It cannot read."), ("dead-letters", ""))
        found = judge(aws)
    said = {name: (one.health, one.detail) for name, one in found.items()}
    assert said["kafka"] == (Health.UNHEALTHY, "FAILED: out of capacity")
    assert said["audit-writer"] == (Health.UNHEALTHY, "update failed: no such key")
    assert said["flag-account-generator"] == (
        Health.HEALTHY,
        "Inactive: its next call waits until it is in the network again",
    )
    assert said["sample-transaction-generator"] == (Health.STARTING, "Pending: The function is being created.")
    assert said["flink"][0] is Health.RESTARTING
    assert "AWS is patching it" in said["flink"][1]
    assert said["audit mapping"] == (
        Health.UNHEALTHY,
        "PROBLEM: Connection error; 1,234 records behind, a minute or two ago",
    )
    assert said["audit table"][0] is Health.UNHEALTHY
    assert said["alarms"] == (Health.UNHEALTHY, "dead-letters; mapping-failing: It cannot read.")


@pytest.mark.parametrize(
    ("state", "health"),
    [("UPDATING", Health.HEALTHY), ("HEALING", Health.HEALTHY), ("CREATING", Health.STARTING)],
)
def test_a_cluster_that_can_be_used_is_healthy_and_says_its_state(state: str, health: Health) -> None:
    """As AWS documents its states."""
    with Aws() as aws:
        cluster(aws, state)
        functions(aws)
        application(aws, "READY")
        mapping(aws, "Disabled", why="ESM_CONFIG_NOT_VALID")
        table(aws)
        alarms(aws)
        found = judge(aws)
    assert found["kafka"].health is health
    assert found["kafka"].detail.startswith(state)
    assert (found["flink"].health, found["flink"].detail) == (Health.STOPPED, "`fraudctl flink start` starts it")
    assert (found["audit mapping"].health, found["audit mapping"].detail) == (
        Health.STOPPED,
        "it is disabled; ESM_CONFIG_NOT_VALID",
    )


def test_what_may_not_be_asked_does_not_hide_the_rest() -> None:
    """A missing permission, something deleted by hand, an output of a newer version: a line each."""
    without = {key: value for key, value in OUTPUTS.items() if key != "EventSourceMappingId"}
    with Aws() as aws:
        aws.on("kafka").describe_cluster_v2(ClusterArn=CLUSTER).fails(
            "ForbiddenException", "User: x is not authorized to perform: kafka:DescribeClusterV2 on resource: y"
        )
        for short in FUNCTIONS.values():
            aws.on("lambda").get_function_configuration(FunctionName=f"{STACK}-{short}").fails(
                "ResourceNotFoundException"
            )
        application(aws)
        table(aws)
        alarms(aws)
        found = judge(aws, without)
    assert "kafka:DescribeClusterV2 is not allowed" in found["kafka"].detail
    assert found["audit-writer"].detail == (
        f"function {STACK}-AuditWriter: it is gone, deleted by hand; run `fraudctl deploy`"
    )
    assert "deployed by an older version" in found["audit mapping"].detail
    assert found["flink"].health is Health.HEALTHY


@pytest.mark.parametrize(
    ("state", "health"),
    [("running", Health.HEALTHY), ("pending", Health.STARTING), ("stopped", Health.STOPPED), (None, Health.UNHEALTHY)],
)
def test_kafdrop_is_a_component_where_there_is_one(state: str | None, health: Health) -> None:
    """By its instance; one that somebody has terminated is gone."""
    found = [{"Instances": [{"InstanceId": "i-1", "State": {"Name": state}}]}] if state else []
    with Aws() as aws:
        cluster(aws)
        functions(aws)
        application(aws)
        mapping(aws)
        table(aws)
        aws.on("ec2").describe_instances(InstanceIds=["i-1"]).returns({"Reservations": found})
        alarms(aws)
        kafdrop = judge(aws, {**OUTPUTS, "KafdropInstanceId": "i-1"})["kafdrop"]
    assert kafdrop.health is health
    assert kafdrop.detail == ("" if state == "running" else f"its instance is {state or 'gone'}")


def test_without_credentials_nothing_is_a_verdict() -> None:
    """They are the error, not a line."""
    with Aws() as aws:
        aws.on("kafka").describe_cluster_v2(ClusterArn=CLUSTER).fails("ExpiredToken")
        with pytest.raises(CredentialsExpired):
            judge(aws)
