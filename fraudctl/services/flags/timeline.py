"""What an account's flag events come to: when it is flagged, from when until when, and by whom.

There are two clocks. An event's `date` is from when on it holds; its `published` is when we knew of it. Both may be
given: the list as of last Tuesday, as it was known on Monday.
"""

from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fraudctl.services.flags.rule import KEPT_EVENTS, FlagEvent, History

ALWAYS: Final = 2**63


class State(StrEnum):
    """What an account is at a moment: SCHEDULED will be flagged, EXPIRED was flagged until an end that was set."""

    SCHEDULED = "SCHEDULED"
    FLAGGED = "FLAGGED"
    EXPIRED = "EXPIRED"
    CLEARED = "CLEARED"


@dataclass(frozen=True, slots=True)
class Standing:
    """What an account is at a moment.

    `event` is what says so: the event in force, or for SCHEDULED the one to come. `since` and `until` are in epoch
    milliseconds: FLAGGED since and until, without an interruption; `until` is None where no end is set.
    """

    state: State
    event: FlagEvent
    since: int
    until: int | None = None


def steps(history: History, known_at: int = ALWAYS) -> list[FlagEvent]:
    """Return the events that have an effect by what was known at a time, in the order of their dates.

    Of the events known by then the last 64 count, and of two with the same date the later one, as in the rule.
    """
    known = bisect_right(history.events, known_at, key=lambda event: event.published)
    by_date = {event.date: event for event in history.events[max(0, known - KEPT_EVENTS) : known]}
    return [by_date[date] for date in sorted(by_date)]


def standing(history: History, as_of: int, known_at: int = ALWAYS) -> Standing | None:
    """Return what the account is at `as_of`, by what was known at `known_at`; None when nothing was known of it."""
    events = steps(history, known_at)
    if not events:
        return None
    begun = bisect_right(events, as_of, key=lambda event: event.date)
    in_force, to_come = events[begun - 1] if begun else None, events[begun:]
    if in_force is not None and in_force.flagged:
        end = next((event.date for event in to_come if not event.flagged), None)
        since = next((at + 1 for at in range(begun - 1, -1, -1) if not events[at].flagged), 0)
        return Standing(State.FLAGGED, in_force, events[since].date, end)
    start = next((event for event in to_come if event.flagged), None)
    if start is not None:
        end = next((event.date for event in to_come if event.date > start.date and not event.flagged), None)
        return Standing(State.SCHEDULED, start, start.date, end)
    if in_force is None:
        first = to_come[0]
        return Standing(State.CLEARED, first, first.date)
    # An end that was set ahead is an event published before its date.
    expired = in_force.date > in_force.published
    return Standing(State.EXPIRED if expired else State.CLEARED, in_force, in_force.date)
