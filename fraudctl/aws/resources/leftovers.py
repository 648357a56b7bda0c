"""The proof of a teardown: what is looked for by tag and by name, and the command that removes what is found."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from fraudctl.aws import resource_types
from fraudctl.aws.errors import asking
from fraudctl.aws.names import TAG, Names
from fraudctl.aws.resources import table
from fraudctl.aws.session import AwsSession, items


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that is still there."""

    what: str
    command: str

    def __str__(self) -> str:
        """Return it with the command that removes it."""
        return f"{self.what}: {self.command}"


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What is left of one stack; what is `kept` on purpose does not count."""

    session: AwsSession
    names: Names
    account: str
    vpc: str = ""
    kept: frozenset[str] = frozenset()

    def find(self) -> list[Leftover]:
        """Return all that is left, what costs most first."""
        found = [*self._clusters(), *self._applications(), *self._instances(), *self._network(), *self._volumes()]
        found += [*self._functions(), *self._log_groups(), *self._data(), *self._tagged()]
        return [item for item in dict.fromkeys(found) if item.what.partition(" ")[2] not in self.kept]

    def log_groups(self) -> list[str]:
        """Return the log groups with the stack's names, also those that a late call of a function created again."""
        logs = self.session.client("logs")
        found = []
        for prefix in self.names.log_groups:
            with asking("log groups"):
                listed = items(logs, "describe_log_groups", "logGroups", logGroupNamePrefix=prefix)
                names = [group["logGroupName"] for group in listed]
            # Stack a's application would be the prefix of stack a-detection's.
            found += [name for name in names if name == prefix or prefix.endswith("/")]
        return found

    def interfaces(self) -> list[dict[str, Any]]:
        """Return the network interfaces in the stack's network."""
        if not self.vpc:
            return []
        with asking("network interfaces"):
            inside = [{"Name": "vpc-id", "Values": [self.vpc]}]
            return list(items(self._ec2, "describe_network_interfaces", "NetworkInterfaces", Filters=inside))

    @property
    def _ec2(self) -> Any:  # noqa: ANN401 - a boto3 client
        return self.session.client("ec2")

    def _left(self, kind: str, name: str, *, key: str = "", more: str = "") -> Leftover:
        """Return one with the command for its type; `key` is its id for AWS, if that is not its name."""
        found = resource_types.of(kind)
        command = found.removal.format(key or name) + more
        return Leftover(f"{found.noun} {name}", f"aws {command} --region {self.session.region}")

    def _clusters(self) -> Iterator[Leftover]:
        name = self.names.cluster
        with asking("clusters"):
            found = list(
                items(self.session.client("kafka"), "list_clusters_v2", "ClusterInfoList", ClusterNameFilter=name)
            )
        for item in found:
            if item["ClusterName"] == name:
                yield self._left("AWS::MSK::Cluster", name, key=item["ClusterArn"])

    def _applications(self) -> Iterator[Leftover]:
        client, name = self.session.client("kinesisanalyticsv2"), self.names.application
        with asking("flink application"):
            try:
                found = client.describe_application(ApplicationName=name)["ApplicationDetail"]
            except ClientError as error:
                if error.response["Error"]["Code"] == "ResourceNotFoundException":
                    return
                raise
        made = f" --create-timestamp {found['CreateTimestamp'].isoformat()}"
        yield self._left("AWS::KinesisAnalyticsV2::Application", name, more=made)

    def _instances(self) -> Iterator[Leftover]:
        with asking("instances"):
            found = list(items(self._ec2, "describe_instances", "Reservations", Filters=self.names.tag_filter))
        for item in (instance for reservation in found for instance in reservation["Instances"]):
            if item["State"]["Name"] not in {"terminated", "shutting-down"}:
                yield self._left("AWS::EC2::Instance", item["InstanceId"])

    def _network(self) -> Iterator[Leftover]:
        tagged = self.names.tag_filter
        with asking("network"):
            gateways = list(items(self._ec2, "describe_nat_gateways", "NatGateways", Filters=tagged))
            addresses = self._ec2.describe_addresses(Filters=tagged)["Addresses"]
        for item in gateways:
            if item["State"] not in {"deleted", "deleting"}:
                yield self._left("AWS::EC2::NatGateway", item["NatGatewayId"])
        for item in addresses:
            yield self._left("AWS::EC2::EIP", item["AllocationId"])
        for item in self.interfaces():
            yield self._left("AWS::EC2::NetworkInterface", item["NetworkInterfaceId"])

    def _volumes(self) -> Iterator[Leftover]:
        with asking("volumes"):
            found = list(items(self._ec2, "describe_volumes", "Volumes", Filters=self.names.tag_filter))
        for item in found:
            if item.get("State") not in {"deleted", "deleting"}:
                yield self._left("AWS::EC2::Volume", item["VolumeId"])

    def _functions(self) -> Iterator[Leftover]:
        with asking("functions"):
            listed = [
                item["FunctionName"] for item in items(self.session.client("lambda"), "list_functions", "Functions")
            ]
        for name in listed:
            if name in self.names.functions:
                yield self._left("AWS::Lambda::Function", name)

    def _log_groups(self) -> Iterator[Leftover]:
        for name in self.log_groups():
            yield self._left("AWS::Logs::LogGroup", name)

    def _data(self) -> Iterator[Leftover]:
        name = self.names.audit_table
        if table.rows(self.session.client("dynamodb"), name) is not None:
            yield self._left("AWS::DynamoDB::Table", name)
        ours = self.names.buckets(self.account, self.session.region)
        with asking("buckets"):
            listed = [item["Name"] for item in items(self.session.client("s3"), "list_buckets", "Buckets")]
        for bucket in listed:
            if bucket in ours:
                yield self._left("AWS::S3::Bucket", bucket)

    def _tagged(self) -> Iterator[Leftover]:
        """Yield what has the stack's tag, but is of a service that the template does not use.

        The tagging service lists things for hours after they are gone, so the services of the template's types are left
        out: what they hold is looked for above, or costs nothing by the hour.
        """
        client = self.session.client("resourcegroupstaggingapi")
        wanted = [{"Key": TAG, "Values": [self.names.stack]}]
        with asking("tagged resources"):
            listed = items(client, "get_resources", "ResourceTagMappingList", TagFilters=wanted)
            arns = [item["ResourceARN"] for item in listed]
        for arn in arns:
            if arn.split(":")[2] not in resource_types.services():
                command = f"aws resourcegroupstaggingapi get-resources  # {arn} --region {self.session.region}"
                yield Leftover(f"resource {arn}", command)
