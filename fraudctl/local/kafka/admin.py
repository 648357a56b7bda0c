"""Kafka's admin protocol as far as it changes or explains topics; every method raises KafkaException."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from fraudctl.clock import Clock
from fraudctl.pipeline.questions import Place, Questions
from fraudctl.pipeline.topics import PARTITIONS
from fraudctl.target import OpenTransaction

_ANSWER_SECONDS: Final = 10.0
_REPLICATION: Final = 1
_PAUSE_SECONDS: Final = 0.02
_FIRST_ATTEMPT_SECONDS: Final = 1.0

Configs = dict[str, dict[str, str]]


class Found(NamedTuple):
    """A setting of a topic as the brokers have it: `own` is set for this topic.

    `default` is Kafka's own; None where it does not tell, as for what the broker has in hours (``retention.ms``).
    """

    name: str
    value: str
    default: str | None
    own: bool


class KafkaAdmin(Questions):
    """Asks the brokers, and changes topics."""

    def __init__(
        self,
        connection: Callable[[], Mapping[str, Any]],
        *,
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        """Store what gives the client properties; no I/O."""
        super().__init__(connection, monotonic=clock.monotonic)
        self._clock = clock

    def create(self, configs: Configs, partitions: int = PARTITIONS) -> None:
        """Create topics with their configurations and so many partitions, unless they exist.

        They cannot be used before their partitions have leaders: see `have_leaders`.
        """
        from confluent_kafka import KafkaError, KafkaException
        from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined] # not in its __all__

        if not configs:
            return
        new = [NewTopic(name, partitions, _REPLICATION, config=config) for name, config in configs.items()]
        answers = self._client.create_topics(new, operation_timeout=_ANSWER_SECONDS, request_timeout=_ANSWER_SECONDS)
        for answer in answers.values():
            try:
                answer.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise

    def have_leaders(self, places: Iterable[Place]) -> bool:
        """Return whether these partitions can be used."""
        from confluent_kafka import KafkaException

        try:
            self.offsets_once(places, latest=True, timeout=_FIRST_ATTEMPT_SECONDS)
        except KafkaException as error:
            if error.args[0].code() not in _not_yet():
                raise
            return False
        return True

    def add_partitions(self, name: str, number: int) -> None:
        """Raise a topic's number of partitions, and wait until each has its leader."""
        from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined] # not in its __all__

        answers = self._client.create_partitions(
            [NewPartitions(name, number)], operation_timeout=_ANSWER_SECONDS, request_timeout=_ANSWER_SECONDS
        )
        answers[name].result()
        # A client that has asked for the topic's offsets before goes on answering from the partitions that it knew.
        fresh = KafkaAdmin(self._connection, clock=self._clock)
        fresh.offsets(((name, partition) for partition in range(number)), latest=True)

    def configs(self, names: Sequence[str]) -> Configs:
        """Return each topic's own configuration, the broker's defaults left out."""
        from confluent_kafka.admin import (  # type: ignore[attr-defined] # not in its __all__
            ConfigResource,
            ConfigSource,
            ResourceType,
        )

        if not names:
            return {}
        own = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
        asked = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        answers = self._client.describe_configs(asked, request_timeout=_ANSWER_SECONDS)
        return {
            resource.name: {entry.name: entry.value for entry in answer.result().values() if entry.source == own}
            for resource, answer in answers.items()
        }

    def settings(self, name: str) -> list[Found]:
        """Return a topic's settings whose value is not what Kafka has by default, or that are set for the topic."""
        from confluent_kafka.admin import (  # type: ignore[attr-defined] # not in its __all__
            ConfigResource,
            ConfigSource,
            ResourceType,
        )

        own, default = ConfigSource.DYNAMIC_TOPIC_CONFIG.value, ConfigSource.DEFAULT_CONFIG.value
        asked = [ConfigResource(ResourceType.TOPIC, name)]
        (answer,) = self._client.describe_configs(asked, request_timeout=_ANSWER_SECONDS).values()
        found = []
        for entry in answer.result().values():
            if entry.source == default or entry.value is None:
                continue
            # The name on the broker's side (log.retention.bytes) may be another, the source says which value it is.
            defaults = [synonym.value for synonym in (entry.synonyms or {}).values() if synonym.source == default]
            found.append(Found(entry.name, entry.value, defaults[0] if defaults else None, own=entry.source == own))
        return sorted(found, key=lambda one: (not one.own, one.name))

    def change(self, configs: Configs) -> None:
        """Set what is given of each topic's configuration and leave the rest."""
        from confluent_kafka.admin import (  # type: ignore[attr-defined] # not in its __all__
            AlterConfigOpType,
            ConfigEntry,
            ConfigResource,
            ResourceType,
        )

        resources = [
            ConfigResource(
                ResourceType.TOPIC,
                topic,
                incremental_configs=[
                    ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                    for name, value in config.items()
                ],
            )
            for topic, config in configs.items()
        ]
        if resources:
            for answer in self._client.incremental_alter_configs(resources, request_timeout=_ANSWER_SECONDS).values():
                answer.result()

    def offsets(self, places: Iterable[Place], *, latest: bool, committed: bool = False) -> dict[Place, int]:
        """Return the latest (the next to be written) or the earliest offset of partitions.

        With `committed` the latest is the last stable offset: where the oldest open transaction begins, or the end. New
        partitions have no leader for a moment, which is waited for.
        """
        from confluent_kafka import KafkaException

        places, timeout, last = list(places), _FIRST_ATTEMPT_SECONDS, None
        for waited in self._clock.poll(_PAUSE_SECONDS, within=_ANSWER_SECONDS):
            try:
                return self.offsets_once(places, latest=latest, committed=committed, timeout=timeout)
            except KafkaException as error:
                if error.args[0].code() not in _not_yet():
                    raise
                last = error
                # librdkafka goes on answering from what it knows, "no leaders", until all metadata is asked for anew.
                self._client.list_topics(timeout=_ANSWER_SECONDS)
            timeout = min(2 * timeout, max(_FIRST_ATTEMPT_SECONDS, _ANSWER_SECONDS - waited))
        assert last is not None  # noqa: S101 - the loop has at least one turn
        raise last

    def topic_ids(self, names: Iterable[str]) -> dict[str, str]:
        """Return the ids of those topics that exist; one that is deleted and created anew has another."""
        from confluent_kafka import KafkaError, KafkaException, TopicCollection

        found = {}
        asked = list(names)
        answers = self._client.describe_topics(TopicCollection(asked), request_timeout=_ANSWER_SECONDS) if asked else {}
        for name, answer in answers.items():
            try:
                found[name] = str(answer.result().topic_id)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
        return found

    def open_transactions(self, names: Iterable[str]) -> list[OpenTransaction]:
        """Return what open transactions hold back, for each partition of the topics where there is one.

        librdkafka cannot ask for the producers of a partition (DescribeProducers), so they are known by what they do:
        the last stable offset lies before the end.
        """
        topics = self.topics()
        places = [(name, number) for name in names for number in topics.get(name, ())]
        stable = self.offsets(places, latest=True, committed=True)  # asked first: an end only grows
        ends = self.offsets(places, latest=True)
        held = {place: at for place, at in sorted(stable.items()) if at < ends[place]}
        times = {place: time for place, (offset, time) in self.published(held).items() if offset == held[place]}
        return [OpenTransaction(*place, at, ends[place] - at, times.get(place)) for place, at in held.items()]


def _not_yet() -> frozenset[int]:
    """Return the codes by which a broker, or librdkafka, says that a partition's leader is not known yet."""
    from confluent_kafka import KafkaError

    return frozenset(
        {
            KafkaError.NOT_LEADER_FOR_PARTITION,
            KafkaError.LEADER_NOT_AVAILABLE,
            KafkaError.UNKNOWN_LEADER_EPOCH,  # a broker that has just started, with data, does not know yet
            KafkaError.FENCED_LEADER_EPOCH,
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            KafkaError._NOENT,  # noqa: SLF001 - how librdkafka says that it found no leader
            KafkaError._TIMED_OUT,  # noqa: SLF001 - of one attempt
        }
    )
