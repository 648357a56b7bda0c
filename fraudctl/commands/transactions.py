"""fraudctl transactions: send sample transactions, or those of a file."""

from typing import Annotated

import typer

from fraudctl.context import Context
from fraudctl.services import files
from fraudctl.services import transactions as service
from fraudctl.services.transaction_file import FileFormat, Line
from fraudctl.services.transactions import OnError
from fraudctl.target import Event, Phase

app = typer.Typer(no_args_is_help=True, help="Send transactions, from a file or generated.")


@app.command()
def generate(
    ctx: typer.Context,
    count: Annotated[int | None, typer.Option(min=0, help="Number of transactions.", show_default="1000")] = None,
    per_second: Annotated[float | None, typer.Option(min=0.01, help="Send at this rate, until Ctrl-C.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop after this time; needs --per-second.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed: the same one generates the same transactions, except for their dates.")
    ] = None,
) -> None:
    """Send sample transactions now, at full speed or at a given rate.

    Example: fraudctl transactions generate --count 100000
    """
    context: Context = ctx.obj
    with context.render.progress() as progress:
        sent = service.generate(
            context.running, count=count, per_second=per_second, seconds=seconds, seed=seed, show=progress.show
        )
    context.render.record({"delivered": sent.delivered, "failed": sent.failed, "seconds": round(sent.seconds, 3)})
    sent.check()


@app.command()
def send(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(help="JSON Lines, or CSV with a header; - for stdin.")],
    file_format: Annotated[
        FileFormat | None, typer.Option("--format", help="Format of the file.", show_default="by its name or content")
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="Skip invalid lines, or send nothing if there is one.")
    ] = OnError.SKIP,
) -> None:
    """Send the transactions of a file; invalid lines are listed, and the exit code is 8.

    Example: fraudctl transactions send transactions.csv
    """
    context: Context = ctx.obj
    render = context.render

    with files.opened(file) as stream, render.progress() as progress:

        def on_invalid(line: Line) -> None:
            progress.show(Event(f"line {line.number}", Phase.NOTE, line.reason))
            if render.json:
                render.record({"line": line.number, "reason": line.reason})

        sent = service.send(
            lambda: context.running,
            stream,
            file,
            file_format=file_format,
            on_error=on_error,
            on_invalid=on_invalid,
            show=progress.show,
        )
    render.record(
        {"delivered": sent.delivered, "invalid": sent.invalid, "failed": sent.failed, "seconds": round(sent.seconds, 3)}
    )
    sent.check()


@app.command()
def start(ctx: typer.Context) -> None:
    """Switch on sample transactions, 10 a second.

    Example: fraudctl transactions start
    """
    context: Context = ctx.obj
    changed = context.running.schedule.start()
    context.render.note("Sample transactions are on." if changed else "Sample transactions are already on.")


@app.command()
def stop(ctx: typer.Context) -> None:
    """Switch off sample transactions; on AWS, the current minute's batch still arrives.

    Example: fraudctl transactions stop
    """
    context: Context = ctx.obj
    changed = context.running.schedule.stop()
    context.render.note("Sample transactions are off." if changed else "Sample transactions are already off.")
