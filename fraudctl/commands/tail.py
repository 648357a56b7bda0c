"""fraudctl tail."""

from typing import Annotated

import typer

from fraudctl.context import Context


def tail(  # noqa: PLR0913 - the options
    ctx: typer.Context,
    topic: Annotated[str, typer.Argument(help="transactions, flagged, processed, dead-letters, or a full name.")],
    last: Annotated[
        int | None, typer.Option("--last", "-n", min=0, help="Show the last N records over all partitions, then stop.")
    ] = None,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Start with the oldest record.")] = False,
    most: Annotated[int | None, typer.Option("--max", min=1, help="Stop after N records.")] = None,
    follow: Annotated[
        bool | None,
        typer.Option("--follow/--no-follow", "-f", help="Wait for new records.", show_default="unless --last"),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Start at this time, such as 15m (ago) or 2026-11-24T10:00:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Stop at this time.")] = None,
) -> None:
    """Show a topic's records as they arrive.

    Starts with new records, unless --last, --from-beginning or --since is given.

    Example: fraudctl tail processed
    Example: fraudctl tail processed --last 20
    Example: fraudctl tail transactions --since 15m --no-follow -o csv > transactions.csv
    Example: fraudctl tail dead-letters --from-beginning
    """
    from fraudctl.services import record_formats, topics
    from fraudctl.services import tail as service

    context: Context = ctx.obj
    found = topics.named(topic)
    wanted = service.wanted(
        last=last, from_beginning=from_beginning, since=since, until=until, follow=follow, most=most
    )
    context.render.batches(
        service.records(context.running, found, wanted, context.render.note),
        lines=record_formats.JsonLines().lines,
        columns=record_formats.columns(found.name),
        row=record_formats.row,
        people=record_formats.AlignedLines().lines,
    )
