"""When an account is flagged, against the rule itself and by known answers."""

from hypothesis import given
from hypothesis import strategies as st

from fraudctl.services.flags.rule import FlagEvent, History
from fraudctl.services.flags.timeline import State, standing, steps

flags = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 120), st.booleans()), max_size=80)


def history(*found: tuple[int, int, bool]) -> History:
    """Make events of (published, date, flagged)."""
    return History(FlagEvent(at, date, on, 0, n, str(date), None, "ada") for n, (at, date, on) in enumerate(found))


@given(flags, st.integers(0, 130), st.integers(0, 130))
def test_flagged_when_the_rule_says_so(found: list[tuple[int, int, bool]], as_of: int, known_at: int) -> None:
    """The event in force is that of the rule, and what lies between since and until is flagged as well."""
    events = history(*sorted(found, key=lambda event: event[0]))
    known = sum(event.published <= known_at for event in events.events)
    force = events.in_force(known, as_of)
    result = standing(events, as_of, known_at)
    assert (result is not None and result.state is State.FLAGGED) == (force is not None and force.flagged)
    if result is None or result.state is not State.FLAGGED:
        return
    assert result.event == force
    for date in range(131):
        at = events.in_force(known, date)
        if result.since <= date < (result.until or 131):
            assert at is not None
            assert at.flagged
        elif date in {result.since - 1, result.until}:
            assert at is None or not at.flagged


def test_known_answers() -> None:
    """Scheduled, flagged until an end, expired; cleared by hand; as it was known before."""
    until = history((10, 20, True), (10, 50, False))
    assert [standing(until, at).state for at in (10, 20, 49, 50)] == [  # type: ignore[union-attr]
        *(State.SCHEDULED, State.FLAGGED, State.FLAGGED, State.EXPIRED)
    ]
    found = standing(until, 30)
    assert found is not None
    assert (found.since, found.until) == (20, 50)
    cleared = history((10, 10, True), (30, 30, False))
    assert standing(cleared, 40).state is State.CLEARED  # type: ignore[union-attr]
    assert standing(cleared, 40, known_at=20).state is State.FLAGGED  # type: ignore[union-attr]
    assert standing(cleared, 40, known_at=9) is None


def test_extended() -> None:
    """A flag event at the old end undoes the end, and a later one is set."""
    extended = history((10, 10, True), (10, 50, False), (40, 50, True), (40, 90, False))
    found = standing(extended, 60)
    assert found is not None
    assert (found.state, found.since, found.until) == (State.FLAGGED, 10, 90)
    assert [event.date for event in steps(extended)] == [10, 50, 90]


def test_an_end_that_was_set_means_nothing_once_it_was_cleared_by_hand() -> None:
    """Cleared since then, not expired at the end; clearing again changes nothing either."""
    early = history((10, 10, True), (10, 50, False), (30, 30, False))
    found = standing(early, 60)
    assert found is not None
    assert (found.state, found.since, found.event.date) == (State.CLEARED, 30, 30)
    twice = history((10, 10, True), (10, 50, False), (60, 60, False))
    found = standing(twice, 70)
    assert found is not None
    assert (found.state, found.since) == (State.EXPIRED, 50)


def test_a_clear_ahead_of_an_account_that_was_never_flagged_is_no_end() -> None:
    """Nothing expires; it is cleared since that was said, also where a flag that was to come is called off by it."""
    called_off = history((10, 50, True), (20, 50, False))
    assert [standing(called_off, at).since for at in (15, 30, 60)] == [20, 20, 20]  # type: ignore[union-attr]
    assert standing(history((10, 50, False)), 60).state is State.CLEARED  # type: ignore[union-attr]
    assert standing(history((10, 50, False)), 20).state is State.CLEARED  # type: ignore[union-attr]
