"""Transactions from files and out of thin air."""

import io
import json
import math
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeRecords, FakeTarget

from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, NotAsAsked, OperationFailed
from fraudctl.pipeline.records import Transaction
from fraudctl.services import files, transaction_file, transactions
from fraudctl.services.interrupts import GracefulStop
from fraudctl.services.read_options import FileFormat, OnError, ReadOptions
from fraudctl.services.transaction_file import Line
from fraudctl.services.transactions import Counter, Sent
from fraudctl.target import Event, Outgoing, Phase

GOOD = {
    "transaction_id": "t-1",
    "account_id": 1000000001,
    "customer_name": "Ada",
    "transaction_date": "2026-11-24T10:15:30.123Z",
    "merchant_type": "Grocery",
    "transaction_type": "Online",
    "amount": 12.5,
}
HEADER = ",".join(field.name for field in Transaction.FIELDS)


def stream(data: bytes) -> io.BufferedReader:
    """A file with this content."""
    return io.BufferedReader(io.BytesIO(data))


def read(data: bytes, file_format: FileFormat) -> list[Line]:
    """Check a file's lines."""
    return list(transaction_file.lines(stream(data), file_format, "file"))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"{", FileFormat.CSV),
        ("A.CSV", b"", FileFormat.CSV),
        ("a.jsonl", b"transaction_id,", FileFormat.JSONL),
        ("a.json", b"", FileFormat.JSONL),
        ("a.txt", b' \n{"a":1}', FileFormat.JSONL),
        ("-", b"\xef\xbb\xbf{}", FileFormat.JSONL),
        ("-", b"transaction_id,account_id", FileFormat.CSV),
        ("-", b"", FileFormat.JSONL),
    ],
)
def test_the_format_is_told_by_name_then_by_content(name: str, content: bytes, expected: FileFormat) -> None:
    """An ending that says so wins over the first character."""
    assert transaction_file.format_of(name, stream(content)) is expected


def test_a_json_array_is_read_element_by_element() -> None:
    """Numbers keep their digits, bad elements cost only themselves, and each says which it is."""
    big = json.dumps(GOOD | {"account_id": 9007199254740993}).replace("12.5", "12.50").encode()
    source = b" [" + big + b",\n{}, 7,\n" + json.dumps(GOOD).encode() + b"]"
    assert transaction_file.format_of("a.json", stream(source)) is FileFormat.JSON
    found = list(transaction_file.lines(stream(source), None, "a.json"))
    assert found[0].outgoing == Outgoing(b"9007199254740993", big)
    assert [(one.place, bool(one.outgoing), one.reason) for one in found] == [
        ("line 1, element 1", True, ""),
        ("line 2, element 2", False, "transaction_id is missing"),
        ("line 2, element 3", False, "not a JSON object"),
        ("line 3, element 4", True, ""),
    ]


def test_an_array_of_any_length_takes_little_memory() -> None:
    """The file is never held: 40 MB pass through in 4."""
    import tracemalloc

    element = json.dumps(GOOD | {"pad": "x" * 3800}).encode()

    def chunks() -> Iterator[bytes]:
        yield b"["
        for number in range(10_000):
            yield (b"," if number else b"") + element
        yield b"]"

    class Pipe(io.RawIOBase):
        source = chunks()

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            data = next(self.source, b"")
            buffer[: len(data)] = data
            return len(data)

    tracemalloc.start()
    try:
        count = sum(1 for line in transaction_file.lines(io.BufferedReader(Pipe()), None, "-") if line.outgoing)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 10_000
    assert peak < 4_000_000


def test_lines_keep_their_numbers_and_their_bytes() -> None:
    """Blank lines count but are none; ends of line and a byte-order mark are no part of a record."""
    line = json.dumps(GOOD).encode()
    found = read(b"\xef\xbb\xbf" + line + b"\r\n\n" + line + b"\n" + b"\xff\n" + line, FileFormat.JSONL)
    assert [(one.number, bool(one.outgoing)) for one in found] == [(1, True), (3, True), (4, False), (5, True)]
    assert found[0].outgoing == Outgoing(b"1000000001", line)
    assert "not UTF-8" in found[2].reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"amount": "12"}, "amount is not a number"),
        ({"amount": 1.234}, "at most two decimals"),
        ({"account_id": 0}, "account_id is not an integer from 1"),
        ({"transaction_date": "2026-11-24"}, "transaction_date is not a date"),
        ({"flag_date": "x"}, "flag_date is a field of detections"),
        ({"transaction_date": "2026-11-24T10:15:30Z", "account_id": -1}, "account_id is not an account number"),
        ({"transaction_date": 5}, "transaction_date is not a string"),
    ],
)
def test_reasons_say_what_is_wrong(changes: dict[str, Any], reason: str) -> None:
    """In the record's own words, also when the date had to be normalised first."""
    (line,) = read(json.dumps({**GOOD, **changes}).encode(), FileFormat.JSONL)
    assert line.outgoing is None
    assert reason in line.reason


