"""Read the flag events of all accounts, or of some, from their topic, which is kept for ever."""

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fraudctl.errors import TimedOut
from fraudctl.pipeline import topics
from fraudctl.pipeline.dates import date_milliseconds
from fraudctl.pipeline.reader import Record
from fraudctl.pipeline.reader import Records as Columns
from fraudctl.pipeline.records import AccountFlag, Malformed, Status
from fraudctl.services.flags.rule import FlagEvent, History
from fraudctl.target import From, Range, Records

_SLOW_SECONDS: Final = 2.0
# Decoding every record would take ten times as long as reading them.
ACCOUNT: Final = re.compile(rb'"account_id"\s*:\s*(\d{1,19})(?!\d)')


@dataclass(slots=True)
class Reach:
    """What was read of a topic: the earliest offset that Kafka has, where reading began and where it ended."""

    earliest: dict[int, int] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    first_at: dict[int, int] = field(default_factory=dict)


def histories(
    records: Records,
    reach: Reach,
    only: int | Collection[int] | None = None,
    *,
    offsets: Mapping[int, int] | None = None,
    seconds: float | None = None,
    slow: Callable[[], None] | None = None,
) -> dict[int, History]:
    """Return the flag events of every account, or of one, or of some, in one pass; `reach` is told what was read.

    They are read from the beginning of the topic, or from the `offsets` of some partitions on. `slow` is called once
    when that takes over two seconds.

    Raises:
        TimedOut: It was not read to its end after `seconds`.
    """
    found: dict[int, list[FlagEvent]] = {}
    only = {only} if isinstance(only, int) else only
    wanted = Range(
        start=From.BEGINNING if offsets is None else From.OFFSETS,
        offsets=offsets or {},
        follow=False,
        keep=_naming(only),
        seconds=seconds,
    )
    started, complete = time.monotonic(), True
    for batch in records.batches(topics.FLAGGED.name, wanted):
        complete = batch.at_end
        if slow is not None and time.monotonic() - started > _SLOW_SECONDS:
            slow()
            slow = None
        for account, event in _events(batch.records):
            if only is None or account in only:
                found.setdefault(account, []).append(event)
        reach.ends.update(batch.positions)
    if not complete:
        raise TimedOut(
            f"topic {topics.FLAGGED.name}: not read to its end within {seconds:.0f} s", hint="run `fraudctl status`"
        )
    return {account: History(events) for account, events in found.items()}


def events(records: Records, wanted: Range, reach: Reach) -> Iterator[tuple[int, FlagEvent]]:
    """Yield the account of each flag event in a range of the topic, and the event; `reach` is told what was read."""
    for batch in records.batches(topics.FLAGGED.name, wanted):
        yield from _events(batch.records)
        reach.ends.update(batch.positions)


def _events(records: Sequence[Record]) -> Iterator[tuple[int, FlagEvent]]:
    for record in records:
        try:
            event = AccountFlag.parse(record.value)
        except Malformed:
            continue  # a dead letter
        date, flagged = date_milliseconds(event.flag_date), event.status == Status.FLAGGED
        yield (
            event.account_id,
            FlagEvent(
                *(record.timestamp or 0, date, flagged, record.partition, record.offset),
                *(event.flag_date, event.reason, event.flagged_by),
            ),
        )


def _naming(accounts: Collection[int] | None) -> Callable[[Columns], Sequence[int]] | None:
    """Return what keeps the records that may be of one of the accounts; None keeps all."""
    if accounts is None:
        return None
    if len(accounts) == 1:
        return naming(b"%d" % min(accounts))
    wanted = {b"%d" % account for account in accounts}
    return lambda records: [
        index
        for index, value in enumerate(records.values())
        if value and any(number in wanted for number in ACCOUNT.findall(value))
    ]


def naming(text: bytes) -> Callable[[Columns], Sequence[int]]:
    """Return what keeps the records whose value has these bytes; decoding them all would take ten times as long."""
    return lambda records: [index for index, value in enumerate(records.values()) if value and text in value]
