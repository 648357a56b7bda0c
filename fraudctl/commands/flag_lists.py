"""fraudctl accounts what-if and apply: lists of flags in files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fraudctl import tables
from fraudctl.context import Context
from fraudctl.pipeline.text import iso


def what_if(  # noqa: PLR0913 - the options
    ctx: typer.Context,
    file: Annotated[
        str,
        typer.Option(
            help="List of flags: CSV or JSON Lines with account, and until, reason, from where wanted; - for stdin."
        ),
    ],
    prune: Annotated[
        bool, typer.Option("--prune", help="Nothing but the list is flagged: instead of the flags, not beside them.")
    ] = False,
    since: Annotated[
        str | None, typer.Option(help="Transactions published from this time on: 7d, 2h (ago), 2026-11-24, today.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Transactions published before this time.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="File with transaction_id and fraud (yes or no): shows precision and recall.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, max=1_000_000, help="Examples of each kind, largest amounts first.")] = 5,
    fields: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Columns of the examples: account_id,amount,published.")
    ] = None,
) -> None:
    """Show what a list of flags would have detected, on the transactions that Kafka still has.

    Publishes nothing. Compares with the flags as they were at each transaction. An account of the list counts as
    flagged from its `from`, or all the time, to its `until`; others keep their flags unless --prune is given.

    Example: fraudctl accounts what-if --file suspects.csv
    Example: fraudctl accounts what-if --file suspects.csv --since 7d --labels chargebacks.csv
    Example: fraudctl accounts what-if --file whole-list.csv --prune --limit 20 -o csv > changes.csv
    """
    from fraudctl.services import time_options
    from fraudctl.services.accounts import flag_list, what_if_report
    from fraudctl.services.accounts import labels as labels_file
    from fraudctl.services.accounts.what_if import BackTest, Question

    context: Context = ctx.obj
    render = context.render
    columns = what_if_report.chosen(fields)
    first, end = time_options.span(since, until, note=render.note)
    question = Question(
        wanted=flag_list.read(file),
        only=prune,
        since=first,
        until=end,
        labels=None if labels is None else labels_file.read(labels),
        examples=limit,
    )
    test = BackTest(context.running, question)
    render.events(test.run())
    for line in what_if_report.coverage(test.result):
        render.note(line)
    changes = what_if_report.changes(test.result, columns)
    if render.json:
        render.rows([what_if_report.document(test.result, changes)], ())
    elif render.structured:
        render.rows(changes, columns)
    else:
        render.rows(what_if_report.summary(test.result), what_if_report.SUMMARY_COLUMNS)
        render.rows(what_if_report.labelled(test.result), what_if_report.LABEL_COLUMNS)
        render.rows(changes, columns)
    for line in what_if_report.notes(test.result):
        render.note(line)


def apply(
    ctx: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            help="List of flags: CSV or JSON Lines with account, and until, reason, from where wanted; or a plan."
        ),
    ],
    prune: Annotated[
        bool, typer.Option("--prune", help="Clear the accounts that are flagged and not in the list.")
    ] = False,
    plan: Annotated[Path | None, typer.Option(help="Write the plan to this file instead of carrying it out.")] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Try the list on transactions published from this time on.", show_default="1d"),
    ] = None,
    what_if: Annotated[
        bool, typer.Option("--what-if/--no-what-if", help="Say what the list would have detected.")
    ] = True,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Make the flags what a list says: show what changes, ask, and publish it.

    From now on, an account of the list is flagged when the list says so; others keep their flags unless --prune is
    given. With --plan nothing is published: `accounts apply PLAN` carries out exactly that, and exits with 7 if the
    flags have moved since. Interrupted, it can be run again.

    Example: fraudctl accounts apply suspects.csv
    Example: fraudctl accounts apply whole-list.csv --prune --plan monday.plan
    Example: fraudctl accounts apply monday.plan --yes
    """
    from fraudctl.errors import BadConfig
    from fraudctl.services import time_options
    from fraudctl.services.accounts import applying, list_plan
    from fraudctl.services.accounts.flag import Limits

    context: Context = ctx.obj
    render, settings = context.render, context.settings
    if list_plan.is_plan(file):
        if prune or plan or since:
            raise BadConfig("--prune, --plan and --since belong to a list; this file is a plan", hint="leave them out")
        made = list_plan.read(file)
        applying.check(context.running, render, made)
        render.note(f"Plan of {made.list_file}, made by {made.made_by or 'somebody'} at {iso(made.made_at)}.")
    else:
        first = time_options.span(since or "1d", None, note=render.note)[0] if what_if else None
        limits = Limits(settings.reasons, settings.longest)
        made = applying.make(context.running, render, file, prune=prune, since=first, limits=limits)
    render.plan(made.shown())
    if plan is not None:
        made.write(plan)
        render.note(f"Nothing was changed. To carry it out: `fraudctl accounts apply {plan}`")
    elif made.changes:
        number = tables.plural(len(made.changes), "account")
        render.consent(made.shown(), f"Change the flags of {number}", f"Changing the flags of {number}", given=yes)
        if not yes:
            # Somebody may have flagged while the question was read.
            applying.check(context.running, render, made)
        applying.carry_out(context.running, render, made)
    else:
        render.note("The flags are as the list says.")
    if render.structured:
        render.rows(list_plan.rows(made), list_plan.COLUMNS)
