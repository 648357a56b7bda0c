"""The one way to deploy a stack, and to tear it down, on any target.

A deploy prepares what planning needs, plans, shows the plan, refuses what a guard forbids, asks for confirmation,
applies the plan (topics and table are part of the stack), starts the Flink application and switches the sample
transactions. What planning left behind is discarded in any case.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from fraudctl.errors import NotDeployed, Refused
from fraudctl.services import pausing
from fraudctl.services.interrupts import interruptible
from fraudctl.target import NO_OPTIONS, Change, Event, Options, Paused, Phase, Plan, Stack, Target


class Display(Protocol):
    """What a deploy shows and asks; the renderer of the command line is one."""

    def events(self, events: Iterable[Event]) -> None:
        """Show the events of an operation as they come."""

    def plan(self, plan: Plan) -> None:
        """Show a plan."""

    def consent(self, plan: Plan, question: str, subject: str, *, given: bool) -> None:
        """Ask for the confirmation that the plan needs; raises `Refused`."""


def preview(target: Target, display: Display, *, samples: bool | None = None, options: Options = NO_OPTIONS) -> Plan:
    """Show what deploying would do, and return that plan; nothing is changed."""
    display.events(target.stack.prepare())
    with _planned(target.stack, options, samples=samples) as plan:
        if plan.changes:
            display.plan(plan)
        return plan


def deploy(
    target: Target,
    display: Display,
    *,
    samples: bool | None = None,
    options: Options = NO_OPTIONS,
    confirmed: bool = False,
) -> Plan:
    """Deploy, and return the plan that was applied; one without changes means that the stack was up to date.

    Hold the stack's lock. Raises `Refused` when the plan would replace or remove what holds data, or is not confirmed.
    """
    display.events(target.stack.prepare())
    with _planned(target.stack, options, samples=samples) as plan:
        if plan.changes:
            display.plan(plan)
            guard(plan)
            display.consent(plan, f"Deploy {plan.stack}", f"Deploying {plan.stack}", given=confirmed)
            display.events(run(target, plan))
        return plan


def teardown(target: Target, display: Display, *, keep_data: bool, confirmed: bool = False) -> Plan | None:
    """Tear down, and return the plan that was applied; None when there is no stack.

    Hold the stack's lock. Raises `Refused` unless confirmed.
    """
    try:
        plan = target.stack.plan_teardown(keep_data=keep_data)
    except NotDeployed:
        return None
    display.plan(plan)
    display.consent(plan, f"Tear down {plan.stack}", f"Tearing down {plan.stack}", given=confirmed)
    display.events(interruptible(_teardown(target, plan)))
    return plan


def guard(plan: Plan) -> None:
    """Raise `Refused` when the plan would replace or remove what holds data."""
    if plan.refusals:
        allow = " ".join(f"--allow-replacement {change.component}" for change in plan.refusals)
        raise Refused(
            f"deploy {plan.stack}: {'; '.join(change.detail for change in plan.refusals)}",
            hint=f"nothing was changed; to replace it with all it holds, run `fraudctl deploy {allow}`",
        )


def run(target: Target, plan: Plan) -> Iterator[Event]:
    """Apply the plan, then start the application and switch the schedule. Hold the stack's lock."""
    return interruptible(_run(target, plan))


def attach(target: Target) -> Iterator[Event]:
    """Follow a deploy that runs without fraudctl, then start the application. Hold the stack's lock."""
    return interruptible(_attach(target))


@contextmanager
def _planned(stack: Stack, options: Options, *, samples: bool | None) -> Iterator[Plan]:
    plan = stack.plan(samples=samples, options=options)
    try:
        if stack.paused() is not None:
            resumed = Change("resume", "pipeline", "it is paused; a deploy ends with everything running")
            plan = replace(plan, changes=(resumed, *plan.changes))
        yield plan
    finally:
        stack.discard(plan)


def _run(target: Target, plan: Plan) -> Generator[Event, None, None]:
    paused = target.stack.paused()  # an update may take the mark away
    yield from target.stack.apply(plan)
    yield from target.flink.start()
    if plan.samples is True:
        target.schedule.start()
    elif plan.samples is False:
        target.schedule.stop()
    yield _resumed(target, paused, samples=plan.samples)


def _attach(target: Target) -> Generator[Event, None, None]:
    paused = target.stack.paused()
    yield from target.stack.attach()
    yield from target.flink.start()
    yield _resumed(target, paused)


def _resumed(target: Target, paused: Paused | None, *, samples: bool | None = None) -> Event:
    """End a pause, if there is one, with the samples as they were before unless the deploy has decided on them."""
    if paused is None:
        return _samples(target)
    if samples is None:
        pausing.samples(target, paused)
    target.stack.mark(None)
    return _samples(target)


def _teardown(target: Target, plan: Plan) -> Generator[Event, None, None]:
    yield from target.stack.teardown(plan)


def _samples(target: Target) -> Event:
    on = target.schedule.status().enabled
    return Event("samples", Phase.DONE, "10 sample transactions a second" if on else "off")
