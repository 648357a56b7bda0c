"""Mappings: how the columns of a foreign file become the fields of a transaction. docs/files.md describes the format.

A mapping is a TOML file. Its keys are checked against the classes below and against the fields of
`fraudctl.pipeline.records.Transaction`, so no name of a field stands here.
"""

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any, Final

from fraudctl.errors import BadConfig
from fraudctl.pipeline.fields import MAX_INT64, Field, Kind, dump
from fraudctl.pipeline.records import Transaction
from fraudctl.services import transforms
from fraudctl.services.transforms import BadValue, Numbers

_PRESETS: Final = Path(__file__).parent / "presets"
_HELP: Final = "docs/files.md describes the keys"

DEBEZIUM: Final = "debezium"
# What Debezium calls a change. A row that was read (a snapshot) or created is a transaction that happened.
_CHANGES: Final = {"u": "an update", "d": "a deletion", "t": "a truncation", "m": "a message"}
_HAPPENED: Final = frozenset({"c", "r"})

# Files that people try and that lack what no mapping can make up, by the name that a preset would have.
_ULB_COLUMNS: Final = frozenset({"Time", "V1", "V28", "Amount", "Class"})
_ULB: Final = "the ULB data (creditcard.csv) names no account, and accounts are what is flagged"
_ULB_HINT: Final = "docs/files.md has a mapping that gives all rows one account of your choice"

