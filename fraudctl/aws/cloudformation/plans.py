"""A change set as lines of a plan: what changes from what to what, how long it takes, what it costs."""

from collections.abc import Mapping, Sequence
from typing import Final

from fraudctl.aws import resource_types
from fraudctl.aws.cloudformation import guard
from fraudctl.aws.cloudformation.change_sets import ResourceChange
from fraudctl.aws.cloudformation.guard import described
from fraudctl.aws.costs import BY_USE, Cost
from fraudctl.target import Change

_ACTIONS: Final = {"Add": "create", "Modify": "update", "Remove": "remove", "Import": "adopt", "Dynamic": "change"}
_ORDER: Final = ("remove", "replace", "update", "adopt", "change", "create")
_VERBS: Final = {"Add": "CREATE", "Import": "CREATE", "Remove": "DELETE"}
_OTHER_MINUTES: Final = 2


def changes(found: Sequence[ResourceChange]) -> tuple[Change, ...]:
    """Return one line per resource; what is removed or replaced comes first."""
    lines = [_line(change, found) for change in found]
    return tuple(sorted(lines, key=lambda line: (_ORDER.index(line.action), line.component)))


def losses(found: Sequence[ResourceChange], kept: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return what is lost for good, also when a person allowed it."""
    return tuple(str(danger) for danger in guard.dangers(found, allowed=kept or ()))


def minutes(found: Sequence[ResourceChange]) -> int:
    """Return about how many minutes the change set takes: those of its slowest resource, the rest goes on beside it."""
    slowest = _OTHER_MINUTES if found else 0
    for change in found:
        verb = "CREATE" if guard.replaces(change, found) else _VERBS.get(change.action, "UPDATE")
        slowest = max(slowest, resource_types.of(change.type).minutes.get(verb, 0))
    return slowest


def bill(prices: Sequence[Cost]) -> list[str]:
    """Return a line for each price, one for their sum (without unknown ones the least it can be), and unit prices."""
    known = [price.usd_per_hour for price in prices if price.usd_per_hour is not None]
    total, until = sum(known), "until `fraudctl teardown`"
    if len(known) == len(prices):
        in_all = f"{_dollars(total)} an hour in all, about ${total * 24:.0f} a day, {until}"
    else:
        in_all = f"at least ${total:.3f} an hour in all, for not every price is known, {until}"
    by_hour = (f"{_dollars(price.usd_per_hour)} an hour  {price.what}" for price in prices)
    return [*by_hour, in_all, *(f"by use, on top: {line}" for line in BY_USE)]


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
