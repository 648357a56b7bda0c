"""fraudctl transactions: sample transactions, and real ones from a file."""

from typing import Annotated

import typer

from fraudctl.context import Context
from fraudctl.services import files
from fraudctl.services import transactions as service
from fraudctl.services.transaction_file import FileFormat, Line
from fraudctl.services.transactions import OnError
from fraudctl.target import Event, Phase

app = typer.Typer(no_args_is_help=True, help="Send transactions, from a file or made up.")


@app.command()
def generate(
    ctx: typer.Context,
    count: Annotated[int | None, typer.Option(min=0, help="How many.", show_default="1000")] = None,
    per_second: Annotated[float | None, typer.Option(min=0.01, help="At this pace, until Ctrl-C.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="For so long, with --per-second.")] = None,
    seed: Annotated[int | None, typer.Option(help="Draw the same transactions again, but for their dates.")] = None,
) -> None:
    """Send sample transactions now, as fast as Kafka takes them or at a pace.

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
    file: Annotated[str, typer.Argument(help="JSON Lines or CSV with a header; - for stdin.")],
    file_format: Annotated[
        FileFormat | None, typer.Option("--format", help="What the file is.", show_default="by its name or content")
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="Leave bad lines out, or send nothing if there is one.")
    ] = OnError.SKIP,
) -> None:
    """Send the transactions of a file; lines that are none are listed, then the exit code is 8.

    Example: fraudctl transactions send transactions.csv
    """
    context: Context = ctx.obj
    render = context.render

    with files.opened(file) as stream, render.progress() as progress:

        def bad(line: Line) -> None:
            progress.show(Event(f"line {line.number}", Phase.NOTE, line.reason))
            if render.json:
                render.record({"line": line.number, "reason": line.reason})

        sent = service.send(
            lambda: context.running,
            stream,
            file,
            file_format=file_format,
            on_error=on_error,
            bad=bad,
            show=progress.show,
        )
    render.record(
        {"delivered": sent.delivered, "bad": sent.bad, "failed": sent.failed, "seconds": round(sent.seconds, 3)}
    )
    sent.check()


@app.command()
def start(ctx: typer.Context) -> None:
    """Let sample transactions flow, 10 a second.

    Example: fraudctl transactions start
    """
    context: Context = ctx.obj
    changed = context.running.schedule.start()
    context.render.note("Sample transactions flow." if changed else "Sample transactions flow already.")


@app.command()
def stop(ctx: typer.Context) -> None:
    """Stop the sample transactions; on AWS those of the running minute still come.

    Example: fraudctl transactions stop
    """
    context: Context = ctx.obj
    changed = context.running.schedule.stop()
    context.render.note("No more sample transactions." if changed else "Sample transactions were off already.")