# Which keys a field of each kind takes besides its source.
_SOURCE: Final = frozenset({"column", "columns", "constant", "row"})
_ALWAYS: Final = _SOURCE | {"join", "default", "hash"}
_KEYS: Final = {
    Kind.ACCOUNT: _ALWAYS | {"digits"},
    Kind.DATE: _ALWAYS | {"date", "unit", "start"},
    Kind.AMOUNT: _ALWAYS | {"decimal", "thousands", "currency", "negate"},
}
_TOP: Final = frozenset({"title", "source", "envelope", "columns", "delimiter", "encoding", "zone", "extra", "fields"})


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """Where one field comes from: columns joined, the row's number, or a constant; then at most a few transforms."""

    name: str
    columns: tuple[str, ...]
    transform: Callable[[str], str]
    constant: str | None = None
    row: bool = False
    join: str = " "
    default: str | None = None
    hashed: bool = False

    def value(self, row: Mapping[str, Any], number: int) -> str:
        """Return the field's text for a row; raises `BadValue` naming the column and its value."""
        if self.constant is not None:
            return self.constant
        parts = [text(row.get(column), column) for column in self.columns]
        joined = self.join.join(part for part in parts if part)
        where = ", ".join(self.columns)
        if not joined and not self.row:
            if self.default is not None:
                return self.default
            raise BadValue(self.name, "is empty", where, "")
        if self.hashed:
            return hashed(self.join.join([*parts, str(number)] if self.row else parts))
        if self.row:
            joined = self.join.join(filter(None, (joined, str(number))))
        try:
            return self.transform(joined)
        except ValueError as error:
            raise BadValue(self.name, str(error), where, joined) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMapping:
    """A whole mapping: the shape of the file and a `FieldMapping` for each field of a transaction.

    `columns` are those of a file without a header line. `extra` names the columns passed on as they are; None stands
    for all of them. `envelope` is `DEBEZIUM` when each row lies in a change event.
    """

    name: str
    title: str = ""
    source: str = ""
    columns: tuple[str, ...] = ()
    delimiter: str | None = None
    encoding: str | None = None
    envelope: str | None = None
    extra: tuple[str, ...] | None = ()
    fields: tuple[FieldMapping, ...] = field(default=())

    @property
    def needed(self) -> dict[str, str]:
        """Return the columns that the file must have, each with the first field that needs it."""
        found: dict[str, str] = {}
        for one in self.fields:
            for column in one.columns:
                found.setdefault(column, one.name)
        for column in self.extra or ():
            found.setdefault(column, "extra")
        return found

    def texts(self, row: Mapping[str, Any], number: int) -> dict[str, str]:
        """Return the text of each field for a row, the first of which is 1; raises `BadValue`."""
        return {one.name: one.value(row, number) for one in self.fields}

    def row(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the row that a JSON object is or holds; raises `BadValue` for a change event without a new row."""
        return _created(data) if self.envelope else data

    def others(self, row: Mapping[str, Any]) -> dict[str, str]:
        """Return the columns that are passed on beside the fields, encoded as JSON."""
        names: Iterable[str] = row if self.extra is None else self.extra
        return {name: dump(row[name]) for name in names if name in row and name and name not in _RESERVED}


_RESERVED: Final = Transaction.FORBIDDEN | {one.name for one in Transaction.FIELDS}


def _created(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the row of a Debezium change event, with its schema around it or without.

    Source of the form: https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-create-events
    """
    payload = event.get("payload")
    if "op" not in event and isinstance(payload, dict):
        event = payload
    kind = event.get("op")
    if not isinstance(kind, str):
        raise BadValue("op", "is missing: not a change event of Debezium", "op", "")
    if kind not in _HAPPENED:
        raise BadValue(
            "op", f"is {_CHANGES.get(kind, 'unknown')}: only created rows (c, r) are transactions", "op", kind
        )
    row = event.get("after")
    if not isinstance(row, dict):
        raise BadValue("after", "is not a row", "after", "" if row is None else dump(row))
    return row


def refuse_without_accounts(header: Sequence[str], name: str) -> None:
    """Raise `BadConfig` for the header of a file that is known to name no account."""
    if _ULB_COLUMNS.issubset(header):
        raise BadConfig(f"{name}: {_ULB}", hint=_ULB_HINT)


def text(value: object, column: str = "") -> str:
    """Return a cell or a JSON value as text without blanks around it; raises `BadValue` for an object or an array."""
    match value:
        case str():
            return value.strip()
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case _:
            raise BadValue(column, "is an object or an array, not one value", column, dump(value))


def hashed(joined: str) -> str:
    """Return a positive 63-bit number for a text, always the same: the first bits of its SHA-256, in decimal."""
    import hashlib

    number = int.from_bytes(hashlib.sha256(joined.encode("utf-8", "surrogatepass")).digest()[:8]) & MAX_INT64
    return str(number or 1)


def presets() -> tuple[str, ...]:
    """Return the names of the mappings that fraudctl brings along."""
    return tuple(sorted(path.stem for path in _PRESETS.glob("*.toml")))


def load(name: str, zone: str | None = None) -> FileMapping:
    """Return the mapping of a file, or a preset by its name; `zone` is for dates that do not name theirs.

    Raises:
        BadConfig: There is no such file or preset, or a key in it is wrong; the message names the key.
    """
    if name == "ulb":
        raise BadConfig(f"--map {name}: {_ULB}", hint=_ULB_HINT)
    preset = name in presets()
    path = _PRESETS / f"{name}.toml" if preset else Path(name)
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadConfig(
            f"--map {name}: no such preset, and as a file: {error.strerror}",
            hint=f"the presets are {', '.join(presets())}; or write a file as docs/files.md describes",
        ) from error
    except UnicodeDecodeError as error:
        raise BadConfig(f"--map {name}: not UTF-8 at byte {error.start + 1}", hint="TOML is UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"--map {name}: not TOML: {error}", hint=_HELP) from error
    return _Checked(name, data).mapping(zone)


def zone_of(name: str, what: str) -> tzinfo:
    """Return a time zone by its IANA name; raises `BadConfig` naming `what` asked for it."""
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError; a folder gives OSError
        raise BadConfig(f"{what} {name}: unknown time zone", hint="name one like Europe/Berlin or UTC") from error


class _Checked:
    """A mapping's TOML, checked key by key."""

    def __init__(self, name: str, data: dict[str, Any]) -> None:
        self._name, self._data = name, data

    def mapping(self, zone: str | None) -> FileMapping:
        self._known("", self._data, _TOP)
        fields = self._data.get("fields")
        if not isinstance(fields, dict):
            raise self._error("fields", "is missing: a table that names the column of each field")
        known = {one.name: one for one in Transaction.FIELDS}
        self._known("fields.", fields, known)
        if missing := [name for name in known if name not in fields]:
            raise self._error(f"fields.{missing[0]}", "is missing")
        named = self._string("zone", self._data) if zone is None else zone
        place = None if named is None else zone_of(named, "--zone" if zone else f"map {self._name}: zone")
        delimiter = self._string("delimiter", self._data)
        if delimiter is not None and len(delimiter) != 1:
            raise self._error("delimiter", f"{delimiter!r} is not one character")
        envelope = self._string("envelope", self._data)
        if envelope not in {None, DEBEZIUM}:
            raise self._error("envelope", f"{envelope!r} is not {DEBEZIUM}")
        extra = self._data.get("extra", [])
        columns = self._strings("columns", self._data) or ()
        if len(set(columns)) < len(columns):
            raise self._error("columns", "names a column twice")
        made = FileMapping(
            name=self._name,
            title=self._string("title", self._data) or "",
            source=self._string("source", self._data) or "",
            columns=columns,
            delimiter=delimiter,
            encoding=self._string("encoding", self._data),
            envelope=envelope,
            extra=None if extra == "all" else self._strings("extra", self._data) or (),
            fields=tuple(self._field(one, fields[name], place) for name, one in known.items()),
        )
        for reserved in set(made.extra or ()) & _RESERVED:
            raise self._error("extra", f"{reserved!r} is the name of a field")
        if made.columns:
            for column, needs in made.needed.items():
                if column not in made.columns:
                    raise self._error(f"fields.{needs}", f"column {column!r} is not among the columns")
        return made

    def _field(self, one: Field, given: object, zone: tzinfo | None) -> FieldMapping:
        key = f"fields.{one.name}"
        if isinstance(given, str):
            given = {"column": given}
        if not isinstance(given, dict):
            raise self._error(key, 'is neither a column\'s name nor a table like {column = "amt"}')
        self._known(f"{key}.", given, _KEYS.get(one.kind, _ALWAYS))
        sources = sorted(set(given) & {"column", "columns", "constant"})
        if len(sources) > 1 or not (sources or given.get("row")):
            raise self._error(key, "needs one of column, columns and constant")
        column = self._string("column", given, f"{key}.")
        columns = (column,) if column is not None else self._strings("columns", given, f"{key}.") or ()
        constant = self._string("constant", given, f"{key}.")
        if constant is not None:
            self._known(f"{key} with a constant: ", given, {"constant"})
        if self._flag("hash", given, f"{key}.") and one.kind in {Kind.DATE, Kind.AMOUNT}:
            raise self._error(f"{key}.hash", "a date or an amount is no hash")
        transform = self._transform(one, given, f"{key}.", zone)
        if constant is not None:
            try:
                constant = transform(constant)
            except ValueError as error:
                raise self._error(f"{key}.constant", f"{constant!r} {error}") from error
        return FieldMapping(
            name=one.name,
            columns=columns,
            transform=transform,
            constant=constant,
            row=self._flag("row", given, f"{key}."),
            join=" " if (join := self._string("join", given, f"{key}.")) is None else join,
            default=self._string("default", given, f"{key}."),
            hashed=self._flag("hash", given, f"{key}."),
        )

    def _transform(self, one: Field, given: dict[str, Any], key: str, zone: tzinfo | None) -> Callable[[str], str]:
        match one.kind:
            case Kind.ACCOUNT:
                digits = self._flag("digits", given, key)
                return lambda value: transforms.account(value, digits=digits)
            case Kind.AMOUNT:
                numbers = Numbers(
                    decimal=self._sign("decimal", given, key) or ".",
                    thousands=self._sign("thousands", given, key),
                    currency=self._strings("currency", given, key) or (),
                    negate=self._flag("negate", given, key),
                )
                if numbers.decimal == numbers.thousands:
                    raise self._error(f"{key}thousands", "is the decimal sign too")
                return numbers.amount
            case Kind.DATE:
                return self._date(given, key, zone)
            case _:
                return str

    def _date(self, given: dict[str, Any], key: str, zone: tzinfo | None) -> Callable[[str], str]:
        if "unit" in given:
            if "date" in given:
                raise self._error(f"{key}unit", "a date is either counted or formatted")
            unit = self._string("unit", given, key) or ""
            if unit not in transforms.UNITS:
                raise self._error(f"{key}unit", f"{unit!r} is not one of {', '.join(transforms.UNITS)}")
            start = given.get("start", "1970-01-01T00:00:00Z")
            try:
                first = transforms.start(start)
            except ValueError as error:
                raise self._error(f"{key}start", f"{start}: {error}") from error
            return lambda value: transforms.counted(value, unit, first)
        if "start" in given:
            raise self._error(f"{key}start", "goes with unit")
        formats = self._strings("date", given, key) or (transforms.ISO,)
        for one in formats:
            try:
                needs_zone = transforms.check_format(one)
            except ValueError as error:
                raise self._error(f"{key}date", f"{one!r}: {error}") from error
            if needs_zone and zone is None:
                raise self._error(f"{key}date", f"{one!r} has no zone: add zone to the mapping, or --zone")
        return lambda value: transforms.date(value, formats, zone)

    def _known(self, prefix: str, data: Mapping[str, Any], known: Iterable[str]) -> None:
        names = sorted(known)
        for key in data:
            if key not in names:
                import difflib  # not for `--help`: it takes milliseconds

                near = difflib.get_close_matches(key, names, 1)
                raise self._error(f"{prefix}{key}", f"unknown key{f'; did you mean {near[0]}?' if near else ''}", names)

    def _string(self, key: str, data: Mapping[str, Any], prefix: str = "") -> str | None:
        value = data.get(key)
        if value is None or isinstance(value, str):
            return value
        raise self._error(f"{prefix}{key}", f"{value} is not a string: write it in quotes")

    def _strings(self, key: str, data: Mapping[str, Any], prefix: str = "") -> tuple[str, ...] | None:
        value = data.get(key)
        if value is None:
            return None
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
            return tuple(value)
        if value == [] and key == "extra":
            return ()
        raise self._error(f"{prefix}{key}", "is not a list of strings")

    def _sign(self, key: str, data: Mapping[str, Any], prefix: str) -> str:
        value = self._string(key, data, prefix) or ""
        if len(value) > 1 or value.isalnum() or value in {"+", "-"}:
            raise self._error(f"{prefix}{key}", f"{value!r} is not one sign, like a comma")
        return value

    def _flag(self, key: str, data: Mapping[str, Any], prefix: str) -> bool:
        value = data.get(key, False)
        if not isinstance(value, bool):
            raise self._error(f"{prefix}{key}", "is neither true nor false")
        return value

    def _error(self, key: str, why: str, known: Sequence[str] = ()) -> BadConfig:
        return BadConfig(f"map {self._name}: {key}: {why}", hint=f"the keys are {', '.join(known)}" if known else _HELP)
