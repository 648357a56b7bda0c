"""`accounts apply`: what a list changes, by known answers and for any history and list."""

from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.services.accounts import apply
from fraudctl.services.accounts.apply import Change
from fraudctl.services.accounts.flag_list import Wanted
from fraudctl.services.accounts.plan import Interval
from fraudctl.services.flags.rule import FlagEvent, History

NOW = 1_000


def history(*events: tuple[int, bool] | tuple[int, bool, str], published: int = 0) -> History:
    """Give the flag events of an account: dates, and whether they flag it, and why."""
    return History(
        [
            FlagEvent(published, event[0], event[1], 0, n, "", event[2] if len(event) > 2 else None, "ada")
            for n, event in enumerate(events)
        ]
    )


def published(found: History, step: apply.Step, at: int) -> History:
    """Give the history behind what a step publishes; what is immediate has the time of publishing."""
    number = count(len(found.events))
    new = [
        FlagEvent(at, at if event.immediate else event.date, event.flagged, 0, next(number), "", event.reason, "ada")
        for event in step.events
    ]
    return History([*found.events, *new])


def changes(histories: dict[int, History], *wanted: Wanted, prune: bool = False, now: int = NOW) -> list[apply.Step]:
    """Give the steps."""
    return list(apply.steps(histories, {flag.account: flag for flag in wanted}, now, prune=prune))


@pytest.mark.parametrize(
    ("before", "wanted", "change", "after"),
    [
        ((), Wanted(1), Change.FLAGGED, [Interval(NOW, None)]),
        ((), Wanted(1, until=2000), Change.FLAGGED, [Interval(NOW, 2000)]),
        ((), Wanted(1, start=500, until=2000), Change.FLAGGED, [Interval(NOW, 2000)]),
        ((), Wanted(1, start=1500, until=2000), Change.FLAGGED, [Interval(1500, 2000)]),
        (((0, True),), Wanted(1), Change.UNCHANGED, [Interval(NOW, None)]),
        (((0, True),), Wanted(1, start=0), Change.UNCHANGED, [Interval(NOW, None)]),
        (((0, True),), Wanted(1, until=2000), Change.SHORTENED, [Interval(NOW, 2000)]),
        (((0, True), (2000, False)), Wanted(1, until=2000), Change.UNCHANGED, [Interval(NOW, 2000)]),
        (((0, True), (2000, False)), Wanted(1, until=3000), Change.EXTENDED, [Interval(NOW, 3000)]),
        (((0, True), (2000, False)), Wanted(1), Change.EXTENDED, [Interval(NOW, None)]),
        (((0, True), (2000, False)), Wanted(1, until=1500), Change.SHORTENED, [Interval(NOW, 1500)]),
        (((0, True), (900, False)), Wanted(1), Change.FLAGGED, [Interval(NOW, None)]),
        (((2000, True),), Wanted(1, until=1500), Change.CHANGED, [Interval(NOW, 1500)]),
        (((0, True),), Wanted(1, start=2000, until=3000), Change.CHANGED, [Interval(2000, 3000)]),
        (((0, True), (1200, False)), Wanted(1, start=2000), Change.CHANGED, [Interval(2000, None)]),
        (((2000, True), (3000, False)), Wanted(1, start=2000, until=2500), Change.SHORTENED, [Interval(2000, 2500)]),
        (((2000, True), (3000, False)), Wanted(1, start=2000), Change.EXTENDED, [Interval(2000, None)]),
        (((0, True, "x"),), Wanted(1, reason="y"), Change.CHANGED, [Interval(NOW, None)]),
        (((0, True, "x"),), Wanted(1, reason="x"), Change.UNCHANGED, [Interval(NOW, None)]),
    ],
)
def test_what_becomes_of_an_account(
    before: tuple[tuple[int, bool]], wanted: Wanted, change: Change, after: list[Interval]
) -> None:
    """By what it was, and what the list says; applied, and applied again, it is unchanged."""
    found = history(*before)
    (step,) = changes({1: found}, wanted)
    assert (step.change, list(step.after)) == (change, after)
    assert bool(step.events) == (change is not Change.UNCHANGED)
    behind = published(found, step, NOW)
    assert apply.present(behind, NOW) == tuple(after)
    assert [again.change for again in changes({1: behind}, wanted, now=NOW + 1)] == [Change.UNCHANGED]


def test_an_extension_keeps_the_reason_and_costs_two_events() -> None:
    """FLAGGED at the old end, CLEARED at the new one; the latest first."""
    found = history((0, True, "mule"), (2000, False, "mule"))
    (step,) = changes({1: found}, Wanted(1, until=3000))
    assert [(event.date, event.flagged, event.reason) for event in step.events] == [
        (3000, False, "mule"),
        (2000, True, "mule"),
    ]
    assert step.text(NOW) == "until 1970-01-01T00:00:03.000Z, mule; was until 1970-01-01T00:00:02.000Z"


def test_pruned_who_is_not_in_the_list_is_cleared() -> None:
    """Now and for later; who is not flagged is left alone, and a flag of the list that has ended counts for nothing."""
    histories = {
        1: history((0, True)),
        2: history((0, True), (2000, False)),
        3: history((2000, True)),
        4: history((0, True), (500, False)),
        5: history((0, True)),
    }
    steps = changes(histories, Wanted(1), Wanted(5, until=900), prune=True)
    assert [(step.account, step.change) for step in steps] == [
        *((1, Change.UNCHANGED), (2, Change.CLEARED), (3, Change.CLEARED), (5, Change.CLEARED))
    ]
    assert all(step.after == () for step in steps[1:])
    assert [(step.account, step.change) for step in changes(histories, Wanted(1))] == [(1, Change.UNCHANGED)]


def test_what_flags_rest_on_has_a_digest() -> None:
    """It moves with every event."""
    assert apply.digest(history((0, True))) == apply.digest(history((0, True)))
    assert len({apply.digest(history(*events)) for events in ((), ((0, True),), ((0, False),), ((1, True),))}) == 4


events = st.lists(st.tuples(st.integers(0, 30).map(lambda n: n * 100), st.booleans()), max_size=7)
moments = st.none() | st.integers(0, 30).map(lambda n: n * 100)
entries = st.tuples(moments, moments).filter(
    lambda pair: pair[1] is None or ((pair[0] is None or pair[0] < pair[1]) and pair[1] > NOW)
)


@settings(max_examples=400)
@given(st.dictionaries(st.integers(1, 4), events), st.dictionaries(st.integers(1, 4), entries), st.booleans())
def test_behind_it_the_flags_are_the_list(
    given_events: dict[int, list[tuple[int, bool]]],
    listed: dict[int, tuple[int | None, int | None]],
    prune: bool,  # noqa: FBT001 - hypothesis
) -> None:
    """Whatever was flagged before; applied again it changes nothing; without --prune others keep their flags."""
    histories = {account: history(*found) for account, found in given_events.items()}
    wanted = [Wanted(account, start, until) for account, (start, until) in listed.items()]
    before = {account: apply.present(found, NOW) for account, found in histories.items()}
    for step in changes(histories, *wanted, prune=prune):
        found = histories.get(step.account, History(()))
        assert step.before == before.get(step.account, ())
        histories[step.account] = published(found, step, NOW)
    for account, found in histories.items():
        now = apply.present(found, NOW)
        if account not in listed:
            assert now == (() if prune else before[account])
            continue
        start, until = listed[account]
        assert now == (Interval(max(start or 0, NOW), until),)
    again = changes(histories, *wanted, prune=prune, now=NOW)
    assert {step.change for step in again} <= {Change.UNCHANGED}
