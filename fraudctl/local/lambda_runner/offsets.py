"""Where the event source mapping begins to read, and what it has to know for that beyond its group's offsets.

A topic that was deleted and made again has another id, and offsets committed before mean nothing in it; so the id they
belong to is kept in a file. Records that were deleted before they were read are a loss, which somebody has to accept.
"""

import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from fraudctl.atomic import atomic_write
from fraudctl.pipeline import kafka

NOTHING_COMMITTED: Final = -1


@dataclass(frozen=True, slots=True)
class Loss:
    """Records of one partition that were deleted unread: offsets from `first` up to, but without, `end`."""

    topic: str
    partition: int
    first: int
    end: int

    def __str__(self) -> str:
        """Name the place, as the problem in the status has it."""
        return f"{self.end - self.first} in partition {self.partition} (offsets {self.first} to {self.end - 1})"

    def to_json(self) -> dict[str, Any]:
        """Return it with the names that `status` has: topic, partition, from, to; `to` is the next offset there is."""
        return {"topic": self.topic, "partition": self.partition, "from": self.first, "to": self.end}


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition at the start: what is committed (-1 for nothing), its log start and its end."""

    number: int
    committed: int
    low: int
    high: int


class Offsets:
    """The file, and the rule for where to begin. Safe for threads."""

    def __init__(self, file: Path, topic: str, wall: Callable[[], float]) -> None:
        """Read the file; a missing or broken one is an empty one."""
        self._file, self._topic, self._wall = file, topic, wall
        self._lock = threading.Lock()
        self._state = _State.read(file)

    def accepted(self) -> list[dict[str, Any]]:
        """Return the losses that were accepted, each with `accepted_at` in epoch milliseconds, the oldest first."""
        with self._lock:
            return [dict(loss) for loss in self._state.accepted]

    def accept(self, losses: Iterable[Loss]) -> list[dict[str, Any]]:
        """Record that these losses are accepted, and return them as recorded; if it raises OSError, none is."""
        with self._lock:
            now = int(self._wall() * 1000)
            found = [{**loss.to_json(), "topic_id": self._state.topic_id, "accepted_at": now} for loss in losses]
            self._write(_State(self._state.topic_id, [*self._state.accepted, *found]))
            return found

    def belong(self, topic_id: str) -> None:
        """Record that the committed offsets are those of the topic with this id. Raises OSError."""
        with self._lock:
            if self._state.topic_id != topic_id:
                self._write(_State(topic_id, self._state.accepted))

    def start(self, partition: Partition, topic_id: str) -> int | Loss:
        """Return the offset to read first, or what was lost before it and is not accepted."""
        with self._lock:
            if self._state.topic_id not in {None, topic_id} or partition.committed > partition.high:
                return partition.low  # another topic's offsets
            if partition.committed <= NOTHING_COMMITTED:
                return partition.low
            first = partition.committed
            for loss in self._state.accepted:
                known = loss["topic_id"] == self._state.topic_id and loss["partition"] == partition.number
                if known and loss["from"] <= first < loss["to"]:
                    first = loss["to"]
        return first if first >= partition.low else Loss(self._topic, partition.number, first, partition.low)

    def _write(self, state: "_State") -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(self._file, json.dumps(asdict(state), indent=2).encode(), durable=True)
        self._state = state


@dataclass(frozen=True, slots=True)
class _State:
    """What the file holds."""

    topic_id: str | None
    accepted: list[dict[str, Any]]

    @classmethod
    def read(cls, file: Path) -> Self:
        try:
            found = json.loads(file.read_bytes())
            return cls(found["topic_id"], list(found["accepted"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls(None, [])


class TopicIds:
    """Asks Kafka for a topic's id."""

    def __init__(self, connection: kafka.Properties, timeout_s: float) -> None:
        """Store the connection; the client is opened with the first question."""
        self._connection, self._timeout_s = connection, timeout_s
        self._client: Any = None

    def __call__(self, topic: str) -> str | None:
        """Return the topic's id, None when there is no such topic. Raises KafkaException when Kafka does not answer."""
        from confluent_kafka import KafkaError, KafkaException, TopicCollection
        from confluent_kafka.admin import AdminClient

        if self._client is None:
            self._client = AdminClient(self._connection)
        asked = self._client.describe_topics(TopicCollection([topic]), request_timeout=self._timeout_s)
        try:
            return str(asked[topic].result().topic_id)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise
