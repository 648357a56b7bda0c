"""fraudctl ui: web pages of the stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from fraudctl.context import Context

if TYPE_CHECKING:
    from fraudctl.target import Page

app = typer.Typer(no_args_is_help=True, help="Show the stack's web pages.")


@app.command()
def flink(ctx: typer.Context) -> None:
    """Print the address of Flink's own page.

    On AWS it is signed and has to be opened within three minutes.

    Example: fraudctl ui flink
    Example: fraudctl ui flink --target aws
    Example: fraudctl ui flink -o json
    """
    context: Context = ctx.obj
    _open(context, context.running.pages.flink())


@app.command()
def topics(ctx: typer.Context) -> None:
    """Open Kafdrop, a page over the topics, on AWS.

    Prints the command that forwards its port, and runs it until Ctrl-C. Kafdrop is off unless the stack
    was deployed with `--set KafdropEnabled=true`.

    Example: fraudctl ui topics --target aws
    Example: fraudctl ui topics --target aws --region eu-west-1
    """
    context: Context = ctx.obj
    _open(context, context.running.pages.topics())


def _open(context: Context, page: Page) -> None:
    import shlex

    from fraudctl.services import programs

    render = context.render
    if render.structured:
        render.record({"address": page.address, "command": shlex.join(page.command)})
    else:
        render.text(page.address)
    if page.note:
        render.note(page.note)
    if page.command:
        render.note(shlex.join(page.command))
        programs.run(page.command, page.programs)
