"""The transforms of a mapping: texts as files have them into account ids, amounts and dates as the records have them.

Each raises ValueError with a reason that reads on behind the field's name: "has more than two decimals".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

from fraudctl.pipeline.dates import EXPECTED, format_date, parse_moment
from fraudctl.pipeline.fields import MAX_INT64, Malformed

ISO: Final = "iso"
OFX: Final = "ofx"
UNITS: Final = {
    "microseconds": timedelta(microseconds=1),
    "milliseconds": timedelta(milliseconds=1),
    "seconds": timedelta(seconds=1),
    "minutes": timedelta(minutes=1),
    "hours": timedelta(hours=1),
    "days": timedelta(days=1),
}
REFUND: Final = "is negative, a refund: amounts start at 0.00"

_EXPONENT: Final = re.compile(r"\d+([.,]\d+)?[eE][+-]?\d+", re.ASCII)
_COUNT: Final = re.compile(r"\d{1,18}(\.\d{1,9})?", re.ASCII)
_BLANKS: Final = " \t\u00a0\u202f"  # banks write the no-break spaces before a currency sign
# Open Financial Exchange 2.2, section 3.2.8.2: hours from GMT in brackets, GMT where there are none.
_OFX: Final = re.compile(
    r"(\d{8})(?:(\d{4})(\d\d)?(?:\.(\d{1,3}))?)?(?:\[([+-]?\d{1,2}(?:\.(?:00?|25|50?|75))?)(?::[^\]]*)?\])?", re.ASCII
)
_SAMPLE: Final = datetime(2001, 11, 23, 22, 44, 55, tzinfo=UTC)


class BadValue(Malformed):
    """A value that is not what its field takes: the field, the reason, the column it came from, the value itself."""

    def __init__(self, name: str, reason: str, column: str, value: str) -> None:
        """Store the parts; the message is the field and the reason, which many rows may share."""
        super().__init__(f"{name} {reason}")
        self.column, self.value = column, value


def account(text: str, *, digits: bool = False) -> str:
    """Return an account id in decimal without leading zeros; with `digits`, of the digits in the text alone."""
    if _EXPONENT.fullmatch(text):
        raise ValueError("has lost digits: a spreadsheet wrote it with an exponent")
    number = re.sub(r"[^0-9]", "", text) if digits else text
    if number.isascii() and number.isdecimal() and 0 < int(number or 0) <= MAX_INT64:
        return str(int(number))
    raise ValueError(f"is not an integer from 1 to {MAX_INT64}: digits = true or hash = true may make it one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """How a file writes amounts: the signs for decimals and thousands, currency signs around them, what is negative."""

    decimal: str = "."
    thousands: str = ""
    currency: tuple[str, ...] = ()
    negate: bool = False

    def amount(self, text: str) -> str:
        """Return an amount as JSON writes it; `negate` is for statements on which what was paid is negative."""
        number, negative = self._bare(text)
        if negative is not self.negate and number.strip(f"0{self.decimal}"):
            raise ValueError("is a credit, not a payment: amounts start at 0.00" if self.negate else REFUND)
        whole, _, part = number.partition(self.decimal)
        if self.thousands and self.thousands in whole:
            first, *groups = whole.split(self.thousands)
            if not 1 <= len(first) <= 3 or any(len(group) != 3 for group in groups):  # noqa: PLR2004 - thousands
                raise ValueError(f"is not a number with {self.thousands!r} between thousands")
            whole = first + "".join(groups)
        part = part.rstrip("0") if len(part) > 2 else part  # noqa: PLR2004 - cents
        if not (whole + part).isascii() or not (whole or "0").isdecimal() or not (part or "0").isdecimal():
            raise ValueError(f"is not a number with {self.decimal!r} before the decimals")
        if not whole + part:
            raise ValueError("is not a number")
        if len(part) > 2:  # noqa: PLR2004 - cents
            raise ValueError("has more than two decimals")
        return f"{int(whole or 0)}.{part:0<2}"

    def _bare(self, text: str) -> tuple[str, bool]:
        """Return the number without signs and currency, and whether it is negative."""
        negative = text.startswith("(") and text.endswith(")")  # as accountants write it
        number = text[1:-1] if negative else text
        for _ in range(3):  # sign and currency stand in any order: $-25.00, -$25.00, 25.00- $
            number = number.strip(_BLANKS)
            for sign in self.currency:
                number = number.removeprefix(sign).removesuffix(sign).strip(_BLANKS)
            if number[:1] in {"-", "\u2212"} or number[-1:] == "-":
                negative = True
                number = number.removeprefix("-").removeprefix("\u2212").removesuffix("-")
            number = number.removeprefix("+")
        return number, negative


def check_format(text: str) -> bool:
    """Return whether dates of this format need a zone from elsewhere; raises ValueError unless it names a day."""
    if text in {ISO, OFX}:
        return False
    try:
        again = datetime.strptime(_SAMPLE.strftime(text), text)  # noqa: DTZ007 - the format may have no zone
    except ValueError as error:
        raise ValueError(f"not a format like %Y-%m-%d %H:%M:%S ({error})") from error
    if again.date() != _SAMPLE.date():
        raise ValueError("does not name year, month and day")
    return again.tzinfo is None


def date(text: str, formats: Sequence[str], zone: tzinfo | None) -> str:
    """Return a date of one of the formats as the records have it; `zone` is for a date that does not name its own."""
    for one in formats:
        try:
            moment = _moment(text, one, zone)
        except ValueError:
            continue
        return _formatted(moment)
    if formats == (ISO,):
        if zone is None and _iso(text, UTC) is not None:
            raise ValueError("does not name its zone: add --zone")
        raise ValueError(f"is not {EXPECTED}")
    raise ValueError(f"is not a date like {' or '.join(formats)}")


def with_zone(text: str, zone: tzinfo) -> str:
    """Return an ISO date without a zone in the records' form; any other text as it is."""
    moment = _iso(text, zone)
    return text if moment is None else _formatted(moment)


