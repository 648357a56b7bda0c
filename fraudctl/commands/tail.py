"""fraudctl tail."""

from typing import Annotated

import typer

from fraudctl.commands import completion
from fraudctl.context import Context
from fraudctl.errors import INTERRUPTED
from fraudctl.services.tail_options import Order, TailOptions

_RANGE = "Which records"
_FILTER = "Filters"
_OUTPUT = "Output"
_TIMES = "such as 15m (ago), 09:30, 2026-11-24 or 2026-11-24T10:15:30Z"


def tail(  # noqa: PLR0913 - the options
    ctx: typer.Context,
    topic: Annotated[
        str,
        typer.Argument(
            help="transactions, flagged, processed, dead-letters, or a full name.", autocompletion=completion.topics
        ),
    ],
    last: Annotated[
        int | None, typer.Option("--last", "-n", min=0, help="The last N records that match, over all partitions.")
    ] = None,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Start with the oldest record.")] = False,
    since: Annotated[str | None, typer.Option(help=f"Start at this time, {_TIMES}.")] = None,
    until: Annotated[str | None, typer.Option(help="Stop before this time.")] = None,
    offsets: Annotated[
        str | None, typer.Option(metavar="P:OFFSET,...", help="Start there; read these partitions alone.")
    ] = None,
    partition: Annotated[list[int] | None, typer.Option(min=0, help="Read this partition; can be repeated.")] = None,
    follow: Annotated[
        bool | None,
        typer.Option("--follow/--no-follow", "-f", help="Wait for new records.", show_default="unless --last"),
    ] = None,
    most: Annotated[int | None, typer.Option("--max", min=1, help="Stop after N records.")] = None,
    duration: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="Stop after this long: 30s, 5m.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="FILTER", help="Records for which this holds: 'amount > 500 and account_id in (7, 8)'."),
    ] = None,
    account: Annotated[
        str | None, typer.Option(help="Records of this account.", autocompletion=completion.accounts)
    ] = None,
    key: Annotated[str | None, typer.Option(help="Records with this key.")] = None,
    grep: Annotated[str | None, typer.Option(metavar="REGEX", help="Records whose value matches.")] = None,
    sample: Annotated[str | None, typer.Option(metavar="SHARE", help="Such a share of the accounts: 1%.")] = None,
    why_not: Annotated[
        bool, typer.Option("--why-not", help="Show the other records too, with the condition that stops each.")
    ] = False,
    fields: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Columns to show, in every format: account_id,amount.",
            autocompletion=completion.fields,
        ),
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The values alone, byte for byte.")] = False,
    order: Annotated[
        Order, typer.Option(help="Merge the partitions by time, or take records as they arrive, which is faster.")
    ] = Order.TIME,
    stats: Annotated[
        bool, typer.Option("--stats", help="Report the rate, and the latency of detection, every 5 s and at the end.")
    ] = False,
    expect: Annotated[
        int | None, typer.Option(min=1, help="Exit 0 as soon as N records matched, 8 if they do not in time.")
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long --expect waits.", show_default="30s")
    ] = None,
) -> None:
    """Show a topic's records as they arrive.

    Starts with new records, unless --last, --from-beginning, --since or --offsets is given. Never joins a consumer
    group. All that --where, --since and --until take is in docs/tail.md.

    Example: fraudctl tail processed --last 20
    Example: fraudctl tail transactions --since 15m --where 'amount > 500 and merchant_type like "Gr%"'
    Example: fraudctl tail processed --account 1000000003 --fields transaction_date,amount,flag_reason
    Example: fraudctl tail processed --expect 1 --timeout 30s
    """
    from fraudctl.services import tail as service
    from fraudctl.services import topics
    from fraudctl.services.interrupts import interruptible
    from fraudctl.services.record_outputs import output

    context: Context = ctx.obj
    render = context.render
    options = TailOptions(
        last=last,
        from_beginning=from_beginning,
        since=since,
        until=until,
        offsets=offsets,
        partitions=tuple(partition or ()),
        follow=follow,
        most=most,
        duration=duration,
        order=order,
        where=where,
        account=account,
        key=key,
        grep=grep,
        sample=sample,
        why_not=why_not,
        expect=expect,
        timeout=timeout,
        stats=stats,
    )
    ready = service.prepare(topics.named(topic), options, note=render.note)
    formats = output(ready, fields=fields, raw=raw)
    progress = service.Progress()
    try:
        # Ctrl-C waits until a batch is written: the command to go on with shows nothing twice.
        records = interruptible(service.records(context.running, ready, render.note, progress=progress))
        render.batches(records, formats)
    except KeyboardInterrupt as error:
        for line in service.summary(ready, progress):
            render.note(line)
        format_ = context.settings.sources.get("output", "").startswith("--")
        shown = (
            *(() if fields is None else ("--fields", fields)),
            *(("--raw",) if raw else ()),
            *(("-o", context.settings.output.value) if format_ else ()),
        )
        if (command := service.resume(ready, progress, shown)) is not None:
            render.note(f"Interrupted. Go on with `{command}`.")
            raise typer.Exit(INTERRUPTED) from error
        raise
