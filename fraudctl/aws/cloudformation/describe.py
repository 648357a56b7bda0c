"""A stack as CloudFormation describes it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from fraudctl.aws.errors import asking
from fraudctl.aws.session import items


@dataclass(frozen=True, slots=True)
class Described:
    """One stack that is there in any state, a shell in REVIEW_IN_PROGRESS included.

    `resolved` has what CloudFormation has looked up for parameters that name something else.
    """

    id: str
    name: str
    status: str
    reason: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]
    tags: Mapping[str, str]
    protected: bool
    resolved: Mapping[str, str] = field(default_factory=dict)

    @property
    def busy(self) -> bool:
        """Whether an operation is running on it."""
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of a stack."""

    logical_id: str
    physical_id: str
    type: str
    status: str
    reason: str = ""


def describe(cfn: Any, name: str) -> Described | None:  # noqa: ANN401 - a boto3 client
    """Return the stack by name or id; None when there is none, or only a deleted one."""
    with asking(f"stack {name}"):
        try:
            found = cfn.describe_stacks(StackName=name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in error.response["Error"]["Message"]:
                return None
            raise
    if found["StackStatus"] == "DELETE_COMPLETE":
        return None
    return Described(
        id=found["StackId"],
        name=found["StackName"],
        status=found["StackStatus"],
        reason=found.get("StackStatusReason", ""),
        parameters={item["ParameterKey"]: item.get("ParameterValue", "") for item in found.get("Parameters", [])},
        outputs={item["OutputKey"]: item.get("OutputValue", "") for item in found.get("Outputs", [])},
        tags={item["Key"]: item["Value"] for item in found.get("Tags", [])},
        protected=bool(found.get("EnableTerminationProtection")),
        resolved={
            item["ParameterKey"]: item["ResolvedValue"]
            for item in found.get("Parameters", [])
            if "ResolvedValue" in item
        },
    )


def resources(cfn: Any, stack: str) -> Iterator[Resource]:  # noqa: ANN401 - a boto3 client
    """Yield the resources of a stack, whatever their state."""
    with asking(f"resources of stack {stack}"):
        for item in items(cfn, "list_stack_resources", "StackResourceSummaries", StackName=stack):
            yield Resource(
                item["LogicalResourceId"],
                item.get("PhysicalResourceId", ""),
                item["ResourceType"],
                item["ResourceStatus"],
                item.get("ResourceStatusReason", ""),
            )
