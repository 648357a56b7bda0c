"""fraudctl dead-letters: what was malformed or could not be written, why, and back into the pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fraudctl import tables
from fraudctl.commands import completion
from fraudctl.context import Context
from fraudctl.services.dead_letters.by import By, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fraudctl.render import Renderer
    from fraudctl.services.dead_letters.aside import Rewrite
    from fraudctl.services.dead_letters.letters import Wanted
    from fraudctl.services.dead_letters.redrive import Edit, Redrive
    from fraudctl.tables import Column

app = typer.Typer(no_args_is_help=True, help="See what was set aside, why, and send it back.")

_From = Annotated[
    Source,
    typer.Option(
        "--from",
        help="Malformed input, in the topic dead_letters; or what AuditWriter put into its on-failure destination.",
    ),
]
_Since = Annotated[
    str | None, typer.Option(help="Set aside from this time on: 15m, 2h, 1d (ago), 09:30, 2026-11-24T10:15:30Z.")
]
_Until = Annotated[str | None, typer.Option(help="Set aside before this time, written like --since, or now.")]
_Where = Annotated[
    str | None,
    typer.Option(metavar="FILTER", help="Letters for which this holds: 'record.headers.error like \"amount%\"'."),
]


@app.command("list")
def list_(
    ctx: typer.Context,
    by: Annotated[By, typer.Option(help="What to count by; letter counts nothing and shows each.")] = By.ERROR,
    source: _From = Source.TOPIC,
    since: _Since = None,
    until: _Until = None,
    where: _Where = None,
    fields: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="Columns to show, in every format: error,count.", autocompletion=completion.letters
        ),
    ] = None,
) -> None:
    """Count dead letters by what is wrong with them, with a sample of each kind.

    Times are those of setting aside. `redriven` counts letters that were sent again and came back, `parked` those that
    came back three times.

    Example: fraudctl dead-letters list
    Example: fraudctl dead-letters list --by letter --since 1h
    Example: fraudctl dead-letters list --by partition --where 'record.headers.error like "not JSON%"'
    Example: fraudctl dead-letters list --from on-failure -o json
    """
    from fraudctl.services.dead_letters import aside, letters
    from fraudctl.services.dead_letters.groups import Groups

    context: Context = ctx.obj
    render, groups, wanted = context.render, Groups(by), _wanted(context, (), since, until, where)
    if source is Source.TOPIC:
        letters.read(context.running.records, wanted, groups.add)
    else:
        for found in aside.read(context.running, wanted):
            groups.add(found.letter)
    columns = groups.columns()
    names, rows = letters.chosen(groups.rows(), fields, (column.name for column in columns))
    asked = any(option is not None for option in (since, until, where))
    render.rows(
        rows,
        columns if names is None else [column for name in names for column in columns if column.name == name],
        empty="No dead letters found." if asked else "No dead letters.",
    )
    if not groups.total:
        return
    more = "" if source is Source.TOPIC else " --from on-failure"
    when = "UTC" if render.structured else tables.today()
    render.note(f"{tables.plural(groups.total, 'dead letter')} ({when}).")
    render.note(f"Next: `fraudctl dead-letters show {groups.newest.name}{more}`.")


@app.command()
def show(
    ctx: typer.Context,
    letter: Annotated[
        str, typer.Argument(metavar="PARTITION:OFFSET", help="Letter.", autocompletion=completion.letter_places)
    ],
    source: _From = Source.TOPIC,
    raw: Annotated[bool, typer.Option("--raw", help="The bytes alone, as they are; never on a terminal.")] = False,
) -> None:
    """Show one dead letter: its bytes, a caret below what is wrong, where it comes from.

    Bytes that are no text are shown in hexadecimal.

    Example: fraudctl dead-letters show 0:42
    Example: fraudctl dead-letters show 0:42 -o json
    Example: fraudctl dead-letters show 0:42 --raw > letter.json
    """
    from fraudctl.services.dead_letters import aside, letters, shown

    context: Context = ctx.obj
    render, place = context.render, letters.place(letter)
    if source is Source.TOPIC:
        found = letters.one(context.running.records, place)
    else:
        found = aside.one(context.running, letters.Wanted(places=frozenset({place})))
    if raw:
        render.batches([[found]], shown.Raw())
        return
    if render.structured:
        document = shown.document(found)
        render.rows([document], list(document))
        return
    render.record(shown.facts(found))
    render.text("")
    for line in shown.lines(found):
        render.text(line)
    render.note(shown.next_step(found, source))


@app.command()
def redrive(  # noqa: PLR0913 - the options
    ctx: typer.Context,
    given: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PARTITION:OFFSET]...", help="Letters; all by default.", autocompletion=completion.letter_places
        ),
    ] = None,
    source: _From = Source.TOPIC,
    since: _Since = None,
    until: _Until = None,
    where: _Where = None,
    edit: Annotated[bool, typer.Option("--edit", help="Open each in $VISUAL or $EDITOR first.")] = False,
    most: Annotated[int | None, typer.Option("--max", min=1, help="Send at most N, the oldest first.")] = None,
    parked: Annotated[bool, typer.Option("--parked", help="Those too that came back three times.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent; send nothing.")] = False,
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="How long to wait for the application to read them; 0s not at all.")
    ] = "2m",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Send dead letters to the topics that they come from again, and wait for what becomes of them.

    What was sent again before is left out, so the command can be interrupted and repeated. Exits 8 if one came back.
    What AuditWriter put aside goes to AuditWriter again. All of it is in docs/dead-letters.md.

    Example: fraudctl dead-letters redrive 0:42 --edit
    Example: fraudctl dead-letters redrive --where 'record.headers.error like "amount%"' --dry-run
    Example: fraudctl dead-letters redrive --since 1h --max 100 --yes
    Example: fraudctl dead-letters redrive --from on-failure
    """
    from fraudctl import config
    from fraudctl.errors import BadConfig
    from fraudctl.services import time_options
    from fraudctl.services.dead_letters import aside, editing, outcomes
    from fraudctl.services.dead_letters import redrive as service

    context: Context = ctx.obj
    render = context.render
    wanted = _wanted(context, given or (), since, until, where)
    seconds = time_options.duration(timeout, "--timeout") / 1000
    if source is Source.ON_FAILURE:
        if edit or parked:
            name = "--edit" if edit else "--parked"
            raise BadConfig(
                f"{name}: not with --from on-failure", hint="a row has to say what its record in Kafka says"
            )
        rewrite = aside.Rewrite(context.running, wanted, most=most)
        _run(context, rewrite, aside.COLUMNS, "Write {} again", dry_run=dry_run, yes=yes, named=bool(given))
        return
    work = service.Redrive(context.running, wanted, most=most, parked=parked)
    editor = editing.editor(config.editor(), render.note) if edit else None
    _run(
        context,
        work,
        outcomes.COLUMNS,
        "Send {} again",
        dry_run=dry_run,
        yes=yes,
        named=bool(given),
        editor=editor,
        wait=seconds,
    )


