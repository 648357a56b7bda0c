"""What AuditWriter put aside, in a bucket of an AWS in memory."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from conftest import Run
from fakes import FakeTarget
from moto import mock_aws

from fraudctl.aws.resources.on_failure import documents, put_aside
from fraudctl.target import Component, Health, PutAside

BUCKET = "s-failed-1-us-east-1"


@pytest.fixture
def s3() -> Iterator[Any]:
    """S3 with an empty bucket."""
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client


def test_nothing_is_nothing(s3: Any) -> None:
    """An empty bucket, and one that is gone."""
    assert put_aside(s3, BUCKET) is None
    assert put_aside(s3, "no-such-bucket") is None


def test_detections_and_others_are_counted_apart(s3: Any) -> None:
    """AuditWriter's own documents by their names, Lambda's by what they say before their payload."""
    s3.put_object(Bucket=BUCKET, Key="malformed/processed_topic-0.5-9.3.1790000000000.json", Body=b"{}")
    s3.put_object(Bucket=BUCKET, Key="malformed/other", Body=b"{}")
    document = {"version": "1.0", "KafkaBatchInfo": {"batchSize": 7}, "payload": "x" * 100_000}
    s3.put_object(Bucket=BUCKET, Key="aws/lambda/u/2026/11/27/a", Body=json.dumps(document).encode())
    s3.put_object(Bucket=BUCKET, Key="aws/lambda/u/2026/11/27/b", Body=b"")
    assert put_aside(s3, BUCKET) == PutAside(4 + 8, 8, f"s3://{BUCKET}")


def test_every_document_is_read(s3: Any) -> None:
    """Those of Lambda, whose names have no suffix, too."""
    s3.put_object(Bucket=BUCKET, Key="malformed/a.json", Body=b"1")
    s3.put_object(Bucket=BUCKET, Key="aws/lambda/u/2026/11/27/b", Body=b"2")
    assert sorted(documents(s3, BUCKET)) == [b"1", b"2"]
    assert list(documents(s3, "no-such-bucket")) == []


def test_the_status_names_the_bucket(run: Run, audit: Any) -> None:
    """With the command that lists it: nobody greps in a bucket."""
    target = FakeTarget(table=audit)
    found = Component("audit mapping", Health.HEALTHY, put_aside=PutAside(3, 2, f"s3://{BUCKET}"))
    target.components = lambda: [found]  # type: ignore[method-assign]
    done = run(target, "status")
    assert f"audit mapping: 2 records could not be written to the audit table and lie in s3://{BUCKET}" in done.err
    assert "`fraudctl dead-letters list --from on-failure`" in done.err
