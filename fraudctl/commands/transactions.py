"""fraudctl transactions: send sample transactions, or those of a file."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from fraudctl import tables
from fraudctl.commands import completion
from fraudctl.context import Context
from fraudctl.errors import BadConfig
from fraudctl.services.read_options import FileFormat, OnError

if TYPE_CHECKING:
    from fraudctl.render import Renderer
    from fraudctl.services.dry_run import DryRun
    from fraudctl.services.transaction_file import Line

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
    from fraudctl.services import transactions as service

    context: Context = ctx.obj
    with context.render.progress() as progress:
        sent = service.generate(
            context.running, count=count, per_second=per_second, seconds=seconds, seed=seed, show=progress.show
        )
    context.render.record({"delivered": sent.delivered, "failed": sent.failed, "seconds": round(sent.seconds, 3)})
    sent.check()


@app.command()
def send(  # noqa: PLR0913 - one for each option
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(help="JSON Lines, a JSON array or CSV, also as .gz or .zst; - for stdin.")],
    file_format: Annotated[
        FileFormat | None, typer.Option("--format", help="Format of the file.", show_default="by its name or content")
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option("--map", metavar="MAP", help="Preset or TOML file that says which column is which field."),
    ] = None,
    zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Time zone of dates without one, like Europe/Berlin.")
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="What separates columns, such as ';' or tab.", show_default="by the header")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Encoding, such as latin-1.", show_default="UTF-8, or UTF-16 with its mark")
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="Skip invalid lines, or send nothing if there is one.")
    ] = OnError.SKIP,
    pace: Annotated[
        str | None,
        typer.Option(metavar="live|100x", help="Send at the distances of the file's dates, moved to now."),
    ] = None,
    topic: Annotated[
        str,
        typer.Option(
            help="Topic; other topics than transactions get what `tail -o json` has written, as it is.",
            autocompletion=completion.topics,
        ),
    ] = "transactions",
    skip: Annotated[
        int, typer.Option(min=0, metavar="N", help="Leave out the first N records of the file, valid or not.")
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the first records and what would be refused; send nothing.")
    ] = False,
) -> None:
    """Send the transactions of a file; invalid lines are listed, and the exit code is 8.

    What `fraudctl tail -o json` has written is sent again with its keys and headers, so a slice of a topic can be
    replayed. An interrupted command says how to go on.

    Example: fraudctl transactions send transactions.csv

    Example: fraudctl transactions send fraudTest.csv --map sparkov --dry-run

    Example: fraudctl transactions send fraudTest.csv.gz --map sparkov --pace 100x

    Example: fraudctl transactions send bank.csv --map bank.toml --zone Europe/Berlin

    Example: fraudctl transactions send dead.jsonl --topic dead-letters
    """
    from fraudctl.services import dry_run as dry_runs
    from fraudctl.services import files, pacing, read_options, topics
    from fraudctl.services import transactions as service
    from fraudctl.target import Event, Phase

    context: Context = ctx.obj
    render = context.render
    options = read_options.checked(file_format, mapping=mapping, zone=zone, delimiter=delimiter, encoding=encoding)
    times = None if pace is None else pacing.speed(pace)
    wanted = topics.named(topic)
    if dry_run and skip:
        raise BadConfig("--skip: not with --dry-run", hint="leave out one of them")

    if dry_run:
        with files.opened(file) as stream:
            _show(render, dry_runs.dry_run(stream, file, options, wanted))
        return

    with files.opened(file) as stream, render.progress() as progress:

        def on_invalid(line: Line) -> None:
            progress.show(Event(line.place, Phase.NOTE, line.text))
            if render.json:
                render.record(line.document())

        sent = service.send(
            lambda: context.running,
            stream,
            file,
            options=options,
            on_error=on_error,
            on_invalid=on_invalid,
            show=progress.show,
            times=times,
            topic=wanted,
            skip=skip,
        )
    render.record(
        {"delivered": sent.delivered, "invalid": sent.invalid, "failed": sent.failed, "seconds": round(sent.seconds, 3)}
    )
    given = {
        "--format": file_format,
        "--map": mapping,
        "--zone": zone,
        "--delimiter": delimiter,
        "--encoding": encoding,
        "--on-error": on_error if on_error is not OnError.SKIP else None,
        "--pace": pace,
        "--topic": topic if topic != "transactions" else None,
        "--skip": sent.done,
    }
    options_again = [text for name, value in given.items() if value is not None for text in (name, str(value))]
    again = f"fraudctl transactions send {shlex.join([file, *options_again])}"
    if sent.interrupted:
        same = " on the same input" if file == "-" else ""
        render.note(f"Interrupted after {tables.plural(sent.done, 'record')}. Go on{same} with `{again}`.")
    sent.check(again)


def _show(render: Renderer, found: DryRun) -> None:
    from fraudctl.services.dry_run import REASON_COLUMNS

    render.rows(found.records, found.columns)
    if render.json:
        render.record({"valid": found.valid, "invalid": found.invalid, "reasons": found.reasons})
    elif render.structured:
        for reason in found.reasons:
            render.note(f"{reason['lines']:,} refused: {reason['reason']} ({reason['first']})")
    else:
        render.text("")
        render.record({"valid": found.valid, "invalid": found.invalid})
        if found.reasons:
            render.text("")
            render.rows(found.reasons, REASON_COLUMNS)
    if found.note:
        render.note(found.note)
    found.check()


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
