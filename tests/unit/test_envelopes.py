"""Records as `fraudctl tail -o json` prints them, made records again."""

import base64
import io
import json
from typing import Any

import pytest
from fakes import FakeRecords, FakeTarget, record
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.errors import BadConfig
from fraudctl.pipeline import topics
from fraudctl.pipeline.kafka import UNREADABLE_HEADERS
from fraudctl.pipeline.reader import Record
from fraudctl.services import envelopes, replay, transaction_file, transactions
from fraudctl.services.read_options import FileFormat, OnError, ReadOptions
from fraudctl.services.record_formats import JsonLines
from fraudctl.target import Outgoing

PLACE = '"topic":"t","partition":0,"offset":7,"timestamp":null'
TRANSACTION = (
    b'{"transaction_id":"t-1","account_id":1000000001,"customer_name":"Ada",'
    b'"transaction_date":"2026-11-24T10:15:30.123Z","merchant_type":"Grocery","transaction_type":"Online",'
    b'"amount":12.50,"more":[1.10, 123456789012345678901234567890]}'
)


def envelope(**parts: str) -> bytes:
    """A line with these members as they are written."""
    members = {"key": '"k"', "value": '"v"', "headers": "{}", **parts}
    written = ",".join(f'"{name}":{part}' for name, part in members.items())
    return f"{{{PLACE},{written}}}".encode()


def tailed(*records: Record) -> list[bytes]:
    """The lines that `tail -o json` prints."""
    return JsonLines().lines(records).splitlines()


def send(content: bytes, topic: topics.Topic = topics.TRANSACTIONS, **options: Any) -> tuple[list[Outgoing], list[str]]:
    """Send a file; gives what was written and why lines were left out."""
    target, invalid = FakeTarget(records=FakeRecords()), []
    transactions.send(
        lambda: target,
        io.BufferedReader(io.BytesIO(content)),
        "file.jsonl",
        options=ReadOptions(**options),
        on_error=OnError.SKIP,
        on_invalid=lambda line: invalid.append(f"{line.place}: {line.text}"),
        show=lambda _: None,
        topic=topic,
    )
    assert target.records.topic == topic.name
    return target.records.written, invalid


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"not JSON",
        b'"quoted',
        b"\xff\x00",
        b"12.50",
        b'{"a":12.50,"b":123456789012345678901234567890}',
        b"[1, 2]",
        "Zoë".encode(),
        b" {} ",
    ],
    ids=repr,
)
def test_a_value_survives_both_ways(value: bytes | None) -> None:
    """Digits, blanks inside, bytes that are no text; a tombstone is not an empty value."""
    (line,) = tailed(record(0, value))
    found = envelopes.opened(line)
    assert found is not None
    assert found.value == (value if value != b" {} " else b"{}")  # blanks around it are no part of the document


def test_keys_and_headers_survive_both_ways() -> None:
    """Binary ones, null, names that occur again."""
    headers = (("a", b"1"), ("a", b"\xff"), ("a", None), ("b", None), ("é", b""))
    for key in (None, b"", b"\x00\xff", "Zoë".encode(), b"1000000001"):
        (line,) = tailed(record(0, b"{}", key=key, headers=headers))
        assert envelopes.opened(line) == Outgoing(key, b"{}", headers)


