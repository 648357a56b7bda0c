"""The guard: a change set that replaces or removes what holds data is not executed by accident."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fraudctl.aws import resource_types
from fraudctl.aws.cloudformation.change_sets import Detail, ResourceChange


@dataclass(frozen=True, slots=True)
class Danger:
    """One resource that would be replaced or removed, the properties that force it, and what would be lost."""

    logical_id: str
    verb: str
    because: tuple[str, ...]
    loss: str

    def __str__(self) -> str:
        """Return it in one line."""
        why = f" because of {', '.join(self.because)}" if self.because else ""
        return f"{self.logical_id} would be {self.verb}{why}; lost would be {self.loss}"


def dangers(changes: Sequence[ResourceChange], allowed: Collection[str]) -> list[Danger]:
    """Return what must not be executed, unless its logical id is among `allowed`."""
    replaced = _replaced(changes)
    return [
        found
        for change in changes
        if resource_types.of(change.type).loss and change.logical_id not in allowed
        for found in _danger(change, replaced)
    ]


def replaces(change: ResourceChange, changes: Sequence[ResourceChange]) -> bool:
    """Return whether this change replaces the resource, as far as can be known."""
    return change.logical_id in _replaced(changes)


def _danger(change: ResourceChange, replaced: Mapping[str, tuple[str, ...]]) -> Iterator[Danger]:
    loss = resource_types.of(change.type).loss
    if change.action == "Remove":
        kept = " (its contents would stay in AWS, without a stack)" if change.policy_action == "Retain" else ""
        yield Danger(change.logical_id, "removed", (), loss + kept)
    elif change.action == "Dynamic":
        yield Danger(change.logical_id, "changed in a way only known later", (), loss)
    elif change.logical_id in replaced:
        verb = "replaced" if change.replacement == "True" else "replaced, perhaps,"
        yield Danger(change.logical_id, verb, replaced[change.logical_id], loss)


def _replaced(changes: Sequence[ResourceChange]) -> dict[str, tuple[str, ...]]:
    """Return the replaced resources with the properties that force it.

    CloudFormation calls a replacement Conditional also when a property refers to a resource that merely changes: a
    `Ref` to a cluster that is updated in place stays what it is. So such a property counts only if the resource behind
    it is itself replaced, which is followed through until nothing is added.
    """
    found: dict[str, tuple[str, ...]] = {}
    while True:
        more = {
            change.logical_id: because
            for change in changes
            if change.action == "Modify" and change.replacement != "False" and change.logical_id not in found
            if (because := _forcing(change, found)) is not None
        }
        if not more:
            return found
        found |= more


def _forcing(change: ResourceChange, replaced: Collection[str]) -> tuple[str, ...] | None:
    forcing = [detail for detail in change.details if detail.recreation != "Never" and _real(detail, replaced)]
    if not forcing and (change.replacement != "True" and change.details):
        return None
    return tuple(dict.fromkeys(described(detail) for detail in forcing))


def _real(detail: Detail, replaced: Collection[str]) -> bool:
    cause, _, attribute = detail.cause.partition(".")
    if not detail.dynamic or not cause:
        # A dynamic property without a cause is the other half of a pair: its cause comes as a detail of its own.
        return not detail.dynamic
    if detail.source == "ParameterReference":
        return True
    # An ARN lives as long as its resource, as a Ref does; any other attribute may change by itself.
    return cause in replaced or not (attribute in {"", "Arn"} or attribute.endswith("Arn"))


def described(detail: Detail) -> str:
    """Return a property with its value before and after, as far as CloudFormation tells."""
    if detail.before is None and detail.after is None:
        return f"{detail.path} ({detail.cause})" if detail.cause else detail.path
    return f"{detail.path}: {_short(detail.before)} → {_short(detail.after)}"


def _short(value: str | None, longest: int = 60) -> str:
    if value is None or value == "":
        return "(none)"
    if "KNOWN_AFTER_APPLY" in value:
        return "(known later)"
    return value if len(value) <= longest else f"{value[: longest - 1]}…"
