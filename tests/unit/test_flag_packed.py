"""Flag events by the million: the quick parser against the records' rules, and what is kept against all events."""

import json
from typing import Any

import pytest
from corpus import LINES, Line
from fakes import FakeRecords, record
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.clock import Clock
from fraudctl.pipeline.dates import date_milliseconds
from fraudctl.pipeline.reader import Records
from fraudctl.pipeline.records import AccountFlag, Malformed, Status
from fraudctl.services.flags import parsing, timeline
from fraudctl.services.flags.packed import PackedFlags, read
from fraudctl.services.flags.rule import FlagEvent, History

PLAIN: dict[str, Any] = {
    "account_id": 7,
    "flag_date": "2026-11-24T10:00:00.000Z",
    "status": "FLAGGED",
    "reason": "stolen card",
    "flagged_by": "ada",
}


def by_the_rules(value: bytes | None) -> tuple[int, int, bool, str | None, str] | None:
    """Parse as the records do; None when it is malformed."""
    try:
        event = AccountFlag.parse(value)
    except Malformed:
        return None
    flagged = event.status is Status.FLAGGED
    return event.account_id, date_milliseconds(event.flag_date), flagged, event.reason, event.flagged_by


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_the_corpus_is_judged_alike(line: Line) -> None:
    """Every line, also those of the other topic, which are no flag events."""
    assert parsing.fields(line.value) == by_the_rules(line.value)


@pytest.mark.parametrize(
    "value",
    [
        json.dumps(PLAIN).encode(),
        json.dumps(PLAIN, separators=(",", ":")).encode(),
        json.dumps(dict(reversed(PLAIN.items())), indent=1).encode(),
        json.dumps({**PLAIN, "case": 4711, "team": "fraud", "open": True}).encode(),
        json.dumps({**PLAIN, "reason": None}).encode(),
        json.dumps({**PLAIN, "reason": "Kärte 😀"}, ensure_ascii=False).encode(),
        json.dumps({**PLAIN, "reason": 'Kärte 😀 "A\\\\B" \\', "flagged_by": "\\"}).encode(),
    ],
)
def test_the_common_ones_go_the_quick_way(value: bytes) -> None:
    """Whoever wrote them, with further fields too."""
    assert parsing._quick(value) == by_the_rules(value)


@pytest.mark.parametrize(
    "value",
    [
        b'{"account_id":7,"flag_date":"2026-11-24T10:00:00.000Z","status":"FLAGGED","reason":null,"reason":null,"flagged_by":"a"}',
        b'{"account_id":7,"account_id":7,"flag_date":"2026-11-24T10:00:00.000Z","status":"FLAGGED","reason":"b","flagged_by":"a"}',
        rb'{"account_id":7,"flag_date":"2026-11-24T10:00:00.000Z","status":"FLAGGED","reason":null,"re\u0061son":null,"flagged_by":"a"}',
        rb'{"account_id":7,"flag_date":"2026-11-24T10:00:00.000Z","status":"FLAGGED","reason":"\\","reason":"\"","flagged_by":"a"}',
        rb'{"account_id":7,"flag_date":"2026-11-24T10:00:00.000Z","status":"FLAGGED","reason":"\ud800","flagged_by":"a"}',
        b'{"account_id":7.0,"flag_date":"2026-11-24T10:00:00.000Z","status":"FLAGGED","reason":"b","flagged_by":"a"}',
        b'{"account_id":true,"flag_date":"2026-11-24T10:00:00.000Z","status":"FLAGGED","reason":"b","flagged_by":"a"}',
        b'{"account_id":9223372036854775808,"flag_date":"2026-11-24T10:00:00.000Z","status":"FLAGGED","reason":"b","flagged_by":"a"}',
        b'{"account_id":7,"flag_date":"2026-02-30T10:00:00.000Z","status":"FLAGGED","reason":"b","flagged_by":"a"}',
        b'{"account_id":7,"flag_date":"2026-11-24T24:00:00.000Z","status":"FLAGGED","reason":"b","flagged_by":"a"}',
        b'{"account_id":7,"flag_date":"2026-11-24T10:00:00.000Z","status":["FLAGGED"],"reason":"b","flagged_by":"a"}',
        b'{"account_id":7,"flag_date":"2026-11-24T10:00:00.000Z","status":"FLAGGED","reason":"b","flagged_by":"a","x":{"y":1,"y":2}}',
    ],
)
def test_what_only_looks_like_one_is_malformed(value: bytes) -> None:
    """Repeated fields, numbers that are no integers, days that do not exist."""
    assert by_the_rules(value) is None
    assert parsing.fields(value) is None


texts = st.one_of(st.none(), st.text(max_size=300), st.integers(), st.floats(), st.booleans())
dates = st.one_of(
    st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z\Z"),
    st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds") + "Z"),
)


