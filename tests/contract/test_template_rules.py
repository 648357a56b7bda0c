"""Rules over the whole template: each stands for something that would have failed or misbehaved on a real account."""

import json
import re
from typing import Any

import pytest
from templates import Template, listed, load, text

from fraudctl.aws.names import Names


@pytest.fixture
def template() -> Template:
    """Read the template."""
    return load()


def references(value: Any) -> set[str]:
    """Return every name that a value refers to by ``Ref``, ``Fn::GetAtt`` or ``Fn::Sub``."""
    if isinstance(value, list):
        return set().union(*map(references, value))
    if not isinstance(value, dict):
        return set()
    found = {value["Ref"]} if "Ref" in value else set()
    if "Fn::GetAtt" in value:
        found.add(value["Fn::GetAtt"][0])
    if "Fn::Sub" in value:
        found |= {name.split(".")[0] for name in _names(value["Fn::Sub"])}
    return found.union(*(references(inner) for inner in value.values()))


def _names(text: str) -> list[str]:
    return [part.split("}")[0] for part in text.split("${")[1:]]


def test_zones_are_chosen_once(template: Template) -> None:
    """``Fn::GetAZs`` may list the one zone that MSK refuses, and another order later would replace the cluster."""
    assert "Fn::GetAZs" not in json.dumps(template.data)
    zones = {name: subnet["AvailabilityZone"] for name, subnet in template.of("AWS::EC2::Subnet").items()}
    assert zones == {
        "PrivateSubnetA": {"Ref": "ZoneA"},
        "PrivateSubnetB": {"Ref": "ZoneB"},
        "PublicSubnet": {"Ref": "ZoneA"},
    }
    assert all("Default" not in template.data["Parameters"][name] for name in ("ZoneA", "ZoneB"))


def test_no_parameter_follows_what_others_publish(template: Template) -> None:
    """A parameter of an SSM type takes its newest value at each deploy: a new image would replace Kafdrop."""
    assert not [name for name, found in template.data["Parameters"].items() if "SSM" in found["Type"]]
    assert template.properties("KafdropInstance")["ImageId"] == {"Ref": "KafdropImageId"}


def render(value: Any, stack: str) -> Any:
    """Return a value with its intrinsics resolved for a stack, as far as names are concerned."""
    pseudo = {"AWS::StackName": stack, "AWS::AccountId": "1" * 12, "AWS::Region": "eu-west-1", "AWS::Partition": "aws"}
    if isinstance(value, list):
        return [render(item, stack) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) in ({"Ref"}, {"Fn::Sub"}) and isinstance(next(iter(value.values())), str):
        return text(value, pseudo)
    return {key: render(inner, stack) for key, inner in value.items()}


# What has to be unique in an account and region, by type. A topic, a log stream and a security group are unique in what
# holds them, which has a name of its own.
NAMES = {
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::KinesisAnalyticsV2::Application": "ApplicationName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::MSK::Cluster": "ClusterName",
    "AWS::MSK::Configuration": "Name",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::Scheduler::Schedule": "Name",
}


def unique(template: Template, stack: str) -> set[str]:
    """Return all names of one stack that no other in the account may have."""
    named = {
        f"{kind} {render(properties[key], stack)}"
        for kind, key in NAMES.items()
        for properties in template.of(kind).values()
    }
    for mapping in template.of("AWS::Lambda::EventSourceMapping").values():
        group = mapping["AmazonManagedKafkaEventSourceConfig"]["ConsumerGroupId"]
        named.add(f"consumer group {render(group, stack)}")
    for found in template.of("AWS::Logs::MetricFilter").values():
        for metric in found["MetricTransformations"]:
            named.add(f"metric {metric['MetricNamespace']} {render(metric['MetricName'], stack)}")
    return named


