"""fraudctl audit, on a table in memory."""

import csv
import io
import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from conftest import Run
from fakes import FakeTarget, Undeployed, detection

from fraudctl import tables
from fraudctl.pipeline import audit_table
from fraudctl.services.verify.follow import Following, Round
from fraudctl.services.verify.kept import Question
from fraudctl.services.verify.verdicts import Case, Word

DAY = 1_795_478_400_000  # 2026-11-24T00:00:00Z


def fill(table: Any, *numbers: int, account: int = 7, reverse: bool = False, **changes: Any) -> None:
    """Write detections; with `reverse` the latest transaction was detected first."""
    for position, number in enumerate(sorted(numbers, reverse=reverse)):
        item = audit_table.item(detection(number, account, **changes), DAY + position * 1000, 0, position)
        table.put_item(Item=item)


def test_json_has_every_field_and_exact_amounts(run: Run, audit: Any) -> None:
    """One document a line; 12.50 stays 12.50."""
    fill(audit, 1)
    done = run(FakeTarget(table=audit), "audit", "query", output="json")
    assert done.code == 0
    assert '"amount":12.50,' in done.out
    assert json.loads(done.out) == {
        "transaction_id": "t-1",
        "account_id": 7,
        "customer_name": "Ada",
        "transaction_date": "2026-11-24T10:00:01.000Z",
        "merchant_type": "Grocery",
        "transaction_type": "Online",
        "amount": 12.5,
        "flag_date": "2026-11-24T09:00:00.000Z",
        "flag_reason": "stolen card",
        "flagged_by": "bo",
        "transaction_partition": 0,
        "transaction_offset": 1,
        "flag_partition": 0,
        "flag_offset": 0,
        "extra": None,
        "detected_at": "2026-11-24T00:00:00.000Z",
        "processed_partition": 0,
        "processed_offset": 0,
    }


def test_the_order_is_said(run: Run, audit: Any) -> None:
    """All accounts by detection, one account by transaction date, both newest first."""
    fill(audit, 1, 2, 3, reverse=True)
    done = run(FakeTarget(table=audit), "audit", "query", output="json")
    assert [json.loads(line)["transaction_id"] for line in done.out.splitlines()] == ["t-1", "t-2", "t-3"]
    assert done.err == "3 rows, newest first by detection (UTC).\n"
    done = run(FakeTarget(table=audit), "audit", "query", "7", "--limit", "2", output="json")
    assert [json.loads(line)["transaction_id"] for line in done.out.splitlines()] == ["t-3", "t-2"]
    said, more = done.err.splitlines()
    assert said == "2 rows, newest first by transaction date (UTC)."
    assert more.startswith("More: `fraudctl audit query 7 --limit 2 --next ")


def test_the_table_fits_120_columns(run: Run, audit: Any) -> None:
    """With ids as long as the samples', and of all accounts or of one."""
    fill(audit, 1, account=1000000001, transaction_id="0" * 32, customer_name="Katharina Weiß")
    for arguments in ((), ("1000000001",)):
        done = run(FakeTarget(table=audit), "audit", "query", *arguments)
        header, _, row = done.out.splitlines()
        assert "transaction id" in header
        assert row.rstrip().endswith("  00000000")  # what `audit show` takes for the whole
        assert "12.50" in row
        assert max(map(len, done.out.splitlines())) <= 120


def test_csv_has_every_field(run: Run, audit: Any) -> None:
    """A header and quoted cells."""
    fill(audit, 1, customer_name='Ada "Countess", L.')
    done = run(FakeTarget(table=audit), "audit", "query", output="csv")
    (row,) = csv.DictReader(io.StringIO(done.out))
    assert row["customer_name"] == 'Ada "Countess", L.'
    assert row["amount"] == "12.50"
    assert row["processed_offset"] == "0"


def test_since_and_until_bound_the_order_s_own_time(run: Run, audit: Any) -> None:
    """By transaction date for an account, by detection otherwise; since counts, until does not."""
    fill(audit, 1, 2, 3, 4)
    bounds = ("--since", "2026-11-24T10:00:02Z", "--until", "2026-11-24T10:00:04Z")
    done = run(FakeTarget(table=audit), "audit", "query", "7", *bounds, output="json")
    assert [json.loads(line)["transaction_id"] for line in done.out.splitlines()] == ["t-3", "t-2"]
    done = run(FakeTarget(table=audit), "audit", "query", *bounds)
    assert (done.code, done.out, done.err) == (0, "", "No detections found.\n")
    bounds = ("--since", "2026-11-24T00:00:01Z", "--until", "2026-11-24T00:00:02Z")
    done = run(FakeTarget(table=audit), "audit", "query", *bounds, output="json")
    assert [json.loads(line)["transaction_id"] for line in done.out.splitlines()] == ["t-2"]


