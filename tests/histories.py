"""Random histories of accounts, made by seed: what the rule is tried on, and the same as records for Kafka."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from oracle import HOLD_MS, Flag, Transaction

from fraudctl.pipeline import records

ACCOUNTS = 8
_DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class History:
    """Transactions and flag events of some accounts, each list in the order of publication."""

    transactions: list[Transaction]
    flags: list[Flag]


def history(seed: int, *, start: int, span: int, hold: int = HOLD_MS) -> History:
    """Make the history of `seed`, published from `start` on (epoch milliseconds) over `span` milliseconds.

    Every seed has accounts of its own, of which some are never flagged and one has over 64 flag events.
    """
    dice = random.Random(seed)  # noqa: S311 - not for secrets
    accounts = range(1_000_000 + seed * ACCOUNTS, 1_000_000 + (seed + 1) * ACCOUNTS)
    dates = [start - _DAY_MS + dice.randrange(2 * _DAY_MS) for _ in range(20)]

    def moment() -> int:
        return start + dice.randrange(span)

    def date(published: int) -> int:
        return dice.choice([published, published, dice.choice(dates), published - dice.randrange(3 * hold)])

    flags, transactions = list[Flag](), list[Transaction]()
    for account in accounts:
        events = dice.choice([0, 1, 1, 2, 5, 12]) if account != accounts[0] else 80
        flags += [
            Flag(published, account, date(published), dice.random() < 0.6, f"case {seed}-{number}")
            for number, published in enumerate(moment() for _ in range(events))
        ]
        transactions += [
            Transaction(published, account, date(published), f"t-{seed}-{number}")
            for number, published in enumerate(moment() for _ in range(40))
        ]
    for flag in dice.sample(flags, min(len(flags), 20)):  # near a flag event, where the rule has its edges
        for offset in (0, -1, 1, -hold, -hold - 1, 1 - hold):
            published = max(start, flag.published + offset)
            near = f"near-{flag.reason}-{offset}"
            transactions.append(Transaction(published, flag.account, flag.date + dice.choice([-1, 0, 1, 5000]), near))
    for copied in dice.sample(transactions, len(transactions) // 8):
        later = copied.published + dice.choice([0, 1, 1000, hold, hold + 1, 2 * hold])
        transactions.append(copied._replace(published=later))
    return History(sorted(transactions, key=_published), sorted(flags, key=_published))


def _published(event: Transaction | Flag) -> int:
    return event.published


def iso(moment: int) -> str:
    """Format epoch milliseconds as the records have dates."""
    return records.format_date(datetime.fromtimestamp(moment // 1000, UTC).replace(microsecond=moment % 1000 * 1000))


def epoch_ms(date: str) -> int:
    """Read a record's date as epoch milliseconds."""
    return round(records.parse_date(date).timestamp() * 1000)


def transaction_json(transaction: Transaction) -> bytes:
    """Give the transaction's bytes on Kafka."""
    return records.Transaction(
        transaction_id=transaction.id,
        account_id=transaction.account,
        customer_name="Zoë 😀",
        transaction_date=iso(transaction.date),
        merchant_type="Grocery",
        transaction_type="Purchase",
        amount=Decimal("12.50"),
    ).to_json()


def flag_json(flag: Flag) -> bytes:
    """Give the flag event's bytes on Kafka."""
    return records.AccountFlag(
        account_id=flag.account,
        flag_date=iso(flag.date),
        status=records.Status.FLAGGED if flag.flagged else records.Status.CLEARED,
        reason=flag.reason,
        flagged_by="tests",
    ).to_json()


def messages(history: History) -> Iterator[tuple[str, int, int, bytes | None]]:
    """Give every record as (topic, publish time, account, bytes): the transactions, then the flag events."""
    for transaction in history.transactions:
        yield "transactions", transaction.published, transaction.account, transaction_json(transaction)
    for flag in history.flags:
        yield "flagged", flag.published, flag.account, flag_json(flag)
