"""Checks before anything changes: account, credentials, region, the stack's state, and whether its names are free."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from botocore.exceptions import ClientError

from fraudctl.aws.cloudformation.describe import Described
from fraudctl.aws.errors import SIGN_IN, CredentialsExpired, asking
from fraudctl.aws.names import LONGEST_STACK, TAG, Names
from fraudctl.aws.resources.bucket import ArtifactBucket
from fraudctl.aws.session import AwsSession, items
from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, Refused
from fraudctl.pipeline import audit_table

_SOON_MINUTES: Final = 2
_UNFINISHED: Final = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED")


@dataclass(frozen=True, slots=True)
class Kept:
    """Data that an earlier stack of this name left on purpose, to be adopted."""

    table: bool = False
    bucket: bool = False

    def parameters(self) -> dict[str, str]:
        """Return the template's parameters for it."""
        names = (("AdoptAuditTable", self.table), ("AdoptOnFailureBucket", self.bucket))
        return {name: "true" for name, kept in names if kept}


@dataclass(frozen=True, slots=True)
class Preflight:
    """Checks for one stack."""

    session: AwsSession
    clock: Clock
    stack: str

    @property
    def names(self) -> Names:
        """The stack's names."""
        return Names(self.stack)

    def credentials(self) -> str:
        """Return the account's number; raises `Unreachable` when the credentials do not work or are about to end."""
        if len(self.stack) > LONGEST_STACK:
            raise BadConfig(
                f"stack {self.stack}: on AWS a name has at most {LONGEST_STACK} characters",
                hint="give a shorter one with --stack",
            )
        region = self.session.region
        account = self.session.account()
        left = self.minutes_left()
        if left is not None and left < _SOON_MINUTES:
            raise CredentialsExpired(
                f"AWS credentials for account {account} in {region}: they expire in {max(left, 0):.0f} min",
                hint=SIGN_IN,
            )
        return account

    def minutes_left(self) -> float | None:
        """Return how long the credentials last; None when they do not end, renew themselves, or do not tell."""
        end = self.session.expires()
        if end is None:
            return None
        return (end - datetime.fromtimestamp(self.clock.now(), UTC)).total_seconds() / 60

    def ours(self, found: Described) -> None:
        """Raise `Refused` when a stack of this name is somebody else's. The shell of a first plan may have no tags."""
        shell = found.status == "REVIEW_IN_PROGRESS" and not found.tags
        if not shell and found.tags.get(TAG) != self.stack:
            raise Refused(
                f"stack {self.stack}: it is without the tag {TAG}={self.stack}, so it is somebody else's",
                hint="give another name with --stack",
            )

    def state(self, found: Described | None) -> None:
        """Raise `Refused` when the stack is somebody else's, or in a state that no deploy can start from."""
        if found is None:
            return
        self.ours(found)
        if found.status == "REVIEW_IN_PROGRESS" or unfinished(found):
            return
        if found.busy:
            raise Refused(
                f"stack {self.stack}: an operation is running ({found.status})",
                hint="`fraudctl deploy --attach` follows it to its end",
            )
        if found.status == "UPDATE_ROLLBACK_FAILED":
            stuck = ", ".join(f"{name}: {reason}" for name, reason in self._stuck(found))
            raise Refused(
                f"stack {self.stack}: rolling back a failed update got stuck: {stuck or found.reason}",
                hint="fix that, then run `fraudctl deploy --continue-rollback`; `--skip ID` leaves a resource out",
            )
        if found.status == "DELETE_FAILED":
            raise Refused(
                f"stack {self.stack}: tearing it down was not finished: {found.reason}",
                hint="run `fraudctl teardown` again first",
            )

    def kept(self, account: str) -> Kept:
        """Return which data was kept by an earlier stack; raises `Refused` when a name belongs to somebody else."""
        return Kept(table=self._table(), bucket=self._bucket(account))

    def cluster_is_free(self) -> None:
        """Raise `Refused` when a cluster of this name exists outside the stack."""
        with asking("clusters"):
            kafka, name = self.session.client("kafka"), self.names.cluster
            found = list(items(kafka, "list_clusters_v2", "ClusterInfoList", ClusterNameFilter=name))
        if any(item["ClusterName"] == name and item.get("State") != "DELETING" for item in found):
            raise Refused(
                f"cluster {name}: there is one already, and it belongs to no stack of this name",
                hint="delete that cluster, or deploy under another name with --stack",
            )

    def _table(self) -> bool:
        name = self.names.audit_table
        dynamodb = self.session.client("dynamodb")
        with asking(f"table {name}"):
            try:
                found = dynamodb.describe_table(TableName=name)["Table"]
            except ClientError as error:
                if error.response["Error"]["Code"] == "ResourceNotFoundException":
                    return False
                raise
            listed = dynamodb.list_tags_of_resource(ResourceArn=found["TableArn"])["Tags"]
        self._tagged(f"table {name}", {tag["Key"]: tag["Value"] for tag in listed})
        if different := _differs(found, audit_table.definition(name)):
            raise Refused(
                f"table {name}: kept from an earlier stack, but its {different} are not what this version needs",
                hint="export what you need of it and delete it, or deploy under another name with --stack",
            )
        return True

    def _bucket(self, account: str) -> bool:
        name = self.names.on_failure_bucket(account, self.session.region)
        bucket = ArtifactBucket(self.session, name, account=account, clock=self.clock)
        if not bucket.exists():
            return False
        self._tagged(f"bucket {name}", bucket.tags())
        return True

    def _tagged(self, what: str, tags: dict[str, str]) -> None:
        if tags.get(TAG) != self.stack:
            raise Refused(
                f"{what}: there is one already, without the tag {TAG}={self.stack}, so it is somebody else's",
                hint="rename or remove it, or deploy under another name with --stack",
            )

    def _stuck(self, found: Described) -> Iterator[tuple[str, str]]:
        from fraudctl.aws.cloudformation.describe import resources

        for resource in resources(self.session.client("cloudformation"), found.id):
            if resource.status.endswith("_FAILED"):
                yield resource.logical_id, resource.reason


def _differs(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    if found.get("KeySchema") != wanted["KeySchema"]:
        return "keys"
    there = {index["IndexName"]: index["KeySchema"] for index in found.get("GlobalSecondaryIndexes", [])}
    needed = {index["IndexName"]: index["KeySchema"] for index in wanted["GlobalSecondaryIndexes"]}
    return "" if needed.items() <= there.items() else "indexes"


def unfinished(found: Described) -> bool:
    """Whether a first deploy failed and left a stack that can only be deleted."""
    return found.status in _UNFINISHED


def brokers(kafka: Any, arn: str) -> str | None:  # noqa: ANN401 - a boto3 client
    """Return the IAM bootstrap string of a cluster; None while it has none."""
    with asking("bootstrap servers of the cluster"):
        try:
            found = kafka.get_bootstrap_brokers(ClusterArn=arn).get("BootstrapBrokerStringSaslIam")
        except ClientError as error:
            if re.search("NotFound|BadRequest|Conflict", error.response["Error"]["Code"]):
                return None
            raise
    # MSK gives the brokers in any order; sorted, the same brokers are no change.
    return ",".join(sorted(str(found).split(","))) if found else None
