"""Kafka records as JSON Lines and CSV for programs, and as one aligned line each for people."""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from fraudctl.pipeline import records as fields
from fraudctl.pipeline import topics
from fraudctl.pipeline.reader import Record
from fraudctl.pipeline.text import iso, json_safe, shown
from fraudctl.tables import prefix, short_time

# The record type of each topic whose records have one; dead letters are what has none.
_TYPES: Final[Mapping[str, type[fields.Transaction | fields.AccountFlag | fields.FlaggedTransaction]]] = {
    topics.TRANSACTIONS.name: fields.Transaction,
    topics.FLAGGED.name: fields.AccountFlag,
    topics.PROCESSED.name: fields.FlaggedTransaction,
}
_PLACE: Final = ("partition", "offset", "timestamp", "key")
_ORIGIN: Final = {"reason": "error", "from_topic": "topic", "from_partition": "partition", "from_offset": "offset"}
# A JSON escape; both halves of a character beyond U+FFFF together.
_ESCAPED: Final = re.compile(r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|.)")
_FIRST_UNESCAPED: Final = 0xA0
_SURROGATES: Final = range(0xD800, 0xE000)
_DOCUMENT: Final = b'{"topic":"%b","partition":%d,"offset":%d,"timestamp":%b,"key":%b,"value":%b%b}\n'
_NO_HEADERS: Final = b',"headers":{}'
# How the characters begin in UTF-8 that `json_safe` escapes, and the carriage return.
_SUSPICIOUS: Final = (b"\r", b"\x7f", b"\xc2", b"\xe2\x80", b"\xe2\x81")
# Columns of a line for people: the width they begin with (that of sample data) and the side they are aligned to.
_TRANSACTION: Final = ((8, "<"), (10, "<"), (7, ">"), (13, "<"), (14, "<"))
_FLAG: Final = ((8, "<"), (10, "<"), (7, "<"))
_WIDEST: Final = 40  # a longer value moves its own line, not all that follow
_LONGEST_VALUE: Final = 400


class JsonLines:
    """Formats records as JSON documents without parsing and dumping them, a million in a few seconds.

    A value that is JSON is included unchanged (line ends between its tokens become blanks), so amounts keep their
    decimals. Any other value is a string, and bytes that are not UTF-8 are repeated, exactly, in `value_base64`; those
    of a key in `key_base64`. `headers` maps names to values; a header that occurs several times has the list of its
    values, in their order. A header of which a value is not UTF-8 is also in `headers_base64`, in the same shape.
    """

    def __init__(self) -> None:
        """Load the JSON library."""
        import orjson

        self._loads, self._dumps, self._invalid = orjson.loads, orjson.dumps, orjson.JSONDecodeError

    def lines(self, records: Sequence[Record]) -> bytes:
        """Return the records as JSON Lines."""
        lines = b"".join(self._documents(records, safe=False))
        # One search through thousands of lines costs less than one through each.
        if lines.count(b"\n") == len(records) and not any(mark in lines for mark in _SUSPICIOUS):
            return lines
        return b"".join(self._documents(records, safe=True))

    def _documents(self, records: Iterable[Record], *, safe: bool) -> Iterator[bytes]:
        loads, invalid = self._loads, self._invalid
        last_timestamp, time = None, b"null"
        for topic, partition, offset, timestamp, key, value, headers in records:
            if timestamp != last_timestamp:
                last_timestamp = timestamp
                time = b"null" if timestamp is None else b'"%b"' % (iso(timestamp) or "").encode()
            if value is None:
                spelled = b"null"
            else:
                try:
                    loads(value)
                except invalid:
                    spelled = self._text("value", value)
                else:
                    spelled = unescaped(value.decode()).encode() if b"\\u" in value else value
                    spelled = _one_line(spelled) if safe else spelled
            yield _DOCUMENT % (
                topic.encode(),
                partition,
                offset,
                time,
                b'"%b"' % key if key is not None and key.isalnum() else self._text("key", key),
                spelled,
                self._headers(headers) if headers else _NO_HEADERS,
            )

    def _text(self, field: str, data: bytes | None) -> bytes:
        """Return bytes as a string or null; those that are not UTF-8 are followed by the same field in base64."""
        spelled = self._json(text(data))
        if _is_text(data):
            return spelled
        return b'%b,"%b_base64":"%b"' % (spelled, field.encode(), base64.b64encode(data or b""))

    def _headers(self, headers: Iterable[tuple[str, bytes | None]]) -> bytes:
        values: dict[str, list[bytes | None]] = {}
        for name, value in headers:
            values.setdefault(name, []).append(value)
        exact = {name: found for name, found in values.items() if not all(map(_is_text, found))}
        fields = b',"headers":' + self._json({name: _one_or_all(map(text, found)) for name, found in values.items()})
        if not exact:
            return fields
        coded = {name: _one_or_all(map(_base64, found)) for name, found in exact.items()}
        return fields + b',"headers_base64":' + self._json(coded)

    def _json(self, value: object) -> bytes:
        return json_safe(self._dumps(value).decode()).encode()


