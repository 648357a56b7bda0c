"""fraudctl flag-accounts."""

import os
import pwd
from typing import Annotated

import typer

from fraudctl.commands import completion
from fraudctl.context import Context


def flag_accounts(
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
            help="When it takes effect: 15m, 2h, 1d (ago), 09:30, 2026-11-24 or 2026-11-24T10:15:30Z.",
            show_default="now",
        ),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Reason, stored with every detection.")] = None,
    file: Annotated[
        str | None, typer.Option(help="File with one account on each line, or a column account_id; - for stdin.")
    ] = None,
) -> None:
    """Flag accounts as fraudulent, or clear them.

    Example: fraudctl flag-accounts 1000000003 --reason "stolen card"
    Example: fraudctl flag-accounts 1000000003 --from 15m
    Example: fraudctl flag-accounts --clear 1000000003
    """
    from fraudctl.services.accounts import account_file
    from fraudctl.services.accounts import flag as service

    context: Context = ctx.obj
    request = service.flag_request(
        accounts or (),
        file=None if file is None else account_file.accounts(file),
        random=random,
        clear=clear,
        start=start,
        reason=reason,
        flagged_by=_user(),
        note=context.render.note,
    )
    flags = list(service.flag(context.running, request))
    context.render.rows(flags, service.COLUMNS)
    if future := service.in_future(flags):
        context.render.note(f"Takes effect in the future, at {future}: earlier transactions are judged without it.")
    context.render.note(f"Next: `fraudctl tail processed`, `fraudctl audit query {flags[0]['account_id']}`.")
    if late := service.too_late(context.running, request, flags):
        context.render.note(late)
    if unchanged := service.never_flagged(context.running, request):
        context.render.note(unchanged)


def _user() -> str | None:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user id without a name, as in some containers
        return None
