"""AuditWriter, on moto's DynamoDB."""

import json
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from lambda_tools import context, detection, load, msk
from moto import mock_aws

from fraudctl.pipeline import audit_table
from fraudctl.pipeline.audit_table import AuditRow

TABLE = "fraud-detection-audit"


@pytest.fixture(params=["1", "100"], ids=["puts", "transactions"])
def writer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Load the writer against moto's DynamoDB, the table made; all holds with and without transactions."""
    monkeypatch.setenv("WRITER_TRANSACTION_ROWS", request.param)
    options = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
    monkeypatch.setenv("WRITER_TABLE", TABLE)
    monkeypatch.setenv("WRITER_DYNAMODB", json.dumps(options))
    with mock_aws():
        boto3.client("dynamodb", **options).create_table(**audit_table.definition(TABLE))  # type: ignore[call-overload]
        module: Any = load("audit_writer")
        # moto copies a table while another thread changes it; threads are tried on DynamoDB Local.
        with ThreadPoolExecutor(1) as one:
            module.threads = lambda: one
            yield module


def rows(writer: Any) -> list[AuditRow]:
    """Give the table's rows, by transaction."""
    resource = boto3.resource(
        "dynamodb", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    assert writer.dynamodb()
    found = [AuditRow.from_item(item) for item in resource.Table(TABLE).scan()["Items"]]
    return sorted(found, key=lambda row: row.transaction_offset)


def failures(answer: dict[str, Any]) -> list[tuple[str, int]]:
    """Give the places that an answer reports."""
    identifiers = [item["itemIdentifier"] for item in answer["batchItemFailures"]]
    return [(identifier["partition"], identifier["offset"]) for identifier in identifiers]


def test_each_detection_becomes_a_row(writer: Any) -> None:
    """All detections of all partitions are rows, with the time and place of the processed record."""
    writer.warm()
    event = msk(*(detection(number) for number in range(130)))
    event["records"] |= msk(*(detection(number) for number in range(130, 135)), partition=3, first=7)["records"]
    assert writer.handler(event, context()) == {"batchItemFailures": []}
    found = rows(writer)
    assert [row.transaction_id for row in found] == [f"t-{number}" for number in range(135)]
    assert (found[129].processed_partition, found[129].processed_offset) == (0, 129)
    assert (found[130].processed_partition, found[130].processed_offset) == (3, 7)
    assert found[5].detected_at == "2026-11-24T10:15:31.005Z"
    assert str(found[5].amount) == "12.50"


def test_the_first_write_wins(writer: Any) -> None:
    """A redelivered detection, alone or among new ones, is a success and changes nothing."""
    writer.handler(msk(detection(1, flagged_by="first")), context())
    assert writer.handler(msk(detection(1, flagged_by="second"), first=9), context()) == {"batchItemFailures": []}
    again = msk(detection(0), detection(1, flagged_by="third"), detection(2), first=50)
    assert writer.handler(again, context()) == {"batchItemFailures": []}
    found = rows(writer)
    assert [(row.transaction_id, row.processed_offset) for row in found] == [("t-0", 50), ("t-1", 0), ("t-2", 52)]
    assert found[1].flagged_by == "first"
    assert writer.handler(again, context()) == {"batchItemFailures": []}
    assert rows(writer) == found


def test_copies_in_one_batch_are_one_row(writer: Any) -> None:
    """Of several copies in one event the first one is written."""
    event = msk(detection(1, flagged_by="first"), detection(2), detection(1, flagged_by="second"))
    assert writer.handler(event, context()) == {"batchItemFailures": []}
    assert [(row.transaction_id, row.flagged_by) for row in rows(writer)] == [("t-1", "first"), ("t-2", "ada")]


def test_equal_ids_of_other_accounts_and_dates_are_other_rows(writer: Any) -> None:
    """The identity is account, date and id; one of them alone makes a row of its own."""
    other = "2026-11-24T10:15:30.124Z"
    event = msk(detection(1), detection(1, account_id=2), detection(1, transaction_date=other))
    assert writer.handler(event, context()) == {"batchItemFailures": []}
    assert len(rows(writer)) == 3


def test_what_is_no_detection_is_reported(writer: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Undecodable records are failed items and named in the log; the others are written."""
    event = msk(detection(0), b"nonsense", None, detection(3), b'{"transaction_id":"t"}', first=100)
    answer = writer.handler(event, context())
    assert failures(answer) == [("processed_topic-0", 101), ("processed_topic-0", 102), ("processed_topic-0", 104)]
    assert [row.processed_offset for row in rows(writer)] == [100, 103]
    assert "processed_topic-0 offset 102 is no detection: the value is null" in caplog.messages


def test_what_is_no_detection_is_put_aside_in_a_folder(
    writer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With an on-failure destination nothing is reported: a document a partition has the records and reasons."""
    folder = tmp_path / "on failure %"
    monkeypatch.setenv("WRITER_ON_FAILURE", folder.as_uri())
    event = msk(detection(0), b"nonsense", None, detection(3), b"\xff", first=100)
    event["records"] |= msk(b"[]", partition=3, first=7)["records"]
    assert writer.handler(event, context()) == {"batchItemFailures": []}
    assert writer.handler(event, context()) == {"batchItemFailures": []}
    assert [row.processed_offset for row in rows(writer)] == [100, 103]
    documents = {file.name: json.loads(file.read_text()) for file in folder.iterdir()}
    first, second = "processed_topic-0.101-104.3.1795515331101.json", "processed_topic-3.7-7.1.1795515331007.json"
    assert set(documents) == {first, second}
    document = documents[first]
    assert document["requestContext"] == {
        "requestId": "request-1",
        "functionArn": "arn:aws:lambda:::function:writer",
        "condition": "MalformedRecord",
        "approximateInvokeCount": 1,
    }
    assert document["KafkaBatchInfo"]["recordsInfo"] == {
        "processed_topic-0": {
            "firstRecordOffset": "101",
            "lastRecordOffset": "104",
            "firstRecordTimestamp": "2026-11-24T10:15:31.101Z",
            "lastRecordTimestamp": "2026-11-24T10:15:31.104Z",
        }
    }
    assert document["KafkaBatchInfo"]["batchSize"] == 3
    assert document["errors"] == {
        "101": "not JSON: Expecting value at character 1",
        "102": "the value is null",
        "104": "not UTF-8 at byte 1",
    }
    kept = json.loads(document["payload"])
    assert kept == {
        **event,
        "records": {"processed_topic-0": [event["records"]["processed_topic-0"][i] for i in (1, 2, 4)]},
    }
    assert documents[second]["errors"] == {"7": "not a JSON object"}
    lines = [message for message in caplog.messages if message.startswith("no detections: 4 records")]
    assert len(lines) == 2, "one line a batch"


def test_what_is_no_detection_is_put_aside_in_a_bucket(writer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On AWS the same document is an object of the on-failure bucket."""
    monkeypatch.setenv("WRITER_ON_FAILURE", "s3://failed-here")
    for name, value in (("REGION", "us-east-1"), ("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test")):
        monkeypatch.setenv(f"AWS_DEFAULT_{name}" if name == "REGION" else f"AWS_{name}", value)
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="failed-here")
    assert writer.handler(msk(b"nonsense", detection(1)), context()) == {"batchItemFailures": []}
    (found,) = s3.list_objects_v2(Bucket="failed-here")["Contents"]
    assert found["Key"] == "malformed/processed_topic-0.0-0.1.1795515331000.json"
    document = json.load(s3.get_object(Bucket="failed-here", Key=found["Key"])["Body"])
    assert document["errors"] == {"0": "not JSON: Expecting value at character 1"}
    assert len(rows(writer)) == 1


def test_what_cannot_be_put_aside_comes_again(writer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When the destination takes nothing the invocation fails, so nothing is lost; the detections are written."""
    (tmp_path / "file").write_text("where the folder belongs")
    monkeypatch.setenv("WRITER_ON_FAILURE", (tmp_path / "file").as_uri())
    with pytest.raises(OSError, match="file"):
        writer.handler(msk(b"nonsense", detection(1)), context())
    assert len(rows(writer)) == 1


def test_a_timestamp_that_is_no_date_is_reported(writer: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Nanoseconds for milliseconds: one failed item, and the records around it are written."""
    event = msk(detection(0), detection(1), first=100)
    event["records"]["processed_topic-0"][0]["timestamp"] = 1_764_000_000_000_000_000
    assert failures(writer.handler(event, context())) == [("processed_topic-0", 100)]
    assert [row.processed_offset for row in rows(writer)] == [101]
    assert "its Kafka timestamp 1764000000000000000 is no date" in caplog.text


def test_unknown_fields_arrive_whole(writer: Any) -> None:
    """Unknown fields, an unpaired surrogate and a number no float holds among them, are in the row."""
    extra = '{"shard":9,"a":"\\ud800","b":1e400}'
    assert writer.handler(msk(detection(1, extra=extra)), context()) == {"batchItemFailures": []}
    assert [row.extra for row in rows(writer)] == [extra]


def test_large_detections_are_written_in_several_transactions(writer: Any) -> None:
    """A chunk stays below DynamoDB's 4 MB: a hundred records of 64 KiB are several transactions, and none is lost."""
    puts, _ = writer.decode(msk(*(detection(number, extra=f'{{"a":"{"x" * 65_000}"}}') for number in range(100))))
    chunks = list(writer.chunks(puts, 1000))
    assert [put for chunk in chunks for put in chunk] == puts
    assert all(sum(len(json.dumps(put.item)) for put in chunk) < 4_000_000 for chunk in chunks)
    assert len(chunks) == 3


def test_one_item_that_the_table_refuses_fails_alone(writer: Any) -> None:
    """When DynamoDB finds one item invalid the others are written and that one is reported."""
    client = _Refusing(writer.dynamodb(), {"2"})
    puts, _ = writer.decode(msk(*(detection(number) for number in range(4)), first=20))
    reported = writer.write(client, TABLE, puts)
    assert failures({"batchItemFailures": reported.failures}) == [("processed_topic-0", 22)]
    assert (reported.records, reported.written, reported.already_there) == (4, 3, 0)
    assert [row.transaction_id for row in rows(writer)] == ["t-0", "t-1", "t-3"]


def test_an_outage_fails_the_batch(writer: Any) -> None:
    """Without the table the invocation raises: the whole batch has to come again, and nothing is called written."""
    writer.dynamodb().delete_table(TableName=TABLE)
    for event in (msk(detection(1)), msk(detection(1), detection(2))):
        with pytest.raises(ClientError, match="ResourceNotFound"):
            writer.handler(event, context())


def test_rows_are_put_or_written_in_transactions(writer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the setting says; without it they are put, which costs half on AWS."""
    client = _Counting(writer.dynamodb())
    monkeypatch.setattr(writer, "dynamodb", lambda: client)
    for rows, expected in ((None, ["put_item"] * 7), ("3", ["transact_write_items"] * 2 + ["put_item"])):
        monkeypatch.delenv("WRITER_TRANSACTION_ROWS")
        if rows:
            monkeypatch.setenv("WRITER_TRANSACTION_ROWS", rows)
        writer.handler(msk(*(detection(number, account_id=len(expected)) for number in range(7))), context())
        assert [call for call in client.calls if call != "get_item"] == expected
        client.calls.clear()
        monkeypatch.setenv("WRITER_TRANSACTION_ROWS", "1")
    assert client.scan(TableName=TABLE, Select="COUNT")["Count"] == 14


def test_duplicates_cost_one_more_transaction(writer: Any) -> None:
    """Rows that are already there are left out of a second transaction, instead of putting each item alone."""
    writer.handler(msk(*(detection(number) for number in range(0, 20, 2))), context())
    client = _Counting(writer.dynamodb())
    puts, _ = writer.decode(msk(*(detection(number) for number in range(20))))
    tally = writer.write(client, TABLE, puts)
    assert (tally.written, tally.already_there, tally.failures) == (10, 10, [])
    assert client.calls == ["transact_write_items", "transact_write_items"]
    assert len(rows(writer)) == 20


def entry(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """Give the one entry of a batch that was logged, with its level and text, without what depends on the time."""
    (found,) = [record for record in caplog.records if record.name == "audit_writer" and hasattr(record, "offsets")]
    caplog.clear()
    own = set(vars(logging.makeLogRecord({})))
    fields = {name: value for name, value in vars(found).items() if name not in own | {"message"}}
    assert fields.pop("duration_ms") >= 0
    assert fields.pop("remaining_ms") == 60_000
    assert fields.get("oldest_ms") is None or fields.pop("oldest_ms") == pytest.approx(
        time.time() * 1000 - 1_795_515_331_000, abs=60_000
    )
    counts = [fields[name] for name in ("written", "already_there", "put_aside", "failed")]
    assert fields["records"] == sum(counts), "every record is counted once"
    return {"level": found.levelname, "text": found.getMessage(), **fields}


def test_each_batch_is_one_entry_of_the_log(
    writer: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What became of its records, and where they lie: what a metric filter and whoever is on call read."""
    caplog.set_level(logging.INFO, "audit_writer")
    monkeypatch.setenv("WRITER_ON_FAILURE", tmp_path.as_uri())
    event = msk(*(detection(number) for number in range(3)), first=10)
    event["records"] |= msk(detection(7), partition=3, first=2)["records"]
    writer.handler(event, context())
    assert entry(caplog) == {
        "level": "INFO",
        "text": "batch: 4 written",
        "records": 4,
        "written": 4,
        "already_there": 0,
        "put_aside": 0,
        "failed": 0,
        "throttled": 0,
        "offsets": {"processed_topic-0": [10, 12], "processed_topic-3": [2, 2]},
    }
    writer.handler(msk(detection(0), detection(5), detection(5), b"nonsense", first=20), context())
    assert entry(caplog) == {
        "level": "WARNING",
        "text": "batch: 1 written, 2 already there, 1 put aside",
        "records": 4,
        "written": 1,
        "already_there": 2,
        "put_aside": 1,
        "failed": 0,
        "throttled": 0,
        "offsets": {"processed_topic-0": [20, 23]},
    }
    monkeypatch.delenv("WRITER_ON_FAILURE")
    writer.handler(msk(detection(8), b"nonsense", first=30), context())
    assert (found := entry(caplog))["text"] == "batch: 1 written, 1 failed"
    assert (found["level"], found["failed"]) == ("WARNING", 1)


def test_a_batch_that_fails_is_logged_with_why(writer: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What is not known to be written counts as failed, since it comes again."""
    writer.dynamodb().delete_table(TableName=TABLE)
    with pytest.raises(ClientError, match="ResourceNotFound"):
        writer.handler(msk(detection(1), detection(2), b"nonsense"), context())
    found = entry(caplog)
    assert (found["level"], found["text"], found["failed"]) == ("ERROR", "batch: 3 failed", 3)
    assert "ResourceNotFoundException" in found["error"]


class _Counting:
    """A DynamoDB client that notes which calls were made."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self._client, name)


class _Refusing:
    """A DynamoDB client whose table finds the items of some transactions invalid."""

    def __init__(self, client: Any, offsets: set[str]) -> None:
        self._client, self._offsets = client, offsets

    def transact_write_items(self, **request: Any) -> Any:
        bad = [entry["Put"]["Item"]["transaction_offset"]["N"] in self._offsets for entry in request["TransactItems"]]
        if not any(bad):
            return self._client.transact_write_items(**request)
        reasons = [{"Code": "ValidationError" if refused else "None"} for refused in bad]
        error = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
        raise ClientError(error, "TransactWriteItems")  # type: ignore[arg-type] # the stub misses the reasons

    def put_item(self, **request: Any) -> Any:
        if request["Item"]["transaction_offset"]["N"] in self._offsets:
            raise ClientError({"Error": {"Code": "ValidationException"}}, "PutItem")
        return self._client.put_item(**request)
