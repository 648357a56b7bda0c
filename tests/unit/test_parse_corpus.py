"""The Flink application and `records.py` agree on what is a record, byte for byte."""

import base64
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from histories import epoch_ms
from hypothesis import given, settings
from hypothesis import strategies as st
from javatools import LineProgram, line_program

from fraudctl.pipeline import records, topics

CORPUS = [json.loads(line) for line in (Path(__file__).parents[1] / "data" / "records.jsonl").read_text().splitlines()]
KINDS = {topics.TRANSACTIONS.name: "transaction", topics.FLAGGED.name: "flag"}
GOOD = b'{"transaction_id":"t","account_id":7,"customer_name":"n","transaction_date":"2026-11-24T10:15:30.123Z",'
GOOD += b'"merchant_type":"m","transaction_type":"p","amount":1.5,"more":{"a":[1,"x\\u00e9",null]}}'


@pytest.fixture(scope="module")
def parse() -> Iterator[LineProgram]:
    """`Parse` with the rules that the application gets."""
    rules = [f"{name}={value}" for name, value in records.flink_properties().items()]
    with line_program("io.fraudctl.flink.ParseMain", *rules) as program:
        yield program


def line(kind: str, value: bytes | None) -> str:
    """Give the question for one value."""
    return f"{kind} {'null' if value is None else base64.b64encode(value).decode()}"


def value_of(case: dict[str, Any]) -> bytes | None:
    """Give the bytes of a line of the corpus."""
    if "repeat" in case:
        parts = {name: base64.b64decode(case["repeat"][f"{name}_base64"]) for name in ("prefix", "unit", "suffix")}
        return parts["prefix"] + int(case["repeat"]["times"]) * parts["unit"] + parts["suffix"]
    return None if case["value_base64"] is None else base64.b64decode(case["value_base64"])


def verdict(kind: str, value: bytes | None) -> str:
    """Give the verdict of `records.py`."""
    try:
        (records.Transaction if kind == "transaction" else records.AccountFlag).parse(value)
    except records.Malformed:
        return "malformed"
    return "good"


def test_corpus(parse: LineProgram) -> None:
    """Every line of the corpus has its verdict in Java."""
    answers = parse.ask([line(KINDS[case["topic"]], value_of(case)) for case in CORPUS])
    wrong = [
        (case["name"], answer)
        for case, answer in zip(CORPUS, answers, strict=True)
        if answer.split()[0] != case["verdict"]
    ]
    assert not wrong
    assert {answer.split()[0] for answer in answers} == {"good", "malformed"}


def reason(kind: str, value: bytes | None) -> str | None:
    """Give what `records.py` says of a malformed value; None for a good one."""
    try:
        (records.Transaction if kind == "transaction" else records.AccountFlag).parse(value)
    except records.Malformed as error:
        return str(error)
    return None


def alike(java: str, python: str | None, *, several: bool = False) -> bool:
    """Say whether both give the same reason; what two JSON parsers say of what is no JSON differs in its details.

    Where `several` things may be wrong with the JSON as such, either may be found first.
    """
    found = java.removeprefix("malformed ") if java.startswith("malformed ") else None
    syntax = ("not JSON: ", *(("a field is repeated", "nested deeper than") if several else ()))
    return found == python or ((found or "").startswith(syntax) and (python or "").startswith(syntax))


def test_reasons(parse: LineProgram) -> None:
    """Java and Python say the same of every malformed line of the corpus, and in more than a few words overall."""
    answers = parse.ask([line(KINDS[case["topic"]], value_of(case)) for case in CORPUS])
    said = [
        (case["name"], answer, expected)
        for case, answer in zip(CORPUS, answers, strict=True)
        if not alike(answer, expected := reason(KINDS[case["topic"]], value_of(case)))
    ]
    assert not said
    assert len({answer for answer in answers if answer.startswith("malformed ")}) > 40


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"\x00\x00\x00\x00\x2a\x08abcd\xd2\xf5", "Confluent wire format (magic byte 0, schema id 42), not JSON"),
        (b"\x00\xff\xff\xff\xff", "Confluent wire format (magic byte 0, schema id 4294967295), not JSON"),
        (b'{"n":"\xe9"}', "not UTF-8 at byte 7"),
        (b'{"n":"\xf0\x9f\x98', "not UTF-8 at byte 7"),
        (b"\x1f\x8b\x08\x00", "not UTF-8 at byte 2"),
        (b"\xef\xbb\xbf{}", "starts with a byte-order mark"),
        (None, "the value is null"),
        (b"[" + GOOD + b"]", "not a JSON object"),
        (b'{"before":null,"after":{},"op":"c"}', "transaction_id is missing"),
        (b"x" * 70_000, "too long: 70000 bytes, the limit is 65536"),
        (GOOD.replace(b"1.5", b'"1.5"'), "amount is not a number from 0.00 to 999999999.99 with at most two decimals"),
        (GOOD.replace(b":7,", b":9223372036854775808,"), "account_id is not an integer from 1 to 9223372036854775807"),
        (GOOD.replace(b"11-24", b"02-30"), "transaction_date is not a date: there is no such date or time"),
        (GOOD.replace(b'"2026-11-24T10:15:30.123Z"', b"1732444800000"), "transaction_date is not a string"),
        (GOOD.replace(b'"n"', b'""'), "customer_name has 0 characters, not 1 to 256"),
        (GOOD.replace(b'"t"', b'"a\\u0000"'), "transaction_id holds a control character"),
    ],
)
def test_reasons_for_people(parse: LineProgram, value: bytes | None, expected: str) -> None:
    """What other producers really send is refused in words that say what it is, the same in both."""
    assert reason("transaction", value) == expected
    assert parse.ask([line("transaction", value)]) == [f"malformed {expected}"]