def test_a_normalised_record_keeps_its_other_fields_and_its_cents() -> None:
    """Unknown fields too, numbers as they were written."""
    text = json.dumps({**GOOD, "transaction_date": "2026-11-24T10:15:30+00:00"}).replace("12.5", "12.50")
    (line,) = read(text[:-1].encode() + b', "n": 1e5, "m": {"k": 0.10}}', FileFormat.JSONL)
    assert line.outgoing is not None
    value = line.outgoing.value or b""
    assert b'"amount":12.50' in value
    assert b'"n":1e5' in value
    assert b"0.10" in value
    assert Transaction.parse(value).transaction_date == "2026-11-24T10:15:30.000Z"


def test_an_endless_line_is_one_bad_line() -> None:
    """It is not read into memory, and the next line is read as such."""
    data = b'{"a":"' + b"x" * 3_000_000 + b'"}\n' + json.dumps(GOOD).encode()
    found = read(data, FileFormat.JSONL)
    assert [(line.number, line.reason) for line in found] == [(1, "over 65536 bytes"), (2, "")]
    limit = json.dumps({**GOOD, "note": "n" * 65_536}).encode()
    assert "the limit is 65536" in read(limit, FileFormat.JSONL)[0].reason


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("t,1.0,Ada,2026-11-24T10:15:30Z,g,o,1", "account_id is not an account number"),
        ("t,1,Ada,2026-11-24T10:15:30Z,g,o,1e2", "amount is not a number"),
        ("t,1,Ada,2026-11-24T10:15:30Z,g,o,$5", "amount is not a number"),
        ('t,1,Ada,2026-11-24T10:15:30Z,g,o,"1,5"', "amount is not a number"),
        ("t,1,,2026-11-24T10:15:30Z,g,o,1", "customer_name has 0 characters"),
        ("t,1,Ada,2026-11-24 10:15:30,g,o,1", "transaction_date is not a date"),
        ("t,1,Ada,2026-11-24T10:15:30Z,g,o,1,more", "8 columns, the header has 7"),
        ('t,1,"Ada"x,2026-11-24T10:15:30Z,g,o,1', "expected after"),
    ],
)
def test_bad_rows_of_csv(row: str, reason: str) -> None:
    """The good row after it is still found, under its own number."""
    good = "t,1,Ada,2026-11-24T10:15:30Z,g,o,1.50"
    bad, fine = read(f"{HEADER}\n{row}\n{good}\n".encode(), FileFormat.CSV)
    assert (bad.number, fine.number) == (2, 3)
    assert bad.outgoing is None
    assert reason in bad.reason
    assert fine.outgoing is not None


def test_csv_in_another_encoding_is_one_bad_row() -> None:
    """The rows around it are fine."""
    rows = [f"t-{name},1,{name},2026-11-24T10:15:30Z,g,o, 007 ".replace("007", "7") for name in ("a", "é", "ü")]
    data = "\n".join([HEADER, *rows]).encode("latin-1").replace(b"\xfc", "ü".encode())
    found = read(data, FileFormat.CSV)
    reason = "not UTF-8 at byte 3 of transaction_id; add --encoding latin-1"
    assert [(line.number, line.reason) for line in found] == [(2, ""), (3, reason), (4, "")]
    assert (found[1].column, found[1].value) == ("transaction_id", "t-é")


def test_csv_columns_come_in_any_order_with_a_mark_before_them() -> None:
    """As spreadsheets write them."""
    names = [field.name for field in Transaction.FIELDS][::-1]
    data = (
        b"\xef\xbb\xbf" + ", ".join(names).encode() + b"\r\n1.5,o,g,2026-11-24T10:15:30Z,Ada,9223372036854775807,t\r\n"
    )
    (line,) = read(data, FileFormat.CSV)
    assert line.outgoing is not None
    assert Transaction.parse(line.outgoing.value).account_id == 2**63 - 1


def test_a_file_is_streamed() -> None:
    """Records go out before the file is read to its end."""
    out, into = os.pipe()
    target = FakeTarget()
    arrived = threading.Event()

    def seen(_line: Line) -> None:
        arrived.set()

    def write() -> None:
        with os.fdopen(into, "wb") as pipe:
            pipe.write(json.dumps(GOOD).encode() + b"\nbad\n")
            pipe.flush()
            assert arrived.wait(30)
            pipe.write(json.dumps(GOOD).encode())

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(out, "rb") as source:
        sent = transactions.send(
            lambda: target,
            source,
            "-",
            options=ReadOptions(),
            on_error=OnError.SKIP,
            on_invalid=seen,
            show=lambda _: None,
        )
    writer.join()
    assert (sent.delivered, sent.invalid) == (2, 1)


