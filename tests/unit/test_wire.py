"""Requests, batches and records as JSON between the command line and the functions, and what is refused of them."""

import base64
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.pipeline import wire
from fraudctl.pipeline.reader import Batch, Record, Records, Request

CONTENT = st.none() | st.binary(max_size=20)
HEADERS = st.lists(st.tuples(st.text(max_size=5), CONTENT), max_size=3).map(tuple)


@given(st.lists(st.tuples(CONTENT, CONTENT, HEADERS), min_size=1, max_size=20))
def test_contents_come_back_as_they_were(records: list[tuple[bytes | None, bytes | None, Any]]) -> None:
    """Any bytes, none at all, repeated names."""
    block = wire.packed_contents(records)
    assert json.loads(json.dumps(block)) == block
    assert list(wire.unpacked_contents(block)) == records


@given(st.lists(st.tuples(st.integers(0, 9), st.none() | st.integers(0), CONTENT, CONTENT, HEADERS), max_size=20))
def test_records_come_back_as_they_were(rows: list[Any]) -> None:
    """With partition, offset and time."""
    records = [Record("t", row[0], number, *row[1:]) for number, row in enumerate(rows)]
    assert list(wire.unpacked("t", wire.packed(Records("t", list(records))))) == records


def test_a_request_and_a_batch_come_back() -> None:
    """All that they say."""
    request = Request("t", {0: 5, 12: 7}, {0: 9}, frozenset({12}), 3, 1.5)
    assert wire.request_of(json.loads(json.dumps(wire.request(request))), "t") == request
    batch = Batch(Records("t", [Record("t", 0, 5, 1, b"k", b"v")]), {0: 6, 12: 7}, {0: 9}, "silent", {12: 4}, 1)
    found = wire.batch_of(json.loads(json.dumps(wire.batch(batch, "t"))), "t")
    assert found == batch


def test_what_does_not_fit_is_left_for_the_next_request() -> None:
    """Positions are those of the first record left out of each partition; one record always goes."""
    large = b"x" * (wire.ROOM_BYTES // 3)
    records = [Record("t", number % 2, number // 2, 1, None, large) for number in range(6)]
    batch = Batch(Records("t", records), {0: 3, 1: 3}, {0: 3, 1: 3})
    found = wire.batch_of(wire.batch(batch, "t"), "t")
    assert [(one.partition, one.offset) for one in found.records] == [(0, 0), (1, 0)]
    assert found.positions == {0: 1, 1: 1}
    assert not found.at_end
    one = Batch(Records("t", [Record("t", 0, 0, 1, None, b"x" * (wire.ROOM_BYTES + 1))]), {0: 1}, {0: 1})
    assert wire.batch_of(wire.batch(one, "t"), "t").positions == {0: 1}


def test_the_wait_is_bounded() -> None:
    """Lambda is paid by its time."""
    assert wire.request_of({"positions": {"0": 1}, "wait_s": 3600}, "t").wait_s == wire.LONGEST_WAIT_SECONDS


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"positions": {}}, "positions is empty"),
        ({"positions": []}, "positions is not a map"),
        ({"positions": {"-1": 0}}, "positions is not a map"),
        ({"positions": {"0": -1}}, "positions is not a map"),
        ({"positions": {"0": True}}, "positions is not a map"),
        ({"positions": {"0": 2**63}}, "positions is not a map"),
        ({"positions": {str(n): 0 for n in range(10_001)}}, "positions is not a map"),
        ({"ends": {"1": 5}}, "paused and ends"),
        ({"ends": {"0": "5"}}, "ends is not a map"),
        ({"paused": [1]}, "paused and ends"),
        ({"paused": 0}, "paused and ends"),
        ({"limit": 0}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"wait_s": "1"}, "wait_s"),
        ({"wait_s": -1}, "wait_s"),
        ({"wait_s": float("nan")}, "wait_s"),
    ],
)
def test_requests_that_are_none_are_refused(change: dict[str, Any], said: str) -> None:
    """Each with what is wrong."""
    with pytest.raises(ValueError, match=said):
        wire.request_of({"positions": {"0": 0}, **change}, "t")


def block(line: object, content: bytes = b"") -> str:
    """Return a block by hand."""
    return base64.b64encode(zlib.compress(json.dumps(line).encode() + b"\n" + content)).decode()


@pytest.mark.parametrize(
    "given_",
    [
        None,
        {},
        "no base64!",
        base64.b64encode(b"not compressed").decode(),
        base64.b64encode(zlib.compress(b"x" * 1000)[:-10]).decode(),
        base64.b64encode(zlib.compress(b"x" * (33 * 1024 * 1024))).decode(),
        block([]),
        block({"number": 1, "names": []}),
        block({"number": 10**12, "names": [], "lengths": []}),
        block({"number": -1, "names": [], "lengths": []}),
        block({"number": 1, "names": [], "lengths": [1, 1]}, b"abc"),
        block({"number": 1, "names": [["a"]], "lengths": [1, 1]}, b"ab"),
        block({"number": 1, "names": [["a"], ["b"]], "lengths": [1, 1, 1, 1]}, b"abcd"),
        block({"number": 1, "names": [], "lengths": ["1", "1"]}, b"ab"),
    ],
)
def test_blocks_that_are_none_are_refused(given_: object) -> None:
    """Cut, inflated, or with numbers that do not fit."""
    with pytest.raises(ValueError, match=r"."):
        list(wire.unpacked_contents(given_))
