"""Where in a record's bytes the error lies that makes it malformed.

The bytes are read once more by the rules of `fraudctl.pipeline.records`, which say what is wrong in the same words as
the Flink application; from the words and from the JSON follows the place.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from fraudctl.pipeline.fields import MAX_DEPTH, Malformed
from fraudctl.pipeline.records import AccountFlag, FlaggedTransaction, Transaction

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_FIELD: Final = re.compile(r"(\w+) (is|has|holds) ", re.ASCII)
_NO_NUMBER: Final = frozenset({"NaN", "Infinity", "-Infinity"})
_CONFLUENT_BYTES: Final = 5
_MARK_BYTES: Final = 3  # a byte-order mark in UTF-8

Kind = type[Transaction | AccountFlag | FlaggedTransaction]


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `start` to before `end`; an empty one lies between two bytes, or behind the last."""

    start: int
    end: int


def located(kind: Kind, value: bytes | None) -> tuple[str, Span | None] | None:
    """Return what is wrong with a record's bytes, and where; None when nothing is, and no place for what has none."""
    try:
        kind.parse(value)
    except Malformed as error:
        return str(error), None if not value else _span(kind, value, error)
    return None


def _span(kind: Kind, value: bytes, error: Malformed) -> Span | None:
    why = str(error)
    if why.startswith("too long"):
        return Span(kind.LIMIT, kind.LIMIT + 1)
    if why.startswith("Confluent"):
        return Span(0, _CONFLUENT_BYTES)
    if isinstance(error.__cause__, UnicodeDecodeError):
        return Span(error.__cause__.start, error.__cause__.end)
    if "byte-order mark" in why:
        return Span(0, _MARK_BYTES)
    text = value.decode()
    found = _characters(text, error)
    if found is None:
        return None
    start, end = found
    before = len(text[:start].encode())
    return Span(before, before + len(text[start:end].encode()))


def _characters(text: str, error: Malformed) -> tuple[int, int] | None:
    """Return the first character that is wrong, and the one behind the last."""
    why = str(error)
    if isinstance(error.__cause__, json.JSONDecodeError):
        if error.__cause__.msg.startswith("Unterminated string"):  # it is the end that is wrong, as Jackson says too
            return len(text), len(text)
        return error.__cause__.pos, min(error.__cause__.pos + 1, len(text))
    if why.startswith("not JSON"):
        return next((found.span() for found in _TOKEN.finditer(text) if found[0] in _NO_NUMBER), None)
    if why.startswith("nested"):
        return _too_deep(text)
    if why == "not a JSON object":
        at = len(text) - len(text.lstrip())
        return at, at + 1
    return _member(_Walk(text), why)


def _member(walk: "_Walk", why: str) -> tuple[int, int] | None:
    """Return where the field lies that is named; of one that is missing, the end of the object."""
    if why == "a field is repeated":
        return walk.repeated
    named = _FIELD.match(why)
    if named is None or named[1] not in walk.members:
        return walk.end
    name, content = walk.members[named[1]]
    return name if "field of detections" in why else content


def _too_deep(text: str) -> tuple[int, int] | None:
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += (token[0] in "{[") - (token[0] in "}]")
        if depth > MAX_DEPTH:
            return token.span()
    return None


@dataclass(slots=True)
class _Object:
    """An object or a list whose end has not come yet: where it began, its names, and the one whose value is next."""

    start: int
    is_object: bool
    names: set[str] = field(default_factory=set)
    name: tuple[str, tuple[int, int]] | None = None


class _Walk:
    """The tokens of one JSON object: where its members lie, and the first name that comes twice in an object."""

    def __init__(self, text: str) -> None:
        """Walk through; the text is JSON, but for names that are repeated."""
        self.members: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {}
        self.repeated: tuple[int, int] | None = None
        self.end: tuple[int, int] | None = None
        self._open: list[_Object] = []
        for found in _TOKEN.finditer(text):
            self._take(found[0], found.start(), found.end())

    def _take(self, sign: str, start: int, end: int) -> None:
        inside = self._open[-1] if self._open else None
        if sign in {"{", "["}:
            self._open.append(_Object(start, sign == "{"))
        elif sign in {"}", "]"}:
            begun = self._open.pop()
            if not self._open:
                self.end = start, end
            self._close(begun.start, end)
        elif sign in {",", ":"}:
            return
        elif inside is not None and inside.is_object and inside.name is None:
            name: Any = json.loads(sign)
            if name in inside.names and self.repeated is None:
                self.repeated = start, end
            inside.names.add(name)
            inside.name = name, (start, end)
        else:
            self._close(start, end)

    def _close(self, start: int, end: int) -> None:
        """Note that a value is complete."""
        if self._open and (named := self._open[-1].name) is not None:
            if len(self._open) == 1:
                self.members[named[0]] = named[1], (start, end)
            self._open[-1].name = None
