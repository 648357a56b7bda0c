"""What an account's flag events come to: when it is flagged, from when until when, and by whom.

There are two clocks. An event's `date` is from when on it holds; its `published` is when we knew of it. Both may be
given: the list as of last Tuesday, as it was known on Monday.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from fraudctl.services.flags.rule import KEPT_EVENTS, FlagEvent, History
from fraudctl.services.flags.state import State

__all__ = ["ALWAYS", "Judged", "Standing", "State", "effective", "judged", "standing", "standing_by", "steps"]

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
    columns = ([event.date for event in events], [event.flagged for event in events])
    found = judged(*columns, [event.published for event in events], as_of)
    return Standing(found.state, events[found.at], found.since, found.until)


class Judged(NamedTuple):
    """What an account is: `at` is the index of the event that says so, the rest as in `Standing`."""

    state: State
    at: int
    since: int
    until: int | None


def judged(dates: Sequence[int], flagged: Sequence[int], published: Sequence[int], as_of: int) -> Judged:
    """Return what an account is at a time by the columns of its events that have an effect, at least one.

    All the rule of states is here, on plain columns, because it is asked a million times.
    """
    begun, count = bisect_right(dates, as_of), len(dates)
    first = begun  # of those that come to the same as the event in force, without an interruption
    on = begun > 0 and bool(flagged[begun - 1])
    while first > 0 and bool(flagged[first - 1]) is on:
        first -= 1
    start = begun
    while start < count and not flagged[start] and not on:
        start += 1
    if not on and start == count:
        # An end that was set ahead is an event published before its date.
        first = min(first, count - 1)
        if first > 0 and dates[first] > published[first]:
            return Judged(State.EXPIRED, first, dates[first], None)
        # Where there was nothing to end, what was to come has been called off, since that was said.
        since = dates[first] if first > 0 else min(dates[first], published[first])
        return Judged(State.CLEARED, first, since, None)
    end = start
    while end < count and flagged[end]:
        end += 1
    until = dates[end] if end < count else None
    if on:
        return Judged(State.FLAGGED, begun - 1, dates[first], until)
    return Judged(State.SCHEDULED, start, dates[start], until)
