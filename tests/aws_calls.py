"""The calls of AWS that fraudctl makes, and the permissions that each needs.

Recorded by botocore itself, which tells a port on this machine of every call (client-side monitoring). The permissions
are those of the Service Authorization Reference; most are called as their operation.
"""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from fraudctl.artifacts.resources import resource

POLICY: Final = resource("cfn") / "deployer-policy.json"
PREFIXES: Final = {
    "CloudFormation": "cloudformation",
    "CloudWatch": "cloudwatch",
    "CloudWatch Logs": "logs",
    "DynamoDB": "dynamodb",
    "EC2": "ec2",
    "Kafka": "kafka",
    "Kinesis Analytics V2": "kinesisanalytics",
    "Lambda": "lambda",
    "Resource Groups Tagging API": "tag",
    "S3": "s3",
    "SSM": "ssm",
    "STS": "sts",
    "Scheduler": "scheduler",
}
# Operations whose permissions are called differently. MSK's topic APIs are authorised as Kafka's own operations.
OTHER: Final = {
    "Kafka.CreateTopic": ("kafka-cluster:Connect", "kafka-cluster:CreateTopic"),
    "Kafka.DescribeTopic": (
        "kafka-cluster:Connect",
        "kafka-cluster:DescribeTopic",
        "kafka-cluster:DescribeTopicDynamicConfiguration",
    ),
    "Kafka.UpdateTopic": (
        "kafka-cluster:AlterTopic",
        "kafka-cluster:AlterTopicDynamicConfiguration",
        "kafka-cluster:Connect",
        "kafka-cluster:DescribeTopic",
    ),
    "Kafka.ListClustersV2": ("kafka:ListClustersV2",),
    "Lambda.Invoke": ("lambda:InvokeFunction",),
    "Kafka.ListTopics": ("kafka-cluster:Connect", "kafka-cluster:DescribeTopic"),
    "S3.AbortMultipartUpload": ("s3:AbortMultipartUpload",),
    "S3.CompleteMultipartUpload": ("s3:PutObject",),
    "S3.CreateMultipartUpload": ("s3:PutObject",),
    "S3.DeleteObjects": ("s3:DeleteObject", "s3:DeleteObjectVersion"),
    "S3.HeadBucket": ("s3:ListBucket",),
    "S3.HeadObject": ("s3:GetObject",),
    "S3.ListObjectsV2": ("s3:ListBucket",),
    "S3.ListBuckets": ("s3:ListAllMyBuckets",),
    "S3.ListObjectVersions": ("s3:ListBucketVersions",),
    "S3.PutBucketEncryption": ("s3:PutEncryptionConfiguration",),
    "S3.PutBucketLifecycleConfiguration": ("s3:PutLifecycleConfiguration",),
    "S3.PutPublicAccessBlock": ("s3:PutBucketPublicAccessBlock",),
    "S3.UploadPart": ("s3:PutObject",),
    "Scheduler.UpdateSchedule": ("scheduler:UpdateSchedule", "iam:PassRole"),
    # The parameter belongs to AWS, and anybody may read it who may call this.
    "SSM.GetParameter": ("ssm:GetParameter",),
    # CreateBucket with ObjectOwnership.
    "S3.CreateBucket": ("s3:CreateBucket", "s3:PutBucketOwnershipControls"),
    # A transaction of puts (amazondynamodb: transaction-apis-iam.md).
    "DynamoDB.TransactWriteItems": ("dynamodb:PutItem",),
    # Everybody may ask who they are.
    "STS.GetCallerIdentity": (),
}


