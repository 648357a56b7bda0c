"""Records handed to AuditWriter again."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from lambda_tools import detection, msk

from fraudctl.errors import OperationFailed
from fraudctl.pipeline.reader import Record
from fraudctl.services.audit.rewrite import body, rewrite


class Writer:
    """Keeps what it is invoked with, and answers that some could not be written."""

    def __init__(self, *failures: tuple[str, int]) -> None:
        """Take the places to report."""
        self.failures = failures
        self.events: list[dict[str, Any]] = []

    def invoke(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Report those of the failures that are in the event."""
        assert name == "AuditWriter"
        self.events.append(json.loads(json.dumps(payload)))
        items = [{"itemIdentifier": {"partition": place, "offset": offset}} for place, offset in self.failures]
        return {"batchItemFailures": items}


def record(partition: int, offset: int, value: bytes | None = b"{}") -> Record:
    """Give a record as it is read."""
    return Record("processed_topic", partition, offset, 1_795_515_331_000 + offset, b"1", value)


def test_the_event_is_that_of_the_mapping() -> None:
    """As AWS documents it, partition by partition."""
    writer = Writer()
    values = [detection(0), None, detection(2)]
    (done,) = rewrite(writer, [body(record(0, n, value)) for n, value in enumerate(values)], "b:9092")
    assert writer.events == [{**msk(*values), "bootstrapServers": "b:9092"}]
    assert done.given == ((0, 0), (0, 1), (0, 2))
    assert done.failed == frozenset()


def test_headers_are_lists_of_bytes() -> None:
    """A header without a value is an empty list."""
    found = body(record(0, 1)._replace(headers=(("a", b"\x01\xff"), ("a", None))))
    assert found["headers"] == [{"a": [1, 255]}, {"a": []}]


def test_what_the_writer_reports_is_failed() -> None:
    """By partition, though several have the same offsets."""
    writer = Writer(("processed_topic-3", 1))
    (done,) = rewrite(writer, [body(record(partition, 1)) for partition in (0, 3)])
    assert done.given == ((0, 1), (3, 1))
    assert done.failed == {(3, 1)}


def test_an_answer_of_other_records_is_an_error() -> None:
    """Then nobody knows what was written."""
    with pytest.raises(OperationFailed, match="records that it was not given"):
        list(rewrite(Writer(("processed_topic-0", 7)), [body(record(0, 1))]))


def test_many_records_go_in_several_calls() -> None:
    """A hundred at a time, and never more than Lambda takes; one large record goes alone."""
    writer = Writer()
    given = [done.given for done in rewrite(writer, (body(record(0, n)) for n in range(205)))]
    assert [len(places) for places in given] == [100, 100, 5]
    large = [body(record(1, n, b"x" * 2_000_000)) for n in range(2)]
    assert [done.given for done in rewrite(writer, large)] == [((1, 0),), ((1, 1),)]
    assert all(len(json.dumps(event)) < 6_000_000 for event in writer.events)
