"""fraudctl deploy and fraudctl teardown."""

from collections.abc import Sequence
from typing import Annotated

import typer

from fraudctl.config import MOST_PARALLELISM, MOST_PARTITIONS
from fraudctl.context import Context
from fraudctl.errors import BadConfig

_READY = "Ready. Next: `fraudctl flag-accounts`, `fraudctl tail processed`, `fraudctl audit query`."


def deploy(  # noqa: PLR0913 - the command's options
    ctx: typer.Context,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    samples: Annotated[
        bool | None,
        typer.Option(
            "--samples/--no-samples",
            help="Switch sample transactions on or off.",
            show_default="unchanged; on in a new stack",
        ),
    ] = None,
    partitions: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_PARTITIONS, help="Partitions of each topic.", show_default="unchanged; 4"),
    ] = None,
    parallelism: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_PARALLELISM, help="Tasks of the application.", show_default="unchanged; 1"),
    ] = None,
    parameters: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Set a parameter of the stack (AWS).")
    ] = None,
    allowed: Annotated[
        list[str] | None,
        typer.Option("--allow-replacement", metavar="ID", help="Allow this resource to be replaced, losing its data."),
    ] = None,
    attach: Annotated[bool, typer.Option("--attach", help="Follow a deploy that is running in AWS.")] = False,
    continue_rollback: Annotated[
        bool, typer.Option("--continue-rollback", help="Finish a rollback that failed.")
    ] = False,
    skip: Annotated[
        list[str] | None, typer.Option("--skip", metavar="ID", help="Skip this resource in --continue-rollback.")
    ] = None,
) -> None:
    """Deploy the whole pipeline, or repair it.

    Returns when the application runs and transactions flow. A stack that is up to date is left unchanged.

    Example: fraudctl deploy
    Example: fraudctl deploy --plan
    Example: fraudctl deploy --stack two --no-samples
    Example: fraudctl deploy --partitions 8 --parallelism 4
    Example: fraudctl deploy --target aws --yes
    """
    from fraudctl.services import deploy as service
    from fraudctl.target import Options

    context: Context = ctx.obj.having(partitions=partitions, parallelism=parallelism)
    target, render = context.target, context.render
    options = Options(_pairs(parameters or ()), frozenset(allowed or ()))
    if skip and not continue_rollback:
        raise BadConfig("--skip: needs --continue-rollback", hint="run `fraudctl deploy --continue-rollback --skip ID`")
    if plan:
        planned = service.preview(target, render, samples=samples, options=options)
        up_to_date = f"{planned.stack} is up to date."
        render.note("This is the plan; nothing was changed." if planned.changes else up_to_date)
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
        applied = service.deploy(target, render, samples=samples, options=options, confirmed=yes)
    render.note(_READY if applied.changes else f"{applied.stack} is up to date.")


def teardown(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    keep_data: Annotated[bool, typer.Option("--keep-data", help="Keep topics, rows and checkpoints.")] = False,
) -> None:
    """Stop and remove the stack.

    Checks at the end that nothing of it is left. Where there is no stack, there is nothing to do.

    Example: fraudctl teardown
    Example: fraudctl teardown --yes
    Example: fraudctl teardown --keep-data --yes
    """
    from fraudctl.services import deploy as service

    context: Context = ctx.obj
    target, render = context.target, context.render
    with target.lock():
        plan = service.teardown(target, render, keep_data=keep_data, confirmed=yes)
    if plan is None:
        render.note(f"Stack {context.settings.stack}: nothing to tear down.")
        return
    left = "its data is kept; `fraudctl deploy` brings it back" if keep_data else plan.outcome
    render.note(f"{plan.stack} is gone: {left}.")


def pause(ctx: typer.Context) -> None:
    """Switch off samples, application and event source mapping, and keep everything.

    The application stops with a snapshot, from which `fraudctl resume` goes on. Locally every process stops; on AWS the
    cluster goes on and costs, for it cannot be paused. `fraudctl deploy` resumes too.

    Example: fraudctl pause
    Example: fraudctl pause --target aws
    """
    from fraudctl.clock import Clock
    from fraudctl.services import pausing

    context: Context = ctx.obj
    target, render = context.target, context.render
    with target.lock():
        render.events(pausing.pause(target, Clock()))
        saving = target.stack.saving()
    for line in saving:
        render.note(line)
    render.note("Paused. Next: `fraudctl resume`.")


def resume(ctx: typer.Context) -> None:
    """Switch on again what `fraudctl pause` switched off; samples only if they were on.

    Example: fraudctl resume
    Example: fraudctl resume --target aws
    """
    from fraudctl.services import pausing

    context: Context = ctx.obj
    target, render = context.target, context.render
    with target.lock():
        render.events(pausing.resume(target))
    render.note(_READY)


def _pairs(given: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not (name and equals):
            raise BadConfig(
                f"--set {item}: needs a name and a value", hint="write --set KafkaInstanceType=kafka.m7g.xlarge"
            )
        pairs[name] = value
    return pairs
