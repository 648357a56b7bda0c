"""What AWS does on a bad day, on the emulator: throttling, lists that lag, operations that take their time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from emulated import AwsFraudctl, Emulator, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An emulator of the module's own."""
    with running(tmp_path_factory.mktemp("emulator")) as found:
        yield found


@pytest.fixture
def cli(emulator: Emulator, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[AwsFraudctl]:
    """The executable with a stack of the test's own."""
    yield AwsFraudctl(tmp_path, emulator.url, request.node.name.removeprefix("test_").replace("_", "-")[:26].strip("-"))
    emulator.heal()


def outputs(emulator: Emulator, cli: AwsFraudctl) -> dict[str, str]:
    """Give the stack's outputs."""
    found = emulator.client("cloudformation").describe_stacks(StackName=cli.stack)["Stacks"][0]
    return {item["OutputKey"]: item["OutputValue"] for item in found["Outputs"]}


def parameters(emulator: Emulator, cli: AwsFraudctl) -> dict[str, str]:
    """Give the stack's parameters."""
    found = emulator.client("cloudformation").describe_stacks(StackName=cli.stack)["Stacks"][0]
    return {item["ParameterKey"]: item["ParameterValue"] for item in found["Parameters"]}


def refused(match: str, code: str, status: int, **more: Any) -> dict[str, Any]:
    """Give the order to refuse a request."""
    return {"match": match, "code": code, "status": status, **more}


def test_bad_days(emulator: Emulator, cli: AwsFraudctl) -> None:
    """Throttling, lists a minute old, a busy controller, a newer image, no snapshot, a mapping being made."""
    emulator.order(interfaces=True)
    cli("deploy", "--yes", "--set", "KafdropEnabled=true")
    image = parameters(emulator, cli)["KafdropImageId"]

    # Every service refuses its first request, in its own words.
    emulator.order(calls=[refused(r"^\S+", "throttle", 0, each=True)])
    assert "is up to date." in cli("deploy").err
    emulator.heal()

    # The emulator refuses to restore what is not there; so a start without a snapshot restores nothing.
    flink, name = emulator.client("kinesisanalyticsv2"), outputs(emulator, cli)["FlinkApplicationName"]
    flink.stop_application(ApplicationName=name, Force=True)
    restore = {"ApplicationRestoreConfiguration": {"ApplicationRestoreType": "RESTORE_FROM_LATEST_SNAPSHOT"}}
    with pytest.raises(flink.exceptions.InvalidArgumentException):
        flink.start_application(ApplicationName=name, RunConfiguration=restore)
    cli("flink", "start")
    application = flink.describe_application(ApplicationName=name)["ApplicationDetail"]
    assert application["ApplicationStatus"] == "RUNNING"

    # Nothing was deleted: MSK's list is up to a minute old, and what it lacks is asked for by name.
    emulator.order(calls=[{"match": "kafka GET .*/topics $", "times": 99, "merge": {"topics": []}}])
    assert "is up to date." in cli("deploy").err
    emulator.heal()

    # Another image has come out: Kafdrop's instance is left alone.
    newer = {"Parameter": {"Value": "ami-0123456789abcdef0"}}
    emulator.order(calls=[{"match": "ssm POST .* GetParameter$", "times": 99, "merge": newer}])
    assert "is up to date." in cli("deploy").err
    cli("deploy", "--yes", "--set", "HoldMs=30000")
    assert parameters(emulator, cli)["KafdropImageId"] == image != "ami-0123456789abcdef0"
    emulator.heal()

    # A topic that is really gone comes back, though Kafka's controller refuses at first.
    cluster = outputs(emulator, cli)["ClusterArn"]
    emulator.client("kafka").delete_topic(ClusterArn=cluster, TopicName="dead_letters")
    emulator.order(calls=[refused("kafka POST .*/topics $", "ControllerMovedException", 409)])
    done = cli("deploy", "--yes")
    assert "dead_letters" in done.err
    listed = emulator.client("kafka").list_topics(ClusterArn=cluster)["Topics"]
    assert "dead_letters" in {item["TopicName"] for item in listed}
    emulator.heal()

    emulator.order(
        calls=[
            {"match": "lambda GET .*/event-source-mappings/", "times": 2, "merge": {"State": "Creating"}},
            refused("lambda PUT .*/event-source-mappings/", "ResourceInUseException", 400, times=0),
        ]
    )
    done = cli("teardown", "--yes")
    assert "disabling (Creating)" in done.err
    assert "unused network interface deleted" in done.err
    assert "nothing is left" in done.err
