"""fraudctl accounts list and diff, on flag events in memory."""

import csv
import io
import json
from typing import Any

import pytest
from conftest import Result, Run
from fakes import FakeRecords, FakeTarget, Undeployed, record

from fraudctl import tables
from fraudctl.pipeline import topics
from fraudctl.pipeline.dates import date_milliseconds
from fraudctl.pipeline.records import AccountFlag, Status

# A week: (published, account, date, status, reason, by), days of November 2026.
WEEK = (
    ("16T09:00", 1, "16T09:00", "FLAGGED", "stolen card", "ada"),
    ("16T10:00", 2, "16T10:00", "FLAGGED", "phishing", "ada"),
    ("16T10:00", 2, "20T00:00", "CLEARED", "phishing", "ada"),
    ("17T12:00", 3, "23T00:00", "FLAGGED", "travel", "bo"),
    ("18T09:00", 1, "18T09:00", "CLEARED", None, "bo"),
    ("19T09:00", 4, "17T00:00", "FLAGGED", "=sum(A1)", "bo"),
    ("19T09:30", 2, "20T00:00", "FLAGGED", "phishing", "ada"),
    ("19T09:30", 2, "24T00:00", "CLEARED", "phishing", "ada"),
)


def day(text: str) -> str:
    """Give a day of November and its hour as a date."""
    return f"2026-11-{text}:00.000Z"


def target(*events: tuple[str, int, str, str, str | None, str]) -> FakeTarget:
    """Make a stack with these flag events, and one that is malformed."""
    flags: list[Any] = [record(0, b'{"account_id":9}', topic=topics.FLAGGED.name)]
    for offset, (published, account, date, status, reason, by) in enumerate(events, 1):
        event = AccountFlag(
            account_id=account, flag_date=day(date), status=Status(status), reason=reason, flagged_by=by
        )
        place = {"partition": account % 4, "timestamp": date_milliseconds(day(published))}
        flags.append(record(offset, event.to_json(), topic=topics.FLAGGED.name, **place))
    return FakeTarget(records=FakeRecords(of_topic={topics.FLAGGED.name: flags}))


@pytest.fixture
def listed(run: Run) -> Any:
    """List the week's accounts; give their states, in order."""

    def of(*arguments: str) -> list[tuple[int, str]]:
        done = run(target(*WEEK), "accounts", "list", *arguments, output="json")
        assert done.code == 0, done.err
        return [(row["account_id"], row["state"]) for row in map(json.loads, done.out.splitlines())]

    return of


def test_two_clocks(listed: Any) -> None:
    """What it is at a time, by what is known now; and as it was known then."""
    assert listed("--as-of", day("17T18:00")) == [
        *((4, "FLAGGED"), (2, "FLAGGED"), (1, "FLAGGED")),
        (3, "SCHEDULED"),
    ]
    assert listed("--known-at", day("17T18:00")) == [(2, "FLAGGED"), (1, "FLAGGED"), (3, "SCHEDULED")]
    assert listed("--as-of", day("22T00:00")) == [(4, "FLAGGED"), (2, "FLAGGED"), (3, "SCHEDULED"), (1, "CLEARED")]
    assert listed("--as-of", day("22T00:00"), "--known-at", day("17T18:00")) == [
        *((1, "FLAGGED"), (3, "SCHEDULED")),
        (2, "EXPIRED"),
    ]
    assert listed("--known-at", day("16T08:59")) == []


