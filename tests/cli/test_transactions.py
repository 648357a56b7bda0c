"""fraudctl transactions, on a target in memory."""

import json
import re
import shlex
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from conftest import Run
from fakes import FakeRecords, FakeSchedule, FakeTarget, Undeployed

from fraudctl.pipeline.records import Transaction
from fraudctl.target import Outgoing, Report

GOOD = (
    '{"transaction_id":"t-1","account_id":1000000001,"customer_name":"Ada","transaction_date":'
    '"2026-11-24T10:15:30.123Z","merchant_type":"Grocery","transaction_type":"Online","amount":12.50}'
)
HEADER = "transaction_id,account_id,customer_name,transaction_date,merchant_type,transaction_type,amount"


def test_send_skips_invalid_lines_and_says_which(run: Run, tmp_path: Path) -> None:
    """The good ones are sent as their own bytes; exit 8; blank lines are no lines."""
    file = tmp_path / "mixed.jsonl"
    file.write_text(f'{GOOD}\n\n{{"a":1}}\n  {GOOD.replace("t-1", "t-2")}\nnonsense\n')
    target = FakeTarget()
    done = run(target, "transactions", "send", str(file))
    assert done.code == 8
    assert [outgoing.value for outgoing in target.records.written] == [
        GOOD.encode(),
        GOOD.replace("t-1", "t-2").encode(),
    ]
    assert {outgoing.key for outgoing in target.records.written} == {b"1000000001"}
    assert "line 3" in done.err
    assert "transaction_id is missing" in done.err
    assert "line 5" in done.err
    assert "not JSON" in done.err
    assert "Error: transactions: 2 invalid lines (3, 5); the others were sent" in done.err
    assert done.out.splitlines()[:3] == ["delivered  2", "invalid    2", "failed     0"]


def test_send_as_json_lists_the_invalid_lines_then_the_summary(run: Run, tmp_path: Path) -> None:
    """One document for each invalid line, the summary last."""
    file = tmp_path / "mixed.jsonl"
    file.write_text(f"{GOOD}\n{{}}\n")
    done = run(FakeTarget(), "transactions", "send", str(file), output="json")
    assert done.code == 8
    bad, summary = map(json.loads, done.out.splitlines())
    assert bad == {"line": 2, "reason": "transaction_id is missing"}
    assert {name: summary[name] for name in ("delivered", "invalid", "failed")} == {
        "delivered": 1,
        "invalid": 1,
        "failed": 0,
    }


@pytest.mark.parametrize("stdin", [False, True], ids=["file", "stdin"])
def test_send_on_error_stop_sends_nothing_when_a_line_is_bad(run: Run, tmp_path: Path, *, stdin: bool) -> None:
    """All invalid lines are listed, nothing is sent, exit 8; a good file goes whole."""
    target = FakeTarget()

    def send(text: str) -> tuple[int, str]:
        file = tmp_path / "file.jsonl"
        file.write_text(text)
        name, given = ("-", text) if stdin else (str(file), "")
        done = run(target, "transactions", "send", name, "--on-error", "stop", stdin=given)
        return done.code, done.err

    code, err = send(f"{GOOD}\n{{}}\n{GOOD}\n[]\n")
    assert code == 8
    assert "line 2" in err
    assert "line 4" in err
    assert "nothing was sent" in err
    assert target.records.written == []
    assert send(f"{GOOD}\n{GOOD}\n")[0] == 0
    assert len(target.records.written) == 2


def test_send_normalises_dates_with_a_zone(run: Run) -> None:
    """The only change to the record; a date without a zone stays malformed."""
    target = FakeTarget()
    zoned = GOOD.replace("2026-11-24T10:15:30.123Z", "2026-11-24T11:15:30.123456+01:00")
    naive = GOOD.replace("30.123Z", "30.123")
    done = run(target, "transactions", "send", "-", stdin=f"{zoned}\n{naive}\n")
    assert done.code == 8
    assert [Transaction.parse(outgoing.value) for outgoing in target.records.written] == [
        Transaction.parse(GOOD.encode())
    ]
    assert "line 2" in done.err
    assert "transaction_date is not a date" in done.err


