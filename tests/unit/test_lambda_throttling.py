"""AuditWriter, throttled: DynamoDB's answers as they come over the wire, before moto's DynamoDB."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.endpoint
import pytest
from botocore.exceptions import ClientError
from lambda_tools import detection, load, msk
from moto import mock_aws
from moto.core.models import botocore_stubber

from fraudctl.pipeline import audit_table, retries

TABLE = "fraud-detection-audit"
THROTTLES = ("ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException")


def canceled(*codes: str) -> dict[str, Any]:
    """Give the body of a cancelled transaction, a reason for each item."""
    reasons = [{"Code": code} if code == "None" else {"Code": code, "Message": "why"} for code in codes]
    said = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{', '.join(codes)}]"
    return {**error("TransactionCanceledException"), "Message": said, "CancellationReasons": reasons}


def error(code: str) -> dict[str, Any]:
    """Give the body of an error; DynamoDB names most of them with a namespace."""
    return {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "The level was exceeded."}


class Wire:
    """What lies between the writer and its table: answers before those of the table, and the time that pauses take."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        """Stand before moto, and take botocore's pauses for done."""
        self.requests: list[dict[str, Any]] = []
        self.pauses: list[float] = []
        self.answer: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda _: None
        table = botocore_stubber.process_request

        def process(request: Any) -> Any:
            asked = json.loads(request.body)
            if asked.keys().isdisjoint({"Item", "TransactItems"}):
                return table(request)
            self.requests.append(asked)
            body = self.answer(asked)
            return table(request) if body is None else (400, {}, json.dumps(body))

        patch.setattr(botocore_stubber, "process_request", process)
        patch.setattr(botocore.endpoint, "time", SimpleNamespace(sleep=self.pauses.append, time=time.time))

    def context(self, seconds: float = 60.0) -> Any:
        """Give a context whose time goes by with the pauses, and 10 ms with each request."""
        gone = sum(self.pauses) + 0.01 * len(self.requests)
        left = lambda: round((seconds + gone - sum(self.pauses) - 0.01 * len(self.requests)) * 1000)  # noqa: E731
        return SimpleNamespace(get_remaining_time_in_millis=left)

    def times(self, number: int, body: dict[str, Any]) -> None:
        """Give this answer to the first requests."""
        self.answer = lambda _: body if len(self.requests) <= number else None


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Load the writer against moto's DynamoDB, the table made."""
    options = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
    monkeypatch.setenv("WRITER_TABLE", TABLE)
    monkeypatch.setenv("WRITER_TRANSACTION_ROWS", "100")
    monkeypatch.setenv("WRITER_DYNAMODB", json.dumps(options))
    with mock_aws():
        boto3.client("dynamodb", **options).create_table(**audit_table.definition(TABLE))  # type: ignore[call-overload]
        module: Any = load("audit_writer")
        with ThreadPoolExecutor(1) as one:
            module.threads = lambda: one
            yield module


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Wire:
    """Stand between the writer and its table, and keep its log."""
    caplog.set_level(logging.INFO, "audit_writer")
    return Wire(monkeypatch)


def offsets(writer: Any) -> list[int]:
    """Give the offsets of the rows."""
    items = writer.dynamodb().scan(TableName=TABLE)["Items"]
    return sorted(int(item["processed_offset"]["N"]) for item in items)


def entry(caplog: pytest.LogCaptureFixture) -> Any:
    """Give the entry of the one batch."""
    (found,) = [record for record in caplog.records if hasattr(record, "offsets")]
    return found


@pytest.mark.parametrize("code", THROTTLES)
@pytest.mark.parametrize("number", [1, 3])
def test_a_throttle_is_waited_out(
    writer: Any, wire: Wire, caplog: pytest.LogCaptureFixture, code: str, number: int
) -> None:
    """A put or a transaction that is throttled twice is repeated as it was, and the log says how often."""
    wire.times(2, error(code))
    event = msk(*(detection(which) for which in range(number)), first=5)
    assert writer.handler(event, wire.context()) == {"batchItemFailures": []}
    assert offsets(writer) == list(range(5, 5 + number))
    assert wire.requests[0] == wire.requests[1] == wire.requests[2], "the client token too"
    assert len(wire.pauses) == 2
    found = entry(caplog)
    assert (found.throttled, found.written, found.failed, found.levelname) == (2, number, 0, "WARNING")
    assert found.getMessage() == f"batch: {number} written, throttled 2 times"


