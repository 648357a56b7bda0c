"""The transcript of the README, on real components: exactly the expected fraud ends in the audit table."""

import csv
import io
import json
import os
import signal
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from executable import Fraudctl, WithEditor, alive, eventually, output_until
from known_answer import CLEAN, FLAGGED, exactly_the_expected_fraud, transaction

from fraudctl import config
from fraudctl.local.processes.paths import StackPaths
from fraudctl.pipeline import kafka, on_failure

pytestmark = pytest.mark.e2e

HOLD = timedelta(seconds=60)


def test_before_deploy_every_command_says_what_to_do(fraudctl: Fraudctl) -> None:
    """Nothing is deployed: exit 3 and the command to run; there is nothing to tear down, which is no failure."""
    for words in ("status", "tail processed", "audit query", "flag-accounts"):
        done = fraudctl(*words.split(), code=3)
        assert done.out == ""
        assert "stack fraud-detection: not deployed" in done.err
        assert "fraudctl deploy" in done.err
    assert fraudctl("teardown", "--yes").err == "Stack fraud-detection: nothing to tear down.\n"


def test_deploy_brings_everything_up_and_again_is_up_to_date(fraudctl: Fraudctl) -> None:
    """All components are healthy on loopback; a second deploy changes nothing."""
    done = fraudctl("deploy", "--no-samples")
    assert done.out == ""
    assert all(f"✓ {name}" in done.err for name in ("kafka", "dynamodb", "lambda", "flink"))
    eventually(fraudctl.is_up_to_date)
    status = fraudctl.healthy()
    assert status["samples"]["enabled"] is False
    assert {topic["alias"]: topic["records"] for topic in status["topics"]} == {
        "transactions": 0,
        "flagged": 0,
        "processed": 0,
        "dead-letters": 0,
    }
    for component in status["components"]:
        if component["pid"]:
            process = psutil.Process(component["pid"])
            listening = {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
            assert {address.removeprefix("::ffff:") for address in listening} <= {"127.0.0.1"}, component["name"]


def test_exactly_the_expected_fraud_is_audited(fraudctl: Fraudctl, tmp_path: Path) -> None:
    """Flagged, cleared, never flagged, flagged late, a duplicate, the largest input and a malformed line."""
    exactly_the_expected_fraud(fraudctl, tmp_path)


def test_the_topic_holds_each_detection_once_with_its_flag(fraudctl: Fraudctl) -> None:
    """`tail` shows the records as they lie in Kafka, bytes unchanged; again only what was sent again after hold."""
    everything = ("--from-beginning", "--no-follow", "-o", "json")
    detected = fraudctl("tail", "processed", *everything).documents
    values = [record["value"] for record in detected]
    assert {value["transaction_id"] for value in values} == {"largest", "late", "marker", "plain"}
    assert all(value["flagged_by"] and value["flag_partition"] in range(4) for value in values)
    assert all(record["key"] == str(record["value"]["account_id"]) for record in detected)
    sent = {
        (record["partition"], record["offset"]): datetime.fromisoformat(record["timestamp"])
        for record in fraudctl("tail", "transactions", *everything).documents
    }
    copies = defaultdict[str, list[datetime]](list)
    for value in values:
        copies[value["transaction_id"]].append(sent[value["transaction_partition"], value["transaction_offset"]])
    for moments in copies.values():
        assert all(later - earlier > HOLD for earlier, later in pairwise(sorted(moments))), copies


def test_escape_sequences_in_data_are_shown_not_executed(fraudctl: Fraudctl) -> None:
    """A hostile name drives no terminal: not in a table, not in a tail line, not in JSON."""
    hostile = transaction("hostile", FLAGGED, datetime.now(UTC), customer_name="\x1b[2J\x9b31mEve")
    fraudctl("transactions", "send", "-", stdin=json.dumps(hostile))
    eventually(lambda: "hostile" in fraudctl("audit", "query", "-o", "json").out)
    for output in ("table", "json", "csv"):
        for arguments in (("audit", "query", str(FLAGGED)), ("tail", "processed", "--last", "1")):
            done = fraudctl(*arguments, "-o", output)
            assert "Eve" in done.out or "hostile" in done.out
            assert "\x1b" not in done.out
            assert "\x9b" not in done.out


def test_malformed_input_of_others_becomes_a_dead_letter(fraudctl: Fraudctl) -> None:
    """The largest record that the topic accepts, malformed, neither stops nor vanishes."""
    servers = fraudctl.status(code=None)["outputs"]["bootstrap_servers"]
    producer = kafka.open_producer(kafka.producer(kafka.client(servers)))
    value = b"x" * 1_040_000
    producer.produce("demo_transactions", value, b"7001")
    assert producer.flush(30) == 0
    done = fraudctl("tail", "dead-letters", "--from-beginning", "--max", "1", "-o", "json")
    letter = done.documents[0]
    assert letter["value"] == value.decode()
    assert letter["headers"]["topic"] == "demo_transactions"
    assert "too long" in letter["headers"]["error"]


def test_a_terminated_send_says_how_many_it_delivered(fraudctl: Fraudctl, tmp_path: Path) -> None:
    """SIGTERM while more lines are awaited: what was read is delivered and counted, exit 130."""

    def records() -> int:
        return next(int(topic["records"]) for topic in fraudctl.status()["topics"] if topic["alias"] == "transactions")

    before, pipe = records(), tmp_path / "lines"
    os.mkfifo(pipe)
    process = fraudctl.popen("transactions", "send", str(pipe), "--format", "jsonl", "-o", "json")
    with pipe.open("w", encoding="utf-8") as lines:
        for number in range(1000):
            lines.write(json.dumps(transaction(f"sent-{number}", CLEAN, datetime.now(UTC))) + "\n")
        lines.flush()
        eventually(lambda: records() == before + 1000)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out)["delivered"] == 1000
    assert "Interrupted." in err
    assert records() == before + 1000


