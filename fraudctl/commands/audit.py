"""fraudctl audit: query the audit table."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Annotated, Any, Final

import typer

from fraudctl.context import Context
from fraudctl.pipeline.audit_table import AuditRow
from fraudctl.services import accounts, time_options
from fraudctl.services import audit as service

app = typer.Typer(no_args_is_help=True, help="Query the audit table: every detected transaction.")

_ALL: Final = tuple(field.name for field in fields(AuditRow))
_OF_ONE: Final = ("transaction_date", "amount", "merchant_type", "transaction_type", "flag_reason", "transaction_id")
_OF_ALL: Final = ("detected_at", "account_id", "customer_name", "amount", "merchant_type", "transaction_id")


@app.command()
def query(
    ctx: typer.Context,
    account: Annotated[str | None, typer.Argument(help="Account; all accounts by default.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000_000, help="Maximum number of rows.")] = 20,
    since: Annotated[
        str | None, typer.Option(help="From this time on, such as 15m (ago) or 2026-11-24T10:00:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
) -> None:
    """Show the newest detections, of one account or of all.

    Example: fraudctl audit query 1000000003 --limit 5
    """
    context: Context = ctx.obj
    number = None if account is None else accounts.account(account)
    first, end = time_options.span(since, until)
    found = service.query(context.running.audit_table(), number, limit=limit, since=first, until=end)
    columns = _OF_ALL if number is None else _OF_ONE
    everything = number is None and first is None and end is None
    shown = context.render.rows(
        map(row_of, found),
        _ALL if context.render.structured else columns,
        empty="No detections yet. Flag an account: `fraudctl flag-accounts`" if everything else "No detections found.",
    )
    order = "by detection" if number is None else "by transaction date"
    if shown:
        context.render.note(f"{shown} row{'s' if shown > 1 else ''}, newest first {order} (UTC).")


@app.command()
def show(
    ctx: typer.Context,
    transaction: Annotated[str, typer.Argument(help="Id of the transaction.")],
) -> None:
    """Show the audit row of a transaction, all of it.

    Example: fraudctl audit show 5f1b0e6c9d3a4a7c8e2f1d0b9a8c7e6d
    """
    context: Context = ctx.obj
    found = map(row_of, service.find(context.running.audit_table(), transaction))
    if context.render.structured:
        context.render.rows(found, _ALL)
        return
    for row in found:
        context.render.record(row)


def row_of(row: AuditRow) -> Mapping[str, Any]:
    """Return an audit row's fields."""
    return asdict(row)
