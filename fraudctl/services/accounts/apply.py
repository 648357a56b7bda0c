"""What a list of flags changes: the difference between the list and the flags as they are, account by account.

====================  =================================================================================================
flagged               it is not flagged, and will be: from now on, or from the list's `start`
extended, shortened   it is flagged, and will be until another time
changed               it is flagged, and will be for another reason, or from another time on
cleared               it is not in the list, and nothing but the list is to be flagged
unchanged             it is as the list says, from now on
====================  =================================================================================================

From now on, an account of the list is flagged when the list says so, and only then. A `start` in the past counts only
for accounts that are not flagged yet. Flags of the list that have ended are left out.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fraudctl.pipeline.text import iso
from fraudctl.services.accounts.flag_list import Wanted
from fraudctl.services.accounts.plan import Action, Interval, PlannedEvent, Request, intervals, plan
from fraudctl.services.flags import timeline
from fraudctl.services.flags.rule import KEPT_EVENTS, FlagEvent, History

_NOTHING: Final = History(())


class Change(StrEnum):
    """What becomes of an account."""

    FLAGGED = "flagged"
    EXTENDED = "extended"
    SHORTENED = "shortened"
    CHANGED = "changed"
    CLEARED = "cleared"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Step:
    """What is done about one account: the events to publish, in this order.

    `before` and `after` are when it is flagged, from now on. `flags` is a digest of the flag events that this rests on,
    `events_known` how many there are.
    """

    account: int
    change: Change
    events: tuple[PlannedEvent, ...]
    before: tuple[Interval, ...]
    after: tuple[Interval, ...]
    reason: str | None
    flags: str
    events_known: int = 0

    def text(self, now: int) -> str:
        """Return what changes, for people: ``until …, mule; was without an end``."""
        because = f", {self.reason}" if self.reason and self.after else ""
        was = f"was {_spans(self.before, now)}" if self.before else ""
        return "; ".join(part for part in (f"{_spans(self.after, now)}{because}", was) if part)


def steps(
    histories: Mapping[int, History], wanted: Mapping[int, Wanted], now: int, *, prune: bool = False
) -> Iterator[Step]:
    """Yield a step for each account of the list, then, with `prune`, for each that is flagged and not in it.

    Raises:
        BadConfig: An end lies after the year 9999.
        Refused: More would be set for later than the application keeps.
    """
    for account, flag in wanted.items():
        if not ended(flag, now):
            yield _step(histories.get(account, _NOTHING), flag, now)
    if prune:
        for account in unlisted(histories, wanted, now):
            history = histories[account]
            yield _made(history, account, Change.CLEARED, now, [Request(account=account, action=Action.CLEAR)])


def ended(flag: Wanted, now: int) -> bool:
    """Return whether a flag of a list lies in the past."""
    return flag.until is not None and flag.until <= now


def unlisted(histories: Mapping[int, History], wanted: Mapping[int, Wanted], now: int) -> list[int]:
    """Return the accounts that are flagged, now or later, and not by a list."""
    return [
        account
        for account, history in histories.items()
        if (account not in wanted or ended(wanted[account], now)) and present(history, now)
    ]


def present(history: History, now: int) -> tuple[Interval, ...]:
    """Return when an account is flagged from now on; what began before begins now."""
    return tuple(Interval(max(start, now), end) for start, end in intervals(history) if end is None or end > now)


def digest(history: History) -> str:
    """Return what tells an account's flag events, as far as they count, from others."""
    kept = [tuple(event) for event in history.events[-KEPT_EVENTS:]]
    return hashlib.sha256(repr(kept).encode(errors="surrogatepass")).hexdigest()[:16]


def _step(history: History, flag: Wanted, now: int) -> Step:
    account, current = flag.account, present(history, now)
    later = flag.start is not None and flag.start > now
    start = flag.start if later and flag.start is not None else now
    same = next((interval for interval in current if interval.start == start), None)
    other_reason = flag.reason is not None and same is not None and flag.reason != _reason(history, start)
    if current == (Interval(start, flag.until),) and not other_reason:
        return _made(history, account, Change.UNCHANGED, now, [])
    asked: list[Request] = []
    change = Change.CHANGED if current else Change.FLAGGED
    if current and current[0].start < start:
        asked.append(Request(account=account, action=Action.CLEAR, reason=flag.reason))
        same = None  # what was to begin later is undone by that
    if same is None or other_reason:
        # A flag that begins now has the time that the function gives it.
        begins = None if other_reason and not later else flag.start
        asked.append(Request(account=account, start=begins, until=flag.until, reason=flag.reason))
    elif same.end is not None and (flag.until is None or flag.until > same.end):
        change = Change.EXTENDED
        why = flag.reason if flag.reason is not None else _reason(history, same.end - 1)
        asked.append(Request(account=account, start=same.end, until=flag.until, reason=why))
    else:
        change = Change.SHORTENED
    if flag.until is not None:
        # Nothing stays flagged behind the end; where nothing is, this asks for no event.
        asked.append(Request(account=account, action=Action.CLEAR, start=flag.until, reason=flag.reason))
    return _made(history, account, change, now, asked)


def _made(history: History, account: int, change: Change, now: int, asked: Sequence[Request]) -> Step:
    """Return the step that does what is asked, one after the other, as far as it changes anything."""
    events: list[PlannedEvent] = []
    then = history
    for request in asked:
        behind = request.action is Action.CLEAR and request.start is not None
        if behind and not any(end is None or end > (request.start or 0) for _, end in intervals(then)):
            continue
        made = plan(then, request, now)
        events += made.events
        then = _followed(then, made.events, now)
    after = present(then, now)
    return Step(
        account=account,
        change=change,
        events=tuple(events),
        before=present(history, now),
        after=after,
        reason=_reason(then, after[0].start) if after else None,
        flags=digest(history),
        events_known=len(history.events),
    )


def _followed(history: History, events: Sequence[PlannedEvent], now: int) -> History:
    """Return a history as it will be once the events are published."""
    last = history.events[-1] if history.events else FlagEvent(now, now, False, 0, -1, "", None, "")  # noqa: FBT003
    published = max(now, last.published)
    return History(
        [
            *history.events,
            *(
                FlagEvent(
                    published, event.date, event.flagged, last.partition, last.offset + number, "", event.reason, ""
                )
                for number, event in enumerate(events, 1)
            ),
        ]
    )


def _reason(history: History, date: int) -> str | None:
    """Return why an account is flagged at a date; None where it is not."""
    found = [event for event in timeline.steps(history) if event.date <= date]
    return found[-1].reason if found and found[-1].flagged else None


def _spans(found: Sequence[Interval], now: int) -> str:
    return ", ".join(
        (f"from {iso(start)} " if start > now else "") + (f"until {iso(end)}" if end is not None else "without an end")
        for start, end in found
    )
