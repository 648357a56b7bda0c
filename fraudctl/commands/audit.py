"""fraudctl audit: query the audit table."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fraudctl import tables
from fraudctl.commands import completion
from fraudctl.context import Context
from fraudctl.tables import Column

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fraudctl.pipeline.audit_table import AuditRow

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


@app.command()
def query(
    ctx: typer.Context,
    account: Annotated[
        str | None, typer.Argument(help="Account; all accounts by default.", autocompletion=completion.accounts)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000_000, help="Maximum number of rows.")] = 20,
    since: Annotated[
        str | None, typer.Option(help="From this time on: 15m, 2h, 1d (ago), 09:30, 2026-11-24, 2026-11-24T10:15:30Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before this time, written like --since, or now.")] = None,
) -> None:
    """Show the newest detections, of one account or of all.

    Example: fraudctl audit query
    Example: fraudctl audit query 1000000003 --limit 5
    Example: fraudctl audit query --since 1h -o csv > detections.csv
    """
    from fraudctl.services import accounts, time_options
    from fraudctl.services import audit as service

    context: Context = ctx.obj
    number = None if account is None else accounts.account(account)
    first, end = time_options.span(since, until, note=context.render.note)
    found = service.query(context.running.audit_table(), number, limit=limit, since=first, until=end)
    columns = _OF_ALL if number is None else _OF_ONE
    everything = number is None and first is None and end is None
    shown = context.render.rows(
        map(row_of, found),
        service.COLUMNS if context.render.structured else columns,
        empty="No detections yet. Flag an account: `fraudctl flag-accounts`" if everything else "No detections found.",
    )
    order = "by detection" if number is None else "by transaction date"
    if shown:
        when = "UTC" if context.render.structured else tables.today()
        context.render.note(f"{tables.plural(shown, 'row')}, newest first {order} ({when}).")


@app.command()
def show(
    ctx: typer.Context,
    transaction: Annotated[str, typer.Argument(help="Id of the transaction, or how a recent one begins.")],
) -> None:
    """Show the audit row of a transaction, all of it.

    Example: fraudctl audit show 5f1b0e6c9d3a4a7c8e2f1d0b9a8c7e6d
    Example: fraudctl audit show 5f1b0e6c
    Example: fraudctl audit show 5f1b0e6c -o json
    """
    from fraudctl.services import audit as service

    context: Context = ctx.obj
    found = map(row_of, service.find(context.running.audit_table(), transaction))
    if context.render.structured:
        context.render.rows(found, service.COLUMNS)
        return
    for row in found:
        context.render.record(row)


def row_of(row: AuditRow) -> Mapping[str, Any]:
    """Return an audit row's fields."""
    from fraudctl.services.record_formats import unescaped

    return {**asdict(row), "extra": row.extra and unescaped(row.extra)}
