"""Sample transactions: good records, drawn evenly, the same in both forms."""
# ruff: noqa: S311 - seeds make the draws repeatable

from collections import Counter
from decimal import Decimal
from itertools import islice
from random import Random

from fraudctl.pipeline import records, samples
from fraudctl.pipeline.records import Transaction

NOW_NS = 1_795_515_330_123_456_789


def drawn(number: int, seed: int) -> list[Transaction]:
    """That many transactions, as they are read."""
    return [Transaction.parse(value) for _, value in islice(samples.stream(Random(seed), lambda: NOW_NS), number)]


def test_samples_are_written_as_records_write_themselves() -> None:
    """The fast stream writes byte for byte what a record does, under the account's key."""
    for key, value in islice(samples.stream(Random(7), lambda: NOW_NS), 2000):
        transaction = Transaction.parse(value)
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
    found = drawn(10_000, 3)
    number = Counter(transaction.account_id for transaction in found)
    assert sorted(number) == list(range(1000000001, 1000000021))
    assert min(number.values()) > 350
    names = {(transaction.account_id, transaction.customer_name) for transaction in found}
    assert names == set(samples.CUSTOMERS.items())
    assert len(set(samples.CUSTOMERS.values())) == 20


def test_ids_are_unique() -> None:
    """No id comes twice, and each has 32 hexadecimal digits."""
    ids = {transaction.transaction_id for transaction in drawn(10_000, 5)}
    assert len(ids) == 10_000
    assert all(len(transaction_id) == 32 for transaction_id in ids)


def test_only_the_first_ten_are_flagged_by_chance() -> None:
    """Accounts 1000000011 to 1000000020 are never drawn for flagging."""
    assert tuple(range(1000000001, 1000000011)) == samples.FLAGGABLE
