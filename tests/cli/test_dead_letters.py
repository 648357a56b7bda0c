"""fraudctl dead-letters, on topics in memory and a table in memory."""

import csv
import io
import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from conftest import Run
from fakes import FakeTarget, detection
from topics_in_memory import TopicsInMemory

from fraudctl.pipeline import audit_table, on_failure
from fraudctl.pipeline.records import FlaggedTransaction
from fraudctl.services import health
from fraudctl.target import Component, Health, PutAside, Report

DEAD, TX = "dead_letters", "demo_transactions"
BAD = (
    b'{"transaction_id":"t-1","account_id":7001,"customer_name":"\xc2\x9b31mEve","transaction_date":"2026-11-24T10:15:30.123Z",'
    b'"merchant_type":"Grocery","transaction_type":"Online","amount":"12.50"}'
)
AMOUNT = "amount is not a number from 0.00 to 999999999.99 with at most two decimals"
WHERE = ("--where", 'record.headers.error like "amount%"')


@dataclass
class Target(FakeTarget):
    """A target whose topics are in memory, with documents put aside, and AuditWriter."""

    kafka: TopicsInMemory = field(default_factory=TopicsInMemory)
    documents: list[bytes] = field(default_factory=list)
    invoked: list[Mapping[str, Any]] = field(default_factory=list)
    refuses: frozenset[int] = frozenset()
    put_aside: PutAside | None = None

    def __post_init__(self) -> None:
        """Put the pieces into their places."""
        self.records: Any = self.kafka
        self.functions: Any = self

    def on_failure(self) -> Iterator[bytes]:
        """Yield the documents."""
        return iter(self.documents)

    def components(self) -> list[Component]:
        """Return the mapping."""
        return [Component("audit mapping", Health.HEALTHY, "OK", put_aside=self.put_aside)]

    def invoke(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Write rows as AuditWriter does."""
        assert name == "AuditWriter"
        self.invoked.append(payload)
        failures = []
        for partition, bodies in payload["records"].items():
            for body in bodies:
                if body["offset"] in self.refuses:
                    failures.append({"itemIdentifier": {"partition": partition, "offset": body["offset"]}})
                    continue
                found = FlaggedTransaction.parse(value_of(body))
                self.table.put_item(Item=audit_table.item(found, body["timestamp"], body["partition"], body["offset"]))
        return {"batchItemFailures": failures}


def value_of(body: Mapping[str, Any]) -> bytes:
    """Give a body's bytes."""
    return b64decode(body["value"])


def letter(target: Target, value: bytes | None = BAD, error: str = AMOUNT, **headers: bytes) -> None:
    """Add a dead letter."""
    own = {**headers, "error": error.encode(), "topic": TX.encode(), "partition": b"1", "offset": b"42"}
    target.kafka.append(DEAD, value, headers=tuple(own.items()))


@pytest.fixture
def target() -> Target:
    """Two letters of one kind, and one of another."""
    found = Target()
    letter(found)
    letter(found, b"\x00\x00\x00\x00\x2axyz", "Confluent wire format (magic byte 0, schema id 42), not JSON")
    letter(found)
    return found


def test_list_counts_by_error(run: Run, target: Target) -> None:
    """The most frequent first, with a sample; nothing hostile on the terminal."""
    done = run(target, "dead-letters", "list", output="json")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [(row["error"][:9], row["count"], row["sample"]) for row in rows] == [
        ("amount is", 2, "0:2"),
        ("Confluent", 1, "0:1"),
    ]
    assert rows[0]["first"] < rows[0]["last"]
    table = run(target, "dead-letters", "list")
    assert "3 dead letters" in table.err
    assert "`fraudctl dead-letters show 0:2`" in table.err
    assert "\x00" not in table.out


def test_list_filters_and_chooses_columns(run: Run, target: Target) -> None:
    """As `tail` and `audit query` do."""
    done = run(target, "dead-letters", "list", *WHERE, "--fields", "count,error", output="csv")
    assert list(csv.DictReader(io.StringIO(done.out))) == [{"count": "2", "error": AMOUNT}]
    done = run(target, "dead-letters", "list", "--by", "letter", "--until", "1970-01-02")
    assert (done.code, done.out) == (0, "")
    assert "No dead letters found." in done.err
    assert run(target, "dead-letters", "list", "--fields", "nope").code == 2


def test_without_letters_that_is_said(run: Run) -> None:
    """Exit 0."""
    done = run(Target(), "dead-letters", "list")
    assert (done.code, done.out, done.err) == (0, "", "No dead letters.\n")


def test_show_has_a_caret_and_escapes(run: Run, target: Target) -> None:
    """Below the value that is wrong; a control character as its escape."""
    done = run(target, "dead-letters", "show", "0:0")
    lines = done.out.splitlines()
    at = next(index for index, line in enumerate(lines) if "^" in line)
    assert lines[at - 1][lines[at].index("^") : len(lines[at])] == '"12.50"'
    assert "\\x9b31mEve" in done.out
    assert "\x9b" not in done.out
    assert any(line.split() == ["source", f"{TX}/1:42"] for line in lines)
    assert "`fraudctl dead-letters redrive 0:0 --edit`" in done.err


def test_show_for_programs_and_as_bytes(run: Run, target: Target) -> None:
    """The whole letter as JSON, with where the error lies; the bytes alone byte for byte."""
    document = json.loads(run(target, "dead-letters", "show", "0:1", output="json").out)
    assert (document["error_at"], document["error_bytes"]) == (0, 5)
    assert document["value"] == "\x00\x00\x00\x00*xyz"
    assert "value_base64" not in document
    assert run(target, "dead-letters", "show", "0:0", "--raw").out.encode() == BAD
    done = run(target, "dead-letters", "show", "0:9")
    assert (done.code, done.out) == (3, "")
    assert "dead letters: 0:9 is not there" in done.err


def test_a_dry_run_shows_the_plan_and_sends_nothing(run: Run, target: Target) -> None:
    """With what would come back."""
    done = run(target, "dead-letters", "redrive", *WHERE, "--dry-run", output="json")
    assert [json.loads(line)["outcome"] for line in done.out.splitlines()] == ["ready", "ready"]
    assert "2 dead letters: 0:0, 0:2" in done.err
    assert "2 of 2 would come back" in done.err
    assert "nothing was sent" in done.err
    assert target.kafka.log(TX) == [[], []]


def test_redrive_asks_and_without_a_terminal_refuses(run: Run, target: Target) -> None:
    """Exit 7, nothing sent."""
    done = run(target, "dead-letters", "redrive", "0:0")
    assert done.code == 7
    assert "Hint: add --yes" in done.err
    assert target.kafka.log(TX) == [[], []]


def test_redrive_sends_once_and_holds_the_lock(run: Run, target: Target) -> None:
    """Not waiting for the application: sent, and where it lies; the second time there is nothing to send."""
    done = run(target, "dead-letters", "redrive", "0:0", "--yes", "--timeout", "0s", output="json")
    (row,) = map(json.loads, done.out.splitlines())
    assert (done.code, row["outcome"], row["place"]) == (0, "sent", f"{TX}/0:0")
    assert target.locked == 1
    done = run(target, "dead-letters", "redrive", "0:0", "--yes", output="json")
    assert (done.code, json.loads(done.out)["outcome"]) == (0, "redriven before")
    assert "There is nothing to send." in done.err
    (sent,) = target.kafka.log(TX)[0]
    assert dict(sent.headers) == {"redrive-of": b"dead_letters/0:0", "redrive-count": b"1"}


def test_an_interrupted_wait_says_what_was_sent_and_how_to_go_on(run: Run, target: Target) -> None:
    """Exit 130; the records lie in their topic."""

    class Interrupting:
        def status(self) -> None:
            raise KeyboardInterrupt

    flink: Any = Interrupting()
    target.flink = flink
    done = run(target, "dead-letters", "redrive", *WHERE, "--yes", output="json")
    assert done.code == 130
    assert [json.loads(line)["outcome"] for line in done.out.splitlines()] == ["sent", "sent"]
    assert "what was sent is not sent a second time" in done.err


def test_what_kafka_refuses_is_an_error_with_what_was_sent(run: Run, target: Target) -> None:
    """Exit 5; the next run sends the rest."""
    write = target.kafka.write

    def refusing(topic: str, records: Any) -> Report:
        first, *_ = records
        write(topic, [first])
        return Report(1, 1, ("Broker: Message size too large",))

    target.kafka.write = refusing  # type: ignore[method-assign]
    done = run(target, "dead-letters", "redrive", *WHERE, "--yes", output="json")
    assert done.code == 5
    assert [json.loads(line)["outcome"] for line in done.out.splitlines()] == ["sent", "not sent"]
    assert "redrive: 1 of 2 not sent: Broker: Message size too large" in done.err
    target.kafka.write = write  # type: ignore[method-assign]
    done = run(target, "dead-letters", "redrive", *WHERE, "--yes", "--timeout", "0s", output="json")
    outcomes = {row["letter"]: row["outcome"] for row in map(json.loads, done.out.splitlines())}
    assert outcomes == {"0:0": "redriven before", "0:2": "sent"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("redrive", "7"), "not PARTITION:OFFSET"),
        (("redrive", "--from", "on-failure", "--edit"), "--edit: not with --from on-failure"),
        (("redrive", "--from", "on-failure", "--parked"), "--parked: not with --from on-failure"),
        (("redrive", "--timeout", "soon"), "--timeout"),
        (("list", "--where", "amount >"), "--where"),
        (("list", "--since", "now", "--until", "1h"), "--since now is after --until 1h"),
    ],
)
def test_usage_errors(run: Run, target: Target, arguments: tuple[str, ...], said: str) -> None:
    """Exit 2 before anything is read."""
    done = run(target, "dead-letters", *arguments)
    assert done.code == 2
    assert said in done.err


