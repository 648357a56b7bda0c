"""What a field of a record may hold, and JSON decoded without ever passing through a float."""

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import NoneType
from typing import Any, Final, get_args, get_type_hints

MAX_VALUE_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 64
MAX_INT64: Final = 2**63 - 1

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT([01]\d|2[0-3]):\d\d:\d\d\.\d{3}Z", re.ASCII)
_INTEGER: Final = re.compile(r"0|[1-9]\d{0,18}", re.ASCII)
_AMOUNT: Final = re.compile(r"(0|[1-9]\d{0,8})(\.\d{1,2})?", re.ASCII)
_CENT: Final = Decimal("0.01")
_CONFLUENT_BYTES: Final = 5  # what Confluent's serializers put before the data: a zero byte and the schema's id


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
class Rule:
    """What a field may hold, written beside its type; the lengths are counted in Unicode characters."""

    kind: Kind
    shortest: int = 1
    longest: int = 256


@dataclass(frozen=True, slots=True)
class CopiedFrom:
    """Written beside the rule of a detection's field: the field of the flag event that it is copied from."""

    field: str


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record: its name, its rule, and whether it may be null."""

    name: str
    kind: Kind
    shortest: int
    longest: int
    nullable: bool
    copied_from: str | None

    def rule(self) -> str:
        """Return the field as the Flink application reads it: ``name:kind:shortest:longest:null|set``."""
        return f"{self.name}:{self.kind}:{self.shortest}:{self.longest}:{'null' if self.nullable else 'set'}"


def fields_of(record: type) -> tuple[Field, ...]:
    """Return the fields of a class that are annotated with a `Rule`, its bases' first."""
    found = []
    for name, hint in get_type_hints(record, include_extras=True).items():
        notes = getattr(hint, "__metadata__", ())
        for rule in (note for note in notes if isinstance(note, Rule)):
            copied_from = next((note.field for note in notes if isinstance(note, CopiedFrom)), None)
            nullable = NoneType in get_args(get_args(hint)[0])
            found.append(Field(name, rule.kind, rule.shortest, rule.longest, nullable, copied_from))
    return tuple(found)


class Status(StrEnum):
    """What a flag event states about its account."""

    FLAGGED = "FLAGGED"
    CLEARED = "CLEARED"


class Number(str):
    """A JSON number as it was written: no float ever holds it."""

    __slots__ = ()


def parse_date(text: str) -> datetime:
    """Return a record's date, aware; raises `Malformed` unless it is exactly ``YYYY-MM-DDTHH:MM:SS.mmmZ``."""
    if not _DATE.fullmatch(text):
        raise Malformed("not YYYY-MM-DDTHH:MM:SS.mmmZ")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise Malformed("there is no such date or time") from error


def decode(text: str) -> dict[str, Any]:
    """Decode one JSON object, numbers kept as written; raises `Malformed`."""
    try:
        data = json.loads(
            text,
            parse_int=Number,
            parse_float=Number,
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


def decode_value(value: bytes | None, limit: int) -> dict[str, Any]:
    """Decode a Kafka record's value of at most `limit` bytes, like `decode`; raises `Malformed`."""
    if value is None:
        raise Malformed("the value is null")
    if len(value) > limit:
        raise Malformed(f"too long: {len(value)} bytes, the limit is {limit}")
    if value[:1] == b"\0" and len(value) >= _CONFLUENT_BYTES:
        schema = int.from_bytes(value[1:_CONFLUENT_BYTES])
        raise Malformed(f"Confluent wire format (magic byte 0, schema id {schema}), not JSON")
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
    raise Malformed(f"not JSON: {name} is not a JSON number")


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


def check(field: Field, data: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as many types as kinds
    """Return the field's value in Python's type for its kind; raises `Malformed` naming the field."""
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
    if isinstance(value, Number) and _INTEGER.fullmatch(value) and lowest <= int(value) <= MAX_INT64:
        return int(value)
    raise Malformed(f"{field.name} is not an integer from {lowest} to {MAX_INT64}")


def _amount(field: Field, value: object) -> Decimal:
    if isinstance(value, Number) and _AMOUNT.fullmatch(value):
        return Decimal(value).quantize(_CENT)
    raise Malformed(f"{field.name} is not a number from 0.00 to 999999999.99 with at most two decimals")


def _string(field: Field, value: object) -> str:
    if not isinstance(value, str) or isinstance(value, Number):
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
            raise Malformed(f"{field.name} is not a date: {error}") from error
    return value


def dump(value: object) -> str:
    """Encode as JSON in UTF-8's characters, numbers as they were written."""
    match value:
        case Number() | Decimal():
            return str(value)
        case dict():
            return "{" + ",".join(f"{_quoted(name)}:{dump(inner)}" for name, inner in value.items()) + "}"
        case list():
            return "[" + ",".join(dump(inner) for inner in value) + "]"
        case str():
            return _quoted(value)
        case _:
            return json.dumps(value)


def _quoted(text: str) -> str:
    if text.isascii():
        return json.dumps(text)
    try:
        text.encode()
    except UnicodeEncodeError:  # an unpaired surrogate has no UTF-8: only an escape can stand for it
        return json.dumps(text)
    return json.dumps(text, ensure_ascii=False)
