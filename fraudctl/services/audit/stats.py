"""Count and sum audit rows by account, merchant, type, reason, hour or day."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from fraudctl.pipeline.audit_table import AuditRow
from fraudctl.services.audit.by import By

_HOUR: Final = len("2026-11-24T10")
_DAY: Final = len("2026-11-24")


@dataclass(slots=True)
class Group:
    """The rows with one value: how many, the sum of their amounts, and their accounts."""

    value: str
    count: int = 0
    amount: Decimal = Decimal(0)
    accounts: set[int] = field(default_factory=set)

    def add(self, row: AuditRow) -> None:
        """Count a row."""
        self.count += 1
        self.amount += row.amount or 0  # None in a row from before the field was there
        self.accounts.add(row.account_id)


@dataclass(frozen=True, slots=True)
class Stats:
    """Groups, the largest first (hours and days in their order), and all of them together."""

    groups: tuple[Group, ...]
    total: Group


def stats(rows: Iterable[AuditRow], by: By) -> Stats:
    """Return the groups of rows."""
    groups: dict[str, Group] = {}
    total = Group("total")
    for row in rows:
        value = _value(row, by)
        group = groups.get(value)
        if group is None:
            group = groups[value] = Group(value)
        group.add(row)
        total.add(row)
    if by in {By.HOUR, By.DAY}:
        return Stats(tuple(groups[value] for value in sorted(groups)), total)
    return Stats(tuple(sorted(groups.values(), key=lambda group: (-group.count, group.value))), total)


def _value(row: AuditRow, by: By) -> str:
    match by:
        case By.ACCOUNT:
            return str(row.account_id)
        case By.MERCHANT:
            return row.merchant_type or ""
        case By.TYPE:
            return row.transaction_type or ""
        case By.REASON:
            return row.flag_reason or ""
        case By.HOUR:
            return row.detected_at[:_HOUR] + ":00Z"
        case By.DAY:
            return row.detected_at[:_DAY]
