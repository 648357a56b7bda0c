"""The on-failure bucket: how many records AuditWriter's mapping put aside there, and whether they may be detections."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from botocore.exceptions import ClientError

from fraudctl.aws.errors import asking
from fraudctl.pipeline.on_failure import Name
from fraudctl.target import PutAside

# What AuditWriter itself puts aside: records that are no detections. Lambda's own documents have other names.
_FOREIGN: Final = "malformed/"
# Looked at for the number of records in them; more count once each, since `status` has not all day.
_MOST_READ: Final = 50
_MOST_LISTED: Final = 10_000
_HEAD: Final = "bytes=0-4095"
# lambda, kafka-on-failure.md: it stands before the payload, which may have megabytes.
_SIZE: Final = re.compile(rb'"batchSize"\s*:\s*(\d+)')


def put_aside(s3: Any, bucket: str) -> PutAside | None:  # noqa: ANN401 - a boto3 client
    """Return what lies in the bucket; None while it is empty or there is none."""
    foreign, unwritten, read = 0, 0, 0
    with asking(f"bucket {bucket}"):
        for key in islice(_keys(s3, bucket), _MOST_LISTED):
            if key.startswith(_FOREIGN):
                name = Name.parse(key.removeprefix(_FOREIGN))
                foreign += name.records if name else 1
            else:
                unwritten += _records(s3, bucket, key) if read < _MOST_READ else 1
                read += 1
    return PutAside(foreign + unwritten, unwritten, f"s3://{bucket}") if foreign + unwritten else None


def documents(s3: Any, bucket: str) -> Iterator[bytes]:  # noqa: ANN401 - a boto3 client
    """Yield what lies in the bucket, whoever wrote it: Lambda's own documents have no suffix in their names."""
    with asking(f"bucket {bucket}"):
        for key in _keys(s3, bucket):
            yield s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def _keys(s3: Any, bucket: str) -> Iterator[str]:  # noqa: ANN401 - a boto3 client
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    try:
        for page in pages:
            yield from (found["Key"] for found in page.get("Contents", ()))
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchBucket":
            raise


def _records(s3: Any, bucket: str, key: str) -> int:  # noqa: ANN401 - a boto3 client
    try:
        head = s3.get_object(Bucket=bucket, Key=key, Range=_HEAD)["Body"].read()
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"NoSuchKey", "InvalidRange"}:  # deleted meanwhile, or empty
            raise
        return 1
    size = _SIZE.search(head)
    return int(size[1]) if size else 1
