"""The CloudFormation template as data, for the tests that hold it together with the rest."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml  # type: ignore[import-untyped] # a dependency of moto

from fraudctl.artifacts.bundles import template_body
from fraudctl.artifacts.resources import resource

PATH = resource("cfn") / "fraud-detection-stack.yaml"
LONGEST = {
    "AWS::StackName": "s" * 28,
    "AWS::AccountId": "1" * 12,
    "AWS::Region": "ap-southeast-1",
    "AWS::Partition": "aws",
}


class Loader(yaml.SafeLoader):  # type: ignore[misc] # yaml has no types
    """Reads ``!Ref`` and the like as the long forms, as CloudFormation does."""


def _intrinsic(loader: Any, suffix: str, node: Any) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", _intrinsic)


@dataclass(frozen=True)
class Template:
    """The parsed template."""

    data: dict[str, Any]

    @property
    def resources(self) -> dict[str, Any]:
        """Logical id → resource."""
        resources: dict[str, Any] = self.data["Resources"]
        return resources

    def properties(self, name: str) -> dict[str, Any]:
        """Give a resource's properties."""
        properties: dict[str, Any] = self.resources[name].get("Properties", {})
        return properties

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """Give the properties of every resource of a type."""
        return {name: self.properties(name) for name, found in self.resources.items() if found["Type"] == kind}

    def statements(self, role: str) -> list[dict[str, Any]]:
        """Give all statements of a role's own policies."""
        policies = self.properties(role)["Policies"]
        return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]


def text(value: Any, names: dict[str, str] = LONGEST) -> str:
    """Resolve a string, a ``Ref`` to a pseudo parameter, or a ``Fn::Sub``; other names stay as ``${name}``."""
    if isinstance(value, dict):
        if "Ref" in value:
            return names.get(value["Ref"], f"${{{value['Ref']}}}")
        if "Fn::If" in value:
            return text(value["Fn::If"][2], names)
        value = value["Fn::Sub"]
    return re.sub(r"\$\{([^}]+)\}", lambda match: names.get(match[1], match[0]), value)


def listed(value: Any) -> list[Any]:
    """Give a list, also of a single value."""
    return value if isinstance(value, list) else [value]


def user_data(template: Template) -> str:
    """Give the script of Kafdrop's instance."""
    script: str = template.properties("KafdropInstance")["UserData"]["Fn::Base64"]["Fn::Sub"]
    return script


def parse(body: str) -> Template:
    """Parse a template."""
    return Template(yaml.load(body, Loader))  # noqa: S506 - a safe loader's child


@cache
def load() -> Template:
    """Give the template as it is deployed."""
    return parse(template_body(PATH))
