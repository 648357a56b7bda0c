"""Comma-separated files and their kin: which sign separates, where the header is, and each row with its lines."""

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO, Any, Final

from fraudctl.errors import BadConfig
from fraudctl.services.input_files import LATIN_1_HINT

DELIMITERS: Final = ",;\t|"
_SEP: Final = re.compile(r"\s*\"?sep=(.)\"?\s*", re.IGNORECASE)  # the first line that Excel takes as a hint
_BLANK_BEHIND: Final = re.compile(r"[,;|] +")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_LINES_BEFORE_HEADER: Final = 30  # banks write the account and the period there


@dataclass(frozen=True, slots=True)
class Row:
    """One row, its first and last line counted from 1, and what is wrong with it as CSV."""

    first: int
    last: int
    cells: Sequence[str]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of a file, and its rows without the header; rows that are not UTF-8 hold surrogates."""

    header: tuple[str, ...]
    delimiter: str
    rows: Iterator[Row]


def table(
    stream: IO[bytes],
    name: str,
    known: Collection[str],
    *,
    delimiter: str | None = None,
    columns: Sequence[str] = (),
    search: bool = False,
) -> Table:
    """Return a UTF-8 file as a table. The delimiter is the one that finds the most `known` columns in the header.

    With `columns`, the file has no header. With `search`, lines may stand before the header: it is the first line that
    has all known columns. The stream is not closed, but read ahead.

    Raises:
        BadConfig: The header is not CSV, or not UTF-8.
    """
    text = _Text(stream, encoding="utf-8", errors="surrogateescape", newline="")
    start = list(islice(text, _LINES_BEFORE_HEADER if search and not columns else 2))
    skipped = 0
    if start and (match := _SEP.fullmatch(start[0])):
        delimiter = delimiter or match[1]
        skipped = 1
    while skipped < len(start) and not start[skipped].strip():
        skipped += 1
    if columns:
        chosen = delimiter or _best(start[skipped:][:1], lambda cells: -abs(len(cells) - len(columns)))
    else:
        found = next(
            (
                (number, sign)
                for number, line in enumerate(start[skipped:] if search else [], skipped)
                for sign in delimiter or DELIMITERS
                if set(known) <= set(_cells(line, sign))
            ),
            None,
        )
        if found:
            skipped, chosen = found
        else:
            chosen = delimiter or _best(start[skipped:][:1], lambda cells: _count(cells, known))
    return _opened(text, start, skipped, name, chosen, columns)


def _opened(
    text: io.TextIOWrapper, start: list[str], skipped: int, name: str, delimiter: str, columns: Sequence[str]
) -> Table:
    first = start[skipped] if skipped < len(start) else ""
    if not columns and (bad := _SURROGATE.search(first)):
        place = len(first[: bad.start()].encode("utf-8", "surrogateescape")) + 1
        raise BadConfig(f"{name}: not UTF-8 at byte {place} (line {skipped + 1})", hint=LATIN_1_HINT)
    reader = csv.reader(
        chain(start[skipped:], text),
        delimiter=delimiter,
        strict=True,
        skipinitialspace=bool(_BLANK_BEHIND.search(first)),
    )
    header = tuple(columns)
    if not columns:
        try:
            header = tuple(column.strip() for column in next(filter(None, reader), []))
        except csv.Error as error:
            raise BadConfig(f"{name}: line {skipped + 1}: {error}", hint="the first line names the columns") from error
    return Table(header, delimiter, _rows(reader, skipped))


def _rows(
    reader: Any,  # noqa: ANN401 - the type of csv.reader's result has no public name before 3.12
    skipped: int,
) -> Iterator[Row]:
    while True:
        first = skipped + reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Row(first, skipped + reader.line_num, (), str(error))
            continue
        if cells is None:
            return
        if cells:
            yield Row(first, skipped + reader.line_num, cells)


class _Text(io.TextIOWrapper):
    """Text whose stream belongs to the caller, and stays open when this is collected."""

    def close(self) -> None:
        """Do nothing."""


def not_utf8(cells: Iterable[str]) -> tuple[int, int, str] | None:
    """Return the first cell that is not UTF-8: its index, the place of the byte in it, and the cell as Latin-1."""
    for index, cell in enumerate(cells):
        if not cell.isascii() and (bad := _SURROGATE.search(cell)):
            place = len(cell[: bad.start()].encode("utf-8", "surrogateescape")) + 1
            return index, place, cell.encode("utf-8", "surrogateescape").decode("latin-1")
    return None


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return []
    return [cell.strip() for cell in cells]


def _count(cells: Sequence[str], known: Collection[str]) -> int:
    names = {name.casefold() for name in known}
    return sum(cell.casefold() in names for cell in cells)


def _best(lines: Sequence[str], score: Any) -> str:  # noqa: ANN401 - a function of the cells
    """Return the delimiter of the highest score; of equal ones the first, the comma."""
    return max(DELIMITERS, key=lambda sign: score(_cells(lines[0], sign))) if lines else ","