def test_what_is_kept_of_a_transaction(parse: LineProgram) -> None:
    """Java keeps the account, the date and the id of a transaction, and its bytes as they are."""
    for case in CORPUS:
        if case["verdict"] != "good" or KINDS[case["topic"]] != "transaction":
            continue
        value = value_of(case)
        assert value is not None
        expected = records.Transaction.parse(value)
        _, kind, account, date, text, kept = parse.ask([line("transaction", value)])[0].split(" ")
        assert (kind, int(account), int(date)) == ("1", expected.account_id, epoch_ms(expected.transaction_date)), case
        assert base64.b64decode(text).decode() == expected.transaction_id, case
        assert base64.b64decode(kept) == value, case


def test_what_is_kept_of_a_flag_event(parse: LineProgram) -> None:
    """Java keeps the members that a detection carries, under their names there and equal after decoding."""
    for case in CORPUS:
        if case["verdict"] != "good" or KINDS[case["topic"]] != "flag":
            continue
        expected = records.AccountFlag.parse(value_of(case))
        _, kind, account, date, _, kept = parse.ask([line("flag", value_of(case))])[0].split(" ")
        assert kind == ("2" if expected.status is records.Status.FLAGGED else "3"), case
        assert (int(account), int(date)) == (expected.account_id, epoch_ms(expected.flag_date)), case
        members = json.loads(b"{" + base64.b64decode(kept) + b"}")
        copied = {field.name: field.copied_from for field in records.OWN_FIELDS if field.copied_from}
        assert members == {new: getattr(expected, old) for new, old in copied.items()}, case


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good transaction with a few bytes replaced, removed or put in."""
    value = bytearray(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(value) - 1))
        piece = draw(
            st.sampled_from(
                [
                    b"",
                    b'"',
                    b"\\",
                    b"\\u00e9",
                    b"\\ud800",
                    b"0",
                    b"-",
                    b".",
                    b"e",
                    b"{",
                    b"}",
                    b"[",
                    b"]",
                    b",",
                    b":",
                    b" ",
                    b"\x00",
                    b"\x7f",
                    b"\xc0\xaf",
                    b"\xed\xa0\x80",
                    b"\xef\xbb\xbf",
                    "é😀".encode(),
                    b"null",
                    b"NaN",
                    b'"amount":1,',
                ]
            )
        )
        value[at : at + draw(st.integers(0, 2))] = piece
    return bytes(value)


@settings(max_examples=2000)
@given(value=st.one_of(damaged(), st.binary(max_size=40)))
def test_damaged_bytes(parse: LineProgram, value: bytes) -> None:
    """Whatever happens to the bytes, Java's verdict is that of `records.py`."""
    for kind in KINDS.values():
        answer = parse.ask([line(kind, value)])[0]
        assert answer.split()[0] == verdict(kind, value)
        assert alike(answer, reason(kind, value), several=True)


@settings(max_examples=1000)
@given(
    name=st.sampled_from([*(field.name for field in records.Transaction.FIELDS), "more", "flag_date"]),
    text=st.one_of(
        st.decimals(allow_nan=False, allow_infinity=False).map(str),
        st.decimals(Decimal(-1), Decimal(1_000_000_001), places=3).map(str),
        st.integers().map(str),
        st.datetimes().map(lambda moment: f'"{moment.isoformat(timespec="milliseconds")}Z"'),
        st.from_regex(r'"[0-2]\d\d\d-[01]\d-[0-3]\dT[0-2]\d:[0-6]\d:[0-6]\d\.\d{2,3}Z"', fullmatch=True),
        st.text(max_size=300).map(json.dumps),
        st.text(st.characters(categories=["Cs", "Cc", "Lu"]), max_size=3).map(json.dumps),
    ),
)
def test_values(parse: LineProgram, name: str, text: str) -> None:
    """Whatever JSON text a field has, Java's verdict is that of `records.py`."""
    whole = json.loads(GOOD)
    whole.pop(name, None)
    value = json.dumps(whole)[:-1].encode() + f',"{name}":{text}}}'.encode()
    answer = parse.ask([line("transaction", value)])[0]
    assert answer.split()[0] == verdict("transaction", value)
    assert alike(answer, reason("transaction", value), several=True)
