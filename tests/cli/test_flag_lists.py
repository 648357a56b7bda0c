"""fraudctl accounts what-if, on a target in memory."""

import csv
import io
import json
from pathlib import Path

import pytest
from conftest import Run
from fakes import Undeployed
from topics_in_memory import EARLY, HOUR, NOON, SENT, flagged, target

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
