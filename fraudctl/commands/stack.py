"""fraudctl deploy and fraudctl teardown."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from fraudctl.context import Context
from fraudctl.errors import BadConfig
from fraudctl.services import deploy as service
from fraudctl.target import Options, Plan, Stack

_READY = "Ready. Next: `fraudctl flag-accounts`, `fraudctl tail processed`, `fraudctl audit query`."


def deploy(  # noqa: PLR0913 - the command's options
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
    parameters: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Set a parameter of the stack (AWS).")
    ] = None,
    allowed: Annotated[
        list[str] | None,
        typer.Option("--allow-replacement", metavar="ID", help="Let this component be replaced, with all it holds."),
    ] = None,
    attach: Annotated[bool, typer.Option("--attach", help="Follow a deploy that is running in AWS.")] = False,
    continue_rollback: Annotated[
        bool, typer.Option("--continue-rollback", help="Finish a rollback that got stuck.")
    ] = False,
    skip: Annotated[
        list[str] | None, typer.Option("--skip", metavar="ID", help="Leave this out of --continue-rollback.")
    ] = None,
) -> None:
    """Deploy the whole pipeline, or repair it.

    Ends when the application runs and transactions flow. A stack that is as it should be is left alone.

    Example: fraudctl deploy
    """
    context: Context = ctx.obj
    target, render = context.target, context.render
    options = Options(_pairs(parameters or ()), frozenset(allowed or ()))
    if skip and not continue_rollback:
        raise BadConfig(
            "--skip: it goes with --continue-rollback", hint="fraudctl deploy --continue-rollback --skip ID"
        )
    if plan:
        render.events(target.stack.prepare())
        with _planned(target.stack, samples, options) as planned:
            if planned.changes:
                render.plan(planned)
            render.note("This is the plan; nothing was changed." if planned.changes else _up_to_date(planned))
        return
    with target.lock():
        if continue_rollback:
            render.events(target.stack.continue_rollback(skip or ()))
            render.note("The rollback is finished. Next: `fraudctl deploy`.")
            return
        if attach:
            render.events(service.attach(target))
            render.note(_READY)
            return
        render.events(target.stack.prepare())
        with _planned(target.stack, samples, options) as planned:
            if not planned.changes:
                render.note(_up_to_date(planned))
                return
            render.plan(planned)
            service.guard(planned)
            render.consent(planned, f"Deploy {planned.stack}", given=yes)
            render.events(service.run(target, planned))
    render.note(_READY)


def teardown(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    keep_data: Annotated[bool, typer.Option("--keep-data", help="Keep topics, rows and checkpoints.")] = False,
) -> None:
    """Stop and remove the stack.

    Checks at the end that nothing of it is left.

    Example: fraudctl teardown --yes
    """
    context: Context = ctx.obj
    target, render = context.target, context.render
    with target.lock():
        plan = target.stack.plan_teardown(keep_data=keep_data)
        render.plan(plan)
        render.consent(plan, f"Tear down {plan.stack}", given=yes)
        render.events(service.teardown(target, plan))
    left = "its data is kept; `fraudctl deploy` brings it back" if keep_data else plan.outcome
    render.note(f"{plan.stack} is gone: {left}.")


@contextmanager
def _planned(stack: Stack, samples: bool | None, options: Options) -> Iterator[Plan]:
    planned = stack.plan(samples=samples, options=options)
    try:
        yield planned
    finally:
        stack.discard(planned)


def _up_to_date(planned: Plan) -> str:
    return f"{planned.stack} is up to date."


def _pairs(given: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not (name and equals):
            raise BadConfig(
                f"--set {item}: it needs a name and a value", hint="--set KafkaInstanceType=kafka.m7g.xlarge"
            )
        pairs[name] = value
    return pairs
