"""What the components log, from CloudWatch Logs.

Following asks again every two seconds: live tail would cost a cent a minute, end after three hours and leave out lines
above 500 a second.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from botocore.exceptions import ClientError

from fraudctl.aws.errors import asking
from fraudctl.aws.names import Names
from fraudctl.aws.session import items
from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, NotDeployed
from fraudctl.pipeline import names
from fraudctl.pipeline.text import iso

_PAUSE_SECONDS: Final = 2.0
# FilterLogEvents gives the newest first only for times after 2023.
_EARLIEST_MS: Final = 1_704_067_200_000
# An event may arrive this much later than its own time.
_LATE_MS: Final = 60_000
_SEEN: Final = 100_000
# What the Python runtime puts into every entry of its JSON format, and into those of exceptions.
_LAMBDAS_OWN: Final = frozenset(
    ("timestamp", "level", "message", "logger", "requestId", "errorType", "errorMessage", "stackTrace", "location")
)
# A page may be empty while more follow; each covers a part of the time.
_MOST_PAGES: Final = 20


@dataclass(frozen=True, slots=True)
class Group:
    """A log group; with several of a component, `label` says which one a line is from."""

    name: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class AwsLogs:
    """Reads the log groups of one stack. A component has the same name as on a laptop where it is on both."""

    client: Callable[[], Any]
    stack: str
    clock: Clock

    def groups(self) -> Mapping[str, Sequence[Group]]:
        """Return the log groups of each component."""
        found = Names(self.stack)
        functions = {
            folder.replace("_", "-"): Group(f"/aws/lambda/{names.function(self.stack, short)}", short)
            for folder, short in names.FUNCTIONS.items()
        }
        single = {name: [Group(group.name)] for name, group in functions.items()}
        return {
            "kafka": [Group(found.broker_log_group)],
            "lambda": list(functions.values()),
            **single,
            "flink": [Group(found.application_log_group)],
            "kafdrop": [Group(found.kafdrop_log_group)],
        }

    def lines(self, component: str, *, last: int, follow: bool) -> Iterator[str]:
        """Yield the last lines, each with its time in UTC, then new ones; raises `BadConfig` or `NotDeployed`."""
        groups = self.groups()
        if component not in groups:
            raise BadConfig(
                f"component {component!r}: it has no log on AWS", hint=f"those with one are {', '.join(groups)}"
            )
        seen = _Seen()
        if follow:
            seen.add(self._lately(groups[component]))  # what is older than the last lines is not new
        newest = _ordered((group, event) for group in groups[component] for event in self._last(group, last))
        shown = newest[len(newest) - min(last, len(newest)) :]
        seen.add(newest)
        for group, event in shown:
            yield from _lines(event, group.label)
        for _ in self.clock.poll(_PAUSE_SECONDS) if follow else ():
            for group, event in seen.add(self._lately(groups[component])):
                yield from _lines(event, group.label)

    def first_failure(self, since: int) -> str | None:
        """Return the application's first exception since a moment (epoch milliseconds), in one line with its time."""
        (group,) = self.groups()["flink"]
        with self._asking(group):
            pages = self.client().get_paginator("filter_log_events")
            found = pages.paginate(logGroupName=group.name, startTime=since, filterPattern="%Exception%")
            for event in (event for page in islice(found, _MOST_PAGES) for event in page["events"]):
                entry = _entry(event["message"])
                thrown = entry.get("throwableInformation") or ()
                if thrown or entry.get("messageType") == "ERROR":
                    why = str(thrown[0] if isinstance(thrown, list) and thrown else thrown or entry.get("message"))
                    return f"{iso(event['timestamp'])} {' '.join(why.split())}"
        return None

    def _last(self, group: Group, last: int) -> list[dict[str, Any]]:
        """Return a group's newest events, in any order."""
        found: list[dict[str, Any]] = []
        with self._asking(group):
            pages = self.client().get_paginator("filter_log_events")
            for page in (
                pages.paginate(logGroupName=group.name, startTime=_EARLIEST_MS, startFromHead=False) if last else ()
            ):
                found += page["events"]
                if len(found) >= last:
                    break
        return found

    def _lately(self, groups: Sequence[Group]) -> "list[_Event]":
        """Return what has a time within the last minute."""
        since = int(self.clock.now() * 1000) - _LATE_MS
        found: list[_Event] = []
        for group in groups:
            with self._asking(group):
                events = items(self.client(), "filter_log_events", "events", logGroupName=group.name, startTime=since)
                found += [(group, event) for event in events]
        return _ordered(found)

    @contextmanager
    def _asking(self, group: Group) -> Iterator[None]:
        with asking(f"log group {group.name}"):
            try:
                yield
            except ClientError as error:
                if error.response["Error"]["Code"] == "ResourceNotFoundException":
                    raise NotDeployed(
                        f"log group {group.name}: there is none", hint="`fraudctl status` shows what is deployed"
                    ) from error
                raise


