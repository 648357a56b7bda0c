"""What is detected, stated as plainly as can be: the rule that the Flink application is held against.

Two lists of records in, a set of results out. Nothing here is fast, keeps state or knows the order of reading.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

KEPT_FLAGS = 64
HOLD_MS = 60_000
SLACK_MS = 5_000


class Transaction(NamedTuple):
    """A transaction as the rule sees it; times are epoch milliseconds, `published` is Kafka's timestamp."""

    published: int
    account: int
    date: int
    id: str

    @property
    def identity(self) -> tuple[int, int, str]:
        """What makes two records copies of one transaction."""
        return self.account, self.date, self.id


class Flag(NamedTuple):
    """A flag event as the rule sees it; a list of them is in the order of their partition."""

    published: int
    account: int
    date: int
    flagged: bool
    reason: str


Identity = tuple[int, int, str]
Result = tuple[Identity, int, str]


def in_force(flags: Sequence[Flag], date: int) -> Flag | None:
    """Give the flag event in force at `date`: of the last 64, the latest at or before it; of two alike, the later."""
    candidates = [flag for flag in flags[-KEPT_FLAGS:] if flag.date <= date]
    return max(reversed(candidates), key=lambda flag: flag.date, default=None)


def outcome(transaction: Transaction, flags: Sequence[Flag], known: int, hold: int = HOLD_MS) -> Flag | None:
    """Give the flag event that detects it: decided with the first `known`, then with one more each time."""
    reaching = sum(flag.published <= transaction.published + hold for flag in flags)
    forces = (in_force(flags[:count], transaction.date) for count in range(known, reaching + 1))
    return next((flag for flag in forces if flag and flag.flagged), None)


def detections(transactions: Iterable[Transaction], flags: Sequence[Flag], hold: int = HOLD_MS) -> set[Result]:
    """Give exactly what a replay emits; copies within `hold` of the first one emitted give nothing."""
    results, silent_until = set(), dict[Identity, int]()
    for t in sorted(transactions, key=lambda transaction: transaction.published):
        own = [flag for flag in flags if flag.account == t.account]
        found = outcome(t, own, sum(flag.published <= t.published for flag in own), hold)
        if found and t.published > silent_until.get(t.identity, -1):
            silent_until[t.identity] = t.published + hold
            results.add((t.identity, found.date, found.reason))
    return results


def accepted(
    transaction: Transaction, flags: Sequence[Flag], hold: int = HOLD_MS, slack: int = SLACK_MS
) -> set[tuple[int, str] | None]:
    """Give every right outcome of a live decision, as (flag_date, reason), None for "not detected".

    Decided with any of the account's flag events published up to the transaction, but with all that are older by
    `slack`; between a flag event and a transaction of the same millisecond either order is right.
    """
    own = [flag for flag in flags if flag.account == transaction.account]
    least = sum(flag.published <= transaction.published - slack for flag in own)
    most = sum(flag.published <= transaction.published for flag in own)
    found = (outcome(transaction, own, known, hold) for known in range(least, most + 1))
    return {(flag.date, flag.reason) if flag else None for flag in found}
