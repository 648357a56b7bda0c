"""The application live, killed, stopped, upgraded, replayed: nothing is missing, every outcome is a right one."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from flink_live import Live, live_run, outcomes
from flink_runs import running_broker
from histories import epoch_ms
from lambda_tools import context, load, msk
from moto import mock_aws
from oracle import Identity

from fraudctl.pipeline import audit_table

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """20 seeds live with three kills, a stop with savepoint amid them and a start by newer rules; then a replay."""
    with running_broker(tmp_path_factory.mktemp("kafka")) as broker:
        folder = tmp_path_factory.mktemp("application")
        yield live_run(broker, folder, seeds=range(100, 120), kills=3, span=20_000)


def test_every_live_outcome_is_right(run: Live) -> None:
    """Each detection, the repeated ones after a kill too, is one that the race allows, and none is missing."""
    first = dict[Identity, tuple[int, str | None]]()
    for found in run.live:
        first.setdefault(found.identity, (found.flag_date, found.reason))
        right = set[object]().union(*(outcomes(run, copy) for copy in run.transactions[found.identity]))
        assert (found.flag_date, found.reason) in right, found
    missing = []
    for identity, copies in run.transactions.items():
        if identity not in first and not any(None in outcomes(run, copy) for copy in copies):
            missing.append(identity)
    assert not missing
    assert len(first) > 300


def test_malformed_records_in_between(run: Live) -> None:
    """Each is a dead letter, unchanged, at least once, and nothing else is; good records around it are unaffected."""
    assert {letter.value() for letter in run.dead} == {value for _, value in run.bad}


def test_no_duplicates_after_a_savepoint(run: Live) -> None:
    """A stop with savepoint and a start by newer field rules emit nothing twice; state written before is read."""
    before = {found.source for found in run.live[: len(run.live) - len(run.after_savepoint)]}
    after = [found.source for found in run.after_savepoint]
    assert len(after) == len(set(after)) > 0
    assert not before & set(after)


def test_replay(run: Live) -> None:
    """Started without state, the application gives exactly what the oracle gives for the broker's times."""
    assert {(found.identity, found.flag_date, found.reason) for found in run.replayed} == run.exact


def test_live_and_replay_differ_only_by_the_race(run: Live) -> None:
    """What the live run had and the replay has not, or the other way round, is within slack of a flag event."""
    live = {found.identity for found in run.live}
    replayed = {found.identity for found in run.replayed}
    for identity in live ^ replayed:
        assert any(len(outcomes(run, copy)) > 1 for copy in run.transactions[identity]), identity


def test_audit_table(run: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kills had emitted twice is one row in the audit table: for each identity the first detection."""
    times = Counter(found.identity for found in run.live)
    # Those that came more than once, and some others: DynamoDB in memory is slow.
    chosen = [number for number, found in enumerate(run.live) if number < 100 or times[found.identity] > 1][:300]
    options = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
    monkeypatch.setenv("WRITER_TABLE", "audit")
    monkeypatch.setenv("WRITER_DYNAMODB", json.dumps(options))
    with mock_aws(), ThreadPoolExecutor(1) as one:
        client: Any = boto3.client("dynamodb", **options)  # type: ignore[call-overload]
        client.create_table(**audit_table.definition("audit"))
        writer: Any = load("audit_writer")
        monkeypatch.setattr(writer, "threads", lambda: one)
        for first in range(0, len(chosen), 100):
            values = [run.values[number] for number in chosen[first : first + 100]]
            assert writer.handler(msk(*values, first=first), context()) == {"batchItemFailures": []}
        items = [item for page in client.get_paginator("scan").paginate(TableName="audit") for item in page["Items"]]
    rows = {_identity(item): item["flag_reason"]["S"] for item in items}
    assert len(items) == len(rows)
    assert rows == {run.live[number].identity: run.live[number].reason for number in reversed(chosen)}


def _identity(item: dict[str, Any]) -> Identity:
    return int(item["account_id"]["N"]), epoch_ms(item["transaction_date"]["S"]), item["transaction_id"]["S"]