_Event = tuple[Group, dict[str, Any]]


class _Seen:
    """The events that were shown, the last of them."""

    def __init__(self) -> None:
        self._order: deque[str] = deque()
        self._ids: set[str] = set()

    def add(self, found: Iterable[_Event]) -> list[_Event]:
        """Add events and return those that are new."""
        new = [(group, event) for group, event in found if _identity(event) not in self._ids]
        for _, event in new:
            self._order.append(_identity(event))
            self._ids.add(_identity(event))
            if len(self._order) > _SEEN:
                self._ids.discard(self._order.popleft())
        return new


def _ordered(found: Iterable[_Event]) -> list[_Event]:
    return sorted(found, key=lambda one: (one[1]["timestamp"], _identity(one[1])))


def _identity(event: Mapping[str, Any]) -> str:
    """Return the event's id, which is optional in AWS's model."""
    return str(event.get("eventId") or (event["timestamp"], event.get("logStreamName"), event["message"]))


def _lines(event: Mapping[str, Any], label: str) -> Iterator[str]:
    """Yield the lines of an event, the first with its time; a continuation is indented as stack traces are."""
    first, *rest = _text(str(event["message"])).splitlines() or [""]
    yield " ".join(filter(None, (iso(event["timestamp"]), label, first)))
    yield from rest


def _text(message: str) -> str:
    """Return an event's text: out of the JSON of Managed Flink and of Lambda's JSON format, any other as it is."""
    entry = _entry(message)
    if "messageType" in entry and "message" in entry:
        thrown = entry.get("throwableInformation") or ()
        said = f"{entry['messageType']} {entry.get('logger', '')} - {entry['message']}".strip()
        return "\n".join([said, *map(str, thrown if isinstance(thrown, list) else [thrown])])
    if str(entry.get("type")).startswith("platform."):
        return f"{entry['type']} {json.dumps(entry.get('record'))}"
    if "level" in entry and not entry.keys().isdisjoint({"message", "errorMessage"}):
        return _said(entry)
    return message.rstrip("\n")


def _said(entry: Mapping[str, Any]) -> str:
    """Return what a function logged: level, message, the fields that it gave, and the stack of an exception."""
    thrown = ": ".join(str(entry[name]) for name in ("errorType", "errorMessage") if entry.get(name))
    fields = {name: value for name, value in entry.items() if name not in _LAMBDAS_OWN}
    parts = (entry["level"], entry.get("message"), thrown, json.dumps(fields) if fields else None)
    stack = entry.get("stackTrace") or ()
    return "\n".join([" ".join(str(part) for part in parts if part), *(str(frame).rstrip("\n") for frame in stack)])


def _entry(message: str) -> Mapping[str, Any]:
    """Return the JSON object that a message is; empty for anything else."""
    with suppress(ValueError):
        found = json.loads(message)
        if isinstance(found, dict):
            return found
    return {}
