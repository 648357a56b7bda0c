"""Stacks that an older version of fraudctl deployed: what they lack, found or named."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from fraudctl.aws.cloudformation.describe import Described, resources
from fraudctl.aws.errors import asking
from fraudctl.aws.placement import ZONES
from fraudctl.aws.session import AwsSession
from fraudctl.errors import NotDeployed
from fraudctl.target import Outputs

# An older template's parameter for Kafdrop's image; today's takes an image's id.
_LOOKED_UP: Final = "/aws/service/"
# Where the template places its two private subnets; an older one let CloudFormation choose their zones.
_SUBNETS: Final = {"PrivateSubnetA": "ZoneA", "PrivateSubnetB": "ZoneB"}


def zones(session: AwsSession, stack: Described, names: Collection[str]) -> Mapping[str, str]:
    """Return the zones of the stack's subnets where it has no parameters for them; choosing anew would replace them."""
    if not set(ZONES) <= set(names) or set(ZONES) <= set(stack.parameters):
        return {}
    listed = resources(session.client("cloudformation"), stack.id)
    subnets = {item.physical_id: _SUBNETS[item.logical_id] for item in listed if item.logical_id in _SUBNETS}
    if not subnets:
        return {}
    with asking("subnets of the stack"):
        found = session.client("ec2").describe_subnets(SubnetIds=sorted(subnets))["Subnets"]
    return {subnets[subnet["SubnetId"]]: subnet["AvailabilityZone"] for subnet in found}


def parameters(stack: Described) -> dict[str, str]:
    """Return the stack's values; of one that CloudFormation looked up, what it found, so that nothing is replaced."""
    return {
        name: stack.resolved.get(name, value)
        for name, value in stack.parameters.items()
        if name in stack.resolved or not value.startswith(_LOOKED_UP)
    }


def output(outputs: Outputs, name: str, what: str) -> str:
    """Return an output of the stack; raises `NotDeployed` when the version that deployed it had none."""
    if value := outputs.extra.get(name):
        return value
    raise NotDeployed(
        f"stack {outputs.stack}: deployed by an older version, without {what}",
        hint="run `fraudctl deploy --plan`, then `fraudctl deploy`",
    )


def lacking(stack: Described, missing: Sequence[str]) -> NotDeployed:
    """Return the error for a stack without these outputs: not there yet, or made by an older version."""
    if stack.busy:
        return NotDeployed(
            f"stack {stack.name}: it is in {stack.status}", hint="`fraudctl deploy --attach` follows it to its end"
        )
    if not stack.outputs:
        return NotDeployed(f"stack {stack.name}: it is in {stack.status}", hint="run `fraudctl deploy` first")
    return NotDeployed(
        f"stack {stack.name}: deployed by an older version, without {', '.join(missing)}",
        hint="run `fraudctl deploy --plan`, then `fraudctl deploy`",
    )
