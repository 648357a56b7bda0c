"""Read files of transactions: JSON Lines, JSON arrays or CSV, as they are or mapped, checked against the record."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from json import dumps
from typing import Any, Final

from fraudctl.errors import BadConfig
from fraudctl.pipeline.dates import EXPECTED
from fraudctl.pipeline.fields import check
from fraudctl.pipeline.records import (
    MAX_VALUE_BYTES,
    Field,
    Kind,
    Malformed,
    Transaction,
    decode,
    key,
    normalise_date,
)
from fraudctl.pipeline.text import shown
from fraudctl.services import delimited, envelopes, json_values
from fraudctl.services.input_files import LATIN_1_HINT, as_utf8, numbered_lines, plain_name
from fraudctl.services.mapping import FileMapping, refuse_without_accounts
from fraudctl.services.read_options import FileFormat, ReadOptions
from fraudctl.services.transforms import REFUND, BadValue, with_zone
from fraudctl.target import Outgoing

_BOM: Final = b"\xef\xbb\xbf"
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_ZEROS: Final = re.compile(r"0+[1-9]\d*", re.ASCII)
_DECIMAL_COMMA: Final = re.compile(r"(0|[1-9]\d*),(\d{1,2})", re.ASCII)
_KNOWN: Final = {field.name: field for field in Transaction.FIELDS}
_NUMERIC: Final = frozenset(field.name for field in Transaction.FIELDS if field.kind in {Kind.ACCOUNT, Kind.AMOUNT})
_ACCOUNTS: Final = frozenset(field.name for field in Transaction.FIELDS if field.kind is Kind.ACCOUNT)
_AMOUNTS: Final = frozenset(field.name for field in Transaction.FIELDS if field.kind is Kind.AMOUNT)
_DATES: Final = frozenset(field.name for field in Transaction.FIELDS if field.kind is Kind.DATE)
_LONGEST_LINE: Final = 4 * MAX_VALUE_BYTES
_LONGEST_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file (the first is 1) as a record to send, or why it cannot be sent.

    `column` and `value` are what the reason is about; the value is shortened. `element` counts the elements of a JSON
    array from 1, many of which may share a line.
    """

    number: int
    outgoing: Outgoing | None
    reason: str = ""
    column: str = ""
    value: str = ""
    element: int = 0

    @property
    def place(self) -> str:
        """Where the line stands in the file."""
        return f"line {self.number}, element {self.element}" if self.element else f"line {self.number}"

    @property
    def text(self) -> str:
        """The reason with the column and the value, safe to show."""
        column = f" in column {self.column}" if self.column and self.column not in self.reason else ""
        value = f": {self.value!r}" if self.column else ""
        return shown(f"{self.reason}{column}{value}")

    def document(self) -> dict[str, Any]:
        """Return what programs read: the line, the reason, and what it is about if it is about one value."""
        found: dict[str, Any] = {"line": self.number}
        if self.element:
            found["element"] = self.element
        found["reason"] = self.reason
        if self.column:
            found |= {"column": self.column, "value": self.value}
        return found


def format_of(name: str, stream: io.BufferedReader) -> FileFormat:
    """Return the format of a UTF-8 stream by its first character and line, then by the name's ending.

    A bracket begins an array, a line with nothing but a brace an object over several lines.
    """
    start = stream.peek(4096).removeprefix(_BOM).lstrip()
    lower = plain_name(name)
    if lower.endswith((".csv", ".tsv")):
        return FileFormat.CSV
    if start.startswith(b"[") or re.match(rb"\{\s*\n", start):
        return FileFormat.JSON
    if lower.endswith((".jsonl", ".json", ".ndjson")):
        return FileFormat.JSONL
    return FileFormat.JSONL if not start or start.startswith(b"{") else FileFormat.CSV


def lines(
    stream: io.BufferedReader, file_format: FileFormat | None, name: str, options: ReadOptions | None = None
) -> Iterator[Line]:
    """Yield every line that is not blank, checked; dates with a zone are normalised first.

    `file_format` goes before that of the options; None stands for what the file looks like.

    Raises:
        BadConfig: The header of a CSV file does not fit the record or the mapping, or the encoding is unknown.
    """
    chosen = options or ReadOptions()
    mapping = chosen.mapping
    utf8 = as_utf8(stream, name, chosen.encoding or (mapping.encoding if mapping else None))
    checker = _Checker(chosen)
    match file_format or chosen.file_format or (FileFormat.CSV if checker.headless else format_of(name, utf8)):
        case FileFormat.JSONL:
            return _json_lines(utf8, checker)
        case FileFormat.JSON:
            return _json_elements(utf8, checker)
        case FileFormat.CSV:
            return _csv_lines(utf8, name, checker)


def _json_lines(stream: io.BufferedReader, checker: "_Checker") -> Iterator[Line]:
    for number, value in numbered_lines(stream, _LONGEST_LINE):
        yield Line(number, None, f"over {MAX_VALUE_BYTES} bytes") if value is None else checker.json(number, value)


