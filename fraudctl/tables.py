"""Tables that fit their terminal: which columns are shown, and how their values read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

_GAP: Final = 2
# Below this a table is a block a row: a line for each field.
NARROWEST: Final = 60
_LEAST_WRAPPED: Final = 24


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table, the field `name` of its rows.

    Where the terminal is too narrow, the column with the highest `drop` goes first; one with 0 stays. A column that may
    `wrap` is text for people and takes the lines that it needs; nothing else is ever folded. `text` writes a value,
    `style` gives its colour.
    """

    name: str
    drop: int = 0
    wrap: bool = False
    heading: str = ""
    text: Callable[[Any], str] | None = None
    style: Callable[[Any], str] | None = None

    @property
    def title(self) -> str:
        """What stands above the column."""
        return self.heading or self.name.replace("_", " ")


def columns(given: Iterable[str | Column]) -> list[Column]:
    """Return the columns; a bare name is a column that stays and is not folded."""
    return [Column(column) if isinstance(column, str) else column for column in given]


def fitting(given: Sequence[Column], widths: Mapping[str, int], available: int) -> list[Column] | None:
    """Return the columns that fit into `available` cells, in their order; None when only a block a row does.

    `widths` has the widest cell of each column, its heading included.
    """
    if available < NARROWEST:
        return None
    shown = list(given)
    while True:
        needed = [min(widths[column.name], _LEAST_WRAPPED) if column.wrap else widths[column.name] for column in shown]
        if sum(needed) + _GAP * (len(shown) - 1) <= available:
            return shown
        droppable = max(shown, key=lambda column: column.drop)
        if not droppable.drop:
            return None
        shown.remove(droppable)


def count(value: Any) -> str:  # noqa: ANN401 - a number, or what stands for one
    """Return a number with thousands separators; anything else as it is."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def money(value: Any) -> str:  # noqa: ANN401 - a number, or what stands for one
    """Return an amount with thousands separators and its decimals; anything else as it is."""
    return f"{value:,}" if isinstance(value, int | Decimal) and not isinstance(value, bool) else str(value)


def bar(value: int, longest: int, width: int) -> str:
    """Return a bar of block characters, `width` cells for the longest; what is not nothing has at least a sliver."""
    eighths = max(1, round(8 * width * value / longest)) if value else 0
    return "█" * (eighths // 8) + ("▏▎▍▌▋▊▉"[eighths % 8 - 1] if eighths % 8 else "")


def plural(number: int, what: str) -> str:
    """Return a count with its noun: ``1 row``, ``1,200 rows``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def size(value: int | None) -> str:
    """Return bytes in the largest unit that keeps a digit before the point: ``206 kB``, ``1.4 GB``; empty for None."""
    if value is None:
        return ""
    amount, unit = float(value), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:  # noqa: PLR2004 - SI units
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"  # noqa: PLR2004


def duration(milliseconds: float | None) -> str:
    """Return a duration in its two largest units: ``30 d``, ``6 min 40 s``, ``1.2 s``; empty for None."""
    if milliseconds is None:
        return ""
    if milliseconds < 0:
        return "unlimited"
    if milliseconds < 60_000:  # noqa: PLR2004 - a minute
        return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.3g} s"  # noqa: PLR2004
    seconds = int(milliseconds // 1000)
    parts: list[str] = []
    for name, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        amount, seconds = divmod(seconds, length)
        if amount or parts:
            parts.append(f"{amount} {name}" if amount else "")
    return " ".join(part for part in parts[:2] if part)


def short_time(value: Any) -> str:  # noqa: ANN401 - an ISO date, or nothing
    """Return an ISO date's time of day in seconds; of another day the day too, of another year that as well.

    Anything else is returned as it is.
    """
    text = str(value or "")
    today = datetime.now(UTC).date().isoformat()
    if len(text) < len("2026-11-24T10:15:30") or text[10] != "T":
        return text
    if text.startswith(today):
        return text[11:19]
    return f"{text[5 if text.startswith(today[:4]) else 0 : 10]} {text[11:19]}"


def today() -> str:
    """Return what says of short times which day they are of: ``times are UTC, today is 2026-11-24``."""
    return f"times are UTC, today is {datetime.now(UTC).date().isoformat()}"


def prefix(value: Any) -> str:  # noqa: ANN401 - an id, or nothing
    """Return the start of a long hexadecimal id, which commands take for the whole; any other id as it is."""
    text = str(value or "")
    hexadecimal = len(text) >= 32 and not set(text) - set("0123456789abcdef-")  # noqa: PLR2004 - a UUID's digits
    return text[:8] if hexadecimal else text
