"""Records as `fraudctl tail -o json` prints them, made records again: key, value and headers as they are in the topic.

A line is ``{"topic", "partition", "offset", "timestamp", "key", "headers", "value"}``. A value that is no JSON, and
what is not UTF-8, is also in ``value_base64``, ``key_base64`` and ``headers_base64``, which count where they are there.
A value is cut out of its line, so that not a byte changes; a record without a value is marked with
``"tombstone":true``.
"""

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from fraudctl.pipeline.kafka import UNREADABLE_HEADERS
from fraudctl.target import Outgoing

_PLACE: Final = ("topic", "partition", "offset")
_FIELDS: Final = frozenset({*_PLACE, "key", "value"})
_MARKS: Final = tuple(f'"{name}"'.encode() for name in _FIELDS)
_SPACE: Final = " \t\r\n"


class BadEnvelope(ValueError):
    """Why a line that has a record's place in a topic is no record."""


def opened(line: bytes) -> Outgoing | None:
    """Return the record of a line; None for a line that is no such document, which may be a transaction.

    Raises:
        BadEnvelope: It is one, and something in it cannot be read.
    """
    if not all(mark in line for mark in _MARKS):
        return None
    try:
        text = line.decode()
        parts = _members(text)
    except (ValueError, RecursionError):
        return None  # whoever checks transactions says why
    if not parts.keys() >= _FIELDS or "transaction_id" in parts:
        return None
    key, value, headers = parts["key"], parts["value"], parts.get("headers", "{}")
    return Outgoing(
        _base64("key_base64", parts["key_base64"]) if "key_base64" in parts else _text("key", key),
        _base64("value_base64", parts["value_base64"]) if "value_base64" in parts else _value(value, parts),
        tuple(_headers(_load(headers), _load(parts.get("headers_base64", "{}")))),
    )


def _refuse(constant: str) -> NoReturn:
    raise BadEnvelope(f"{constant} is no JSON")


# Numbers stay text: nobody looks at them, and Python refuses to convert very long ones.
_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)


def _members(text: str) -> dict[str, str]:
    """Return the members of a JSON object as they are written; raises ValueError for anything else."""
    at = _skip(text, 0)
    found: dict[str, str] = {}
    _expect(text, at, "{")
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        _expect(text, at, '"')
        name, at = _DECODER.raw_decode(text, at)
        at = _skip(text, at)
        _expect(text, at, ":")
        at = _skip(text, at + 1)
        _, end = _DECODER.raw_decode(text, at)
        if name in found:
            raise BadEnvelope(f"{name} is there twice")
        found[name] = text[at:end]
        at = _skip(text, end)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
            _expect(text, at, '"')
    if text[at + 1 :].strip(_SPACE):
        raise BadEnvelope("text after the object")
    return found


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in {" ", "\t", "\r", "\n"}:
        at += 1
    return at


def _expect(text: str, at: int, sign: str) -> None:
    if text[at : at + 1] != sign:
        raise BadEnvelope(f"no {sign} at character {at + 1}")


def _load(written: str) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(written)
    except ValueError as error:  # a number of thousands of digits, where none belongs
        raise BadEnvelope(str(error)) from error


def _value(written: str, parts: dict[str, str]) -> bytes | None:
    return None if parts.get("tombstone") == "true" else written.encode()


def _text(name: str, written: str) -> bytes | None:
    return _encoded(name, _load(written))


def _encoded(name: str, found: Any) -> bytes | None:  # noqa: ANN401 - any JSON
    if found is None:
        return None
    if not isinstance(found, str):
        raise BadEnvelope(f"{name} is neither a string nor null")
    try:
        return found.encode()
    except UnicodeEncodeError as error:
        raise BadEnvelope(f"{name} has half a character, which is no text") from error


def _base64(name: str, written: str) -> bytes | None:
    return _decoded(name, _load(written))


def _decoded(name: str, found: Any) -> bytes | None:  # noqa: ANN401 - any JSON
    if found is None:
        return None
    try:
        return base64.b64decode(found, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise BadEnvelope(f"{name} is not base64") from error


def _headers(headers: Any, exact: Any) -> Iterator[tuple[str, bytes | None]]:  # noqa: ANN401 - any JSON
    """Yield the headers in their order, a name that occurs several times as often as it does, one after the other."""
    if not (isinstance(headers, dict) and isinstance(exact, dict)):
        raise BadEnvelope("headers is not an object")
    if UNREADABLE_HEADERS in headers:
        raise BadEnvelope("its headers could not be read, so it cannot be written with them")
    for name, found in headers.items():
        _encoded("the name of a header", name)
        read, values = (_decoded, exact[name]) if name in exact else (_encoded, found)
        for value in values if isinstance(values, list) else [values]:
            yield name, read(f"header {name}", value)
