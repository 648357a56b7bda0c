"""The bucket for artifacts: moto for what it keeps, Stubber for what goes wrong."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from moto import mock_aws
from stubs import FakeTime

from fraudctl.aws.names import Names
from fraudctl.aws.resources import bucket as bucket_module
from fraudctl.aws.resources.bucket import ArtifactBucket
from fraudctl.errors import FraudctlError, OperationFailed, Refused, TimedOut, Unreachable
from fraudctl.target import Event, Phase

ACCOUNT = "123456789012"
NAME = f"demo-artifacts-{ACCOUNT}-eu-west-1"


class Session:
    """A session that gives one client."""

    def __init__(self, client: Any) -> None:
        """Store the client."""
        self._client = client

    def client(self, _service: str) -> Any:
        """Return it."""
        return self._client


@pytest.fixture
def s3() -> Iterator[Any]:
    """S3 in memory."""
    with mock_aws():
        yield boto3.client("s3", region_name="eu-west-1")


@pytest.fixture
def bucket(s3: Any) -> ArtifactBucket:
    """A bucket that is not there yet."""
    return ArtifactBucket(Session(s3), NAME, account=ACCOUNT, tags={"fraudctl:stack": "demo"})


def make(s3: Any, bucket: ArtifactBucket) -> None:
    """Make the bucket; moto would deny everything by its policy, whose condition it does not read."""
    bucket.ensure()
    s3.delete_bucket_policy(Bucket=NAME)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two files to upload."""
    paths = [tmp_path / "a-111111111111.zip", tmp_path / "b-222222222222.jar"]
    for path, data in zip(paths, (b"a" * 1000, b"b" * 3000), strict=True):
        path.write_bytes(data)
    return paths


