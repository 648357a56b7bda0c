"""Hand records of processed_topic to AuditWriter again, in events of the same form as Lambda's for Kafka.

AuditWriter writes a detection once, however often it comes, so what is written already is left as it is.

Source of the form: https://docs.aws.amazon.com/lambda/latest/dg/with-msk.html
"""

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fraudctl.errors import OperationFailed
from fraudctl.pipeline.reader import Record
from fraudctl.target import Functions

_WRITER: Final = "AuditWriter"
# As many as the mapping on AWS delivers at once: the function's time-out was chosen for that.
_RECORDS: Final = 100
# A call takes 6 MB; a record alone always goes: it has at most 2 MB, base64 a third more.
_BYTES: Final = 3 * 1024 * 1024

Body = Mapping[str, Any]  # a record as it stands in an event


@dataclass(frozen=True, slots=True)
class Rewritten:
    """How one call ended: the partition and offset of each record, of those that AuditWriter could not write too."""

    given: tuple[tuple[int, int], ...]
    failed: frozenset[tuple[int, int]]


def body(record: Record) -> Body:
    """Return a record as it stands in an event."""
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp or 0,
        "timestampType": "CREATE_TIME",
        **({} if record.key is None else {"key": b64encode(record.key).decode()}),
        **({} if record.value is None else {"value": b64encode(record.value).decode()}),
        "headers": [{name: list(value or b"")} for name, value in record.headers],
    }


def rewrite(
    functions: Functions,
    bodies: Iterable[Body],
    bootstrap_servers: str = "",
    *,
    event: Mapping[str, Any] | None = None,
) -> Iterator[Rewritten]:
    """Invoke AuditWriter with the records, some at a time and in their order, and yield how each call ended.

    A document of the on-failure destination has its records as bodies, and the rest of the `event` that they came in. A
    record that is no detection goes to the on-failure destination again, and is not among the failed ones then.

    Raises:
        OperationFailed: AuditWriter failed, or its answer names other records. What was yielded before is written.
        NotDeployed: There is no such function.
        Unreachable: It cannot be called.
    """
    rest = {"eventSource": "aws:kafka", "bootstrapServers": bootstrap_servers} if event is None else event
    for part in _parts(bodies):
        records: dict[str, list[Body]] = {}
        given: dict[tuple[str, int], tuple[int, int]] = {}
        for found in part:
            name = f"{found['topic']}-{found['partition']}"
            records.setdefault(name, []).append(found)
            given[name, found["offset"]] = _place(found)
        for some in records.values():
            some.sort(key=_place)
        answer = functions.invoke(_WRITER, {**rest, "records": records})
        try:
            named = [item["itemIdentifier"] for item in answer.get("batchItemFailures") or ()]
            failed = frozenset(given[item["partition"], item["offset"]] for item in named)
        except (KeyError, TypeError, AttributeError) as error:
            raise OperationFailed(
                f"{_WRITER}: its answer names records that it was not given",
                hint="run `fraudctl logs lambda`",
            ) from error
        yield Rewritten(tuple(map(_place, part)), failed)


def _place(found: Body) -> tuple[int, int]:
    return int(found["partition"]), int(found["offset"])


def _parts(bodies: Iterable[Body]) -> Iterator[list[Body]]:
    part: list[Body] = []
    size = 0
    for found in bodies:
        own = len(json.dumps(found))
        if part and (len(part) == _RECORDS or size + own > _BYTES):
            yield part
            part, size = [], 0
        part.append(found)
        size += own
    if part:
        yield part
