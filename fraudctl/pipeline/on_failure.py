"""On-failure documents: what is kept of records that a function gave up, in the form of Lambda's S3 destination.

Lambda writes one document for each batch that used up its retries. AuditWriter writes the same documents for records
that no retry can help, so that those are not retried at all, and so does the local runner. There is one document for
each partition of a batch, named by what it holds, so a batch that is given up again replaces its own documents.

Source of the form: https://docs.aws.amazon.com/lambda/latest/dg/kafka-on-failure.html
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from fraudctl.pipeline.text import iso

RETRIES_EXHAUSTED: Final = "RetryAttemptsExhausted"  # Lambda's own word
MALFORMED: Final = "MalformedRecord"  # ours: Lambda has none for records that are final at the first attempt

_NAME: Final = re.compile(
    r".+-(?P<partition>\d+)\.(?P<first>\d+)-(?P<last>\d+)\.(?P<records>\d+)\.(?P<timestamp>-?\d+)\.json", re.DOTALL
)
# Stacks deployed by earlier versions have a document for each record, ``topic-partition-offset.json``.
_NAME_OF_ONE: Final = re.compile(r".+-(?P<partition>\d+)-(?P<first>\d+)\.json", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why records were given up, and by which invocation.

    `reasons` has what is wrong with single records, by partition and offset; `error` is said of all of them.
    """

    function_arn: str
    version: str
    request_id: str
    condition: str
    attempts: int
    error: str
    function_error: str | None = None
    log: str = ""
    reasons: Mapping[tuple[int, int], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Name:
    """What a document's name says: the partition, the first and the last offset, and how many records it holds."""

    partition: int
    first: int
    last: int
    records: int

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Read a document's name, the older form too; None for any other name."""
        if found := _NAME.fullmatch(name):
            return cls(int(found["partition"]), int(found["first"]), int(found["last"]), int(found["records"]))
        if found := _NAME_OF_ONE.fullmatch(name):
            return cls(int(found["partition"]), int(found["first"]), int(found["first"]), 1)
        return None


def documents(
    event: Mapping[str, Any], records: Iterable[Mapping[str, Any]], failure: Failure, now_ms: int
) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of a document for each partition of `records`.

    `event` is the MSK event they came in, `records` are given as they stand in it, `now_ms` is in epoch milliseconds.
    The content is indented JSON: what Lambda writes and, beyond that, ``error``, ``errors`` by offset, and ``log``.
    """
    by_partition: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        by_partition.setdefault(f"{record['topic']}-{record['partition']}", []).append(record)
    for partition, found in by_partition.items():
        found.sort(key=lambda record: record["offset"])
        first, last = found[0], found[-1]
        # The time tells records of a topic that was deleted and made again from those at the same offsets before.
        name = f"{partition}.{first['offset']}-{last['offset']}.{len(found)}.{first['timestamp']}.json"
        yield name, json.dumps(_document(event, partition, found, failure, now_ms), indent=2).encode()


def records_of(document: bytes) -> set[tuple[int, int]]:
    """Return offset and timestamp of each record in a document. Raises ValueError or KeyError for what is none."""
    payload = json.loads(json.loads(document)["payload"])
    return {(record["offset"], record["timestamp"]) for records in payload["records"].values() for record in records}


def is_unwritten(document: bytes) -> bool:
    """Return whether a document holds what might be detections, and not records that are none."""
    try:
        return bool(json.loads(document)["requestContext"]["condition"] != MALFORMED)
    except (ValueError, KeyError, TypeError):
        return True


def _document(
    event: Mapping[str, Any], partition: str, records: list[Mapping[str, Any]], failure: Failure, now_ms: int
) -> dict[str, Any]:
    first, last = records[0], records[-1]
    payload = json.dumps({**event, "records": {partition: records}})
    reasons = {
        str(record["offset"]): reason
        for record in records
        if (reason := failure.reasons.get((record["partition"], record["offset"])))
    }
    return {
        "requestContext": {
            "requestId": failure.request_id,
            "functionArn": failure.function_arn,
            "condition": failure.condition,
            "approximateInvokeCount": failure.attempts,
        },
        "responseContext": {
            "statusCode": 200,
            "executedVersion": failure.version,
            "functionError": failure.function_error,
        },
        "version": "1.0",
        "timestamp": iso(now_ms),
        "KafkaBatchInfo": {
            "batchSize": len(records),
            "eventSourceArn": event.get("eventSourceArn"),
            "bootstrapServers": event.get("bootstrapServers"),
            "payloadSize": len(payload),
            "recordsInfo": {
                partition: {
                    "firstRecordOffset": str(first["offset"]),
                    "lastRecordOffset": str(last["offset"]),
                    "firstRecordTimestamp": iso(first["timestamp"]),
                    "lastRecordTimestamp": iso(last["timestamp"]),
                }
            },
        },
        "payload": payload,
        "error": failure.error,
        "errors": reasons,
        "log": failure.log,
    }
