"""fraudctl flag-accounts, on a target in memory."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import Run
from fakes import FakeFunctions, FakeRecords, FakeTarget, Undeployed, batch, record

from fraudctl.errors import OperationFailed, Unreachable
from fraudctl.pipeline.dates import format_date, parse_moment
from fraudctl.pipeline.records import AccountFlag, Status


def test_without_arguments_sample_accounts_are_flagged(run: Run) -> None:
    """Five different ones are drawn; the output says which, stderr what to type next."""
    target = FakeTarget()
    done = run(target, "flag-accounts", output="json")
    assert done.code == 0
    accounts = [json.loads(line)["account_id"] for line in done.out.splitlines()]
    assert accounts == sorted(set(accounts))
    assert (len(accounts), set(accounts) <= set(range(1000000001, 1000000011))) == (5, True)
    assert target.functions.payloads == [
        {
            "events": [
                {"account_id": account, "status": "FLAGGED", "flag_date": None, "reason": None} for account in accounts
            ],
            "flagged_by": "bo",
        }
    ]
    assert "`fraudctl tail processed`" in done.err
    assert f"`fraudctl audit query {accounts[0]}`" in done.err


def test_named_accounts_with_all_options(run: Run, tmp_path: Path) -> None:
    """Arguments and file go together, each account once; times become the records' form."""
    file = tmp_path / "accounts"
    file.write_text("7\n\n 8 \n9223372036854775807\n")
    target = FakeTarget()
    done = run(
        target,
        *("flag-accounts", "8", "5", "--file", str(file), "--reason", "stolen card"),
        *("--from", "2026-11-24T11:00:00+01:00"),
    )
    assert done.code == 0
    (payload,) = target.functions.payloads
    assert [event["account_id"] for event in payload["events"]] == [8, 5, 7, 9223372036854775807]
    assert {event["flag_date"] for event in payload["events"]} == {"2026-11-24T10:00:00.000Z"}
    assert {event["reason"] for event in payload["events"]} == {"stolen card"}
    assert "9223372036854775807" in done.out


def test_clear_and_random(run: Run) -> None:
    """Clearing is the same event with the other status; N random ones are different."""
    target = FakeTarget()
    assert run(target, "flag-accounts", "--clear", "7").code == 0
    assert run(target, "flag-accounts", "--random", "2").code == 0
    assert [event["status"] for event in target.functions.payloads[0]["events"]] == ["CLEARED"]
    assert len({event["account_id"] for event in target.functions.payloads[1]["events"]}) == 2


