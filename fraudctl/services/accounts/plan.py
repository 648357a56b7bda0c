"""Which events to publish so that an account is flagged as asked: flags that start, end, are extended and cleared.

The application knows events and no intervals: an end is a CLEARED event with a later date, and of two events with the
same date the later one counts. What a command asks for, by the account's flagged intervals:

=======================  ============================================================================================
flag from F              flagged from F on; ends and gaps after F are undone
flag from F until U      flagged from F to U; what was flagged at U ends there; intervals that begin after U stay
extend until U           the same, where F is the end of the present flag, or of the next one that is scheduled
clear from C             not flagged from C on; flags that were to begin later are undone
=======================  ============================================================================================

Events are published with the latest date first. So at each moment between two of them every date is judged either as
before the command or as after it, and no transaction is detected that neither would detect.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple

from fraudctl.errors import BadConfig, Refused
from fraudctl.pipeline.dates import format_milliseconds
from fraudctl.pipeline.records import Status
from fraudctl.services.flags.rule import KEPT_EVENTS, History
from fraudctl.services.flags.timeline import State, standing

# From this many of an account's KEPT_EVENTS on, a person is told.
MANY_EVENTS: Final = 48


class Action(StrEnum):
    """What is asked for an account."""

    FLAG = "flag"
    EXTEND = "extend"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for one account; times in epoch milliseconds.

    `start` None is now; an extension has none. An end is `until`, or `lasting` milliseconds after the start, for an
    extension after the present end. A `reason` of None is that of the flag that is in force at the start, if one is.
    """

    account: int
    action: Action = Action.FLAG
    start: int | None = None
    until: int | None = None
    lasting: int | None = None
    reason: str | None = None


class PlannedEvent(NamedTuple):
    """A flag event to publish; `date` in epoch milliseconds. `immediate` is one of now: the function gives its date."""

    date: int
    status: Status
    reason: str | None = None
    immediate: bool = False

    @property
    def flagged(self) -> bool:
        """Whether it flags the account; it clears it otherwise."""
        return self.status == Status.FLAGGED


class Interval(NamedTuple):
    """From when until when an account is flagged, in epoch milliseconds; without an end when that is None."""

    start: int
    end: int | None


@dataclass(frozen=True, slots=True)
class AccountPlan:
    """What to publish for one account, in this order, in one go.

    `asked` is from when until when it shall be flagged, or not flagged; for an extension, from the old end on. `before`
    and `after` are its flagged intervals. `known` is how many events it has so far. `restored` of the events were
    published before; the application would forget them by the others.
    """

    account: int
    events: tuple[PlannedEvent, ...]
    asked: Interval
    before: tuple[Interval, ...]
    after: tuple[Interval, ...]
    known: int
    restored: int = 0


def plan(history: History, request: Request, now: int) -> AccountPlan:
    """Return the events that bring about what is asked for an account with this history.

    Raises:
        BadConfig: The end does not lie after the start, or after the year 9999.
        Refused: There is nothing to extend, or more would be set for later than the application keeps.
    """
    kept = _kept(history)
    steps = _steps(kept)
    asked = Interval(now if request.start is None else request.start, request.until)
    if request.action is Action.CLEAR:
        new = _cleared(steps, request, asked.start)
    elif request.action is Action.EXTEND:
        asked, reason = _extension(history, steps, request, now)
        new = _flagged(steps, replace(request, start=asked.start, reason=reason), asked)
    else:
        if request.lasting is not None:
            asked = asked._replace(end=asked.start + request.lasting)
        reason = _reason(steps, asked.start) if request.reason is None else request.reason
        new = _flagged(steps, replace(request, reason=reason), asked)
    new.sort(key=lambda event: -event.date)
    forgotten = _to_restore(kept, new, request.account, now)
    return AccountPlan(
        account=request.account,
        events=(*forgotten, *new),
        asked=asked,
        before=tuple(_intervals(steps)),
        after=tuple(_intervals(_steps([*kept, *forgotten, *new][-KEPT_EVENTS:]))),
        known=len(history.events),
        restored=len(forgotten),
    )


def intervals(history: History) -> tuple[Interval, ...]:
    """Return when the account is flagged by all that is known, in order; what touches is one interval."""
    return tuple(_intervals(_steps(_kept(history))))


def _kept(history: History) -> list[PlannedEvent]:
    return [
        PlannedEvent(event.date, Status.FLAGGED if event.flagged else Status.CLEARED, event.reason)
        for event in history.events[-KEPT_EVENTS:]
    ]


def _cleared(steps: Sequence[PlannedEvent], request: Request, start: int) -> list[PlannedEvent]:
    undone = [
        PlannedEvent(step.date, Status.CLEARED, request.reason) for step in steps if step.flagged and step.date > start
    ]
    return [PlannedEvent(start, Status.CLEARED, request.reason, immediate=request.start is None), *undone]