# --- what AuditWriter put aside


def document(condition: str, *bodies: Mapping[str, Any], error: str = "refused by the table") -> bytes:
    """Give a document as AuditWriter or its mapping writes it."""
    failure = on_failure.Failure(
        function_arn="arn", version="1", request_id="r", condition=condition, attempts=3, error=error
    )
    event = {"eventSource": "aws:kafka", "eventSourceArn": "arn", "bootstrapServers": "b:1", "records": {}}
    ((_, content),) = on_failure.documents(event, bodies, failure, 1_790_000_000_000)
    return content


def body(offset: int, value: bytes) -> dict[str, Any]:
    """Give a record as it stands in an event."""
    return {
        "topic": "processed_topic",
        "partition": 0,
        "offset": offset,
        "timestamp": 1_790_000_000_000 + offset,
        "timestampType": "CREATE_TIME",
        "key": b64encode(b"7").decode(),
        "value": b64encode(value).decode(),
        "headers": [{"trace": list(b"x")}],
    }


@pytest.fixture
def aside(audit: Any) -> Target:
    """Three detections that could not be written, one of them with a row by now, and a record that is none."""
    bodies = [body(number, detection(number).to_json()) for number in range(3)]
    audit.put_item(Item=audit_table.item(detection(2), 1_790_000_000_000, 0, 2))
    documents = [
        document(on_failure.RETRIES_EXHAUSTED, *bodies),
        document(on_failure.RETRIES_EXHAUSTED, bodies[0]),  # given up again alone
        document(on_failure.MALFORMED, body(9, b"nonsense"), error="these records are no detections"),
        b"no document",
    ]
    return Target(table=audit, documents=documents, put_aside=PutAside(4, 3, "/folder"))


