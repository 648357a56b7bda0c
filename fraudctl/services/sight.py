"""Kafka records for people: one line each, what matters first."""

from collections.abc import Mapping
from typing import Any, Final

from fraudctl.pipeline import records, topics
from fraudctl.pipeline.reader import Record
from fraudctl.pipeline.text import iso
from fraudctl.services.envelopes import text

_LONGEST: Final = 400


def line(record: Record) -> str:
    """Describe one record of any of the pipeline's topics; what cannot be read is quoted."""
    when = iso(record.timestamp) or "no time"
    if record.topic == topics.DEAD_LETTERS.name:
        return f"{when}  {_dead_letter(record)}"
    try:
        data = records.decode((record.value or b"").decode())
        described = _flag(data) if record.topic == topics.FLAGGED.name else _transaction(data)
    except (records.Malformed, UnicodeDecodeError, KeyError, TypeError, ValueError):  # null or a list is no text
        described = f"key {_quoted(record.key)}  {_quoted(record.value)}"
    return f"{when}  {described}"


def _transaction(data: Mapping[str, Any]) -> str:
    seen = (
        f"{data['account_id']:<10}  {data['amount']:>12}  {data['merchant_type']:<14}  {data['customer_name']:<18}"
        f"  {data['transaction_id']}"
    )
    if "flag_date" not in data:
        return seen
    return f"{seen}  flagged {data['flag_date']}{_reason(data.get('flag_reason'))}"


def _flag(data: Mapping[str, Any]) -> str:
    seen = f"{data['account_id']:<10}  {data['status']:<7}  from {data['flag_date']}  by {data['flagged_by']}"
    return f"{seen}{_reason(data.get('reason'))}"


def _dead_letter(record: Record) -> str:
    headers = {name: text(value) for name, value in record.headers}
    source = f"{headers.get('topic')}/{headers.get('partition')}@{headers.get('offset')}"
    return f"{headers.get('error')}  {source}  key {_quoted(record.key)}  {_quoted(record.value)}"


def _reason(reason: object) -> str:
    return f": {reason}" if reason else ""


def _quoted(data: bytes | None) -> str:
    if data is None:
        return "null"
    shown = text(data[:_LONGEST]) or ""
    return repr(shown) + (f" and {len(data) - _LONGEST} bytes more" if len(data) > _LONGEST else "")