def test_a_name_is_the_same_in_json_and_csv(fraudctl: Fraudctl) -> None:
    """Blanks, joiners and marks of any script, from the line that was sent to the audit table and back."""
    names = ["山田\u3000太郎", "Müller\u00a0& Söhne", "علی\u200cرضا", "soft\u00adhyphen", "e\u0301", 'quote"comma,']
    fraudctl("flag-accounts", str(FLAGGED))
    lines = [
        json.dumps(transaction(f"name-{number}", FLAGGED, datetime.now(UTC), customer_name=name))
        for number, name in enumerate(names)
    ]
    fraudctl("transactions", "send", "-", stdin="\n".join(lines))

    def found(rows: Iterable[dict[str, Any]]) -> list[str]:
        named = {row["transaction_id"]: row["customer_name"] for row in rows}
        return [named.get(f"name-{number}", "") for number in range(len(names))]

    query = ("audit", "query", str(FLAGGED), "-o")
    eventually(lambda: found(fraudctl(*query, "json").documents) == names)
    assert found(csv.DictReader(io.StringIO(fraudctl(*query, "csv").out))) == names


def test_flags_that_start_and_end_detect_what_lies_between(fraudctl: Fraudctl) -> None:
    """Extended, scheduled, cleared with a flag pending, flagged again without an end: exactly the dates in between."""
    now = datetime.now(UTC)
    extended, scheduled, cleared, endless = range(7201, 7205)

    def flag(*arguments: object) -> str:
        return fraudctl("flag-accounts", *map(str, arguments), "-o", "json").err

    flag(extended, cleared, endless, "--until", "10d", "--reason", "stolen card")
    assert f"{extended} is flagged from" in flag(extended, "--extend", "--until", "10d")
    later = (now + timedelta(days=10, minutes=10)).isoformat()
    assert f"{scheduled} will be flagged from" in flag(scheduled, cleared, "--from", later, "--until", "10d")
    assert f"Undone for {cleared}: the end at " in flag("--clear", cleared)
    assert f"{endless} is flagged from" in flag(endless)
    settled = datetime.now(UTC) + timedelta(seconds=6)  # before, a transaction may be decided without the last of them
    eventually(lambda: datetime.now(UTC) > settled)
    sent = [
        transaction(f"{account}-{days}", account, datetime.now(UTC) + timedelta(days=days))
        for account in (extended, scheduled, cleared, endless)
        for days in (0, 5, 15, 25)
    ]
    fraudctl("transactions", "send", "-", stdin="\n".join(map(json.dumps, sent)))
    expected = {
        *(f"{extended}-{days}" for days in (0, 5, 15)),
        f"{scheduled}-15",
        *(f"{endless}-{days}" for days in (0, 5, 15, 25)),
    }

    def detected() -> dict[str, str]:
        rows = fraudctl("audit", "query", "--all", "-o", "json").documents
        return {row["transaction_id"]: row["flag_reason"] for row in rows if 7201 <= row["account_id"] <= 7204}

    eventually(lambda: set(detected()) >= expected)
    found = detected()
    assert set(found) == expected
    assert {found[f"{extended}-{days}"] for days in (0, 5, 15)} == {"stolen card"}


