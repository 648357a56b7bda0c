"""Files of accounts: one on each line, with or without a header, other columns, quotes and comments."""

from collections.abc import Iterator
from typing import Final

from fraudctl.errors import BadConfig
from fraudctl.pipeline.records import AccountFlag, Kind
from fraudctl.services import delimited, files
from fraudctl.services.input_files import LATIN_1_HINT, as_utf8

_COLUMN: Final = next(field.name for field in AccountFlag.FIELDS if field.kind is Kind.ACCOUNT)


def accounts(name: str) -> Iterator[str]:
    """Yield the account of each line, empty for a line without one: blank, a comment after ``#``, the header.

    A header is a first line with a column ``account_id``; without one, accounts stand in the first column. Other
    columns are ignored.

    Raises:
        BadConfig: The file cannot be read, or is not text.
    """
    with files.opened(name) as stream:
        utf8 = as_utf8(stream, name)
        # A header of one made-up column keeps the table from taking the first account for a header.
        start = utf8.peek(4096)
        delimiter = next((sign for sign in delimited.DELIMITERS if sign.encode() in start), ",")
        table = delimited.table(utf8, name, (_COLUMN,), columns=(_COLUMN,), delimiter=delimiter)
        index, line, header = 0, 0, True
        for row in table.rows:
            yield from [""] * (row.first - line - 1)
            line = row.last
            cells = [cell.strip() for cell in row.cells]
            if row.problem or delimited.not_utf8(cells):
                problem = row.problem or f"not UTF-8; {LATIN_1_HINT}"
                raise BadConfig(f"file {name}: line {row.first}: {problem}", hint="write one account on each line")
            if not any(cells) or cells[0].startswith("#"):
                found = ""
            elif header and _COLUMN in (names := [cell.casefold() for cell in cells]):
                index, header, found = names.index(_COLUMN), False, ""
            else:
                header, found = False, cells[index] if index < len(cells) else ""
            yield found
            yield from [""] * (row.last - row.first)
