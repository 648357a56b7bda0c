"""Tail: what the options mean, and how records look to programs."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from fakes import record
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.clock import Clock
from fraudctl.errors import BadConfig
from fraudctl.pipeline import topics
from fraudctl.pipeline.reader import Record, Records
from fraudctl.services import tail
from fraudctl.services.latency import Latency
from fraudctl.services.record_fields import Cells
from fraudctl.services.record_formats import JsonLines, Sheet, raw_lines, unescaped
from fraudctl.services.record_lines import AlignedLines, ChosenLines
from fraudctl.services.tail_options import Order, TailOptions
from fraudctl.tables import short_time
from fraudctl.target import From, Range

MIXED = (("mixed", b"a"), ("mixed", None), ("mixed", b"\x80"))
NOW = 1_790_000_000.5


def lines(*records: Record) -> list[Any]:
    """Write records as JSON Lines and read them again."""
    text = JsonLines().lines(records)
    assert text.endswith(b"\n")
    assert JsonLines().lines(Records("demo_transactions", list(records))) == text  # thousands at once, the same bytes
    return [json.loads(line) for line in text.splitlines()]


def line(seen: Record) -> str:
    """Return a record's line for people."""
    (text,) = AlignedLines().lines([seen])
    return text


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, Range(From.NOW)),
        ({"last": 3}, Range(From.LAST, count=3, follow=False)),
        ({"last": 3, "follow": True}, Range(From.LAST, count=3)),
        ({"last": 3, "most": 2}, Range(From.LAST, count=3, follow=False, limit=2)),
        ({"from_beginning": True}, Range(From.BEGINNING)),
        ({"from_beginning": True, "follow": False}, Range(From.BEGINNING, follow=False)),
        ({"since": "10s"}, Range(From.TIME, since=1_789_999_990_500)),
        ({"since": "10s", "follow": False}, Range(From.TIME, since=1_789_999_990_500, follow=False)),
        (
            {"since": "10s", "until": "5s"},
            Range(From.TIME, since=1_789_999_990_500, until=1_789_999_995_500, follow=False),
        ),
        ({"until": "5s"}, Range(From.BEGINNING, until=1_789_999_995_500, follow=False)),
        ({"until": "2026-09-21T14:13:21Z"}, Range(From.NOW, until=1_790_000_001_000)),
        ({"offsets": "0:7,3:1"}, Range(From.OFFSETS, offsets={0: 7, 3: 1})),
        ({"offsets": "0:7,3:1", "partitions": (3,)}, Range(From.OFFSETS, offsets={3: 1}, partitions=frozenset({3}))),
        ({"duration": "1m30s", "most": 4}, Range(From.NOW, limit=4, seconds=90.0)),
        ({"expect": 3}, Range(From.NOW, limit=3, seconds=30.0)),
        ({"expect": 3, "timeout": "2s", "duration": "5s"}, Range(From.NOW, limit=3, seconds=2.0)),
        ({"last": 2, "until": "5s"}, Range(From.LAST, count=2, until=1_789_999_995_500, follow=False)),
    ],
    ids=str,
)
def test_options_become_a_range(options: dict[str, Any], wanted: Range) -> None:
    """From now on by default; whatever has an end by itself does not follow."""
    found = tail.prepare(topics.PROCESSED, TailOptions(**options), clock=lambda: NOW).range
    assert found == replace(wanted, by_time=True)


@pytest.mark.parametrize(
    "options",
    [
        {"last": 1, "from_beginning": True},
        {"last": 1, "since": "1h"},
        {"from_beginning": True, "since": "1h"},
        {"follow": False},
        {"since": "1h", "until": "2h"},
        {"offsets": "0:1", "last": 1},
        {"offsets": "0"},
        {"offsets": "0:1,0:2"},
        {"offsets": "0:1", "partitions": (2,)},
        {"account": "7", "key": "8"},
        {"grep": "("},
        {"sample": "1"},
        {"sample": "0%"},
        {"where": "amount >"},
        {"why_not": True},
        {"timeout": "5s"},
        {"duration": "5"},
    ],
    ids=str,
)
def test_options_that_contradict_each_other(options: dict[str, Any]) -> None:
    """Are refused with a hint."""
    with pytest.raises(BadConfig) as raised:
        tail.prepare(topics.PROCESSED, TailOptions(**options))
    assert raised.value.hint