def test_dead_letters_are_fixed_redriven_and_parked(fraudctl: Fraudctl, tmp_path: Path) -> None:
    """Listed, shown with a caret, fixed in an editor and detected; left unfixed it comes back until it is parked."""
    fraudctl("flag-accounts", str(FLAGGED))
    bad = transaction("fixed", FLAGGED, datetime.now(UTC), amount="12.50")
    servers = fraudctl.status(code=None)["outputs"]["bootstrap_servers"]
    producer = kafka.open_producer(kafka.producer(kafka.client(servers)))
    for name in ("fixed", "unfixed", "later"):
        value = json.dumps({**bad, "transaction_id": name}).encode()
        producer.produce("demo_transactions", value, str(FLAGGED).encode(), headers=[("trace", name.encode())])
    assert producer.flush(30) == 0

    def letters(name: str) -> list[str]:
        """Give the places of a transaction's dead letters, oldest first."""
        where = f"record.headers.trace == '{name}'"
        found = fraudctl("dead-letters", "list", "--by", "letter", "--where", where, "-o", "json").documents
        return [str(row["letter"]) for row in found]

    eventually(lambda: letters("fixed") and letters("unfixed") and letters("later"))
    counted = fraudctl("dead-letters", "list", "--where", "record.headers.trace is not null", "-o", "json").documents
    assert [(row["count"], row["error"].split()[0]) for row in counted] == [(3, "amount")]
    (fixed,), (unfixed,), (later,) = (letters(name) for name in ("fixed", "unfixed", "later"))
    shown = fraudctl("dead-letters", "show", fixed, "-o", "table").out.splitlines()
    at = next(index for index, line in enumerate(shown) if "^" in line)
    assert shown[at - 1][shown[at].index("^") : len(shown[at])] == '"12.50"'
    assert json.loads(fraudctl("dead-letters", "show", fixed, "--raw").out)["amount"] == "12.50"

    editor = tmp_path / "fix"
    editor.write_text('#!/bin/sh\nsed -i \'s/"12.50"/12.50/\' "$1"\n')
    editor.chmod(0o700)
    edited = WithEditor(fraudctl.home, str(editor))
    done = edited("dead-letters", "redrive", fixed, "--edit", "--yes", "-o", "json")
    assert [(row["outcome"], row["edited"]) for row in done.documents] == [("accepted", True)]
    assert "new hold" in done.err
    where = ("--where", "transaction_id == 'fixed' and amount == 12.5", "--from-beginning")
    detected = fraudctl("tail", "processed", *where, "--expect", "1", "--timeout", "60s", "-o", "json").documents
    assert [record["value"]["account_id"] for record in detected] == [FLAGGED]
    (sent,) = fraudctl("tail", "transactions", *where, "--no-follow", "-o", "json").documents
    assert sent["key"] == str(FLAGGED)
    marks = {"trace": "fixed", "redrive-of": f"dead_letters/{fixed}", "redrive-count": "1"}
    assert sent["headers"] == marks

    for turn in range(1, 4):
        redriven = ("dead-letters", "redrive", letters("unfixed")[-1], "--yes", "-o", "json")
        done = fraudctl(*redriven, code=8)
        assert (done.documents[0]["outcome"], done.documents[0]["redrive"]) == ("came back", turn)
        assert f"{letters('unfixed')[-2]} → {letters('unfixed')[-1]}: amount is not a number" in done.err
    assert len(letters("unfixed")) == 4
    done = fraudctl("dead-letters", "redrive", "--where", "record.headers.trace == 'unfixed'", "--yes", "-o", "json")
    assert [row["outcome"] for row in done.documents] == ["redriven before"] * 3 + ["parked"]
    assert unfixed == letters("unfixed")[0]

    process = fraudctl.popen("dead-letters", "redrive", later, "--yes")
    output_until("✓ redrive", process)
    process.kill()
    process.communicate()
    done = fraudctl("dead-letters", "redrive", later, "--yes", "-o", "json")
    assert [row["outcome"] for row in done.documents] == ["redriven before"]
    copies = fraudctl("tail", "transactions", "--where", "transaction_id == 'later'", "--from-beginning", "--no-follow")
    assert len(copies.documents) == 2


