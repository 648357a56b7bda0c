"""The stack's whole life on an emulated AWS, by the installed executable."""

import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aws_calls import RECORDED, Recorder, allowed, permissions, recording
from botocore.exceptions import ClientError
from emulated import REGION, AwsFraudctl, Emulator, running
from executable import output_until

from fraudctl.artifacts.resources import resource
from fraudctl.aws.release import TEMPLATE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An emulator of the module's own."""
    with running(tmp_path_factory.mktemp("emulator")) as found:
        yield found


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    """Everything that the executable asks AWS in this module."""
    with recording() as found:
        yield found


@pytest.fixture
def cli(
    emulator: Emulator, tmp_path: Path, request: pytest.FixtureRequest, recorder: Recorder
) -> Iterator[AwsFraudctl]:
    """The executable with a stack of the test's own; afterwards, whether a deployer may do what it did."""
    name = request.node.name.removeprefix("test_").replace("_", "-")
    yield AwsFraudctl(tmp_path, emulator.url, name[:26].strip("-"), recorder)
    assert recorder.calls
    needed = {action: call for call in recorder.calls for action in permissions(call)}
    assert not {action: call for action, call in needed.items() if not allowed(action)}


def stack(emulator: Emulator, cli: AwsFraudctl) -> dict[str, Any] | None:
    """Give the stack as the emulator describes it."""
    try:
        found: dict[str, Any] = emulator.client("cloudformation").describe_stacks(StackName=cli.stack)["Stacks"][0]
    except ClientError:
        return None
    return found


def change_sets(emulator: Emulator, cli: AwsFraudctl) -> list[str]:
    """Give the change sets that wait to be executed."""
    found = emulator.client("cloudformation").list_change_sets(StackName=cli.stack)["Summaries"]
    return [item["ChangeSetName"] for item in found if item["ExecutionStatus"] == "AVAILABLE"]


def outputs(emulator: Emulator, cli: AwsFraudctl) -> dict[str, str]:
    """Give the stack's outputs."""
    found = stack(emulator, cli)
    assert found is not None
    return {item["OutputKey"]: item["OutputValue"] for item in found["Outputs"]}


def topics(emulator: Emulator, cli: AwsFraudctl) -> set[str]:
    """Give the names of the cluster's topics."""
    found = emulator.client("kafka").list_topics(ClusterArn=outputs(emulator, cli)["ClusterArn"])
    return {item["TopicName"] for item in found["Topics"]}


def buckets(emulator: Emulator) -> list[str]:
    """Give the names of all buckets."""
    return [item["Name"] for item in emulator.client("s3").list_buckets()["Buckets"]]


def single_spaced(text: str) -> str:
    """Return a table's text without the padding, whose width depends on its rows."""
    return re.sub(" +", " ", text)


