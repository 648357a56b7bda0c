"""The rule by the thousand: `Detection` in one JVM against the oracle, in any order of reading."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from javatools import LineProgram, line_program
from oracle import KEPT_FLAGS, Flag, Result, Transaction, accepted, detections

HOLD = 10_000
SLACK = 3_000
# Few different times, so that equal ones and those exactly hold or slack apart come up.
TIMES = st.one_of(st.integers(0, 40).map(lambda second: second * 1000), st.integers(0, 40_000))
OFFSETS = st.sampled_from([-HOLD - 1, -HOLD, 1 - HOLD, -SLACK, -1, 0, 1, SLACK, HOLD, HOLD + 1])
DATES = st.integers(0, 12).map(lambda number: number * 1000)
END_OF_TIME = 10**12


class Histories(NamedTuple):
    """What is published, each topic in its order, and the order of reading: True prefers the next transaction."""

    transactions: list[Transaction]
    flags: list[Flag]
    reading: list[bool]


@st.composite
def histories(draw: st.DrawFn) -> Histories:
    """Draw histories of two accounts."""
    accounts = st.integers(1, 2)
    flags = draw(st.lists(st.builds(Flag, TIMES, accounts, DATES, st.booleans(), st.just("")), max_size=12))
    if draw(st.integers(0, 9)) == 0:  # more than are kept
        flags += [Flag(draw(TIMES), 1, draw(DATES), draw(st.booleans()), "") for _ in range(draw(st.integers(50, 70)))]
    flags.sort(key=lambda flag: flag.published)
    flags = [flag._replace(reason=str(offset)) for offset, flag in enumerate(flags)]
    near = [flag.published for flag in flags[:12]] or [0]
    published = st.one_of(TIMES, st.tuples(st.sampled_from(near), OFFSETS).map(lambda pair: max(0, sum(pair))))
    ids = st.sampled_from(["a", "b", "c"])
    transactions = draw(st.lists(st.builds(Transaction, published, accounts, DATES, ids), min_size=1, max_size=12))
    transactions.sort(key=lambda transaction: transaction.published)
    count = len(transactions) + len(flags)
    return Histories(transactions, flags, draw(st.lists(st.booleans(), min_size=count, max_size=count)))


@pytest.fixture(scope="module")
def detection() -> Iterator[LineProgram]:
    """`Detection`, asked history by history."""
    with line_program("io.fraudctl.flink.DetectionMain") as program:
        yield program


def line(event: Transaction | Flag, offset: int) -> str:
    """Give the line for one record."""
    if isinstance(event, Transaction):
        return f"t {event.published} {event.account} {event.date} {offset} {event.id}"
    status = "FLAGGED" if event.flagged else "CLEARED"
    return f"f {event.published} {event.account} {event.date} {status} {offset}"


def run(detection: LineProgram, lines: list[str]) -> tuple[list[tuple[int, int]], list[int]]:
    """Run one history; give (transaction's offset, flag event's offset) of each detection, and what is remembered."""
    *detected, end = detection.ask([f"history {HOLD} {SLACK}", *lines, "end"], until="end")
    return [(int(t), int(f)) for _, t, f in map(str.split, detected)], [int(number) for number in end.split()[1:]]


def replay(case: Histories) -> Iterator[str]:
    """Read a backlog: the clock is just before the last record of the topic that is behind, less slack."""
    read = {True: 0, False: 0}
    topics: dict[bool, Sequence[Transaction | Flag]] = {True: case.transactions, False: case.flags}
    for transaction_first in case.reading:
        which = transaction_first if read[transaction_first] < len(topics[transaction_first]) else not transaction_first
        yield line(topics[which][read[which]], read[which])
        read[which] += 1
        behind = [
            topics[which][count - 1].published - 1 - SLACK if count else -END_OF_TIME
            for which, count in read.items()
            if count < len(topics[which])
        ]
        if behind and min(behind) > -END_OF_TIME:
            yield f"c {min(behind)}"


@settings(max_examples=1500)
@given(case=histories())
def test_replay_is_exact_in_any_order_of_reading(detection: LineProgram, case: Histories) -> None:
    """A backlog gives exactly what the oracle gives, and in the end nothing but 64 flag events is remembered."""
    detected, (flags, transactions, identities) = run(detection, [*replay(case), f"c {END_OF_TIME}"])
    found = {result(case, *pair) for pair in detected}
    assert found == detections(case.transactions, case.flags, HOLD)
    assert len({t for t, _ in detected}) == len(detected)
    assert flags <= KEPT_FLAGS
    assert (transactions, identities) == (0, 0)


def result(case: Histories, transaction: int, flag: int) -> Result:
    """Give a detection as the oracle does."""
    return case.transactions[transaction].identity, case.flags[flag].date, case.flags[flag].reason


@settings(max_examples=800)
@given(case=histories(), lag=st.integers(0, SLACK - 1), jitter=st.integers(0, 900))
def test_live_race(detection: LineProgram, case: Histories, lag: int, jitter: int) -> None:
    """Live, with flag events read up to slack late, each outcome is one that is right."""
    events: list[tuple[int, int, Transaction | Flag, int]] = [
        *((t.published, 1, t, offset) for offset, t in enumerate(case.transactions)),
        *((f.published + lag, 0, f, offset) for offset, f in enumerate(case.flags)),
    ]
    lines = [f"c {-jitter - 1}"]
    for read_at, _, event, offset in sorted(events, key=lambda event: event[:2]):
        lines += [line(event, offset), f"c {read_at - lag - 1 - jitter}"]
    detected, _ = run(detection, [*lines, f"c {END_OF_TIME}"])
    first = dict[tuple[int, int, str], tuple[int, str]]()
    for transaction, flag in detected:
        first.setdefault(case.transactions[transaction].identity, (case.flags[flag].date, case.flags[flag].reason))
    for identity in {t.identity for t in case.transactions}:
        right = set[tuple[int, str] | None]([None])
        for copy in (t for t in case.transactions if t.identity == identity):
            if None in right:
                right = (right - {None}) | accepted(copy, case.flags, HOLD, SLACK)
        assert first.get(identity) in right


def test_a_transaction_read_late_takes_nothing_from_others(detection: LineProgram) -> None:
    """What an open Kafka transaction held back comes when the clock has gone on; what waits for a flag stays known."""
    lines = ["f 0 1 5000 FLAGGED 0", "c 21500", "t 21000 1 1000 1 waits", "t 1000 1 6000 0 late", "c 21600"]
    detected, _ = run(detection, [*lines, "f 22000 1 0 FLAGGED 1", f"c {END_OF_TIME}"])
    assert detected == [(0, 0), (1, 1)]


@settings(max_examples=800)
@given(case=histories(), late=st.lists(st.integers(0, 4 * HOLD), min_size=12, max_size=12))
def test_transactions_read_late_are_decided_as_in_time(
    detection: LineProgram, case: Histories, late: list[int]
) -> None:
    """However late each is read, with the clock beyond it, what is detected is right, and nothing stays remembered."""
    events: list[tuple[int, int, Transaction | Flag, int]] = [
        *((t.published + late[offset], 1, t, offset) for offset, t in enumerate(case.transactions)),
        *((f.published, 0, f, offset) for offset, f in enumerate(case.flags)),
    ]
    lines = list[str]()
    for read_at, _, event, offset in sorted(events, key=lambda event: event[:2]):
        lines += [f"c {read_at - 1}", line(event, offset)]
    detected, (_, transactions, identities) = run(detection, [*lines, f"c {END_OF_TIME}", f"c {2 * END_OF_TIME}"])
    assert (transactions, identities) == (0, 0)
    if len(case.flags) <= KEPT_FLAGS and len({t.identity for t in case.transactions}) == len(case.transactions):
        assert {result(case, *pair) for pair in detected} == detections(case.transactions, case.flags, HOLD)
