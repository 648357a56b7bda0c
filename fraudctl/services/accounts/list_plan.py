"""A list of flags planned: what is done about each account, what that would have detected, and the plan as a file.

The file is JSON Lines: a line about the plan with a digest of those below, then a line for each account with the events
to publish and a digest of the flag events that they rest on. So a plan can be read, kept and carried out by somebody
else, but neither be altered nor be carried out on other flags.
"""

import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fraudctl import atomic, tables
from fraudctl.errors import BadConfig, Refused
from fraudctl.pipeline.dates import date_milliseconds
from fraudctl.pipeline.records import Status
from fraudctl.pipeline.text import iso
from fraudctl.services import files
from fraudctl.services.accounts import apply
from fraudctl.services.accounts.apply import Change, Step
from fraudctl.services.accounts.plan import AccountPlan, Interval, PlannedEvent
from fraudctl.services.flags.rule import History
from fraudctl.target import Change as Line
from fraudctl.target import Consent, Plan

COLUMNS: Final = ("account_id", "change", "reason", "before", "after")
FORMAT: Final = "fraudctl accounts plan"
_VERSION: Final = 1
_SIGNS: Final = {Change.FLAGGED: "+", Change.CLEARED: "−"}
_ORDER: Final = (
    Change.FLAGGED,
    Change.CLEARED,
    Change.EXTENDED,
    Change.SHORTENED,
    Change.CHANGED,
    Change.UNCHANGED,
)
_SHOWN: Final = 20
_NAMED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPlan:
    """A plan for a list. `made_at` in epoch milliseconds; `notes` say what it would have detected, and more."""

    stack: str
    target: str
    made_at: int
    made_by: str | None
    list_file: str
    prune: bool
    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> list[Step]:
        """The steps that publish something."""
        return [step for step in self.steps if step.events]

    @property
    def counts(self) -> Counter[Change]:
        """How many accounts there are of each change."""
        return Counter(step.change for step in self.steps)

    @property
    def summary(self) -> str:
        """The counts for people: ``+12 flagged, −3 cleared, 2 extended, 9 unchanged``."""
        counts = self.counts
        return ", ".join(f"{_SIGNS.get(each, '')}{counts[each]:,} {each}" for each in _ORDER if counts[each])

    @property
    def again(self) -> str:
        """How to plan the list again, as a hint."""
        if self.list_file == "-":
            return "make a new plan from the list"
        command = f"fraudctl accounts apply {shlex.quote(self.list_file)}{' --prune' if self.prune else ''}"
        return f"make a new plan from the list: `{command}`"

    def shown(self) -> Plan:
        """Return the plan as it is shown and asked about; of many changes, the first."""
        changes = self.changes
        lines = tuple(Line(step.change.value, str(step.account), step.text(self.made_at)) for step in changes[:_SHOWN])
        more = len(changes) - len(lines)
        left = (f"and {tables.plural(more, 'change')} more; with --plan a file has them all",) if more else ()
        return Plan(self.stack, lines, Consent.YES, notes=(*left, f"{self.summary}.", *self.notes))

    def to_publish(self) -> list[AccountPlan]:
        """Return what is to be published for each account."""
        return [
            AccountPlan(
                account=step.account,
                events=step.events,
                asked=(*step.after, *step.before)[0],
                before=step.before,
                after=step.after,
                known=step.events_known,
            )
            for step in self.changes
        ]

    def check(self, histories: Mapping[int, History], now: int) -> None:
        """Raise `Refused` when flags have moved since the plan was made, or an end that it sets has passed."""
        moved = [
            step.account for step in self.steps if apply.digest(histories.get(step.account, NO_FLAGS)) != step.flags
        ]
        if self.prune:
            planned = {step.account for step in self.steps}
            moved += [
                account
                for account, history in histories.items()
                if account not in planned and apply.present(history, now)
            ]
        if moved:
            raise Refused(
                f"the flags of {_named(moved)} have moved since the plan was made, {iso(self.made_at)};"
                " nothing was changed",
                hint=self.again,
            )
        over = [step.account for step in self.changes if step.after and (step.after[-1].end or now + 1) <= now]
        if over:
            raise Refused(
                f"the plan is too old: what it sets for {_named(over)} has ended by now; nothing was changed",
                hint=self.again,
            )

    def write(self, file: Path) -> None:
        """Write the plan to a file; raises `BadConfig` when that cannot be done."""
        lines = [_dumped(_step_document(step)) for step in self.steps]
        header = {
            "format": FORMAT,
            "version": _VERSION,
            "stack": self.stack,
            "target": self.target,
            "made_at": iso(self.made_at),
            "made_by": self.made_by,
            "list": self.list_file,
            "prune": self.prune,
            "summary": self.summary,
            "notes": list(self.notes),
        }
        try:
            atomic.atomic_write(file, b"".join([_dumped({**header, "digest": _digest(header, lines)}), *lines]))
        except OSError as error:
            raise BadConfig(f"--plan {file}: {error.strerror}", hint="name a file in a folder that exists") from error


