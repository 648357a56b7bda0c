"""The audit table: its definition on a DynamoDB (moto), items and rows."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import boto3
import pytest
from boto3.dynamodb.conditions import Key
from moto import mock_aws

from fraudctl.pipeline import audit_table
from fraudctl.pipeline.audit_table import AuditRow
from fraudctl.pipeline.records import FlaggedTransaction
from fraudctl.pipeline.text import iso

DETECTED_AT = 1_795_515_331_007  # 2026-11-24T10:15:31.007Z


def detection(**changes: Any) -> FlaggedTransaction:
    """Give a detection with some fields changed."""
    fields: dict[str, Any] = {
        "transaction_id": "t-1",
        "account_id": 9223372036854775807,
        "customer_name": "Zoë",
        "transaction_date": "2026-11-24T10:15:30.123Z",
        "merchant_type": "Grocery",
        "transaction_type": "Purchase",
        "amount": Decimal("12.50"),
        "flag_date": "2026-11-24T10:00:00.000Z",
        "flag_reason": "stolen card",
        "flagged_by": "ada",
        "transaction_partition": 1,
        "transaction_offset": 2**63 - 1,
        "flag_partition": 3,
        "flag_offset": 0,
        "extra": '{"other":[1,"\\ud800"]}',
    }
    return FlaggedTransaction(**fields | changes)


@pytest.fixture
def table() -> Iterator[Any]:
    """Make the table as it is defined."""
    with mock_aws():
        dynamodb = boto3.resource(
            "dynamodb", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        yield dynamodb.create_table(**audit_table.definition("fraud-detection-audit"))


def test_the_definition_is_the_designs(table: Any) -> None:
    """Keys, indexes and billing of the created table are those of the design."""
    description = table.meta.client.describe_table(TableName="fraud-detection-audit")["Table"]
    keys = {description["TableName"]: description["KeySchema"]}
    keys |= {index["IndexName"]: index["KeySchema"] for index in description["GlobalSecondaryIndexes"]}
    assert {name: [(key["AttributeName"], key["KeyType"]) for key in schema] for name, schema in keys.items()} == {
        "fraud-detection-audit": [("account_id", "HASH"), ("transaction_key", "RANGE")],
        "by_time": [("shard", "HASH"), ("detected_key", "RANGE")],
        "by_transaction": [("transaction_id", "HASH")],
    }
    projections = {index["IndexName"]: index["Projection"] for index in description["GlobalSecondaryIndexes"]}
    assert projections == {
        "by_time": {"ProjectionType": "ALL"},
        "by_transaction": {"ProjectionType": "KEYS_ONLY"},
    }
    assert description["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    types = {entry["AttributeName"]: entry["AttributeType"] for entry in description["AttributeDefinitions"]}
    assert types == {
        "account_id": "N",
        "transaction_key": "S",
        "shard": "N",
        "detected_key": "S",
        "transaction_id": "S",
    }


def test_an_item_becomes_the_row_it_was(table: Any) -> None:
    """A stored detection comes back with every field, its exact amount and its place in Kafka."""
    table.put_item(Item=audit_table.item(detection(), DETECTED_AT, 2, 77))
    (item,) = table.scan()["Items"]
    row = AuditRow.from_item(item)
    values = {name: getattr(row, name) for name in detection().values()}
    assert values == detection().values()
    assert (row.extra, row.detected_at) == ('{"other":[1,"\\ud800"]}', "2026-11-24T10:15:31.007Z")
    assert (row.processed_partition, row.processed_offset) == (2, 77)
    assert (str(row.amount), type(row.account_id), type(row.flag_offset)) == ("12.50", int, int)


def test_amounts_get_their_zeros_back() -> None:
    """DynamoDB gives 12.5 or 1E+2 for 12.50 and 100.00; the row has two decimals."""
    for stored, text in (("12.5", "12.50"), ("1E+2", "100.00"), ("0", "0.00")):
        item = audit_table.item(detection(), DETECTED_AT, 0, 0) | {"amount": Decimal(stored)}
        assert str(AuditRow.from_item(item).amount) == text


def test_nothing_is_stored_for_nothing() -> None:
    """A missing reason and no unknown fields leave no attribute, and come back as None; an empty reason stays."""
    item = audit_table.item(detection(flag_reason=None, extra=None), DETECTED_AT, 0, 0)
    assert "flag_reason" not in item
    assert "extra" not in item
    row = AuditRow.from_item(item)
    assert (row.flag_reason, row.extra) == (None, None)
    assert AuditRow.from_item(audit_table.item(detection(flag_reason=""), DETECTED_AT, 0, 0)).flag_reason == ""


def test_a_null_reason_is_read_too() -> None:
    """A reason stored as NULL, as another writer might, reads as None."""
    item = audit_table.item(detection(), DETECTED_AT, 0, 0) | {"flag_reason": None}
    assert AuditRow.from_item(item).flag_reason is None


def test_input_cannot_overwrite_an_attribute() -> None:
    """Unknown fields named like the table's attributes stay inside `extra`."""
    item = audit_table.item(detection(extra='{"shard":9,"detected_at":"x"}'), DETECTED_AT, 0, 0)
    assert item["detected_at"] == "2026-11-24T10:15:31.007Z"
    assert item["shard"] == audit_table.shard("t-1")
    assert item["extra"] == '{"shard":9,"detected_at":"x"}'


def test_keys_are_the_designs() -> None:
    """The sort keys are date#id, and the shard is crc32 of the id modulo 4 (reference value of another tool)."""
    item = audit_table.item(detection(transaction_id="123456789"), DETECTED_AT, 0, 0)
    assert item["transaction_key"] == "2026-11-24T10:15:30.123Z#123456789"
    assert item["detected_key"] == "2026-11-24T10:15:31.007Z#123456789"
    assert item["shard"] == 0xCBF43926 % 4  # the check value of CRC-32
    assert {audit_table.shard(str(number)) for number in range(100)} == {0, 1, 2, 3}
    assert audit_table.shard("😀") in range(4)


def test_the_index_by_time_holds_whole_rows_in_order(table: Any) -> None:
    """One query per shard, newest first, gives complete rows of all accounts."""
    for number in range(20):
        record = detection(account_id=number % 3 + 1, transaction_id=f"t-{number}")
        table.put_item(Item=audit_table.item(record, DETECTED_AT + number, 0, number))
    found = []
    for shard in range(audit_table.SHARDS):
        page = table.query(
            IndexName=audit_table.BY_TIME,
            KeyConditionExpression=Key("shard").eq(shard),
            ScanIndexForward=False,
        )
        rows = [AuditRow.from_item(item) for item in page["Items"]]
        assert [row.detected_at for row in rows] == sorted((row.detected_at for row in rows), reverse=True)
        found += rows
    assert sorted(row.processed_offset for row in found) == list(range(20))


def test_the_index_by_transaction_finds_one(table: Any) -> None:
    """A transaction's id alone finds its key."""
    table.put_item(Item=audit_table.item(detection(), DETECTED_AT, 0, 0))
    page = table.query(
        IndexName=audit_table.BY_TRANSACTION,
        KeyConditionExpression=Key("transaction_id").eq("t-1"),
    )
    assert [item["transaction_key"] for item in page["Items"]] == ["2026-11-24T10:15:30.123Z#t-1"]


@pytest.mark.parametrize(
    ("epoch_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (DETECTED_AT, "2026-11-24T10:15:31.007Z"),
        (253402300799999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_milliseconds_are_exact(epoch_ms: int, text: str) -> None:
    """Epoch milliseconds become ISO milliseconds without rounding."""
    assert iso(epoch_ms) == text
