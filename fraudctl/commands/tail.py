"""fraudctl tail."""

from typing import Annotated

import typer

from fraudctl.context import Context
from fraudctl.services import envelopes, sight, topics
from fraudctl.services import tail as service


def tail(  # noqa: PLR0913 - the options
    ctx: typer.Context,
    topic: Annotated[str, typer.Argument(help="transactions, flagged, processed, dead-letters, or a full name.")],
    last: Annotated[
        int | None, typer.Option(min=0, help="Show the last N records over all partitions, then stop.")
    ] = None,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Start with the oldest record.")] = False,
    most: Annotated[int | None, typer.Option("--max", min=1, help="Stop after N records.")] = None,
    follow: Annotated[
        bool | None,
        typer.Option("--follow/--no-follow", "-f", help="Go on with new records.", show_default="unless --last"),
    ] = None,
    since: Annotated[str | None, typer.Option(help="Start at this time: ISO with a zone, or 15m for ago.")] = None,
    until: Annotated[str | None, typer.Option(help="Stop at this time.")] = None,
) -> None:
    """Show a topic's records as they come.

    From now on, unless --last, --from-beginning or --since says otherwise.

    Example: fraudctl tail processed --last 20
    """
    context: Context = ctx.obj
    found = topics.named(topic)
    wanted = service.wanted(
        last=last, from_beginning=from_beginning, since=since, until=until, follow=follow, most=most
    )
    context.render.batches(
        service.records(context.running, found, wanted, context.render.note),
        lines=envelopes.Envelopes().lines,
        columns=envelopes.COLUMNS,
        row=envelopes.row,
        line=sight.line,
    )