def test_a_flag_later_than_hold_says_what_it_does_not_reach(run: Run) -> None:
    """On stderr alone; a flag within the stack's hold (60 s), from now on or in the future reaches all it names."""
    start = "2026-11-24T10:00:00.000Z"
    done = run(FakeTarget(), "flag-accounts", "7201", "--from", start, output="json")
    (row,) = map(json.loads, done.out.splitlines())
    until = format_date(parse_moment(row["published"]) - timedelta(seconds=60))
    assert done.code == 0
    assert (
        f"It reaches back 1 min (the stack's hold): transactions published before {until} stay undetected."
        f" `fraudctl tail transactions --since {start} --until {until} --account 7201` lists them."
    ) in done.err
    several = run(FakeTarget(), "flag-accounts", "7201", "7202", "--from", start).err
    assert re.search(rf"`fraudctl tail transactions --since {start} --until \S+Z` lists them", several)
    cleared = run(FakeTarget(), "flag-accounts", "--clear", "7201", "--from", start).err
    assert re.search(
        rf"transactions published before (\S+Z) keep their detections. `fraudctl audit query 7201 --since {start}"
        r" --until \1` lists them",
        cleared,
    )
    assert (
        "`fraudctl audit query --since" in run(FakeTarget(), "flag-accounts", "--clear", "1", "2", "--from", "1d").err
    )
    for options in ((), ("--from", "30s"), ("--from", "now"), ("--from", "2999-01-01T00:00:00Z")):
        assert "hold" not in run(FakeTarget(), "flag-accounts", "7201", *options).err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("0",), "account '0'"),
        (("9223372036854775808",), "account '9223372036854775808'"),
        (("1.0",), "account '1.0'"),
        (("1_000",), "account '1_000'"),
        (("٣",), "account '٣'"),
        (("--", "-5"), "account '-5'"),
        (("--clear",), "--clear: no account given"),
        (("5", "--random", "2"), "--random: cannot be combined with accounts"),
        (("--random", "0"), "--random 0"),
        (("--random", "11"), "--random 11"),
        (("5", "--from", "soon"), "--from: 'soon' is not a time"),
        (("5", "--from", "1790000000"), "--from: '1790000000' is not a time"),
        (("5", "--until", "1m", "--from", "now", "--clear"), "--until: cannot be combined with --clear"),
        (("5", "--extend", "--clear"), "--extend: cannot be combined with --clear"),
        (("5", "--extend", "--until", "1d", "--from", "1d"), "--from: cannot be combined with --extend"),
        (("5", "--extend"), "--extend: until when?"),
        (("--extend", "--until", "1d"), "--extend: no account given"),
        (("5", "--until", "2026-11-24T10:00:00Z"), "--until 2026-11-24T10:00:00Z: that is not after now"),
        (("5", "--until", "0s"), "--until 0s: that is not after now"),
        (("5", "--from", "2999-01-01T00:00:00Z", "--until", "2998-01-01T00:00:00Z"), "that is not after --from, 2999"),
        (("5", "--until", "soon"), "--until: 'soon' is not a time"),
        (("5", "--reason", "x" * 257), "reason has 257 characters"),
        (("--file", "nowhere"), "file nowhere: No such file"),
    ],
)
def test_bad_input_flags_nothing(run: Run, arguments: tuple[str, ...], said: str) -> None:
    """Exit 2, one line, a hint; the target is not asked."""
    done = run(Undeployed(), "flag-accounts", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "Hint: " in done.err


def test_a_bad_line_of_the_file_is_named(run: Run) -> None:
    """Standard input counts its lines too."""
    done = run(FakeTarget(), "flag-accounts", "--file", "-", stdin="5\n\nseven\n")
    assert done.code == 2
    assert "line 3: account 'seven'" in done.err
    done = run(FakeTarget(), "flag-accounts", "--file", "-", stdin=b"5\n\xff\n")
    assert done.code == 2
    assert "line 2: not UTF-8" in done.err


def test_many_accounts_go_in_several_invocations(run: Run) -> None:
    """A thousand at once keeps each within the function's limits."""
    target = FakeTarget()
    done = run(target, "flag-accounts", "--file", "-", output="csv", stdin="\n".join(map(str, range(1, 2502))))
    assert done.code == 0
    assert [len(payload["events"]) for payload in target.functions.payloads] == [1000, 1000, 501]
    assert len(done.out.splitlines()) == 2502


def test_an_error_of_the_function_is_passed_on(run: Run) -> None:
    """Exit 5, nothing on stdout."""
    error = OperationFailed("FlagAccountGenerator: ValueError: no", hint="run `fraudctl logs lambda`")
    done = run(FakeTarget(functions=FakeFunctions(error)), "flag-accounts", "5", output="json")
    assert (done.code, done.out) == (5, "")
    assert "Error: FlagAccountGenerator: ValueError: no" in done.err


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xef\xbb\xbf7101\r\n7102\r\n", [7101, 7102]),
        (b"# list, of today\n7101\n", [7101]),
        (b"7101,stolen\n7102,lost\n", [7101, 7102]),
        (b"account_id\n7101\n", [7101]),
        (b"reason;Account_ID\nstolen;7101\n", [7101]),
        (b"7101\r7102\r", [7101, 7102]),
        ("7101\u00a0\n".encode(), [7101]),
        (b"7101", [7101]),
        (b'"7101"\n', [7101]),
        ("7101\n7102\n".encode("utf-16"), [7101, 7102]),
    ],
)
def test_a_file_of_accounts_is_read_as_people_write_it(
    run: Run, tmp_path: Path, content: bytes, expected: list[int]
) -> None:
    """A header, other columns, quotes, comments, a byte-order mark."""
    file = tmp_path / "accounts.txt"
    file.write_bytes(content)
    target = FakeTarget()
    done = run(target, "flag-accounts", "--file", str(file))
    assert done.code == 0, done.err
    assert [event["account_id"] for event in target.functions.payloads[0]["events"]] == expected


