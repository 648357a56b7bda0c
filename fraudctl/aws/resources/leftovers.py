"""The proof of a teardown: what is looked for by tag and by name, and the command that removes what is found."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from fraudctl.aws.errors import asking
from fraudctl.aws.resources import table
from fraudctl.aws.session import AwsSession

TAG: Final = "fraudctl:stack"
# The tagging service shows things for hours after they are gone. What these services hold is looked for by name above,
# and the others are either not billed or billed by use alone.
_LOOKED_FOR: Final = frozenset({"dynamodb", "s3", "logs", "kafka", "kinesisanalytics", "ec2", "lambda"})
_NOT_BILLED: Final = frozenset({"cloudformation", "sns", "iam", "scheduler", "cloudwatch", "events"})


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that is still there."""

    what: str
    command: str

    def __str__(self) -> str:
        """Give it with its command."""
        return f"{self.what}: {self.command}"


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Looks for what is left of one stack; what is `kept` on purpose does not count."""

    session: AwsSession
    stack: str
    vpc: str = ""
    kept: frozenset[str] = frozenset()

    def find(self) -> list[Leftover]:
        """Give all that is left, what costs most first."""
        found = [*self._clusters(), *self._applications(), *self._machines(), *self._network(), *self._volumes()]
        found += [*self._functions(), *self._log_groups(), *self._data(), *self._tagged()]
        return [item for item in dict.fromkeys(found) if item.what.partition(" ")[2] not in self.kept]

    def log_groups(self) -> list[str]:
        """Give the log groups that bear the stack's name, also those that a late call of a function made again."""
        logs = self.session.client("logs")
        found = []
        for prefix in _log_prefixes(self.stack):
            with asking("log groups"):
                for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=prefix):
                    names = [group["logGroupName"] for group in page["logGroups"]]
                    # Stack a's application would be the prefix of stack a-detection's.
                    found += [name for name in names if name == prefix or prefix.endswith("/")]
        return found

    def interfaces(self) -> list[dict[str, Any]]:
        """Give the network interfaces in the stack's network."""
        if not self.vpc:
            return []
        with asking("network interfaces"):
            found: list[dict[str, Any]] = self._ec2.describe_network_interfaces(
                Filters=[{"Name": "vpc-id", "Values": [self.vpc]}]
            )["NetworkInterfaces"]
        return found

    @property
    def _ec2(self) -> Any:  # noqa: ANN401 - a boto3 client
        return self.session.client("ec2")

    def _aws(self, command: str) -> str:
        return f"aws {command} --region {self.session.region}"

    def _clusters(self) -> Iterator[Leftover]:
        with asking("clusters"):
            found = self.session.client("kafka").list_clusters_v2(ClusterNameFilter=self.stack)["ClusterInfoList"]
        for item in found:
            if item["ClusterName"] == self.stack:
                arn = item["ClusterArn"]
                yield Leftover(f"cluster {self.stack}", self._aws(f"kafka delete-cluster --cluster-arn {arn}"))

    def _applications(self) -> Iterator[Leftover]:
        client, name = self.session.client("kinesisanalyticsv2"), f"{self.stack}-detection"
        with asking("flink application"):
            try:
                found = client.describe_application(ApplicationName=name)["ApplicationDetail"]
            except ClientError as error:
                if error.response["Error"]["Code"] == "ResourceNotFoundException":
                    return
                raise
        made = found["CreateTimestamp"].isoformat()
        command = f"kinesisanalyticsv2 delete-application --application-name {name} --create-timestamp {made}"
        yield Leftover(f"application {name}", self._aws(command))

    def _machines(self) -> Iterator[Leftover]:
        with asking("instances"):
            found = self._ec2.describe_instances(Filters=self._by_tag())["Reservations"]
        for item in (instance for reservation in found for instance in reservation["Instances"]):
            if item["State"]["Name"] not in {"terminated", "shutting-down"}:
                name = item["InstanceId"]
                yield Leftover(f"instance {name}", self._aws(f"ec2 terminate-instances --instance-ids {name}"))

    def _network(self) -> Iterator[Leftover]:
        with asking("network"):
            gateways = self._ec2.describe_nat_gateways(Filters=self._by_tag())["NatGateways"]
            addresses = self._ec2.describe_addresses(Filters=self._by_tag())["Addresses"]
        for item in gateways:
            if item["State"] not in {"deleted", "deleting"}:
                name = item["NatGatewayId"]
                yield Leftover(f"gateway {name}", self._aws(f"ec2 delete-nat-gateway --nat-gateway-id {name}"))
        for item in addresses:
            name = item["AllocationId"]
            yield Leftover(f"address {name}", self._aws(f"ec2 release-address --allocation-id {name}"))
        for item in self.interfaces():
            name = item["NetworkInterfaceId"]
            command = f"ec2 delete-network-interface --network-interface-id {name}"
            yield Leftover(f"interface {name}", self._aws(command))

    def _volumes(self) -> Iterator[Leftover]:
        with asking("volumes"):
            found = self._ec2.describe_volumes(Filters=self._by_tag())["Volumes"]
        for item in found:
            if item.get("State") not in {"deleted", "deleting"}:
                name = item["VolumeId"]
                yield Leftover(f"volume {name}", self._aws(f"ec2 delete-volume --volume-id {name}"))

    def _functions(self) -> Iterator[Leftover]:
        prefix = f"{self.stack}-"
        with asking("functions"):
            for page in self.session.client("lambda").get_paginator("list_functions").paginate():
                for item in page["Functions"]:
                    name = item["FunctionName"]
                    if name.removeprefix(prefix) in _FUNCTIONS and name.startswith(prefix):
                        command = f"lambda delete-function --function-name {name}"
                        yield Leftover(f"function {name}", self._aws(command))

    def _log_groups(self) -> Iterator[Leftover]:
        for name in self.log_groups():
            yield Leftover(f"log-group {name}", self._aws(f"logs delete-log-group --log-group-name {name}"))

    def _data(self) -> Iterator[Leftover]:
        name = f"{self.stack}-audit"
        if table.rows(self.session.client("dynamodb"), name) is not None:
            yield Leftover(f"table {name}", self._aws(f"dynamodb delete-table --table-name {name}"))
        with asking("buckets"):
            found = self.session.client("s3").list_buckets()["Buckets"]
        for item in found:
            name = item["Name"]
            if re.fullmatch(rf"{self.stack}-(failed|artifacts)-\d{{12}}-{self.session.region}", name):
                yield Leftover(f"bucket {name}", self._aws(f"s3 rb s3://{name} --force"))

    def _tagged(self) -> Iterator[Leftover]:
        """Yield what bears the stack's tag and is billed, but is looked for by nothing above."""
        client = self.session.client("resourcegroupstaggingapi")
        with asking("tagged resources"):
            pages = client.get_paginator("get_resources").paginate(TagFilters=[{"Key": TAG, "Values": [self.stack]}])
            arns = [item["ResourceARN"] for page in pages for item in page["ResourceTagMappingList"]]
        for arn in arns:
            if arn.split(":")[2] not in _LOOKED_FOR | _NOT_BILLED:
                yield Leftover(f"resource {arn}", self._aws(f"resourcegroupstaggingapi get-resources  # {arn}"))

    def _by_tag(self) -> list[dict[str, Any]]:
        return [{"Name": f"tag:{TAG}", "Values": [self.stack]}]


_FUNCTIONS: Final = frozenset({"SampleTransactionGenerator", "FlagAccountGenerator", "AuditWriter", "TopicReader"})


def _log_prefixes(stack: str) -> list[str]:
    functions = [f"/aws/lambda/{stack}-{name}" for name in sorted(_FUNCTIONS)]
    return [*functions, f"/aws/vendedlogs/{stack}/", f"/aws/kinesis-analytics/{stack}-detection", f"/fraudctl/{stack}/"]
