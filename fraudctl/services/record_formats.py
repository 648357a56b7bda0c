"""Kafka records for programs: JSON Lines, CSV, or their values alone."""

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any, Final

from fraudctl.pipeline import records as kinds
from fraudctl.pipeline.fields import dump
from fraudctl.pipeline.reader import Record, Records
from fraudctl.pipeline.text import iso, json_safe, shown
from fraudctl.services.record_fields import (
    TYPES,
    Cells,
    cell,
    header_base64,
    header_texts,
    in_base64,
    is_text,
    text,
)

_PLACE: Final = ("partition", "offset", "timestamp", "key")
_ORIGIN: Final = {"reason": "error", "from_topic": "topic", "from_partition": "partition", "from_offset": "offset"}
_MARKS: Final = "marks"
STOPPED_BY: Final = "stopped_by"
# A JSON escape; both halves of a character beyond U+FFFF together.
_ESCAPED: Final = re.compile(r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|.)")
_FIRST_UNESCAPED: Final = 0xA0
_SURROGATES: Final = range(0xD800, 0xE000)
# How the characters begin in UTF-8 that `json_safe` escapes, and the carriage return: single bytes, found at once.
_SUSPICIOUS: Final = (b"\r", b"\x7f", b"\xc2", b"\xe2")
_TIMES_KEPT: Final = 10_000

Clause = Callable[[Record], str | None]


class _Times(dict[int | None, bytes]):
    """Timestamps as they stand in a document, between the offset and the key; each is made once."""

    def __missing__(self, timestamp: int | None) -> bytes:
        if len(self) > _TIMES_KEPT:
            self.clear()
        spelled = "null" if timestamp is None else f'"{iso(timestamp)}"'
        self[timestamp] = found = f',"timestamp":{spelled},"key":'.encode()
        return found


class JsonLines:
    """Formats records as JSON documents without parsing and dumping them, a million in a few seconds.

    A value that is JSON is included as it lies in the topic (but for line ends between its tokens, and characters that
    a terminal could obey). Any other value is a string, and its bytes are repeated in base64 in `value_base64`; so are,
    in `key_base64`, those of a key that is not UTF-8. A record without a value, a tombstone, has ``"tombstone":true``;
    JSON's null has not. `headers` maps names to values; a header that occurs several times has the list of its values,
    in their order. A header of which a value is not UTF-8 is also in `headers_base64`, in the same shape.

    With `fields`, a document has these alone. With `stopped_by`, it has the clause that a record does not meet, or
    null.
    """

    def __init__(self, fields: Cells | None = None, stopped_by: Clause | None = None) -> None:
        """Load the JSON library."""
        import orjson

        self._loads, self._dumps, self._invalid = orjson.loads, orjson.dumps, orjson.JSONDecodeError
        self._fields, self._stopped_by = fields, stopped_by
        self._times = _Times()

    def lines(self, records: Sequence[Record]) -> bytes:
        """Return the records as JSON Lines."""
        if self._fields is None and self._stopped_by is None and isinstance(records, Records):
            try:
                lines = self._spliced(records)
            except (TypeError, self._invalid):  # a value that is missing or not JSON
                lines = b""
            # One search through thousands of lines costs less than one through each.
            if lines.count(b"\n") == len(records) and not any(mark in lines for mark in _SUSPICIOUS):
                return lines
        return b"".join(map(self._document, records))

    def _spliced(self, records: Records) -> bytes:
        """Return lines for records as most are: the value JSON, the key letters and digits, no headers; or nothing."""
        values, keys = records.values(), records.keys()
        deque(map(self._loads, values), maxlen=0)  # type: ignore[arg-type] # None is refused, as it shall be
        if any(records.headers()) or not b"".join([b"0", *keys]).isalnum():  # type: ignore[list-item]
            return b""
        partitions = records.partitions()
        heads = {
            number: b'{"topic":%b,"partition":%d,"offset":' % (self._json(records.topic), number)
            for number in set(partitions)
        }
        columns = zip(
            map(heads.__getitem__, partitions),
            map(b"%d".__mod__, records.offsets()),
            map(self._times.__getitem__, records.timestamps()),
            repeat(b'"'),
            keys,
            repeat(b'","headers":{},"value":'),
            values,
            repeat(b"}\n"),
        )
        return b"".join(chain.from_iterable(columns))

    def _document(self, record: Record) -> bytes:
        more = b""
        if self._stopped_by is not None:
            more = b',"%b":%b' % (STOPPED_BY.encode(), self._json(self._stopped_by(record)))
        if self._fields is not None:
            return json_safe(self._fields.document(record)).encode()[:-1] + more + b"}\n"
        return b'{"topic":%b,"partition":%d,"offset":%d%b%b,"headers":%b,"value":%b%b}\n' % (
            self._json(record.topic),
            record.partition,
            record.offset,
            self._times[record.timestamp],
            self._key(record.key),
            self._headers(record.headers),
            self._value(record.value),
            more,
        )

    def _value(self, value: bytes | None) -> bytes:
        if value is None:
            return b'null,"tombstone":true'
        try:
            self._loads(value)
        except self._invalid:
            return b'%b,"value_base64":%b' % (self._json(text(value)), self._json(in_base64(value)))
        return _one_line(value)

    def _key(self, key: bytes | None) -> bytes:
        spelled = self._json(text(key))
        return spelled if is_text(key) else b'%b,"key_base64":%b' % (spelled, self._json(in_base64(key)))

    def _headers(self, headers: Sequence[tuple[str, bytes | None]]) -> bytes:
        if not headers:
            return b"{}"
        exact = header_base64(headers)
        spelled = self._json(header_texts(headers))
        return spelled if not exact else b'%b,"headers_base64":%b' % (spelled, self._json(exact))

    def _json(self, value: object) -> bytes:
        return json_safe(self._dumps(value).decode()).encode()