@given(
    st.fixed_dictionaries(
        {
            "account_id": st.one_of(st.integers(-1, 2**64), st.floats(), st.just("7")),
            "flag_date": dates,
            "status": st.sampled_from(["FLAGGED", "CLEARED", "flagged", None]),
            "reason": texts,
            "flagged_by": texts,
        },
        optional={"extra": st.recursive(texts, st.lists, max_leaves=3), "é": texts},
    ),
    st.booleans(),
    st.binary(max_size=2),
)
def test_any_record_is_judged_alike(data: dict[str, Any], letters: bool, noise: bytes) -> None:  # noqa: FBT001 - drawn
    """With escapes or letters, and with bytes behind it."""
    text = json.dumps(data, ensure_ascii=letters)
    for value in (text.encode(errors="surrogatepass"), text.encode(errors="surrogatepass") + noise):
        assert parsing.fields(value) == by_the_rules(value)


events = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 60), st.integers(0, 60), st.booleans(), st.integers(0, 1)), max_size=150
)


def flag_record(offset: int, published: int, partition: int = 0, **changes: Any) -> Any:
    """Make a record of the flag topic; a change that is a number of milliseconds is a date."""
    values = {"account_id": 7, "flag_date": "1970-01-01T00:00:00.000Z", "reason": None, "flagged_by": "ada", **changes}
    value = AccountFlag(status=values.pop("status", Status.FLAGGED), **values).to_json()
    return record(offset, value, timestamp=published, partition=partition)


@given(events, st.integers(0, 65), st.lists(st.integers(0, 65), min_size=1, max_size=2), st.integers(1, 200))
def test_what_is_dropped_never_counts(
    found: list[tuple[int, int, int, bool, int]], as_of: int, known_at: list[int], full: int
) -> None:
    """However early events are dropped, and in whatever order they come, the standing is that of all of them."""
    packed = PackedFlags(known_at, full=full)
    every: dict[int, list[FlagEvent]] = {}
    for offset, (account, published, date, flagged, partition) in enumerate(found):
        flag_date = f"1970-01-01T00:00:00.{date:03d}Z"
        status = Status.FLAGGED if flagged else Status.CLEARED
        changes = {"account_id": account, "flag_date": flag_date, "status": status, "reason": str(offset)}
        packed.add(Records("flagged_accounts", [flag_record(offset, published, partition, **changes)]))
        event = FlagEvent(published, date, flagged, partition, offset, flag_date, str(offset), "ada")
        every.setdefault(account, []).append(event)
    rows = dict(packed.rows())
    assert list(rows) == sorted(rows)
    for account, all_events in every.items():
        for moment in known_at:
            expected = timeline.standing(History(all_events), as_of, moment)
            result = packed.judged(rows.get(account, []), as_of, moment)
            if expected is None or result is None:
                assert expected is None
                assert result is None
                continue
            assert (result.state, result.since, result.until) == (expected.state, expected.since, expected.until)
            assert packed.event(result.at) == expected.event


def test_no_more_is_held_than_can_count() -> None:
    """A thousand events of an account, of which 64 count; texts that come again lie there once."""
    packed = PackedFlags(full=100)
    packed.add(Records("flagged_accounts", [flag_record(n, n, reason="again") for n in range(1000)]))
    assert (packed.read, len(packed)) == (1000, 64)
    ((account, rows),) = packed.rows()
    assert account == 7
    assert [packed.event(row).offset for row in rows] == list(range(936, 1000))
    assert {packed.reason(row) for row in rows} == {"again"}


def test_only_the_accounts_that_are_asked_for() -> None:
    """And nothing that was published later than the last moment asked about."""
    packed = PackedFlags([50], frozenset({8}))
    records = [flag_record(0, 10), flag_record(1, 20, account_id=8), flag_record(2, 60, account_id=8)]
    packed.add(Records("flagged_accounts", records))
    assert [(number, [packed.event(row).offset for row in rows]) for number, rows in packed.rows()] == [(8, [1])]


def test_nobody_waits_in_silence() -> None:
    """Every five seconds it says how far it has come."""
    said: list[str] = []
    ticks = iter(range(0, 600, 6))
    source = FakeRecords(of_topic={"flagged_accounts": [flag_record(n, n) for n in range(1200)]})
    read(source, PackedFlags(), said.append, Clock(monotonic=lambda: float(next(ticks))))
    assert said == ["Read 1,200 flag events; 0 to come."]


def test_of_one_account_only_its_records_are_parsed() -> None:
    """Chosen by its digits; those of another one that has them too are left out all the same."""
    records = [flag_record(n, 1, account_id=account) for n, account in enumerate((4711, 47110, 8))]
    source = FakeRecords(of_topic={"flagged_accounts": records})
    packed = PackedFlags(accounts=frozenset({4711}))
    read(source, packed)
    assert packed.read == 2
    assert [account for account, _ in packed.rows()] == [4711]
