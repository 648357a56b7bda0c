"""fraudctl accounts what-if and apply, on a target in memory."""

import csv
import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from fakes import FakeTarget, Undeployed
from target_in_memory import EARLY, HOUR, NOON, SENT, Publishing, flagged, live, target, transaction

from fraudctl.pipeline.text import iso


@pytest.fixture
def suspects(tmp_path: Path) -> str:
    """A list with account 2 from the second hour on."""
    file = tmp_path / "suspects.csv"
    file.write_text(f"account,from,reason\n2,{iso(NOON + HOUR)},mule\n")
    return str(file)


def test_what_if_shows_what_is_added_and_removed(run: Run, suspects: str) -> None:
    """Coverage and progress on stderr; the numbers, then examples; nothing is published."""
    found = target(SENT, [flagged(1, EARLY), flagged(2, EARLY)])
    done = run(found, "accounts", "what-if", "--file", suspects, "--prune", "--limit", "1")
    assert done.code == 0
    rows = [line.split() for line in done.out.splitlines()]
    assert ["as", "they", "were", "5", "2", "1,000,000,013.34", "2", "2"] in rows
    assert ["added", "0", "0", "0.00", "0", "0"] in rows
    assert ["removed", "3", "2", "1,000,000,000.29", "1", "2"] in rows
    assert ["with", "the", "list", "2", "1", "13.05", "1", "1"] in rows
    assert rows[-1][:2] == ["removed", "1"]
    assert rows[-1][4:] == ["999,999,999.99", "Grocery", "c", "stolen", "card"]
    assert f"Coverage: 8 transactions, published from {iso(NOON)} through {iso(NOON + 3 * HOUR)}." in done.err
    assert "2 transactions more: see --limit." in done.err
    assert (found.functions.payloads, found.records.written) == ([], [])


def test_what_if_for_programs(run: Run, suspects: str, tmp_path: Path) -> None:
    """JSON is one document, amounts exact; CSV is the examples."""
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"transaction_id": "a", "fraud": true}\n{"transaction_id": "d", "fraud": false}\n')
    found = target(SENT, [flagged(1, EARLY)])
    command = ("accounts", "what-if", "--file", suspects, "--labels", str(labels))
    done = run(found, *command, output="json")
    assert '"amount":1000000000.09,' in done.out
    document = json.loads(done.out)
    assert document["transactions_read"] == 8
    assert (document["from"], document["through"]) == (iso(NOON), iso(NOON + 3 * HOUR))
    assert document["added"] == {"transactions": 2, "accounts": 1, "amount": 13.05, "hour_p50": 1, "hour_max": 1}
    assert document["labels"]["read"] == 2
    assert document["labels"]["with_the_list"] == {
        "true_positives": 1,
        "false_positives": 1,
        "false_negatives": 0,
        "true_negatives": 0,
        "precision": 0.5,
        "recall": 1.0,
    }
    assert [example["transaction_id"] for example in document["examples"]] == ["f", "d"]
    done = run(found, *command, "--fields", "change,amount,transaction_id,reason", output="csv")
    assert list(csv.reader(io.StringIO(done.out))) == [
        ["change", "amount", "transaction_id", "reason"],
        ["added", "8.00", "f", "mule"],
        ["added", "5.05", "d", "mule"],
    ]
    done = run(found, *command)
    assert ["precision", "100.0", "%", "50.0", "%"] in [line.split() for line in done.out.splitlines()]


def test_what_if_refuses_what_it_cannot_read(run: Run, suspects: str) -> None:
    """Before anything is asked of the stack; without a stack as any command."""
    done = run(Undeployed(), "accounts", "what-if", "--file", "nowhere.csv")
    assert (done.code, done.out) == (2, "")
    assert "nowhere.csv" in done.err
    done = run(Undeployed(), "accounts", "what-if", "--file", suspects, "--fields", "amounts")
    assert done.code == 2
    assert "--fields: 'amounts' is no column" in done.err
    assert run(Undeployed(), "accounts", "what-if", "--file", suspects).code == 3