def test_send_csv(run: Run, tmp_path: Path) -> None:
    """Amounts and accounts keep their text, unknown columns become strings, line numbers are the file's."""
    file = tmp_path / "file.csv"
    file.write_text(
        f"{HEADER},zip\n"
        't-1,1000000001,"Ada, née King",2026-11-24T10:15:30Z,Grocery,Online,12.50,00123\n'
        't-2,7,"two\nlines",2026-11-24T10:15:30.000Z,Grocery,Online,3,\n'
        "t-3,7,Bo,2026-11-24T10:15:30.000Z,Grocery,Online,1.234,1\n"
        "t-4,7,Bo\n",
        encoding="utf-8",
    )
    target = FakeTarget()
    done = run(target, "transactions", "send", str(file))
    assert done.code == 8
    first, second = (outgoing.value or b"" for outgoing in target.records.written)
    assert b'"account_id":1000000001,' in first
    assert b'"amount":12.50' in first
    assert json.loads(first) == {
        "transaction_id": "t-1",
        "account_id": 1000000001,
        "customer_name": "Ada, née King",
        "transaction_date": "2026-11-24T10:15:30.000Z",
        "merchant_type": "Grocery",
        "transaction_type": "Online",
        "amount": 12.5,
        "zip": "00123",
    }
    assert json.loads(second)["customer_name"] == "two\nlines"
    assert "line 5 " in done.err
    assert "at most two decimals" in done.err
    assert "line 6 " in done.err
    assert "3 columns, the header has 8" in done.err


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (HEADER.replace("amount", "amuont"), "column 'amount' is missing; unknown: 'amuont'"),
        (f"{HEADER},flag_date", "column 'flag_date' is a field of detections"),
        (f"{HEADER},amount", "column 'amount' appears twice"),
    ],
)
def test_send_csv_with_a_wrong_column_is_a_usage_error(run: Run, header: str, said: str) -> None:
    """It is named, and not even the target is asked."""
    done = run(Undeployed(), "transactions", "send", "-", "--format", "csv", stdin=f"{header}\n")
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_send_an_empty_file_delivers_nothing(run: Run, tmp_path: Path) -> None:
    """No lines, no error."""
    for name in ("empty.jsonl", "empty.csv", "empty"):
        (tmp_path / name).touch()
        done = run(FakeTarget(), "transactions", "send", str(tmp_path / name), output="json")
        assert done.code == 0
        assert json.loads(done.out)["delivered"] == 0


def test_send_a_file_that_cannot_be_read_is_a_usage_error(run: Run, tmp_path: Path) -> None:
    """A missing file, a folder: one line and a hint."""
    for name, said in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        done = run(FakeTarget(), "transactions", "send", str(name))
        assert (done.code, done.out) == (2, "")
        assert said in done.err
        assert "Hint: " in done.err


def test_send_says_exactly_how_many_kafka_took(run: Run) -> None:
    """What was not delivered is an error of the other side, exit 5, with its reason."""
    target = FakeTarget(records=FakeRecords(refuse=frozenset({b"2"})))
    lines = "\n".join(GOOD.replace("1000000001", str(account)) for account in (1, 2, 3, 2))
    done = run(target, "transactions", "send", "-", output="json", stdin=lines)
    assert done.code == 5
    assert json.loads(done.out)["delivered"] == 2
    assert json.loads(done.out)["failed"] == 2
    assert "2 not delivered: Broker: refused" in done.err


def test_generate_sends_exactly_what_was_asked_for(run: Run) -> None:
    """The same seed draws the same transactions; zero is fine."""
    first, again, none = FakeTarget(), FakeTarget(), FakeTarget()
    done = run(first, "transactions", "generate", "--count", "500", "--seed", "42", output="json")
    assert done.code == 0
    assert json.loads(done.out)["delivered"] == 500
    run(again, "transactions", "generate", "--count", "500", "--seed", "42")
    drawn = [[Transaction.parse(o.value) for o in target.records.written] for target in (first, again)]
    assert len(drawn[0]) == 500
    assert [t.transaction_id for t in drawn[0]] == [t.transaction_id for t in drawn[1]]
    assert run(none, "transactions", "generate", "--count", "0", output="json").code == 0
    assert none.records.written == []


def test_generate_seconds_need_a_pace(run: Run) -> None:
    """Seconds alone, or with a count, mean nothing."""
    for options in (("--seconds", "3"), ("--seconds", "3", "--count", "5", "--per-second", "1")):
        done = run(FakeTarget(), "transactions", "generate", *options)
        assert (done.code, done.out) == (2, "")
        assert "--seconds" in done.err


