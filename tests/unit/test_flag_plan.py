"""What is published so that an account is flagged as asked, against an oracle that knows only intervals."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.errors import BadConfig, Refused
from fraudctl.pipeline.records import Status
from fraudctl.services.accounts.plan import Action, Interval, PlannedEvent, Request, intervals, plan
from fraudctl.services.flags.rule import KEPT_EVENTS, FlagEvent, History
from fraudctl.services.flags.timeline import steps

# Dates are small numbers; from END on nothing changes any more, so END itself stands for ever.
END = 200
EVER = range(END + 1)
STATUS = {True: Status.FLAGGED, False: Status.CLEARED}


@dataclass
class Account:
    """The flag events of one account as they are published."""

    events: list[FlagEvent] = field(default_factory=list)

    @property
    def history(self) -> History:
        """What a reader of the topic finds."""
        return History(self.events)

    def publish(self, event: PlannedEvent, at: int) -> None:
        """Append an event."""
        self.events.append(FlagEvent(at, event.date, event.flagged, 0, len(self.events), "", event.reason, "ada"))

    def flagged(self) -> set[int]:
        """Return the dates that are flagged by now."""
        found: set[int] = set()
        for step in steps(self.history):
            after = set(range(step.date, END + 1))
            found = found | after if step.flagged else found - after
        return found


def flag(flagged: set[int], start: int, end: int) -> set[int]:
    """Flag from start until end; of what is flagged later only what begins after the end stays."""
    gap = next((date for date in EVER if date >= end and date not in flagged), END + 1)
    return {date for date in flagged if date < start or date > gap} | set(range(start, end))


def end_to_extend(flagged: set[int], now: int) -> int | None:
    """Return the end of the flag of now, or of the next one."""
    start = next((date for date in EVER if date >= now and date in flagged), None)
    return None if start is None else next((date for date in EVER if date > start and date not in flagged), None)


def oracle(flagged: set[int], request: Request, now: int) -> set[int] | None:
    """Return what shall be flagged; None when the request is refused."""
    start = now if request.start is None else request.start
    if request.action is Action.CLEAR:
        return {date for date in flagged if date < start}
    if request.action is Action.EXTEND:
        end = end_to_extend(flagged, now)
        if end is None:
            return None
        start = end
    until = END + 1 if request.until is None else request.until
    if request.lasting is not None:
        until = start + request.lasting
    return None if until <= start else flag(flagged, start, until)


dates = st.integers(0, 80)
ends = st.one_of(
    st.fixed_dictionaries({"until": dates}),
    st.fixed_dictionaries({"lasting": st.integers(0, 9)}),
)
requests = st.one_of(
    st.builds(lambda start: {"action": Action.CLEAR, "start": start}, st.none() | dates),
    st.builds(lambda start, end: {"start": start, **end}, st.none() | dates, ends | st.just({})),
    st.builds(lambda end: {"action": Action.EXTEND, **end}, ends),
)
commands = st.lists(st.tuples(st.integers(0, 8), requests), max_size=12)
# A script may have published many events before, in any order of their dates.
earlier = st.lists(st.tuples(dates, st.booleans()), max_size=KEPT_EVENTS + 10) | st.lists(
    st.tuples(dates, st.booleans()), min_size=KEPT_EVENTS - 8, max_size=KEPT_EVENTS + 10
)


@given(earlier, commands)
def test_any_sequence_of_commands(earlier: list[tuple[int, bool]], commands: list[tuple[int, dict[str, Any]]]) -> None:
    """From now on exactly the intervals are flagged; before, and between two events, nothing that nobody asked for."""
    account, now = Account(), 0
    for date, flagged in earlier:
        account.publish(PlannedEvent(date, STATUS[flagged]), now)
    for later, options in commands:
        now += later
        request = Request(account=7, **options)
        before = account.flagged()
        wanted = oracle(before, request, now)
        try:
            found = plan(account.history, request, now)
        except (BadConfig, Refused) as error:
            assert wanted is None or "more is set for later" in str(error)  # noqa: PT017 - no other refusal
            continue
        assert wanted is not None
        for event in found.events:
            account.publish(event, now)
            assert account.flagged() <= before | wanted
        after = account.flagged()
        if len(account.events) <= KEPT_EVENTS:
            assert after == wanted
        assert after <= wanted
        assert {date for date in after if date >= now} == {date for date in wanted if date >= now}
        assert found.after == intervals(account.history)


@given(earlier)
def test_clearing_is_never_refused(earlier: list[tuple[int, bool]]) -> None:
    """Whatever is set, the account is not flagged from now on."""
    account = Account()
    for date, flagged in earlier:
        account.publish(PlannedEvent(date, STATUS[flagged]), 0)
    for event in plan(account.history, Request(account=7, action=Action.CLEAR), 100).events:
        account.publish(event, 100)
    assert all(date < 100 for date in account.flagged())


def made(*events: tuple[int, bool, str | None], at: int = 0) -> Account:
    """Make an account with events of (date, flagged, reason)."""
    account = Account()
    for date, flagged, reason in events:
        account.publish(PlannedEvent(date, STATUS[flagged], reason), at)
    return account


def test_a_flag_with_an_end_is_two_events_the_end_first() -> None:
    """So no moment knows the start without the end; the start of now is dated by the function."""
    found = plan(History([]), Request(account=7, lasting=30, reason="stolen card"), 100)
    assert found.events == (
        PlannedEvent(130, Status.CLEARED, "stolen card"),
        PlannedEvent(100, Status.FLAGGED, "stolen card", immediate=True),
    )
    assert (found.before, found.after, found.known) == ((), (Interval(100, 130),), 0)


def test_an_extension_keeps_the_reason() -> None:
    """FLAGGED at the old end, CLEARED at the new one; another reason may be given."""
    account = made((10, True, "stolen card"), (50, False, "stolen card"))
    extend = Request(account=7, action=Action.EXTEND, lasting=20)
    found = plan(account.history, extend, 40)
    assert found.events == (
        PlannedEvent(70, Status.CLEARED, "stolen card"),
        PlannedEvent(50, Status.FLAGGED, "stolen card"),
    )
    assert (found.before, found.after) == ((Interval(10, 50),), (Interval(10, 70),))
    other = plan(account.history, Request(account=7, action=Action.EXTEND, until=60, reason="court order"), 40)
    assert {event.reason for event in other.events} == {"court order"}


def test_a_shorter_flag_keeps_the_reason() -> None:
    """An account that is flagged already keeps it unless another is given, also an empty one; others have none."""
    account = made((10, True, "stolen card"), (50, False, "stolen card"))
    for reason, kept in ((None, "stolen card"), ("mule", "mule"), ("", "")):
        found = plan(account.history, Request(account=7, until=45, reason=reason), 40)
        assert [(event.date, event.reason) for event in found.events] == [(45, kept), (40, kept)]
    assert {event.reason for event in plan(account.history, Request(account=7), 60).events} == {None}


def test_a_flag_without_an_end_undoes_the_pending_one() -> None:
    """Else the account would be cleared by itself."""
    account = made((10, True, None), (50, False, None))
    found = plan(account.history, Request(account=7), 40)
    assert [(event.date, event.flagged) for event in found.events] == [(50, True), (40, True)]
    assert found.after == (Interval(10, None),)


def test_clearing_undoes_what_was_scheduled() -> None:
    """The account does not flag itself again."""
    account = made((10, True, None), (50, False, None), (60, True, None), (70, False, None))
    found = plan(account.history, Request(account=7, action=Action.CLEAR), 40)
    assert [(event.date, event.flagged) for event in found.events] == [(60, False), (40, False)]
    assert (found.before, found.after) == ((Interval(10, 50), Interval(60, 70)), (Interval(10, 40),))


def test_a_flag_that_is_scheduled_by_itself_stays() -> None:
    """What begins after the end is another flag; what the end lies in is replaced."""
    account = made((60, True, None), (70, False, None))
    assert plan(account.history, Request(account=7, until=50), 40).after == (Interval(40, 50), Interval(60, 70))
    assert plan(account.history, Request(account=7, until=65), 40).after == (Interval(40, 65),)
    assert plan(account.history, Request(account=7, until=60), 40).after == (Interval(40, 60),)


def test_the_flag_in_force_is_published_again_before_it_is_forgotten() -> None:
    """Extending so often that the application would forget the start does not end the flag."""
    account = made((10, True, "stolen card"), (50, False, None))
    for times in range(1, 60):
        found = plan(account.history, Request(account=7, action=Action.EXTEND, lasting=1), 40)
        for event in found.events:
            account.publish(event, 40)
        assert found.after == (Interval(10, 50 + times),)
        assert found.restored == (times == 32)
    assert len(account.events) > KEPT_EVENTS


@pytest.mark.parametrize(
    ("events", "request_", "said", "hint"),
    [
        ([], {"action": "extend", "until": 90}, "it is not flagged", "--until 30d"),
        ([(10, True, None), (20, False, None)], {"action": "extend", "until": 90}, "it is not flagged", "--until 30d"),
        ([(10, True, None)], {"action": "extend", "until": 90}, "flagged without an end", "--until 30d"),
        (
            [(10, True, None), (50, False, None)],
            {"action": "extend", "until": 45},
            "flagged until 1970-01-01T00:00:00.050Z already",
            "`fraudctl flag-accounts 7 --until 1970-01-01T00:00:00.045Z`",
        ),
        ([], {"until": 40}, "does not lie after the start", "--until"),
        ([], {"start": 30, "until": 20}, "does not lie after the start", "--until"),
        ([], {"lasting": 10**15}, "after the year 9999", "--until"),
    ],
)
def test_what_is_refused(
    events: list[tuple[int, bool, str | None]], request_: dict[str, Any], said: str, hint: str
) -> None:
    """With a command that can be typed instead."""
    options = {**request_, "action": Action(request_.get("action", "flag"))}
    with pytest.raises((BadConfig, Refused), match=said) as caught:
        plan(made(*events).history, Request(account=7, **options), 40)
    assert hint in (caught.value.hint or "")


def test_more_set_for_later_than_is_kept() -> None:
    """32 flags with their ends are 64 events; one more is refused, and clearing is not."""
    account = Account()
    for number in range(40):
        request = Request(account=7, start=1000 + 10 * number, until=1005 + 10 * number)
        if number == 32:
            with pytest.raises(Refused, match="more is set for later than the 64 events") as caught:
                plan(account.history, request, 0)
            assert "--clear 7" in (caught.value.hint or "")
            break
        for event in plan(account.history, request, 0).events:
            account.publish(event, 0)
    assert len(intervals(account.history)) == 32
    assert plan(account.history, Request(account=7, action=Action.CLEAR), 0).after == ()
