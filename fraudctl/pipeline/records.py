"""The pipeline's records: the one definition of every field, and what makes a record malformed.

JSON on Kafka, UTF-8, snake_case; money is decimal end to end. A field is one annotated line of its class. `FIELDS`,
JSON, CSV headers, the audit row, sample data and the rules of the Flink application (`flink_properties`) are derived
from it. `tests/data/records.jsonl` is run through both implementations of the rules.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Self

from fraudctl.pipeline.dates import format_date, normalise_date
from fraudctl.pipeline.fields import (
    MAX_DEPTH,
    MAX_INT64,
    MAX_VALUE_BYTES,
    CopiedFrom,
    Field,
    Kind,
    Malformed,
    Rule,
    Status,
    check,
    decode,
    decode_value,
    dump,
    fields_of,
    parse_date,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_INT64",
    "MAX_VALUE_BYTES",
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

Identifier = Annotated[str, Rule(Kind.IDENTIFIER, longest=128)]
Account = Annotated[int, Rule(Kind.ACCOUNT)]
Text = Annotated[str, Rule(Kind.TEXT)]
Date = Annotated[str, Rule(Kind.DATE)]
Amount = Annotated[Decimal, Rule(Kind.AMOUNT)]
FlagStatus = Annotated[Status, Rule(Kind.STATUS)]
Reason = Annotated[str | None, Rule(Kind.TEXT, shortest=0)]
Count = Annotated[int, Rule(Kind.COUNT)]


class _Record:
    """What all records share: JSON in and out."""

    FIELDS: ClassVar[tuple[Field, ...]]
    LIMIT: ClassVar[int] = MAX_VALUE_BYTES
    FORBIDDEN: ClassVar[frozenset[str]] = frozenset()
    __slots__ = ()

    def __init_subclass__(cls) -> None:
        """Derive the fields from the annotations."""
        cls.FIELDS = fields_of(cls)

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
        """Return the known fields in their order, `extra` left out."""
        return {field.name: getattr(self, field.name) for field in self.FIELDS}

    def to_json(self) -> bytes:
        """Encode as on Kafka: one JSON object, amounts with two decimals, unknown fields at the end."""
        text = ",".join(f"{json.dumps(name)}:{dump(value)}" for name, value in self.values().items())
        extra: str | None = getattr(self, "extra", None)
        return f"{{{text}{',' + extra[1:-1] if extra else ''}}}".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionFields(_Record):
    """What a customer did: the fields of a transaction, which a detection has too."""

    transaction_id: Identifier
    account_id: Account
    customer_name: Text
    transaction_date: Date
    merchant_type: Text
    transaction_type: Text
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionFields(TransactionFields):
    """A transaction, the flag event in force, and where both lie in Kafka."""

    flag_date: Annotated[Date, CopiedFrom("flag_date")]
    flag_reason: Annotated[Reason, CopiedFrom("reason")]
    flagged_by: Annotated[Text, CopiedFrom("flagged_by")]
    transaction_partition: Count
    transaction_offset: Count
    flag_partition: Count
    flag_offset: Count


# What a transaction may not bring along: only the application writes it.
OWN_FIELDS: Final = DetectionFields.FIELDS[len(TransactionFields.FIELDS) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction(TransactionFields):
    """A transaction. `extra` is a JSON object of the fields beyond the known ones, or None."""

    FORBIDDEN = frozenset(field.name for field in OWN_FIELDS)

    extra: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFlag(_Record):
    """A flag event: from `flag_date` on the account is FLAGGED, or CLEARED."""

    account_id: Account
    flag_date: Date
    status: FlagStatus
    reason: Reason
    flagged_by: Text
    extra: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlaggedTransaction(DetectionFields):
    """A detection, as the application writes it."""

    LIMIT = 2 * 1024 * 1024  # the largest transaction and what is added to it

    extra: str | None = None


def key(account_id: int) -> bytes:
    """Return the Kafka key of every record of the account: its id in decimal ASCII."""
    return b"%d" % account_id


def flink_properties() -> dict[str, str]:
    """Return the field rules as the Flink application takes them."""
    return {
        "fields.transaction": ",".join(field.rule() for field in Transaction.FIELDS),
        "fields.flag": ",".join(field.rule() for field in AccountFlag.FIELDS),
        "fields.own": ",".join(field.name for field in OWN_FIELDS),
        "fields.copied": ",".join(f"{field.copied_from}={field.name}" for field in OWN_FIELDS if field.copied_from),
        "max.value.bytes": str(MAX_VALUE_BYTES),
        "max.depth": str(MAX_DEPTH),
    }
