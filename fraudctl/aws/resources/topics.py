"""The pipeline's topics on MSK: what they are by MSK's topic APIs, what they hold by the function TopicReader.

MSK answers from outside the network, about its topics as they were up to a minute ago, and only while the cluster is
ACTIVE (msk, msk-topic-operations-information).
"""

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from botocore.exceptions import ClientError

from fraudctl.aws.errors import asking
from fraudctl.aws.resources.drift import REPLICATION
from fraudctl.aws.resources.reader import TopicReader
from fraudctl.aws.session import items
from fraudctl.clock import Clock
from fraudctl.errors import NotDeployed, OperationFailed, TimedOut, Unreachable
from fraudctl.pipeline import topics
from fraudctl.pipeline.names import FLINK_GROUP
from fraudctl.pipeline.topics import Topic
from fraudctl.services.kafka_errors import translated
from fraudctl.target import ConsumerLag, Event, Origin, PartitionInfo, Phase, Setting, TopicInfo

_NAME: Final = "topics"
_OLD: Final = "MSK lists topics as they were up to a minute ago."
_POLL_SECONDS: Final = 3.0
_READY_SECONDS: Final = 5 * 60.0
# How MSK and CloudFormation say that there is no such cluster, and Kafka that there is no such topic.
_MISSING: Final = frozenset({"NotFoundException", "UnknownTopicOrPartitionException"})