@pytest.mark.parametrize("code", ["ThrottlingError", "ProvisionedThroughputExceeded", "TransactionConflict"])
def test_a_transaction_that_a_throttle_cancelled_is_repeated(
    writer: Any, wire: Wire, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    """As a whole, by botocore, which by itself would not; not one by one, which would be as many requests."""
    wire.times(3, canceled("None", code, "None"))
    assert writer.handler(msk(*map(detection, range(3))), wire.context()) == {"batchItemFailures": []}
    assert offsets(writer) == [0, 1, 2]
    assert [len(request["TransactItems"]) for request in wire.requests[:4]] == [3, 3, 3, 3]
    assert wire.requests[0] == wire.requests[3]
    assert entry(caplog).throttled == 3


def test_rows_that_are_there_leave_a_throttled_transaction(
    writer: Any, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    """A transaction cancelled for both reasons goes on without them, and then waits."""
    writer.handler(msk(detection(1), first=50), wire.context())
    wire.requests.clear()
    caplog.clear()
    answers = [canceled("None", "ConditionalCheckFailed", "ThrottlingError"), canceled("None", "ThrottlingError")]
    wire.answer = lambda _: answers.pop(0) if answers else None
    assert writer.handler(msk(*map(detection, range(3))), wire.context()) == {"batchItemFailures": []}
    assert [len(request["TransactItems"]) for request in wire.requests[:3]] == [3, 2, 2]
    assert offsets(writer) == [0, 2, 50]
    found = entry(caplog)
    assert (found.written, found.already_there, found.throttled) == (2, 1, 2)


def test_a_conflict_is_waited_out(writer: Any, wire: Wire) -> None:
    """Another transaction has the row for a moment: that is no fault of the record's."""
    wire.times(1, error("TransactionConflictException"))
    assert writer.handler(msk(detection(1)), wire.context()) == {"batchItemFailures": []}
    assert offsets(writer) == [0]


@pytest.mark.parametrize("code", [*THROTTLES, "TransactionCanceledException"])
@pytest.mark.parametrize(("number", "rows"), [(1, "100"), (120, "100"), (5, "1")])
def test_throttled_to_the_end_nothing_is_acknowledged(
    writer: Any,
    wire: Wire,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    number: int,
    rows: str,
) -> None:
    """The batch fails in time to say so: no record of it counts as done, also none behind the one that waits."""
    monkeypatch.setenv("WRITER_TRANSACTION_ROWS", rows)
    body = canceled(*["ThrottlingError"] * 100) if code == "TransactionCanceledException" else error(code)
    wire.answer = lambda request: body if "first" in json.dumps(request) else None
    values = [detection(which, flagged_by="first" if which == 0 else "later") for which in range(number)]
    context = wire.context()
    with pytest.raises((retries.OutOfTime, ClientError), match=r"Thr|Limit|attempt"):
        writer.handler(msk(*values), context)
    assert context.get_remaining_time_in_millis() > 1_000
    written = offsets(writer)
    assert 0 not in written
    found = entry(caplog)
    assert (found.written, found.failed, found.levelname) == (len(written), number - len(written), "ERROR")
    wire.answer = lambda _: None
    caplog.clear()
    assert writer.handler(msk(*values), wire.context()) == {"batchItemFailures": []}
    assert offsets(writer) == list(range(number)), "delivered again it is complete, each row once"
    assert (entry(caplog).written, entry(caplog).already_there) == (number - len(written), len(written))


@pytest.mark.parametrize(("seconds", "requests"), [(0.5, 0), (5, 1), (13, 2)])
def test_retries_end_with_the_invocation(writer: Any, wire: Wire, seconds: float, requests: int) -> None:
    """Without time for a pause and another answer nothing is tried again; without any, nothing is begun."""
    wire.answer = lambda _: error("ThrottlingException")
    with pytest.raises(retries.OutOfTime, match=r"with \d+\.\d s of the invocation left"):
        writer.handler(msk(detection(1)), wire.context(seconds))
    assert len(wire.requests) == requests


def test_what_is_no_throttle_is_not_repeated(writer: Any, wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    """The table's refusal of one item is that item's."""
    wire.answer = lambda request: error("ValidationException") if "t-1" in json.dumps(request) else None
    answer = writer.handler(msk(*map(detection, range(3))), wire.context())
    assert answer == {"batchItemFailures": [{"itemIdentifier": {"partition": "processed_topic-0", "offset": 1}}]}
    assert offsets(writer) == [0, 2]
    assert (entry(caplog).throttled, wire.pauses) == (0, [])
