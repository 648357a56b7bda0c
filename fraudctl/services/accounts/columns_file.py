"""Files with a few named columns, CSV or JSON Lines: lists of flags, labels of transactions."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Final

from fraudctl.errors import BadConfig
from fraudctl.pipeline.fields import Malformed, Number, decode
from fraudctl.pipeline.text import spreadsheet_safe
from fraudctl.services import delimited, files
from fraudctl.services.input_files import LATIN_1_HINT, as_utf8, numbered_lines
from fraudctl.services.read_options import FileFormat
from fraudctl.services.transaction_file import format_of

_LONGEST_LINE: Final = 64 * 1024
Line = tuple[int, dict[str, str]]


@contextmanager
def opened(name: str, columns: Mapping[str, str], *, bare: str = "") -> Iterator[Iterator[Line]]:
    """Open a file, and give its lines: each line's number and its values by field, those that are empty left out.

    `columns` has the field that a column's name, in lower case, stands for; other columns are ignored. `bare` is the
    field of a CSV file without a header, whose first column holds digits.

    Raises:
        BadConfig: It cannot be read, or a line of it; also while its lines are read.
    """
    with files.opened(name) as stream:
        utf8 = as_utf8(stream, name)
        if format_of(name, utf8) is FileFormat.CSV:
            yield _csv(utf8, name, columns, bare)
        else:
            yield _json(utf8, name, columns)


def bad(name: str, line: int, why: str, hint: str | None = None) -> BadConfig:
    """Return the error about a line of a file."""
    return BadConfig(f"file {name}: line {line}: {why}", hint=hint)


def _csv(stream: io.BufferedReader, name: str, columns: Mapping[str, str], bare: str) -> Iterator[Line]:
    table = delimited.table(stream, name, columns)
    fields = [columns.get(column.casefold(), "") for column in table.header]
    rows = table.rows
    if not any(fields):
        if not bare or not table.header or not table.header[0].isdecimal():
            raise BadConfig(
                f"file {name}: no column is {' or '.join(dict.fromkeys(columns))}",
                hint="the first line names the columns",
            )
        fields = [bare]
        rows = chain([delimited.Row(1, 1, table.header)], rows)
    for row in rows:
        cells = [cell.strip() for cell in row.cells]
        if row.problem or delimited.not_utf8(cells):
            raise bad(name, row.first, row.problem or f"not UTF-8; {LATIN_1_HINT}")
        if any(cells) and not cells[0].startswith("#"):
            yield (
                row.first,
                {field: _unsafe(cell) for field, cell in zip(fields, cells, strict=False) if field and cell},
            )


def _unsafe(cell: str) -> str:
    """Take away the apostrophe that keeps a cell from being a formula."""
    return cell[1:] if cell.startswith("'") and spreadsheet_safe(cell[1:]) == cell else cell


def _json(stream: io.BufferedReader, name: str, columns: Mapping[str, str]) -> Iterator[Line]:
    for number, line in numbered_lines(stream, _LONGEST_LINE):
        if line is None:
            raise bad(name, number, f"over {_LONGEST_LINE:,} bytes")
        try:
            data = decode(line.decode())
        except (Malformed, UnicodeDecodeError) as error:
            raise bad(name, number, str(error), "write one JSON object on each line, or a CSV file") from error
        found = {}
        for column, value in data.items():
            field = columns.get(column.casefold())
            if field is None or value is None or value == "":
                continue
            if not isinstance(value, str | Number | bool):
                raise bad(name, number, f"{column} is neither text nor a number")
            found[field] = str(value).casefold() if isinstance(value, bool) else str(value)
        yield number, found