def test_a_bad_line_of_a_file_of_accounts_has_its_number(run: Run, tmp_path: Path) -> None:
    """Blank lines, comments and the header count; nothing is flagged."""
    file = tmp_path / "accounts.txt"
    for content in ("account_id\n\n# x\n7101\nabc\n", "\n\n7101\n\nabc,x\n"):
        file.write_text(content)
        target = FakeTarget()
        done = run(target, "flag-accounts", "--file", str(file))
        assert done.code == 2
        assert "line 5: account 'abc'" in done.err
        assert target.functions.payloads == []


def test_a_flag_in_the_future_is_said_to_be(run: Run) -> None:
    """A flag of now is not."""
    done = run(FakeTarget(functions=FakeFunctions()), "flag-accounts", "7", "--from", "2999-01-01T00:00:00Z")
    assert done.code == 0
    assert "7 will be flagged from 2999-01-01T00:00:00.000Z on." in done.err
    assert "7 is flagged from 2026-11-24T10:00:00.000Z on." in run(FakeTarget(), "flag-accounts", "7").err


def flag_event(account: int, status: Status, date: str = "2026-11-24T10:00:00.000Z") -> bytes:
    """A flag event as the function writes it."""
    event = AccountFlag(account_id=account, flag_date=date, status=status, reason=None, flagged_by="bo")
    return event.to_json()


def having(*events: tuple[int, Status, str]) -> FakeTarget:
    """A stack whose topic has flag events."""
    return FakeTarget(records=FakeRecords([batch(*(record(n, flag_event(*event)) for n, event in enumerate(events)))]))


UNTIL_2999 = ((7, Status.FLAGGED, "2026-11-24T09:00:00.000Z"), (7, Status.CLEARED, "2999-01-01T00:00:00.000Z"))


def events_of(target: FakeTarget) -> list[tuple[int, str, str | None]]:
    """What the function was asked to publish, in one call."""
    (payload,) = target.functions.payloads
    return [(event["account_id"], event["status"], event["flag_date"]) for event in payload["events"]]


def test_a_flag_with_an_end_says_from_when_until_when(run: Run) -> None:
    """The end is published before the start, and listed after it."""
    target = FakeTarget()
    done = run(target, "flag-accounts", "7", "--until", "2999-01-01T00:00:00Z", output="csv")
    assert (done.code, events_of(target)) == (
        0,
        [(7, "CLEARED", "2999-01-01T00:00:00.000Z"), (7, "FLAGGED", None)],
    )
    assert [line.split(",")[1] for line in done.out.splitlines()[1:]] == ["FLAGGED", "CLEARED"]
    assert "7 is flagged from 2026-11-24T10:00:00.000Z until 2999-01-01T00:00:00.000Z." in done.err
    assert "Undone" not in done.err


def test_a_duration_counts_from_the_start_on(run: Run) -> None:
    """Also where the start is not now."""
    target = FakeTarget()
    done = run(target, "flag-accounts", "7", "8", "--from", "2999-01-01T00:00:00Z", "--until", "36h")
    assert done.code == 0
    end, start = "2999-01-02T12:00:00.000Z", "2999-01-01T00:00:00.000Z"
    assert events_of(target) == [
        (account, status, date) for account in (7, 8) for status, date in (("CLEARED", end), ("FLAGGED", start))
    ]
    assert f"7, 8 will be flagged from {start} until {end}." in done.err


def test_extending_an_end(run: Run) -> None:
    """A duration is added to each account's own end."""
    target = having(
        *UNTIL_2999, (8, Status.FLAGGED, "2026-11-24T09:00:00.000Z"), (8, Status.CLEARED, "2999-02-01T00:00:00.000Z")
    )
    done = run(target, "flag-accounts", "7", "8", "--extend", "--until", "1d")
    assert done.code == 0
    assert events_of(target) == [
        (7, "CLEARED", "2999-01-02T00:00:00.000Z"),
        (7, "FLAGGED", "2999-01-01T00:00:00.000Z"),
        (8, "CLEARED", "2999-02-02T00:00:00.000Z"),
        (8, "FLAGGED", "2999-02-01T00:00:00.000Z"),
    ]
    assert "7 is flagged from 2026-11-24T09:00:00.000Z until 2999-01-02T00:00:00.000Z." in done.err
    assert "Undone" not in done.err


