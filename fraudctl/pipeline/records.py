"""The pipeline's records: the one definition of every field, and what makes a record malformed.

JSON on Kafka, UTF-8, snake_case; money is decimal end to end. The Flink application checks by the same rules: it gets
them as properties (`flink_properties`), and `tests/data/records.jsonl` is run through both.
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, Final, Self

MAX_VALUE_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 64
MAX_INT64: Final = 2**63 - 1

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT([01]\d|2[0-3]):\d\d:\d\d\.\d{3}Z", re.ASCII)
_INTEGER: Final = re.compile(r"0|[1-9]\d{0,18}", re.ASCII)
_AMOUNT: Final = re.compile(r"(0|[1-9]\d{0,8})(\.\d{1,2})?", re.ASCII)
_CENT: Final = Decimal("0.01")


class Malformed(ValueError):
    """The bytes are not the record; the text says why, without quoting the input's control characters."""


class Kind(StrEnum):
    """What a field may hold. The names are part of the Flink application's properties."""

    ACCOUNT = "account"  # JSON integer 1 … 2^63-1
    COUNT = "count"  # JSON integer 0 … 2^63-1: a partition or an offset
    IDENTIFIER = "identifier"  # string without control characters
    TEXT = "text"  # string
    DATE = "date"  # exactly YYYY-MM-DDTHH:MM:SS.mmmZ
    AMOUNT = "amount"  # JSON number without exponent, 0.00 … 999999999.99, at most two decimals
    STATUS = "status"  # FLAGGED or CLEARED


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record; the lengths are counted in Unicode characters."""

    name: str
    kind: Kind
    shortest: int = 1
    longest: int = 256
    nullable: bool = False

    def rule(self) -> str:
        """Give the field as the Flink application reads it: ``name:kind:shortest:longest:null|set``."""
        return f"{self.name}:{self.kind}:{self.shortest}:{self.longest}:{'null' if self.nullable else 'set'}"


class Status(StrEnum):
    """What a flag event says of its account."""

    FLAGGED = "FLAGGED"
    CLEARED = "CLEARED"


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


class _Number(str):
    """A JSON number as it was written: no float ever holds it."""

    __slots__ = ()


class _Record:
    """What all records share: JSON in and out."""

    FIELDS: ClassVar[tuple[Field, ...]]
    LIMIT: ClassVar[int] = MAX_VALUE_BYTES
    FORBIDDEN: ClassVar[frozenset[str]] = frozenset()
    __slots__ = ()

    @classmethod
    def parse(cls, value: bytes | None) -> Self:
        """Read a record's bytes; raises `Malformed` for whatever is not exactly this record."""
        return cls.checked(_decode(value, cls.LIMIT))

    @classmethod
    def checked(cls, data: Mapping[str, Any]) -> Self:
        """Check decoded JSON (numbers as `decode` gives them) and build the record."""
        for name in data:
            if name in cls.FORBIDDEN:
                raise Malformed(f"{name} is a field of detections, not of the input")
        known = {field.name: _check(field, data) for field in cls.FIELDS}
        extra = {name: value for name, value in data.items() if name not in known}
        return cls(**known, extra=_dump(extra) if extra else None)  # type: ignore[call-arg] # every record has it

    def values(self) -> dict[str, Any]:
        """Give the known fields in their order, `extra` left out."""
        return {field.name: getattr(self, field.name) for field in self.FIELDS}

    def to_json(self) -> bytes:
        """Encode as on Kafka: one JSON object, amounts with two decimals, unknown fields at the end."""
        text = ",".join(f"{json.dumps(name)}:{_dump(value)}" for name, value in self.values().items())
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


def format_date(moment: datetime) -> str:
    """Format an aware moment as the records have it, UTC with milliseconds (cut, not rounded)."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def parse_date(text: str) -> datetime:
    """Read a record's date; raises `Malformed` unless it is exactly ``YYYY-MM-DDTHH:MM:SS.mmmZ``."""
    if not _DATE.fullmatch(text):
        raise Malformed("not YYYY-MM-DDTHH:MM:SS.mmmZ")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise Malformed(str(error)) from error


