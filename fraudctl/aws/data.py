"""What outlives the stack: the audit table and the on-failure bucket. Counted, kept or deleted."""

from collections.abc import Iterator
from typing import Any, Final

from botocore.exceptions import ClientError

from fraudctl.aws.clock import Clock
from fraudctl.aws.failures import asking
from fraudctl.errors import OperationFailed, Refused, TimedOut
from fraudctl.target import Event, Phase

_PAGE: Final = 1000  # the most that S3 lists and deletes at once
_POLL_SECONDS: Final = 2.0
_WAIT_SECONDS: Final = 600.0


def table_rows(dynamodb: Any, table: str) -> int | None:  # noqa: ANN401 - a boto3 client
    """Give about how many rows a table has (DynamoDB counts every six hours); None when there is none."""
    with asking(f"table {table}"):
        try:
            return int(dynamodb.describe_table(TableName=table)["Table"].get("ItemCount", 0))
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return None
            raise


def delete_table(dynamodb: Any, clock: Clock, table: str) -> Iterator[Event]:  # noqa: ANN401 - a boto3 client
    """Delete a table and wait until it is gone; nothing to do when there is none."""
    if table_rows(dynamodb, table) is None:
        return
    with asking(f"table {table}"):
        if dynamodb.describe_table(TableName=table)["Table"].get("DeletionProtectionEnabled"):
            raise Refused(
                f"table {table}: its deletion protection is on",
                hint=f"`aws dynamodb update-table --table-name {table} --no-deletion-protection-enabled`, "
                "then `fraudctl teardown` again",
            )
        yield Event(table, Phase.STARTED, "deleting the table")
        dynamodb.delete_table(TableName=table)
    deadline = clock.now() + _WAIT_SECONDS
    while table_rows(dynamodb, table) is not None:
        if clock.now() > deadline:
            raise TimedOut(f"table {table}: still being deleted", hint="run `fraudctl teardown` again")
        clock.sleep(_POLL_SECONDS)
    yield Event(table, Phase.DONE, "deleted, with its rows")


def bucket_exists(s3: Any, bucket: str) -> bool:  # noqa: ANN401 - a boto3 client
    """Say whether there is such a bucket of ours."""
    with asking(f"bucket {bucket}"):
        try:
            s3.head_bucket(Bucket=bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] in {"404", "NoSuchBucket"}:
                return False
            raise
    return True


def delete_bucket(s3: Any, bucket: str) -> Iterator[Event]:  # noqa: ANN401 - a boto3 client
    """Delete a bucket with every version of every object; nothing to do when there is none."""
    if not bucket_exists(s3, bucket):
        return
    yield Event(bucket, Phase.STARTED, "emptying the bucket")
    for count in _empty(s3, bucket):
        yield Event(bucket, Phase.PROGRESS, f"{count} objects deleted")
    with asking(f"bucket {bucket}"):
        s3.delete_bucket(Bucket=bucket)
    yield Event(bucket, Phase.DONE, "deleted")


def _empty(s3: Any, bucket: str) -> Iterator[int]:  # noqa: ANN401 - a boto3 client
    count = 0
    with asking(f"bucket {bucket}"):
        while True:
            # Always the first page: what was listed before is gone.
            page = s3.list_object_versions(Bucket=bucket, MaxKeys=_PAGE)
            found = [
                {"Key": item["Key"], "VersionId": item["VersionId"]}
                for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            ]
            if not found:
                break
            answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": found, "Quiet": True})
            if errors := answer.get("Errors"):
                raise OperationFailed(
                    f"bucket {bucket}: {errors[0]['Key']}: {errors[0]['Message']}",
                    hint="a retention lock or a policy keeps it; remove that, then run the command again",
                )
            count += len(found)
            yield count
        for upload in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
            s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