@pytest.mark.parametrize(
    "value",
    [
        b'{"amount":12.50}',
        b'{"amount": 999999999.99, "big": 123456789012345678901234567890}',
        b"12.50",
        b'"text"',
        b"null",
        b'[{"a":[]}]',
        '{"name":"Chloé 漢字 👍🏽"}'.encode(),
    ],
)
def test_json_values_are_spliced_byte_for_byte(value: bytes) -> None:
    """No number passes through a float."""
    assert JsonLines().lines([record(1, value)]).endswith(b'"headers":{},"value":' + value + b"}\n")
    assert lines(record(1, value))


@pytest.mark.parametrize(
    "value", [b"", b"text", b"{", b"NaN", b'{"a":1}x', b'{"a":1},"b":2', b'"\n"', b"'", b'{"a":1}{', b"01", b'"a\x00"']
)
def test_what_is_no_json_becomes_a_string(value: bytes) -> None:
    """The document around it stays valid, one line, the text whole."""
    (document,) = lines(record(1, value))
    assert document["value"] == value.decode()
    assert base64.b64decode(document["value_base64"]) == value  # JSON's "text" has none
    assert set(document) == {"topic", "partition", "offset", "timestamp", "key", "headers", "value", "value_base64"}


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        (r'{"a":"Chlo\u00e9"}', '{"a":"Chloé"}'),
        (r'{"a":"\\u00e9"}', r'{"a":"\\u00e9"}'),
        (r'{"a":"\\\u00E9"}', r'{"a":"\\é"}'),
        (r'{"a":"\ud83d\udc4d"}', '{"a":"👍"}'),
        (r'{"a":"\u001b\u009b\u0022"}', r'{"a":"\u001b\u009b\u0022"}'),
    ],
)
def test_letters_are_not_escaped(written: str, spelled: str) -> None:
    """The same JSON, as people read it; what could drive a terminal stays escaped."""
    assert unescaped(written) == spelled


@pytest.mark.parametrize("value", [r'{"a":"Chlo\u00e9"}', '{"a":"Chloé"}', r'{"a":"\ud83d\udc4d"}'])
def test_a_value_is_not_rewritten(value: str) -> None:
    """Letters or escapes, as they lie in the topic."""
    assert JsonLines().lines([record(1, value.encode())]).decode().endswith(f'"value":{value}}}\n')
    assert lines(record(1, value.encode()))


def test_what_is_no_utf_8_comes_in_base64_too() -> None:
    """Not a byte is lost."""
    (document,) = lines(record(1, b'\xff\xfe{"a"}'))
    assert base64.b64decode(document["value_base64"]) == b'\xff\xfe{"a"}'
    assert "xff" in document["value"]


def test_nothing_is_null() -> None:
    """Key, value and time may be missing; a header's value too."""
    (document,) = lines(record(1, None, key=None, timestamp=None, headers=(("error", None), ("topic", b"t"))))
    assert (document["key"], document["value"], document["timestamp"]) == (None, None, None)
    assert document["tombstone"] is True
    assert "tombstone" not in lines(record(1, b"null"))[0]
    assert document["headers"] == {"error": None, "topic": "t"}


def test_a_key_that_is_no_utf_8_comes_in_base64_too() -> None:
    """So that it differs from the text that looks the same."""
    binary, written = lines(record(1, b"1", key=b"\xff\x00\x01"), record(2, b"1", key=b"\\xff\x00\x01"))
    assert binary["key"] == written["key"]
    assert base64.b64decode(binary["key_base64"]) == b"\xff\x00\x01"
    assert "key_base64" not in written


def test_headers_that_repeat_or_are_no_utf_8() -> None:
    """All values of a name, in their order; those of names with bytes that are no text, exactly, in base64."""
    headers = (("trace", b"one"), ("bin", b"\xff\xfe"), ("trace", b"two"), ("nul", None), *MIXED)
    (document,) = lines(record(1, b"1", headers=headers))
    assert document["headers"] == {
        "trace": ["one", "two"],
        "bin": "\\xff\\xfe",
        "nul": None,
        "mixed": ["a", None, "\\x80"],
    }
    assert document["headers_base64"] == {"bin": "//4=", "mixed": ["YQ==", None, "gA=="]}
    assert set(document) == {"topic", "partition", "offset", "timestamp", "key", "headers", "headers_base64", "value"}


