"""The records: the corpus, and what survives a way through JSON."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from corpus import LINES, Line
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.pipeline import records
from fraudctl.pipeline.records import AccountFlag, FlaggedTransaction, Malformed, Status, Transaction

PLAIN = {
    "transaction_id": "t-1",
    "account_id": 1000000001,
    "customer_name": "Ada Lovelace",
    "transaction_date": "2026-11-24T10:15:30.123Z",
    "merchant_type": "Grocery",
    "transaction_type": "Purchase",
    "amount": 12.5,
}
DETECTED = PLAIN | {
    "flag_date": "2026-11-24T10:00:00.000Z",
    "flag_reason": "stolen card",
    "flagged_by": "ada",
    "transaction_partition": 0,
    "transaction_offset": 2**63 - 1,
    "flag_partition": 3,
    "flag_offset": 0,
}


RECORD: dict[str, type[Transaction] | type[AccountFlag]] = {
    "demo_transactions": Transaction,
    "flagged_accounts": AccountFlag,
}


def transaction(**changes: Any) -> Transaction:
    """Parse a plain transaction with some fields changed."""
    return Transaction.parse(json.dumps(PLAIN | changes).encode())


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_every_line_of_the_corpus_gets_its_verdict(line: Line) -> None:
    """A good record is read, a malformed one is refused with a reason that is safe to print."""
    record = RECORD[line.topic]
    if line.verdict == "good":
        assert record.parse(line.value).account_id >= 1
        return
    with pytest.raises(Malformed) as refused:
        record.parse(line.value)
    assert str(refused.value).isprintable()


def test_the_corpus_is_whole() -> None:
    """The corpus has unique names, both verdicts for both records, and at least the 800 lines it was written with."""
    assert len({line.name for line in LINES}) == len(LINES) >= 800
    kinds = {(line.topic, line.verdict) for line in LINES}
    assert kinds == {(topic, verdict) for topic in RECORD for verdict in ("good", "malformed")}


@pytest.mark.parametrize("line", [line for line in LINES if line.verdict == "good"], ids=lambda line: line.name)
def test_good_records_survive_json(line: Line) -> None:
    """Written and read again a record is equal, its unknown fields included, and its JSON does not change any more."""
    record = RECORD[line.topic]
    first = record.parse(line.value)
    # Not `parse`: in ASCII a record of the largest size may have grown beyond the limit.
    second = record.checked(records.decode(first.to_json().decode()))
    assert second.values() == first.values()
    assert second.to_json() == first.to_json()


@pytest.mark.parametrize("line", [line for line in LINES if line.verdict == "good"], ids=lambda line: line.name)
def test_json_says_the_same_as_before(line: Line) -> None:
    """A general JSON reader finds in the written record the fields and values of the original one."""
    assert line.value is not None

    def read(text: bytes) -> Any:
        return json.loads(text, parse_float=Decimal, parse_int=Decimal)

    assert read(RECORD[line.topic].parse(line.value).to_json()) == read(line.value)


@pytest.mark.parametrize(
    ("written", "read", "again"),
    [
        ("0", "0.00", "0.00"),
        ("12.5", "12.50", "12.50"),
        ("999999999.99", "999999999.99", "999999999.99"),
        ("100000000.1", "100000000.10", "100000000.10"),
        ("0.3", "0.30", "0.30"),
    ],
)
def test_amounts_are_decimal_with_two_places(written: str, read: str, again: str) -> None:
    """An amount is exact, has two decimals in memory and in JSON, and is never a float."""
    text = json.dumps(PLAIN).replace('"amount": 12.5', f'"amount": {written}')
    record = Transaction.parse(text.encode())
    assert (str(record.amount), type(record.amount)) == (read, Decimal)
    assert record.to_json().endswith(f'"amount":{again}}}'.encode())


@given(st.decimals(min_value=0, max_value=Decimal("999999999.99"), places=2))
def test_every_amount_survives(amount: Decimal) -> None:
    """Any amount of whole cents is written and read without loss."""
    record = Transaction(**{**transaction().values(), "amount": abs(amount)})
    assert Transaction.parse(record.to_json()).amount == abs(amount)


@given(st.datetimes(), st.integers(-14 * 60, 14 * 60))
def test_every_moment_is_formatted_in_utc(moment: datetime, minutes: int) -> None:
    """A date with any zone becomes UTC in milliseconds, cut and not rounded, and is read back as that."""
    zone = timezone(timedelta(minutes=minutes))
    try:
        text = records.format_date(moment.replace(tzinfo=zone))
    except OverflowError:
        return  # before year 1 or after 9999 in UTC
    read = records.parse_date(text)
    assert timedelta() <= moment.replace(tzinfo=zone) - read < timedelta(milliseconds=1)
    assert read.utcoffset() == timedelta()


def test_unknown_fields_are_kept_together() -> None:
    """Unknown fields lie in `extra` as one JSON object, in their order and with their numbers as written."""
    text = json.dumps(PLAIN)[:-1] + ',"z":1.50,"a":{"b":[1e400,null]},"extra":2}'
    record = Transaction.parse(text.encode())
    assert record.extra == '{"z":1.50,"a":{"b":[1e400,null]},"extra":2}'
    assert record.to_json().endswith(b'"amount":12.50,"z":1.50,"a":{"b":[1e400,null]},"extra":2}')
    assert transaction().extra is None


def test_a_detection_keeps_unknown_fields_too() -> None:
    """A detection carries the transaction's unknown fields and takes offsets over the whole range."""
    record = FlaggedTransaction.parse(json.dumps(DETECTED | {"other": [1]}).encode())
    assert (record.extra, record.transaction_offset, record.flag_offset) == ('{"other":[1]}', 2**63 - 1, 0)
    assert FlaggedTransaction.parse(record.to_json()) == record