class AlignedLines:
    """Formats records of any of the pipeline's topics as a line each; columns widen with the values they have shown.

    Times are UTC without the date where that is today, and long ids are cut to a start that `audit show` takes.
    """

    def __init__(self) -> None:
        """Begin with the widths of sample data."""
        self._widths: dict[str, list[int]] = {}

    def lines(self, records: Sequence[Record]) -> list[str]:
        """Return a line for each record; a value that cannot be read is quoted."""
        rows = [(record.topic, _cells(record)) for record in records]
        for topic, cells in rows:
            widths = self._widths.setdefault(topic, [width for width, _ in _columns(topic)])
            for index, cell in enumerate(cells[:-1]):
                widths[index] = max(widths[index], min(len(cell), _WIDEST))
        return [self._line(topic, cells) for topic, cells in rows]

    def _line(self, topic: str, cells: Sequence[str]) -> str:
        columns = zip(cells[:-1], self._widths[topic], _columns(topic), strict=False)
        return "  ".join((*(f"{cell:{side}{width}}" for cell, width, (_, side) in columns), cells[-1]))


def _columns(topic: str) -> Sequence[tuple[int, str]]:
    return _FLAG if topic == topics.FLAGGED.name else _TRANSACTION


def _cells(record: Record) -> tuple[str, ...]:
    """Return the cells of a record's line; the last one is not padded."""
    when = short_time(iso(record.timestamp)) or "no time"
    if record.topic == topics.DEAD_LETTERS.name:
        return when, _dead_letter(record)
    try:
        data = fields.decode((record.value or b"").decode())
        return (when, *(_flag(data) if record.topic == topics.FLAGGED.name else _transaction(data)))
    except (fields.Malformed, UnicodeDecodeError, KeyError, TypeError):
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


def _one_line(value: bytes) -> bytes:
    """Return the same JSON without line ends, which can only lie between tokens, and safe to show."""
    return json_safe(value.decode().replace("\n", " ").replace("\r", " ")).encode()


def unescaped(document: str) -> str:
    r"""Return the same JSON with letters for their escapes, ``é`` for ``\u00e9``; control characters stay escaped."""

    def letter(found: re.Match[str]) -> str:
        high, low, single = found.groups()
        if high:
            return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
        if single and (code := int(single, 16)) >= _FIRST_UNESCAPED and code not in _SURROGATES:
            return chr(code)
        return found[0]

    return _ESCAPED.sub(letter, document)


def columns(topic: str) -> tuple[str, ...]:
    """Return the columns of a topic's records as CSV: where they lie, the fields of their type, and the rest.

    `extra` is a JSON object of a record's further fields; `unparsable` is the value of what is no such record.
    """
    if topic not in _TYPES:
        return (*_PLACE, *_ORIGIN, "value")
    return (*_PLACE, *(field.name for field in _TYPES[topic].FIELDS), "extra", "unparsable")


def _is_text(data: bytes | None) -> bool:
    try:
        (data or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _one_or_all(values: Iterable[str | None]) -> str | list[str | None] | None:
    """Return the only value, or the list of several."""
    found = list(values)
    return found[0] if len(found) == 1 else found


def row(record: Record) -> dict[str, Any]:
    """Return one record's fields for CSV, with those of `columns`."""
    place = {
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": iso(record.timestamp),
        "key": text(record.key),
    }
    kind = _TYPES.get(record.topic)
    if kind is None:
        headers = {name: text(value) for name, value in record.headers}
        return {**place, **{column: headers.get(name) for column, name in _ORIGIN.items()}, "value": text(record.value)}
    try:
        found = kind.parse(record.value)
    except fields.Malformed:
        return {**place, "unparsable": text(record.value)}
    return {**place, **found.values(), "extra": found.extra and unescaped(found.extra)}


def text(data: bytes | None) -> str | None:
    """Return the bytes decoded as UTF-8; invalid ones become escapes."""
    return None if data is None else data.decode(errors="backslashreplace")