def _json_elements(stream: io.BufferedReader, checker: "_Checker") -> Iterator[Line]:
    for element, value in enumerate(json_values.values(stream, _LONGEST_LINE), 1):
        if value.data is None:
            yield Line(value.line, None, f"over {MAX_VALUE_BYTES} bytes", element=element)
        elif value.problem:
            yield Line(value.line, None, value.problem, element=element)
        else:
            yield replace(checker.json(value.line, value.data), element=element)


def _csv_lines(stream: io.BufferedReader, name: str, checker: "_Checker") -> Iterator[Line]:
    mapping = checker.mapping
    table = delimited.table(
        stream,
        name,
        tuple(mapping.needed) if mapping else tuple(_KNOWN),
        delimiter=checker.delimiter,
        columns=mapping.columns if mapping else (),
        search=mapping is not None,
    )
    header: Sequence[str] = table.header
    if header:
        header = _check_mapped(header, name, mapping) if mapping else _check_header(header, name)
    return _csv_rows(table, header, checker)


def _csv_rows(table: delimited.Table, header: Sequence[str], checker: "_Checker") -> Iterator[Line]:
    for row in table.rows:
        line = _csv_row(row, header, checker, decimal_comma=table.delimiter != ",")
        if line is None:
            continue
        yield line
        if line.outgoing is None:
            yield from _inside(row.first, row.last)


def _inside(first: int, last: int) -> Iterator[Line]:
    """Yield every line that an invalid row swallowed: a stray quote swallows valid lines."""
    for number in range(first + 1, last + 1):
        yield Line(number, None, f"inside the quotes of line {first}")


def _check_header(header: Sequence[str], name: str) -> Sequence[str]:
    """Return the names of the columns, those of the record in its own spelling."""
    refuse_without_accounts(header, name)
    hint = f"the columns are {','.join(_KNOWN)}; --map reads files with others"
    spelled = [name if (name := column.casefold()) in _KNOWN and name not in header else column for column in header]
    for column in filter(None, spelled):
        if spelled.count(column) > 1:
            raise BadConfig(f"{name}: column {column!r} appears twice", hint=hint)
        if column in Transaction.FORBIDDEN:
            raise BadConfig(f"{name}: column {column!r} is a field of detections, not of the input", hint=hint)
    missing = [column for column in _KNOWN if column not in spelled]
    if missing:
        others = ", ".join(repr(column) for column in spelled if column and column not in _KNOWN)
        raise BadConfig(
            f"{name}: column {', '.join(map(repr, missing))} is missing{f'; unknown: {others}' if others else ''}",
            hint=hint,
        )
    return spelled


def _check_mapped(header: Sequence[str], name: str, mapping: FileMapping) -> Sequence[str]:
    for column, needs in mapping.needed.items():
        if column not in header:
            there = ", ".join(repr(one) for one in header if one)
            raise BadConfig(
                f"{name}: column {column!r} is missing, from which {mapping.name} takes {needs}",
                hint=f"the columns are {there}",
            )
        if header.count(column) > 1:
            raise BadConfig(f"{name}: column {column!r} appears twice", hint="rename one of them")
    return header


def _csv_row(row: delimited.Row, header: Sequence[str], checker: "_Checker", *, decimal_comma: bool) -> Line | None:
    """Return the row as a line; None for a header in a file whose columns the mapping names."""
    if row.problem:
        return checker.invalid(row.first, row.problem)
    if checker.headless and row.first == 1 and [cell.strip() for cell in row.cells] == list(header):
        return None
    if len(row.cells) != len(header):
        quotes = "; text with a separator in it needs quotes" if len(row.cells) > len(header) else ""
        return checker.invalid(row.first, f"{len(row.cells)} columns, the header has {len(header)}{quotes}")
    if bad := delimited.not_utf8(row.cells):
        index, place, cell = bad
        return checker.invalid(
            row.first, f"not UTF-8 at byte {place} of {header[index]}; {LATIN_1_HINT}", header[index], _shortened(cell)
        )
    cells = {column: cell for column, cell in zip(header, row.cells, strict=True) if column}
    if decimal_comma and not checker.mapping:
        for column in _AMOUNTS:
            if match := _DECIMAL_COMMA.fullmatch(cells[column].strip()):
                cells[column] = f"{match[1]}.{match[2]}"
    return checker.cells(row.first, cells)


