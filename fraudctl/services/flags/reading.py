"""Read the flag events of all accounts, or of some, from their topic, which is kept for ever."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from fraudctl.pipeline import topics
from fraudctl.pipeline.dates import date_milliseconds
from fraudctl.pipeline.reader import Records as Columns
from fraudctl.pipeline.records import AccountFlag, Malformed, Status
from fraudctl.services.flags.rule import FlagEvent, History
from fraudctl.target import From, Range, Records

# Decoding every record would take ten times as long as reading them.
ACCOUNT: Final = re.compile(rb'"account_id"\s*:\s*(\d{1,19})(?!\d)')


@dataclass(slots=True)
class Reach:
    """What was read of a topic: the earliest offset that Kafka has, where reading began and where it ended."""

    earliest: dict[int, int] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    first_at: dict[int, int] = field(default_factory=dict)


def histories(records: Records, reach: Reach, account: int | None = None) -> dict[int, History]:
    """Return the flag events of every account, or of one, read from the whole topic; `reach` is told what that was."""
    found: dict[int, list[FlagEvent]] = {}
    keep = None if account is None else naming(b"%d" % account)
    wanted = Range(start=From.BEGINNING, follow=False, keep=keep)
    for number, event in events(records, wanted, reach):
        if account in {None, number}:
            found.setdefault(number, []).append(event)
    return {account: History(events) for account, events in found.items()}


def events(records: Records, wanted: Range, reach: Reach) -> Iterator[tuple[int, FlagEvent]]:
    """Yield the account of each flag event in a range of the topic, and the event; `reach` is told what was read."""
    for batch in records.batches(topics.FLAGGED.name, wanted):
        for record in batch.records:
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
        reach.ends.update(batch.positions)


def naming(text: bytes) -> Callable[[Columns], Sequence[int]]:
    """Return what keeps the records whose value has these bytes; decoding them all would take ten times as long."""
    return lambda records: [index for index, value in enumerate(records.values()) if value and text in value]