def test_start_and_stop_switch_the_schedule(run: Run) -> None:
    """Already so is fine, and said."""
    target = FakeTarget(schedule=FakeSchedule(on=True))
    assert run(target, "transactions", "start").err == "Sample transactions are already on.\n"
    assert run(target, "transactions", "stop").code == 0
    assert target.schedule.on is False
    done = run(target, "transactions", "stop")
    assert (done.code, done.err) == (0, "Sample transactions are already off.\n")


def lines(number: int) -> str:
    """Return a file of so many transactions, every third line of it invalid."""
    text = (GOOD.replace("t-1", f"t-{n}") if n % 3 else "nonsense" for n in range(1, number + 1))
    return "\n\n".join(text) + "\n"


@pytest.mark.parametrize("ending", ["stopped", "interrupted"])
def test_what_is_left_of_a_file_is_sent_by_the_command_that_is_shown(run: Run, tmp_path: Path, ending: str) -> None:
    """Typed as it stands: every valid line once, however it ended; the exit code is that of the end."""
    file = tmp_path / "my file.jsonl"
    file.write_text(lines(20))
    written: list[bytes | None] = []
    first = FakeTarget()
    if ending == "stopped":
        first.records = FakeRecords(most=6)
    else:
        first.records = Interrupted(after=6)
    done = run(first, "transactions", "send", str(file), "--zone", "Europe/Berlin")
    written += [outgoing.value for outgoing in first.records.written]
    assert len(written) == 6
    assert done.code == (5 if ending == "stopped" else 130)
    (command,) = re.findall(r"go on with `([^`]*)`", done.err, re.IGNORECASE)
    assert "--zone Europe/Berlin" in command
    assert ("a transaction that is sent twice is detected once" in done.err) is (ending == "stopped")
    second = FakeTarget()
    done = run(second, *shlex.split(command)[1:])
    written += [outgoing.value for outgoing in second.records.written]
    assert done.code == 8  # for the invalid lines among the others
    assert written == [GOOD.replace("t-1", f"t-{n}").encode() for n in range(1, 21) if n % 3]


class Interrupted(FakeRecords):
    """Ctrl-C is pressed while a record is written."""

    def __init__(self, after: int) -> None:
        """Press it behind so many."""
        super().__init__()
        self.after = after

    def write(self, topic: str, records: Iterable[Outgoing]) -> Report:
        """Write what comes."""

        def pressed() -> Iterator[Outgoing]:
            for number, outgoing in enumerate(records, 1):
                if number == self.after:
                    signal.raise_signal(signal.SIGINT)
                yield outgoing

        return super().write(topic, pressed())


def test_skip_leaves_out_lines_of_any_kind(run: Run, tmp_path: Path) -> None:
    """The elements of an array and the rows of a CSV file too; it cannot be tried out."""
    array = tmp_path / "a.json"
    array.write_text(f"[{GOOD},\n{GOOD.replace('t-1', 't-2')}]")
    target = FakeTarget()
    assert run(target, "transactions", "send", str(array), "--skip", "1").code == 0
    (outgoing,) = target.records.written
    assert b"t-2" in (outgoing.value or b"")
    done = run(FakeTarget(), "transactions", "send", str(array), "--skip", "1", "--dry-run")
    assert (done.code, "--skip: not with --dry-run" in done.err) == (2, True)


def test_generating_where_the_brokers_are(run: Run) -> None:
    """On AWS a function makes them, in parts; with a seed this process does."""
    target = FakeTarget()
    target.records = FakeRecords(parts=[Report(20_000), Report(5_000)])
    done = run(target, "transactions", "generate", "--count", "25000", output="json")
    assert json.loads(done.out)["delivered"] == 25_000
    assert target.records.asked_for == 25_000
    assert target.records.written == []
    target.records = FakeRecords(parts=[Report(20_000), Report(0, stopped="SampleTransactionGenerator: throttled")])
    done = run(target, "transactions", "generate", "--count", "25000")
    assert done.code == 5
    assert "stopped after 20,000: SampleTransactionGenerator: throttled" in done.err
    seeded = FakeTarget()
    seeded.records = FakeRecords(parts=[])
    assert run(seeded, "transactions", "generate", "--count", "3", "--seed", "1").code == 0
    assert len(seeded.records.written) == 3
