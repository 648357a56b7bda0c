"""The rows that are sealed, or compared with seals: from the audit table."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from fraudctl.pipeline.audit_table import transaction_key
from fraudctl.services.audit.table import AuditReader, Query, translated
from fraudctl.services.seal.canonical import FIELDS, Identity, Line, line, values


class Rows(Protocol):
    """Where rows come from."""

    def window(self, since: int | None, until: int, fields: Sequence[str] = FIELDS) -> Iterator[Line]:
        """Yield the rows detected from `since` on and before `until`, in epoch milliseconds, in no order."""

    def has(self, identity: Identity) -> bool:
        """Return whether a row is there, at whatever time it says that it was detected."""


class TableRows:
    """Rows of the audit table, by its index of times of detection."""

    def __init__(self, table: Any, note: Callable[[str], None] = lambda _: None) -> None:  # noqa: ANN401 - a boto3 Table
        """Store the table; no I/O. `note` is told of throttling."""
        self._table, self._reader = table, AuditReader(table, note)

    def window(self, since: int | None, until: int, fields: Sequence[str] = FIELDS) -> Iterator[Line]:
        """Yield the rows of a window."""
        for row in self._reader.rows(Query(since=since, until=until, oldest_first=True)):
            yield line(values(row), fields)

    def first(self) -> str | None:
        """Return when the oldest row was detected; None without rows."""
        oldest = next(self._reader.rows(Query(oldest_first=True), page=1), None)
        return None if oldest is None else oldest.detected_at

    def has(self, identity: Identity) -> bool:
        """Return whether the table has a row, asked of the table itself and not of an index."""
        account, date, transaction = identity
        key = {"account_id": account, "transaction_key": transaction_key(date, transaction)}
        with translated():
            return "Item" in self._table.get_item(Key=key, ConsistentRead=True)