def test_two_stacks_share_no_name(template: Template) -> None:
    """Side by side in one account, also where a name is the beginning of the other; Lambda wants groups unique."""
    one, other = unique(template, "fraud"), unique(template, "fraud-two")
    assert len(one) > 20
    assert not one & other
    for role in template.of("AWS::IAM::Role"):
        for statement in render(template.statements(role), "fraud"):
            for arn in listed(statement["Resource"]):
                if isinstance(arn, str) and re.search(r":(kafka|dynamodb|lambda|kinesisanalytics):", arn):
                    assert re.search(r"[/:]fraud(-audit|-\*)?(/|$)", arn), arn
    assert not Names("fraud").buckets("1" * 12, "eu-west-1") & Names("fraud-two").buckets("1" * 12, "eu-west-1")


def owners(template: Template) -> dict[str, set[str]]:
    """Return which roles make network interfaces in which security group."""
    found: dict[str, set[str]] = {name: set() for name in template.of("AWS::EC2::SecurityGroup")}
    for function in template.of("AWS::Lambda::Function").values():
        for group in function.get("VpcConfig", {}).get("SecurityGroupIds", []):
            found[group["Ref"]].add(function["Role"]["Fn::GetAtt"][0])
    for application in template.of("AWS::KinesisAnalyticsV2::Application").values():
        for network in application["ApplicationConfiguration"]["VpcConfigurations"]:
            for group in network["SecurityGroupIds"]:
                found[group["Ref"]].add(application["ServiceExecutionRole"]["Fn::GetAtt"][0])
    for mapping in template.of("AWS::Lambda::EventSourceMapping").values():
        cluster = template.properties(mapping["EventSourceArn"]["Ref"])
        function = template.properties(mapping["FunctionName"]["Ref"])
        for group in cluster["BrokerNodeGroupInfo"]["SecurityGroups"]:
            found[group["Ref"]].add(function["Role"]["Fn::GetAtt"][0])
    return found


def test_roles_outlive_the_groups_of_their_interfaces(template: Template) -> None:
    """AWS deletes a network interface with the role that made it: deleted first, the role leaves it for ever."""
    for group, roles in owners(template).items():
        assert roles <= set(listed(template.resources[group].get("DependsOn", []))), group
    assert sum(map(len, owners(template).values())) >= 4


def test_nothing_waits_for_itself(template: Template) -> None:
    """No resource depends on itself, by reference or by DependsOn, however far around."""
    edges = {
        name: (references(found) | set(listed(found.get("DependsOn", [])))) & set(template.resources)
        for name, found in template.resources.items()
    }
    done: set[str] = set()
    while ready := {name for name in edges.keys() - done if edges[name] <= done}:
        done |= ready
    assert not edges.keys() - done


def test_scheduled_functions_are_not_invoked_again(template: Template) -> None:
    """The schedule invokes asynchronously: Lambda would retry twice, and keep what is throttled for six hours."""
    scheduled = {found["Target"]["Arn"]["Fn::GetAtt"][0] for found in template.of("AWS::Scheduler::Schedule").values()}
    configured = {
        found["FunctionName"]["Ref"]: found for found in template.of("AWS::Lambda::EventInvokeConfig").values()
    }
    assert set(configured) == scheduled != set()
    for found in configured.values():
        assert (found["Qualifier"], found["MaximumRetryAttempts"]) == ("$LATEST", 0)
        assert found["MaximumEventAgeInSeconds"] == 60


def test_pollers_reach_their_bucket_and_themselves(template: Template) -> None:
    """They have the brokers' group: out to S3's addresses by 443, to each other, and nowhere else."""
    group = template.properties("BrokerSecurityGroup")["SecurityGroupEgress"]
    own = [
        found
        for found in template.of("AWS::EC2::SecurityGroupEgress").values()
        if found["GroupId"] == {"Ref": "BrokerSecurityGroup"}
    ]
    assert [found["DestinationSecurityGroupId"] for found in own] == [{"Ref": "BrokerSecurityGroup"}]
    to_s3 = [rule for rule in group if rule.get("DestinationPrefixListId") == {"Ref": "S3PrefixListId"}]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in to_s3] == [(443, 443)]
    assert not [rule for rule in group if rule.get("CidrIp") == "0.0.0.0/0"]