@pytest.fixture
def three(tmp_path: Path) -> str:
    """A list of three accounts: one with an end, one that is flagged already, one with a reason."""
    file = tmp_path / "list.csv"
    file.write_text("account,until,reason\n1,,\n2,2999-01-01T00:00:00Z,\n4,2999-01-02,mule\n5,2020-01-01,\n")
    return str(file)


def listed(run: Run, target: FakeTarget) -> dict[int, tuple[str | None, str | None]]:
    """Give the accounts that are flagged, with their ends and reasons."""
    done = run(target, "accounts", "list", "--flagged", output="json")
    return {row["account_id"]: (row["until"], row["reason"]) for row in map(json.loads, done.out.splitlines())}


def test_apply_makes_the_flags_what_the_list_says(run: Run, three: str) -> None:
    """It says what changes and what that would have detected; applied again, nothing changes."""
    now = int(time.time() * 1000)
    sent = (
        transaction(4, now - HOUR, "x", "3.50"),
        transaction(1, now - HOUR, "y"),
        transaction(4, now - 48 * HOUR, "z"),
    )
    found = live(sent, [flagged(1, EARLY), flagged(3, EARLY)])
    done = run(found, "accounts", "apply", three, "--yes")
    assert done.code == 0, done.err
    assert "+2 flagged, 1 unchanged." in done.err
    assert "of which 1 were detected: the list would have added 1 of 1 account (3.50, at most 1 an hour)" in done.err
    assert "1 flag of the list that ended before now, left out." in done.err
    assert "4 flag events of 2 accounts written" in done.err
    wanted = {2: ("2999-01-01T00:00:00.000Z", None), 4: ("2999-01-02T00:00:00.000Z", "mule")}
    assert listed(run, found) == {1: (None, "stolen card"), 3: (None, "stolen card"), **wanted}
    done = run(found, "accounts", "apply", three, "--yes", "--no-what-if", output="json")
    assert "The flags are as the list says." in done.err
    rows = list(map(json.loads, done.out.splitlines()))
    assert [(row["account_id"], row["change"]) for row in rows] == [(n, "unchanged") for n in (1, 2, 4)]
    done = run(found, "accounts", "apply", three, "--yes", "--prune", "--since", "3d")
    assert "−1 cleared, 3 unchanged." in done.err
    assert listed(run, found) == {1: (None, "stolen card"), **wanted}


def test_what_accounts_list_writes_is_a_list(run: Run, tmp_path: Path) -> None:
    """Applied it changes nothing, and would have changed nothing; who is flagged no more is left out."""
    sent = [transaction(account, NOON + n, f"t-{account}-{n}") for n in range(5) for account in (1, 2, 3)]
    flags = [flagged(1, NOON + 2), flagged(2, EARLY), flagged(2, NOON + 3, on=False)]
    found = live(sent, [*flags, flagged(3, EARLY), flagged(3, NOON * 2, on=False)])
    file = tmp_path / "flags.csv"
    file.write_text(run(found, "accounts", "list", output="csv").out)
    done = run(found, "accounts", "what-if", "--file", str(file), output="json")
    document = json.loads(done.out)
    assert document["as_they_were"]["transactions"] == document["with_the_list"]["transactions"] == 3 + 3 + 5
    assert (document["added"]["transactions"], document["removed"]["transactions"]) == (0, 0)
    done = run(found, "accounts", "apply", str(file), "--prune", "--yes")
    assert "  2 unchanged." in done.err
    assert found.functions.payloads == []


