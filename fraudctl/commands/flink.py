"""fraudctl flink: the Flink application."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fraudctl import tables
from fraudctl.clock import Clock
from fraudctl.context import Context
from fraudctl.pipeline.text import iso
from fraudctl.tables import Column

_SAVEPOINTS: Final = (
    Column("created_at", text=tables.short_time),
    Column("kind"),
    Column("size_bytes", drop=1, heading="size", text=tables.size),
    Column("location", heading="state", text=lambda location: PurePath(location).name),
)
# The application's own metrics → how people read them.
_METRICS: Final = {
    "transactionsIn": "transactions read",
    "flagsIn": "flag events read",
    "detected": "detected",
    "pending": "pending",
    "deadLetters": "dead letters",
    "lateFlagsApplied": "late flags applied",
    "eventTimeLagMs": "event time lag",
    "restarts": "restarts",
    "runningMs": "running for",
    "restartingMs": "restarting for",
    "recordsLagMax": "most records behind",
}

if TYPE_CHECKING:
    from fraudctl.target import FlinkStatus, Savepoint

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
    Example: fraudctl flink stop --no-savepoint
    """
    context: Context = ctx.obj
    running = context.running
    with running.lock():
        context.render.events(running.flink.stop(savepoint=savepoint))


@app.command()
def status(ctx: typer.Context) -> None:
    """Show the application's state, its newest checkpoint and its counters.

    Example: fraudctl flink status
    Example: fraudctl flink status -o json
    """
    context: Context = ctx.obj
    flink, render = context.running.flink, context.render
    found = flink.status()
    if render.structured:
        times = {name: iso(getattr(found, name)) for name in ("started_at", "checkpoint_at", "metrics_at")}
        render.record({**asdict(found), **times})
        return
    now = Clock().now() * 1000
    if found.state != "STOPPED":
        render.record(_for_people(found, now))
        return
    states = flink.savepoints()
    last = {"last operation": found.last_operation} if found.last_operation else {}
    failure = {"last failure": found.exception} if found.exception else {}
    render.record({"state": found.state, **last, **(_resumes(states[0], now) if states else {}), **failure})
    start = "from this state" if states else "without state: it reads both topics from the beginning"
    render.note(f"Start it {start} with `fraudctl flink start`.")


@app.command()
def savepoints(ctx: typer.Context) -> None:
    """List the states that the application can start from, newest first.

    Example: fraudctl flink savepoints
    Example: fraudctl flink savepoints -o json
    """
    context: Context = ctx.obj
    listed = context.render.rows(
        [{**asdict(found), "created_at": iso(found.created_at)} for found in context.running.flink.savepoints()],
        _SAVEPOINTS,
        empty="No savepoints or checkpoints yet.",
    )
    if listed and not context.render.structured:
        context.render.note(f"{tables.plural(listed, 'state')}, newest first ({tables.today()}).")


def _for_people(found: FlinkStatus, now: float) -> dict[str, Any]:
    """Return the status of a job in words; `now` is in epoch milliseconds."""
    counts = ((found.checkpoints_completed, "completed"), (found.checkpoints_failed, "failed"))
    checkpoints = ", ".join(f"{number:,} {what}" for number, what in counts if number is not None)
    size = "" if found.checkpoint_bytes is None else f", {tables.size(found.checkpoint_bytes)}"
    if found.checkpoint_at is not None:
        checkpoints += f"; newest {_ago(found.checkpoint_at, now)}{size}"
    elif checkpoints and size:
        checkpoints += f"; newest{size.removeprefix(',')}"
    metrics = {
        _METRICS.get(name, name): tables.duration(value) if name.endswith("Ms") else tables.count(value)
        for name, value in found.metrics.items()
    }
    rows = {
        "state": found.state,
        "note": found.note,
        "last operation": found.last_operation,
        "up": found.started_at and tables.duration((now - found.started_at) // 1000 * 1000),
        "job id": found.job_id,
        "web UI": found.web_ui,
        "checkpoints": checkpoints or None,
        "restored from": found.restored_from,
        "last failure": found.exception,
        **metrics,
        "metrics as of": found.metrics_at and _ago(found.metrics_at, now),
    }
    return {name: value for name, value in rows.items() if value is not None}


def _resumes(newest: Savepoint, now: float) -> dict[str, str]:
    """Return what is known of a stopped application: a savepoint was taken when it stopped, a checkpoint before."""
    when = f"{iso(newest.created_at)} ({_ago(newest.created_at, now)})"
    stopped = {"stopped": when} if newest.kind == "savepoint" else {"newest state of": when}
    size = {} if newest.size_bytes is None else {"size": tables.size(newest.size_bytes)}
    return {**stopped, newest.kind: newest.location, **size}


def _ago(moment: int, now: float) -> str:
    return f"{tables.duration(max(now - moment, 0) // 1000 * 1000) if now - moment >= 1000 else 'less than 1 s'} ago"  # noqa: PLR2004 - a second