def test_a_day_is_read_in_the_machines_zone_and_that_is_said(run: Run, audit: Any) -> None:
    """On stderr; the hint of a time that is none shows how times look."""
    fill(audit, 1)
    done = run(
        FakeTarget(table=audit), "audit", "query", "--since", "2026-11-01", "--until", "2099-01-01", output="json"
    )
    assert json.loads(done.out)["transaction_id"] == "t-1"
    assert "--since 2026-11-01 read as 2026-11-01T00:00:00" in done.err
    assert "--until 2099-01-01 read as 2099-01-01T00:00:00" in done.err
    done = run(Undeployed(), "audit", "query", "--since", "soon")
    assert (done.code, done.out) == (2, "")
    assert "--since: 'soon' is not a time" in done.err
    assert "30s, 15m, 2h, 1d (ago), 09:30, 2026-11-24, 2026-11-24T10:15:30Z, epoch milliseconds, or now" in done.err


@pytest.mark.parametrize("account", ["0", "x", "9223372036854775808"])
def test_an_account_that_is_none_is_a_usage_error(run: Run, account: str) -> None:
    """The table is not asked."""
    done = run(Undeployed(), "audit", "query", account)
    assert (done.code, done.out) == (2, "")
    assert f"account '{account}': not an account number" in done.err


def test_since_after_until_is_a_usage_error(run: Run) -> None:
    """And is said in the user's own words."""
    done = run(Undeployed(), "audit", "query", "--since", "now", "--until", "1h")
    assert (done.code, done.out) == (2, "")
    assert "--since now is after --until 1h" in done.err


def test_show_gives_everything_of_a_transaction(run: Run, audit: Any) -> None:
    """By its id alone; an id that two accounts used gives both."""
    fill(audit, 1)
    fill(audit, 1, account=8)
    fill(audit, 2)
    done = run(FakeTarget(table=audit), "audit", "show", "t-1", output="json")
    assert done.code == 0
    assert sorted(json.loads(line)["account_id"] for line in done.out.splitlines()) == [7, 8]
    done = run(FakeTarget(table=audit), "audit", "show", "t-2")
    assert "customer name" in done.out
    assert "12.50" in done.out


def test_show_says_what_the_evidence_is(run: Run, audit: Any) -> None:
    """Step by step; of a transaction that Kafka never had, that it is not what the topics say."""
    fill(audit, 1)
    done = run(FakeTarget(table=audit), "audit", "show", "t-1", output="json")
    found = json.loads(done.out)
    assert [step["step"] for step in found["evidence"]] == [
        "transaction made",
        "transaction published",
        "flag event in force",
        "detected",
    ]
    assert found["evidence"][1]["says"] == "expired from Kafka"
    assert found["verdict"] == "in flight"  # it names a flag event beyond the end of an empty topic
    done = run(FakeTarget(table=audit), "audit", "show", "t-1")
    assert "flagged_accounts/0:0" in done.out
    assert done.err.startswith("Verdict: in flight: ")
    done = run(FakeTarget(table=audit), "audit", "show", "t-9")
    assert "not in the audit table; it was never seen" in done.err


def test_show_takes_the_start_of_an_id(run: Run, audit: Any) -> None:
    """As `audit query` shows it; where several start so, exit 2 with all of them."""
    first, second = "9e8b63f23f3c4a162ee5c20b7e0f5224", "9e8b63f2aaaa4a162ee5c20b7e0f5224"
    fill(audit, 1, transaction_id=first)
    fill(audit, 2, transaction_id=second)
    done = run(FakeTarget(table=audit), "audit", "show", "9e8b63f23", output="json")
    assert (done.code, json.loads(done.out)["transaction_id"]) == (0, first)
    done = run(FakeTarget(table=audit), "audit", "show", "9e8b63f2")
    assert (done.code, done.out) == (2, "")
    assert "transaction 9e8b63f2: 2 ids start so" in done.err
    assert first in done.err
    assert second in done.err
    done = run(FakeTarget(table=audit), "audit", "show", "ffffffff")
    assert done.code == 3
    assert "not in the audit table, and none of the newest 10,000 starts so" in done.err