def _run(  # noqa: PLR0913 - the options
    context: Context,
    work: Redrive | Rewrite,
    columns: Sequence[Column],
    question: str,
    *,
    dry_run: bool,
    yes: bool,
    named: bool,
    editor: Edit | None = None,
    wait: float = 0,
) -> None:
    """Read, plan, ask, send and wait, and print what became of each letter."""
    from fraudctl.services.dead_letters.redrive import Redrive

    render = context.render
    render.events(work.read())
    if editor is not None and isinstance(work, Redrive):
        work.edit(editor)
    plan = work.plan()
    render.plan(plan)
    if dry_run or not plan.changes:
        _outcomes(render, work, columns, everything=named or render.structured or dry_run)
        render.note("This is the plan; nothing was sent." if plan.changes else "There is nothing to send.")
        return
    number = tables.plural(len(work.items), "dead letter")
    render.consent(plan, question.format(number), f"Sending {number} again", given=yes)
    try:
        with context.running.lock():
            render.events(work.send())
        if isinstance(work, Redrive) and wait:
            render.events(work.wait(wait))
    except KeyboardInterrupt:
        render.note("Interrupted. Run the same command again: what was sent is not sent a second time.")
        raise
    finally:
        if any(item.outcome != "ready" for item in work.items) or not work.items:
            _outcomes(render, work, columns, everything=named or render.structured)
    work.check()


def _outcomes(render: Renderer, work: Redrive | Rewrite, columns: Sequence[Column], *, everything: bool) -> None:
    render.rows((item.row() for item in (*work.items, *(work.left if everything else ()))), columns)


def _wanted(context: Context, places: Sequence[str], since: str | None, until: str | None, where: str | None) -> Wanted:
    from fraudctl.services import time_options
    from fraudctl.services.dead_letters import letters
    from fraudctl.services.where import compile_where

    note = context.render.note
    found = frozenset(letters.place(place) for place in places)
    first, end = time_options.span(since, until, note=note)
    compiled = None if where is None else compile_where(where)
    for line in () if compiled is None else compiled.notes:
        note(line)
    return letters.Wanted(found, first, end, compiled)
