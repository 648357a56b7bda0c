"""The template's parameters: which there are, who sets them, and their values for the next change set."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fraudctl.errors import BadConfig

BOOTSTRAP: Final = "BootstrapServers"
PENDING: Final = "PENDING"
SAMPLES: Final = "SamplesEnabled"
ENABLED: Final = {True: "ENABLED", False: "DISABLED"}
_GROWING: Final = {"Partitions": "Kafka's topics", "BrokerVolumeGiB": "MSK's disks"}
# They decide how the application's state is laid out.
_LAYOUT: Final = ("HoldMs", "SlackMs")
# fraudctl gives these their values; a person cannot.
_OURS: Final = re.compile(r"ArtifactBucket|\w+Key|BootstrapServers|S3PrefixListId|Adopt\w+", re.ASCII)
_SECTION: Final = re.compile(r"^Parameters:\s*$(.*?)^(?=\S)", re.MULTILINE | re.DOTALL)
_ENTRY: Final = re.compile(r"^ {2}(\w+):\s*$((?:\n {4}.*)*)", re.MULTILINE | re.ASCII)
_DEFAULT: Final = re.compile(r"^ {4}Default: *(.*?) *$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Template:
    """A template's text, the names of its parameters and the defaults of those that have one."""

    body: str
    names: tuple[str, ...]
    defaults: Mapping[str, str]

    @classmethod
    def read(cls, body: str) -> "Template":
        """Take the names from the text: the template is ours, so a YAML parser is not needed."""
        section = _SECTION.search(body)
        entries = dict(_ENTRY.findall(section.group(1))) if section else {}
        found = {name: default.group(1) for name, text in entries.items() if (default := _DEFAULT.search(text))}
        return cls(body, tuple(entries), {name: value.strip("\"'") for name, value in found.items()})

    def settable(self) -> list[str]:
        """Return the names a person may set, sorted."""
        return sorted(name for name in self.names if not _OURS.fullmatch(name))


def check(template: Template, given: Mapping[str, str]) -> None:
    """Raise `BadConfig` for a parameter that does not exist or is not a person's to set."""
    for name in given:
        if name not in template.settable():
            raise BadConfig(
                f"--set {name}: {'fraudctl sets it' if name in template.names else 'no such parameter'}",
                hint=f"the parameters are {', '.join(template.settable())}",
            )


def merged(template: Template, *layers: Mapping[str, str]) -> dict[str, str]:
    """Merge from weak to strong, leaving out what this template does not have; what is in none keeps its default."""
    values = {name: value for layer in layers for name, value in layer.items()}
    return {name: values[name] for name in template.names if name in values}


def check_growth(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Raise `BadConfig` for a value below the stack's that AWS would refuse after minutes."""
    for name, what in _GROWING.items():
        if name in before and name in after and int(after[name]) < int(before[name]):
            raise BadConfig(
                f"{name}={after[name]}: the stack has {before[name]}, and {what} never shrink",
                hint=f"leave it out, or give at least {before[name]}",
            )


def grown(before: Mapping[str, str], after: Mapping[str, str]) -> bool:
    """Return whether topics get more partitions, which the application finds at once only when it starts again."""
    name = "Partitions"
    return name in before and name in after and int(after[name]) > int(before[name])


def relaid(before: Mapping[str, str], after: Mapping[str, str]) -> bool:
    """Return whether the application's state of before will not fit any more."""
    return any(before[name] != after[name] for name in _LAYOUT if name in before and name in after)
