"""fraudctl demo."""

from typing import Annotated

import typer

from fraudctl.clock import Clock
from fraudctl.context import Context


def demo(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Deploy, flag a few accounts and show the first detection.

    Reports the seconds until the stack was ready, and from the flag to the first processed record and audit row.

    Example: fraudctl demo
    Example: fraudctl demo --yes --stack trial
    """
    from fraudctl.services import demo as service
    from fraudctl.services import deploy
    from fraudctl.services.audit.rows import cells

    context: Context = ctx.obj
    target, render, clock = context.target, context.render, Clock()
    begun = clock.monotonic()
    with target.lock():
        deploy.deploy(target, render, samples=True, confirmed=yes)
    ready = clock.monotonic() - begun
    flagged = service.flag(target, clock)
    render.note(f"Flagged accounts {', '.join(str(flag['account_id']) for flag in flagged.flags)}.")
    first = service.first_detection(target, flagged, clock)
    render.note("The first detection, as stored in the audit table:")
    render.record(cells(first.row))
    render.note(
        f"ready in {ready:.1f} s · flag to first processed record {first.to_processed:.2f} s"
        f" · flag to first audit row {first.to_audit:.2f} s"
    )
    render.note("The stack is running. Stop it with `fraudctl teardown`.")