# What tests/e2e/test_aws_emulator.py sees.
RECORDED: Final = frozenset(
    {
        "CloudFormation.ContinueUpdateRollback",
        "CloudFormation.CreateChangeSet",
        "CloudFormation.DeleteChangeSet",
        "CloudFormation.DeleteStack",
        "CloudFormation.DescribeChangeSet",
        "CloudFormation.DescribeEvents",
        "CloudFormation.DescribeStackEvents",
        "CloudFormation.DescribeStacks",
        "CloudFormation.ExecuteChangeSet",
        "CloudFormation.ListChangeSets",
        "CloudFormation.ListStackResources",
        "CloudWatch Logs.DescribeLogGroups",
        "CloudWatch Logs.FilterLogEvents",
        "CloudWatch.DescribeAlarms",
        "CloudWatch.GetMetricData",
        "DynamoDB.DeleteTable",
        "DynamoDB.DescribeTable",
        "DynamoDB.ListTagsOfResource",
        "EC2.DescribeAddresses",
        "EC2.DescribeAvailabilityZones",
        "EC2.DescribeInstanceTypeOfferings",
        "EC2.DescribeInstances",
        "EC2.DescribeManagedPrefixLists",
        "EC2.DescribeNatGateways",
        "EC2.DescribeNetworkInterfaces",
        "EC2.DescribeVolumes",
        "Kafka.CreateTopic",
        "Kafka.DescribeClusterV2",
        "Kafka.DescribeTopic",
        "Kafka.GetBootstrapBrokers",
        "Kafka.ListClustersV2",
        "Kafka.ListTopics",
        "Kinesis Analytics V2.CreateApplicationPresignedUrl",
        "Kinesis Analytics V2.DeleteApplicationSnapshot",
        "Kinesis Analytics V2.DescribeApplication",
        "Kinesis Analytics V2.DescribeApplicationOperation",
        "Kinesis Analytics V2.ListApplicationOperations",
        "Kinesis Analytics V2.ListApplicationSnapshots",
        "Kinesis Analytics V2.ListTagsForResource",
        "Kinesis Analytics V2.StartApplication",
        "Kinesis Analytics V2.StopApplication",
        "Kinesis Analytics V2.TagResource",
        "Kinesis Analytics V2.UntagResource",
        "Lambda.GetEventSourceMapping",
        "Lambda.GetFunctionConfiguration",
        "Lambda.Invoke",
        "Lambda.ListFunctions",
        "Lambda.UpdateEventSourceMapping",
        "Resource Groups Tagging API.GetResources",
        "S3.CompleteMultipartUpload",
        "S3.CreateBucket",
        "S3.CreateMultipartUpload",
        "S3.DeleteBucket",
        "S3.DeleteObjects",
        "S3.GetBucketTagging",
        "S3.HeadBucket",
        "S3.HeadObject",
        "S3.ListBuckets",
        "S3.ListObjectVersions",
        "S3.ListObjectsV2",
        "S3.PutBucketEncryption",
        "S3.PutBucketLifecycleConfiguration",
        "S3.PutBucketPolicy",
        "S3.PutBucketTagging",
        "S3.PutBucketVersioning",
        "S3.PutObject",
        "S3.PutPublicAccessBlock",
        "S3.UploadPart",
        "SSM.GetParameter",
        "STS.GetCallerIdentity",
        "Scheduler.GetSchedule",
        "Scheduler.UpdateSchedule",
    }
)
# What that run has no reason for, and why fraudctl calls it.
NOT_IN_THE_RUN: Final = {
    "EC2.DescribeSubnets": "a stack of an older version has no parameters for its zones",
    "SSM.StartSession": "ui topics, by the AWS CLI",
    "CloudWatch Logs.DeleteLogGroup": "a late call of a function made its log group again",
    "DynamoDB.GetItem": "`audit show` reads the row whose id it found",
    "DynamoDB.Query": "`audit`",
    "EC2.DeleteNetworkInterface": "an interface that nothing uses holds a subnet back",
    "Kafka.UpdateTopic": "`topics create` repairs a topic, or adds partitions",
    "S3.AbortMultipartUpload": "an upload breaks off",
    "S3.GetObject": "`status` counts the records in what Lambda put aside; `audit verify --sealed` reads seals",
}


# What the functions' own code was seen to call; tests/e2e compares.
FUNCTION_CALLS: Final = {
    "SampleTransactionGenerator": frozenset[str](),
    "FlagAccountGenerator": frozenset[str](),
    "TopicReader": frozenset[str](),
    "TopicWriter": frozenset[str](),
    "AuditWriter": frozenset({"DynamoDB.PutItem", "S3.PutObject"}),
}


def permissions(call: str) -> tuple[str, ...]:
    """Return what a call, ``Service.Operation``, needs."""
    service, _, operation = call.rpartition(".")
    return OTHER.get(call, (f"{PREFIXES[service]}:{operation}",))


def policy() -> dict[str, Any]:
    """Return the deployer policy."""
    document: dict[str, Any] = json.loads(POLICY.read_text(encoding="utf-8"))
    return document


def patterns() -> list[str]:
    """Return the actions that the deployer policy allows; reading ones may end in a star."""
    found: list[str] = []
    for statement in policy()["Statement"]:
        action = statement["Action"]
        found += [action] if isinstance(action, str) else action
    return found


def allowed(action: str) -> bool:
    """Return whether the deployer policy allows an action, on some resource."""
    return any(fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns())


@dataclass
class Recorder:
    """The calls that programs with its environment have made."""

    port: int
    calls: set[str] = field(default_factory=set)

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that make botocore tell."""
        return {"AWS_CSM_ENABLED": "true", "AWS_CSM_HOST": "127.0.0.1", "AWS_CSM_PORT": str(self.port)}


@contextmanager
def recording() -> Iterator[Recorder]:
    """Listen until the end."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(0.2)
        recorder, ending = Recorder(listener.getsockname()[1]), threading.Event()

        def listen() -> None:
            while True:
                try:
                    event = json.loads(listener.recv(65_535))
                except TimeoutError:
                    if ending.is_set():
                        return
                    continue
                if event["Type"] == "ApiCall":
                    recorder.calls.add(f"{event['Service']}.{event['Api']}")

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield recorder
        finally:
            ending.set()
            thread.join()
