"""The pipeline's records: the one definition of every field, and what makes a record malformed.

JSON on Kafka, UTF-8, snake_case; money is decimal end to end. The Flink application checks by the same rules: it gets
them as properties (`flink_properties`), and `tests/data/records.jsonl` is run through both.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, ClassVar, Final, Self

from fraudctl.pipeline.fields import (
    MAX_DEPTH,
    MAX_INT64,
    MAX_VALUE_BYTES,
    Field,
    Kind,
    Malformed,
    Status,
    check,
    decode,
    decode_value,
    dump,
    format_date,
    normalise_date,
    parse_date,
)

__all__ = [
    "COPIED_FROM_FLAG",
    "FLAGGED_TRANSACTION_FIELDS",
    "FLAG_FIELDS",
    "MAX_DEPTH",
    "MAX_INT64",
    "MAX_VALUE_BYTES",
    "OWN_FIELDS",
    "TRANSACTION_FIELDS",
    "AccountFlag",
    "Field",
    "FlaggedTransaction",
    "Kind",
    "Malformed",
    "Status",
    "Transaction",
    "decode",
    "flink_properties",
    "format_date",
    "key",
    "normalise_date",
    "parse_date",
]

TRANSACTION_FIELDS: Final = (
    Field("transaction_id", Kind.IDENTIFIER, longest=128),
    Field("account_id", Kind.ACCOUNT),
    Field("customer_name", Kind.TEXT),
    Field("transaction_date", Kind.DATE),
    Field("merchant_type", Kind.TEXT),
    Field("transaction_type", Kind.TEXT),
    Field("amount", Kind.AMOUNT),
)
FLAG_FIELDS: Final = (
    Field("account_id", Kind.ACCOUNT),
    Field("flag_date", Kind.DATE),
    Field("status", Kind.STATUS),
    Field("reason", Kind.TEXT, shortest=0, nullable=True),
    Field("flagged_by", Kind.TEXT),
)
OWN_FIELDS: Final = (
    Field("flag_date", Kind.DATE),
    Field("flag_reason", Kind.TEXT, shortest=0, nullable=True),
    Field("flagged_by", Kind.TEXT),
    Field("transaction_partition", Kind.COUNT),
    Field("transaction_offset", Kind.COUNT),
    Field("flag_partition", Kind.COUNT),
    Field("flag_offset", Kind.COUNT),
)
FLAGGED_TRANSACTION_FIELDS: Final = TRANSACTION_FIELDS + OWN_FIELDS
# Which fields of the flag event the detection carries, and under what name.
COPIED_FROM_FLAG: Final = {"flag_date": "flag_date", "reason": "flag_reason", "flagged_by": "flagged_by"}


class _Record:
    """What all records share: JSON in and out."""

    FIELDS: ClassVar[tuple[Field, ...]]
    LIMIT: ClassVar[int] = MAX_VALUE_BYTES
    FORBIDDEN: ClassVar[frozenset[str]] = frozenset()
    __slots__ = ()

    @classmethod
    def parse(cls, value: bytes | None) -> Self:
        """Read a record's bytes; raises `Malformed` for whatever is not exactly this record."""
        return cls.checked(decode_value(value, cls.LIMIT))

    @classmethod
    def checked(cls, data: Mapping[str, Any]) -> Self:
        """Check decoded JSON (numbers as `decode` gives them) and build the record."""
        for name in data:
            if name in cls.FORBIDDEN:
                raise Malformed(f"{name} is a field of detections, not of the input")
        known = {field.name: check(field, data) for field in cls.FIELDS}
        extra = {name: value for name, value in data.items() if name not in known}
        return cls(**known, extra=dump(extra) if extra else None)  # type: ignore[call-arg] # every record has it

    def values(self) -> dict[str, Any]:
        """Give the known fields in their order, `extra` left out."""
        return {field.name: getattr(self, field.name) for field in self.FIELDS}

    def to_json(self) -> bytes:
        """Encode as on Kafka: one JSON object, amounts with two decimals, unknown fields at the end."""
        text = ",".join(f"{json.dumps(name)}:{dump(value)}" for name, value in self.values().items())
        extra: str | None = getattr(self, "extra", None)
        return f"{{{text}{',' + extra[1:-1] if extra else ''}}}".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction(_Record):
    """What a customer did. `extra` is a JSON object of the fields beyond the known ones, or None."""

    FIELDS = TRANSACTION_FIELDS
    FORBIDDEN = frozenset(field.name for field in OWN_FIELDS)

    transaction_id: str
    account_id: int
    customer_name: str
    transaction_date: str
    merchant_type: str
    transaction_type: str
    amount: Decimal
    extra: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFlag(_Record):
    """A flag event: from `flag_date` on the account is FLAGGED, or CLEARED."""

    FIELDS = FLAG_FIELDS

    account_id: int
    flag_date: str
    status: Status
    reason: str | None
    flagged_by: str
    extra: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlaggedTransaction(_Record):
    """A detection: the transaction, the flag event in force, and where both lie in Kafka."""

    FIELDS = FLAGGED_TRANSACTION_FIELDS
    LIMIT = 2 * 1024 * 1024  # the largest transaction and what is added to it

    transaction_id: str
    account_id: int
    customer_name: str
    transaction_date: str
    merchant_type: str
    transaction_type: str
    amount: Decimal
    flag_date: str
    flag_reason: str | None
    flagged_by: str
    transaction_partition: int
    transaction_offset: int
    flag_partition: int
    flag_offset: int
    extra: str | None = None


def key(account_id: int) -> bytes:
    """Give the Kafka key of every record of the account: its id in decimal ASCII."""
    return b"%d" % account_id


def flink_properties() -> dict[str, str]:
    """Give the field rules as the Flink application takes them."""
    return {
        "fields.transaction": ",".join(field.rule() for field in TRANSACTION_FIELDS),
        "fields.flag": ",".join(field.rule() for field in FLAG_FIELDS),
        "fields.own": ",".join(field.name for field in OWN_FIELDS),
        "fields.copied": ",".join(f"{old}={new}" for old, new in COPIED_FROM_FLAG.items()),
        "max.value.bytes": str(MAX_VALUE_BYTES),
        "max.depth": str(MAX_DEPTH),
    }


def _check_definitions() -> None:
    """Fail at import if a record's class and its field list drift apart."""
    for record in (Transaction, AccountFlag, FlaggedTransaction):
        assert [f.name for f in fields(record)] == [*(f.name for f in record.FIELDS), "extra"], record  # noqa: S101


_check_definitions()
