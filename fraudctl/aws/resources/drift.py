"""Drift that every deploy looks for, because it is likely and cheap to detect, and its repair.

A topic deleted by hand stays in the stack as far as CloudFormation knows, so no change set brings it back. Created anew
under its name it has the ARN that the stack knows it by.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from botocore.exceptions import ClientError

from fraudctl.aws.cloudformation.describe import Described
from fraudctl.aws.errors import ConnectionLost, CredentialsExpired, asking
from fraudctl.aws.resources import event_source_mapping
from fraudctl.aws.resources.flink import AwsFlink
from fraudctl.aws.resources.schedule import AwsSchedule
from fraudctl.aws.session import AwsSession, items
from fraudctl.clock import Clock
from fraudctl.errors import FraudctlError, NotDeployed
from fraudctl.pipeline import topics
from fraudctl.target import Change, Event, Phase

REPLICATION: Final = 2
# What Kafka says while its controller moves or its brokers restart (the errors of MSK's CreateTopic); botocore repeats
# none of them.
_PASSING: Final = frozenset(
    {
        "ClusterConnectivityException",
        "ControllerMovedException",
        "KafkaTimeoutException",
        "NotControllerException",
        "ReassignmentInProgressException",
    }
)
_POLL_SECONDS: Final = 3.0
_PASSING_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Drift:
    """What differs. `gone` are resources of the stack deleted by hand, which a change set against drift brings back."""

    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DriftDetector:
    """Compares what the stack describes with what exists."""

    session: AwsSession
    clock: Clock
    flink: AwsFlink
    schedule: AwsSchedule

    def detect(self, stack: Described, *, samples: bool | None) -> Drift:
        """Return what differs: topics, event source mapping, application, and the schedule unless `samples` is None.

        A schedule switched by hand is no drift: that is what `transactions stop` does.
        """
        changes: list[Change] = []
        notes: list[str] = []
        gone: list[str] = []
        try:
            gone_topics = self._missing(stack)
        except FraudctlError as error:
            if isinstance(error, CredentialsExpired | ConnectionLost):
                raise
            # A cluster under maintenance answers no questions, and not everybody may ask: no reason not to deploy.
            notes.append(f"topics were not looked at: {error}")
            gone_topics = []
        why = "the topic is gone: deleted by hand; it comes back empty"
        changes += [Change("repair", topic.name, why) for topic in gone_topics]
        if uuid := stack.outputs.get("EventSourceMappingId"):  # a stack of an older version may not say it
            match event_source_mapping.state(self.session.client("lambda"), uuid):
                case "":
                    gone.append("EventSourceMapping")
                case "Disabled" | "Disabling":
                    changes.append(Change("repair", "mapping", "it is disabled; the audit writer gets nothing"))
        try:
            if (state := self.flink.state()) != "RUNNING":
                changes.append(Change("start", "flink", f"the application is {state}"))
        except NotDeployed:
            gone.append("FlinkApplication")
        if samples is not None and stack.outputs.get("ScheduleName") and self.schedule.status().enabled is not samples:
            changes.append(Change("start" if samples else "stop", "samples"))
        changes += [Change("repair", name, "it is gone: deleted by hand") for name in gone]
        return Drift(tuple(changes), tuple(notes), tuple(gone))

    def repair(self, stack: Described) -> Iterator[Event]:
        """Create missing topics and enable the mapping; starting the application is the deploy's next step anyway."""
        try:
            missing = self._missing(stack)
        except FraudctlError as error:
            if isinstance(error, CredentialsExpired | ConnectionLost):
                raise
            missing = []
        for topic in missing:
            yield Event(topic.name, Phase.STARTED, "creating it again")
            self._create(stack, topic)
            yield Event(topic.name, Phase.DONE, "created again")
        if self._mapping_off(stack):
            client = self.session.client("lambda")
            yield from event_source_mapping.switch(client, self.clock, stack.outputs["EventSourceMappingId"], on=True)

    def start_fresh(self) -> Iterator[Event]:
        """Start the application without its state, so that it reads both input topics from the beginning."""
        yield from self.flink.stop(savepoint=False)
        yield from self.flink.start(fresh=True)

    def _missing(self, stack: Described) -> list[topics.Topic]:
        arn = stack.outputs.get("ClusterArn")
        if not arn:
            return []
        with asking("topics of the cluster"):
            listed = items(self.session.client("kafka"), "list_topics", "Topics", ClusterArn=arn)
            found = {item["TopicName"] for item in listed}
        return [topic for topic in topics.ALL if topic.name not in found and not self._exists(arn, topic)]

    def _exists(self, cluster: str, topic: topics.Topic) -> bool:
        """Return whether a topic is there although MSK's list, which is up to a minute old, lacks it."""
        with asking(f"topic {topic.name}"):
            try:
                self.session.client("kafka").describe_topic(ClusterArn=cluster, TopicName=topic.name)
            except ClientError as error:
                if error.response["Error"]["Code"] not in {"NotFoundException", "UnknownTopicOrPartitionException"}:
                    raise
                return False
        return True

    def _create(self, stack: Described, topic: topics.Topic) -> None:
        lines = "".join(f"{key}={value}\n" for key, value in topic.config.items())
        for waited in self.clock.poll(_POLL_SECONDS):
            with asking(f"topic {topic.name}"):
                try:
                    self.session.client("kafka").create_topic(
                        ClusterArn=stack.outputs["ClusterArn"],
                        TopicName=topic.name,
                        PartitionCount=int(stack.parameters.get("Partitions", topics.PARTITIONS)),
                        ReplicationFactor=REPLICATION,
                        Configs=base64.b64encode(lines.encode()).decode(),
                    )
                except ClientError as error:
                    code = error.response["Error"]["Code"]
                    # What MSK lists is up to a minute old: the topic may be back already.
                    if code == "TopicExistsException":
                        return
                    if code not in _PASSING or waited > _PASSING_SECONDS:
                        raise
                else:
                    return

    def _mapping_off(self, stack: Described) -> bool:
        uuid = stack.outputs.get("EventSourceMappingId", "")
        return bool(uuid) and event_source_mapping.state(self.session.client("lambda"), uuid) in {
            "Disabled",
            "Disabling",
        }
