"""Text for people: data from outside made safe to show, dates and durations."""

import re
from datetime import UTC, datetime
from typing import Final

from fraudctl.pipeline.dates import format_milliseconds, parse_moment

# What a terminal may obey, or what makes it show text in another order: the C0 and C1 controls (U+009B is like ESC [),
# line separators, embeddings, overrides and isolates of the writing direction; and surrogates, which UTF-8 lacks.
# Anything else is text: joiners, soft hyphens, combining marks and blanks of other scripts are parts of names.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA: Final = frozenset("=+-@\t\r＝＋－＠")
_NUMBER: Final = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
# In JSON a C0 control can only be a blank between tokens, where an escape would be an error.
_UNSAFE_IN_JSON: Final = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def shown(text: str) -> str:
    r"""Return the text with every character that could control a terminal as an escape: ESC becomes ``\x1b``."""
    return text if text.isprintable() else _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def json_safe(text: str) -> str:
    """Return the same JSON with characters that could control a terminal written as escapes."""
    return text if text.isascii() and "\x7f" not in text else _UNSAFE_IN_JSON.sub(_json_escape, text)


def _json_escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def spreadsheet_safe(text: str) -> str:
    """Return a cell of a CSV file that no spreadsheet takes for a formula: with an apostrophe in front where it might.

    Numbers stay as they are. See OWASP's page on CSV injection.
    """
    return f"'{text}" if text[:1] in _FORMULA and not _NUMBER.fullmatch(text) else text


def iso(milliseconds: int | None) -> str | None:
    """Return epoch milliseconds as `format_milliseconds` does; None stays None, and what is no date stays a number."""
    if milliseconds is None:
        return None
    try:
        return format_milliseconds(milliseconds)
    except OverflowError:
        return str(milliseconds)


def span(since: str | None, now: datetime | None = None) -> str:
    """Return how long ago a date with a zone was, in its two largest units: ``2d 3h``, ``4m 5s``; empty for None."""
    if since is None:
        return ""
    seconds = max(0, int(((now or datetime.now(UTC)) - parse_moment(since)).total_seconds()))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        amount, seconds = divmod(seconds, size)
        if amount or parts or unit == "s":
            parts.append(f"{amount}{unit}")
    return " ".join(parts[:2])