def test_line_ends_between_tokens_become_blanks() -> None:
    """One document stays one line."""
    text = JsonLines().lines([record(1, b'{\r\n\t"a":\n1}'), record(2, '{\n\t"é":\t"\u202e"}'.encode())])
    assert text.count(b"\n") == 2
    assert json.loads(text.splitlines()[1])["value"] == {"é": "\u202e"}
    assert b"\r" not in text
    assert json.loads(text.splitlines()[0])["value"] == {"a": 1}


anything = st.one_of(st.binary(max_size=40), st.text(max_size=20).map(str.encode), st.none())
json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.lists(st.tuples(anything, anything), max_size=5))
def test_any_bytes_give_one_safe_document_each(pairs: list[tuple[bytes | None, bytes | None]]) -> None:
    """Whatever lies in Kafka: valid JSON Lines, nothing a terminal obeys."""
    text = JsonLines().lines([record(number, value, key=key) for number, (key, value) in enumerate(pairs)]).decode()
    documents = [json.loads(line) for line in text.split("\n")[:-1]]
    assert [document["offset"] for document in documents] == list(range(len(pairs)))
    assert not set(text) & {
        *map(chr, range(0x0A)),
        *map(chr, range(0x0B, 0x20)),
        *map(chr, range(0x7F, 0xA0)),
        "\u2028",
    }


@given(json_value)
def test_escapes_and_letters_mean_the_same(value: Any) -> None:
    """Whatever was escaped."""
    assert lines(record(1, json.dumps(value).encode()))[0]["value"] == value


@given(json_value, st.booleans())
def test_any_json_keeps_its_meaning(value: Any, pretty: Any) -> None:
    """Escapes for the terminal's sake change the spelling only."""
    spelled = json.dumps(value, ensure_ascii=False, indent=1 if pretty else None)
    try:
        encoded = spelled.encode()
    except UnicodeEncodeError:  # an unpaired surrogate has no UTF-8
        return
    assert lines(record(1, encoded))[0]["value"] == value


@given(anything, st.sampled_from(["demo_transactions", "flagged_accounts", "processed_topic", "dead_letters"]))
def test_people_get_a_line_for_any_bytes(value: bytes | None, topic: str) -> None:
    """What cannot be read is quoted."""
    assert line(record(1, value, topic=topic)).startswith(f"{short_time('2026-09-21T14:13:21.000Z')}  ")


def test_a_long_value_is_cut_for_people() -> None:
    """And how much is missing is said."""
    assert line(record(1, b"x" * 1000)).endswith("xxx' and 600 more bytes")


def test_times_change_from_record_to_record() -> None:
    """The spelled time is reused for the same millisecond only."""
    found = lines(*(record(0, b"1", timestamp=moment) for moment in (0, 0, 1, None, 1, 999_999_999_999)))
    assert [document["timestamp"] for document in found] == [
        "1970-01-01T00:00:00.000Z",
        "1970-01-01T00:00:00.000Z",
        "1970-01-01T00:00:00.001Z",
        None,
        "1970-01-01T00:00:00.001Z",
        "2001-09-09T01:46:39.999Z",
    ]


@pytest.mark.parametrize("value", [b"null", b"[]", b'{"a":1}'])
def test_people_see_fields_of_any_kind(value: bytes) -> None:
    """Malformed records are what one looks for: null or a list where text should be is shown, not fatal."""
    transaction = (
        b'{"account_id":%s,"amount":1.00,"merchant_type":"m","customer_name":"c","transaction_id":"x"}' % value
    )
    assert "account_id" in line(record(0, transaction))
    flag = b'{"account_id":1,"status":%s,"flag_date":"d","flagged_by":"f"}' % value
    assert "flagged_by" in line(record(0, flag, topic="flagged_accounts"))


def test_a_timestamp_that_is_no_date_is_shown_as_it_is() -> None:
    """A producer may write nanoseconds for milliseconds."""
    strange = record(0, b"{}", timestamp=1_764_000_000_000_000_000)
    assert line(strange).startswith("1764000000000000000  ")
    assert lines(strange)[0]["timestamp"] == "1764000000000000000"


