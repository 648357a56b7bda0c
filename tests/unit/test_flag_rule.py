"""The rule that `audit verify` judges by, against the tests' own oracle."""

import oracle
from hypothesis import example, given
from hypothesis import strategies as st

from fraudctl.services.flags.rule import FlagEvent, History

HOLD, SLACK = 60, 5

flags = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 120), st.booleans()), max_size=9)


def both(found: list[tuple[int, int, bool]]) -> tuple[History, list[oracle.Flag]]:
    """Give the same events to both; the reason tells which one it is."""
    found = sorted(found, key=lambda flag: flag[0])
    events = [FlagEvent(at, date, on, 0, n, str(date), str(n), "ada") for n, (at, date, on) in enumerate(found)]
    return History(reversed(events)), [oracle.Flag(at, 7, date, on, str(n)) for n, (at, date, on) in enumerate(found)]


@given(flags, st.integers(0, 130), st.integers(0, 130))
@example([(10, 0, True), (12, 0, False)], 12, 50)
def test_the_same_outcomes_as_the_oracle(found: list[tuple[int, int, bool]], published: int, date: int) -> None:
    """Every right one, and no other."""
    history, events = both(found)
    transaction = oracle.Transaction(published, 7, date, "t")
    outcomes = history.outcomes(published, date, hold=HOLD, slack=SLACK)
    assert {event and (event.date, event.reason) for event in outcomes} == oracle.accepted(
        transaction, events, HOLD, SLACK
    )


@given(st.integers(0, 200), st.integers(60, 70))
def test_only_the_last_64_events_count(date: int, number: int) -> None:
    """As in the application's state."""
    found = [(n, n, n % 3 > 0) for n in range(number)]
    history, events = both(found)
    outcomes = history.outcomes(300, date, hold=HOLD, slack=SLACK)
    assert {event and (event.date, event.reason) for event in outcomes} == oracle.accepted(
        oracle.Transaction(300, 7, date, "t"), events, HOLD, SLACK
    )


def event(published: int, date: int, offset: int, *, flagged: bool = True) -> FlagEvent:
    """Give a flag event of partition 0."""
    return FlagEvent(published, date, flagged, 0, offset, "", None, "ada")


def test_a_late_flag_detects_within_hold() -> None:
    """And not a moment later; a clear that comes later takes nothing back."""
    late = event(160, 90, 0)
    assert History([late]).outcomes(100, 95, hold=HOLD, slack=SLACK) == {late}
    assert History([late]).outcomes(99, 95, hold=HOLD, slack=SLACK) == {None}
    assert History([late]).outcomes(100, 89, hold=HOLD, slack=SLACK) == {None}
    cleared = event(110, 91, 1, flagged=False)
    early = late._replace(published=50)
    assert History([early, cleared]).outcomes(100, 95, hold=HOLD, slack=SLACK) == {early}
    assert History([early, cleared]).outcomes(120, 95, hold=HOLD, slack=SLACK) == {None}
    assert History([early, cleared]).outcomes(112, 95, hold=HOLD, slack=SLACK) == {early, None}