def test_every_field_of_an_account(run: Run) -> None:
    """What says so is the event in force; extended, it is flagged since the first one."""
    arguments = ("accounts", "list", "2", "--as-of", day("22T00:00"))
    done = run(target(*WEEK), *arguments, output="json")
    assert json.loads(done.out) == {
        "account_id": 2,
        "state": "FLAGGED",
        "since": day("16T10:00"),
        "until": day("24T00:00"),
        "reason": "phishing",
        "flagged_by": "ada",
        "published": day("19T09:30"),
        "partition": 2,
        "offset": 7,
    }
    assert done.err == f"1 flagged as of {day('22T00:00')}.\n"
    done = run(target(*WEEK), *arguments)
    assert tables.short_time(day("24T00:00")) in done.out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--flagged",), [4, 2]),
        (("--state", "scheduled", "--state", "CLEARED"), [3, 1]),
        (("--reason", "travel"), [3]),
        (("--by", "bo"), [4, 3, 1]),
        (("--by", "bo", "--flagged"), [4]),
        (("--where", "reason like 'phi%' or account_id = 1"), [2, 1]),
        (("--where", 'until < "2026-12-01"'), [2]),
        (("3", "1"), [3, 1]),
        (("--limit", "2"), [4, 2]),
    ],
)
def test_which(listed: Any, arguments: tuple[str, ...], expected: list[int]) -> None:
    """By state, reason, person, filter or name."""
    assert [account for account, _ in listed("--as-of", day("22T00:00"), *arguments)] == expected


def test_the_summary_counts_what_was_asked_for(run: Run) -> None:
    """Also what a limit leaves out, and says what was known when; accounts that are not there are named."""
    moment = ("--as-of", day("22T00:00"))
    done = run(target(*WEEK), "accounts", "list", *moment, "--limit", "1", output="json")
    summary = f"2 flagged, 1 scheduled, 1 cleared as of {day('22T00:00')}"
    assert done.err == f"{summary}; the first 1 are shown, `--limit 4` shows all.\n"
    done = run(target(*WEEK), "accounts", "list", *moment, "--known-at", day("16T12:00"), output="json")
    assert done.err == (f"1 flagged, 1 expired as of {day('22T00:00')}, by what was known at {day('16T12:00')}.\n")
    done = run(target(*WEEK), "accounts", "list", "3", "9", "--known-at", day("16T12:00"), output="json")
    assert done.err.splitlines()[1:] == [
        f"Account 3 had never been flagged or cleared by {day('16T12:00')}.",
        f"Account 9 had never been flagged or cleared by {day('16T12:00')}.",
    ]
    done = run(target(*WEEK), "accounts", "list", *moment, "--reason", "no such", output="csv")
    assert (done.code, len(done.out.splitlines()), done.err) == (0, 1, f"No account as of {day('22T00:00')}.\n")
    done = run(target(), "accounts", "list")
    assert (done.code, done.out) == (0, "")
    assert done.err == "No account was ever flagged. Flag one: `fraudctl flag-accounts`\n"


def test_a_table_has_a_hundred_rows_unless_more_are_asked_for(run: Run) -> None:
    """A program gets all of them."""
    many = target(*(("16T09:00", account, "16T09:00", "FLAGGED", None, "ada") for account in range(1, 151)))
    done = run(many, "accounts", "list")
    assert len(done.out.splitlines()) == 102
    assert "150 flagged" in done.err
    assert "the first 100 are shown, `--limit 150` shows all" in done.err
    assert len(run(many, "accounts", "list", "--limit", "150").out.splitlines()) == 152
    assert len(run(many, "accounts", "list", output="json").out.splitlines()) == 150
    done = run(many, "accounts", "diff", day("01T00:00"))
    assert len(done.out.splitlines()) == 102
    assert "The first 100 are shown, and 50 are not: `-o csv` gives all." in done.err
    assert "150 flagged (+)" in done.err
    assert len(run(many, "accounts", "diff", day("01T00:00"), output="csv").out.splitlines()) == 151


def test_columns(run: Run) -> None:
    """CSV for a spreadsheet; chosen fields in every format; a column that is none is refused with the list."""
    arguments = ("accounts", "list", "4", "--as-of", day("22T00:00"))
    (row,) = csv.DictReader(io.StringIO(run(target(*WEEK), *arguments, output="csv").out))
    assert (row["account_id"], row["until"], row["reason"]) == ("4", "", "'=sum(A1)")
    done = run(target(*WEEK), *arguments, "--fields", "reason,account_id", output="json")
    assert done.out == '{"reason":"=sum(A1)","account_id":4}\n'
    done = run(target(*WEEK), *arguments, "--fields", "state, since")
    assert done.out.split() == ["state", "since", done.out.split()[2], "FLAGGED", day("17T00:00")]
    done = run(Undeployed(), "accounts", "list", "--fields", "iban")
    assert (done.code, done.out) == (2, "")
    assert "--fields: 'iban' is no column" in done.err
    assert "account_id, state, since, until, reason" in done.err


