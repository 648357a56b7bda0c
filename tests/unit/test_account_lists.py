"""The list of accounts and what changed in it, against an oracle that replays flag events one by one."""

import json
from collections.abc import Callable

from fakes import FakeRecords, record
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.pipeline import topics
from fraudctl.pipeline.records import AccountFlag, Status
from fraudctl.pipeline.text import iso
from fraudctl.services.accounts import changes, listing
from fraudctl.services.flags.timeline import ALWAYS

END = 100
KEPT = 64

Event = tuple[int, int, int, bool]  # account, published, date, flagged
events = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, END), st.integers(0, END), st.booleans()), max_size=30
) | st.lists(st.tuples(st.just(1), st.integers(0, END), st.integers(0, END), st.booleans()), min_size=60, max_size=80)
times = st.integers(-1, END + 1)


def topic(found: list[Event]) -> FakeRecords:
    """Write events as a broker has them, in the order of publishing."""
    flags = []
    for offset, (account, published, date, flagged) in enumerate(sorted(found, key=lambda event: event[1])):
        event = AccountFlag(
            account_id=account,
            flag_date=str(iso(date)),
            status=Status.FLAGGED if flagged else Status.CLEARED,
            reason=str(offset),
            flagged_by="ada",
        )
        flags.append(record(offset, event.to_json(), topic=topics.FLAGGED.name, timestamp=published))
    return FakeRecords(of_topic={topics.FLAGGED.name: flags})


def replay(found: list[Event], account: int, known_at: int) -> Callable[[int], bool | None]:
    """Give whether the account is flagged at a date; None where no event holds yet.

    Each event that is known is laid over the ones before it: it holds from its date to the next date that has one.
    """
    ordered = [event for event in sorted(found, key=lambda event: event[1]) if event[0] == account]
    known = [event for event in ordered if event[1] <= known_at]
    holds = {date: flagged for _, _, date, flagged in known[-KEPT:]}

    def at(moment: int) -> bool | None:
        for date in range(moment, -1, -1):
            if date in holds:
                return holds[date]
        return None

    return at


def expected(found: list[Event], as_of: int, known_at: int) -> dict[int, tuple[str, int | None, int | None]]:
    """Give each account's state, since and until, looked up day by day; what is not flagged is off."""
    result: dict[int, tuple[str, int | None, int | None]] = {}
    for account in {event[0] for event in found if event[1] <= known_at}:
        at = replay(found, account, known_at)
        begin = as_of if at(as_of) else next((day for day in range(max(as_of, -1) + 1, END + 1) if at(day)), None)
        if begin is None:
            result[account] = ("off", None, None)
            continue
        since = begin
        while at(since - 1):
            since -= 1
        until = next((day for day in range(begin, END + 1) if not at(day)), None)
        result[account] = ("FLAGGED" if at(as_of) else "SCHEDULED", since, until)
    return result


@given(events, times, times | st.just(ALWAYS))
def test_the_list_at_any_two_moments(found: list[Event], as_of: int, known_at: int) -> None:
    """Who is flagged or will be, since when and until when, is what replaying the events gives."""
    rows = listing.listing(topic(found), listing.Query(as_of=as_of, known_at=known_at)).rows()
    got = {}
    for row in rows:
        on = row["state"] in {"FLAGGED", "SCHEDULED"}
        got[row["account_id"]] = (row["state"], row["since"], row["until"]) if on else ("off", None, None)
    wanted = {
        account: (state, iso(since), iso(until))
        for account, (state, since, until) in expected(found, as_of, known_at).items()
    }
    assert got == wanted


@given(events, times, times, st.none() | times)
def test_a_diff_is_the_difference_of_two_lists(found: list[Event], first: int, last: int, known: int | None) -> None:
    """Every account whose line differs, with both lines, and no other."""
    moments = (min(first, last), max(first, last))
    known_at = moments if known is None else (known, known)

    def lines(as_of: int, known_at: int) -> dict[int, tuple[object, ...]]:
        rows = listing.listing(topic(found), listing.Query(as_of=as_of, known_at=known_at)).rows()
        return {row["account_id"]: tuple(row[name] for name in listing.FIELDS[1:6]) for row in rows}

    before, after = (lines(*pair) for pair in zip(moments, known_at, strict=True))
    names = listing.FIELDS[1:6]
    nothing = (None,) * len(names)
    result = changes.changes(topic(found), changes.Span(moments, known_at))
    rows = list(result.rows())
    assert {
        row["account_id"]: (tuple(row[f"was_{name}"] for name in names), tuple(row[name] for name in names))
        for row in rows
    } == {
        account: (before.get(account, nothing), after.get(account, nothing))
        for account in before.keys() | after.keys()
        if before.get(account) != after.get(account)
    }
    on = {"FLAGGED", "SCHEDULED"}
    for row in rows:
        was, is_ = row["was_state"] in on, row["state"] in on
        assert row["change"] == ("changed" if was == is_ else "flagged" if is_ else "ended")
    assert result.counts.total() == len(rows)


def test_rows_for_programs_are_those_of_the_list() -> None:
    """By the thousand, as JSON Lines, with the columns that were chosen."""
    found = listing.listing(topic([(n % 1500 + 1, 1, 1, True) for n in range(3000)]), listing.Query(as_of=5))
    output = listing.RowOutput(("account_id", "state"))
    parts = [output.json(rows) for rows in listing.batches(found.rows())]
    lines = b"".join(parts).splitlines()
    assert len(parts) == 2
    assert sorted(json.loads(line)["account_id"] for line in lines) == list(range(1, 1501))
    assert lines[0] == b'{"account_id":1,"state":"FLAGGED"}'