class Sheet:
    """Formats records as the rows of a spreadsheet, with the fields of their type, or those that were chosen.

    `extra` is a JSON object of a record's further fields; `unparsable` is the value of what is no such record. `marks`
    says what a cell cannot: ``tombstone``, ``empty``, ``null``, and what is written in base64 because it is not UTF-8:
    ``key:base64``, ``value:base64``, ``headers:base64``.
    """

    def __init__(self, topic: str, fields: Cells | None = None, stopped_by: Clause | None = None) -> None:
        """Choose the columns."""
        self._kind, self._fields, self._stopped_by = TYPES.get(topic), fields, stopped_by
        if fields is not None:
            names: tuple[str, ...] = fields.names
        elif self._kind is None:
            names = (*_PLACE, *_ORIGIN, "value", "headers", _MARKS)
        else:
            names = (*_PLACE, *(field.name for field in self._kind.FIELDS), "extra", "unparsable", "headers", _MARKS)
        self.columns: tuple[str, ...] = (*names, STOPPED_BY) if stopped_by is not None else names

    def row(self, record: Record) -> dict[str, Any]:
        """Return one record's cells by column."""
        row = self._fields.row(record) if self._fields is not None else self._whole(record)
        row = {name: cell(value) for name, value in row.items()}
        return row if self._stopped_by is None else {**row, STOPPED_BY: self._stopped_by(record)}

    def _whole(self, record: Record) -> dict[str, Any]:
        marks = list(_marks(record))
        exact = "headers:base64" in marks
        texts = header_texts(record.headers)
        shared = {
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": iso(record.timestamp),
            "key": in_base64(record.key) if "key:base64" in marks else text(record.key),
            "headers": dump({**texts, **(header_base64(record.headers) if exact else {})}) if texts else None,
            _MARKS: " ".join(marks) or None,
        }
        value = in_base64(record.value) if "value:base64" in marks else text(record.value)
        if self._kind is None:
            return {**shared, **{column: texts.get(name) for column, name in _ORIGIN.items()}, "value": value}
        try:
            found = self._kind.parse(record.value)
        except kinds.Malformed:
            return {**shared, "unparsable": value}
        return {**shared, **found.values(), "extra": found.extra and unescaped(found.extra)}


def raw_lines(records: Sequence[Record]) -> bytes:
    """Return the values, byte for byte, each with a line end; of a record without a value, the line end alone."""
    values = records.values() if isinstance(records, Records) else [record.value for record in records]
    if not values:
        return b""
    try:
        return b"\n".join([*values, b""])  # type: ignore[list-item]
    except TypeError:
        return b"\n".join([*(value or b"" for value in values), b""])


def raw_texts(records: Sequence[Record]) -> Iterator[str]:
    """Yield the values for a terminal, which obeys nothing of them."""
    return (shown(text(record.value) or "") for record in records)


def _marks(record: Record) -> Iterator[str]:
    match record.value:
        case None:
            yield "tombstone"
        case b"":
            yield "empty"
        case b"null":
            yield "null"
    if not is_text(record.key):
        yield "key:base64"
    if not is_text(record.value):
        yield "value:base64"
    if not all(is_text(value) for _, value in record.headers):
        yield "headers:base64"


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
