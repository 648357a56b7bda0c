"""Seals in a bucket: files below a prefix, none of which is ever replaced."""

from typing import Any, Final

from fraudctl.aws.errors import asking
from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, NotDeployed, OperationFailed

_MISSING: Final = frozenset({"NoSuchKey", "404"})
_POLL_SECONDS: Final = 0.5
_WAIT_SECONDS: Final = 10.0


class BucketArchive:
    """An archive in S3. The bucket has to be there; fraudctl creates none, since it is to be out of its own reach."""

    def __init__(
        self,
        session: Any,  # noqa: ANN401 - an AwsSession, or anything with its `client`
        address: str,
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        """Read an address (``s3://BUCKET/PREFIX``); no I/O. Raises `BadConfig` for one without a bucket."""
        self._session, self._clock = session, clock
        self._bucket, _, prefix = address.removeprefix("s3://").partition("/")
        if not self._bucket:
            raise BadConfig(f"{address}: names no bucket", hint="write s3://BUCKET/PREFIX")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    @property
    def place(self) -> str:
        """Its address."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def names(self) -> list[str]:
        """Return the names of all objects below the prefix; raises `NotDeployed` without such a bucket."""
        from botocore.exceptions import ClientError

        with asking(f"bucket {self._bucket}"):
            try:
                pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
                keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
            except ClientError as error:
                if _code(error) != "NoSuchBucket":
                    raise
                raise NotDeployed(
                    f"bucket {self._bucket}: does not exist",
                    hint=f"`aws s3api create-bucket --bucket {self._bucket} --object-lock-enabled-for-bucket`",
                ) from error
        return sorted(key.removeprefix(self._prefix) for key in keys)

    def read(self, name: str) -> bytes:
        """Return an object's content; raises `NotDeployed` when there is none."""
        from botocore.exceptions import ClientError

        with asking(f"bucket {self._bucket}"):
            try:
                found: bytes = self._s3.get_object(Bucket=self._bucket, Key=self._prefix + name)["Body"].read()
            except ClientError as error:
                if _code(error) not in _MISSING:
                    raise
                raise NotDeployed(
                    f"{self.place}/{name}: there is no such object", hint="is it the right prefix?"
                ) from error
        return found

    def put(self, name: str, data: bytes) -> bool:
        """Write an object unless there is one, by a conditional write; False when there is."""
        from botocore.exceptions import ClientError

        with asking(f"bucket {self._bucket}"):
            for _ in self._clock.poll(_POLL_SECONDS, within=_WAIT_SECONDS):
                try:
                    self._s3.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=data, IfNoneMatch="*")
                except ClientError as error:
                    if _code(error) == "PreconditionFailed":
                        return False
                    # s3, API_PutObject: another conditional write of this key has not ended; try again.
                    if _code(error) != "ConditionalRequestConflict":
                        raise
                else:
                    return True
        raise OperationFailed(
            f"{self.place}/{name}: something else keeps writing it", hint="run the command again in a minute"
        )

    @property
    def _s3(self) -> Any:  # noqa: ANN401 - a boto3 client
        return self._session.client("s3")


def _code(error: Any) -> str:  # noqa: ANN401 - botocore's ClientError
    return str(error.response["Error"]["Code"])
