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
        assert members == {own.name: getattr(expected, own.flag) for own in records.OWN_FIELDS if own.flag}, case


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
        assert parse.ask([line(kind, value)])[0].split()[0] == verdict(kind, value)


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
    assert parse.ask([line("transaction", value)])[0].split()[0] == verdict("transaction", value)
