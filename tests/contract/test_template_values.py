"""The template's values, as AWS's own models judge them: enumerations, patterns, lengths and ranges.

CloudFormation hands a resource's properties to the service's API under nearly the same names, so botocore's model of
that API says what the service refuses. Values that only a deploy makes are stood in for by ones of the right form.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import boto3
import pytest
from templates import LONGEST, Template, load

# Type → service and operation that get its properties.
OPERATIONS: Final = {
    "AWS::CloudWatch::Alarm": ("cloudwatch", "PutMetricAlarm"),
    "AWS::DynamoDB::Table": ("dynamodb", "CreateTable"),
    "AWS::KinesisAnalyticsV2::Application": ("kinesisanalyticsv2", "CreateApplication"),
    "AWS::Lambda::EventInvokeConfig": ("lambda", "PutFunctionEventInvokeConfig"),
    "AWS::Lambda::EventSourceMapping": ("lambda", "CreateEventSourceMapping"),
    "AWS::Lambda::Function": ("lambda", "CreateFunction"),
    "AWS::Logs::LogGroup": ("logs", "CreateLogGroup"),
    "AWS::Logs::MetricFilter": ("logs", "PutMetricFilter"),
    "AWS::MSK::Cluster": ("kafka", "CreateCluster"),
    "AWS::MSK::Topic": ("kafka", "CreateTopic"),
    "AWS::Scheduler::Schedule": ("scheduler", "CreateSchedule"),
}
# What CloudFormation takes under a name of its own, or hands to another operation.
ELSEWHERE: Final = {
    "AWS::DynamoDB::Table": {"PointInTimeRecoverySpecification"},
    "AWS::KinesisAnalyticsV2::Application": {"RunConfiguration"},
    "AWS::Logs::LogGroup": {"RetentionInDays"},
}
STAND_INS: Final = {
    "ArtifactBucket": "fraud-detection-artifacts",
    "ClusterArn": "arn:aws:kafka:ap-southeast-1:111111111111:cluster/demo/4d3c9a5e-0000-4000-8000-000000000000-1",
    "BootstrapServers": "b-1.demo.x.c1.kafka.ap-southeast-1.amazonaws.com:9098",
    "AlarmEmail": "somebody@example.com",
}
ROLE: Final = "arn:aws:iam::111111111111:role/demo"
FUNCTION: Final = "arn:aws:lambda:ap-southeast-1:111111111111:function:demo"


@pytest.fixture
def template() -> Template:
    """Read the template."""
    return load()


@cache
def model(service: str, operation: str) -> Any:
    """Return what an operation takes."""
    session: Any = boto3.Session("x", "x", region_name="eu-west-1")  # its types know services by their names only
    return session.client(service).meta.service_model.operation_model(operation).input_shape


def resolved(template: Template, value: Any) -> Any:
    """Return a value with intrinsics replaced, parameters by their defaults, resources by stand-ins."""
    if isinstance(value, list):
        return [resolved(template, item) for item in value if item != {"Ref": "AWS::NoValue"}]
    if not isinstance(value, dict):
        return value
    match next(iter(value.items()), ("", None)):
        case ("Ref", name):
            found = named(template, name)
        case ("Fn::If", (_, chosen, _)):
            found = resolved(template, chosen)
        case ("Fn::Base64", _):
            found = "eA=="
        case ("Fn::GetAtt", (_, "LatestRevision.Revision")):
            found = 1
        case ("Fn::GetAtt", (name, _)):
            found = ROLE if template.resources[name]["Type"] == "AWS::IAM::Role" else FUNCTION
        case ("Fn::Sub", pattern):
            found = re.sub(r"\$\{([^}]+)\}", lambda match: str(named(template, match[1])), pattern)
        case _:
            found = {key: resolved(template, inner) for key, inner in value.items()}
    return found


def named(template: Template, name: str) -> Any:
    """Return what a name stands for."""
    if name in LONGEST:
        return LONGEST[name]
    if name in template.data["Parameters"]:
        found = template.data["Parameters"][name]
        return STAND_INS.get(name, found.get("Default") or "fraud-detection-aws-0.jar")
    kind = template.resources[name]["Type"]
    return {
        "AWS::MSK::Cluster": STAND_INS["ClusterArn"],
        "AWS::MSK::Configuration": STAND_INS["ClusterArn"].replace(":cluster/", ":configuration/"),
        "AWS::EC2::Subnet": "subnet-0123456789abcdef0",
        "AWS::EC2::SecurityGroup": "sg-0123456789abcdef0",
        "AWS::SNS::Topic": "arn:aws:sns:ap-southeast-1:111111111111:demo",
        "AWS::Lambda::EventSourceMapping": "4d3c9a5e-0000-4000-8000-000000000000",
    }.get(kind, "demo")


def faults(where: str, value: Any, shape: Any) -> Iterator[str]:
    """Yield what the model refuses."""
    limits = shape.metadata
    match shape.type_name:
        case "structure":
            yield from _structure(where, value, shape)
        case "list":
            yield from _size(where, len(value), limits)
            for number, inner in enumerate(value):
                yield from faults(f"{where}[{number}]", inner, shape.member)
        case "map":
            yield from _map(where, value, shape)
        case "string":
            yield from _string(where, str(value), shape)
        case "integer" | "long" | "float" | "double":
            yield from _size(where, float(value), limits)


def _structure(where: str, value: dict[str, Any], shape: Any) -> Iterator[str]:
    members = {name.lower(): member for name, member in shape.members.items()}
    given = {key.lower(): (key, inner) for key, inner in value.items()}
    for lower, (key, inner) in given.items():
        if lower in members:
            yield from faults(f"{where}.{key}", inner, members[lower])
        else:
            yield f"{where}.{key}: unknown"
    yield from (f"{where}: without {name}" for name in shape.required_members if name.lower() not in given)


def _map(where: str, value: Any, shape: Any) -> Iterator[str]:
    if isinstance(value, list):  # CloudFormation's form of tags
        value = {tag["Key"]: tag["Value"] for tag in value}
    yield from _size(where, len(value), shape.metadata)
    for key, inner in value.items():
        yield from faults(f"{where}.{key}", key, shape.key)
        yield from faults(f"{where}.{key}", inner, shape.value)


def _string(where: str, value: str, shape: Any) -> Iterator[str]:
    yield from _size(where, len(value), shape.metadata)
    if shape.enum and value not in shape.enum:
        yield f"{where}: {value} is not one of {', '.join(shape.enum)}"
    # Java's expressions; those that Python does not read are left out.
    pattern = shape.metadata.get("pattern", "")
    if pattern and r"\p" not in pattern and not re.fullmatch(pattern, value):
        yield f"{where}: {value} does not match {pattern}"


def _size(where: str, size: float, limits: dict[str, Any]) -> Iterator[str]:
    if size < limits.get("min", size) or size > limits.get("max", size):
        yield f"{where}: {size:g} is not within {limits.get('min')} and {limits.get('max')}"


def prepared(kind: str, properties: dict[str, Any]) -> dict[str, Any]:
    """Return properties in the API's form, where CloudFormation has one of its own."""
    found = {key: value for key, value in properties.items() if key not in ELSEWHERE.get(kind, set())}
    if kind == "AWS::KinesisAnalyticsV2::Application":
        code = found["ApplicationConfiguration"]["ApplicationCodeConfiguration"]["CodeContent"]
        code["S3ContentLocation"]["BucketARN"] = "arn:aws:s3:::fraud-detection-artifacts"
    if kind == "AWS::Logs::MetricFilter":
        found["FilterName"] = "made by CloudFormation"
    if kind == "AWS::Lambda::EventInvokeConfig":
        found["FunctionName"] = FUNCTION
    return found


@pytest.mark.parametrize("kind", OPERATIONS)
def test_values_are_what_the_service_takes(template: Template, kind: str) -> None:
    """Each resource of these types, with the defaults of the parameters, passes the model of its API."""
    shape = model(*OPERATIONS[kind])
    found = [
        fault
        for name, properties in template.of(kind).items()
        for fault in faults(name, prepared(kind, resolved(template, properties)), shape)
    ]
    assert not found


def test_the_models_refuse_what_is_wrong(template: Template) -> None:
    """The check can fail: each kind of limit, in values that are otherwise the template's."""
    mapping = resolved(template, template.properties("EventSourceMapping"))
    shape = model(*OPERATIONS["AWS::Lambda::EventSourceMapping"])
    wrong = {**mapping, "BatchSize": 10_001, "StartingPosition": "OLDEST", "Topics": [], "Window": 0}
    wrong["AmazonManagedKafkaEventSourceConfig"] = {"ConsumerGroupId": "g" * 201}
    assert {fault.split(":")[0] for fault in faults("m", wrong, shape)} == {
        *("m.BatchSize", "m.StartingPosition", "m.Topics", "m.Window"),
        "m.AmazonManagedKafkaEventSourceConfig.ConsumerGroupId",
    }
