"""The audit table: its definition, how a detection becomes an item, and how an item becomes a row again."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Self
from zlib import crc32

from fraudctl.pipeline.dates import format_milliseconds
from fraudctl.pipeline.fields import Field, Kind
from fraudctl.pipeline.records import Count, Date, DetectionFields, FlaggedTransaction

SHARDS: Final = 4
BY_TIME: Final = "by_time"
BY_TRANSACTION: Final = "by_transaction"

_CENT: Final = Decimal("0.01")


def definition(name: str) -> dict[str, Any]:
    """Return the table as `create_table` takes it."""
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": "account_id", "AttributeType": "N"},
            {"AttributeName": "transaction_key", "AttributeType": "S"},
            {"AttributeName": "shard", "AttributeType": "N"},
            {"AttributeName": "detected_key", "AttributeType": "S"},
            {"AttributeName": "transaction_id", "AttributeType": "S"},
        ],
        "KeySchema": _keys("account_id", "transaction_key"),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": BY_TIME,
                "KeySchema": _keys("shard", "detected_key"),
                "Projection": {"ProjectionType": "ALL"},
            },
            {
                "IndexName": BY_TRANSACTION,
                "KeySchema": _keys("transaction_id"),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            },
        ],
    }


def shard(transaction_id: str) -> int:
    """Return the partition of the index by time that the transaction lies in, 0 to 3."""
    return crc32(transaction_id.encode()) % SHARDS


def transaction_key(transaction_date: str, transaction_id: str) -> str:
    """Return the sort key: an account's transactions in the order of their dates."""
    return f"{transaction_date}#{transaction_id}"


def item(record: FlaggedTransaction, detected_at_ms: int, partition: int, offset: int) -> dict[str, Any]:
    """Return the detection's item in boto3's types, without attributes that are None.

    `detected_at_ms` is the Kafka timestamp of the record in processed_topic, `partition` and `offset` its place there.
    Raises OverflowError for a timestamp that is not a date.
    """
    detected_at = format_milliseconds(detected_at_ms)
    attributes = {
        **record.values(),
        "extra": record.extra,
        "transaction_key": transaction_key(record.transaction_date, record.transaction_id),
        "detected_at": detected_at,
        "shard": shard(record.transaction_id),
        "detected_key": f"{detected_at}#{record.transaction_id}",
        "processed_partition": partition,
        "processed_offset": offset,
    }
    return {name: value for name, value in attributes.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow(DetectionFields):
    """One row of the table. `detected_at` is an ISO date in milliseconds, `extra` a JSON object in a string or None.

    In a row that was written before a field was added, that field is None.
    """

    extra: str | None
    detected_at: Date
    processed_partition: Count
    processed_offset: Count

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Self:
        """Read an item in boto3's types; amounts get back the trailing zeros that DynamoDB drops."""
        known = {field.name: _value(field, item.get(field.name)) for field in cls.FIELDS}
        return cls(**known, extra=item.get("extra"))


def _value(field: Field, value: Any) -> Any:  # noqa: ANN401 - as many types as kinds
    if not isinstance(value, Decimal):
        return value
    return value.quantize(_CENT) if field.kind is Kind.AMOUNT else int(value)


def _keys(partition: str, sort: str | None = None) -> list[dict[str, str]]:
    names = [(partition, "HASH")] + ([(sort, "RANGE")] if sort else [])
    return [{"AttributeName": name, "KeyType": kind} for name, kind in names]
