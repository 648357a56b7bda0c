"""What brokers are asked without changing anything: offsets, times and groups; every method raises KafkaException.

Used on both targets: by the command line on a laptop, and on AWS by the function TopicReader.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, Final

from fraudctl.pipeline import kafka

_ANSWER_SECONDS: Final = 10.0
_READ_SECONDS: Final = 1.0
_FETCH_BYTES: Final = 16 * 1024

Place = tuple[str, int]  # topic and partition


class Questions:
    """Opens its client at first use."""

    def __init__(
        self, connection: Callable[[], Mapping[str, Any]], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Store what gives the client properties; no I/O."""
        self._connection, self._monotonic = connection, monotonic

    def topics(self) -> dict[str, dict[int, Any]]:
        """Return every topic's partitions, as confluent_kafka's PartitionMetadata by number."""
        found = self._client.list_topics(timeout=_ANSWER_SECONDS).topics
        return {name: metadata.partitions for name, metadata in found.items()}

    def offsets(self, places: Iterable[Place], *, latest: bool, committed: bool = False) -> dict[Place, int]:
        """Return the latest (the next to be written) or the earliest offset of partitions.

        With `committed` the latest is the last stable offset: where the oldest open transaction begins, or the end.
        """
        return self.offsets_once(list(places), latest=latest, committed=committed, timeout=_ANSWER_SECONDS)

    def offsets_once(
        self, places: Iterable[Place], *, latest: bool, timeout: float, committed: bool = False
    ) -> dict[Place, int]:
        """Return what `offsets` does, asking once with a time-out in seconds.

        librdkafka asks for the leaders once per request, and waits for the whole `timeout` when the broker did not know
        one of them at that moment.
        """
        from confluent_kafka import IsolationLevel, TopicPartition

        spec = _latest() if latest else _earliest()
        asked = {TopicPartition(topic, partition): spec for topic, partition in places}
        if not asked:
            return {}
        isolation = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        answers = self._client.list_offsets(asked, isolation_level=isolation, request_timeout=timeout)
        return {(place.topic, place.partition): answer.result().offset for place, answer in answers.items()}

    def offsets_at(self, places: Iterable[Place], epoch_ms: int) -> dict[Place, int]:
        """Return the offset of the first record at or after a moment; of a partition without one, nothing."""
        from confluent_kafka import TopicPartition
        from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined] # not in its __all__

        specs: Any = OffsetSpec  # it has no types
        asked = {TopicPartition(topic, partition): specs.for_timestamp(epoch_ms) for topic, partition in places}
        answers = self._client.list_offsets(asked, request_timeout=_ANSWER_SECONDS) if asked else {}
        found = {(place.topic, place.partition): answer.result().offset for place, answer in answers.items()}
        return {place: offset for place, offset in found.items() if offset >= 0}

    def newest(self, places: Iterable[Place]) -> dict[Place, int]:
        """Return the latest time of the records in each partition (epoch milliseconds); of an empty one, nothing."""
        from confluent_kafka import TopicPartition
        from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined] # not in its __all__

        specs: Any = OffsetSpec  # it has no types
        asked = {TopicPartition(topic, partition): specs.max_timestamp() for topic, partition in places}
        answers = self._client.list_offsets(asked, request_timeout=_ANSWER_SECONDS) if asked else {}
        found = {(place.topic, place.partition): answer.result() for place, answer in answers.items()}
        return {place: at.timestamp for place, at in found.items() if at.offset >= 0 and at.timestamp >= 0}

    def published(self, places: Mapping[Place, int]) -> dict[Place, tuple[int, int]]:
        """Return the offset and the time (epoch milliseconds) of the first record at or after each of these offsets.

        Of a partition that has none within a second, nothing.
        """
        from confluent_kafka import TopicPartition

        if not places:
            return {}
        own = {
            "group.id": "fraudctl-reader",
            "enable.auto.commit": False,
            "isolation.level": "read_uncommitted",
            "auto.offset.reset": "earliest",
            # One record of each partition is wanted, and what comes with it is thrown away.
            "max.partition.fetch.bytes": _FETCH_BYTES,
            "fetch.wait.max.ms": 100,
        }
        consumer = kafka.open_consumer({**self._connection(), **own})
        found: dict[Place, tuple[int, int]] = {}
        try:
            consumer.assign([TopicPartition(*place, offset) for place, offset in places.items()])
            deadline = self._monotonic() + _READ_SECONDS
            while len(found) < len(places) and (left := deadline - self._monotonic()) > 0:
                message = consumer.poll(left)
                if message is None or message.error() is not None:
                    continue
                topic, partition, offset = message.topic(), message.partition(), message.offset()
                assert topic is not None and partition is not None and offset is not None  # noqa: S101, PT018 - it has no error
                if (topic, partition) not in found:
                    found[topic, partition] = offset, message.timestamp()[1]
                    consumer.pause([TopicPartition(topic, partition)])
        finally:
            consumer.close()
        return found

    def groups(self) -> list[str]:
        """Return the consumer groups."""
        listed = self._client.list_consumer_groups(request_timeout=_ANSWER_SECONDS).result()
        return sorted(found.group_id for found in listed.valid)

    def committed(self, group: str) -> dict[Place, int]:
        """Return what a group has committed; nothing for one that does not exist."""
        from confluent_kafka import ConsumerGroupTopicPartitions

        # Before its first group a broker has no coordinator, and confluent_kafka 2.16 ends the process on that answer.
        if group not in self.groups():
            return {}
        answers = self._client.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group)], request_timeout=_ANSWER_SECONDS
        )
        return {(p.topic, p.partition): p.offset for p in answers[group].result().topic_partitions if p.offset >= 0}

    def poll(self, seconds: float) -> None:
        """Let the client's callbacks be called."""
        self._client.poll(seconds)

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401 - half of AdminClient has no types
        return kafka.open_admin(dict(self._connection()))


def _latest() -> object:
    from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined] # not in its __all__

    return OffsetSpec.latest()  # type: ignore[no-untyped-call]


def _earliest() -> object:
    from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined] # not in its __all__

    return OffsetSpec.earliest()  # type: ignore[no-untyped-call]
