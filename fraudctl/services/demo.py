"""The demonstration: flag accounts, wait for the first fraud on the topic and in the audit table, with a stopwatch."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fraudctl.errors import TimedOut
from fraudctl.pipeline import topics
from fraudctl.pipeline.audit_table import AuditRow, transaction_key
from fraudctl.pipeline.records import FlaggedTransaction, Malformed
from fraudctl.services.audit import translated
from fraudctl.target import From, Range, Target

_PATIENCE_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class FirstFraud:
    """The first detection after flagging, and the seconds from the flag to the topic and to the audit row."""

    row: AuditRow
    to_processed: float
    to_audit: float


def flag(target: Target) -> list[Mapping[str, Any]]:
    """Flag five sample accounts; gives the flag events as written."""
    result = target.functions.invoke("FlagAccountGenerator", {"flagged_by": "fraudctl demo"})
    return list(result["flags"])


def watch(
    target: Target,
    flags: list[Mapping[str, Any]],
    started: float,
    since: int,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> FirstFraud:
    """Wait for the first detection by one of the flags; `started` is the clock's, `since` epoch milliseconds.

    Raises `TimedOut` after a minute.
    """
    offsets = {(flag["partition"], flag["offset"]) for flag in flags}
    wanted = Range(start=From.TIME, since=since, until=since + int(_PATIENCE_SECONDS * 1000))
    for record in target.records.read(topics.PROCESSED.name, wanted):
        try:
            detection = FlaggedTransaction.parse(record.value)
        except Malformed:
            continue  # somebody else wrote to the topic
        if (detection.flag_partition, detection.flag_offset) in offsets:
            to_processed = clock() - started
            row = _row(target, detection, started + _PATIENCE_SECONDS, clock, sleep)
            return FirstFraud(row, to_processed, clock() - started)
    raise TimedOut(
        f"no detection within {_PATIENCE_SECONDS:.0f} s of flagging", hint="run `fraudctl status` to see what is wrong"
    )


def _row(
    target: Target,
    detection: FlaggedTransaction,
    deadline: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> AuditRow:
    key = {
        "account_id": detection.account_id,
        "transaction_key": transaction_key(detection.transaction_date, detection.transaction_id),
    }
    table = target.audit_table()
    while clock() < deadline:
        with translated():
            item = table.get_item(Key=key, ConsistentRead=True).get("Item")
        if item is not None:
            return AuditRow.from_item(item)
        sleep(_PAUSE_SECONDS)
    raise TimedOut(
        f"transaction {detection.transaction_id}: detected, but not in the audit table in time",
        hint="run `fraudctl logs lambda`",
    )
