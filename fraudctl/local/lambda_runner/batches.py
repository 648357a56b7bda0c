"""MSK events: what Lambda hands to a function for Kafka records, and what it reads from the answer."""

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from fraudctl.local.lambda_runner.functions import PAYLOAD_LIMIT
from fraudctl.pipeline import kafka

if TYPE_CHECKING:
    from confluent_kafka import Message

CLUSTER_ARN: Final = "arn:aws:kafka:local:000000000000:cluster/local/00000000-0000-0000-0000-000000000000-0"
_TIMESTAMP_TYPES: Final = {0: "NO_TIMESTAMP_TYPE", 1: "CREATE_TIME", 2: "LOG_APPEND_TIME"}
_ROOM: Final = 64 * 1024  # for the event around the records


@dataclass(frozen=True, slots=True)
class Delivered:
    """One record as the event has it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    body: Mapping[str, Any] = field(compare=False, repr=False)
    size: int = field(compare=False, repr=False)

    @classmethod
    def of(cls, message: "Message") -> Self:
        """Take a consumed message that is no error."""
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None and partition is not None and offset is not None  # noqa: S101, PT018 - it is no error
        kind, timestamp = message.timestamp()
        body = {
            "topic": topic,
            "partition": partition,
            "offset": offset,
            "timestamp": timestamp,
            "timestampType": _TIMESTAMP_TYPES[kind],
            **_base64("key", message.key()),
            **_base64("value", message.value()),
            "headers": [{name: list(value or b"")} for name, value in kafka.headers(message)],
        }
        return cls(topic, partition, offset, timestamp, body, len(json.dumps(body)))

    @property
    def place(self) -> tuple[str, int]:
        """Return the record's identifier in events and answers: ``topic-partition`` and offset."""
        return f"{self.topic}-{self.partition}", self.offset


def event(records: Iterable[Delivered], bootstrap_servers: str) -> dict[str, Any]:
    """Build the MSK event of the records, each partition's in their order."""
    by_partition: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        by_partition.setdefault(record.place[0], []).append(record.body)
    return {
        "eventSource": "aws:kafka",
        "eventSourceArn": CLUSTER_ARN,
        "bootstrapServers": bootstrap_servers,
        "records": by_partition,
    }


def split(records: Sequence[Delivered]) -> Iterator[list[Delivered]]:
    """Split a batch so that each part fits into Lambda's payload; one record alone always goes."""
    part: list[Delivered] = []
    size = _ROOM
    for record in records:
        if part and size + record.size > PAYLOAD_LIMIT:
            yield part
            part, size = [], _ROOM
        part.append(record)
        size += record.size
    if part:
        yield part


def failed(answer: object, records: Sequence[Delivered]) -> list[Delivered]:
    """Return the records that the function reports as failed, in their order.

    Nothing reported means that all is well; a report that names a record outside the batch, or that is none, means that
    nothing is.
    """
    if answer is None or answer == {}:
        return []
    places = {record.place for record in records}
    try:
        named = {
            (identifier["partition"], identifier["offset"])
            for identifier in (item["itemIdentifier"] for item in answer.get("batchItemFailures") or [])  # type: ignore[attr-defined] # anything else is caught
        }
    except (AttributeError, KeyError, TypeError):
        return list(records)
    return [record for record in records if record.place in named] if named <= places else list(records)


def _base64(name: str, content: bytes | None) -> dict[str, str]:
    return {} if content is None else {name: b64encode(content).decode()}