def test_plan_deploy_change_and_teardown(emulator: Emulator, cli: AwsFraudctl) -> None:
    """A plan leaves nothing; deploy ends with Flink running; nothing to do is quick; teardown leaves nothing."""
    done = cli("deploy", "--plan")
    assert done.out == ""
    assert "create Cluster MSK Cluster" in single_spaced(done.err)
    assert "an hour in all" in done.err
    assert "expected to take about 36 min" in done.err
    assert "This is the plan; nothing was changed." in done.err
    assert stack(emulator, cli) is None
    assert not [name for name in buckets(emulator) if name.startswith(cli.stack)]

    assert "--yes" in cli("deploy", code=7).err
    assert stack(emulator, cli) is None

    done = cli("deploy", "--yes")
    assert "MSK clusters take 20–35 min" in done.err
    assert "second pass: the brokers' addresses" in done.err
    found = outputs(emulator, cli)
    assert found["BootstrapServers"].endswith(":9098")
    assert topics(emulator, cli) == {"demo_transactions", "flagged_accounts", "processed_topic", "dead_letters"}
    application = emulator.client("kinesisanalyticsv2").describe_application(
        ApplicationName=found["FlinkApplicationName"]
    )["ApplicationDetail"]
    assert application["ApplicationStatus"] == "RUNNING"
    assert emulator.client("scheduler").get_schedule(Name=found["ScheduleName"])["State"] == "ENABLED"

    done = cli("deploy")
    assert "is up to date." in done.err
    assert change_sets(emulator, cli) == []

    done = cli("deploy", "--plan", "--set", "BrokerVolumeGiB=30")
    assert "update Cluster" in single_spaced(done.err)
    assert "BrokerNodeGroupInfo" in done.err
    assert "BrokerVolumeGiB: 20 → 30" in done.err
    assert change_sets(emulator, cli) == []
    cli("deploy", "--yes", "--set", "BrokerVolumeGiB=30", "--no-samples")
    found_stack = stack(emulator, cli)
    assert found_stack is not None
    values = {item["ParameterKey"]: item["ParameterValue"] for item in found_stack["Parameters"]}
    assert (values["BrokerVolumeGiB"], values["SamplesEnabled"]) == ("30", "DISABLED")
    assert "is up to date." in cli("deploy").err  # what was set stays set

    done = cli("teardown", code=7)
    assert "lost for good: every record in demo_transactions" in done.err
    done = cli("teardown", "--yes")
    assert "nothing is left" in done.err
    assert stack(emulator, cli) is None
    assert not [name for name in buckets(emulator) if name.startswith(cli.stack)]
    assert f"{cli.stack}-audit" not in emulator.client("dynamodb").list_tables()["TableNames"]
    assert "nothing to tear down" in cli("teardown", "--yes").err