def normalise_date(text: str) -> str:
    """Turn an ISO 8601 date that names its zone into the records' form; leave any other text as it is."""
    try:
        moment = datetime.fromisoformat(text)
        return text if moment.tzinfo is None else format_date(moment)
    except (ValueError, OverflowError):  # OverflowError: in UTC it lies before year 1 or after 9999
        return text


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


def decode(text: str) -> dict[str, Any]:
    """Decode one JSON object, numbers kept as written; raises `Malformed`."""
    try:
        data = json.loads(
            text,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique,
        )
    except RecursionError as error:
        raise Malformed(f"nested deeper than {MAX_DEPTH}") from error
    except json.JSONDecodeError as error:
        raise Malformed(f"not JSON: {error.msg} at character {error.pos + 1}") from error
    if not isinstance(data, dict):
        raise Malformed("not a JSON object")
    if _depth(data) > MAX_DEPTH:
        raise Malformed(f"nested deeper than {MAX_DEPTH}")
    return data


def _decode(value: bytes | None, limit: int) -> dict[str, Any]:
    if value is None:
        raise Malformed("the value is null")
    if len(value) > limit:
        raise Malformed(f"{len(value)} bytes, the limit is {limit}")
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8 at byte {error.start + 1}") from error
    if text.startswith("\ufeff"):
        raise Malformed("starts with a byte-order mark")
    return decode(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        raise Malformed("a field is repeated")
    return data


def _refuse_constant(name: str) -> None:
    raise Malformed(f"{name} is not a JSON number")


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


def _check(field: Field, data: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as many types as kinds
    if field.name not in data:
        raise Malformed(f"{field.name} is missing")
    value = data[field.name]
    if value is None and field.nullable:
        return None
    match field.kind:
        case Kind.ACCOUNT | Kind.COUNT:
            return _integer(field, value)
        case Kind.AMOUNT:
            return _amount(field, value)
        case _:
            return _string(field, value)


def _integer(field: Field, value: object) -> int:
    lowest = 1 if field.kind is Kind.ACCOUNT else 0
    if isinstance(value, _Number) and _INTEGER.fullmatch(value) and lowest <= int(value) <= MAX_INT64:
        return int(value)
    raise Malformed(f"{field.name} is not an integer from {lowest} to {MAX_INT64}")


def _amount(field: Field, value: object) -> Decimal:
    if isinstance(value, _Number) and _AMOUNT.fullmatch(value):
        return Decimal(value).quantize(_CENT)
    raise Malformed(f"{field.name} is not a number from 0.00 to 999999999.99 with at most two decimals")


def _string(field: Field, value: object) -> str:
    if not isinstance(value, str) or isinstance(value, _Number):
        raise Malformed(f"{field.name} is not a string")
    if not field.shortest <= len(value) <= field.longest:
        raise Malformed(f"{field.name} has {len(value)} characters, not {field.shortest} to {field.longest}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise Malformed(f"{field.name} holds an unpaired surrogate")
    if field.kind is Kind.IDENTIFIER and any(unicodedata.category(character) == "Cc" for character in value):
        raise Malformed(f"{field.name} holds a control character")
    if field.kind is Kind.STATUS:
        try:
            return Status(value)
        except ValueError as error:
            raise Malformed(f"{field.name} is neither FLAGGED nor CLEARED") from error
    if field.kind is Kind.DATE:
        try:
            parse_date(value)
        except Malformed as error:
            raise Malformed(f"{field.name} is no date: {error}") from error
    return value


def _dump(value: object) -> str:
    """Encode as JSON, numbers as they were written."""
    match value:
        case _Number() | Decimal():
            return str(value)
        case dict():
            return "{" + ",".join(f"{json.dumps(name)}:{_dump(inner)}" for name, inner in value.items()) + "}"
        case list():
            return "[" + ",".join(_dump(inner) for inner in value) + "]"
        case _:
            return json.dumps(value)


def _check_definitions() -> None:
    """Fail at import if a record's class and its field list drift apart."""
    for record in (Transaction, AccountFlag, FlaggedTransaction):
        assert [f.name for f in fields(record)] == [*(f.name for f in record.FIELDS), "extra"], record  # noqa: S101


_check_definitions()
