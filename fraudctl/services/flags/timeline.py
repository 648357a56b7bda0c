"""What an account's flag events come to: when it is flagged, from when until when, and by whom.

There are two clocks. An event's `date` is from when on it holds; its `published` is when we knew of it. Both may be
given: the list as of last Tuesday, as it was known on Monday.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fraudctl.services.flags.rule import KEPT_EVENTS, FlagEvent, History
from fraudctl.services.flags.state import State

__all__ = ["ALWAYS", "Standing", "State", "effective", "standing", "standing_by", "steps"]

ALWAYS: Final = 2**63


@dataclass(frozen=True, slots=True)
class Standing:
    """What an account is at a moment.

    `event` is what says so: the event in force, for SCHEDULED the one to come, for EXPIRED and CLEARED the first that
    ended the flag: a later end that was still set changes nothing. `since` and `until` are in epoch milliseconds,
    without an interruption in between; `until` is None where no end is set.
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
    return effective(history.events[max(0, known - KEPT_EVENTS) : known])


def effective(known: Iterable[FlagEvent]) -> list[FlagEvent]:
    """Return those that have an effect, in the order of their dates, of events in the order of publishing."""
    by_date = {event.date: event for event in known}
    return [by_date[date] for date in sorted(by_date)]


def standing(history: History, as_of: int, known_at: int = ALWAYS) -> Standing | None:
    """Return what the account is at `as_of`, by what was known at `known_at`; None when nothing was known of it."""
    return standing_by(steps(history, known_at), as_of)


def standing_by(events: Sequence[FlagEvent], as_of: int) -> Standing | None:
    """Return what an account is at a time by the events that have an effect (`steps`); None when there are none."""
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
    first = next((at + 1 for at in range(begun - 1, -1, -1) if events[at].flagged), 0)
    ended = events[first]
    # An end that was set ahead is an event published before its date.
    expired = first > 0 and ended.date > ended.published
    return Standing(State.EXPIRED if expired else State.CLEARED, ended, ended.date)
