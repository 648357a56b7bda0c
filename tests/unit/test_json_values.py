"""JSON values cut out of a stream."""

import io
import json

import hypothesis
import pytest
from hypothesis import strategies

from fraudctl.services import json_values


class _Drip(io.RawIOBase):
    """A stream that gives so many bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data, self._size = io.BytesIO(data), size

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override] # the buffer protocol's names differ
        """Give the next bytes."""
        data = self._data.read(min(self._size, len(buffer)))
        buffer[: len(data)] = data
        return len(data)


def values(data: bytes, *, limit: int = 1000, size: int = 1 << 16) -> list[tuple[int, bytes | None, str]]:
    """Every value's line, bytes and problem."""
    stream: io.BufferedReader = io.BufferedReader(_Drip(data, size))
    return [(value.line, value.data, value.problem) for value in json_values.values(stream, limit)]


@pytest.mark.parametrize("size", [1, 3, 1 << 16])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b" \n [ ]\n", []),
        (b'[{"a":9007199254740993},{"a":12.50}]', [(1, b'{"a":9007199254740993}', ""), (1, b'{"a":12.50}', "")]),
        (b' \n[ {"a":"]\\"}"},\n\n{"b":[1,{}]} ]\n', [(2, b'{"a":"]\\"}"}', ""), (4, b'{"b":[1,{}]}', "")]),
        (b'[{\n"a":1\n},\n2 , "x\\\\"]', [(1, b'{\n"a":1\n}', ""), (4, b"2", ""), (4, b'"x\\\\"', "")]),
        (b"[1,2,]", [(1, b"1", ""), (1, b"2", ""), (1, b"", "a comma too many")]),
        (b'[{"a":1}', [(1, b'{"a":1}', ""), (1, b"", "the array is not closed: the file is cut off")]),
        (b'[{"a', [(1, b'{"a', ""), (1, b"", "the array is not closed: the file is cut off")]),
        (b"[1]\n[2]", [(1, b"1", ""), (2, b"[2]", "text after the end of the array")]),
        (b'[{"a":bad},{"a":2}]', [(1, b'{"a":bad}', ""), (1, b'{"a":2}', "")]),
        (b'{\n"a":1\n}{"b":2}\n\n{"c":3}', [(1, b'{\n"a":1\n}', ""), (3, b'{"b":2}', ""), (5, b'{"c":3}', "")]),
    ],
)
def test_values_come_as_their_own_bytes_with_their_lines(
    data: bytes, expected: list[tuple[int, bytes, str]], size: int
) -> None:
    """However the stream is cut; a bad element costs only itself."""
    assert values(data, size=size) == expected


def test_a_value_over_the_limit_is_skipped_not_stored() -> None:
    """The ones around it are read."""
    assert values(b'[{"a":1},{"b":"' + b"x" * 5000 + b'"},{"c":3}]', size=100) == [
        (1, b'{"a":1}', ""),
        (1, None, ""),
        (1, b'{"c":3}', ""),
    ]


JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.text(),
    lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner),
)


@hypothesis.given(strategies.lists(JSON), strategies.sampled_from([None, 1]), strategies.integers(1, 50))
def test_any_array_comes_apart_as_json_reads_it(array: list[object], indent: int | None, size: int) -> None:
    """The standard library's decoder is the oracle."""
    found = values(json.dumps(array, indent=indent, ensure_ascii=False).encode(), limit=1 << 20, size=size)
    assert [json.loads(data or b"") for _, data, _ in found] == array
