"""A stack on a script: what every question of the adapter looks like, and a release that is built already."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stubs import ACCOUNT, ANY, REGION, SET_ID, STACK, STACK_ID, Aws, FakeTime, page, stack

from fraudctl.aws.costs import Cost
from fraudctl.aws.release import Release
from fraudctl.aws.resources.drift import DriftDetector
from fraudctl.aws.resources.flink import AwsFlink
from fraudctl.aws.resources.schedule import AwsSchedule
from fraudctl.aws.stack import AwsStack
from fraudctl.target import Event

TEMPLATE = """Parameters:
  ArtifactBucket:
    Type: String
  BootstrapServers:
    Type: String
    Default: PENDING
  BrokerVolumeGiB:
    Type: Number
    Default: 20
  HoldMs:
    Type: Number
  AdoptAuditTable:
    Type: String
    Default: "false"
  AdoptOnFailureBucket:
    Type: String
    Default: "false"
Resources: {}
"""
MAPPING = "0a1b2c3d-0000-4000-8000-000000000001"
CLUSTER = f"arn:aws:kafka:{REGION}:{ACCOUNT}:cluster/{STACK}/1"
OUTPUTS = {
    "ClusterArn": CLUSTER,
    "AuditTableName": f"{STACK}-audit",
    "FlinkApplicationName": f"{STACK}-detection",
    "EventSourceMappingId": MAPPING,
    "ScheduleName": f"{STACK}-samples",
    "BootstrapServers": "b-1:9098,b-2:9098",
    "HoldMs": "60000",
    "SlackMs": "5000",
}
VALUES = {"ArtifactBucket": "artifacts", "BootstrapServers": "b-1:9098,b-2:9098", "BrokerVolumeGiB": "20"}
TOPICS = ("demo_transactions", "flagged_accounts", "processed_topic", "dead_letters")


@dataclass
class FakeRelease(Release):
    """A release that is built already; `steps` notes what was done with it."""

    steps: list[str] = field(default_factory=list)

    def template(self) -> str:
        """Return a small template."""
        return TEMPLATE

    def template_url(self, _: str) -> str:
        """Say that it is short enough for a call."""
        return ""

    def withdraw(self) -> None:
        """Do nothing: no bucket was made."""

    def build(self) -> Iterator[Event]:
        """Note it."""
        self.steps.append("prepare")
        yield from ()

    def parameters(self) -> Mapping[str, str]:
        """Return the bucket."""
        return {"ArtifactBucket": "artifacts"}

    def publish(self) -> Iterator[Event]:
        """Note it."""
        self.steps.append("publish")
        yield from ()

    def costs(self, parameters: Mapping[str, str]) -> Sequence[Cost]:
        """Return a price that depends on a default."""
        return [Cost("Cluster", "brokers", float(parameters["BrokerVolumeGiB"]) / 100), Cost("Other", "other", None)]

    def remove(self) -> Iterator[Event]:
        """Note it."""
        self.steps.append("remove")
        yield from ()


@dataclass
class Bench:
    """A stack on a script."""

    aws: Aws
    time: FakeTime = field(default_factory=FakeTime)
    release: FakeRelease = field(default_factory=FakeRelease)

    def stack(self, name: str = STACK) -> AwsStack:
        """Return it."""
        session, clock = self.aws.session(), self.time.clock()
        flink = AwsFlink(lambda: session.client("kinesisanalyticsv2"), lambda: f"{STACK}-detection", clock)
        schedule = AwsSchedule(lambda: session.client("scheduler"), lambda: f"{STACK}-samples")
        drift = DriftDetector(session, clock, flink, schedule)
        return AwsStack(name, session, self.release, drift, clock, {}, lambda: "token")

    def identity(self) -> None:
        """Expect the question who we are."""
        self.aws.on("sts").get_caller_identity().returns({"Account": ACCOUNT})

    def found(self, status: str, **more: Any) -> None:
        """Expect the question for the stack by its name."""
        answer = stack(status, **{"outputs": OUTPUTS, "parameters": VALUES, **more})
        self.aws.on("cloudformation").describe_stacks(StackName=STACK).returns(answer)

    def brokers(self, servers: str = "b-2:9098,b-1:9098") -> None:
        """Expect the question for the bootstrap string; MSK gives its hosts in any order."""
        answer = {"BootstrapBrokerStringSaslIam": servers}
        self.aws.on("kafka").get_bootstrap_brokers(ClusterArn=CLUSTER).returns(answer)

    def healthy(
        self,
        topics: Sequence[str] = TOPICS,
        mapping: str = "Enabled",
        flink: str = "RUNNING",
        *,
        unlisted: Sequence[str] = (),
    ) -> None:
        """Expect the look for drift."""
        self.topics_and_mapping(topics, mapping, unlisted=unlisted)
        self.application(flink)

    def topics_and_mapping(
        self, topics: Sequence[str] = TOPICS, mapping: str = "Enabled", *, unlisted: Sequence[str] = ()
    ) -> None:
        """Expect the questions for the topics and for the mapping; `unlisted` topics exist all the same."""
        listed = {"Topics": [{"TopicName": name} for name in topics]}
        self.aws.on("kafka").list_topics(ClusterArn=CLUSTER).returns(listed)
        for name in TOPICS:
            if name not in topics:
                self.described(name, there=name in unlisted)
        self.aws.on("lambda").get_event_source_mapping(UUID=MAPPING).returns({"State": mapping})

    def described(self, topic: str, *, there: bool) -> None:
        """Expect the question for one topic that the list lacks."""
        asked = self.aws.on("kafka").describe_topic(ClusterArn=CLUSTER, TopicName=topic)
        asked.returns({"TopicName": topic}) if there else asked.fails("NotFoundException", "no such topic")

    def executed(self, set_id: str = SET_ID) -> None:
        """Expect the order to execute a change set."""
        self.aws.on("cloudformation").execute_change_set(ChangeSetName=set_id, ClientRequestToken="token").returns()

    def application(self, status: str) -> None:
        """Expect the question for the application."""
        detail = {
            "ApplicationARN": f"arn:aws:kinesisanalytics:{REGION}:{ACCOUNT}:application/x",
            "ApplicationName": f"{STACK}-detection",
            "RuntimeEnvironment": "FLINK-1_20",
            "ApplicationStatus": status,
            "ApplicationVersionId": 1,
        }
        self.aws.on("kinesisanalyticsv2").describe_application(ApplicationName=f"{STACK}-detection").returns(
            {"ApplicationDetail": detail}
        )

    def change_set(
        self,
        kind: str,
        parameters: list[dict[str, Any]],
        changes: Sequence[dict[str, Any]] = (),
        set_id: str = SET_ID,
    ) -> None:
        """Expect a change set to be asked for; without changes it fails as CloudFormation's do, and is removed."""
        cloudformation = self.aws.on("cloudformation")
        cloudformation.create_change_set(
            StackName=STACK,
            ChangeSetName=ANY,
            ChangeSetType=kind,
            Parameters=parameters,
            Tags=[{"Key": "fraudctl:stack", "Value": STACK}],
            Capabilities=["CAPABILITY_IAM"],
            TemplateBody=TEMPLATE,
        ).returns({"Id": set_id, "StackId": STACK_ID})
        answer: dict[str, Any] = {"Status": "CREATE_COMPLETE", "Changes": [*changes]}
        if not changes:
            answer = {"Status": "FAILED", "StatusReason": "The submitted information didn't contain changes."}
        cloudformation.describe_change_set(ChangeSetName=set_id, IncludePropertyValues=True).returns(answer)
        if not changes:
            cloudformation.delete_change_set(ChangeSetName=set_id).returns()

    def operation(self, *events: dict[str, Any]) -> None:
        """Expect the events of an operation."""
        self.aws.on("cloudformation").describe_stack_events(StackName=STACK_ID).returns(page(*events))

    def unused_names(self) -> None:
        """Expect the questions whether names are free: table, bucket, cluster."""
        self.aws.on("dynamodb").describe_table(TableName=f"{STACK}-audit").fails("ResourceNotFoundException")
        self.no_bucket()
        self.free_cluster()

    def no_bucket(self) -> None:
        """Expect the question for the on-failure bucket."""
        name = f"{STACK}-failed-{ACCOUNT}-{REGION}"
        self.aws.on("s3").head_bucket(Bucket=name, ExpectedBucketOwner=ACCOUNT).fails("404")

    def free_cluster(self) -> None:
        """Expect the question for a cluster of this name."""
        self.aws.on("kafka").list_clusters_v2(ClusterNameFilter=STACK).returns({"ClusterInfoList": []})


SAME: list[dict[str, Any]] = [
    {"ParameterKey": "ArtifactBucket", "UsePreviousValue": True},
    {"ParameterKey": "BootstrapServers", "UsePreviousValue": True},
    {"ParameterKey": "BrokerVolumeGiB", "UsePreviousValue": True},
]
FIRST: list[dict[str, Any]] = [{"ParameterKey": "ArtifactBucket", "ParameterValue": "artifacts"}]


def change(name: str, kind: str, action: str = "Add", **more: Any) -> dict[str, Any]:
    """Return one change of a change set."""
    found = {"Action": action, "LogicalResourceId": name, "ResourceType": kind, **more}
    return {"Type": "Resource", "ResourceChange": found}