def test_an_id_that_is_the_start_of_another_is_that_one(run: Run, audit: Any) -> None:
    """The whole id comes first."""
    fill(audit, 1, transaction_id="2026")
    fill(audit, 2, transaction_id="20260")
    done = run(FakeTarget(table=audit), "audit", "show", "2026", output="json")
    assert json.loads(done.out)["transaction_id"] == "2026"


def test_one_row_is_no_rows(run: Run, audit: Any) -> None:
    """Grammar, and the day that the times are of."""
    fill(audit, 1)
    today = datetime.now(UTC).date().isoformat()
    done = run(FakeTarget(table=audit), "audit", "query")
    assert done.err == f"1 row, newest first by detection (times are UTC, today is {today}).\n"
    assert tables.short_time("2026-11-24T00:00:00.000Z") in done.out


@pytest.mark.parametrize("output", ["json", "csv"])
def test_letters_are_letters(run: Run, audit: Any, output: str) -> None:
    """In names, and in the fields that a transaction brought along."""
    fill(audit, 1, customer_name="Chloé", extra='{"city":"Ath\\u00e8nes"}')
    out = run(FakeTarget(table=audit), "audit", "query", output=output).out
    assert "Chloé" in out
    assert "Athènes" in out


@pytest.mark.parametrize("transaction", ["t-9", ""])
def test_show_of_an_unknown_transaction(run: Run, audit: Any, transaction: str) -> None:
    """Exit 3, nothing on stdout."""
    done = run(FakeTarget(table=audit), "audit", "show", transaction)
    assert (done.code, done.out) == (3, "")
    assert "not in the audit table" in done.err


@pytest.mark.parametrize("arguments", [("query",), ("query", "7"), ("show", "t-1")])
def test_a_table_that_is_gone_or_silent(run: Run, audit: Any, arguments: tuple[str, ...]) -> None:
    """Exit 3 and exit 4, each with a command to run, and no half answer."""

    class Silent:
        def query(self, **_request: Any) -> None:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

    done = run(FakeTarget(table=Silent()), "audit", *arguments, output="json")
    assert (done.code, done.out) == (4, "")
    assert "DynamoDB does not answer" in done.err
    assert "Hint: run `fraudctl status`" in done.err
    audit.delete()
    done = run(FakeTarget(table=audit), "audit", *arguments, output="json")
    assert (done.code, done.out) == (3, "")
    assert "Hint: run `fraudctl deploy` first" in done.err


def test_show_of_several_accounts_is_one_csv(run: Run, audit: Any) -> None:
    """One header, a row for each account that used the id."""
    fill(audit, 1)
    fill(audit, 1, account=8)
    done = run(FakeTarget(table=audit), "audit", "show", "t-1", output="csv")
    assert sorted(row["account_id"] for row in csv.DictReader(io.StringIO(done.out))) == ["7", "8"]


def ids(out: str) -> list[str]:
    """Give the transactions of JSON Lines."""
    return [json.loads(line)["transaction_id"] for line in out.splitlines()]


def test_the_next_page_is_a_command_to_paste(run: Run, audit: Any) -> None:
    """Until there are no more rows; other options with its token are refused."""
    fill(audit, *range(1, 8))
    arguments = ["audit", "query", "--where", "amount > 10", "--limit", "3"]
    found: list[str] = []
    for _ in range(3):
        done = run(FakeTarget(table=audit), *arguments, output="json")
        assert done.code == 0, done.err
        found += ids(done.out)
        more = re.search("More: `fraudctl (.*)`", done.err)
        if more is not None:
            arguments = shlex.split(more[1])
    assert more is None
    assert found == [f"t-{number}" for number in range(7, 0, -1)]
    done = run(FakeTarget(table=audit), *arguments, "--oldest-first", output="json")
    assert (done.code, done.out) == (2, "")
    assert "--next: the token is of a query with other options" in done.err


