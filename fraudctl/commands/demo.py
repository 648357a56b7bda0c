"""fraudctl demo."""

import time

import typer

from fraudctl.commands.audit import row_of
from fraudctl.context import Context
from fraudctl.services import demo as service
from fraudctl.services import deploy


def demo(ctx: typer.Context) -> None:
    """Deploy, flag a few accounts and show the first fraud.

    Ends with a stopwatch: time to ready, from flag to the first processed record, to the first audit row.

    Example: fraudctl demo
    """
    context: Context = ctx.obj
    target, render = context.target, context.render
    begun = time.monotonic()
    with target.lock():
        plan = target.stack.plan(samples=True)
        if plan.changes:
            render.consent(plan, f"Deploy {plan.stack}", given=False)
            render.events(deploy.run(target, plan))
    ready = time.monotonic() - begun
    since, started = int(time.time() * 1000), time.monotonic()
    flags = service.flag(target)
    render.note(f"Flagged accounts {', '.join(str(flag['account_id']) for flag in flags)}.")
    first = service.watch(target, flags, started, since)
    render.note("The first fraud, as it lies in the audit table:")
    render.record(row_of(first.row))
    render.note(
        f"ready in {ready:.1f} s · flag to first processed record {first.to_processed:.2f} s"
        f" · flag to first audit row {first.to_audit:.2f} s"
    )
    render.note("running; stop it with `fraudctl teardown`")
