"""Sample transactions: twenty customers, each always with the same name, who shop, travel and draw cash."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from fraudctl.pipeline.records import Kind, Status, Transaction, format_date, key

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


# A plausible value for a field that the scenes know nothing of, by its kind.
_VALUES: Final = {
    Kind.ACCOUNT: "1",
    Kind.COUNT: "0",
    Kind.IDENTIFIER: '"sample"',
    Kind.TEXT: '"sample"',
    Kind.DATE: '"%(date)s"',
    Kind.AMOUNT: "1.00",
    Kind.STATUS: f'"{Status.CLEARED}"',
}


def _scene(account: int, name: str, merchant: _Merchant, payment: str) -> _Scene:
    known = {
        "transaction_id": '"%(number)032x"',
        "account_id": str(account),
        "customer_name": json.dumps(name).replace("%", "%%"),
        "transaction_date": '"%(date)s"',
        "merchant_type": json.dumps(merchant.kind),
        "transaction_type": json.dumps(payment),
        "amount": "%(whole)d.%(cents)02d",
    }
    fields = (f'"{field.name}":{known.get(field.name, _VALUES[field.kind])}' for field in Transaction.FIELDS)
    template = f"{{{','.join(fields)}}}"
    return _Scene(merchant.lowest, merchant.highest - merchant.lowest, key(account), template.encode())


_SCENES: Final = tuple(
    _scene(account, name, merchant, payment)
    for account, name in CUSTOMERS.items()
    for merchant in _MERCHANTS
    for payment in merchant.payments
)


def stream(rng: Random, clock: Callable[[], int] = time.time_ns) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, JSON) of transactions that happen as they are drawn, without end.

    `clock` gives epoch nanoseconds. Built for speed: several hundred thousand a second on one core.
    """
    last_ms, date = -1, b""
    while True:
        now_ms = clock() // 1_000_000
        if now_ms != last_ms:
            moment = datetime.fromtimestamp(now_ms // 1000, UTC) + timedelta(milliseconds=now_ms % 1000)
            last_ms, date = now_ms, format_date(moment).encode()
        scene = _SCENES[int(rng.random() * len(_SCENES))]
        number = rng.getrandbits(128)
        # Squared, because small amounts are more common than large ones.
        whole, cents = divmod(scene.lowest + int(rng.random() ** 2 * scene.span), 100)
        drawn = {b"number": number, b"date": date, b"whole": whole, b"cents": cents}
        yield scene.key, scene.template % drawn
