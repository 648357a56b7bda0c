"""What fraudctl knows of each type of resource in the template, one row per type.

Adding a resource of a new type touches the template and this table; tests/contract/test_template.py requires a row for
every type of the template. Plans, the guard, the events shown while waiting and the proof of a teardown read it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One row.

    Attributes:
        service: The third field of its ARNs.
        noun: What the proof of a teardown calls one that is left.
        removal: The AWS CLI's command that removes it, with ``{}`` for its id. Empty when one that is left costs
            nothing by the hour, or goes with another; the proof does not look for those.
        loss: What is lost with it. Empty when it holds no data; the guard lets those be replaced.
        minutes: How long CREATE, UPDATE and DELETE usually take; a verb that is missing takes a minute or two.
        waiting: What is shown while CREATE, UPDATE or DELETE goes on, where it takes long enough to be told.
        skipped: What is shown when a deletion leaves it out.
    """

    service: str
    noun: str = ""
    removal: str = ""
    loss: str = ""
    minutes: Mapping[str, int] = field(default_factory=dict)
    waiting: Mapping[str, str] = field(default_factory=dict)
    skipped: str = "kept"


_INTERFACES: Final = {"DELETE": "waits for network interfaces, up to 40 min"}

RESOURCE_TYPES: Final[Mapping[str, ResourceType]] = {
    "AWS::CloudFormation::Stack": ResourceType("cloudformation"),
    "AWS::CloudWatch::Alarm": ResourceType("cloudwatch"),
    "AWS::DynamoDB::Table": ResourceType(
        "dynamodb",
        noun="table",
        removal="dynamodb delete-table --table-name {}",
        loss="every row of the audit table",
    ),
    "AWS::EC2::EIP": ResourceType("ec2", noun="address", removal="ec2 release-address --allocation-id {}"),
    "AWS::EC2::Instance": ResourceType("ec2", noun="instance", removal="ec2 terminate-instances --instance-ids {}"),
    "AWS::EC2::InternetGateway": ResourceType("ec2"),
    "AWS::EC2::NatGateway": ResourceType(
        "ec2",
        noun="gateway",
        removal="ec2 delete-nat-gateway --nat-gateway-id {}",
        minutes={"CREATE": 2},
        waiting={"CREATE": "NAT gateways take 2 min"},
    ),
    # Functions and instances make network interfaces and volumes; the template has none of its own.
    "AWS::EC2::NetworkInterface": ResourceType(
        "ec2", noun="interface", removal="ec2 delete-network-interface --network-interface-id {}"
    ),
    "AWS::EC2::Volume": ResourceType("ec2", noun="volume", removal="ec2 delete-volume --volume-id {}"),
    "AWS::EC2::Route": ResourceType("ec2"),
    "AWS::EC2::RouteTable": ResourceType("ec2"),
    "AWS::EC2::SecurityGroup": ResourceType("ec2", waiting=_INTERFACES),
    "AWS::EC2::SecurityGroupEgress": ResourceType("ec2"),
    "AWS::EC2::SecurityGroupIngress": ResourceType("ec2"),
    "AWS::EC2::Subnet": ResourceType("ec2", waiting=_INTERFACES),
    "AWS::EC2::SubnetRouteTableAssociation": ResourceType("ec2"),
    "AWS::EC2::VPC": ResourceType("ec2"),
    "AWS::EC2::VPCEndpoint": ResourceType("ec2"),
    "AWS::EC2::VPCGatewayAttachment": ResourceType("ec2"),
    "AWS::IAM::InstanceProfile": ResourceType("iam"),
    "AWS::IAM::ManagedPolicy": ResourceType("iam"),
    "AWS::IAM::Role": ResourceType("iam"),
    "AWS::KinesisAnalyticsV2::Application": ResourceType(
        "kinesisanalytics",
        noun="application",
        removal="kinesisanalyticsv2 delete-application --application-name {}",
        loss="the application's state and snapshots",
        minutes={"CREATE": 2, "UPDATE": 3},
        waiting={"UPDATE": "a running application is restarted, some 2 min"},
    ),
    "AWS::KinesisAnalyticsV2::ApplicationCloudWatchLoggingOption": ResourceType("kinesisanalytics"),
    "AWS::Lambda::EventInvokeConfig": ResourceType("lambda"),
    "AWS::Lambda::EventSourceMapping": ResourceType("lambda"),
    "AWS::Lambda::Function": ResourceType(
        "lambda",
        noun="function",
        removal="lambda delete-function --function-name {}",
        waiting={"DELETE": "network interfaces of functions take up to 40 min to go"},
    ),
    "AWS::Logs::LogGroup": ResourceType("logs", noun="log-group", removal="logs delete-log-group --log-group-name {}"),
    "AWS::Logs::LogStream": ResourceType("logs"),
    "AWS::Logs::MetricFilter": ResourceType("logs"),
    "AWS::MSK::Cluster": ResourceType(
        "kafka",
        noun="cluster",
        removal="kafka delete-cluster --cluster-arn {}",
        loss="every topic and every record in it",
        minutes={"CREATE": 31, "UPDATE": 25, "DELETE": 15},
        waiting={
            "CREATE": "MSK clusters take 20–35 min",
            "UPDATE": "MSK clusters take up to 60 min to change",
            "DELETE": "MSK clusters take 5–30 min to go",
        },
    ),
    "AWS::MSK::Configuration": ResourceType("kafka"),
    "AWS::MSK::Topic": ResourceType("kafka", loss="every record in this topic", skipped="goes with its cluster"),
    "AWS::S3::Bucket": ResourceType(
        "s3", noun="bucket", removal="s3 rb s3://{} --force", loss="every object in the bucket"
    ),
    "AWS::S3::BucketPolicy": ResourceType("s3"),
    "AWS::SNS::Topic": ResourceType("sns"),
    "AWS::Scheduler::Schedule": ResourceType("scheduler"),
}
_UNKNOWN: Final = ResourceType("")


def of(name: str) -> ResourceType:
    """Return the row of a type; an empty one for a type that a stack has but this version's template has not."""
    return RESOURCE_TYPES.get(name, _UNKNOWN)


def services() -> frozenset[str]:
    """Return the services of all types: what they hold is either looked for by name or costs nothing by the hour."""
    return frozenset(kind.service for kind in RESOURCE_TYPES.values())
