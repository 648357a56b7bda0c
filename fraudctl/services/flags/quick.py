"""Transactions read as fast as Python can: by a pattern for the layout that programs write, else by the rules."""

import re
from decimal import Decimal
from operator import itemgetter
from typing import Final, NamedTuple

from fraudctl.pipeline.dates import date_milliseconds
from fraudctl.pipeline.records import Field, Kind, Malformed, Transaction

_ASCII: Final = r"[ !#-\[\]-~]"
# Letters beyond ASCII in UTF-8, surrogates left out (RFC 3629, section 4).
_LETTER: Final = (
    r"(?:[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    r"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})"
)
_OTHERS: Final = {
    Kind.STATUS: '"(FLAGGED|CLEARED)"',
    Kind.DATE: r'"(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z)"',
    Kind.ACCOUNT: r"([1-9]\d{0,17})",
    Kind.COUNT: r"(0|[1-9]\d{0,17})",
    Kind.AMOUNT: r"((?:0|[1-9]\d{0,8})(?:\.\d\d?)?)",
}


def usual(field: Field) -> str:
    """Return a pattern of bytes for a field's value as programs write it, with the value as its only group.

    It is narrower than the field's rule: no escapes, and lengths counted in bytes. Whether a date exists is not told.
    """
    if field.kind in _OTHERS:
        return _OTHERS[field.kind]
    if field.kind is Kind.TEXT and field.shortest <= 1:
        return rf'"(?=[^"]{{{field.shortest},{field.longest}}}")({_ASCII}*(?:{_LETTER}{_ASCII}*)*)"'
    # An identifier has no control characters, of which UTF-8 has some beyond ASCII.
    return rf'"({_ASCII}{{{field.shortest},{field.longest}}})"'


_FIELDS: Final = [field.name for field in Transaction.FIELDS]
# Every field once, in their order, and none besides.
_PLAIN: Final = re.compile(
    ("\\{" + ", ?".join(f'"{field.name}": ?{usual(field)}' for field in Transaction.FIELDS) + "\\}").encode()
)
_TAKEN: Final = itemgetter(
    *map(_FIELDS.index, ("account_id", "transaction_date", "transaction_id", "amount", "merchant_type"))
)


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
    account, date, identifier, amount, merchant = _TAKEN(found.groups())
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