ON_FAILURE = ("--from", "on-failure")


def test_list_and_show_what_was_put_aside(run: Run, aside: Target) -> None:
    """Each record once, however many documents have it."""
    rows = [
        json.loads(line) for line in run(aside, "dead-letters", "list", *ON_FAILURE, output="json").out.splitlines()
    ]
    assert [(row["error"], row["count"]) for row in rows] == [
        ("refused by the table", 3),
        ("these records are no detections", 1),
    ]
    where = ("--where", 'record.headers.error like "refused%" and amount == 12.5')
    found = run(aside, "dead-letters", "list", "--by", "letter", *ON_FAILURE, *where, output="json").out
    assert [json.loads(line)["letter"] for line in found.splitlines()] == ["0:0", "0:1", "0:2"]
    shown = json.loads(run(aside, "dead-letters", "show", "0:1", *ON_FAILURE, output="json").out)
    assert (shown["topic"], shown["partition"], shown["offset"]) == ("processed_topic", 0, 1)
    assert (shown["headers"], shown["error_at"]) == ({"trace": "x"}, None)
    assert json.loads(shown["value"])["transaction_id"] == "t-1"
    assert "It is no detection" in run(aside, "dead-letters", "show", "0:9", *ON_FAILURE).err


def test_lambdas_own_documents_are_read(run: Run) -> None:
    """They have no reason, only a condition, and a header's bytes as Java has them."""
    one = {**body(4, detection(4).to_json()), "headers": [{"trace": [-1, 120]}]}
    own = {
        "requestContext": {"requestId": "r", "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 3},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": "2019-11-14T00:38:06.021Z",
        "KafkaBatchInfo": {"batchSize": 1},
        "payload": json.dumps({"eventSource": "aws:kafka", "records": {"processed_topic-0": [one]}}),
    }
    target = Target(documents=[json.dumps(own).encode()])
    shown = json.loads(run(target, "dead-letters", "show", "0:4", *ON_FAILURE, output="json").out)
    assert (shown["error"], shown["at"]) == ("Unhandled", "2019-11-14T00:38:06.021Z")
    assert b64decode(shown["headers_base64"]["trace"]) == b"\xffx"


def test_redrive_of_what_was_put_aside_invokes_audit_writer(run: Run, aside: Target) -> None:
    """In an event of the mapping's form; rows that are there are counted, what is no detection is left out."""
    done = run(aside, "dead-letters", "redrive", *ON_FAILURE, "--yes", output="json")
    outcomes = {row["letter"]: row["outcome"] for row in map(json.loads, done.out.splitlines())}
    assert outcomes == {"0:0": "written", "0:1": "written", "0:2": "already a row", "0:9": "no detection"}
    assert done.code == 0
    (event,) = aside.invoked
    assert {name: event[name] for name in ("eventSource", "eventSourceArn", "bootstrapServers")} == {
        "eventSource": "aws:kafka",
        "eventSourceArn": "arn",
        "bootstrapServers": "b:1",
    }
    assert event["records"] == {"processed_topic-0": [body(n, detection(n).to_json()) for n in range(2)]}
    done = run(aside, "dead-letters", "redrive", *ON_FAILURE, "--yes")
    assert "3 records with a row in the audit table already" in done.err
    assert len(aside.invoked) == 1


def test_what_is_refused_again_is_named(run: Run, aside: Target) -> None:
    """Exit 8, and the others are written."""
    aside.refuses = frozenset({1})
    done = run(aside, "dead-letters", "redrive", *ON_FAILURE, "--yes", output="json")
    assert done.code == 8
    assert "redrive: 1 of 2 were refused again" in done.err
    assert "0:1: " in done.err


def test_status_takes_what_has_its_rows_for_settled(run: Run, aside: Target) -> None:
    """A problem until then, with the command that writes them; a note afterwards."""
    status = health.read(aside)
    assert not status.healthy
    (problem,) = status.problems
    assert "3 records could not be written to the audit table and lie in /folder, 2 without a row so far" in problem
    assert "`fraudctl dead-letters redrive --from on-failure`" in problem
    run(aside, "dead-letters", "redrive", *ON_FAILURE, "--yes")
    status = health.read(aside)
    assert status.healthy
    assert any("all have their rows by now" in note for note in status.notes)
