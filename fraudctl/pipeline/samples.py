"""Sample transactions: twenty customers, each always with the same name, who shop, travel and draw cash."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from operator import itemgetter
from random import Random
from typing import Final

from fraudctl.pipeline.dates import format_milliseconds
from fraudctl.pipeline.fields import Field, Kind, Status, dump
from fraudctl.pipeline.records import Transaction, key

CUSTOMERS: Final = {
    1000000001: "Amelia Hart",
    1000000002: "Benjamin Okafor",
    1000000003: "Chloé Marchand",
    1000000004: "Daniel Petrov",
    1000000005: "Elena Rossi",
    1000000006: "Farid Haddad",
    1000000007: "Grace Lindqvist",
    1000000008: "Hiroshi Tanaka",
    1000000009: "Isabel Duarte",
    1000000010: "Jakub Nowak",
    1000000011: "Katharina Weiß",
    1000000012: "Liam O'Connell",
    1000000013: "Mei Chen",
    1000000014: "Noah Bergström",
    1000000015: "Olivia Mbeki",
    1000000016: "Priya Raman",
    1000000017: "Quentin Dubois",
    1000000018: "Rosa Jiménez",
    1000000019: "Samuel Adeyemi",
    1000000020: "Tove Halvorsen",
}
# The accounts that flagging without arguments draws from: the others stay clean, so there is something to compare with.
FLAGGABLE: Final = tuple(account for account in CUSTOMERS if account <= 1000000010)  # noqa: PLR2004 - an account


@dataclass(frozen=True, slots=True)
class _Merchant:
    """A kind of merchant, the ways to pay there, and the span of its amounts in cents."""

    kind: str
    payments: tuple[str, ...]
    lowest: int
    highest: int


_MERCHANTS: Final = (
    _Merchant("Grocery", ("Card Present", "Contactless"), 150, 18_000),
    _Merchant("Restaurant", ("Card Present", "Contactless"), 600, 25_000),
    _Merchant("Fuel", ("Card Present",), 1_500, 14_000),
    _Merchant("Pharmacy", ("Card Present", "Contactless"), 300, 9_000),
    _Merchant("Online Retail", ("Online", "Recurring"), 500, 90_000),
    _Merchant("Electronics", ("Card Present", "Online"), 2_000, 250_000),
    _Merchant("Travel", ("Online",), 4_000, 400_000),
    _Merchant("Entertainment", ("Online", "Recurring", "Contactless"), 499, 20_000),
    _Merchant("ATM", ("Withdrawal",), 2_000, 50_000),
    _Merchant("Jewelry", ("Card Present", "Online"), 5_000, 800_000),
)


@dataclass(frozen=True, slots=True)
class _Scene:
    """Who pays whom and how; all of a transaction's JSON but its id, date and amount."""

    lowest: int
    span: int
    key: bytes
    template: bytes


def _drawn(field: Field) -> tuple[str, tuple[int, ...]]:
    """Return how a field that differs in each draw is written: a format, and which of id, date, units, cents it takes.

    Every date is the moment of the draw. The format of a field that stays the same in a scene is empty.
    """
    if field.name == "transaction_id":
        return '"%032x"', (0,)
    if field.name == "amount":
        return "%d.%02d", (2, 3)
    return ('"%s"', (1,)) if field.kind is Kind.DATE else ("", ())


def _scene(number: int, account: int, name: str, merchant: _Merchant, payment: str) -> _Scene:
    known = {
        "account_id": account,
        "customer_name": name,
        "merchant_type": merchant.kind,
        "transaction_type": payment,
    }

    def value(field: Field) -> str:
        constant = known[field.name] if field.name in known else made_up(field, number)
        return _drawn(field)[0] or dump(constant).replace("%", "%%")

    members = ",".join(f"{dump(field.name)}:{value(field)}" for field in Transaction.FIELDS)
    return _Scene(merchant.lowest, merchant.highest - merchant.lowest, key(account), f"{{{members}}}".encode())


def made_up(field: Field, number: int) -> str | int | Decimal:
    """Return a good value, by kind and lengths, for a field that the scenes do not know; `number` is the scene's."""
    match field.kind:
        case Kind.ACCOUNT:
            return number + 1
        case Kind.COUNT:
            return number
        case Kind.AMOUNT:
            return Decimal(number).scaleb(-2)
        case Kind.DATE:
            return format_milliseconds(number)
        case Kind.STATUS:
            return list(Status)[number % len(Status)].value
        case _:
            return f"{field.name} {number}".rjust(field.shortest, "0")[-field.longest :]


_SCENES: Final = tuple(
    _scene(number, *parts)
    for number, parts in enumerate(
        (account, name, merchant, payment)
        for account, name in CUSTOMERS.items()
        for merchant in _MERCHANTS
        for payment in merchant.payments
    )
)
# Puts id, date, units and cents into the order of the fields.
_ARRANGED: Final = itemgetter(*(place for field in Transaction.FIELDS for place in _drawn(field)[1]))


def stream(rng: Random, clock: Callable[[], int] = time.time_ns) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, JSON) of transactions that happen as they are drawn, without end.

    `clock` returns epoch nanoseconds. Built for speed: several hundred thousand a second on one core.
    """
    last_ms, date = -1, b""
    while True:
        now_ms = clock() // 1_000_000
        if now_ms != last_ms:
            last_ms, date = now_ms, format_milliseconds(now_ms).encode()
        scene = _SCENES[int(rng.random() * len(_SCENES))]
        number = rng.getrandbits(128)
        # Squared, because small amounts are more common than large ones.
        units, cents = divmod(scene.lowest + int(rng.random() ** 2 * scene.span), 100)
        yield scene.key, scene.template % _ARRANGED((number, date, units, cents))