def sent(account: int, merchant: str, name: str, number: str) -> bytes:
    """Return a transaction as it lies on the topic."""
    return json.dumps(
        {
            "transaction_id": number,
            "account_id": account,
            "amount": 12.5,
            "merchant_type": merchant,
            "customer_name": name,
        }
    ).encode()


def test_columns_widen_with_what_they_show() -> None:
    """Names of 30 characters, and the widest account, stay in line with their batch and with what follows."""
    batches = [
        [sent(1, "Grocery", "Ada", "AAA"), sent(2**63 - 1, "M" * 30, "N" * 30, "AAA")],
        [sent(7, "Fuel", "Bo", "AAA")],
    ]
    formatted = AlignedLines()
    shown = [text for values in batches for text in formatted.lines([record(1, value) for value in values])]
    assert len(shown) == 3
    assert len({text.index("AAA") for text in shown}) == 1, shown
    assert len({text.index("12.5") for text in shown}) == 1, shown
    assert shown[2].split() == [*short_time("2026-09-21T14:13:21.000Z").split(), "7", "12.5", "Fuel", "Bo", "AAA"]


def test_a_very_long_value_moves_only_its_own_line() -> None:
    """Fields may have 256 characters; the columns of all others stay readable."""
    formatted = AlignedLines()
    formatted.lines([record(1, sent(1, "M" * 256, "Ada", "AAA"))])
    (after,) = formatted.lines([record(1, sent(1, "Fuel", "Ada", "AAA"))])
    assert len(after) < 150


def test_flags_are_aligned_too() -> None:
    """Their columns are their own."""
    flags = [
        json.dumps({"account_id": account, "status": "CLEARED", "flag_date": "D", "flagged_by": "bo"}).encode()
        for account in (1, 2**63 - 1)
    ]
    shown = AlignedLines().lines([record(1, value, topic="flagged_accounts") for value in flags])
    assert len({text.index("CLEARED  from D  by bo") for text in shown}) == 1, shown


def kept(*records: Record, **options: Any) -> list[int]:
    """Return the offsets of the records that the filters of a tail keep."""
    keep = tail.prepare(topics.TRANSACTIONS, TailOptions(**options)).range.keep
    assert keep is not None
    return [records[index].offset for index in keep(Records("demo_transactions", list(records)))]


def test_the_filters_of_a_tail() -> None:
    """By key, by account, by the value as text, by its fields and by the record; together, all have to hold."""
    records = (
        record(1, b'{"amount":12.50,"merchant_type":"Grocery"}', key=b"7"),
        record(2, b'{"amount":600.00,"merchant_type":"Grocery"}', key=b"8"),
        record(3, None, key=b"8"),
        record(4, b"\xff amount", key=None),
    )
    assert kept(*records, key="8") == [2, 3]
    assert kept(*records, account="7") == [1]
    assert kept(*records, grep="am.unt") == [1, 2, 4]
    assert kept(*records, where="amount > 500") == [2]
    assert kept(*records, where="record.offset >= 2 and record.key is not null") == [2, 3]
    assert kept(*records, where='merchant_type like "Gr%"', key="7") == [1]
    assert kept(*records, sample="100%") == [1, 2, 3, 4]


def test_a_sample_takes_whole_accounts() -> None:
    """The same ones each time, about as many as were asked for."""
    records = [record(n, b"1", key=b"%d" % (n % 1000)) for n in range(3000)]
    found = kept(*records, sample="10%")
    accounts = {n % 1000 for n in found}
    assert sorted(found) == [n for n in range(3000) if n % 1000 in accounts]
    assert 70 < len(accounts) < 130


def test_why_not_names_the_first_clause_that_stops_a_record() -> None:
    """Nothing is filtered then."""
    options = TailOptions(where="amount > 5 and amount < 9", account="7", why_not=True)
    ready = tail.prepare(topics.TRANSACTIONS, options)
    assert ready.range.keep is None
    stopped = [ready.stopped_by(record(1, b'{"amount":%d}' % amount, key=b"7")) for amount in (1, 6, 10)]
    assert stopped == ["amount > 5", None, "amount < 9"]
    assert ready.stopped_by(record(1, b"{}", key=b"8")) == "--account 7"
    assert ready.rest == ("--where", "amount > 5 and amount < 9", "--account", "7", "--why-not")


