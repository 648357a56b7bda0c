"""What a role of the template may do: its policies, rendered for one stack, evaluated by moto's `IAMPolicy`.

moto matches effects, actions and resources. It knows few operators of conditions, so those are decided here, with the
three that the template has, and what does not apply is left out before moto sees it.
"""

import json
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from moto.iam.access_control import IAMPolicy, PermissionResult
from templates import Template, listed, text

NAMES: Final = {
    "AWS::StackName": "fraud-detection",
    "AWS::AccountId": "111111111111",
    "AWS::Region": "eu-west-1",
    "AWS::Partition": "aws",
    "ArtifactBucket": "fraud-detection-artifacts-111111111111-eu-west-1",
    "KafdropAuthJarKey": "aws-msk-iam-auth-2.3.6.jar",
    "Vpc": "vpc-1",
}


def rendered(template: Template, value: Any) -> Any:
    """Return a value of the template with its intrinsics resolved for that stack."""
    if isinstance(value, list):
        return [rendered(template, item) for item in value]
    if not isinstance(value, dict):
        return value
    if "Fn::GetAtt" in value:
        name, attribute = value["Fn::GetAtt"]
        assert attribute == "Arn", value
        return _arn(template, name)
    if set(value) in ({"Ref"}, {"Fn::Sub"}):
        found = text(value, NAMES)
        assert "${" not in found, found
        return found
    return {key: rendered(template, inner) for key, inner in value.items()}


def _arn(template: Template, name: str) -> str:
    """Return the ARN that CloudFormation gives for a resource: of a log group with ``:*`` (its schema: Arn)."""
    properties = template.properties(name)
    start = f"{NAMES['AWS::Region']}:{NAMES['AWS::AccountId']}"
    match template.resources[name]["Type"]:
        case "AWS::Logs::LogGroup":
            return f"arn:aws:logs:{start}:log-group:{text(properties['LogGroupName'], NAMES)}:*"
        case "AWS::Lambda::Function":
            return f"arn:aws:lambda:{start}:function:{text(properties['FunctionName'], NAMES)}"
        case kind:
            raise AssertionError(f"{name}: {kind}")


def statements(template: Template, role: str) -> list[dict[str, Any]]:
    """Return all statements of a role: of its own policies and of the template's that are attached to it."""
    found = list(template.statements(role))
    for attached in template.properties(role).get("ManagedPolicyArns", []):
        if "Ref" in attached:  # else AWS's own, which is not in the template
            found += template.properties(attached["Ref"])["PolicyDocument"]["Statement"]
    result: list[dict[str, Any]] = rendered(template, found)
    return result


def permitted(found: Iterable[Mapping[str, Any]], action: str, resource: str, **context: str) -> bool:
    """Return whether statements allow an action on a resource; `context` are condition keys, ``aws_SourceAccount``."""
    keys = {name.replace("_", ":", 1): value for name, value in context.items()}
    applying = [
        {key: value for key, value in statement.items() if key != "Condition"}
        for statement in found
        if _holds(statement.get("Condition", {}), keys)
    ]
    policy = IAMPolicy(json.dumps({"Version": "2012-10-17", "Statement": applying}))
    return bool(policy.is_action_permitted(action, resource) == PermissionResult.PERMITTED)


def trusted(template: Template, role: str, service: str, **context: str) -> bool:
    """Return whether a service may take a role."""
    document = rendered(template, template.properties(role)["AssumeRolePolicyDocument"])
    found = [
        {**statement, "Resource": "*"}
        for statement in document["Statement"]
        if service in listed(statement.pop("Principal")["Service"])
    ]
    return permitted(found, "sts:AssumeRole", "*", **context)


def _holds(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    """Return whether all conditions hold; a key that the request lacks fails all but the …IfExists operators."""
    for operator, wanted in conditions.items():
        kind, optional = re.sub("IfExists$", "", operator), operator.endswith("IfExists")
        assert kind in {"StringEquals", "ArnEquals", "ArnLike"}, operator
        for key, values in wanted.items():
            if key not in context:
                if optional:
                    continue
                return False
            given = context[key]
            match = fnmatchcase if kind.startswith("Arn") else str.__eq__
            if not any(match(given, value) for value in listed(values)):
                return False
    return True
