"""Sample transactions: good records, drawn evenly, the same in both forms."""
# ruff: noqa: S311 - seeds make the draws repeatable

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from random import Random

from fraudctl.pipeline import records, samples
from fraudctl.pipeline.records import Transaction

NOW = datetime(2026, 11, 24, 10, 15, 30, 123_456, tzinfo=UTC)
NOW_NS = 1_795_515_330_123_456_789


def test_both_forms_are_the_same_transactions() -> None:
    """The fast stream writes byte for byte what the records write, draw by draw."""
    one, other = Random(7), Random(7)
    for key, value in islice(samples.stream(one, lambda: NOW_NS), 2000):
        transaction = samples.transaction(other, NOW)
        assert value == transaction.to_json()
        assert key == records.key(transaction.account_id)


def test_samples_are_good_records() -> None:
    """Every sample passes the check that all input has to pass, with the date of its moment."""
    for _, value in islice(samples.stream(Random(1), lambda: NOW_NS), 2000):
        transaction = Transaction.parse(value)
        assert transaction.transaction_date == "2026-11-24T10:15:30.123Z"
        assert transaction.extra is None
        assert transaction.amount >= Decimal("1.00")


def test_the_date_follows_the_clock() -> None:
    """A new millisecond gives a new date, also over a second's end."""
    moments = iter([1_795_515_330_998_999_999, 1_795_515_330_999_000_000, 1_795_515_331_000_000_000])
    values = [value for _, value in islice(samples.stream(Random(1), lambda: next(moments)), 3)]
    assert [Transaction.parse(value).transaction_date[-6:] for value in values] == ["0.998Z", "0.999Z", "1.000Z"]


def test_all_customers_come_and_keep_their_names() -> None:
    """The twenty accounts come about equally often, each with one name and no other."""
    drawn = [samples.transaction(rng, NOW) for rng in [Random(3)] for _ in range(10_000)]
    number = Counter(transaction.account_id for transaction in drawn)
    assert sorted(number) == list(range(1000000001, 1000000021))
    assert min(number.values()) > 350
    names = {(transaction.account_id, transaction.customer_name) for transaction in drawn}
    assert names == set(samples.CUSTOMERS.items())
    assert len(set(samples.CUSTOMERS.values())) == 20


def test_ids_are_unique() -> None:
    """No id comes twice, and each has 32 hexadecimal digits."""
    rng = Random(5)
    ids = {samples.transaction(rng, NOW).transaction_id for _ in range(10_000)}
    assert len(ids) == 10_000
    assert all(len(transaction_id) == 32 for transaction_id in ids)


def test_only_the_first_ten_are_flagged_by_chance() -> None:
    """Accounts 1000000011 to 1000000020 are never drawn for flagging."""
    assert tuple(range(1000000001, 1000000011)) == samples.FLAGGABLE