CHOSEN = Cells.of("account_id, amount,merchant.city,record.offset,headers.trace,missing")
NESTED = record(
    3, b'{"account_id":9007199254740993,"amount":12.50,"merchant":{"city":"\xc3\xa9"}}', headers=(("trace", b"a"),)
)


def test_chosen_fields_in_every_format() -> None:
    """Of the value, inside it and of the record; numbers keep their digits."""
    document = b'{"account_id":9007199254740993,"amount":12.50,"merchant.city":"\xc3\xa9","record.offset":3,'
    assert JsonLines(CHOSEN).lines([NESTED]) == document + b'"headers.trace":"a","missing":null}\n'
    assert Sheet("t", CHOSEN).columns == CHOSEN.names
    assert list(Sheet("t", CHOSEN).row(NESTED).values()) == ["9007199254740993", "12.50", "é", 3, "a", None]
    heading, shown = ChosenLines(CHOSEN).lines([NESTED])
    assert heading.split() == list(CHOSEN.names)
    assert shown.split() == ["9007199254740993", "12.50", "é", "3", "a"]
    assert set(Cells.of("account_id").row(record(1, b"\xff")).values()) == {None}
    with pytest.raises(BadConfig):
        Cells.of("a,,b")


def test_decimal_points_stand_below_each_other() -> None:
    """Whatever the number of digits behind them."""
    values = [b'{"amount":1.5}', b'{"amount":1234.25}', b'{"amount":7}']
    _, *shown = ChosenLines(Cells.of("amount,record.offset")).lines(
        [record(n, value) for n, value in enumerate(values)]
    )
    assert shown[0].index(".") == shown[1].index(".")
    assert shown[2].index("7") == shown[0].index("1")


def test_csv_marks_what_a_cell_cannot_say() -> None:
    """Nothing, an empty value and JSON's null; bytes that are no text are in base64."""
    sheet = Sheet("dead_letters")
    marks = [sheet.row(record(1, value, topic="dead_letters"))["marks"] for value in (None, b"", b"null", b"1")]
    assert marks == ["tombstone", "empty", "null", None]
    row = sheet.row(record(1, b"\xff", topic="dead_letters", key=b"\xfe", headers=(("h", b"\xfd"),)))
    assert (row["value"], row["key"], row["headers"]) == ("/w==", "/g==", '{"h":"/Q=="}')
    assert row["marks"] == "key:base64 value:base64 headers:base64"


@given(st.lists(anything, max_size=8))
def test_raw_values_are_the_bytes_with_line_ends(values: list[bytes | None]) -> None:
    """As kcat writes them: of a tombstone, the line end alone."""
    records = Records("t", [record(n, value) for n, value in enumerate(values)])
    assert raw_lines(records) == b"".join((value or b"") + b"\n" for value in values)
    assert raw_lines(list(records)) == raw_lines(records)


def test_latency_is_from_the_transaction_to_the_broker() -> None:
    """Percentiles by nearest rank, to the millisecond; what has no date counts as a record only."""
    now = [0.0]
    latency = Latency(Clock(monotonic=lambda: now[0]))
    made = datetime(2026, 11, 24, 10, 15, 30, tzinfo=UTC)
    at = int(made.timestamp() * 1000)
    value = b'{"transaction_date":"2026-11-24T10:15:30.000Z"}'
    latency.add([record(n, value, timestamp=at + n) for n in range(1, 101)])
    latency.add([record(1, b"x"), record(2, None), record(3, value, timestamp=None)])
    now[0] = 2.0
    assert latency.due(2.0)
    expected = "103 records, 52 a second; from transaction to detection p50 50 ms, p95 95 ms, p99 99 ms"
    assert latency.line() == expected
    assert not latency.due(2.0)
    assert latency.line().startswith("0 records, 0 a second")
    assert latency.total() == f"In 2 s: {expected}"


def test_order_of_a_tail() -> None:
    """Merged by time, unless speed is asked for."""
    found = tail.prepare(topics.PROCESSED, TailOptions(order=Order.PARTITION))
    assert not found.range.by_time
