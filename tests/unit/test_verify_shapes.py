"""The fast way to read a record or a row says what decoding it says."""

import base64
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fakes import detection
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.pipeline import audit_table
from fraudctl.pipeline.audit_table import AuditRow
from fraudctl.pipeline.dates import date_milliseconds
from fraudctl.pipeline.records import FlaggedTransaction, Malformed, Transaction
from fraudctl.services.verify import shapes

CORPUS = [json.loads(line) for line in (Path(__file__).parents[1] / "data" / "records.jsonl").read_text().splitlines()]
BYTES = detection(1).to_json()


def value_of(case: dict[str, Any]) -> bytes | None:
    """Give the bytes of a line of the corpus."""
    if "repeat" in case:
        parts = {name: base64.b64decode(case["repeat"][f"{name}_base64"]) for name in ("prefix", "unit", "suffix")}
        return parts["prefix"] + int(case["repeat"]["times"]) * parts["unit"] + parts["suffix"]
    return None if case["value_base64"] is None else base64.b64decode(case["value_base64"])


def slowly(value: bytes | None) -> object:
    """Decode and check a detection; give what is wrong with one that is none."""
    try:
        return shapes.detected(FlaggedTransaction.parse(value))
    except Malformed as error:
        return str(error)


def fast(value: bytes | None) -> object:
    """Read a detection."""
    try:
        return shapes.detection(value)
    except Malformed as error:
        return str(error)


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case["name"])
def test_every_line_of_the_corpus(case: dict[str, Any]) -> None:
    """Malformed or not, as a transaction."""
    value = value_of(case)
    try:
        found = Transaction.parse(value)
    except Malformed as error:
        with pytest.raises(Malformed, match=re.escape(str(error))):
            shapes.transaction(value)
        return
    known = (shapes.identity(found), date_milliseconds(found.transaction_date), shapes.digest(found))
    assert shapes.transaction(value) == known


def test_the_usual_form_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what makes it fast."""
    whole, value = slowly(BYTES), detection(1).to_json()
    monkeypatch.setattr(FlaggedTransaction, "parse", None)
    monkeypatch.setattr(Transaction, "parse", None)
    assert shapes.detection(value) == whole
    transaction = Transaction(**{name: getattr(detection(1), name) for name in TRANSACTION}).to_json()
    assert shapes.transaction(transaction)[0] == (7, "2026-11-24T10:00:01.000Z", "t-1")


TRANSACTION = [field.name for field in Transaction.FIELDS]


@given(st.integers(0, len(BYTES) - 1), st.integers(0, 2), st.binary(max_size=3) | st.sampled_from([b'"', b"0", b"}"]))
def test_a_spoiled_detection(at: int, cut: int, new: bytes) -> None:
    """Whatever is put in place of some of its bytes."""
    value = BYTES[:at] + new + BYTES[at + cut :]
    assert fast(value) == slowly(value)


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=20),
    st.none() | st.text(max_size=5).filter(lambda text: text.isprintable()),
    st.decimals(0, 999_999_999, places=2),
    st.sampled_from([None, '{"more":[1.50,{"b":null}]}']),
)
def test_a_row_says_what_its_detection_says(name: str, reason: str | None, amount: Decimal, extra: str | None) -> None:
    """In DynamoDB's types, which drop zeros."""
    found = detection(1, customer_name=name, flag_reason=reason, amount=amount, extra=extra)
    item = audit_table.item(found, 1_795_478_400_000, 2, 9)
    wire = {
        name: {"S": value} if isinstance(value, str) else {"N": format(Decimal(value).normalize(), "f")}
        for name, value in item.items()
    }
    assert shapes.item(wire) == shapes.detected(found) == shapes.detected(AuditRow.from_item(item))
    assert shapes.detection(found.to_json()) == shapes.detected(found)
    assert shapes.place(wire) == (2, 9)


def test_a_row_that_somebody_has_spoiled_is_a_row() -> None:
    """It differs from every record, whatever is wrong with it."""
    key: dict[str, dict[str, object]] = {
        "account_id": {"N": "7"},
        "transaction_key": {"S": "2026-11-24T10:00:01.000Z#t-1"},
    }
    assert shapes.item(key).identity == (7, "", "")
    assert shapes.place(key) == (-1, -1)
    strange: dict[str, dict[str, object]] = {
        **key,
        "account_id": {"N": "1" * 30},
        "amount": {"BOOL": True},
        "flag_offset": {"N": "-1.5"},
        "processed_offset": {"S": "x"},
        "extra": {"S": "no JSON"},
    }
    assert shapes.item(strange).flag == (-1, -1)
    assert shapes.item(strange).identity[0] == -1
    assert shapes.place(strange) == (-1, -1)