def test_a_missing_bucket_is_made_private(s3: Any, bucket: ArtifactBucket) -> None:
    """Versioned, encrypted, closed to the public, only by TLS, old versions expire, tagged."""
    assert not bucket.exists()
    assert bucket.ensure() is True
    assert bucket.exists()
    assert s3.get_bucket_location(Bucket=NAME)["LocationConstraint"] == "eu-west-1"
    assert s3.get_bucket_versioning(Bucket=NAME)["Status"] == "Enabled"
    assert set(s3.get_public_access_block(Bucket=NAME)["PublicAccessBlockConfiguration"].values()) == {True}
    (rule,) = s3.get_bucket_encryption(Bucket=NAME)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=NAME)["Policy"])["Statement"]
    assert (statement["Effect"], statement["Action"], statement["Principal"]) == ("Deny", "s3:*", "*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [f"arn:aws:s3:::{NAME}", f"arn:aws:s3:::{NAME}/*"]
    (kept,) = s3.get_bucket_lifecycle_configuration(Bucket=NAME)["Rules"]
    assert kept["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30
    assert "Expiration" not in kept
    assert s3.get_bucket_tagging(Bucket=NAME)["TagSet"] == [{"Key": "fraudctl:stack", "Value": "demo"}]
    assert bucket.tags() == {"fraudctl:stack": "demo"}


def test_a_half_made_bucket_gets_its_settings(s3: Any, bucket: ArtifactBucket) -> None:
    """An earlier run may have died right after making it."""
    s3.create_bucket(Bucket=NAME, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert bucket.ensure() is False
    assert s3.get_bucket_versioning(Bucket=NAME)["Status"] == "Enabled"
    assert bucket.ensure() is False


def test_us_east_1_is_not_named() -> None:
    """S3 refuses its first region as a location."""
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        assert ArtifactBucket(Session(s3), "demo", account=ACCOUNT).ensure()
        assert s3.get_bucket_location(Bucket="demo")["LocationConstraint"] is None


def test_files_are_sent_once(s3: Any, bucket: ArtifactBucket, files: list[Path]) -> None:
    """A file's name is its key; the second upload sends nothing and says nothing."""
    make(s3, bucket)
    events: list[Event] = []
    keys = bucket.upload(files, events.append)
    assert keys == {path: path.name for path in files}
    for path in files:
        assert s3.get_object(Bucket=NAME, Key=path.name)["Body"].read() == path.read_bytes()
    progress = [event for event in events if event.phase is Phase.PROGRESS]
    assert [event.done for event in progress] == [1000, 4000]
    assert {event.total for event in events} == {4000}
    assert (events[-1].phase, events[-1].detail) == (Phase.DONE, "2 uploaded")
    again: list[Event] = []
    assert bucket.upload(files, again.append) == keys
    assert again == []
    assert len(s3.list_object_versions(Bucket=NAME)["Versions"]) == 2


def test_only_what_is_missing_is_sent(s3: Any, bucket: ArtifactBucket, files: list[Path]) -> None:
    """A file cut off by an earlier run has another length and is sent again."""
    make(s3, bucket)
    bucket.upload(files)
    s3.put_object(Bucket=NAME, Key=files[1].name, Body=b"cut off")
    events: list[Event] = []
    bucket.upload(files, events.append)
    assert (events[-1].detail, events[-1].total) == ("1 uploaded", 3000)
    assert s3.get_object(Bucket=NAME, Key=files[1].name)["Body"].read() == files[1].read_bytes()


def test_emptying_removes_every_version(s3: Any, bucket: ArtifactBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old versions and delete markers too, over several pages; then the bucket can go."""
    make(s3, bucket)
    monkeypatch.setattr(bucket_module, "_DELETE_AT_ONCE", 10)
    for number in range(12):
        s3.put_object(Bucket=NAME, Key=f"key-{number}", Body=b"1")
        s3.put_object(Bucket=NAME, Key=f"key-{number}", Body=b"2")
    s3.delete_object(Bucket=NAME, Key="key-0")
    assert bucket.empty() == 25
    page = s3.list_object_versions(Bucket=NAME)
    assert ("Versions" in page, "DeleteMarkers" in page) == (False, False)
    assert bucket.delete() is True
    assert bucket.delete() is False
    assert bucket.empty() == 0


@pytest.fixture
def stubbed() -> Iterator[tuple[Stubber, ArtifactBucket, list[float]]]:
    """A bucket whose answers are written down, and the pauses it took."""
    client, time = boto3.client("s3", region_name="eu-west-1"), FakeTime()
    with Stubber(client) as stub:
        yield stub, ArtifactBucket(Session(client), NAME, account=ACCOUNT, clock=time.clock()), time.slept
        stub.assert_no_pending_responses()


HEAD = {"Bucket": NAME, "ExpectedBucketOwner": ACCOUNT}
Stubbed = tuple[Stubber, ArtifactBucket, list[float]]


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("403", 403, Refused),
        ("301", 301, Refused),
        ("ExpiredToken", 400, FraudctlError),
        ("SlowDown", 503, FraudctlError),
    ],
)
def test_answers_are_translated(stubbed: Stubbed, code: str, status: int, error: type[FraudctlError]) -> None:
    """A bucket of somebody else is refused; other answers are AWS's errors."""
    stub, bucket, _ = stubbed
    stub.add_client_error("head_bucket", code, "no", status, expected_params=HEAD)
    with pytest.raises(error, match=NAME):
        bucket.exists()


def test_the_owner_is_always_asked_for(stubbed: Stubbed) -> None:
    """Every call names the account that has to own the bucket."""
    stub, bucket, _ = stubbed
    stub.add_response("head_bucket", {}, HEAD)
    assert bucket.exists()


def test_an_object_that_stays_is_named(stubbed: Stubbed) -> None:
    """Deleting many answers 200 with errors inside."""
    stub, bucket, _ = stubbed
    stub.add_response("list_object_versions", {"Versions": [{"Key": "a", "VersionId": "1"}]})
    stub.add_response("delete_objects", {"Errors": [{"Key": "a", "Code": "AccessDenied", "Message": "locked"}]})
    with pytest.raises(OperationFailed, match="a cannot be deleted: locked"):
        bucket.empty()


def test_a_bucket_that_is_written_to_is_emptied_again(stubbed: Stubbed) -> None:
    """What arrives between emptying and deleting makes another round, after a pause."""
    stub, bucket, slept = stubbed
    stub.add_response("head_bucket", {}, HEAD)
    stub.add_response("list_object_versions", {})
    stub.add_client_error("delete_bucket", "BucketNotEmpty", "not empty", 409)
    stub.add_response("list_object_versions", {"Versions": [{"Key": "a", "VersionId": "1"}]})
    stub.add_response("delete_objects", {})
    stub.add_response("list_object_versions", {})
    stub.add_response("delete_bucket", {}, HEAD)
    assert bucket.delete() is True
    assert slept == [2.0]


def test_a_bucket_that_never_gets_empty_ends_the_wait(stubbed: Stubbed) -> None:
    """It does not try for ever."""
    stub, bucket, slept = stubbed
    stub.add_response("head_bucket", {}, HEAD)
    for _ in range(31):  # now, and every 2 s for a minute
        stub.add_response("list_object_versions", {})
        stub.add_client_error("delete_bucket", "BucketNotEmpty", "not empty", 409)
    with pytest.raises(TimedOut, match="keeps writing"):
        bucket.delete()
    assert len(slept) == 30


def test_an_upload_says_why_it_failed(s3: Any, bucket: ArtifactBucket, files: list[Path]) -> None:
    """boto3 wraps AWS's answer; what comes out is the answer."""
    make(s3, bucket)

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no PutObject"}}, "PutObject")

    s3.meta.events.register("before-call.s3.PutObject", refuse)
    with pytest.raises(Unreachable, match="no PutObject"):
        bucket.upload(files)


def test_names_fit() -> None:
    """The plain name when it fits; a cut one with a mark, distinct for distinct stacks, when it does not."""
    assert Names("demo").artifact_bucket(ACCOUNT, "eu-west-1") == NAME
    long = Names("s" * 39 + "a").artifact_bucket(ACCOUNT, "ap-southeast-1")
    assert len(long) == 63
    assert long.endswith(f"-artifacts-{ACCOUNT}-ap-southeast-1")
    assert long != Names("s" * 39 + "b").artifact_bucket(ACCOUNT, "ap-southeast-1")
