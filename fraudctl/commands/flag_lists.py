"""fraudctl accounts what-if and apply: lists of flags in files."""

from __future__ import annotations

from typing import Annotated

import typer

from fraudctl.context import Context


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
