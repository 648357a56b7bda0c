"""The canonical form of an audit row: what of it is sealed, and its digests."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from fraudctl.pipeline.audit_table import AuditRow

Identity = tuple[int, str, str]  # account_id, transaction_date, transaction_id

# Nothing of a row is written twice, so all of its fields are immutable.
FIELDS: Final = (*(field.name for field in AuditRow.FIELDS), "extra")
NO_PLACE: Final = -1  # in a row without processed_partition or processed_offset, which AuditWriter never writes
SHORT: Final = 16  # hexadecimal digits of a row's digest in a row list


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """A row in canonical form: one line of JSON, and what it is sorted, summed and named by."""

    partition: int
    offset: int
    text: bytes
    amount: Decimal
    identity: Identity

    @property
    def digest(self) -> str:
        """The start of the line's SHA-256."""
        return hashlib.sha256(self.text).hexdigest()[:SHORT]


def values(row: AuditRow) -> dict[str, Any]:
    """Return a row's fields as JSON has them; an amount is a string with two decimals."""
    found = {name: getattr(row, name) for name in FIELDS}
    if isinstance(found["amount"], Decimal):
        found["amount"] = format(found["amount"], ".2f")
    return found


def line(found: Mapping[str, Any], fields: Sequence[str] = FIELDS) -> Line:
    """Return the canonical form of a row's values: its fields in order, compact, in ASCII, with a line feed.

    Raises:
        ValueError: They are not a row's, as in a file that was tampered with.
    """
    text = json.dumps({name: found.get(name) for name in fields}, separators=(",", ":")).encode() + b"\n"
    amount = found.get("amount")
    try:
        identity = int(found["account_id"]), str(found["transaction_date"]), str(found["transaction_id"])
        total = Decimal(amount or 0)
    except (KeyError, TypeError, ArithmeticError) as error:
        raise ValueError(f"not a row: {error}") from error
    if not total.is_finite():
        raise ValueError("not a row: its amount is no number")
    return Line(_place(found, "processed_partition"), _place(found, "processed_offset"), text, total, identity)


def digest(lines: Iterable[Line]) -> str:
    """Return the SHA-256 of rows, in order of offset: what ``sha256sum`` prints for a file with their lines."""
    found = hashlib.sha256()
    for one in lines:
        found.update(one.text)
    return found.hexdigest()


def _place(found: Mapping[str, Any], name: str) -> int:
    place = found.get(name)
    return place if isinstance(place, int) and not isinstance(place, bool) else NO_PLACE