def test_guard_failure_rollback_and_retry(emulator: Emulator, cli: AwsFraudctl) -> None:
    """What holds data is neither replaced nor removed; a failed update rolls back, says why, and works next time."""
    cli("deploy", "--yes")
    cloudformation = emulator.client("cloudformation")
    body = (resource("cfn") / TEMPLATE).read_text()
    extra = body.replace("\nOutputs:", "\n  Precious:\n    Type: AWS::S3::Bucket\n\nOutputs:", 1)
    current = stack(emulator, cli)
    assert current is not None
    bucket = next(name for name in buckets(emulator) if name.startswith(f"{cli.stack}-artifacts"))
    emulator.client("s3").put_object(Bucket=bucket, Key="extra.yaml", Body=extra.encode())
    cloudformation.update_stack(
        StackName=cli.stack,
        TemplateURL=f"https://s3.{REGION}.amazonaws.com/{bucket}/extra.yaml",
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": item["ParameterKey"], "UsePreviousValue": True} for item in current["Parameters"]],
    )
    cloudformation.get_waiter("stack_update_complete").wait(StackName=cli.stack, WaiterConfig={"Delay": 1})

    done = cli("deploy", "--yes", code=7)
    assert "Precious would be removed; lost would be every object in the bucket" in done.err
    assert "--allow-replacement Precious" in done.err
    assert change_sets(emulator, cli) == []
    cli("deploy", "--yes", "--allow-replacement", "Precious")

    emulator.fail("update", "Cluster", "BadRequestException: Unsupported InstanceType")
    done = cli("deploy", "--yes", "--set", "KafkaInstanceType=kafka.m5.large", code=5)
    assert "Error: deploy" in done.err
    assert "Cluster (AWS::MSK::Cluster): BadRequestException: Unsupported InstanceType" in done.err
    assert "everything is as it was before" in done.err
    assert "--set KafkaInstanceType=kafka.m7g.large" in done.err
    after = stack(emulator, cli)
    assert after is not None
    assert after["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"

    emulator.heal()
    emulator.fail("update", "FlinkApplication", "InternalFailure: try later")
    emulator.fail("update", "Cluster", "InternalFailure: stuck", after=1)
    changed = ("--set", "BrokerVolumeGiB=40", "--set", "FlinkParallelism=2")
    done = cli("deploy", "--yes", *changed, code=5)
    assert "FlinkApplication (AWS::KinesisAnalyticsV2::Application): InternalFailure: try later" in done.err
    assert "deploy --continue-rollback" in done.err
    done = cli("deploy", "--yes", code=7)
    assert "rolling back a failed update got stuck" in done.err
    assert "[Cluster]" in done.err
    assert "the stack has no such resource" in cli("deploy", "--continue-rollback", "--skip", "Nope", code=2).err
    cli("deploy", "--continue-rollback")
    cli("deploy", "--yes", *changed)
    after = stack(emulator, cli)
    assert after is not None
    assert after["StackStatus"] == "UPDATE_COMPLETE"

    cloudformation.update_termination_protection(StackName=cli.stack, EnableTerminationProtection=True)
    done = cli("teardown", "--yes", code=7)
    assert "termination protection is on" in done.err
    cloudformation.update_termination_protection(StackName=cli.stack, EnableTerminationProtection=False)
    cli("teardown", "--yes")


def test_failed_first_deploy(emulator: Emulator, cli: AwsFraudctl) -> None:
    """What it leaves is removed aloud by the next one; a Flink application that does not start says why."""
    emulator.fail("create", "Cluster", "LimitExceededException: You have reached the maximum number of brokers")
    done = cli("deploy", "--yes", code=5)
    assert "Cluster (AWS::MSK::Cluster): LimitExceededException" in done.err
    assert "Service Quotas" in done.err
    found = stack(emulator, cli)
    assert found is not None
    assert found["StackStatus"] == "ROLLBACK_COMPLETE"

    emulator.fail("flink", "StartApplication", "Code file not found")
    done = cli("deploy", "--yes", code=5)
    assert "a first deploy failed and left it in ROLLBACK_COMPLETE; removing that" in done.err
    assert "starting failed: Code file not found" in done.err
    done = cli("deploy", "--yes")
    assert "start flink the application is READY" in single_spaced(done.err)

    cli("deploy", "--yes", "--set", "KafdropEnabled=true")
    instance = emulator.client("ec2").describe_instances(InstanceIds=[outputs(emulator, cli)["KafdropInstanceId"]])
    image = instance["Reservations"][0]["Instances"][0]["ImageId"]
    found = stack(emulator, cli)
    assert found is not None
    values = {item["ParameterKey"]: item["ParameterValue"] for item in found["Parameters"]}
    assert values["KafdropImageId"] == image
    assert "is up to date." in cli("deploy").err  # the image is not looked up again
    cli("teardown", "--yes")


def test_drift_is_repaired_and_kept_data_adopted(emulator: Emulator, cli: AwsFraudctl) -> None:
    """A topic deleted by hand comes back; rows kept by a teardown are there after the next deploy."""
    cli("deploy", "--yes")
    found = outputs(emulator, cli)
    emulator.client("kafka").delete_topic(ClusterArn=found["ClusterArn"], TopicName="processed_topic")
    done = cli("deploy", "--plan")
    assert "repair processed_topic the topic is gone: deleted by hand" in single_spaced(done.err)
    cli("deploy", "--yes")
    assert "processed_topic" in topics(emulator, cli)
    assert "is up to date." in cli("deploy").err

    table = f"{cli.stack}-audit"
    item = {"account_id": {"N": "7"}, "transaction_key": {"S": "2026-11-24T10:00:00.000Z#t-1"}}
    emulator.client("dynamodb").put_item(TableName=table, Item=item)
    bucket = found["OnFailureBucket"]
    emulator.client("s3").put_object(Bucket=bucket, Key="failed.json", Body=b"{}")
    done = cli("teardown", "--yes", "--keep-data")
    assert "but the data that was kept" in done.err
    assert stack(emulator, cli) is None
    cli("deploy", "--yes")
    assert emulator.client("dynamodb").get_item(TableName=table, Key=item)["Item"] == item
    assert "is up to date." in cli("deploy").err
    cli("teardown", "--yes")
    assert table not in emulator.client("dynamodb").list_tables()["TableNames"]
    assert not [name for name in buckets(emulator) if name.startswith(cli.stack)]


def test_operations(emulator: Emulator, cli: AwsFraudctl) -> None:
    """Status, the application by its operations, its page, logs, a pause that a deploy ends; no function runs here."""
    cli("deploy", "--yes")
    document = cli("status", "-o", "json", code=8).documents[0]
    verdicts = {item["name"]: item["health"] for item in document["components"]}
    assert {"kafka", "flink", "audit mapping", "audit-writer", "audit table", "alarms"} <= set(verdicts)
    assert set(verdicts.values()) == {"healthy"}
    assert any("TopicReader" in problem for problem in document["problems"])
    assert document["paused"] is None

    page = cli("ui", "flink", "-o", "json").documents[0]["address"]
    assert page.startswith("https://flink.example/")
    assert "Kafdrop: it is off in this stack" in cli("ui", "topics", code=3).err
    emulator.client("logs").put_log_events(
        logGroupName=f"/aws/kinesis-analytics/{cli.stack}-detection",
        logStreamName="application",
        logEvents=[{"timestamp": int(time.time() * 1000), "message": "\tit says something"}],
    )
    assert cli("logs", "flink").out.rstrip().endswith("it says something")

    assert "stopped, snapshot " in cli("flink", "stop").err
    stopped = cli("flink", "status", "-o", "json").documents[0]
    assert (stopped["state"], stopped["exception"]) == ("STOPPED", None)
    assert re.fullmatch(r"StopApplication of .*: SUCCESSFUL", stopped["last_operation"])
    cli("flink", "start")

    done = cli("pause")
    assert "still costs: about $0.42 an hour" in done.err
    document = cli("status", "-o", "json", code=8).documents[0]
    assert document["paused"]["samples"] is True
    verdicts = {item["name"]: item["health"] for item in document["components"]}
    assert (verdicts["flink"], verdicts["audit mapping"], verdicts["kafka"]) == ("stopped", "stopped", "healthy")
    cli("resume")
    assert emulator.client("scheduler").get_schedule(Name=f"{cli.stack}-samples")["State"] == "ENABLED"
    cli("pause")
    done = cli("deploy", "--yes", "--partitions", "6")
    assert "resume pipeline it is paused" in single_spaced(done.err)
    assert "10 sample transactions a second" in done.err
    assert cli("flink", "status", "-o", "json").documents[0]["state"] == "RUNNING"
    assert "is up to date." in cli("deploy").err
    cli("teardown", "--yes")


def test_ctrl_c_and_attach(emulator: Emulator, cli: AwsFraudctl) -> None:
    """Interrupted, it says what AWS goes on with; attaching follows that to a running application."""
    emulator.hold()
    with ExitStack() as whatever_happens:
        whatever_happens.callback(emulator.heal)
        process = whatever_happens.enter_context(cli.popen("deploy", "--yes"))
        whatever_happens.callback(process.kill)
        heard = output_until("MSK clusters take", process)
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=240)
        assert process.returncode == 130, heard + rest
        assert "AWS goes on with" in rest
        assert "fraudctl deploy --attach" in rest
        assert "an operation is running (CREATE_IN_PROGRESS)" in cli("deploy", "--yes", code=7).err

        process = whatever_happens.enter_context(cli.popen("deploy", "--attach"))
        whatever_happens.callback(process.kill)
        heard = output_until("following CREATE_IN_PROGRESS", process)
        emulator.heal()
        _, rest = process.communicate(timeout=240)
        assert process.returncode == 0, heard + rest
    assert "second pass" in rest
    assert "Ready." in rest
    assert "is up to date." in cli("deploy").err
    cli("teardown", "--yes")


def test_a_deployer_is_asked_for_what_is_called(recorder: Recorder, request: pytest.FixtureRequest) -> None:
    """The calls of this run are the list from which the deployer policy is tested; run alone, there may be fewer."""
    assert recorder.calls <= RECORDED
    whole = {name for name in globals() if name.startswith("test_")}
    if {item.name for item in request.session.items} >= whole:
        assert recorder.calls == RECORDED
