"""fraudctl flag-accounts, and fraudctl accounts: who is flagged."""

import time
from itertools import islice
from typing import Annotated

import typer

from fraudctl.commands import completion
from fraudctl.context import Context
from fraudctl.errors import NotAsAsked
from fraudctl.services.flags.state import State

app = typer.Typer(no_args_is_help=True, help="Who is flagged, since when, until when, why and by whom.")

_Accounts = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ACCOUNT]...", help="Accounts; all by default.", autocompletion=completion.accounts),
]
_KnownAt = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="By what was known at this time, written like --as-of.", show_default="now"),
]


def flag_accounts(  # noqa: PLR0913 - the options
    ctx: typer.Context,
    accounts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ACCOUNT]...",
            help="Accounts; five sample accounts by default.",
            autocompletion=completion.accounts,
        ),
    ] = None,
    random: Annotated[int | None, typer.Option(help="Flag N of the sample accounts 1000000001 to 1000000010.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Clear the accounts instead of flagging them.")] = False,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="When it takes effect, past or future: 15m, 2h, 1d (ago), 09:30, 2026-11-24, 2026-11-24T10:15:30Z.",
            show_default="now",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="When it ends: 18:00, 2026-12-24, 2026-12-24T10:15:30Z; or how long it lasts from its start on: 30d."
        ),
    ] = None,
    extend: Annotated[
        bool,
        typer.Option("--extend", help="Move the end that is set to --until; 30d there is 30 days after that end."),
    ] = False,
    reason: Annotated[
        str | None,
        typer.Option(help="Reason, stored with every detection.", autocompletion=completion.allowed_reasons),
    ] = None,
    file: Annotated[
        str | None, typer.Option(help="File with one account on each line, or a column account_id; - for stdin.")
    ] = None,
) -> None:
    """Flag accounts as fraudulent, or clear them.

    Example: fraudctl flag-accounts 1000000003 --reason "stolen card"
    Example: fraudctl flag-accounts 1000000003 --until 30d
    Example: fraudctl flag-accounts 1000000003 --extend --until 30d
    Example: fraudctl flag-accounts --clear 1000000003
    """
    from fraudctl.services.accounts import account_file, outcome, publish
    from fraudctl.services.accounts import flag as service

    context: Context = ctx.obj
    limits = service.Limits(context.settings.reasons, context.settings.longest)
    requests = service.flag_requests(
        accounts or (),
        file=None if file is None else account_file.accounts(file),
        random=random,
        clear=clear,
        extend=extend,
        start=start,
        until=until,
        reason=reason,
        limits=limits,
        note=context.render.note,
    )
    now = int(time.time() * 1000)
    target = context.running
    prepared = publish.prepare(target, requests, now, limits=limits, note=context.render.note)
    flags = list(publish.publish(target, prepared.plans, target.caller()))
    context.render.rows(flags, publish.COLUMNS)
    done = publish.published(target, prepared, flags)
    for note in (
        *outcome.holding(done),
        *outcome.undone(requests, prepared, now),
        f"Next: `fraudctl tail processed`, `fraudctl audit query {flags[0]['account_id']}`.",
        outcome.too_late(target, requests, flags),
        *outcome.remarks(requests, prepared, done),
    ):
        if note is not None:
            context.render.note(note)


