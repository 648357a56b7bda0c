"""The demonstration: flag accounts, then time the first detection on the topic and in the audit table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fraudctl.clock import Clock
from fraudctl.errors import TimedOut
from fraudctl.pipeline import topics
from fraudctl.pipeline.audit_table import AuditRow, transaction_key
from fraudctl.pipeline.records import FlaggedTransaction, Malformed
from fraudctl.services.audit.table import translated
from fraudctl.target import From, Range, Target

# On AWS the first sample transactions come up to a minute after the deploy.
_WITHIN_SECONDS: Final = 180.0
_EVERY_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Flagged:
    """The flag events as written, and when they were asked for: monotonic seconds and epoch milliseconds."""

    flags: tuple[Mapping[str, Any], ...]
    started: float
    since: int


@dataclass(frozen=True, slots=True)
class FirstDetection:
    """The first detection after flagging, and the seconds from the flag to the topic and to the audit row."""

    row: AuditRow
    to_processed: float
    to_audit: float


def flag(target: Target, clock: Clock) -> Flagged:
    """Flag five sample accounts."""
    since, started = int(clock.now() * 1000), clock.monotonic()
    result = target.functions.invoke("FlagAccountGenerator", {"flagged_by": "fraudctl demo"})
    return Flagged(tuple(result["flags"]), started, since)


def first_detection(target: Target, flagged: Flagged, clock: Clock) -> FirstDetection:
    """Wait for the first detection by one of the flags and for its row; raises `TimedOut` after three minutes."""
    offsets = {(flag["partition"], flag["offset"]) for flag in flagged.flags}
    wanted = Range(start=From.TIME, since=flagged.since, until=flagged.since + int(_WITHIN_SECONDS * 1000))
    for record in target.records.read(topics.PROCESSED.name, wanted):
        try:
            detection = FlaggedTransaction.parse(record.value)
        except Malformed:
            continue  # somebody else wrote to the topic
        if (detection.flag_partition, detection.flag_offset) in offsets:
            to_processed = clock.monotonic() - flagged.started
            row = _row(target, detection, _WITHIN_SECONDS - to_processed, clock)
            return FirstDetection(row, to_processed, clock.monotonic() - flagged.started)
    raise TimedOut(
        f"demo: no detection within {_WITHIN_SECONDS:.0f} s of flagging",
        hint="run `fraudctl status` to see what is wrong",
    )


def _row(target: Target, detection: FlaggedTransaction, within: float, clock: Clock) -> AuditRow:
    key = {
        "account_id": detection.account_id,
        "transaction_key": transaction_key(detection.transaction_date, detection.transaction_id),
    }
    table = target.audit_table()
    for _ in clock.poll(_EVERY_SECONDS, within=within):
        with translated():
            item = table.get_item(Key=key, ConsistentRead=True).get("Item")
        if item is not None:
            return AuditRow.from_item(item)
    raise TimedOut(
        f"transaction {detection.transaction_id}: detected, but not in the audit table within {_WITHIN_SECONDS:.0f} s",
        hint="run `fraudctl logs lambda`",
    )
