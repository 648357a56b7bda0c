"""Read files of transactions: JSON Lines or CSV, each line checked against the record."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from json import dumps
from typing import IO, Any, Final

from fraudctl.errors import BadConfig
from fraudctl.pipeline.records import (
    MAX_VALUE_BYTES,
    Kind,
    Malformed,
    Transaction,
    decode,
    key,
    normalise_date,
)
from fraudctl.target import Outgoing

_BOM: Final = b"\xef\xbb\xbf"
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_NUMERIC: Final = frozenset(field.name for field in Transaction.FIELDS if field.kind in {Kind.ACCOUNT, Kind.AMOUNT})
_LONGEST_LINE: Final = 4 * MAX_VALUE_BYTES


class FileFormat(StrEnum):
    """The formats of a file of transactions."""

    JSONL = "jsonl"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file (the first is 1) as a record to send, or why it cannot be sent."""

    number: int
    outgoing: Outgoing | None
    reason: str = ""


def format_of(name: str, stream: io.BufferedReader) -> FileFormat:
    """Return the format by the name's ending, else by the first character: an object means JSON Lines.

    Raises `BadConfig` for a JSON array.
    """
    start = stream.peek(4096).removeprefix(_BOM).lstrip()
    if start.startswith(b"["):
        raise BadConfig(
            f"{name}: a JSON array, not JSON Lines",
            hint=f"jq -c '.[]' {name if name != '-' else 'FILE'} | fraudctl transactions send -",
        )
    lower = name.lower()
    if lower.endswith(".csv"):
        return FileFormat.CSV
    if lower.endswith((".jsonl", ".json", ".ndjson")):
        return FileFormat.JSONL
    return FileFormat.JSONL if not start or start.startswith(b"{") else FileFormat.CSV


def lines(stream: io.BufferedReader, file_format: FileFormat, name: str) -> Iterator[Line]:
    """Yield every line that is not blank, checked; dates with a zone are normalised first.

    Raises `BadConfig` for a CSV header that does not fit the record.
    """
    if stream.peek(len(_BOM)).startswith(_BOM):
        stream.read(len(_BOM))
    return _json_lines(stream) if file_format is FileFormat.JSONL else _csv_lines(stream, name)


def _json_lines(stream: IO[bytes]) -> Iterator[Line]:
    number = 0
    while line := stream.readline(_LONGEST_LINE):
        number += 1
        if not line.endswith(b"\n") and len(line) == _LONGEST_LINE:
            while (rest := stream.readline(_LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            yield Line(number, None, f"over {MAX_VALUE_BYTES} bytes")
        elif value := line.strip(b" \t\r\n"):
            yield _checked(number, value)


def _csv_lines(stream: IO[bytes], name: str) -> Iterator[Line]:
    text = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")
    reader = csv.reader(text, strict=True)
    try:
        header = [column.strip() for column in next(filter(None, reader), [])]
    except csv.Error as error:
        raise BadConfig(f"{name}: line 1: {error}", hint="the first line names the columns") from error
    if header:
        _check_header(header, name)
    return _csv_rows(text, reader, header)


def _csv_rows(
    text: io.TextIOWrapper,
    reader: Any,  # noqa: ANN401 - the type of csv.reader's result has no public name before 3.12
    header: Sequence[str],
) -> Iterator[Line]:
    try:
        while True:
            number = reader.line_num + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                yield Line(number, None, str(error))
                yield from _inside(number, reader.line_num)
                continue
            if row is None:
                return
            if row:
                line = _csv_row(number, header, row)
                yield line
                if line.outgoing is None:
                    yield from _inside(number, reader.line_num)
    finally:
        text.detach()  # the stream belongs to the caller


def _inside(first: int, last: int) -> Iterator[Line]:
    """Yield every line that an invalid row swallowed: a stray quote swallows valid lines."""
    for number in range(first + 1, last + 1):
        yield Line(number, None, f"inside the quotes of line {first}")


def _check_header(header: Sequence[str], name: str) -> None:
    known = [field.name for field in Transaction.FIELDS]
    hint = f"the columns are {','.join(known)}"
    for column in header:
        if header.count(column) > 1:
            raise BadConfig(f"{name}: column {column!r} appears twice", hint=hint)
        if column in Transaction.FORBIDDEN:
            raise BadConfig(f"{name}: column {column!r} is a field of detections, not of the input", hint=hint)
    missing = [column for column in known if column not in header]
    if missing:
        others = ", ".join(repr(column) for column in header if column not in known)
        raise BadConfig(
            f"{name}: column {', '.join(map(repr, missing))} is missing{f'; unknown: {others}' if others else ''}",
            hint=hint,
        )


def _csv_row(number: int, header: Sequence[str], row: Sequence[str]) -> Line:
    if len(row) != len(header):
        return Line(number, None, f"{len(row)} columns, the header has {len(header)}")
    if any("\ud800" <= character <= "\udfff" for cell in row if not cell.isascii() for character in cell):
        return Line(number, None, "not UTF-8")
    fields = ",".join(f"{dumps(column)}:{_cell(column, cell)}" for column, cell in zip(header, row, strict=True))
    return _checked(number, f"{{{fields}}}".encode())


def _cell(column: str, cell: str) -> str:
    if column in _NUMERIC and _NUMBER.fullmatch(cell.strip()):
        return cell.strip()
    return dumps(cell, ensure_ascii=False)


def _checked(number: int, value: bytes) -> Line:
    try:
        transaction = Transaction.parse(value)
    except Malformed as error:
        return _normalised(number, value, str(error))
    return Line(number, Outgoing(key(transaction.account_id), value))


def _normalised(number: int, value: bytes, reason: str) -> Line:
    """Return the line with its date in the records' form; with the first reason if the date is not what is wrong."""
    try:
        data = decode(value.decode())
        date = data.get("transaction_date")
        if not isinstance(date, str) or (normalised := normalise_date(date)) == date or len(value) > MAX_VALUE_BYTES:
            return Line(number, None, reason)
        transaction = Transaction.parse(Transaction.checked({**data, "transaction_date": normalised}).to_json())
    except Malformed as error:
        return Line(number, None, str(error))
    except UnicodeDecodeError:
        return Line(number, None, reason)
    return Line(number, Outgoing(key(transaction.account_id), transaction.to_json()))
