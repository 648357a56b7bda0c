"""fraudctl audit seal, and what verify and export do with seals, on a pipeline in memory."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from fakes import Undeployed
from sealed import HOUR, Pipeline

MINUTE = 60_000


@pytest.fixture
def pipeline(audit: Any) -> Pipeline:
    """Three detections, a minute apart, in a past hour."""
    found = Pipeline(audit)
    for number in range(3):
        found.send(number * MINUTE - 48 * HOUR, f"t-{number}", number % 2)
    return found


@pytest.fixture
def seals(run: Run, pipeline: Pipeline, tmp_path: Path) -> Path:
    """The folder in which those hours are sealed."""
    assert run(pipeline.target, "audit", "seal", "--to", str(tmp_path / "seals"), "--every", "6h").code == 0
    return tmp_path / "seals"


def test_seal_says_what_it_did(run: Run, pipeline: Pipeline, tmp_path: Path) -> None:
    """A row a window; then that the next one is open."""
    pipeline.send(-49 * HOUR, "before")
    to = str(tmp_path / "seals")
    done = run(
        pipeline.target, "audit", "seal", "--to", to, "--every", "6h", "--since", "2026-11-25T10:00Z", output="json"
    )
    first, *others = [json.loads(line) for line in done.out.splitlines()]
    assert (first["since"], first["until"]) == ("2026-11-25T06:00:00.000Z", "2026-11-25T12:00:00.000Z")
    assert (first["rows"], first["amount"], first["manifests"], first["ok"], first["unknown"]) == (4, 50.00, 2, 4, 0)
    assert [other["rows"] for other in others] == [0] * len(others)
    assert "The seals begin at 2026-11-25T06:00:00.000Z." in done.err
    assert f"manifests written to {to}." in done.err
    assert "keep them elsewhere, or under S3 Object Lock" in done.err
    assert "The next window is open" in done.err
    done = run(
        pipeline.target, "audit", "seal", "--to", to, "--every", "6h", "--since", "2026-11-25T10:00Z", output="json"
    )
    assert (done.code, done.out) == (0, "")
    assert "--since is for the first run" in done.err


def test_a_window_with_faults_is_exit_8(run: Run, pipeline: Pipeline, tmp_path: Path) -> None:
    """With what to type to seal it all the same."""
    pipeline.table.put_item(Item={**pipeline.items[1], "customer_name": "Eve"})
    to = ("audit", "seal", "--to", str(tmp_path / "seals"), "--every", "6h")
    done = run(pipeline.target, *to)
    assert (done.code, done.out) == (8, "")
    assert "the window from 2026-11-25T06:00:00.000Z on is not sealed: 1 different" in done.err
    assert "--with-faults" in done.err
    assert run(pipeline.target, *to, "--with-faults").code == 0
    done = run(pipeline.target, "audit", "verify", "--sealed", str(tmp_path / "seals"))
    assert done.code == 0
    assert "When they were sealed, `audit verify` said of these windows: 1 different." in done.err


def test_verify_sealed_names_what_was_spoiled(run: Run, pipeline: Pipeline, seals: Path) -> None:
    """Rows and manifests; exit 8. Nothing of Kafka is read."""
    verify = ("audit", "verify", "--sealed", str(seals))
    pipeline.target.topics = pipeline.target.records = None
    done = run(pipeline.target, *verify)
    assert (done.code, done.out) == (0, "")
    assert "Asked for everything, found from 2026-11-25T06:00:00.000Z to " in done.err
    assert "Not sealed yet: what was detected from 2026-11-2" in done.err
    first, second, third = pipeline.items
    pipeline.table.put_item(Item={**first, "amount": 99})
    pipeline.table.delete_item(Key={name: second[name] for name in ("account_id", "transaction_key")})
    pipeline.table.put_item(
        Item={**third, "transaction_key": third["transaction_date"] + "#new", "transaction_id": "new"}
    )
    done = run(pipeline.target, *verify, output="csv")
    assert done.code == 8
    assert [line.split(",")[:4:3] for line in done.out.splitlines()[1:]] == [
        ["changed", "t-0"],
        ["added", "new"],
        ["deleted", "t-1"],
    ]
    assert "manifests valid; rows: 1 changed, 1 deleted, 1 added" in done.err
    name = "00001/20261125T060000Z.json"
    (seals / name).write_bytes((seals / name).read_bytes().replace(b'"rows": 1', b'"rows": 2'))
    done = run(pipeline.target, *verify, output="json")
    (document,) = map(json.loads, done.out.splitlines())
    assert [(one["manifest"], one["state"]) for one in document["manifests_bad"]] == [(name, "altered")]
    assert (document["changed"], document["added"], document["deleted"]) == (1, 1, 0)
    assert document["manifests_valid"] == document["manifests"] - 1
    done = run(pipeline.target, *verify)
    assert "its content does not match its digest" in done.out
    assert max(map(len, done.out.splitlines())) <= 200


def test_evidence_is_packed_and_verified_without_a_stack(
    run: Run, pipeline: Pipeline, seals: Path, tmp_path: Path
) -> None:
    """Rows, seals and chains; the chain of each row is what `audit show` says."""
    packed = str(tmp_path / "case.zip")
    export = ("audit", "export", "--evidence", packed)
    done = run(pipeline.target, *export)
    assert (done.code, "--evidence needs the seals" in done.err) == (2, True)
    done = run(pipeline.target, *export, "--sealed", str(seals), "--until", "2026-11-25T12:00Z")
    assert done.code == 0
    assert "3 rows, 2 manifests" in done.err
    with zipfile.ZipFile(packed) as opened:
        chains = [json.loads(line) for line in opened.read("evidence.jsonl").splitlines()]
    assert sorted((one["transaction_id"], one["verdict"]) for one in chains) == [(f"t-{n}", "ok") for n in range(3)]
    assert {step["step"] for step in chains[0]["evidence"]} >= {
        "transaction published",
        "flag event in force",
        "detected",
    }
    done = run(Undeployed(), "audit", "verify", "--evidence", packed, output="json")
    assert done.code == 0
    assert json.loads(done.out)["manifests_valid"] == 2
    done = run(Undeployed(), "audit", "verify", "--evidence", packed, "--sealed", str(seals))
    assert (done.code, "cannot be combined" in done.err) == (2, True)
    done = run(pipeline.target, *export, "--sealed", str(seals), "--account", "7001")
    assert (done.code, "--evidence takes whole windows" in done.err) == (2, True)
    assert run(pipeline.target, "audit", "export").code == 2
