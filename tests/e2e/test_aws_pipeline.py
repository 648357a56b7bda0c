"""The pipeline on AWS, as far as it can run here: deployed by the executable, run from what that uploaded.

What is not AWS's own stands in for it in tests/aws_services.py; the commands are those of a user.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aws_calls import FUNCTION_CALLS, NOT_IN_THE_RUN, RECORDED, Recorder, allowed, permissions, recording
from aws_services import Services, services
from emulated import REGION, AwsFraudctl
from executable import eventually
from known_answer import FLAGGED, exactly_the_expected_fraud, transaction

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

STACK = "fraud-on-aws"


@pytest.fixture(scope="module")
def called() -> Iterator[Recorder]:
    """What the functions' own code asks AWS."""
    with recording() as found:
        yield found


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory, called: Recorder) -> Iterator[Services]:
    """The emulator and what runs beside it."""
    with services(tmp_path_factory.mktemp("aws"), STACK, called.environment) as found:
        yield found
        assert not found.failures


@pytest.fixture(scope="module")
def cli(aws: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsFraudctl]:
    """The executable, turned to it; at the end, whether a deployer may do what it did."""
    with recording() as recorder:
        yield AwsFraudctl(tmp_path_factory.mktemp("home"), aws.emulator.url, STACK, recorder)
    assert {"Lambda.Invoke", "DynamoDB.Query"} <= recorder.calls
    assert recorder.calls <= RECORDED | set(NOT_IN_THE_RUN)
    needed = {action: call for call in recorder.calls for action in permissions(call)}
    assert not {action: call for action, call in needed.items() if not allowed(action)}


def test_deploy_starts_the_application(aws: Services, cli: AwsFraudctl) -> None:
    """The jar comes from the bucket, its properties from the application; it is in the cluster with its role."""
    cli("deploy", "--yes", "--no-samples")
    assert aws.flink is not None
    assert aws.flink.running()
    assert "is up to date." in cli("deploy").err
    assert aws.broker.roles.denied("FlinkRole") == set()


def test_exactly_the_expected_fraud_is_audited(aws: Services, cli: AwsFraudctl, tmp_path: Path) -> None:
    """The case and its answer are those of the local target."""
    exactly_the_expected_fraud(cli, tmp_path)
    assert aws.batches
    detected = cli("tail", "processed", "--from-beginning", "--no-follow", "-o", "json").documents
    assert {record["value"]["transaction_id"] for record in detected} == {"largest", "late", "marker", "plain"}


@pytest.mark.parametrize("state", ["Pending", "Inactive"])
def test_a_function_that_lambda_prepares_is_waited_for(aws: Services, cli: AwsFraudctl, state: str) -> None:
    """New, or not called for weeks: Lambda refuses the first call, the command waits once, and then it is done."""
    refused = {"match": "lambda POST .*/invocations", "code": "ResourceConflictException", "status": 409}
    pending = {"match": "lambda GET .*/configuration", "merge": {"State": state, "StateReason": "being prepared"}}
    aws.emulator.order(calls=[{**refused, "note": state}, {**pending, "note": state}])
    done = cli("flag-accounts", "4242", "--reason", state, "-o", "json")
    aws.emulator.heal()
    assert [(flag["account_id"], flag["reason"]) for flag in done.documents] == [(4242, state)]
    assert f"TopicReader is {state}" in done.err  # it is asked first, for what is set already


def test_the_application_goes_on_where_it_stopped(aws: Services, cli: AwsFraudctl) -> None:
    """Stopped with a snapshot and started from it: what was sent in between is detected, with flags of before."""
    cli("flink", "stop")
    assert aws.state == "READY"
    cli("transactions", "send", "-", stdin=json.dumps(transaction("between", FLAGGED, datetime.now(UTC))))
    cli("flink", "start")
    eventually(lambda: "between" in cli("audit", "query", "-o", "json").out)