def test_times_as_tail_reads_them(run: Run) -> None:
    """Without a zone in the machine's, which is said; what is no time is refused before anything is read."""
    done = run(target(*WEEK), "accounts", "list", "--as-of", "2026-11-22", output="json")
    assert "--as-of 2026-11-22 read as 2026-11-22T00:00:00" in done.err
    for option in ("--as-of", "--known-at"):
        done = run(Undeployed(), "accounts", "list", option, "soon")
        assert (done.code, done.out) == (2, "")
        assert f"{option}: 'soon' is not a time" in done.err
    done = run(Undeployed(), "accounts", "list", "--where", "record.offset > 5")
    assert (done.code, done.out) == (2, "")
    assert "an account is no Kafka record" in done.err
    done = run(Undeployed(), "accounts", "list", "x")
    assert (done.code, done.out) == (2, "")


def test_a_reason_never_drives_a_terminal(run: Run) -> None:
    """Escaped in a table and in JSON."""
    hostile = target(("16T09:00", 1, "16T09:00", "FLAGGED", "\x1b[31m\x9b\u202e", "\x7fada"))
    for output in ("table", "json", "csv"):
        done = run(hostile, "accounts", "list", output=output)
        assert not {"\x1b", "\x9b", "\u202e", "\x7f"} & set(done.out)
        assert "ada" in done.out


def changed(done: Result) -> list[tuple[str, int]]:
    """Give what changed of which account."""
    return [(row["change"], row["account_id"]) for row in map(json.loads, done.out.splitlines())]


def test_what_changed(run: Run) -> None:
    """Each moment by what was known then; or both by what is known now."""
    span = (day("17T18:00"), day("22T00:00"))
    done = run(target(*WEEK), "accounts", "diff", *span, output="json")
    assert changed(done) == [("ended", 1), ("changed", 2), ("flagged", 4)]
    assert done.err == (f"1 flagged (+), 1 cleared or expired (-), 1 changed (~) from {span[0]} to {span[1]}.\n")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert rows[1] == {
        "change": "changed",
        "account_id": 2,
        "state": "FLAGGED",
        "since": day("16T10:00"),
        "until": day("24T00:00"),
        "reason": "phishing",
        "flagged_by": "ada",
        "was_state": "FLAGGED",
        "was_since": day("16T10:00"),
        "was_until": day("20T00:00"),
        "was_reason": "phishing",
        "was_flagged_by": "ada",
    }
    done = run(target(*WEEK), "accounts", "diff", *span, "--known-at", day("30T00:00"), output="json")
    assert done.code == 0, done.err
    assert changed(done) == [("ended", 1)]
    assert f"by what was known at {day('30T00:00')}" in done.err
    done = run(target(*WEEK), "accounts", "diff", *span)
    assert [line.split()[:2] for line in done.out.splitlines()[2:]] == [["-", "1"], ["~", "2"], ["+", "4"]]


def test_a_diff_until_now_of_some_accounts_with_an_exit_code(run: Run) -> None:
    """Nothing that changed is 0; 8 only where it was asked for."""
    done = run(target(*WEEK), "accounts", "diff", "2026-11-16T00:00Z", "--account", "3", output="json")
    assert (done.code, changed(done)) == (0, [("flagged", 3)])
    done = run(target(*WEEK), "accounts", "diff", "2026-11-16T00:00Z", "--account", "3", "--exit-code", output="csv")
    assert done.code == 8
    (row,) = csv.DictReader(io.StringIO(done.out))
    assert (row["change"], row["was_state"]) == ("flagged", "")
    done = run(target(*WEEK), "accounts", "diff", "1h", "1m", "--exit-code")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("Nothing changed from ")
    done = run(Undeployed(), "accounts", "diff", "1h", "2h")
    assert (done.code, done.out) == (2, "")
    assert "1h is after 2h" in done.err
