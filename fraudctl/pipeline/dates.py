"""Dates: the one form that records have, and the one parser of the dates that people give.

People give dates in files, in options and in payloads, in this grammar (RFC 5234; all digits are ASCII)::

    date      = extended / basic
    extended  = YYYY "-" MM "-" DD ("T" / "t" / " ") hh ":" mm [":" ss [fraction]] zone    ; RFC 3339, seconds optional
    basic     = YYYY MM DD ["T"] hh mm ss [fraction] zone                                  ; ISO 8601, compact
    fraction  = ("." / ",") 1*DIGIT                                                        ; cut to milliseconds
    zone      = "Z" / "z" / ("+" / "-") hh [":"] mm

Years 0001 to 9999, seconds 00 to 59, offsets up to 23:59. Whatever is not this is refused: `datetime.fromisoformat`
takes any character between date and time, and so read ``20261125123456Z`` as 23:45:00 (Python 3.11).
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

_FRACTION: Final = r"(?:[.,](?P<fraction>\d+))?"
_ZONE: Final = r"(?:[Zz]|(?P<sign>[+-])(?P<zone_hour>\d\d):?(?P<zone_minute>\d\d))"
_EXTENDED: Final = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)[Tt ]"
    rf"(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d){_FRACTION})?{_ZONE}",
    re.ASCII,
)
_BASIC: Final = re.compile(
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)T?"
    rf"(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d){_FRACTION}{_ZONE}",
    re.ASCII,
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
EXPECTED: Final = "a date with its zone, like 2026-11-24T10:15:30Z or 2026-11-24T10:15:30.123+01:00"


def parse_moment(text: str) -> datetime:
    """Return the moment as an aware datetime in UTC, cut to milliseconds.

    Raises:
        ValueError: The text is not of the grammar above, or names a day or an hour that does not exist, or lies before
            year 1 or after year 9999 in UTC.
    """
    match = _EXTENDED.fullmatch(text) or _BASIC.fullmatch(text)
    if match is None:
        raise ValueError(f"not {EXPECTED}")
    part = {
        name: int(value) for name, value in match.groupdict(default="0").items() if name not in {"sign", "fraction"}
    }
    microsecond = int((match["fraction"] or "")[:3].ljust(3, "0")) * 1000
    offset = timedelta(hours=part["zone_hour"], minutes=part["zone_minute"])
    if part["zone_hour"] > 23 or part["zone_minute"] > 59:  # noqa: PLR2004 - hours of a day, minutes of an hour
        raise ValueError("the offset from UTC is not from -23:59 to +23:59")
    zone = timezone(-offset if match["sign"] == "-" else offset)
    try:
        moment = datetime(
            part["year"], part["month"], part["day"], part["hour"], part["minute"], part["second"], microsecond, zone
        )
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("before year 1 or after year 9999 in UTC") from error


def normalise_date(text: str) -> str:
    """Return a date of the grammar above in the records' form, any other text as it is."""
    try:
        return format_date(parse_moment(text))
    except ValueError:
        return text


def format_date(moment: datetime) -> str:
    """Return an aware moment as the records have it, UTC with milliseconds (cut, not rounded)."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def milliseconds(moment: datetime) -> int:
    """Return an aware moment in epoch milliseconds, exactly."""
    return (moment - _EPOCH) // _MILLISECOND


def date_milliseconds(date: str) -> int:
    """Return a record's date (``2026-11-24T10:15:30.123Z``) in epoch milliseconds; raises ValueError for other text."""
    return milliseconds(datetime.fromisoformat(date))


def format_milliseconds(epoch_ms: int) -> str:
    """Return epoch milliseconds as ``YYYY-MM-DDTHH:MM:SS.mmmZ``.

    Raises:
        OverflowError: The moment lies before year 1 or after year 9999; a producer may give a record any timestamp.
    """
    return format_date(_EPOCH + epoch_ms * _MILLISECOND)
