"""Stacks that an older version deployed: their zones stay, and what they lack is said in one line."""

from typing import Any

import pytest
from aws_bench import OUTPUTS, VALUES, Bench
from stubs import STACK, STACK_ID, Aws, stack

from fraudctl.aws import older
from fraudctl.aws.cloudformation.describe import Described
from fraudctl.aws.cloudformation.diagnosis import advice
from fraudctl.aws.cloudformation.events import Failure
from fraudctl.aws.cloudformation.parameters import grown
from fraudctl.aws.resources.drift import DriftDetector
from fraudctl.errors import NotDeployed

ZONES = ("ZoneA", "ZoneB")


def described(status: str = "UPDATE_COMPLETE", **more: Any) -> Described:
    """Return a stack of the template before zones were parameters."""
    values: dict[str, Any] = {"parameters": VALUES, "outputs": OUTPUTS, **more}
    return Described(STACK_ID, STACK, status, "", tags={}, protected=False, **values)


def subnets(aws: Aws) -> None:
    """Expect the questions for the stack's subnets and their zones."""
    summaries = [
        {
            "LogicalResourceId": name,
            "PhysicalResourceId": physical,
            "ResourceType": "AWS::EC2::Subnet",
            "ResourceStatus": "CREATE_COMPLETE",
            "LastUpdatedTimestamp": 0,
        }
        for name, physical in (
            ("PrivateSubnetA", "subnet-2"),
            ("PrivateSubnetB", "subnet-1"),
            ("PublicSubnet", "subnet-3"),
        )
    ]
    aws.on("cloudformation").list_stack_resources(StackName=STACK_ID).returns({"StackResourceSummaries": summaries})
    aws.on("ec2").describe_subnets(SubnetIds=["subnet-1", "subnet-2"]).returns(
        {
            "Subnets": [
                {"SubnetId": "subnet-1", "AvailabilityZone": "eu-west-1a"},
                {"SubnetId": "subnet-2", "AvailabilityZone": "eu-west-1c"},
            ]
        }
    )


def test_the_zones_are_those_of_the_subnets() -> None:
    """Chosen anew they might be others, and then subnets and cluster would be replaced."""
    with Aws() as aws:
        subnets(aws)
        assert older.zones(aws.session(), described(), ZONES) == {"ZoneA": "eu-west-1c", "ZoneB": "eu-west-1a"}


def test_a_stack_with_zones_is_not_asked() -> None:
    """Nor is one where the template has none."""
    known = described(parameters={**VALUES, "ZoneA": "eu-west-1a", "ZoneB": "eu-west-1b"})
    with Aws() as aws:
        assert older.zones(aws.session(), known, ZONES) == {}
        assert older.zones(aws.session(), described(), ("HoldMs",)) == {}


def test_a_plan_hands_the_zones_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As values of the new parameters, with which nothing is replaced; no zone is looked up."""
    body = "Parameters:\n  ZoneA:\n    Type: String\n  ZoneB:\n    Type: String\nResources: {}\n"
    wanted = [
        {"ParameterKey": "ZoneA", "ParameterValue": "eu-west-1c"},
        {"ParameterKey": "ZoneB", "ParameterValue": "eu-west-1a"},
    ]
    with Aws() as aws:
        bench = Bench(aws)
        monkeypatch.setattr(bench.release, "template", lambda: body)
        monkeypatch.setattr("aws_bench.TEMPLATE", body)
        bench.identity()
        bench.found("UPDATE_COMPLETE")
        bench.brokers()
        subnets(aws)
        bench.healthy()
        bench.change_set("UPDATE", wanted)
        assert bench.stack().plan().changes == ()


def test_an_image_that_was_looked_up_stays_what_it_was() -> None:
    """As an id: the new parameter takes no name of a parameter, and another image would replace the instance."""
    image = {"KafdropImageId": "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"}
    known = described(parameters={**VALUES, **image}, resolved={"KafdropImageId": "ami-1"})
    assert older.parameters(known) == {**VALUES, "KafdropImageId": "ami-1"}
    assert older.parameters(described(parameters={**VALUES, **image})) == VALUES


@pytest.mark.parametrize(
    "reason",
    [
        "CloudFormation cannot update a stack when a custom-named resource requires replacing. Rename it",
        "InvalidParameterValueException: ConsumerGroupId cannot be updated",
    ],
)
def test_what_cannot_be_updated_says_how_to_go_on(reason: str) -> None:
    """Both are rolled back by CloudFormation; the rows can be kept."""
    hint = advice(Failure("Mapping", "AWS::Lambda::EventSourceMapping", reason))
    assert "`fraudctl teardown --keep-data`, then `fraudctl deploy`" in hint


@pytest.mark.parametrize(
    ("status", "outputs", "said", "hint"),
    [
        ("CREATE_IN_PROGRESS", {}, "it is in CREATE_IN_PROGRESS", "`fraudctl deploy --attach` follows it to its end"),
        ("ROLLBACK_COMPLETE", {}, "it is in ROLLBACK_COMPLETE", "run `fraudctl deploy` first"),
        (
            "UPDATE_COMPLETE",
            {key: value for key, value in OUTPUTS.items() if key != "HoldMs"},
            "deployed by an older version, without HoldMs",
            "run `fraudctl deploy --plan`, then `fraudctl deploy`",
        ),
    ],
)
def test_what_a_stack_does_not_say_is_named(status: str, outputs: dict[str, str], said: str, hint: str) -> None:
    """Exit 3, never a traceback."""
    with Aws() as aws:
        aws.on("cloudformation").describe_stacks(StackName=STACK).returns(
            stack(status, outputs=outputs, parameters=VALUES)
        )
        with pytest.raises(NotDeployed, match=said) as caught:
            Bench(aws).stack().outputs()
    assert caught.value.hint == hint


def test_drift_of_a_stack_without_mapping_and_schedule_is_none() -> None:
    """It says neither, so neither was deleted by hand."""
    without = {key: value for key, value in OUTPUTS.items() if key not in {"EventSourceMappingId", "ScheduleName"}}
    with Aws() as aws:
        bench = Bench(aws)
        aws.on("kafka").list_topics(ClusterArn=OUTPUTS["ClusterArn"]).returns(
            {
                "Topics": [
                    {"TopicName": name}
                    for name in ("demo_transactions", "flagged_accounts", "processed_topic", "dead_letters")
                ]
            }
        )
        bench.application("RUNNING")
        subject = bench.stack()
        assert isinstance(subject._drift, DriftDetector)
        found = subject._drift.detect(described(outputs=without), samples=True)
    assert (found.changes, found.gone) == ((), ())


def test_more_partitions_restart_the_application() -> None:
    """Its connector looks for new ones every five minutes; fewer, or none before, are no reason."""
    assert grown({"Partitions": "4"}, {"Partitions": "8"})
    assert not grown({"Partitions": "4"}, {"Partitions": "4"})
    assert not grown({}, {"Partitions": "8"})
