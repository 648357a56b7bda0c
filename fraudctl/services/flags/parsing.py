"""Parse flag events by the million: the common ones quickly, all others as `AccountFlag.parse` does.

The quick way takes only what it is sure of: one flat JSON object. Whatever is in doubt is left to the rules of the
records, so the two never differ in what is malformed.
"""

import re
from typing import Any, Final, NamedTuple

import orjson

from fraudctl.pipeline.dates import date_milliseconds
from fraudctl.pipeline.records import MAX_INT64, MAX_VALUE_BYTES, AccountFlag, Malformed, Status

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d\.\d{3}Z", re.ASCII)
_LONGEST: Final = {field.name: field.longest for field in AccountFlag.FIELDS}
_REASON, _AUTHOR = _LONGEST["reason"], _LONGEST["flagged_by"]
_QUOTES: Final = 16  # of the five names and the three texts, without a reason
_STATUS: Final = {status.value: status is Status.FLAGGED for status in Status}


class Fields(NamedTuple):
    """What a flag event says; `date` in epoch milliseconds."""

    account_id: int
    date: int
    flagged: bool
    reason: str | None
    flagged_by: str


def fields(value: bytes | None) -> Fields | None:
    """Return what a record of the flag topic says; None when it is malformed, as `AccountFlag.parse` decides."""
    return _quick(value) or _slow(value)


def _quick(value: bytes | None) -> Fields | None:
    if value is None or len(value) > MAX_VALUE_BYTES:
        return None
    try:
        data = orjson.loads(value)
        account, date, flagged = data["account_id"], data["flag_date"], _STATUS[data["status"]]
        reason, author = data["reason"], data["flagged_by"]
        if not (
            type(account) is int
            and 1 <= account <= MAX_INT64
            and _DATE.fullmatch(date)
            and (reason is None or (type(reason) is str and len(reason) <= _REASON))
            and type(author) is str
            and 1 <= len(author) <= _AUTHOR
            and (
                _quotes(value) == (_QUOTES if reason is None else _QUOTES + 2)
                if len(data) == len(AccountFlag.FIELDS)
                else _flat_and_unique(value, data)
            )
        ):
            return None
        moment = date_milliseconds(date)
    except (ValueError, KeyError, TypeError):
        return None
    return Fields(account, moment, flagged, reason, author)


def _flat_and_unique(value: bytes, data: dict[str, Any]) -> bool:
    """Return whether no field has fields of its own, and none is repeated, of which orjson keeps the last silently."""
    texts = 0
    for item in data.values():
        if isinstance(item, str):
            texts += 1
        elif isinstance(item, dict | list):
            return False
    return _quotes(value) == 2 * (len(data) + texts)


def _quotes(value: bytes) -> int:
    """Return how many quotes begin or end a name or a text; two of them for each that is there."""
    if b"\\" in value:
        value = value.replace(rb"\\", b"").replace(rb"\"", b"")
    return value.count(b'"')


def _slow(value: bytes | None) -> Fields | None:
    try:
        event = AccountFlag.parse(value)
    except Malformed:
        return None
    flagged = event.status is Status.FLAGGED
    return Fields(event.account_id, date_milliseconds(event.flag_date), flagged, event.reason, event.flagged_by)