def test_all_rows_oldest_first_with_chosen_columns(run: Run, audit: Any) -> None:
    """--all has no limit, and none can be given with it."""
    fill(audit, *range(1, 31))
    done = run(
        *(FakeTarget(table=audit), "audit", "query", "--all", "--oldest-first"),
        *("--fields", "transaction_id,amount"),
        output="csv",
    )
    assert done.out.splitlines() == ["transaction_id,amount", *(f"t-{number},12.50" for number in range(1, 31))]
    assert done.err == "30 rows, oldest first by detection (UTC).\n"
    done = run(FakeTarget(table=audit), "audit", "query", "--all", "--limit", "3")
    assert (done.code, done.out) == (2, "")


def test_explain_sends_nothing(run: Run) -> None:
    """The requests as DynamoDB would get them."""
    done = run(Undeployed(), "audit", "query", "7", "--since", "2026-11-24T00:00:00Z", "--explain", output="json")
    assert done.code == 0
    request = json.loads(done.out)
    assert request["operation"] == "Query"
    assert request["ExpressionAttributeValues"] == {":part": 7, ":low": "2026-11-24T00:00:00.000Z", ":high": ":"}
    assert len(run(Undeployed(), "audit", "query", "--explain", output="json").out.splitlines()) == 4


def test_verbose_says_what_it_cost(run: Run, audit: Any) -> None:
    """Which index, requests and capacity."""
    fill(audit, 1, 2)
    done = run(FakeTarget(table=audit), "audit", "query", "7", "--verbose", output="json")
    assert "Read 2 rows in 1 request, " in done.err
    assert done.err.endswith(" read capacity units of the table.\n")
    done = run(FakeTarget(table=audit), "audit", "query", "--verbose", output="json")
    assert "in 4 requests, " in done.err
    assert done.err.endswith(" of the index by_time.\n")


def test_a_filter_that_asks_for_a_kafka_record(run: Run) -> None:
    """Has none here; an error of the filter has its caret."""
    done = run(Undeployed(), "audit", "query", "--where", "record.offset > 5")
    assert (done.code, done.out) == (2, "")
    assert "an audit row is no Kafka record" in done.err
    done = run(Undeployed(), "audit", "query", "--where", "amount >")
    assert done.code == 2
    assert "^" in done.err


def test_export_writes_a_file(run: Run, audit: Any, tmp_path: Path) -> None:
    """Of one account, since a time, with a filter; the table is not asked when the file cannot be written."""
    fill(audit, *range(1, 6))
    file = tmp_path / "found.jsonl"
    done = run(FakeTarget(table=audit), "audit", "export", str(file), "--account", "7", "--oldest-first")
    assert (done.code, done.out) == (0, "")
    assert "5 rows" in done.err
    assert ids(file.read_text()) == ["t-1", "t-2", "t-3", "t-4", "t-5"]
    done = run(Undeployed(), "audit", "export", str(tmp_path / "found.xlsx"))
    assert (done.code, done.out) == (2, "")
    assert "neither .jsonl nor .csv" in done.err


def test_stats_for_people_and_for_programs(run: Run, audit: Any) -> None:
    """A bar for each group; numbers alone for programs; the sum of all below."""
    fill(audit, 1, 2, 3)
    fill(audit, 4, account=8)
    done = run(FakeTarget(table=audit), "audit", "stats", output="json")
    assert [json.loads(line) for line in done.out.splitlines()] == [
        {"account": "7", "count": 3, "amount": 37.5, "accounts": 1},
        {"account": "8", "count": 1, "amount": 12.5, "accounts": 1},
    ]
    assert done.err == "4 detections, 50.00 in all, 2 accounts.\n"
    done = run(FakeTarget(table=audit), "audit", "stats", "--limit", "1", output="table")
    assert "█" * 30 in done.out
    assert "account 8" not in done.out
    assert done.err == "4 detections, 50.00 in all, 2 accounts, the first 1 of 2 shown.\n"
    done = run(FakeTarget(table=audit), "audit", "stats", "--where", "amount > 99")
    assert (done.code, done.out, done.err) == (0, "", "No detections found.\n")


