"""Transactions read as fast as Python can: by a pattern for the layout that programs write, else by the rules."""

import re
from decimal import Decimal
from typing import Final, NamedTuple

from fraudctl.pipeline.dates import date_milliseconds
from fraudctl.pipeline.records import Kind, Malformed, Transaction

# Narrower than the rules: ASCII without escapes, fields in their order and none besides. Whatever it does not match
# goes the long way, twenty times as long.
_TEXT: Final = r'"(?P<%s>[ !#-\[\]-~]{%d,%d})"'
_PATTERNS: Final = {
    Kind.ACCOUNT: r"(?P<%s>[1-9]\d{0,17})",
    Kind.DATE: r'"(?P<%s>\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z)"',
    Kind.AMOUNT: r"(?P<%s>(?:0|[1-9]\d{0,8})(?:\.\d\d?)?)",
}


def _pattern() -> re.Pattern[bytes]:
    fields = (
        f'"{field.name}": ?'
        + (
            pattern % field.name
            if (pattern := _PATTERNS.get(field.kind)) is not None
            else _TEXT % (field.name, field.shortest, field.longest)
        )
        for field in Transaction.FIELDS
    )
    return re.compile(rf"\{{{', ?'.join(fields)}\}}".encode())


_PLAIN: Final = _pattern()


class Seen(NamedTuple):
    """What the rule and a count need of a transaction: `date` in epoch milliseconds, `cents` is the amount."""

    account: int
    date: int
    id: str
    cents: int
    merchant: str


def read(value: bytes | None) -> Seen:
    """Return a transaction from its bytes; raises `Malformed` exactly where `Transaction.parse` does."""
    found = _PLAIN.fullmatch(value or b"")
    if found is None:
        return _slowly(value)
    account, date, identifier, amount, merchant = found.group(
        "account_id", "transaction_date", "transaction_id", "amount", "merchant_type"
    )
    try:
        moment = date_milliseconds(date.decode())
    except ValueError as error:
        raise Malformed("transaction_date is not a date: there is no such date or time") from error
    whole, _, fraction = amount.partition(b".")
    cents = int(whole) * 100 + int(fraction.ljust(2, b"0"))
    return Seen(int(account), moment, identifier.decode(), cents, merchant.decode())


def amount(cents: int) -> Decimal:
    """Return so many hundredths as an amount with two decimals."""
    return Decimal(cents).scaleb(-2)


def _slowly(value: bytes | None) -> Seen:
    found = Transaction.parse(value)
    return Seen(
        found.account_id,
        date_milliseconds(found.transaction_date),
        found.transaction_id,
        int(found.amount.scaleb(2)),
        found.merchant_type,
    )
