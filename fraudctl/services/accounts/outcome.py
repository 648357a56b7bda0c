"""What is said of accounts after their flag events were published: what holds now, what it undid, what it cannot do."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

from fraudctl import tables
from fraudctl.pipeline.dates import date_milliseconds, format_date, format_milliseconds, parse_moment
from fraudctl.pipeline.text import iso, shown
from fraudctl.services.accounts.plan import MANY_EVENTS, AccountPlan, Action, Interval, Request, intervals
from fraudctl.services.accounts.publish import Flag, Prepared, Published
from fraudctl.services.flags.rule import KEPT_EVENTS, History
from fraudctl.target import Target

_NAMED: Final = 5
_CLOCKS_DIFFER_MS: Final = 1000


def holding(done: Published) -> Iterator[str]:
    """Yield what holds now, a sentence for all accounts of which the same is to be said; five sentences at most."""
    now = max(map(_published, done.flags))
    alike: dict[str, list[int]] = {}
    for account, history in done.histories.items():
        alike.setdefault(_state(history, now), []).append(account)
    for said, accounts in list(alike.items())[:_NAMED]:
        yield f"{_names(accounts)} {said if len(accounts) == 1 else _plural(said)}."
    if more := sum(len(accounts) for accounts in list(alike.values())[_NAMED:]):
        yield f"{more:,} more have other dates, as listed."


def undone(requests: Sequence[Request], prepared: Prepared, now: int) -> Iterator[str]:
    """Yield what had been set for later and is not any more, by account; five sentences at most."""
    found = [(planned.account, what) for planned in prepared.plans if (what := [*_undone(planned, now)])]
    for account, what in found[:_NAMED]:
        yield f"Undone for {account}: {'; '.join(what)}."
    if len(found) > _NAMED:
        yield f"Undone for {len(found) - _NAMED:,} more accounts: what had been set for later."
    if prepared.unread is not None:
        later = "a flag" if requests[0].action is Action.CLEAR else "an end"
        yield (
            f"What had been set before was not found out ({prepared.unread}): {later} that was set for later still"
            " comes. When Kafka answers, run the command again."
        )


def remarks(requests: Sequence[Request], prepared: Prepared, done: Published) -> Iterator[str]:
    """Yield what a person should know beside that: of somebody else's events, of the number of events, of no effect."""
    for account, event in done.others[:_NAMED]:
        status = "FLAGGED" if event.flagged else "CLEARED"
        yield (
            f"Somebody else changed {account} at the same time: {status} at {event.flag_date} by"
            f" {shown(event.flagged_by)}. What is said here counts that in."
        )
    if many := [planned for planned in prepared.plans if planned.known + len(planned.events) >= MANY_EVENTS]:
        most = max(planned.known + len(planned.events) for planned in many)
        yield (
            f"{_names([planned.account for planned in many])} {_has(many)} {most:,} flag events"
            f"{'' if len(many) == 1 else ' at most'}: the application goes by the last {KEPT_EVENTS} of an account."
        )
    if restored := [planned.account for planned in prepared.plans if planned.restored]:
        yield f"{_names(restored)}: what the application would have forgotten by that was published again."
    if prepared.unread is None:
        yield from _never_flagged(requests, prepared.known)


def too_late(target: Target, requests: Sequence[Request], flags: Sequence[Flag]) -> str | None:
    """Return a note when the flags take effect before what the stack still held back when they were published.

    It has a command that shows what they came too late for.
    """
    asked = requests[0]
    if asked.start is None or not flags:
        return None
    hold_ms = target.stack.outputs().hold_ms
    published = max(parse_moment(str(flag["published"])) for flag in flags)
    reached = published - timedelta(milliseconds=hold_ms)
    start = format_milliseconds(asked.start)
    if parse_moment(start) >= reached:
        return None
    until = format_date(reached)
    since = f"--since {start} --until {until}"
    only = str(asked.account) if len(requests) == 1 else None
    if asked.action is Action.CLEAR:
        command = f"fraudctl audit query {only} {since}" if only else f"fraudctl audit query {since}"
        kept = f"published before {until} keep their detections"
    else:
        command = f"fraudctl tail transactions {since}" + (f" --account {only}" if only else "")
        kept = f"published before {until} stay undetected"
    back = f"It reaches back {tables.duration(hold_ms)} (the stack's hold)"
    return f"{back}: transactions {kept}. `{command}` lists them."


def _published(flag: Flag) -> int:
    """Return when an event was published; the date of one of now may be a little later, by the function's clock."""
    date, published = date_milliseconds(flag["flag_date"]), date_milliseconds(flag["published"])
    return date if published < date < published + _CLOCKS_DIFFER_MS else published


def _state(history: History, now: int) -> str:
    """Return what an account is, as the rest of a sentence: ``is flagged from … until …``."""
    found = [interval for interval in intervals(history) if interval.end is None or interval.end > now]
    if not found:
        past = intervals(history)
        return f"is not flagged; it was {_span(past[-1])}" if past else "is not flagged"
    first, *more = found
    then = "".join(f", then {_span(interval)}" for interval in more)
    return f"{'is' if first.start <= now else 'will be'} flagged {_span(first)}{then}"


def _plural(said: str) -> str:
    return f"are {said.removeprefix('is ').replace('; it was', '; they were')}" if said.startswith("is ") else said


def _span(interval: Interval) -> str:
    end = "on" if interval.end is None else f"until {iso(interval.end)}"
    return f"from {iso(interval.start)} {end}"


def _undone(planned: AccountPlan, now: int) -> Iterator[str]:
    for start, end in planned.before:
        if end is not None and end <= now:
            continue
        covered = any(
            interval.start <= start and (interval.end is None or start < interval.end) for interval in planned.after
        )
        if start > now and not covered:
            yield f"the flag {_span(Interval(start, end))}"
        elif end not in {None, planned.asked.start} and all(interval.end != end for interval in planned.after):
            yield f"the end at {iso(end)}"


def _never_flagged(requests: Sequence[Request], known: Mapping[int, History]) -> Iterator[str]:
    none = History([])
    unknown = sorted(
        request.account
        for request in requests
        if request.action is Action.CLEAR and not any(known.get(request.account, none).detecting())
    )
    if len(unknown) == 1:
        yield f"Account {unknown[0]} had never been flagged: clearing it changes nothing."
    elif unknown:
        names = ", ".join(map(str, unknown[:_NAMED])) + (", …" if len(unknown) > _NAMED else "")
        yield f"{len(unknown):,} accounts had never been flagged ({names}): clearing them changes nothing."


def _names(accounts: Sequence[int]) -> str:
    """Return some accounts as the subject of a sentence."""
    if len(accounts) <= _NAMED:
        return ", ".join(map(str, accounts))
    return f"{', '.join(map(str, accounts[: _NAMED - 1]))} and {len(accounts) - _NAMED + 1:,} more"


def _has(accounts: Sequence[object]) -> str:
    return "has" if len(accounts) == 1 else "have"