def test_more_partitions_lose_and_repeat_no_detection(fraudctl: Fraudctl, tmp_path: Path) -> None:
    """Accounts move to other partitions, of both inputs and of the output; each transaction is detected once."""
    accounts = range(7101, 7141)
    begun = datetime.now(UTC)

    def send(part: str) -> set[str]:
        when, made = datetime.now(UTC), [f"{part}-{account}" for account in accounts]
        file = tmp_path / f"{part}.jsonl"
        lines = (json.dumps(transaction(name, account, when)) for name, account in zip(made, accounts, strict=True))
        file.write_text("\n".join(lines))
        assert fraudctl("transactions", "send", str(file), "-o", "json").documents[0]["delivered"] == len(made)
        return set(made)

    first, rest = accounts[:20], accounts[20:]
    fraudctl("flag-accounts", *map(str, first))
    sent = send("before")
    grow = [f"--partitions={topic}=7" for topic in ("transactions", "flagged", "processed")]
    assert "demo_transactions has 7 partitions" in fraudctl("topics", "create", *grow, "--yes").err
    fraudctl("flag-accounts", *map(str, rest))
    sent |= send("after")
    expected = {name for name in sent if name.startswith("after") or int(name.rpartition("-")[2]) in first}
    # Those of the others from before were flagged within hold of them, at a later date: not detected.

    def detected() -> list[str]:
        since = begun.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        found = fraudctl("tail", "processed", "--since", since, "--no-follow", "-o", "json").documents
        return [one["value"]["transaction_id"] for one in found]

    eventually(lambda: len(detected()) >= len(expected))
    assert sorted(detected()) == sorted(expected)

    def audited() -> set[str]:
        rows = fraudctl("audit", "query", "--limit", "1000", "-o", "json").documents
        return {row["transaction_id"] for row in rows} & sent

    eventually(lambda: audited() == expected)
    topics = {row["topic"]: row["partitions"] for row in fraudctl("topics", "list", "-o", "json").documents}
    assert topics == {"transactions": 7, "flagged": 7, "processed": 7, "dead-letters": 4}
    fraudctl.healthy()


