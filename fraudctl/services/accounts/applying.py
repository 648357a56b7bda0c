"""Apply a list of flags: plan it, show it, ask, and publish what it changes by FlagAccountGenerator.

What is published in part can be applied again: the list is compared with the flags as they are then.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Final

from fraudctl import tables
from fraudctl.errors import BadConfig, FraudctlError, OperationFailed
from fraudctl.pipeline import topics
from fraudctl.pipeline.text import iso
from fraudctl.services.accounts import apply, flag_list, publish
from fraudctl.services.accounts.apply import Change, Step
from fraudctl.services.accounts.flag import Limits
from fraudctl.services.accounts.flag_list import Wanted
from fraudctl.services.accounts.found import ADDED, DETECTED, REMOVED, Tally
from fraudctl.services.accounts.list_plan import ListPlan
from fraudctl.services.accounts.plan import MANY_EVENTS
from fraudctl.services.accounts.what_if import BackTest, Question, Result
from fraudctl.services.deploy import Display
from fraudctl.services.flags import lookup
from fraudctl.services.flags.rule import KEPT_EVENTS, History
from fraudctl.services.interrupts import interruptible
from fraudctl.target import Event, Phase, Target

# What limits do not concern: it makes no flag longer.
_LESS: Final = frozenset({Change.CLEARED, Change.SHORTENED, Change.UNCHANGED})


def make(
    target: Target,
    display: Display,
    name: str,
    *,
    prune: bool,
    since: int | None,
    limits: Limits,
    clock: Callable[[], float] = time.time,
) -> ListPlan:
    """Return the plan for the list of a file; `since` is from when on it is tried on transactions, None for not.

    Raises:
        BadConfig: The list cannot be read, or a flag of it is not within the limits.
        Refused: More would be set for an account than the application keeps.
        NotDeployed: There is no such stack. `Unreachable`: Kafka does not answer.
    """
    wanted = flag_list.read(name, clock)
    outputs = target.stack.outputs()
    now = int(clock() * 1000)
    notes: list[str] = []
    histories: Mapping[int, History]
    if since is None:
        histories = _flags(target, display)
    else:
        lasting = {account: flag for account, flag in wanted.items() if not apply.ended(flag, now)}
        test = BackTest(target, Question(wanted=lasting, only=prune, since=since, examples=0))
        display.events(test.run())
        histories = test.histories
        notes += _foretold(test.result)
    steps = []
    for step in apply.steps(histories, wanted, now, prune=prune):
        _check(step, wanted.get(step.account), name, limits, now)
        steps.append(step)
    notes += _more(steps, sum(apply.ended(flag, now) for flag in wanted.values()))
    return ListPlan(
        stack=outputs.stack,
        target=outputs.target,
        made_at=now,
        made_by=target.caller(),
        list_file=name,
        prune=prune,
        steps=tuple(steps),
        notes=tuple(notes),
    )


def check(target: Target, display: Display, plan: ListPlan, clock: Callable[[], float] = time.time) -> None:
    """Raise `Refused` unless the flags are still those of the plan, `BadConfig` when it was made for another stack."""
    outputs = target.stack.outputs()
    if (plan.stack, plan.target) != (outputs.stack, outputs.target):
        raise BadConfig(
            f"the plan was made for stack {plan.stack} on {plan.target}, not for {outputs.stack} on {outputs.target}",
            hint=f"add --stack {plan.stack} --target {plan.target}",
        )
    plan.check(_flags(target, display), int(clock() * 1000))


def carry_out(target: Target, display: Display, plan: ListPlan) -> None:
    """Publish what the plan says.

    Raises:
        OperationFailed: It was published in part, or not at all; the message says for how many accounts.
    """
    display.events(interruptible(_published(target, plan)))


def _published(target: Target, plan: ListPlan) -> Generator[Event, None, None]:
    accounts: set[int] = set()
    written, total = 0, len(plan.changes)
    again = f"{plan.again}; what is written is in it as unchanged"
    yield Event(topics.FLAGGED.name, Phase.STARTED)
    try:
        for flag in publish.publish(target, plan.to_publish(), target.caller()):
            written += 1
            if flag["account_id"] not in accounts:
                accounts.add(flag["account_id"])
                yield Event(topics.FLAGGED.name, Phase.PROGRESS, f"{len(accounts):,} of {total:,} accounts")
    except FraudctlError as error:
        raise OperationFailed(str(error), hint=again) from error
    except KeyboardInterrupt:
        yield Event(topics.FLAGGED.name, Phase.NOTE, f"stopped behind {len(accounts):,} accounts; {again}")
        raise
    yield Event(
        topics.FLAGGED.name,
        Phase.DONE,
        f"{tables.plural(written, 'flag event')} of {tables.plural(total, 'account')} written",
    )


def _flags(target: Target, display: Display) -> Mapping[int, History]:
    found: Mapping[int, History] = {}

    def events() -> Iterator[Event]:
        nonlocal found
        found = yield from lookup.read(target.records)

    display.events(events())
    return found


def _foretold(result: Result) -> Iterator[str]:
    """Yield what a list would have detected."""
    for gap in result.gaps:
        yield f"Coverage: {gap}."
    if not result.transactions:
        yield "What the list would have detected is not known: no transactions were published in that time."
        return
    detected, added, removed = (result.tallies[side] for side in (DETECTED, ADDED, REMOVED))
    yield (
        f"{tables.plural(result.transactions, 'transaction')}, published from {iso(result.first)} through"
        f" {iso(result.last)}, of which {detected.transactions:,} were detected: the list would have added"
        f" {_tallied(added)}, and removed {_tallied(removed)}."
    )


def _tallied(tally: Tally) -> str:
    if not tally.transactions:
        return "none"
    accounts = tables.plural(tally.accounts, "account")
    return f"{tally.transactions:,} of {accounts} ({tables.money(tally.amount)}, at most {tally.hour_max:,} an hour)"


def _more(steps: Sequence[Step], ended: int) -> Iterator[str]:
    if ended:
        yield f"{tables.plural(ended, 'flag')} of the list that ended before now, left out."
    many = sum(step.events_known + len(step.events) >= MANY_EVENTS for step in steps if step.events)
    if many:
        yield (
            f"{tables.plural(many, 'account')} with {MANY_EVENTS} flag events or more; the last {KEPT_EVENTS} of an"
            " account count."
        )


def _check(step: Step, flag: Wanted | None, name: str, limits: Limits, now: int) -> None:
    """Raise `BadConfig` when what is flagged, or flagged for longer, is not within the limits of fraudctl.toml."""
    if flag is None or step.change in _LESS:
        return
    where = f"file {name}: line {flag.line}: account {flag.account}: "
    if flag.reason is not None and limits.reasons and flag.reason not in limits.reasons:
        raise BadConfig(
            f"{where}reason {flag.reason!r} is not one of the setting reasons",
            hint=f"the reasons are {', '.join(map(repr, limits.reasons))}",
        )
    longest = limits.longest_ms
    start, end = step.after[-1]
    if longest is not None and (end is None or end - max(start, now) > longest):
        until = "without an end" if end is None else f"until {iso(end)}"
        raise BadConfig(
            f"{where}flagged {until}: the setting longest allows {limits.longest}",
            hint=f"write an until of {limits.longest}, or an earlier one",
        )
