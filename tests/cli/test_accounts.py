"""fraudctl flag-accounts, on a target in memory."""

import json
from pathlib import Path

import pytest
from conftest import Run
from fakes import FakeFunctions, FakeTarget, Undeployed

from fraudctl.errors import OperationFailed


def test_without_arguments_sample_accounts_are_flagged(run: Run) -> None:
    """The function draws them; the output says which, stderr what to type next."""
    target = FakeTarget()
    done = run(target, "flag-accounts", output="json")
    assert done.code == 0
    assert [json.loads(line)["account_id"] for line in done.out.splitlines()] == list(range(1000000001, 1000000006))
    assert target.functions.payloads[0]["accounts"] is None
    assert target.functions.payloads[0]["random"] is None
    assert target.functions.payloads[0]["status"] == "FLAGGED"
    assert "`fraudctl tail processed`" in done.err
    assert "`fraudctl audit query 1000000001`" in done.err


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
    payload = target.functions.payloads[0]
    assert payload["accounts"] == [8, 5, 7, 9223372036854775807]
    assert payload["from"] == "2026-11-24T10:00:00.000Z"
    assert payload["reason"] == "stolen card"
    assert "9223372036854775807" in done.out


def test_clear_and_random(run: Run) -> None:
    """Clearing is the same event with the other status; N random ones are drawn by the function."""
    target = FakeTarget()
    assert run(target, "flag-accounts", "--clear", "7").code == 0
    assert run(target, "flag-accounts", "--random", "2").code == 0
    assert target.functions.payloads[0]["status"] == "CLEARED"
    assert target.functions.payloads[1]["random"] == 2


def test_a_flag_later_than_hold_says_what_it_does_not_reach(run: Run) -> None:
    """On stderr alone; a flag within the stack's hold (60 s), from now on or in the future reaches all it names."""
    done = run(FakeTarget(), "flag-accounts", "7201", "--from", "15m", output="json")
    late = "Transactions published more than 60 s ago (the stack's hold)"
    assert (done.code, len(done.out.splitlines())) == (0, 1)
    assert f"{late} are not detected by it." in done.err
    cleared = run(FakeTarget(), "flag-accounts", "--clear", "7201", "--from", "15m")
    assert f"{late} keep their detections." in cleared.err
    for start in ((), ("--from", "30s"), ("--from", "now"), ("--from", "2999-01-01T00:00:00Z")):
        assert "hold" not in run(FakeTarget(), "flag-accounts", "7201", *start).err


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
    assert [len(payload["accounts"]) for payload in target.functions.payloads] == [1000, 1000, 501]
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
    assert target.functions.payloads[0]["accounts"] == expected


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
    assert "Takes effect in the future, at 2999-01-01T00:00:00.000Z" in done.err
    assert "future" not in run(FakeTarget(), "flag-accounts", "7").err
