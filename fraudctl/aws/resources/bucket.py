"""The bucket for artifacts: created when missing, private, versioned; files are named by their content."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fraudctl.aws.errors import asking
from fraudctl.clock import Clock
from fraudctl.errors import OperationFailed, Refused, TimedOut
from fraudctl.target import Event, Phase

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

COMPONENT: Final = "artifacts"
_KEPT_DAYS: Final = 30
_DELETE_AT_ONCE: Final = 1000
_POLL_SECONDS: Final = 2.0
_WAIT_SECONDS: Final = 60.0
_FOREIGN: Final = frozenset({"403", "AccessDenied", "301", "PermanentRedirect"})
_MISSING: Final = frozenset({"404", "NoSuchBucket", "NotFound", "NoSuchKey"})


class ArtifactBucket:
    """One versioned bucket of this account, by boto3."""

    def __init__(
        self,
        session: Any,  # noqa: ANN401 - a boto3 Session, or anything with its `client`
        name: str,
        *,
        account: str,
        tags: dict[str, str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Store the collaborators; `account` is who has to own the bucket. No I/O."""
        self._session, self.name, self._account = session, name, account
        self._tags, self._clock = tags or {}, clock or Clock()
        self._made: Any = None

    @property
    def _s3(self) -> Any:  # noqa: ANN401 - a boto3 client
        if self._made is None:
            self._made = self._session.client("s3")
        return self._made

    def exists(self) -> bool:
        """Return whether the bucket exists; raise `Refused` when it belongs to another account."""
        from botocore.exceptions import ClientError

        with asking(f"bucket {self.name}"):
            try:
                self._s3.head_bucket(Bucket=self.name, ExpectedBucketOwner=self._account)
            except ClientError as error:
                if _code(error) in _MISSING:
                    return False
                if _code(error) in _FOREIGN:
                    raise Refused(
                        f"bucket {self.name}: it belongs to another account, or you may not see it",
                        hint=f"aws s3api head-bucket --bucket {self.name}",
                    ) from error
                raise
        return True

    def tags(self) -> dict[str, str]:
        """Return the tags that it has."""
        from botocore.exceptions import ClientError

        with asking(f"bucket {self.name}"):
            try:
                found = self._s3.get_bucket_tagging(Bucket=self.name, ExpectedBucketOwner=self._account)["TagSet"]
            except ClientError as error:
                if _code(error) == "NoSuchTagSet":
                    return {}
                raise
        return {tag["Key"]: tag["Value"] for tag in found}

    def ensure(self) -> bool:
        """Create the bucket unless it exists, and put its settings; return whether it was created.

        The settings are put again each time: an earlier run may have died between two of them.
        """
        made = not self.exists()
        with asking(f"bucket {self.name}"):
            if made:
                self._create()
            self._protect()
        return made

    def upload(self, paths: Sequence[Path], progress: Callable[[Event], None] = lambda _: None) -> dict[Path, str]:
        """Upload the files that it does not hold and return each file's key: its name, which names the content.

        `progress` gets the bytes sent, of all files together, from boto3's threads.
        """
        with asking(f"bucket {self.name}"):
            absent = [path for path in paths if not self._holds(path)]
            total = sum(path.stat().st_size for path in absent)
            sent = 0
            for path in absent:
                self._send(path, _Counter(path.name, sent, total, progress))
                sent += path.stat().st_size
        if absent:
            progress(Event(COMPONENT, Phase.DONE, f"{len(absent)} uploaded", total, total))
        return {path: path.name for path in paths}

    def put_template(self, body: str) -> str:
        """Put a template there, unless it is there, and return its address in the form that CloudFormation takes."""
        data = body.encode()
        key = f"template-{hashlib.sha256(data).hexdigest()[:12]}.yaml"
        with asking(f"bucket {self.name}"):
            if not self._has(key, len(data)):
                self._s3.put_object(Bucket=self.name, Key=key, Body=data, ExpectedBucketOwner=self._account)
            return f"https://s3.{self._s3.meta.region_name}.amazonaws.com/{self.name}/{key}"

    def empty(self) -> int:
        """Delete every version of every object and return how many there were; a missing bucket is empty."""
        from botocore.exceptions import ClientError

        removed = 0
        with asking(f"bucket {self.name}"):
            try:
                # Always the first page: what was listed before is gone.
                while found := self._versions():
                    self._delete(found)
                    removed += len(found)
            except ClientError as error:
                if _code(error) not in _MISSING:
                    raise
        return removed

    def delete(self) -> bool:
        """Empty the bucket and delete it; return whether it existed."""
        from botocore.exceptions import ClientError

        if not self.exists():
            return False
        with asking(f"bucket {self.name}"):
            for _ in self._clock.poll(_POLL_SECONDS, within=_WAIT_SECONDS):
                self.empty()
                try:
                    self._s3.delete_bucket(Bucket=self.name, ExpectedBucketOwner=self._account)
                except ClientError as error:
                    if _code(error) != "BucketNotEmpty":
                        raise  # else something still writes to it
                else:
                    return True
        raise TimedOut(f"bucket {self.name}: something keeps writing to it", hint=f"aws s3 rb --force s3://{self.name}")

    def _create(self) -> None:
        from botocore.exceptions import ClientError

        region = self._s3.meta.region_name
        # us-east-1 is the one region that must not be named.
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        for _ in self._clock.poll(_POLL_SECONDS, within=_WAIT_SECONDS):
            try:
                self._s3.create_bucket(Bucket=self.name, ObjectOwnership="BucketOwnerEnforced", **place)
            except ClientError as error:
                if _code(error) != "OperationAborted":
                    raise  # else a bucket of this name was deleted a moment ago, by a plan or a teardown
            else:
                break
        else:
            raise TimedOut(
                f"bucket {self.name}: S3 still deletes the one of this name", hint="run the command again in a minute"
            )
        self._s3.get_waiter("bucket_exists").wait(Bucket=self.name)

    def _protect(self) -> None:
        owner = {"Bucket": self.name, "ExpectedBucketOwner": self._account}
        self._s3.put_public_access_block(
            **owner,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": True,
                "BlockPublicPolicy": True,
                "IgnorePublicAcls": True,
                "RestrictPublicBuckets": True,
            },
        )
        encryption = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
        self._s3.put_bucket_encryption(**owner, ServerSideEncryptionConfiguration=encryption)
        self._s3.put_bucket_versioning(**owner, VersioningConfiguration={"Status": "Enabled"})
        self._s3.put_bucket_policy(**owner, Policy=json.dumps(self._policy()))
        self._s3.put_bucket_lifecycle_configuration(**owner, LifecycleConfiguration={"Rules": _lifecycle()})
        if self._tags:
            tags = [{"Key": key, "Value": value} for key, value in self._tags.items()]
            self._s3.put_bucket_tagging(**owner, Tagging={"TagSet": tags})

    def _policy(self) -> dict[str, Any]:
        bucket = f"arn:{self._s3.meta.partition}:s3:::{self.name}"
        return {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "TlsOnly",
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": "s3:*",
                    "Resource": [bucket, f"{bucket}/*"],
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                }
            ],
        }

    def _holds(self, path: Path) -> bool:
        return self._has(path.name, path.stat().st_size)

    def _has(self, key: str, size: int) -> bool:
        from botocore.exceptions import ClientError

        try:
            found = self._s3.head_object(Bucket=self.name, Key=key, ExpectedBucketOwner=self._account)
        except ClientError as error:
            if _code(error) in _MISSING:
                return False
            raise
        return bool(found["ContentLength"] == size)

    def _send(self, path: Path, counter: "_Counter") -> None:
        from boto3.exceptions import S3UploadFailedError

        owner = {"ExpectedBucketOwner": self._account, "ChecksumAlgorithm": "SHA256"}
        try:
            self._s3.upload_file(str(path), self.name, path.name, ExtraArgs=owner, Callback=counter)
        except S3UploadFailedError as error:
            # boto3 hides AWS's answer, which says whether it was the credentials.
            if error.__context__ is not None:
                raise error.__context__ from error
            raise OperationFailed(f"bucket {self.name}: {error}", hint="run the command again") from error

    def _versions(self) -> list[dict[str, str]]:
        page = self._s3.list_object_versions(
            Bucket=self.name, MaxKeys=_DELETE_AT_ONCE, ExpectedBucketOwner=self._account
        )
        found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        return [{"Key": version["Key"], "VersionId": version["VersionId"]} for version in found]

    def _delete(self, versions: list[dict[str, str]]) -> None:
        answer = self._s3.delete_objects(
            Bucket=self.name, Delete={"Objects": versions, "Quiet": True}, ExpectedBucketOwner=self._account
        )
        for error in answer.get("Errors", ()):
            raise OperationFailed(
                f"bucket {self.name}: {error['Key']} cannot be deleted: {error['Message']}",
                hint="a retention lock or a policy keeps it; remove that, then run the command again",
            )


class _Counter:
    """Reports boto3's callbacks, which come from several threads, as events."""

    def __init__(self, name: str, before: int, total: int, progress: Callable[[Event], None]) -> None:
        import threading

        self._name, self._done, self._total, self._progress = name, before, total, progress
        self._lock = threading.Lock()

    def __call__(self, size: int) -> None:
        with self._lock:
            self._done += size
            self._progress(Event(COMPONENT, Phase.PROGRESS, self._name, self._done, self._total))


def _lifecycle() -> list[dict[str, Any]]:
    return [
        {
            "ID": "old-versions",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "NoncurrentVersionExpiration": {"NoncurrentDays": _KEPT_DAYS},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        }
    ]


def _code(error: "ClientError") -> str:
    return str(error.response["Error"]["Code"])
