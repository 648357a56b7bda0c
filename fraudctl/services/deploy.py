"""Deploy: stack (its topics and table in it), Flink and schedule as one stream of events, on any target."""

from collections.abc import Iterator

from fraudctl.target import Event, Phase, Plan, Target


def run(target: Target, plan: Plan) -> Iterator[Event]:
    """Apply the plan, then see to application and schedule. Hold the stack's lock."""
    yield from target.stack.apply(plan)
    yield from target.flink.start()
    if plan.samples is True:
        target.schedule.start()
    elif plan.samples is False:
        target.schedule.stop()
    on = target.schedule.status().enabled
    yield Event("samples", Phase.DONE, "10 sample transactions a second" if on else "off")
