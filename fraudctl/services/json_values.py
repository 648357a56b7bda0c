"""JSON values out of a stream of any length: the elements of an array, or values that follow one another.

A value is cut out by its brackets and quotes and never decoded here, so numbers keep their digits, memory does not
grow with the file, and a bad element costs only itself.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_CHUNK: Final = 64 * 1024
_SPACE: Final = b" \t\r\n\x1e"  # U+001E separates the values of RFC 7464
_OUTSIDE: Final = re.compile(rb'["\[\]{},]')
_INSIDE: Final = re.compile(rb'["\\]')
# An object without others in it, as almost every record is: found whole, ten times as fast as sign by sign.
_FLAT: Final = re.compile(rb'[ \t\r\n]*+(\{(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+\})', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Value:
    """One value: its bytes and its first line, counted from 1; `data` is None when it is over the limit.

    `problem` is what is wrong around it: a missing bracket at the end, text after the array.
    """

    line: int
    data: bytes | None
    problem: str = ""


def values(stream: io.BufferedReader, limit: int) -> Iterator[Value]:
    """Yield the elements of a JSON array, or the values of a stream without one; longer than `limit` bytes, empty."""
    return iter(_Splitter(stream, limit))


class _Splitter:
    """Walks through the brackets and quotes of a stream."""

    def __init__(self, stream: io.BufferedReader, limit: int) -> None:
        self._stream, self._limit = stream, limit
        self._array: bool | None = None  # None before the first character
        self._depth = 0  # brackets open inside the value
        self._quoted = self._escaped = False
        self._closed = self._comma = False  # behind the array, behind a comma of it
        self._line = 1
        self._value = bytearray()
        self._length = 0
        self._first = 0  # the line of the value's first character; 0 before it
        self._found: list[Value] = []

    def __iter__(self) -> Iterator[Value]:
        while chunk := self._stream.read1(_CHUNK):
            at = 0
            while at < len(chunk):
                at = self._step(chunk, at)
                if self._found:
                    yield from self._found
                    self._found.clear()
        if self._first:
            self._end_value("text after the end of the array" if self._closed else "")
        if self._array and not self._closed:
            self._found.append(Value(self._line, b"", "the array is not closed: the file is cut off"))
        yield from self._found

    def _step(self, chunk: bytes, at: int) -> int:
        """Go on to behind the next sign that matters; return where that is."""
        if self._array is None:
            rest = chunk[at:].lstrip(_SPACE)
            self._line += chunk.count(b"\n", at, len(chunk) - len(rest))
            if rest:
                self._array = rest.startswith(b"[")
            return len(chunk) - len(rest) + bool(self._array)
        if self._escaped:
            self._escaped = False
            self._take(chunk[at : at + 1])
            return at + 1
        if not (self._first or self._closed) and (whole := _FLAT.match(chunk, at)):
            self._take(chunk[at : whole.end()])
            if not self._array:
                self._end_value()
            return whole.end()
        found = (_INSIDE if self._quoted else _OUTSIDE).search(chunk, at)
        if not found:
            self._take(chunk[at:])
            return len(chunk)
        self._take(chunk[at : found.start()])
        self._sign(found[0])
        return found.end()

    def _sign(self, sign: bytes) -> None:
        if not (self._quoted or self._depth or self._closed) and sign in b",]":
            self._end_element(sign)
            return
        self._take(sign)
        if self._quoted:
            self._quoted, self._escaped = sign != b'"', sign == b"\\"
        elif sign == b'"':
            self._quoted = True
        elif sign in b"[{":
            self._depth += 1
        elif sign in b"]}":
            self._depth = max(0, self._depth - 1)
            if not self._array and not self._depth:
                self._end_value()

    def _end_element(self, sign: bytes) -> None:
        if self._first:
            self._end_value()
        elif sign == b"," or self._comma:
            self._found.append(Value(self._line, b"", "a comma too many"))
        self._comma = sign == b","
        self._closed = bool(self._array) and sign == b"]"

    def _take(self, data: bytes) -> None:
        if not self._first:
            kept = data.lstrip(_SPACE)
            self._line += data.count(b"\n", 0, len(data) - len(kept))
            if not kept:
                return
            data, self._first = kept, self._line
        self._line += data.count(b"\n")
        self._length += len(data)
        if self._length <= self._limit:
            self._value += data

    def _end_value(self, problem: str = "") -> None:
        data = bytes(self._value).rstrip(_SPACE) if self._length <= self._limit else None
        self._found.append(Value(self._first, data, problem))
        self._value.clear()
        self._length = self._first = 0