@pytest.mark.parametrize("name", sorted(DETECTED))
def test_a_detection_needs_every_field(name: str) -> None:
    """A detection without one of its fields is malformed, and the message names it."""
    with pytest.raises(Malformed, match=f"{name} is missing"):
        FlaggedTransaction.parse(json.dumps({key: value for key, value in DETECTED.items() if key != name}).encode())


@pytest.mark.parametrize(("name", "value"), [("flag_offset", -1), ("transaction_partition", 1.0), ("flag_offset", "1")])
def test_places_are_counts(name: str, value: object) -> None:
    """Partitions and offsets are integers from 0 on."""
    with pytest.raises(Malformed, match=name):
        FlaggedTransaction.parse(json.dumps(DETECTED | {name: value}).encode())


def test_the_largest_transaction_fits_into_a_detection() -> None:
    """What may be 64 KiB as a transaction is a good detection with the fields that are added to it."""
    filler = "x" * (records.MAX_VALUE_BYTES - len(json.dumps(PLAIN | {"other": ""})))
    largest = json.dumps(PLAIN | {"other": filler}).encode()
    assert len(largest) == records.MAX_VALUE_BYTES
    extra = Transaction.parse(largest).extra
    detection = FlaggedTransaction.parse(json.dumps(DETECTED | {"other": filler}).encode())
    assert detection.extra == extra


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("2026-11-24T11:15:30+01:00", "2026-11-24T10:15:30.000Z"),
        ("2026-11-24T10:15:30.123456Z", "2026-11-24T10:15:30.123Z"),
        ("2026-11-24 10:15:30Z", "2026-11-24T10:15:30.000Z"),
        ("2026-11-24T10:15:30.123Z", "2026-11-24T10:15:30.123Z"),
        ("2026-11-24T10:15:30", "2026-11-24T10:15:30"),
        ("0999-01-01T00:00:00+00:00", "0999-01-01T00:00:00.000Z"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"),
        ("9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59-14:00"),
        ("yesterday", "yesterday"),
        ("", ""),
    ],
)
def test_dates_with_a_zone_are_normalised(text: str, normal: str) -> None:
    """A date that names its zone becomes a record's date; whatever does not is left for the check to refuse."""
    assert records.normalise_date(text) == normal


def test_keys_are_decimal() -> None:
    """A key is the account in decimal ASCII."""
    assert records.key(9223372036854775807) == b"9223372036854775807"


def test_statuses_are_typed() -> None:
    """A flag's status is one of two, and is written as its plain word."""
    flag = AccountFlag(
        account_id=1, flag_date="2026-11-24T10:00:00.000Z", status=Status.CLEARED, reason=None, flagged_by="ada"
    )
    assert AccountFlag.parse(flag.to_json()) == flag
    assert b'"status":"CLEARED","reason":null' in flag.to_json()


def test_flink_gets_every_field_of_both_inputs() -> None:
    """The properties name each field with its rule, the detection's own names, and the limits."""
    properties = records.flink_properties()
    assert properties["fields.transaction"].split(",")[0] == "transaction_id:identifier:1:128:set"
    assert "reason:text:0:256:null" in properties["fields.flag"].split(",")
    assert len(properties["fields.transaction"].split(",")) == 7
    assert (properties["max.value.bytes"], properties["max.depth"]) == ("65536", "64")


def test_a_moment_without_zone_is_no_bug_of_the_format() -> None:
    """Formatting goes by the moment's zone: the same moment in two zones is one text."""
    utc = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert records.format_date(utc) == records.format_date(utc.astimezone(timezone(timedelta(hours=2))))