class AwsTopics:
    """Asks MSK with `kafka`, its client, about the cluster whose ARN `cluster` gives, and `reader` about records."""

    def __init__(
        self,
        kafka: Callable[[], Any],
        cluster: Callable[[], str],
        reader: TopicReader,
        clock: Clock,
        *,
        partitions: Callable[[], int] = lambda: topics.PARTITIONS,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Store the collaborators; `partitions` is what the stack gives a topic, `note` tells people. No I/O."""
        self._kafka, self._cluster, self._reader, self._clock = kafka, cluster, reader, clock
        self._partitions, self._note = partitions, note
        self._said = False

    def create(self) -> Iterator[Event]:
        """Create what is missing and repair configuration that differs; raises `Unreachable` or `TimedOut`.

        One topic after the other: Kafka's controller refuses some concurrent changes.
        """
        yield Event(_NAME, Phase.STARTED, "asking MSK for the topics")
        number = self._partitions()
        done: list[str] = []
        for topic in topics.ALL:
            found = self._described(topic.name)
            if found is None:
                yield Event(_NAME, Phase.PROGRESS, f"creating {topic.name}")
                self._create(topic, number)
                done.append(f"{topic.name} created")
            elif wrong := _differences(topic, _config(found)):
                yield Event(_NAME, Phase.PROGRESS, f"changing {topic.name}")
                self._change(topic.name, {**_own(topic, _config(found)), **topic.config})
                done.append(f"{topic.name} repaired")
                for name, (was, now) in wrong.items():
                    yield Event(_NAME, Phase.NOTE, f"{topic.name}: {name} was {was}, is {now} now")
            if found is not None and (count := found.get("PartitionCount", number)) != number:
                yield Event(_NAME, Phase.NOTE, f"{topic.name} has {count} partitions, not {number}")
            yield from self._until_active(topic.name)
        yield Event(_NAME, Phase.DONE, ", ".join(done) or f"all {len(topics.ALL)} as they should be")

    def add_partitions(self, name: str, number: int) -> None:
        """Raise a topic's number of partitions, and wait until it is so; raises `NotDeployed` or `OperationFailed`."""
        with self._asking(f"topic {name}"):
            self._kafka().update_topic(ClusterArn=self._cluster(), TopicName=name, PartitionCount=number)
        for _ in self._until_active(name):
            pass
        for _ in self._clock.poll(_POLL_SECONDS, within=_READY_SECONDS):
            with translated(f"topic {name}"):
                if len(self._reader.partitions([name]).get(name, ())) >= number:
                    return
        raise TimedOut(f"topic {name}: does not have {number} partitions yet", hint="run `fraudctl topics list` later")

    def list(self, *, activity: bool = False) -> list[TopicInfo]:
        """Return every topic of the pipeline, missing ones with ``exists=False``; raises `Unreachable`."""
        del activity  # one question brings all of it
        existing = self._listed()
        with translated(_NAME):
            held = self._reader.partitions([topic.name for topic in topics.ALL])
        # The brokers know better than a list of a minute ago.
        if set(held) != {topic.name for topic in topics.ALL if topic.name in existing}:
            self._say_old()
        return [_info(topic, existing.get(topic.name), held.get(topic.name)) for topic in topics.ALL]

    def describe(self, name: str) -> TopicInfo:
        """Return one topic by its full name, with its configuration; raises `NotDeployed` and `Unreachable`."""
        topic = topics.find(name)
        found = None if topic is None else self._described(name)
        with translated(f"topic {name}"):
            held = self._reader.partitions([name]) if topic is not None else {}
        if topic is None or (found is None and name not in held):
            raise NotDeployed(f"topic {name}: does not exist in Kafka", hint="run `fraudctl topics create`")
        self._say_old()
        config = _config(found or {})
        wrong = _differences(topic, config)
        return replace(
            _info(topic, found, held.get(name)),
            config=config,
            settings=tuple(_setting(topic, key, value, changed=key in wrong) for key, value in sorted(config.items())),
        )

    def consumers(self, *, timed: bool = False) -> Sequence[ConsumerLag]:
        """Return how far each consumer of the pipeline is behind what it has committed; raises `Unreachable`.

        The application commits with its checkpoints, so its lag is up to one interval too large.
        """
        with translated("consumers"):
            return [
                ConsumerLag(
                    found["group"],
                    found["topic"],
                    found["lag"],
                    as_of_checkpoint=found["group"] == FLINK_GROUP,
                    behind_ms=found["behind_ms"],
                )
                for found in self._reader.lags(timed=timed)
            ]

    def committed(self, topic: str) -> Mapping[str, Mapping[int, int]]:
        """Return, by consumer group, the offset in each partition that it has committed; raises `Unreachable`."""
        with translated("consumers"):
            return {
                found["group"]: {int(number): at for number, at in found["committed"].items()}
                for found in self._reader.lags(timed=False)
                if found["topic"] == topic
            }

    def _listed(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the topics as MSK lists them, without Kafka's and MSK's own."""
        with self._asking(_NAME):
            listed = items(self._kafka(), "list_topics", "Topics", ClusterArn=self._cluster())
            return {found["TopicName"]: found for found in listed if not found["TopicName"].startswith("__")}

    def _described(self, name: str) -> Mapping[str, Any] | None:
        """Return a topic as MSK describes it; None for one that does not exist."""
        with self._asking(f"topic {name}"):
            try:
                found: Mapping[str, Any] = self._kafka().describe_topic(ClusterArn=self._cluster(), TopicName=name)
            except ClientError as error:
                if error.response["Error"]["Code"] in _MISSING:
                    return None
                raise
        return found

    def _create(self, topic: Topic, number: int) -> None:
        with self._asking(f"topic {topic.name}"):
            try:
                self._kafka().create_topic(
                    ClusterArn=self._cluster(),
                    TopicName=topic.name,
                    PartitionCount=number,
                    ReplicationFactor=REPLICATION,
                    Configs=_encoded(topic.config),
                )
            except ClientError as error:
                # What MSK describes may be a minute old: the topic may be back already.
                if error.response["Error"]["Code"] != "TopicExistsException":
                    raise

    def _change(self, name: str, config: Mapping[str, str]) -> None:
        with self._asking(f"topic {name}"):
            self._kafka().update_topic(ClusterArn=self._cluster(), TopicName=name, Configs=_encoded(config))

    def _until_active(self, name: str) -> Iterator[Event]:
        state = ""
        for _ in self._clock.poll(_POLL_SECONDS, within=_READY_SECONDS):
            found = self._described(name)
            state = "CREATING" if found is None else str(found.get("Status", "ACTIVE"))
            if state == "ACTIVE":
                return
            yield Event(_NAME, Phase.PROGRESS, f"{name} is {state}")
        raise TimedOut(f"topic {name}: still {state}", hint="run `fraudctl topics create` again")

    def _say_old(self) -> None:
        if not self._said:
            self._note(_OLD)
        self._said = True

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Translate errors as `asking` does; a cluster that is not ACTIVE is what they come from, so it is named."""
        try:
            with asking(what):
                yield
        except OperationFailed as error:
            state = self._state()
            if state in {"", "ACTIVE"}:
                raise
            raise Unreachable(
                f"{what}: the cluster is {state}; MSK answers about topics only while it is ACTIVE",
                hint="wait until it is, then run the command again",
            ) from error

    def _state(self) -> str:
        """Return the cluster's state; empty when that cannot be asked either."""
        try:
            found = self._kafka().describe_cluster_v2(ClusterArn=self._cluster())
        except ClientError:
            return ""
        return str(found["ClusterInfo"].get("State", ""))


def _info(topic: Topic, found: Mapping[str, Any] | None, held: Sequence[Mapping[str, Any]] | None) -> TopicInfo:
    partitions = tuple(PartitionInfo(**_tuples(one)) for one in held or ())
    replication = max((len(one.replicas) for one in partitions), default=0)
    if found is not None and not replication:
        replication = int(found.get("ReplicationFactor", 0))
    return TopicInfo(topic.alias, topic.name, exists=held is not None, partitions=partitions, replication=replication)


def _tuples(one: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in one.items()}


def _config(found: Mapping[str, Any]) -> dict[str, str]:
    """Return a topic's own settings: base64 of a line for each."""
    try:
        text = base64.b64decode(found.get("Configs") or "").decode()
    except (binascii.Error, UnicodeDecodeError):
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _encoded(config: Mapping[str, str]) -> str:
    return base64.b64encode("".join(f"{name}={value}\n" for name, value in config.items()).encode()).decode()


def _differences(topic: Topic, config: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return what is and what should be, by setting."""
    return {
        name: (config.get(name, "not set"), value) for name, value in topic.config.items() if config.get(name) != value
    }


def _own(topic: Topic, config: Mapping[str, str]) -> dict[str, str]:
    """Return what somebody has set beside the pipeline's settings; an update shall leave it."""
    return {name: value for name, value in config.items() if name not in topic.config}


def _setting(topic: Topic, name: str, value: str, *, changed: bool) -> Setting:
    defined = topic.config.get(name)
    origin = Origin.ADDED if defined is None else (Origin.CHANGED if changed else Origin.PIPELINE)
    return Setting(name, value, None, origin, defined)
