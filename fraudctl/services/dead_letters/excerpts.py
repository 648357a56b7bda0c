"""Bytes as lines for people, with carets below those that are wrong; text where they are text, else hexadecimal."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fraudctl.pipeline.text import shown
from fraudctl.services.dead_letters.spans import Span
from fraudctl.services.record_fields import text

WIDTH: Final = 72
_HEX_WIDTH: Final = 16
_MOST_ROWS: Final = 24
_AROUND: Final = 8
_SAMPLE: Final = 48
_BEFORE: Final = 16
# Bytes that are no text although they may be UTF-8: controls that no line of text has.
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0e-\x1f]")


@dataclass(frozen=True, slots=True)
class _Row:
    """A line: the offset of its first byte, what it shows, and what stands below it, empty where nothing is wrong."""

    at: int
    shown: str
    carets: str = ""


def lines(value: bytes, span: Span | None) -> list[str]:
    """Return the bytes as lines, each with the offset of its first byte; of many only those around the error."""
    rows = list(_text_rows(value, span) if _is_text(value) else _hex_rows(value, span))
    gutter = len(str(rows[-1].at)) if rows else 1
    first, last = 0, len(rows)
    if len(rows) > _MOST_ROWS:
        middle = next((index for index, row in enumerate(rows) if row.carets), 0)
        first = max(0, min(middle - _AROUND, len(rows) - _MOST_ROWS))
        last = first + _MOST_ROWS
    found = [f"{'':{gutter}}  … {rows[first].at:,} bytes before"] if first else []
    for row in rows[first:last]:
        found.append(f"{row.at:>{gutter}}  {row.shown}")
        if row.carets:
            found.append(f"{'':{gutter}}  {row.carets}")
    if last < len(rows):
        found.append(f"{'':{gutter}}  … {len(value) - rows[last].at:,} bytes more")
    return found


def sample(value: bytes | None, span: Span | None = None) -> str:
    """Return a short piece of the bytes, with the error in it if it lies anywhere."""
    if value is None:
        return "null"
    if not value:
        return "empty"
    at = min(span.start, len(value) - 1) if span is not None else 0
    start = max(0, min(at - _BEFORE, len(value) - _SAMPLE))
    while start and value[start] & 0xC0 == 0x80:  # not in the middle of a character  # noqa: PLR2004
        start -= 1
    piece = value[start : start + _SAMPLE]
    piece_shown = _shown((_cut(piece) if start + _SAMPLE < len(value) else text(piece)) or "")
    return ("…" if start else "") + piece_shown + ("…" if start + _SAMPLE < len(value) else "")


def _shown(piece: str) -> str:
    """Return text safe to show; a byte-order mark, which nobody would see, as an escape."""
    return shown(piece).replace("\ufeff", "\\ufeff")


def _cut(piece: bytes) -> str:
    """Return bytes as text, without a character at their end that is cut off."""
    for end in range(len(piece), max(0, len(piece) - 4), -1):
        try:
            return piece[:end].decode()
        except UnicodeDecodeError:
            continue
    return text(piece) or ""


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return not _CONTROLS.search(value)


def _text_rows(value: bytes, span: Span | None) -> Iterator[_Row]:
    at = begun = 0
    row, carets = "", ""
    for character in value.decode():
        size = len(character.encode())
        wrong = span is not None and (
            span.start <= at < span.end or (span.start == span.end and at <= span.start < at + size)
        )
        piece = "" if character == "\n" else _shown(character)
        width = _cells(piece)
        if _cells(row) + width > WIDTH:
            yield _Row(begun, row, carets.rstrip())
            begun, row, carets = at, "", ""
        row += piece
        carets += ("^" if wrong else " ") * (width or (1 if wrong and character == "\n" else 0))
        at += size
        if character == "\n":
            yield _Row(begun, row, carets.rstrip())
            begun, row, carets = at, "", ""
    if span is not None and span.start >= at:  # behind the end
        carets += "^"
    if row or carets or not at:
        yield _Row(begun, row, carets.rstrip())


def _hex_rows(value: bytes, span: Span | None) -> Iterator[_Row]:
    for at in range(0, max(1, len(value)), _HEX_WIDTH):
        piece = value[at : at + _HEX_WIDTH]
        letters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in piece)  # noqa: PLR2004 - ASCII's letters
        marks = _marks(range(at, at + len(piece)), span)
        yield _Row(at, f"{piece.hex(' '):<{3 * _HEX_WIDTH}} {letters}", " ".join(marks).rstrip())


def _marks(places: Sequence[int], span: Span | None) -> list[str]:
    if span is None:
        return []
    end = max(span.end, span.start + 1)
    return ["^^" if span.start <= place < end else "  " for place in places]


def _cells(piece: str) -> int:
    """Return how many cells of a terminal a text takes."""
    if piece.isascii():
        return len(piece)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in piece
    )