def test_an_interrupted_verify_says_how_to_go_on(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same question, and exit code 130; what was not begun cannot be gone on with."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    target = FakeTarget(kept=tmp_path)
    none = run(target, "audit", "verify", "--by", "10m", "--resume")
    assert none.code == 2
    assert "Error: --resume: no such run was interrupted" in none.err
    assert "Hint: begin it: `fraudctl audit verify --by 10m`" in none.err
    monkeypatch.setattr("fraudctl.services.verify.reconcile.Reconciliation.run", interrupted)
    done = run(target, "audit", "verify", "--since", "1d", "--by", "10m")
    assert done.code == 130
    assert done.err.splitlines()[-1] == (
        "Interrupted. Go on with `fraudctl audit verify --since 1d --by 10m --resume`."
    )


def test_where_nothing_can_be_kept_verify_runs_all_the_same(run: Run) -> None:
    """It says that it cannot be resumed; a bucket is never shorter than a second."""
    done = run(FakeTarget(), "audit", "verify", "--by", "10ms")
    assert (done.code, done.out) == (2, "")
    assert "Error: --by 10ms: shorter than a second" in done.err


def test_a_repair_is_shown_and_asked_for(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal and without --yes it is refused, and nothing is written."""

    def lost(reconciliation: Any) -> Any:
        reconciliation.result.count(Case((7, "2026-11-24T10:00:01.000Z", "t-1"), Word.LOST, processed=(0, 3)))
        return iter(())

    monkeypatch.setattr("fraudctl.services.verify.reconcile.Reconciliation.run", lost)
    done = run(FakeTarget(kept=tmp_path), "audit", "verify", "--repair", output="json")
    assert done.code == 7
    assert json.loads(done.out)["lost"] == 1
    assert "audit table      1 row from processed_topic, by AuditWriter" in done.err
    assert "Error: Repairing the audit table needs confirmation" in done.err


def test_nothing_to_repair_is_said(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is no error."""
    monkeypatch.setattr("fraudctl.services.verify.reconcile.Reconciliation.run", lambda _: iter(()))
    done = run(FakeTarget(kept=tmp_path), "audit", "verify", "--repair")
    assert done.code == 0
    assert "Nothing to repair" in done.err


@pytest.mark.parametrize(("word", "code"), [(Word.OK, 130), (Word.LOST, 8)])
def test_following_ends_with_what_was_found(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: Word, code: int
) -> None:
    """A line for each change and each fault; at Ctrl-C a summary, how to go on, and 8 when there were faults."""
    case = Case((7, "2026-11-24T10:00:01.000Z", "t-1"), word, "in processed_topic, not in the table")

    def rounds(following: Following) -> Iterator[Round]:
        following.result.count(case)
        following.result.through = DAY
        new = [case] if word is Word.LOST else []
        for found in (Round(following.result, DAY, 64_000, new), Round(following.result, DAY, 65_000)):
            following.seen = [found]
            yield found
        Question(follow=True).file(tmp_path).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(Following, "rounds", rounds)
    done = run(FakeTarget(kept=tmp_path), "audit", "verify", "--follow", output="table")
    assert done.code == code
    counts = "1 detected and ok, no fault" if word is Word.OK else "0 detected and ok, 1 lost"
    told = "lost: account 7, 2026-11-24T10:00:01.000Z, transaction t-1: in processed_topic, not in the table"
    assert done.out.splitlines()[: 2 if word is Word.LOST else 1] == [
        *([told] if word is Word.LOST else []),
        f"verified through {tables.short_time('2026-11-24T00:00:00.000Z')} (age 64 s): 0 transactions, {counts}",
    ]
    assert "lost" in done.out.splitlines()[-3]
    assert "Interrupted. Go on with `fraudctl audit verify --follow --resume`." in done.err
    assert ("Error: audit verify: 1 lost" in done.err) == (word is Word.LOST)


def test_following_takes_no_end(run: Run) -> None:
    """And is no repair."""
    for more in (["--until", "now"], ["--by", "10m"], ["--repair"]):
        done = run(FakeTarget(), "audit", "verify", "--follow", *more)
        assert (done.code, done.out) == (2, "")
        assert "Error: --follow: goes on without end" in done.err


def test_seals_are_looked_at_once(run: Run, tmp_path: Path) -> None:
    """What is for the topics does not go with them."""
    for more in (["--follow"], ["--by", "10m"], ["--repair"], ["--resume"]):
        done = run(FakeTarget(), "audit", "verify", "--sealed", str(tmp_path), *more)
        assert (done.code, done.out) == (2, "")
        assert "Error: --sealed and --evidence: look at rows alone" in done.err
