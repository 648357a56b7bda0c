"""What a back-test has detected, on disk: counted, summed, and the largest of what changed."""

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final, Self

from fraudctl.services.flags.quick import Seen, amount

AS_IT_WAS: Final = 1
WITH_LIST: Final = 2
DETECTED, ADDED, REMOVED, THEN = "detected", "added", "removed", "with the list"
_SIDES: Final = {
    DETECTED: f"bits & {AS_IT_WAS}",
    ADDED: f"bits = {WITH_LIST}",
    REMOVED: f"bits = {AS_IT_WAS}",
    THEN: f"bits & {WITH_LIST}",
}
_AT_ONCE: Final = 5_000
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Tally:
    """How many transactions, of how many accounts, their sum, and how many an hour: the median and the most."""

    transactions: int
    accounts: int
    amount: Decimal
    hour_p50: int
    hour_max: int


@dataclass(frozen=True, slots=True)
class Change:
    """A transaction that only one of the two detects; `reason` is that of the flag."""

    change: str
    seen: Seen
    published: int
    reason: str | None


class Found:
    """Detected transactions, each once."""

    def __init__(self, file: Path) -> None:
        """Make the file; raises OSError and what sqlite3 raises."""
        self._connection = sqlite3.connect(file)
        self._connection.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-65536;"
            "CREATE TABLE found (account INTEGER, date INTEGER, id TEXT, published INTEGER, cents INTEGER,"
            " merchant TEXT, reason TEXT, bits INTEGER, PRIMARY KEY (account, date, id)) WITHOUT ROWID"
        )
        self._new: list[tuple[int, int, str, int, int, str, str | None, int]] = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._connection.close()

    def add(self, seen: Seen, published: int, bits: int, reason: str | None) -> None:
        """Keep a transaction; of its copies, what any of them was detected by counts."""
        self._new.append((seen.account, seen.date, seen.id, published, seen.cents, seen.merchant, reason, bits))
        if len(self._new) >= _AT_ONCE:
            self._flush()

    def tallies(self, hours: Collection[int]) -> dict[str, Tally]:
        """Return a tally of what was detected, added and removed, and of what the list detects.

        `hours` are those that transactions were published in, in hours since 1970: hours without a detection count too.
        """
        self._flush()
        found = {}
        for name, condition in _SIDES.items():
            counts, accounts, cents = self._connection.execute(
                f"SELECT count(*), count(DISTINCT account), coalesce(sum(cents), 0) FROM found WHERE {condition}"  # noqa: S608 - the conditions above
            ).fetchone()
            each = self._connection.execute(
                f"SELECT count(*) FROM found WHERE {condition} GROUP BY published / {_HOUR_MS} ORDER BY 1"  # noqa: S608
            )
            by_hour = [number for (number,) in each]
            ranked = [0] * (len(hours) - len(by_hour)) + by_hour
            middle = ranked[(len(ranked) - 1) // 2] if ranked else 0
            found[name] = Tally(counts, accounts, amount(cents), middle, max(by_hour, default=0))
        return found

    def changes(self, most: int) -> list[Change]:
        """Return at most so many that were added, then removed: the largest amounts, of equal ones the latest."""
        self._flush()
        found = []
        for name in (ADDED, REMOVED):
            rows = self._connection.execute(
                "SELECT account, date, id, cents, merchant, published, reason FROM found"  # noqa: S608
                f" WHERE {_SIDES[name]} ORDER BY cents DESC, published DESC, account, id LIMIT ?",
                (most,),
            )
            found += [Change(name, Seen(*row[:5]), *row[5:]) for row in rows]
        return found

    def _flush(self) -> None:
        self._connection.executemany(
            "INSERT INTO found VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET bits = bits | excluded.bits, reason = coalesce(reason, excluded.reason)",
            self._new,
        )
        self._new.clear()