def start(value: object) -> datetime:
    """Return the moment from which a file counts: a TOML date-time with its offset, or a text with a zone."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"not {EXPECTED}")
        return value.astimezone(UTC)
    if isinstance(value, str):
        return parse_moment(value)
    raise ValueError(f"not {EXPECTED}")


def counted(text: str, unit: str, first: datetime) -> str:
    """Return a date that the file has as a count of `unit` since `first`."""
    if not _COUNT.fullmatch(text):
        raise ValueError(f"is not a number of {unit}")
    whole, _, part = text.partition(".")
    try:
        return _formatted(first + int(whole) * UNITS[unit] + float(f"0.{part or 0}") * UNITS[unit])
    except OverflowError as error:
        raise ValueError("is after year 9999") from error


def _moment(text: str, one: str, zone: tzinfo | None) -> datetime:
    if one == OFX:
        return _ofx(text, zone or UTC)
    if one == ISO:
        try:
            return parse_moment(text)
        except ValueError:
            if zone is None or (found := _iso(text, zone)) is None:
                raise
            return found
    moment = datetime.strptime(text, one)  # noqa: DTZ007 - check_format asked for a zone
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment


def _iso(text: str, zone: tzinfo) -> datetime | None:
    """Return a date of the grammar of `fraudctl.pipeline.dates` without its zone, or None."""
    try:
        return parse_moment(f"{text}Z").replace(tzinfo=zone)
    except ValueError:
        return None


def _ofx(text: str, zone: tzinfo) -> datetime:
    match = _OFX.fullmatch(text)
    if match is None:
        raise ValueError("not an OFX date")
    day, minute, second, fraction, offset = match.groups()
    moment = datetime.strptime(f"{day}{minute or '0000'}{second or '00'}", "%Y%m%d%H%M%S").replace(  # noqa: DTZ007
        microsecond=int((fraction or "").ljust(3, "0")) * 1000
    )
    return moment.replace(tzinfo=zone if offset is None else timezone(timedelta(hours=float(offset))))


def _formatted(moment: datetime) -> str:
    try:
        return format_date(moment)
    except OverflowError as error:
        raise ValueError("is before year 1 or after year 9999 in UTC") from error
