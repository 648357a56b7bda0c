"""fraudctl audit: query the audit table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fraudctl import tables
from fraudctl.commands import completion, seals, verifying
from fraudctl.context import Context
from fraudctl.services.audit.by import By
from fraudctl.tables import Column

if TYPE_CHECKING:
    from fraudctl.services.audit.options import Prepared, Wanted

app = typer.Typer(no_args_is_help=True, help="Query the audit table: every detected transaction.")

_ID: Final = Column("transaction_id", text=tables.prefix)
_OF_ONE: Final = (
    Column("transaction_date", heading="transaction date", text=tables.short_time),
    Column("amount"),
    Column("merchant_type", drop=2),
    Column("transaction_type", drop=3),
    Column("flag_reason", wrap=True),
    _ID,
)
_OF_ALL: Final = (
    Column("detected_at", text=tables.short_time),
    Column("account_id"),
    Column("customer_name", drop=2),
    Column("amount"),
    Column("merchant_type", drop=3),
    _ID,
)
_DEFAULT_LIMIT: Final = 20
_BAR: Final = 30

_Account = Annotated[
    str | None, typer.Argument(help="Account; all accounts by default.", autocompletion=completion.accounts)
]
_Since = Annotated[
    str | None, typer.Option(help="From this time on: 15m, 2h, 1d (ago), 09:30, 2026-11-24, 2026-11-24T10:15:30Z.")
]
_Until = Annotated[str | None, typer.Option(help="Before this time, written like --since, or now.")]
_Where = Annotated[
    str | None,
    typer.Option(metavar="FILTER", help="Rows for which this holds: 'amount > 500 and flag_reason like \"stolen%\"'."),
]
_Fields = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Columns to show, in every format: transaction_date,amount.",
        autocompletion=completion.audit_fields,
    ),
]
_OldestFirst = Annotated[bool, typer.Option("--oldest-first", help="Begin with the oldest row.")]


@app.command()
def query(  # noqa: PLR0913 - the options
    ctx: typer.Context,
    account: _Account = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000_000, help="Maximum number of rows that match.", show_default="20"),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All rows that match.")] = False,
    since: _Since = None,
    until: _Until = None,
    where: _Where = None,
    oldest_first: _OldestFirst = False,
    next_page: Annotated[
        str | None, typer.Option("--next", metavar="TOKEN", help="The page behind the one that ended with this token.")
    ] = None,
    fields: _Fields = None,
    explain: Annotated[bool, typer.Option("--explain", help="Print the requests to DynamoDB, and send none.")] = False,
) -> None:
    """Show the newest detections, of one account or of all.

    One account's rows are in the order of transaction_date, all accounts' in that of detected_at; --since and --until
    bound that time.

    Example: fraudctl audit query
    Example: fraudctl audit query 1000000003 --limit 5
    Example: fraudctl audit query --since 1d --where 'amount > 500' --fields account_id,amount,flag_reason
    Example: fraudctl audit query --since 1h --all -o csv > detections.csv
    """
    from fraudctl.errors import BadConfig
    from fraudctl.services.audit import rows, table
    from fraudctl.services.audit.options import prepare

    context: Context = ctx.obj
    if everything and limit is not None:
        raise BadConfig("--all and --limit cannot be combined", hint="use one of them")
    asked = _wanted(account, since, until, where, oldest_first=oldest_first)
    prepared = prepare(asked, next_page, note=context.render.note)
    chosen = None if fields is None else rows.Chosen(fields)
    if explain:
        for request in table.requests(prepared.query):
            context.render.record({"operation": "Query", **request})
        return
    most = None if everything else limit or _DEFAULT_LIMIT
    reader = table.AuditReader(context.running.audit_table(), context.render.note)
    # One more than wanted tells whether there are more; behind a filter, nobody knows how many to ask for.
    page = table.Page(reader.rows(prepared.query, most + 1 if most and where is None else table.LARGEST_PAGE))
    shown = context.render.rows(
        map(rows.cells if chosen is None else chosen.cells, page.take(most)),
        rows.columns(chosen) if chosen or context.render.structured else (_OF_ALL if account is None else _OF_ONE),
        empty="No detections found."
        if asked != type(asked)()
        else "No detections yet. Flag an account: `fraudctl flag-accounts`",
    )
    if shown:
        context.render.note(_summary(prepared, shown, "UTC" if context.render.structured else tables.today()))
    if page.last is not None and page.more(known=where is None):
        same = ["--limit", str(limit)] if limit is not None else []
        same += ["--fields", fields] if fields is not None else []
        context.render.note(f"More: `{prepared.next_command(page.last, *same)}`")
    if context.settings.verbose:
        context.render.note(f"Read {reader.cost} of {'the index by_time' if account is None else 'the table'}.")


@app.command()
def export(  # noqa: PLR0913 - the options
    ctx: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="File to write, .jsonl or .csv; replaced when the new one is whole.")
    ] = None,
    account: Annotated[
        str | None, typer.Option(help="Account; all accounts by default.", autocompletion=completion.accounts)
    ] = None,
    since: _Since = None,
    until: _Until = None,
    where: _Where = None,
    oldest_first: _OldestFirst = False,
    fields: _Fields = None,
    evidence: seals.Packed = None,
    sealed: seals.From = None,
) -> None:
    """Write all detections to a file, of one account or of all; or sealed ones with what proves them.

    Example: fraudctl audit export detections.jsonl
    Example: fraudctl audit export yesterday.csv --since yesterday --until today --fields detected_at,account_id,amount
    Example: fraudctl audit export --evidence case.zip --sealed /mnt/elsewhere/seals --since 2026-11-24
    """
    from fraudctl.errors import BadConfig
    from fraudctl.render import csv_cell
    from fraudctl.services.audit import export as service
    from fraudctl.services.audit import rows, table
    from fraudctl.services.audit.options import prepare

    context: Context = ctx.obj
    if evidence is not None:
        if any((file, account, where, fields, oldest_first)):
            raise BadConfig(
                "--evidence takes whole windows", hint="choose them with --since and --until, and nothing else"
            )
        seals.export(context, evidence, sealed, since, until)
        return
    if file is None or sealed is not None:
        raise BadConfig("FILE is missing", hint="`fraudctl audit export detections.jsonl`, or --evidence FILE")
    service.check(file)
    prepared = prepare(_wanted(account, since, until, where, oldest_first=oldest_first), note=context.render.note)
    chosen = None if fields is None else rows.Chosen(fields)
    reader = table.AuditReader(context.running.audit_table(), context.render.note)
    context.render.events(service.export(reader.rows(prepared.query), file, csv_cell, chosen))


@app.command()
def stats(
    ctx: typer.Context,
    by: Annotated[By, typer.Option(help="What to count by; hours and days are of detected_at, UTC.")] = By.ACCOUNT,
    since: _Since = None,
    until: _Until = None,
    where: _Where = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Show the first N.")] = None,
) -> None:
    """Count detections, and sum their amounts, by account, merchant, type, reason, hour or day.

    Example: fraudctl audit stats
    Example: fraudctl audit stats --by hour --since 1d
    Example: fraudctl audit stats --by reason --since 7d -o csv
    """
    from fraudctl.services.audit import stats as service
    from fraudctl.services.audit import table
    from fraudctl.services.audit.options import prepare

    context: Context = ctx.obj
    prepared = prepare(_wanted(None, since, until, where), note=context.render.note)
    reader = table.AuditReader(context.running.audit_table(), context.render.note)
    found = service.stats(reader.rows(prepared.query), by)
    longest = max((group.count for group in found.groups), default=0)
    people = not context.render.structured
    context.render.rows(
        (
            {
                by.value: group.value,
                "count": group.count,
                "amount": group.amount,
                "accounts": len(group.accounts),
                **({"bar": tables.bar(group.count, longest, _BAR)} if people else {}),
            }
            for group in found.groups[:limit]
        ),
        (
            Column(by.value, wrap=by in {By.MERCHANT, By.REASON}, text=lambda value: value or "(none)"),
            Column("count", text=tables.count),
            Column("amount", text=tables.money),
            Column("accounts", text=tables.count, drop=1),
            *((Column("bar", heading=" ", drop=2),) if people else ()),
        ),
    )
    total = found.total
    if not total.count:
        context.render.note("No detections found.")
        return
    groups = len(found.groups)
    left = f", the first {limit:,} of {groups:,} shown" if limit is not None and limit < groups else ""
    context.render.note(
        f"{tables.plural(total.count, 'detection')}, {tables.money(total.amount)} in all, "
        f"{tables.plural(len(total.accounts), 'account')}{left}."
    )


@app.command()
def verify(  # noqa: PLR0913 - the options
    ctx: typer.Context,
    since: Annotated[
        str | None,
        typer.Option(help="Transactions published from this time on, written like --since of `audit query`."),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Transactions published before this time.")] = None,
    by: Annotated[str | None, typer.Option(metavar="TIME", help="Count each stage by time too: 10m, 1h, 1d.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is new, until Ctrl-C; faults are shown as found.")
    ] = False,
    limit: Annotated[int, typer.Option(min=0, help="Show at most N cases of each kind.")] = 10,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the same question where Ctrl-C has stopped it.")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Have AuditWriter write the detections that are not in the table; asks first."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before --repair.")] = False,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Exit 0 though something could not be checked.")
    ] = False,
    sealed: seals.Sealed = None,
    evidence: seals.Evidence = None,
) -> None:
    """Recompute what had to be detected, and compare it with the topic and the table.

    Reads transactions, flag events, detections, rows and the on-failure destination, and changes nothing without
    --repair. Exits 8 if something is lost, unexpected or different, or could not be checked. With --sealed or
    --evidence, rows are compared with what was sealed, also after Kafka has forgotten them.

    Example: fraudctl audit verify
    Example: fraudctl audit verify --since 1d --by 1h
    Example: fraudctl audit verify --follow
    Example: fraudctl audit verify --repair
    Example: fraudctl audit verify --since 2026-11-24 --until 2026-11-25 --allow-unknown -o json
    Example: fraudctl audit verify --sealed /mnt/elsewhere/seals
    """
    from fraudctl.services import time_options
    from fraudctl.services.verify import buckets, report
    from fraudctl.services.verify.follow import Following
    from fraudctl.services.verify.kept import Question, kept
    from fraudctl.services.verify.reconcile import Reconciliation

    context: Context = ctx.obj
    render = context.render
    question = Question(since, until, by, follow)
    verifying.check(question, resume=resume, repair=repair, sealed=sealed is not None or evidence is not None)
    first, end = time_options.span(since, until, note=render.note)
    if sealed is not None or evidence is not None:
        seals.verify(context, sealed, evidence, (first, end), limit, allow_unknown=allow_unknown)
        return
    width = None if by is None else buckets.width(by)
    target = context.running
    with kept(target.folder(), question, resume=resume, note=render.note) as file:
        if follow:
            verifying.follow(context, Following(target, first, file=file), question)
        result = verifying.run(render, Reconciliation(target, first, end, file=file, by=width), question, file)
    verifying.show(render, result, limit)
    if repair:
        verifying.repair(context, result, yes=yes)
    report.check(result, allow_unknown=allow_unknown)


app.command()(seals.seal)


@app.command()
def show(
    ctx: typer.Context,
    transaction: Annotated[str, typer.Argument(help="Id of the transaction, or how a recent one begins.")],
) -> None:
    """Show the audit row of a transaction, and the evidence for it.

    The evidence is what Kafka still has: the transaction, the flag event in force and those around it, the processed
    record, the time between them, and whether all of it agrees with the row. For a transaction that is not in the
    table, says why.

    Example: fraudctl audit show 5f1b0e6c9d3a4a7c8e2f1d0b9a8c7e6d
    Example: fraudctl audit show 5f1b0e6c
    Example: fraudctl audit show 5f1b0e6c -o json
    """
    from fraudctl.services.audit import rows
    from fraudctl.services.verify import chain

    context: Context = ctx.obj
    render = context.render
    found = chain.explained(context.running, transaction, note=render.note)
    if render.structured:
        render.rows(({**rows.cells(row), **chain.document(evidence)} for row, evidence in found), rows.COLUMNS)
        return
    for row, evidence in found:
        render.record(rows.cells(row))
        if evidence is not None:
            render.rows([step.cells() for step in evidence.steps], chain.COLUMNS)
            render.note(evidence.verdict)


def _wanted(
    account: str | None, since: str | None, until: str | None, where: str | None, *, oldest_first: bool = False
) -> Wanted:
    from fraudctl.services.accounts import flag
    from fraudctl.services.audit.options import Wanted

    number = None if account is None else flag.account(account)
    return Wanted(number, since, until, where, oldest_first)


def _summary(prepared: Prepared, shown: int, when: str) -> str:
    order = "by detection" if prepared.query.account is None else "by transaction date"
    first = "oldest" if prepared.query.oldest_first else "newest"
    return f"{tables.plural(shown, 'row')}, {first} first {order} ({when})."