def test_paused_nothing_runs_and_resumed_it_goes_on(aws: Services, cli: AwsFraudctl) -> None:
    """Samples, application and mapping are off; then they are as before, and what came meanwhile is detected."""
    cli("pause")
    assert aws.state == "READY"
    mappings = aws.emulator.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    assert {item["State"] for item in mappings} == {"Disabled"}
    cli("transactions", "send", "-", stdin=json.dumps(transaction("paused", FLAGGED, datetime.now(UTC))))
    cli("resume")
    eventually(lambda: "paused" in cli("audit", "query", "-o", "json").out)


def test_verify_agrees(cli: AwsFraudctl) -> None:
    """What had to be detected, recomputed from topics that functions read, is in the table, and nothing else."""

    def verdicts() -> dict[str, Any]:
        (found,) = cli("audit", "verify", "-o", "json").documents
        return dict(found)

    # The application commits what it has read with its checkpoints.
    eventually(lambda: not verdicts()["in_flight"])
    right = verdicts()
    rows = cli("audit", "query", "--all", "-o", "json").documents
    assert {"between", "paused", "plain"} <= {row["transaction_id"] for row in rows}
    assert (right["attempted"], right["ok"], right["cases"], right["gaps"]) == (len(rows), len(rows), [], [])


def test_seals_in_a_bucket(aws: Services, cli: AwsFraudctl) -> None:
    """What has been closed since is sealed, hold and slack behind its end; a row that is deleted then is named."""
    to = "s3://fraud-detection-seals/here"
    aws.emulator.client("s3").create_bucket(
        Bucket="fraud-detection-seals", CreateBucketConfiguration={"LocationConstraint": REGION}
    )

    def seal() -> list[dict[str, Any]]:
        windows = cli("audit", "seal", "--to", to, "--every", "30s", "-o", "json").documents
        return [window for window in windows if window["rows"]]

    sealed = eventually(seal, seconds=120)
    (right,) = cli("audit", "verify", "--sealed", to, "-o", "json").documents
    assert (right["manifests_valid"], right["cases"]) == (right["manifests"], [])
    assert right["rows"] == sum(window["rows"] for window in sealed)
    assert sum(window["ok"] for window in sealed) == right["rows"]
    row = next(row for row in cli("audit", "query", "--all", "--oldest-first", "-o", "json").documents)
    key = {
        "account_id": {"N": str(row["account_id"])},
        "transaction_key": {"S": f"{row['transaction_date']}#{row['transaction_id']}"},
    }
    dynamodb = aws.emulator.client("dynamodb")
    table = f"{STACK}-audit"
    item = dynamodb.get_item(TableName=table, Key=key)["Item"]
    dynamodb.delete_item(TableName=table, Key=key)
    (found,) = cli("audit", "verify", "--sealed", to, "-o", "json", code=8).documents
    dynamodb.put_item(TableName=table, Item=item)
    assert [(case["verdict"], case["transaction_id"]) for case in found["cases"]] == [
        ("deleted", row["transaction_id"])
    ]


def test_what_each_flag_did_is_what_the_table_has(cli: AwsFraudctl) -> None:
    """The list from the flag topic, and an account's events with the detections that name them."""
    flagged = cli("accounts", "list", "--flagged", "-o", "json").documents
    assert FLAGGED in {row["account_id"] for row in flagged}
    (found,) = cli("accounts", "show", str(FLAGGED), "-o", "json").documents
    rows = cli("audit", "query", str(FLAGGED), "--all", "-o", "json").documents
    assert found["detections"]["count"] == sum(event["detections"] for event in found["events"]) == len(rows)
    assert found["transactions"]["count"] >= len(rows) > 0


def test_teardown_ends_everything(aws: Services, cli: AwsFraudctl, called: Recorder) -> None:
    """Nothing was denied to any role, nothing written beside the temporary folder, and nothing is left."""
    roles = aws.broker.roles
    assert {role: roles.denied(role) for role in roles.policies} == {role: set() for role in roles.policies}
    assert aws.flink is not None
    assert aws.flink.written_elsewhere() == []
    assert called.calls <= FUNCTION_CALLS["AuditWriter"]
    assert "DynamoDB.PutItem" in called.calls
    assert "nothing is left" in cli("teardown", "--yes").err