def test_flagging_again_without_an_end_undoes_the_end(run: Run) -> None:
    """The account does not un-flag by itself."""
    target = having(*UNTIL_2999)
    done = run(target, "flag-accounts", "7")
    assert events_of(target) == [(7, "FLAGGED", "2999-01-01T00:00:00.000Z"), (7, "FLAGGED", None)]
    assert "7 is flagged from 2026-11-24T09:00:00.000Z on." in done.err
    assert "Undone for 7: the end at 2999-01-01T00:00:00.000Z." in done.err


def test_clearing_says_what_was_pending(run: Run) -> None:
    """A flag that was scheduled does not come any more."""
    target = having(*UNTIL_2999, (7, Status.FLAGGED, "2999-03-01T00:00:00.000Z"))
    done = run(target, "flag-accounts", "--clear", "7")
    assert events_of(target) == [(7, "CLEARED", "2999-03-01T00:00:00.000Z"), (7, "CLEARED", None)]
    assert "7 is not flagged; it was from 2026-11-24T09:00:00.000Z until 2026-11-24T10:00:00.000Z." in done.err
    assert "Undone for 7: the end at 2999-01-01T00:00:00.000Z; the flag from 2999-03-01T00:00:00.000Z on." in done.err


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ((), "account 7: it is not flagged, so there is no end to extend"),
        (UNTIL_2999[:1], "account 7: it is flagged without an end"),
        (
            ((7, Status.FLAGGED, "2026-11-24T09:00:00.000Z"), (7, Status.CLEARED, "2999-09-01T00:00:00.000Z")),
            "account 7: it is flagged until 2999-09-01T00:00:00.000Z already",
        ),
    ],
)
def test_what_cannot_be_extended_changes_no_account(
    run: Run, events: tuple[tuple[int, Status, str], ...], said: str
) -> None:
    """Exit 7, also for the accounts beside it, with what to type instead."""
    target = having(
        (8, Status.FLAGGED, "2026-11-24T09:00:00.000Z"), (8, Status.CLEARED, "2999-01-01T00:00:00.000Z"), *events
    )
    done = run(target, "flag-accounts", "8", "7", "--extend", "--until", "2999-06-01T00:00:00Z")
    assert (done.code, done.out, target.functions.payloads) == (7, "", [])
    assert said in done.err
    assert "Hint: run `fraudctl flag-accounts 7 --until " in done.err


def test_nothing_is_extended_while_kafka_does_not_answer(run: Run) -> None:
    """The end would have to be known; flagging goes on without it."""
    target = FakeTarget(records=FakeRecords([Unreachable("topic flagged_accounts: Kafka does not answer")]))
    assert run(target, "flag-accounts", "7", "--extend", "--until", "30d").code == 4
    assert target.functions.payloads == []
    done = run(target, "flag-accounts", "7", "--until", "30d")
    assert (done.code, len(events_of(target))) == (0, 2)
    assert "an end that was set for later still comes" in done.err


def test_many_events_are_warned_of(run: Run) -> None:
    """From 48 on, of which the application keeps 64."""
    for number, said in ((46, False), (47, True)):
        done = run(having(*UNTIL_2999[:1] * number), "flag-accounts", "7")
        assert ("7 has 48 flag events: the application goes by the last 64 of an account." in done.err) is said


def test_an_older_function_says_to_deploy(run: Run) -> None:
    """One that knows no list of events refuses it by name."""
    error = OperationFailed("FlagAccountGenerator: ValueError: unknown in the payload: events")
    done = run(FakeTarget(functions=FakeFunctions(error)), "flag-accounts", "5")
    assert done.code == 5
    assert "an older version of fraudctl deployed it" in done.err
    assert "Hint: run `fraudctl deploy`" in done.err


