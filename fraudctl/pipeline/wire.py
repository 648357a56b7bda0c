"""What the command line and the functions TopicReader and TopicWriter send each other, as JSON.

Records travel as one compressed block: a line of JSON with numbers and lengths, then all keys, values and headers one
behind the other. Lambda takes and gives 6 MB of JSON at most, in which bytes have to be base64; compressed first, a
block of transactions is a fifth of that.

Whoever may invoke a function may send it anything, so requests are checked; ValueError says what is wrong.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, Final

from fraudctl.pipeline.reader import Batch, Bounds, Positions, Record, Records, Request

# Of keys, values and headers in one block: in base64, should they not compress at all, below Lambda's 6 MB.
ROOM_BYTES: Final = 4_000_000
LONGEST_WAIT_SECONDS: Final = 10.0
MOST_RECORDS: Final = 20_000
# Of a record in the line of JSON.
RECORD_BYTES: Final = 40
_LARGEST_BLOCK_BYTES: Final = 32 * 1024 * 1024
_LEVEL: Final = 1
_MOST_PARTITIONS: Final = 10_000

Headers = Sequence[tuple[str, bytes | None]]


def size(key: bytes | None, value: bytes | None, headers: Headers = ()) -> int:
    """Return how many bytes of `ROOM_BYTES` a record takes."""
    taken = RECORD_BYTES + len(key or b"") + len(value or b"")
    return taken + sum(len(name) + len(content or b"") for name, content in headers) if headers else taken


def packed(records: Records) -> str:
    """Return records as a block."""
    head = {"partitions": records.partitions(), "offsets": records.offsets(), "timestamps": records.timestamps()}
    return _block(head, records.keys(), records.values(), records.headers())


def unpacked(topic: str, block: str) -> Records:
    """Return the records of a block that `packed` made."""
    head, keys, values, headers = _opened(block)
    numbers = (head[name] for name in ("partitions", "offsets", "timestamps"))
    return Records(topic, list(map(Record, repeat(topic), *numbers, keys, values, headers)))


def packed_contents(records: Iterable[tuple[bytes | None, bytes | None, Headers]]) -> str:
    """Return keys, values and headers, in this order for each record, as a block."""
    keys, values, headers = zip(*records, strict=True)
    return _block({}, keys, values, headers)


def unpacked_contents(block: object) -> Iterator[tuple[bytes | None, bytes | None, Headers]]:
    """Yield what `packed_contents` was given; raises ValueError for anything that it did not make."""
    if not isinstance(block, str):
        raise ValueError("records is not a block")  # noqa: TRY004 - every fault of a request is a ValueError
    _, keys, values, headers = _opened(block)
    return zip(keys, values, headers, strict=True)


def request_of(event: Mapping[str, Any], topic: str) -> Request:
    """Return what `request` made; raises ValueError for anything else. The wait is bounded, not refused."""
    wait, limit = event.get("wait_s", 0.5), event.get("limit")
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not wait >= 0:
        raise ValueError("wait_s is not a number of seconds")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise ValueError("limit is not a positive integer")
    found = positions(event, "positions")
    if not found:
        raise ValueError("positions is empty")
    ends = positions(event, "ends")
    paused = event.get("paused", [])
    if not isinstance(paused, list) or not set(paused) <= set(found) or not set(ends) <= set(found):
        raise ValueError("paused and ends are not partitions of positions")
    return Request(topic, found, ends, frozenset(paused), limit, min(float(wait), LONGEST_WAIT_SECONDS))


def request(wanted: Request) -> dict[str, Any]:
    """Return a request as JSON has it."""
    return {
        "positions": by_text(wanted.positions),
        "ends": by_text(wanted.ends),
        "paused": sorted(wanted.paused),
        "limit": wanted.limit,
        "wait_s": wanted.wait_s,
    }


def batch(found: Batch, topic: str) -> dict[str, Any]:
    """Return a batch as JSON has it, with as many of its records as there is room for, one at least."""
    records = found.records if isinstance(found.records, Records) else Records(topic, list(found.records))
    number, at = fitting(records), dict(found.positions)
    if left := records[number:]:
        # Of what is left out, the first of each partition is where the next request goes on.
        at |= dict(zip(reversed(left.partitions()), reversed(left.offsets()), strict=True))
    return {
        "records": packed(records[:number]),
        "positions": by_text(at),
        "ends": by_text(found.ends),
        "unreachable": found.unreachable,
        "lost": by_text(found.lost),
    }


def batch_of(answer: Mapping[str, Any], topic: str) -> Batch:
    """Return what `batch` made."""
    records = unpacked(topic, answer["records"])
    at, ends, lost = (by_number(answer[name]) for name in ("positions", "ends", "lost"))
    return Batch(records, at, ends, answer["unreachable"], lost, len(records))


def bounds(found: Bounds) -> dict[str, Any]:
    """Return bounds as JSON has them."""
    return {"lows": by_text(found.lows), "highs": by_text(found.highs)}


def bounds_of(answer: Mapping[str, Any]) -> Bounds:
    """Return what `bounds` made."""
    return Bounds(by_number(answer["lows"]), by_number(answer["highs"]))


def positions(event: Mapping[str, Any], name: str) -> dict[int, int]:
    """Return a map of partitions to offsets out of a request; raises ValueError for anything else."""
    found = event.get(name, {})
    fine = (
        isinstance(found, Mapping)
        and len(found) <= _MOST_PARTITIONS
        and all(isinstance(key, str) and key.isascii() and key.isdigit() for key in found)
        and all(type(at) is int and 0 <= at < 2**63 for at in found.values())
    )
    if not fine:
        raise ValueError(f"{name} is not a map of partitions to offsets")
    return by_number(found)


def fitting(records: Records) -> int:
    """Return how many of the records, from the first on, there is room for; one at least, if there is any."""
    room, columns = ROOM_BYTES, (records.keys(), records.values(), records.headers())
    for number, record in enumerate(zip(*columns, strict=True)):
        room -= size(*record)
        if room < 0 and number:
            return number
    return len(records)


def by_text(found: Positions) -> dict[str, int]:
    """Return numbers by partition as JSON has them."""
    return {str(partition): at for partition, at in found.items()}


def by_number(found: Mapping[str, int]) -> dict[int, int]:
    """Return what `by_text` was given."""
    return {int(partition): at for partition, at in found.items()}


def _block(
    head: Mapping[str, Any],
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    headers: Sequence[Headers],
) -> str:
    names = [[name for name, _ in pairs] for pairs in headers] if any(headers) else []
    contents = [*keys, *values, *(content for pairs in headers for _, content in pairs)]
    lengths = [-1 if content is None else len(content) for content in contents]
    line = json.dumps({**head, "number": len(keys), "names": names, "lengths": lengths}, separators=(",", ":"))
    data = b"".join((line.encode(), b"\n", *filter(None, contents)))
    return base64.b64encode(zlib.compress(data, _LEVEL)).decode()


def _opened(
    block: str,
) -> tuple[
    dict[str, Any], Sequence[bytes | None], Sequence[bytes | None], Sequence[tuple[tuple[str, bytes | None], ...]]
]:
    """Return the head of a block, keys, values and headers."""
    try:
        opener = zlib.decompressobj()
        data = opener.decompress(base64.b64decode(block, validate=True), _LARGEST_BLOCK_BYTES)
        if not opener.eof:
            raise ValueError("records is not a block: it is cut, or over 32 MB")
        line, _, rest = data.partition(b"\n")
        head: dict[str, Any] = json.loads(line)
        contents = list(_contents(rest, head["lengths"]))
        number, names = head["number"], head["names"]
        if type(number) is not int or not 0 <= 2 * number <= len(contents) or (names and len(names) != number):
            raise ValueError("records is not a block: its numbers are wrong")
        keys, values, others = contents[:number], contents[number : 2 * number], iter(contents[2 * number :])
        if not names:
            return head, keys, values, [()] * number
        headers = [tuple((str(name), next(others)) for name in mine) for mine in names]
    except (KeyError, TypeError, StopIteration, RuntimeError, zlib.error) as error:
        raise ValueError(f"records is not a block: {error!r}") from error
    return head, keys, values, headers


def _contents(data: bytes, lengths: Sequence[int]) -> Iterator[bytes | None]:
    at = 0
    for length in lengths:
        if length < 0:
            yield None
            continue
        yield data[at : at + length]
        at += length
    if at != len(data):
        raise ValueError("records is not a block: its lengths are wrong")