def test_a_plan_is_carried_out_as_it_was_made(run: Run, three: str, tmp_path: Path) -> None:
    """Nothing happens before; afterwards the flags are the list's, and the plan is refused."""
    found = live((), [flagged(1, EARLY), flagged(3, EARLY)])
    plan = str(tmp_path / "monday.plan")
    done = run(found, "accounts", "apply", three, "--prune", "--plan", plan)
    assert done.code == 0, done.err
    assert f"Nothing was changed. To carry it out: `fraudctl accounts apply {plan}`" in done.err
    assert found.functions.payloads == []
    assert run(found, "accounts", "apply", plan, "--prune").code == 2
    done = run(found, "accounts", "apply", plan, output="json")
    assert done.code == 7
    assert "needs confirmation" in done.err
    done = run(found, "accounts", "apply", plan, "--yes", output="json")
    assert done.code == 0, done.err
    assert [json.loads(line)["change"] for line in done.out.splitlines()] == [
        *("unchanged", "flagged", "flagged", "cleared")
    ]
    assert listed(run, found).keys() == {1, 2, 4}
    done = run(found, "accounts", "apply", plan, "--yes")
    assert done.code == 7
    assert "the flags of 3 accounts (2, 4, 3) have moved since the plan was made" in done.err
    assert f"`fraudctl accounts apply {three} --prune`" in done.err


def test_a_plan_is_refused_when_flags_have_moved(run: Run, three: str, tmp_path: Path) -> None:
    """Whoever moved them, even of an account that is not in the list; nothing is published."""
    found = live((), [flagged(1, EARLY)])
    plan = str(tmp_path / "plan")
    run(found, "accounts", "apply", three, "--prune", "--plan", plan)
    assert run(found, "flag-accounts", "9").code == 0
    before = len(found.functions.payloads)
    done = run(found, "accounts", "apply", plan, "--yes")
    assert done.code == 7
    assert "the flags of account 9 have moved since the plan was made" in done.err
    assert len(found.functions.payloads) == before


def test_what_was_written_in_part_can_be_applied_again(run: Run, three: str) -> None:
    """The list is compared with what there is."""
    found = live((), [flagged(1, EARLY)])
    assert isinstance(found.functions, Publishing)
    found.functions.most = 3
    done = run(found, "accounts", "apply", three, "--yes", "--no-what-if")
    assert done.code == 5
    assert f"Hint: make a new plan from the list: `fraudctl accounts apply {three}`" in done.err
    found.functions.most = 99
    done = run(found, "accounts", "apply", three, "--yes", "--no-what-if")
    assert "+1 flagged, 2 unchanged." in done.err
    assert listed(run, found).keys() == {1, 2, 4}


def test_an_interrupted_apply_says_how_to_go_on(run: Run, tmp_path: Path) -> None:
    """A thousand events go in one call; Ctrl-C in the second leaves the first."""
    file = tmp_path / "many.txt"
    file.write_text("".join(f"{account}\n" for account in range(1, 1202)))
    found = live(())
    invoke = found.functions.invoke

    def interrupted(name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        if found.functions.payloads:
            raise KeyboardInterrupt
        return invoke(name, payload)

    found.functions.invoke = interrupted  # type: ignore[method-assign]
    done = run(found, "accounts", "apply", str(file), "--yes", "--no-what-if")
    assert done.code == 130
    assert "stopped behind 1,000 accounts; make a new plan from the list" in done.err
    found.functions.invoke = invoke  # type: ignore[method-assign]
    done = run(found, "accounts", "apply", str(file), "--yes", "--no-what-if")
    assert "+201 flagged, 1,000 unchanged." in done.err
    assert "and 181 changes more; with --plan a file has them all" in done.err
    assert len(listed(run, found)) == 1201


def test_apply_keeps_to_the_limits(run: Run, three: str, tmp_path: Path) -> None:
    """Of fraudctl.toml: reasons, and how long a flag may last; what makes nothing longer is not asked."""
    (tmp_path / "fraudctl.toml").write_text('reasons = ["stolen card"]\n')
    done = run(live(()), "accounts", "apply", three, "--yes")
    assert done.code == 2
    assert "line 4: account 4: reason 'mule' is not one of the setting reasons" in done.err
    (tmp_path / "fraudctl.toml").write_text('longest = "180d"\n')
    done = run(live((), [flagged(1, EARLY)]), "accounts", "apply", three, "--yes")
    assert done.code == 2
    assert "line 3: account 2: flagged until 2999-01-01T00:00:00.000Z: the setting longest allows 180d" in done.err
