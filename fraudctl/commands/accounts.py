"""fraudctl flag-accounts."""

import time
from typing import Annotated

import typer

from fraudctl.commands import completion
from fraudctl.context import Context


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
        typer.Option(help="Reason, stored with every detection.", autocompletion=completion.reasons),
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