def test_verify_agrees_until_a_row_is_missing(fraudctl: Fraudctl) -> None:
    """Recomputed from the topics, whatever was sent, copied and moved before; a deleted row is named."""

    def verdicts() -> dict[str, Any]:
        (found,) = fraudctl("audit", "verify", "-o", "json").documents
        return dict(found)

    # The application commits what it has read with its checkpoints, every ten seconds.
    eventually(lambda: not verdicts()["in_flight"])
    right = verdicts()
    rows = fraudctl("audit", "query", "--all", "-o", "json").documents
    assert (right["attempted"], right["ok"], right["unknown"], right["cases"]) == (len(rows), len(rows), 0, [])
    (shown,) = fraudctl("audit", "show", rows[0]["transaction_id"], "-o", "json").documents
    assert (shown["verdict"], shown["why"], shown["evidence"][-1]["step"]) == ("ok", None, "detected")
    programs = {one["name"]: one for one in fraudctl.status()["components"]}
    options = dict.fromkeys(("region_name", "aws_access_key_id", "aws_secret_access_key"), "local")
    client = boto3.client("dynamodb", endpoint_url=programs["dynamodb"]["address"], **options)  # type: ignore[call-overload]
    row = rows[0]
    key = {
        "account_id": {"N": str(row["account_id"])},
        "transaction_key": {"S": f"{row['transaction_date']}#{row['transaction_id']}"},
    }
    client.delete_item(TableName="fraud-detection-audit", Key=key)
    done = fraudctl("audit", "verify", "-o", "json", code=8)
    assert "audit verify: 1 lost" in done.err
    (case,) = done.documents[0]["cases"]
    assert (case["verdict"], case["transaction_id"]) == ("lost", row["transaction_id"])
    assert case["processed"] == f"processed_topic/{row['processed_partition']}:{row['processed_offset']}"

    # As the mapping does with what the table has refused again and again.
    put_aside(fraudctl, row["processed_partition"], row["processed_offset"])
    (recovered,) = fraudctl("audit", "verify", "-o", "json").documents[0]["cases"]
    assert recovered["verdict"] == "recovered"
    (problem,) = fraudctl.status(code=8)["problems"]
    assert "1 without a row so far" in problem
    redrive = ("dead-letters", "redrive", "--from", "on-failure", "--yes", "-o", "json")
    assert [found["outcome"] for found in fraudctl(*redrive).documents] == ["written"]
    assert row in fraudctl("audit", "query", "--all", "-o", "json").documents
    assert fraudctl("audit", "verify", "-o", "json").documents[0]["cases"] == []
    assert any("all have their rows by now" in note for note in fraudctl.healthy()["notes"])
    assert [found["outcome"] for found in fraudctl(*redrive).documents] == ["already a row"]


def put_aside(fraudctl: Fraudctl, partition: int, offset: int) -> None:
    """Put a record of processed_topic into the on-failure destination."""
    at = ("tail", "processed", "--offsets", f"{partition}:{offset}", "--max", "1")
    (record,) = fraudctl(*at, "-o", "json").documents
    timestamp = round(datetime.fromisoformat(record["timestamp"]).timestamp() * 1000)
    value = fraudctl(*at, "--raw").out.removesuffix("\n").encode()
    body = {"topic": "processed_topic", "partition": partition, "offset": offset, "timestamp": timestamp, "headers": []}
    body |= {"key": b64encode(record["key"].encode()).decode(), "value": b64encode(value).decode()}
    failure = on_failure.Failure(
        function_arn="arn",
        version="$LATEST",
        request_id="request",
        condition=on_failure.RETRIES_EXHAUSTED,
        attempts=3,
        error="the function reported the record as failed",
    )
    event = {"eventSource": "aws:kafka", "eventSourceArn": "arn", "bootstrapServers": "127.0.0.1:1"}
    settings = config.load(environment={"FRAUDCTL_HOME": str(fraudctl.home)}, folder=fraudctl.home)
    folder = StackPaths(settings.home, settings.stack, settings.runtime).on_failure
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in on_failure.documents(event, [body], failure, timestamp):
        (folder / name).write_bytes(content)


def test_teardown_leaves_nothing(fraudctl: Fraudctl) -> None:
    """Processes, ports and files are gone, and so is the stack."""
    pids = [component["pid"] for component in fraudctl.status(code=None)["components"] if component["pid"]]
    assert fraudctl("teardown", code=7).err.count("--yes") >= 1
    assert "no process, port or file is left" in fraudctl("teardown", "--yes").err
    assert alive(pids) == []
    assert [path for path in fraudctl.home.rglob("*") if path.is_file()] == []
    fraudctl("status", code=3)