class _Checker:
    """Makes records of rows and JSON objects."""

    def __init__(self, options: ReadOptions) -> None:
        self.mapping = options.mapping
        self.delimiter = options.delimiter or (options.mapping.delimiter if options.mapping else None)
        self.headless = bool(options.mapping and options.mapping.columns)
        self._zone = options.zone
        self._row = 0

    def invalid(self, number: int, reason: str, column: str = "", value: str = "") -> Line:
        """Return a row that is no record; it counts as one."""
        self._row += 1
        return Line(number, None, reason, column, value)

    def cells(self, number: int, cells: Mapping[str, str]) -> Line:
        """Check a row of a table."""
        if self.mapping:
            return self._mapped(number, self.mapping, cells)
        text = ",".join(f"{dumps(column)}:{_cell(column, cell)}" for column, cell in cells.items())
        return self._checked(number, f"{{{text}}}".encode())

    def json(self, number: int, value: bytes) -> Line:
        """Check a JSON object."""
        if not self.mapping:
            return self._recorded(number, value) or self._checked(number, value)
        try:
            data = decode(value.decode())
        except (Malformed, UnicodeDecodeError) as error:
            self._row += 1
            return _explained(number, value, error)
        return self._mapped(number, self.mapping, data)

    def _recorded(self, number: int, value: bytes) -> Line | None:
        """Check the transaction of a record as `fraudctl tail -o json` prints it; None for any other object.

        It keeps the record's own key and headers.
        """
        try:
            record = envelopes.opened(value)
        except envelopes.BadEnvelope as error:
            return Line(number, None, str(error))
        if record is None:
            return None
        if record.value is None:
            return Line(number, None, "a tombstone, a record without a value, is no transaction")
        line = self._checked(number, record.value)
        if line.outgoing is None:
            return line
        return replace(line, outgoing=replace(record, value=line.outgoing.value))

    def _mapped(self, number: int, mapping: FileMapping, row: Mapping[str, Any]) -> Line:
        self._row += 1
        try:
            row = mapping.row(row)
            texts = mapping.texts(row, self._row)
            others = mapping.others(row)
        except BadValue as error:
            return Line(number, None, str(error), error.column, _shortened(error.value))
        parts = {name: _cell(name, text) for name, text in texts.items()} | others
        return self._checked(
            number, f"{{{','.join(f'{dumps(name)}:{part}' for name, part in parts.items())}}}".encode()
        )

    def _checked(self, number: int, value: bytes) -> Line:
        try:
            transaction = Transaction.parse(value)
        except Malformed as error:
            return self._normalised(number, value, error)
        return Line(number, Outgoing(key(transaction.account_id), value))

    def _normalised(self, number: int, value: bytes, reason: Malformed) -> Line:
        """Return the line with its dates in the records' form; with the first reason if they are not what is wrong."""
        try:
            data = decode(value.decode())
            dates = {name: self._date(data[name]) for name in _DATES if isinstance(data.get(name), str)}
            if all(data[name] == date for name, date in dates.items()) or len(value) > MAX_VALUE_BYTES:
                return _explained(number, value, reason)
            transaction = Transaction.parse(Transaction.checked({**data, **dates}).to_json())
        except Malformed as error:
            return _explained(number, value, error)
        except UnicodeDecodeError:
            return _explained(number, value, reason)
        return Line(number, Outgoing(key(transaction.account_id), transaction.to_json()))

    def _date(self, text: str) -> str:
        normalised = normalise_date(text)
        return with_zone(text, self._zone) if normalised == text and self._zone else normalised


def _cell(column: str, cell: str) -> str:
    if column in _ACCOUNTS and _ZEROS.fullmatch(cell.strip()):
        return cell.strip().lstrip("0")
    if column in _NUMERIC and _NUMBER.fullmatch(cell.strip()):
        return cell.strip()
    return dumps(cell, ensure_ascii=False)


def _explained(number: int, value: bytes, error: ValueError) -> Line:
    """Return an invalid line with the column and the value that the reason is about, if it is about one."""
    if isinstance(error, UnicodeDecodeError) or "not UTF-8" in str(error):
        try:
            value.decode()
        except UnicodeDecodeError as found:
            return Line(number, None, f"not UTF-8 at byte {found.start + 1}; {LATIN_1_HINT}")
    reason = str(error)
    try:
        data = decode(value.decode())
    except ValueError:  # it is not JSON at all: the reason says where
        return Line(number, None, reason)
    for field in Transaction.FIELDS:
        if field.name not in data or not reason.startswith(field.name):
            continue
        try:
            check(field, data)
        except Malformed:
            given = data[field.name]
            text = given if isinstance(given, str) else dumps(given)
            return Line(number, None, _better(field, text, reason), field.name, _shortened(text))
    return Line(number, None, reason)


def _better(field: Field, text: str, reason: str) -> str:
    """Return the reason as a person puts it, where the record's rule alone does not say it."""
    if field.kind is Kind.ACCOUNT and not re.fullmatch(r"\d+", text, re.ASCII):
        return f"{field.name} is not an account number (digits only)"
    if field.kind is Kind.AMOUNT and re.fullmatch(r"-\d+([.,]\d+)?", text.strip()):
        return f"{field.name} {REFUND}"
    if field.kind is Kind.DATE and normalise_date(f"{text}Z") != f"{text}Z":
        return f"{field.name} is not a date with its zone: add one, or --zone Europe/Berlin"
    if field.kind is Kind.DATE and "is not a date" in reason:
        return f"{field.name} is not {EXPECTED}"
    return reason


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"
