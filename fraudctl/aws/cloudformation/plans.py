"""A change set in a person's words: what changes from what to what, and how long it takes."""

from collections.abc import Mapping, Sequence
from typing import Final

from fraudctl.aws.cloudformation import guard
from fraudctl.aws.cloudformation.change_sets import ResourceChange
from fraudctl.aws.cloudformation.guard import described
from fraudctl.aws.release import Price
from fraudctl.target import Change

_ACTIONS: Final = {"Add": "create", "Modify": "update", "Remove": "remove", "Import": "adopt", "Dynamic": "change"}
_ORDER: Final = ("remove", "replace", "update", "adopt", "change", "create")
# Median minutes by type: MSK and Flink rule everything else out.
_CREATE_MINUTES: Final = {"AWS::MSK::Cluster": 31, "AWS::EC2::NatGateway": 2, "AWS::KinesisAnalyticsV2::Application": 2}
_UPDATE_MINUTES: Final = {"AWS::MSK::Cluster": 25, "AWS::KinesisAnalyticsV2::Application": 3}
_OTHER_MINUTES: Final = 2


def changes(found: Sequence[ResourceChange]) -> tuple[Change, ...]:
    """Give one line per resource; what is removed or replaced comes first."""
    lines = [_line(change, found) for change in found]
    return tuple(sorted(lines, key=lambda line: (_ORDER.index(line.action), line.component)))


def losses(found: Sequence[ResourceChange], kept: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Say what is lost for good, also when a person allowed it."""
    return tuple(str(danger) for danger in guard.dangers(found, allowed=kept or ()))


def minutes(found: Sequence[ResourceChange]) -> int:
    """Estimate how long the change set takes: its slowest resource, for the rest goes on beside it."""
    slowest = _OTHER_MINUTES if found else 0
    for change in found:
        create = change.action in {"Add", "Import"} or guard.replaces(change, found)
        table = _CREATE_MINUTES if create else _UPDATE_MINUTES
        if change.action != "Remove":
            slowest = max(slowest, table.get(change.type, 0))
    return slowest


def bill(prices: Sequence[Price]) -> list[str]:
    """Give one line for each price and one for their sum, of which an unknown price makes the least it can be."""
    known = [price.hourly for price in prices if price.hourly is not None]
    total, until = sum(known), "until `fraudctl teardown`"
    if len(known) == len(prices):
        in_all = f"{_dollars(total)} an hour in all, about ${total * 24:.0f} a day, {until}"
    else:
        in_all = f"at least ${total:.3f} an hour in all, for not every price is known, {until}"
    return [*(f"{_dollars(price.hourly)} an hour  {price.what}" for price in prices), in_all]


def _dollars(amount: float | None) -> str:
    return "an unknown price" if amount is None else f"${amount:7.3f}"


def _line(change: ResourceChange, found: Sequence[ResourceChange]) -> Change:
    action, perhaps = _ACTIONS.get(change.action, "change"), ""
    if action == "update" and guard.replaces(change, found):
        # What CloudFormation calls Conditional depends on values that only the service knows.
        action, perhaps = ("replace", "") if change.replacement == "True" else ("update", "; may be replaced")
    kind = change.type.removeprefix("AWS::").replace("::", " ")
    said: dict[str, str] = {}
    for detail in change.details:
        text = described(detail)
        # A parameter's change and the property's own come as a pair; the one with values says more.
        if "→" in text or detail.path not in said:
            said[detail.path] = text
    return Change(action, change.logical_id, f"{kind}{': ' if said else ''}{'; '.join(said.values())}{perhaps}")