def test_progress_counts_records_and_bytes(tmp_path: Path) -> None:
    """Of a file the size is known."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    times = iter(range(100))
    events: list[Event] = []
    counter = Counter("send", events.append, clock=Clock(monotonic=lambda: next(times)))
    with files.opened(str(path)) as source:
        source.read(250)
        assert list(counter.count(range(3), files.reading(source))) == [0, 1, 2]
    counter.finish("3 delivered")
    assert [(event.phase, event.detail) for event in (events[0], events[-1])] == [
        (Phase.STARTED, ""),
        (Phase.DONE, "3 delivered"),
    ]
    assert events[1] == Event("send", Phase.PROGRESS, "1 so far", 250, 1000)


def test_a_pipe_has_no_size_and_is_copied_to_be_read_twice() -> None:
    """The copy starts at the beginning."""
    out, into = os.pipe()
    os.write(into, b"abc")
    os.close(into)
    with os.fdopen(out, "rb") as source:
        assert files.reading(source)() is None
        with files.rewindable(source) as again:
            assert again.read() == b"abc"
            again.seek(0)
            assert again.peek(1)[:3] == b"abc"


def test_how_sending_ended_decides_the_exit() -> None:
    """Kafka's no weighs more than Ctrl-C, and that more than invalid lines."""
    Sent(delivered=3).check()
    with pytest.raises(OperationFailed, match="1 not delivered: full"):
        Sent(delivered=3, failed=1, reasons=("full",), invalid=1, interrupted=True).check()
    with pytest.raises(KeyboardInterrupt):
        Sent(delivered=3, invalid=1, interrupted=True).check()
    with pytest.raises(NotAsAsked, match=r"1 invalid line \(7\); the others were sent"):
        Sent(delivered=3, invalid=1, invalid_lines=(7,)).check()


def test_generating_at_a_pace() -> None:
    """Evenly, and exactly as many as the time holds."""
    now, naps = [100.0], []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        now[0] += seconds

    target = FakeTarget()
    sent = transactions.generate(
        target, per_second=4, seconds=2.5, show=lambda _: None, clock=Clock(sleep=sleep, monotonic=lambda: now[0])
    )
    assert sent.delivered == 10
    assert sum(naps) == pytest.approx(9 / 4)
    assert max(naps) <= 0.1


def test_ctrl_c_ends_generating_and_says_how_many() -> None:
    """What was drawn is delivered; the second Ctrl-C would interrupt."""
    ticks = []

    def sleep(_seconds: float) -> None:
        ticks.append(1)
        if len(ticks) == 5:
            signal.raise_signal(signal.SIGINT)

    moments = iter(range(1000))
    sent = transactions.generate(
        FakeTarget(), per_second=0.25, show=lambda _: None, clock=Clock(sleep=sleep, monotonic=lambda: next(moments))
    )
    assert sent.interrupted
    assert 0 < sent.delivered < 6
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_between_two_items() -> None:
    """A signal while an item is worked on ends the stream after it; a second one interrupts at once."""
    stop = GracefulStop()
    done = []
    with stop.on_interrupt():
        for item in stop.items(range(10)):
            if item == 3:
                signal.raise_signal(signal.SIGINT)
            done.append(item)
    assert done == [0, 1, 2, 3]
    stop = GracefulStop()

    def twice() -> Iterator[None]:
        for _ in stop.items([None]):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            yield

    with stop.on_interrupt(), pytest.raises(KeyboardInterrupt):
        list(twice())


def test_what_kafka_does_not_take_is_counted() -> None:
    """The rest is delivered."""
    target = FakeTarget(records=FakeRecords(refuse=frozenset({b"1000000001"})))
    sent = transactions.generate(target, count=1000, seed=1, show=lambda _: None)
    assert sent.delivered + sent.failed == 1000
    assert sent.failed > 0
    assert sent.delivered == len(target.records.written)


def test_every_line_that_a_stray_quote_takes_in_is_named() -> None:
    """They were not sent, so they are invalid lines too: up to the next quote, the reader's limit or the end."""
    row = "t-{},1,{},2026-11-24T10:15:30Z,g,o,1.50"
    rows = [row.format(number, '"Bob' if number == 3 else "Ada") for number in range(2, 3000)]
    found = read("\n".join([HEADER, *rows]).encode(), FileFormat.CSV)
    assert sorted(line.number for line in found) == list(range(2, 3000))
    sent = {line.number for line in found if line.outgoing is not None}
    assert 2 in sent
    assert 3 not in sent
    assert next(line.reason for line in found if line.number == 4) == "inside the quotes of line 3"


def test_blank_lines_before_the_header_of_csv() -> None:
    """They do not count, as everywhere."""
    (line,) = read(f"\n\n{HEADER}\nt,1,Ada,2026-11-24T10:15:30Z,g,o,1.50\n".encode(), FileFormat.CSV)
    assert (line.number, line.reason) == (4, "")


@pytest.mark.parametrize("pace", [(math.inf, 1.0), (10.0, math.inf), (math.nan, None), (math.inf, None)])
def test_a_pace_is_a_number(pace: tuple[float, float | None]) -> None:
    """Infinity is none."""
    with pytest.raises(BadConfig, match="not a number of transactions"):
        transactions.generate(FakeTarget(), per_second=pace[0], seconds=pace[1], show=lambda _: None)