@app.command("list")
def list_(  # noqa: PLR0913 - the options
    ctx: typer.Context,
    accounts: _Accounts = None,
    flagged: Annotated[bool, typer.Option("--flagged", help="Only what is flagged: --state FLAGGED.")] = False,
    state: Annotated[
        list[State] | None,
        typer.Option(
            case_sensitive=False,
            help="Only this state; may be repeated. SCHEDULED will be flagged, EXPIRED was until an end that was set.",
        ),
    ] = None,
    reason: Annotated[
        list[str] | None,
        typer.Option(help="Only this reason, word for word; may be repeated.", autocompletion=completion.reasons),
    ] = None,
    by: Annotated[list[str] | None, typer.Option(help="Only by this person; may be repeated.")] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="FILTER", help="Accounts for which this holds: 'reason like \"stolen%\"'."),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="What they are at this time: 15m, 2h, 1d (ago), 09:30, 2026-11-24, 2026-11-24T10:15:30Z.",
            show_default="now",
        ),
    ] = None,
    known_at: _KnownAt = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Show the first N.", show_default="all; 100 in a table")
    ] = None,
    fields: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Columns to show, in every format: account_id,until,reason.",
            autocompletion=completion.account_fields,
        ),
    ] = None,
) -> None:
    """List accounts that were ever flagged or cleared: state, since when, until when, why, by whom.

    There are two clocks. --as-of is the moment asked about: a flag holds from its date on. --known-at is when we knew:
    flag events published later do not count; --as-of is that time too unless it is given.

    Example: fraudctl accounts list --flagged
    Example: fraudctl accounts list 1000000003 --as-of 2026-11-24T12:00:00Z
    Example: fraudctl accounts list --known-at 2026-11-24T12:00:00Z
    Example: fraudctl accounts list --where 'until < "2026-12-01"' --fields account_id,until,reason -o csv
    """
    from fraudctl.services.accounts import listing as service

    context: Context = ctx.obj
    render = context.render
    states = [*(state or ()), *([State.FLAGGED] if flagged else ())]
    query = service.prepare(
        accounts or (),
        states=states,
        reasons=reason or (),
        authors=by or (),
        as_of=as_of,
        known_at=known_at,
        where=where,
        note=render.note,
    )
    names = service.chosen(fields)
    found = service.listing(context.running.records, query, render.note)
    if render.structured:
        shown = min(len(found), limit or len(found))
        render.batches(service.batches(found.rows(limit)), service.RowOutput(names))
    else:
        columns = service.COLUMNS if fields is None else names
        shown = render.rows(found.rows(limit or service.SHOWN), columns)
    if len(found) or query.chosen:
        render.note(found.summary(shown))
    else:
        render.note("No account was ever flagged. Flag one: `fraudctl flag-accounts`")
    for line in found.notes():
        render.note(line)


@app.command()
def diff(
    ctx: typer.Context,
    first: Annotated[str, typer.Argument(metavar="TIME", help="From this time, written like --since of `tail`.")],
    last: Annotated[str | None, typer.Argument(metavar="TIME", help="To this time.", show_default="now")] = None,
    account: Annotated[
        list[str] | None,
        typer.Option(help="Only this account; may be repeated.", autocompletion=completion.accounts),
    ] = None,
    known_at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Judge both moments by what was known at this time, not each by its own."),
    ] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit 8 if anything changed; otherwise it is 0 all the same.")
    ] = False,
) -> None:
    """Show what changed in the list of accounts between two moments.

    Each moment is judged by what was known then, as `accounts list --known-at` does. + is flagged since, or scheduled;
    - was cleared, expired or called off; ~ has another state, end, reason or author.

    Example: fraudctl accounts diff 1d
    Example: fraudctl accounts diff 2026-11-24 2026-11-25
    Example: fraudctl accounts diff 7d --account 1000000003 -o json
    """
    from fraudctl.services.accounts import changes as service
    from fraudctl.services.accounts import listing

    context: Context = ctx.obj
    render = context.render
    span = service.prepare(first, last, accounts=account or (), known_at=known_at, note=render.note)
    found = service.changes(context.running.records, span, render.note)
    rows = found.rows()
    if render.structured:
        render.batches(listing.batches(rows), listing.RowOutput(service.FIELDS))
    else:
        render.rows(list(islice(rows, listing.SHOWN)), service.COLUMNS)
        if more := sum(1 for _ in rows):
            render.note(f"The first {listing.SHOWN} are shown, and {more:,} are not: `-o csv` gives all.")
    render.note(found.summary())
    if exit_code and found.counts:
        raise typer.Exit(NotAsAsked.exit_code)


@app.command()
def show(
    ctx: typer.Context,
    account: Annotated[str, typer.Argument(help="Account.", autocompletion=completion.accounts)],
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Count its transactions from this time on, written like --since of `tail`.",
            show_default="all that Kafka has",
        ),
    ] = None,
) -> None:
    """Show an account: its flag events, what each of them did, and what happens next.

    An event has the detections that it caused and their sum. One that came late says how late, from when on it reaches
    transactions, and how many it missed. One that counts no more says why.

    Example: fraudctl accounts show 1000000003
    Example: fraudctl accounts show 1000000003 --since 1d -o json
    """
    from fraudctl.services import time_options
    from fraudctl.services.accounts import account_view as view
    from fraudctl.services.accounts import effects, flag

    context: Context = ctx.obj
    render = context.render
    number = flag.account(account)
    first, _ = time_options.span(since, None, note=render.note)
    found = effects.account(context.running, number, first, render.note)
    if render.json:
        render.rows([found.document()], ())
    elif render.structured:
        render.rows((effect.cells() for effect in found.effects), view.FIELDS)
    else:
        render.record(found.record())
        render.rows([effect.line() for effect in found.effects], view.COLUMNS)
    for line in found.notes():
        render.note(line)
