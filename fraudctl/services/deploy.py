"""Deploy: stack (its topics and table in it), Flink and schedule as one stream of events, on any target."""

from collections.abc import Generator, Iterator

from fraudctl.errors import Refused
from fraudctl.services.inside import interruptible
from fraudctl.target import Event, Phase, Plan, Target


def guard(plan: Plan) -> None:
    """Raise `Refused` when the plan would replace or remove what holds data."""
    if plan.refusals:
        allow = " ".join(f"--allow-replacement {change.component}" for change in plan.refusals)
        raise Refused(
            f"deploy {plan.stack}: {'; '.join(change.detail for change in plan.refusals)}",
            hint=f"nothing was changed; if that is what you want, add {allow}",
        )


def run(target: Target, plan: Plan) -> Iterator[Event]:
    """Apply the plan, then see to application and schedule. Hold the stack's lock."""
    return interruptible(_run(target, plan))


def attach(target: Target) -> Iterator[Event]:
    """Follow a deploy that goes on without fraudctl, then do what comes after it. Hold the stack's lock."""
    return interruptible(_attach(target))


def teardown(target: Target, plan: Plan) -> Iterator[Event]:
    """Remove the stack. Hold its lock."""
    return interruptible(_teardown(target, plan))


def _run(target: Target, plan: Plan) -> Generator[Event, None, None]:
    yield from target.stack.apply(plan)
    yield from target.flink.start()
    if plan.samples is True:
        target.schedule.start()
    elif plan.samples is False:
        target.schedule.stop()
    yield _samples(target)


def _attach(target: Target) -> Generator[Event, None, None]:
    yield from target.stack.attach()
    yield from target.flink.start()
    yield _samples(target)


def _teardown(target: Target, plan: Plan) -> Generator[Event, None, None]:
    yield from target.stack.teardown(plan)


def _samples(target: Target) -> Event:
    on = target.schedule.status().enabled
    return Event("samples", Phase.DONE, "10 sample transactions a second" if on else "off")
