"""Kafka records as one aligned line each, for people."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from fraudctl.pipeline import records as kinds
from fraudctl.pipeline import topics
from fraudctl.pipeline.fields import Number, decode
from fraudctl.pipeline.reader import Record
from fraudctl.pipeline.text import iso, shown
from fraudctl.services.record_fields import Cells, cell, text
from fraudctl.tables import prefix, short_time

# Columns of a line: the width they begin with (that of sample data) and the side they are aligned to.
_TRANSACTION: Final = ((8, "<"), (10, "<"), (7, ">"), (13, "<"), (14, "<"))
_FLAG: Final = ((8, "<"), (10, "<"), (7, "<"))
_WIDEST: Final = 40  # a longer value moves its own line, not all that follow
_LONGEST_VALUE: Final = 400
_AMOUNT: Final = 2  # the cell of a transaction's amount


class AlignedLines:
    """Formats records of any of the pipeline's topics as a line each; columns widen with the values they have shown.

    Times are UTC without the date where that is today, and long ids are cut to a start that `audit show` takes. Amounts
    are aligned at their decimal points.
    """

    def __init__(self, stopped_by: Callable[[Record], str | None] | None = None) -> None:
        """Begin with the widths of sample data; what `stopped_by` says of a record ends its line."""
        self._widths: dict[str, list[int]] = {}
        self._decimals: dict[str, _Decimals] = {}
        self._stopped_by = stopped_by

    def lines(self, records: Sequence[Record]) -> list[str]:
        """Return a line for each record; a value that cannot be read is quoted."""
        found = [(record, _cells(record)) for record in records]
        for record, cells in found:
            if _has_amount(record, cells):
                self._decimals.setdefault(record.topic, _Decimals()).see(cells[_AMOUNT])
        rows = [(record, self._aligned(record, cells)) for record, cells in found]
        for record, cells in rows:
            widths = self._widths.setdefault(record.topic, [width for width, _ in _columns(record.topic)])
            for index, part in enumerate(cells[:-1]):
                widths[index] = max(widths[index], min(len(part), _WIDEST))
        return [self._line(record, cells) for record, cells in rows]

    def _aligned(self, record: Record, cells: tuple[str, ...]) -> tuple[str, ...]:
        if not _has_amount(record, cells):
            return cells
        return (*cells[:_AMOUNT], self._decimals[record.topic].aligned(cells[_AMOUNT]), *cells[_AMOUNT + 1 :])

    def _line(self, record: Record, cells: Sequence[str]) -> str:
        columns = zip(cells[:-1], self._widths[record.topic], _columns(record.topic), strict=False)
        line = "  ".join((*(f"{part:{side}{width}}" for part, width, (_, side) in columns), cells[-1]))
        return line + _stopped(self._stopped_by, record)


class ChosenLines:
    """Formats chosen fields as columns below their names; they widen with the values they have shown."""

    def __init__(self, fields: Cells, stopped_by: Callable[[Record], str | None] | None = None) -> None:
        """Begin with the widths of the names."""
        self._fields, self._stopped_by = fields, stopped_by
        self._widths = [len(name) for name in fields.names]
        self._decimals = [_Decimals() for _ in fields.names]
        self._numeric = [False] * len(fields.names)
        self._begun = False

    def lines(self, records: Sequence[Record]) -> Iterator[str]:
        """Yield the names before the first records, then a line for each record."""
        found = [(record, list(self._fields.row(record).values())) for record in records]
        for _, values in found:
            for index, value in enumerate(values):
                if isinstance(value, Number):
                    self._numeric[index] = True
                    self._decimals[index].see(value)
        rows = [(record, self._row(values)) for record, values in found]
        for _, row in rows:
            for index, part in enumerate(row):
                self._widths[index] = max(self._widths[index], min(len(part), _WIDEST))
        if rows and not self._begun:
            self._begun = True
            yield self._aligned(self._fields.names)
        for record, row in rows:
            yield self._aligned(row) + _stopped(self._stopped_by, record)

    def _row(self, values: Sequence[Any]) -> list[str]:
        return [
            self._decimals[index].aligned(value)
            if isinstance(value, Number)
            else ""
            if value is None
            else shown(str(cell(value)))
            for index, value in enumerate(values)
        ]

    def _aligned(self, parts: Sequence[str]) -> str:
        columns = zip(parts, self._widths, self._numeric, strict=True)
        return "  ".join(f"{part:{'>' if numeric else '<'}{width}}" for part, width, numeric in columns).rstrip()


class _Decimals:
    """Numbers of one column with their decimal points below each other, as far as it has been seen."""

    def __init__(self) -> None:
        self._places = 0

    def see(self, number: str) -> None:
        self._places = max(self._places, min(_places(number), _WIDEST))

    def aligned(self, number: str) -> str:
        return number + " " * (self._places - _places(number))


def _places(number: str) -> int:
    """Return the number of characters from the decimal point on."""
    return len(number.partition(".")[2]) + ("." in number)


def _has_amount(record: Record, cells: Sequence[str]) -> bool:
    return len(cells) > _AMOUNT and _columns(record.topic) is _TRANSACTION


def _stopped(stopped_by: Callable[[Record], str | None] | None, record: Record) -> str:
    clause = stopped_by(record) if stopped_by is not None else None
    return f"  ✗ {clause}" if clause else ""


def _columns(topic: str) -> Sequence[tuple[int, str]]:
    return _FLAG if topic == topics.FLAGGED.name else _TRANSACTION


def _cells(record: Record) -> tuple[str, ...]:
    """Return the cells of a record's line; the last one is not padded."""
    when = short_time(iso(record.timestamp)) or "no time"
    if record.topic == topics.DEAD_LETTERS.name:
        return when, _dead_letter(record)
    try:
        data = decode((record.value or b"").decode())
        return (when, *(_flag(data) if record.topic == topics.FLAGGED.name else _transaction(data)))
    except (kinds.Malformed, UnicodeDecodeError, KeyError, TypeError):
        return when, f"key {_quoted(record.key)}  {_quoted(record.value)}"


def _transaction(data: Mapping[str, Any]) -> tuple[str, ...]:
    identity = prefix(_cell(data["transaction_id"]))
    if "flag_date" in data:
        identity += f"  flagged {short_time(_cell(data['flag_date']))}{_reason(data.get('flag_reason'))}"
    names = ("account_id", "amount", "merchant_type", "customer_name")
    return (*(_cell(data[name]) for name in names), identity)


def _flag(data: Mapping[str, Any]) -> tuple[str, ...]:
    origin = f"from {short_time(_cell(data['flag_date']))}  by {_cell(data['flagged_by'])}{_reason(data.get('reason'))}"
    return _cell(data["account_id"]), _cell(data["status"]), origin


def _cell(value: object) -> str:
    """Return a field's text as it will be shown; raises TypeError for null, a list or an object."""
    if isinstance(value, str | int | float | Decimal):
        return shown(str(value))
    raise TypeError(type(value).__name__)


def _reason(reason: object) -> str:
    return f": {reason}" if reason else ""


def _dead_letter(record: Record) -> str:
    headers = {name: text(value) for name, value in record.headers}
    source = f"{headers.get('topic')}/{headers.get('partition')}@{headers.get('offset')}"
    return f"{headers.get('error')}  {source}  key {_quoted(record.key)}  {_quoted(record.value)}"


def _quoted(data: bytes | None) -> str:
    if data is None:
        return "null"
    start = text(data[:_LONGEST_VALUE]) or ""
    return repr(start) + (f" and {len(data) - _LONGEST_VALUE} more bytes" if len(data) > _LONGEST_VALUE else "")