NO_FLAGS: Final = History(())


def is_plan(name: str) -> bool:
    """Return whether a file is a plan, by how it begins; raises `BadConfig` when it cannot be read."""
    if name == "-":
        return False
    with files.opened(name) as stream:
        return stream.peek(64).startswith(b'{"format":"%s"' % FORMAT.encode())


def read(name: str) -> ListPlan:
    """Return the plan of a file.

    Raises:
        BadConfig: It cannot be read, is of another version, or is not as it was written.
    """
    with files.opened(name) as stream:
        first, *lines = stream.readlines() or [b""]
    try:
        header = json.loads(first)
        digest = header.pop("digest")
        if header["version"] != _VERSION:
            raise BadConfig(f"plan {name}: of another version of fraudctl", hint="make a new plan from the list")
        if digest != _digest(header, lines):
            raise BadConfig(f"plan {name}: not as it was written", hint="make a new plan from the list")
        return ListPlan(
            stack=header["stack"],
            target=header["target"],
            made_at=date_milliseconds(header["made_at"]),
            made_by=header["made_by"],
            list_file=header["list"],
            prune=header["prune"],
            steps=tuple(_step(json.loads(line)) for line in lines),
            notes=tuple(header["notes"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BadConfig(f"plan {name}: not as it was written", hint="make a new plan from the list") from error


def rows(plan: ListPlan) -> Iterator[dict[str, Any]]:
    """Yield a row for each account, for programs; times are ISO dates, or null."""
    for step in plan.steps:
        document = _step_document(step)
        yield {name: document[name] for name in COLUMNS}


def _step_document(step: Step) -> dict[str, Any]:
    return {
        "account_id": step.account,
        "change": step.change.value,
        "reason": step.reason,
        "before": _dates(step.before),
        "after": _dates(step.after),
        "events": [
            {
                "flag_date": iso(event.date),
                "status": event.status.value,
                "reason": event.reason,
                "immediate": event.immediate,
            }
            for event in step.events
        ],
        "flags": step.flags,
        "events_known": step.events_known,
    }


def _step(document: Mapping[str, Any]) -> Step:
    return Step(
        account=document["account_id"],
        change=Change(document["change"]),
        events=tuple(
            PlannedEvent(
                date_milliseconds(event["flag_date"]), Status(event["status"]), event["reason"], event["immediate"]
            )
            for event in document["events"]
        ),
        before=_intervals(document["before"]),
        after=_intervals(document["after"]),
        reason=document["reason"],
        flags=document["flags"],
        events_known=document["events_known"],
    )


def _dates(found: Sequence[Interval]) -> list[list[str | None]]:
    return [[iso(start), iso(end)] for start, end in found]


def _intervals(found: Sequence[Sequence[str | None]]) -> tuple[Interval, ...]:
    return tuple(
        Interval(date_milliseconds(str(start)), None if end is None else date_milliseconds(end)) for start, end in found
    )


def _dumped(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _digest(header: Mapping[str, Any], lines: Sequence[bytes]) -> str:
    return hashlib.sha256(_dumped(header) + b"".join(lines)).hexdigest()


def _named(accounts: Sequence[int]) -> str:
    if len(accounts) == 1:
        return f"account {accounts[0]}"
    first = ", ".join(map(str, accounts[:_NAMED])) + (", …" if len(accounts) > _NAMED else "")
    return f"{len(accounts):,} accounts ({first})"