@given(
    st.none() | st.binary(max_size=40),
    st.none() | st.text(max_size=40).map(lambda text: json.dumps({"a": text}, ensure_ascii=False).encode()),
    st.lists(st.tuples(st.sampled_from("ab"), st.none() | st.binary(max_size=8)), max_size=5),
)
def test_every_record_survives_both_ways(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    """As far as names of headers stand together, which is all that the document says; text may be escaped otherwise."""
    ordered = tuple(sorted(headers, key=lambda header: [name for name, _ in headers].index(header[0])))
    (line,) = tailed(record(0, value, key=key, headers=ordered))
    found = envelopes.opened(line)
    assert found is not None
    assert (found.key, found.headers) == (key, ordered)
    assert (found.value is None) is (value is None)
    assert json.loads(found.value or b"0") == json.loads(value or b"0")


def test_base64_goes_before_the_text() -> None:
    """Whatever the text says; null there is null."""
    coded = json.dumps(base64.b64encode(b"\xfe").decode())
    found = envelopes.opened(
        envelope(key_base64=coded, value_base64=coded, headers_base64='{"h":[null,"/g=="]}', headers='{"h":["x","y"]}')
    )
    assert found == Outgoing(b"\xfe", b"\xfe", (("h", None), ("h", b"\xfe")))


@pytest.mark.parametrize(
    "line",
    [
        TRANSACTION,
        b"",
        b"[]",
        b'{"topic":"t"}',
        envelope() + b" x",
        envelope(key='"k","key":"l"'),
        envelope(value="NaN"),
        envelope(value="{1}"),
        envelope(transaction_id='"t-1"'),
        envelope(value="[" * 100_000 + "]" * 100_000),
        b"\xff" + envelope(),
    ],
    ids=lambda line: line[:40],
)
def test_what_is_no_envelope(line: bytes) -> None:
    """It may be a transaction; whoever checks those says what is wrong."""
    assert envelopes.opened(line) is None


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (envelope(key="5"), "key is neither a string nor null"),
        (envelope(key_base64='"?"'), "key_base64 is not base64"),
        (envelope(value_base64="5"), "value_base64 is not base64"),
        (envelope(headers="[]"), "headers is not an object"),
        (envelope(headers='{"h":5}'), "header h is neither a string nor null"),
        (envelope(headers='{"h":"x"}', headers_base64='{"h":"?"}'), "header h is not base64"),
        (envelope(headers=json.dumps({UNREADABLE_HEADERS: None})), "headers could not be read"),
        (envelope(key="1" * 5000), "digits"),
    ],
    ids=lambda given: str(given)[-40:],
)
def test_what_cannot_be_read_is_said(line: bytes, why: str) -> None:
    """With the member it is about; the line is left out."""
    with pytest.raises(envelopes.BadEnvelope, match=why):
        envelopes.opened(line)
    for topic in (topics.PROCESSED, topics.TRANSACTIONS):
        written, (invalid,) = send(line, topic)
        assert written == []
        assert why in invalid


def test_a_slice_of_the_transactions_is_sent_again_byte_for_byte() -> None:
    """Its key and headers too, checked as any transaction; beside lines that are transactions themselves."""
    key, headers = b"other", (("trace", b"1"),)
    lines = tailed(
        record(0, TRANSACTION, key=key, headers=headers),
        record(1, TRANSACTION.replace(b"12.50", b"-1")),
        record(2, None),
        record(3, b"no JSON"),
    )
    written, invalid = send(b"\n".join([*lines, TRANSACTION]))
    assert written == [Outgoing(key, TRANSACTION, headers), Outgoing(b"1000000001", TRANSACTION)]
    assert [text.partition(":")[0] for text in invalid] == ["line 2", "line 3", "line 4"]
    assert "tombstone" in invalid[1]


def test_a_json_array_of_records_is_read_too() -> None:
    """As `jq -s` makes it."""
    lines = tailed(record(0, TRANSACTION), record(1, TRANSACTION))
    written, invalid = send(b"[" + b",\n".join(lines) + b"]")
    assert ([one.value for one in written], invalid) == ([TRANSACTION, TRANSACTION], [])


def test_with_a_mapping_columns_are_what_the_mapping_says() -> None:
    """No record is looked for inside."""
    checked = transaction_file._Checker(ReadOptions(mapping=None))
    assert checked.json(1, tailed(record(0, TRANSACTION))[0]).outgoing == Outgoing(b"1000000001", TRANSACTION)


def test_other_topics_get_records_as_they_are() -> None:
    """Nothing is checked but that they are records; anything else is left out."""
    lines = tailed(record(0, b"\xff", key=None), record(1, None, headers=(("h", b"1"), ("h", b"2"))))
    written, invalid = send(b"\n".join([*lines, b"", TRANSACTION, b"junk"]), topics.DEAD_LETTERS)
    assert written == [Outgoing(None, b"\xff"), Outgoing(b"1000000001", None, (("h", b"1"), ("h", b"2")))]
    assert invalid == [
        "line 4: not a record as `fraudctl tail -o json` prints it",
        "line 5: not a record as `fraudctl tail -o json` prints it",
    ]


@pytest.mark.parametrize(
    ("options", "paced", "name"),
    [
        ({"file_format": FileFormat.CSV}, False, "--format csv"),
        ({"delimiter": ";"}, False, "--delimiter"),
        ({}, True, "--pace"),
    ],
    ids=str,
)
def test_options_of_transactions_do_not_go_with_other_topics(options: dict[str, Any], paced: Any, name: str) -> None:
    """Said before anything is read."""
    with pytest.raises(BadConfig, match=name):
        replay.check(topics.PROCESSED, ReadOptions(**options), paced=paced)
    replay.check(topics.PROCESSED, ReadOptions(file_format=FileFormat.JSONL), paced=False)