def test_reasons_and_the_longest_flag_come_from_the_settings(run: Run, tmp_path: Path) -> None:
    """What is not allowed is refused with what to type; clearing never is."""
    (tmp_path / "fraudctl.toml").write_text('reasons = ["stolen card", "mule"]\nlongest = "180d"\n')
    for arguments, said, hint in (
        (("--until", "30d", "--reason", "mules"), "--reason 'mules'", "the reasons are 'stolen card', 'mule'"),
        (("--reason", "mule"), "a flag without an end: the setting longest allows 180d", "--until 180d"),
        (("--until", "181d"), "the setting longest allows 180d", "--until 180d"),
    ):
        done = run(Undeployed(), "flag-accounts", "7", *arguments)
        assert (done.code, done.out) == (2, "")
        assert said in done.err
        assert hint in done.err
    assert run(FakeTarget(), "flag-accounts", "7", "--until", "180d", "--reason", "mule").code == 0
    assert run(FakeTarget(), "flag-accounts", "7", "--clear", "--reason", "a mistake").code == 0
    target = having(*UNTIL_2999)
    done = run(target, "flag-accounts", "7", "--extend", "--until", "1d")
    assert (done.code, target.functions.payloads) == (2, [])
    assert "it would be flagged until 2999-01-02T00:00:00.000Z; the setting longest allows 180d" in done.err


def test_a_longest_that_is_no_duration_is_named(run: Run, tmp_path: Path) -> None:
    """When a flag is asked for; clearing goes on."""
    (tmp_path / "fraudctl.toml").write_text('longest = "180"\n')
    done = run(FakeTarget(), "flag-accounts", "7")
    assert (done.code, done.out) == (2, "")
    assert "longest: '180' is not a duration" in done.err
    assert run(FakeTarget(), "flag-accounts", "--clear", "7").code == 0


def test_clearing_what_was_never_flagged_is_said_to_change_nothing(run: Run) -> None:
    """On stderr; the event is written all the same. Clearing twice, malformed events and other accounts flag nobody."""
    arriving = batch(
        record(0, flag_event(7, Status.FLAGGED)),
        record(1, flag_event(8, Status.CLEARED)),
        record(2, b'{"account_id": 9, "status": "FLAGGED"}'),
        record(3, None),
        record(4, flag_event(71, Status.FLAGGED)),
    )
    for accounts, said in (
        (("7",), None),
        (("8",), "Account 8 had never been flagged: clearing it changes nothing."),
        (("9", "7"), "Account 9 had never been flagged: clearing it changes nothing."),
        (("9", "8", "7", "1"), "3 accounts had never been flagged (1, 8, 9): clearing them changes nothing."),
    ):
        target = FakeTarget(records=FakeRecords([arriving]))
        done = run(target, "flag-accounts", "--clear", *accounts, output="json")
        assert done.code == 0
        assert [json.loads(line)["status"] for line in done.out.splitlines()] == ["CLEARED"] * len(accounts)
        assert len(target.functions.payloads) == 1
        assert ("never" in done.err) is (said is not None)
        assert (said or "") in done.err
    assert "never" not in run(FakeTarget(), "flag-accounts", "7").err


def test_many_accounts_never_flagged_are_counted(run: Run) -> None:
    """Five of them are named."""
    done = run(FakeTarget(records=FakeRecords([batch()])), "flag-accounts", "--clear", *map(str, range(1, 8)))
    assert "7 accounts had never been flagged (1, 2, 3, 4, 5, …): clearing them changes nothing." in done.err


def test_clearing_is_done_though_nobody_knows_what_was_flagged(run: Run) -> None:
    """When Kafka does not answer any more it is said to be unknown."""
    records = FakeRecords([Unreachable("topic flagged_accounts: Kafka does not answer")])
    done = run(FakeTarget(records=records), "flag-accounts", "--clear", "7", output="json")
    assert (done.code, len(done.out.splitlines())) == (0, 1)
    assert (
        "What had been set before was not found out (topic flagged_accounts: Kafka does not answer): a flag that was"
        " set for later still comes. When Kafka answers, run the command again."
    ) in done.err
    assert "never" not in done.err