def _extension(
    history: History, steps: Sequence[PlannedEvent], request: Request, now: int
) -> tuple[Interval, str | None]:
    """Return from which end to which it is extended, and the reason of what is extended unless another one is given."""
    account, found = request.account, standing(history, now)
    if found is None or found.state not in {State.FLAGGED, State.SCHEDULED}:
        raise Refused(
            f"account {account}: it is not flagged, so there is no end to extend",
            hint=f"run `fraudctl flag-accounts {account} --until 30d` to flag it",
        )
    if found.until is None:
        raise Refused(
            f"account {account}: it is flagged without an end, so there is none to extend",
            hint=f"run `fraudctl flag-accounts {account} --until 30d` to set one",
        )
    end = found.until + request.lasting if request.lasting is not None else request.until
    if end is None:
        raise BadConfig(f"account {account}: an extension needs an end", hint="give --until 30d")
    if end <= found.until:
        raise Refused(
            f"account {account}: it is flagged until {_date(found.until)} already, which is no earlier",
            hint=f"run `fraudctl flag-accounts {account} --until {_date(end)}` to let it end sooner",
        )
    return Interval(found.until, end), _reason(steps, found.until - 1) if request.reason is None else request.reason


def _flagged(steps: Sequence[PlannedEvent], request: Request, asked: Interval) -> list[PlannedEvent]:
    (start, end), reason = asked, request.reason
    new = [PlannedEvent(start, Status.FLAGGED, reason, immediate=request.start is None)]
    if end is None:
        return new + [
            PlannedEvent(step.date, Status.FLAGGED, reason) for step in steps if step.date > start and not step.flagged
        ]
    if end <= start:
        raise BadConfig(
            f"account {request.account}: the end {_date(end)} does not lie after the start {_date(start)}",
            hint="give a later --until, or an earlier --from",
        )
    _date(end)
    new += [
        PlannedEvent(step.date, Status.FLAGGED, reason)
        for step in steps
        if start < step.date < end and not step.flagged
    ]
    new.append(PlannedEvent(end, Status.CLEARED, reason))
    if _is_flagged(steps, end):
        for step in steps[bisect_right(steps, end, key=lambda step: step.date) :]:
            if not step.flagged:
                break
            new.append(PlannedEvent(step.date, Status.CLEARED, reason))
    return new


def _to_restore(
    kept: Sequence[PlannedEvent], new: Sequence[PlannedEvent], account: int, now: int
) -> list[PlannedEvent]:
    """Return which of the kept events have to be published again, before the new ones and in their old order.

    Each new event has the application forget the oldest. That must not end a flag of now or later; and no date may be
    flagged for the lack of a CLEARED event, not even between two of the new ones.
    """
    again: list[int] = []
    while True:
        found = _missing(kept, [*(kept[index] for index in again), *new], now)
        if found is None:
            return [kept[index] for index in again]
        if found < 0 or found in again:
            raise Refused(
                f"account {account}: more is set for later than the {KEPT_EVENTS} events that the application keeps",
                hint=f"run `fraudctl flag-accounts --clear {account}`, then flag it again",
            )
        again = sorted([*again, found])


def _missing(kept: Sequence[PlannedEvent], publish: Sequence[PlannedEvent], now: int) -> int | None:
    """Return the index of a kept event that is missed when these are published, -1 for a new one; None for neither."""
    overflow = len(kept) + len(publish) - KEPT_EVENTS
    if overflow <= 0:
        return None
    before, after = _steps(kept), _steps([*kept, *publish])
    dates = sorted({step.date for step in (*before, *after)})
    latest = {event.date: index for index, event in enumerate(kept)}
    for count in range(len(publish) - overflow + 1, len(publish) + 1):
        window = _steps([*kept, *publish[:count]][-KEPT_EVENTS:])
        for date, following in zip(dates, [*dates[1:], None], strict=True):
            was, is_now, will = (_is_flagged(steps, date) for steps in (before, window, after))
            if is_now and not (was or will):
                at = _at(before, date)
                return latest[before[at].date] if at >= 0 else -1
            matters = following is None or following > now
            if count == len(publish) and will and not is_now and matters:
                force = after[_at(after, date)].date
                return latest.get(force, -1)
    return None


def _steps(events: Sequence[PlannedEvent]) -> list[PlannedEvent]:
    """Return the events that have an effect, in the order of their dates; of equal dates the later event counts."""
    by_date = {event.date: event for event in events}
    return [by_date[date] for date in sorted(by_date)]


def _at(steps: Sequence[PlannedEvent], date: int) -> int:
    return bisect_right(steps, date, key=lambda step: step.date) - 1


def _is_flagged(steps: Sequence[PlannedEvent], date: int) -> bool:
    index = _at(steps, date)
    return index >= 0 and steps[index].flagged


def _reason(steps: Sequence[PlannedEvent], date: int) -> str | None:
    """Return the reason of the flag that is in force at a date; None when none is."""
    return steps[_at(steps, date)].reason if _is_flagged(steps, date) else None


def _intervals(steps: Sequence[PlannedEvent]) -> Iterator[Interval]:
    start: int | None = None
    for step in steps:
        if step.flagged and start is None:
            start = step.date
        elif not step.flagged and start is not None:
            yield Interval(start, step.date)
            start = None
    if start is not None:
        yield Interval(start, None)


def _date(milliseconds: int) -> str:
    try:
        return format_milliseconds(milliseconds)
    except OverflowError as error:
        raise BadConfig("--until: the end lies after the year 9999", hint="give an earlier --until") from error
