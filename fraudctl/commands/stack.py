"""fraudctl deploy and fraudctl teardown."""

from typing import Annotated

import typer

from fraudctl.context import Context
from fraudctl.services import deploy as service


def deploy(
    ctx: typer.Context,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done, then stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    samples: Annotated[
        bool | None,
        typer.Option(
            "--samples/--no-samples",
            help="Let sample transactions flow, or not.",
            show_default="as before; on in a new stack",
        ),
    ] = None,
) -> None:
    """Deploy the whole pipeline, or repair it, until transactions flow.

    Example: fraudctl deploy
    """
    context: Context = ctx.obj
    target, render = context.target, context.render
    planned = target.stack.plan(samples=samples)
    if not planned.changes:
        render.note(f"{planned.stack} is up to date.")
        return
    if plan:
        render.plan(planned)
        render.note("This is the plan; nothing was changed.")
        return
    with target.lock():
        planned = target.stack.plan(samples=samples)  # again: another command may just have done it
        render.plan(planned)
        render.consent(planned, f"Deploy {planned.stack}", given=yes)
        render.events(service.run(target, planned))
    render.note("Ready. Next: `fraudctl flag-accounts`, `fraudctl tail processed`, `fraudctl audit query`.")


def teardown(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    keep_data: Annotated[bool, typer.Option("--keep-data", help="Keep topics, rows and checkpoints.")] = False,
) -> None:
    """Stop and remove the stack, and check that nothing of it is left.

    Example: fraudctl teardown --yes
    """
    context: Context = ctx.obj
    target, render = context.target, context.render
    with target.lock():
        plan = target.stack.plan_teardown(keep_data=keep_data)
        render.plan(plan)
        render.consent(plan, f"Tear down {plan.stack}", given=yes)
        render.events(target.stack.teardown(plan, keep_data=keep_data))
    left = "its data is kept; `fraudctl deploy` brings it back" if keep_data else "no process, port or file is left"
    render.note(f"{plan.stack} is gone: {left}.")
