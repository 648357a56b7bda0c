"""fraudctl flink: the Flink application."""

from dataclasses import asdict
from typing import Annotated

import typer

from fraudctl.context import Context
from fraudctl.pipeline.text import iso

app = typer.Typer(no_args_is_help=True, help="Start, stop and inspect the Flink application.")


@app.command()
def start(
    ctx: typer.Context,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start without state: read both topics from the beginning.")
    ] = False,
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Go on without records that were deleted unread, and record them as lost."),
    ] = False,
) -> None:
    """Start the application from its newest state and wait until it runs.

    Refused while records are gone that it, or AuditWriter, has not read.

    Example: fraudctl flink start
    """
    context: Context = ctx.obj
    running = context.running
    with running.lock():
        context.render.events(running.flink.start(fresh=fresh, accept_loss=accept_loss))


@app.command()
def stop(
    ctx: typer.Context,
    savepoint: Annotated[bool, typer.Option("--savepoint/--no-savepoint", help="Take a savepoint first.")] = True,
) -> None:
    """Stop the application, with a savepoint by default.

    Example: fraudctl flink stop
    """
    context: Context = ctx.obj
    running = context.running
    with running.lock():
        context.render.events(running.flink.stop(savepoint=savepoint))


@app.command()
def status(ctx: typer.Context) -> None:
    """Show the application's state, its newest checkpoint and its counters.

    Example: fraudctl flink status
    """
    context: Context = ctx.obj
    found = context.running.flink.status()
    times = {name: iso(getattr(found, name)) for name in ("started_at", "checkpoint_at", "metrics_at")}
    context.render.record({**asdict(found), **times})


@app.command()
def savepoints(ctx: typer.Context) -> None:
    """List the states that the application can start from, newest first.

    Example: fraudctl flink savepoints
    """
    context: Context = ctx.obj
    context.render.rows(
        [{**asdict(found), "created_at": iso(found.created_at)} for found in context.running.flink.savepoints()],
        ("created_at", "kind", "size_bytes", "location"),
        empty="No savepoints or checkpoints yet.",
    )
