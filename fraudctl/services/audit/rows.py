"""An audit row as people, programs and filters see it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from decimal import Decimal
from typing import Any, Final

from fraudctl.errors import BadConfig
from fraudctl.pipeline.audit_table import AuditRow
from fraudctl.pipeline.fields import Number, decode, dump
from fraudctl.services.record_fields import inside
from fraudctl.services.record_formats import unescaped

COLUMNS: Final = tuple(field.name for field in fields(AuditRow))


def document(row: AuditRow) -> bytes:
    """Return a row as one JSON object, its further fields beside its own, as a filter and ``--fields`` take it."""
    return dump(_whole(row)).encode(errors="surrogatepass")


def cells(row: AuditRow) -> dict[str, Any]:
    """Return a row's fields by column; `extra`, the further fields, is a JSON object in a string, or None."""
    return {**asdict(row), "extra": row.extra and unescaped(row.extra)}


class Chosen:
    """Takes chosen fields from rows: a column, or a further field of the transaction; dots go inside one."""

    def __init__(self, given: str) -> None:
        """Read a list of names with commas; raises `BadConfig` for an empty name."""
        self.names = tuple(name.strip() for name in given.split(","))
        if not all(self.names) or not all(all(name.split(".")) for name in self.names):
            raise BadConfig(f"--fields {given!r}: a name is empty", hint="use --fields account_id,amount")

    def cells(self, row: AuditRow) -> dict[str, Any]:
        """Return those fields; None for what the row does not have."""
        data = _whole(row)
        return {name: _plain(inside(data, name.split("."))) for name in self.names}


def columns(chosen: Chosen | None) -> Sequence[str]:
    """Return the names of the columns for programs."""
    return COLUMNS if chosen is None else chosen.names


def _whole(row: AuditRow) -> Mapping[str, Any]:
    known = asdict(row)
    more = known.pop("extra")
    return {**(decode(more) if more else {}), **known, "extra": more}


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    match value:
        case Number():
            return Decimal(value)
        case dict() | list():
            return unescaped(dump(value))
        case _:
            return value
