"""List the accounts that were ever flagged or cleared: what each of them is."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from fraudctl import tables
from fraudctl.pipeline.text import iso
from fraudctl.services.flags import reading, timeline
from fraudctl.tables import Column
from fraudctl.target import Target

COLUMNS: Final = (
    Column("account_id"),
    Column("state"),
    Column("since", text=tables.short_time),
    Column("until", text=tables.short_time),
    Column("reason", wrap=True),
    Column("flagged_by", drop=1),
)


def rows(target: Target, clock: Callable[[], float] = time.time) -> Iterator[dict[str, Any]]:
    """Yield a row for each account."""
    now = int(clock() * 1000)
    for account, history in sorted(reading.histories(target.records, reading.Reach()).items()):
        found = timeline.standing(history, now)
        if found is not None:
            yield {
                "account_id": account,
                "state": found.state.value,
                "since": iso(found.since),
                "until": iso(found.until),
                "reason": found.event.reason,
                "flagged_by": found.event.flagged_by,
            }
