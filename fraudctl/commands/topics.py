"""fraudctl topics: the pipeline's topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fraudctl import tables
from fraudctl.commands import completion, watching
from fraudctl.commands.watching import Every, Watch
from fraudctl.context import Context
from fraudctl.tables import Column

if TYPE_CHECKING:
    from fraudctl.services.topics import Consumer, Described
    from fraudctl.target import Setting

app = typer.Typer(no_args_is_help=True, help="Create, list and describe the pipeline's topics.")


def _ago(milliseconds: int) -> str:
    return f"{tables.duration(milliseconds)} ago"


def _rate(value: float) -> str:
    return f"{value:,.1f}"


_COLUMNS: Final = (
    Column("topic"),
    Column("name", drop=6),
    Column("partitions", drop=3),
    Column("replication", drop=5),
    Column("records", text=tables.count),
    Column("size_bytes", drop=2, heading="size", text=tables.size),
    Column("newest_age_ms", drop=1, heading="newest", text=_ago),
    Column("records_per_second", heading="per second", text=_rate),
    Column("records_last_minute", drop=4, heading="last minute", text=tables.count),
)
_PARTITIONS: Final = (
    Column("partition"),
    Column("leader"),
    Column("isr", drop=2),
    Column("earliest", text=tables.count),
    Column("latest", text=tables.count),
    Column("held_back", heading="held back", text=tables.count),
    Column("size_bytes", drop=3, heading="size", text=tables.size),
    Column("newest_age_ms", drop=1, heading="newest", text=_ago),
)
_SETTINGS: Final = (
    Column("setting"),
    Column("value"),
    Column("default", drop=1, heading="Kafka's default"),
    Column("origin", heading="set by", wrap=True),
)
_CONSUMERS: Final = (
    Column("group"),
    Column("lag_records", heading="lag", text=tables.count),
    Column("lag_ms", heading="behind", text=tables.duration),
    Column("trend"),
    Column("lag_change_per_second", drop=1, heading="change per second", text=lambda value: f"{value:+,.1f}"),
)
_ORIGINS: Final = {
    "pipeline": "the pipeline",
    "added": "somebody; the pipeline leaves it",
    "broker": "the brokers",
}


@app.command()
def create(
    ctx: typer.Context,
    partitions: Annotated[
        list[str] | None,
        typer.Option("--partitions", metavar="TOPIC=N", help="Add partitions to this topic until it has N."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Create the topics that are missing and repair configuration that differs, saying what did.

    Nothing is ever deleted. Added partitions cannot be taken away, and break the order of an account's records.

    Example: fraudctl topics create
    Example: fraudctl topics create --partitions transactions=8
    Example: fraudctl topics create --stack two
    """
    from fraudctl.services import topics as service

    context: Context = ctx.obj
    wanted = service.partitions(partitions or ())
    running, render = context.running, context.render
    with running.lock():
        render.events(running.topics.create())
        if not wanted:
            return
        plan = service.plan_partitions(running, wanted)
        if not plan.changes:
            render.note("Every topic has so many partitions already.")
            return
        render.plan(plan)
        render.consent(plan, "Add these partitions", "Adding partitions", given=yes)
        render.events(service.add_partitions(running, plan))


@app.command("list")
def list_(ctx: typer.Context, watch: Watch = False, every: Every = None) -> None:
    """List the pipeline's topics: records, their size on disk, the newest one's age, and records a second.

    The rate is that of the last ten seconds, by the records' own times.

    Example: fraudctl topics list
    Example: fraudctl topics list --watch
    Example: fraudctl topics list -o csv
    Example: fraudctl topics list --every 10 -o json >> topics.jsonl
    """
    from fraudctl.services import topics as service

    context: Context = ctx.obj
    running, render, seconds = context.running, context.render, watching.seconds(watch=watch, every=every)
    looks = watching.looks(render, seconds, lambda: service.listed(running))
    if render.structured and not render.json:  # one table, however many looks
        rows = ({"at_ms": found.at_ms, **row} for found in looks for row in found.rows())
        render.rows(rows, (*(() if seconds is None else ("at_ms",)), *service.TOPIC_FIELDS))
        return
    for found in looks:
        if render.json and seconds is not None:
            render.record(found.document())
        elif render.json:
            render.rows(found.rows(), service.TOPIC_FIELDS)
        else:
            render.rows([row if row["exists"] else {**row, "records": "missing"} for row in found.rows()], _COLUMNS)


@app.command()
def describe(
    ctx: typer.Context,
    topic: Annotated[
        str,
        typer.Argument(
            help="transactions, flagged, processed, dead-letters, or a full name.", autocompletion=completion.topics
        ),
    ],
    watch: Watch = False,
    every: Every = None,
) -> None:
    """Show a topic's configuration, its partitions and its consumers.

    A consumer's lag is in records, and in time: the age of the oldest record that it has not read. The trend is from
    two looks, a second apart or as --every says.

    Example: fraudctl topics describe processed
    Example: fraudctl topics describe transactions --watch
    Example: fraudctl topics describe dead_letters -o json
    """
    from fraudctl.services import topics as service

    context: Context = ctx.obj
    name, seconds = service.named(topic).name, watching.seconds(watch=watch, every=every)
    render, describer = context.render, service.Describer(context.running, name)
    looks = watching.looks(render, seconds, lambda: describer.look(wait=seconds is None))
    if render.structured and not render.json:  # CSV is a table of one kind of row
        rows = ({"at_ms": found.at_ms, **row} for found in looks for row in found.partitions())
        render.rows(rows, (*(() if seconds is None else ("at_ms",)), *service.PARTITION_FIELDS))
        return
    for found in looks:
        if render.json:
            render.record(found.document())
        else:
            _show(context, found)


def _show(context: Context, found: Described) -> None:
    from fraudctl.services.topics import topic_row

    render, row = context.render, topic_row(found.topic, found.at_ms)
    rate, minute = row["records_per_second"], row["records_last_minute"]
    facts = {
        "topic": found.topic.alias,
        "name": found.topic.name,
        "replication": found.topic.replication,
        "records": tables.count(found.topic.records),
        "size": tables.size(row["size_bytes"]),
        "newest": None if row["newest_age_ms"] is None else _ago(row["newest_age_ms"]),
        "per second": rate is not None and f"{_rate(rate)}, {tables.plural(minute, 'record')} in the last minute",
    }
    render.record({name: value for name, value in facts.items() if value})
    if found.topic.settings:
        render.text("")
        render.rows([_setting_row(setting) for setting in found.topic.settings], _SETTINGS)
    render.text("")
    held = any(partition.stable not in {None, partition.latest} for partition in found.topic.partitions)
    columns = [column for column in _PARTITIONS if held or column.name != "held_back"]
    render.rows([_partition_row(partition, found.at_ms) for partition in found.partitions()], columns)
    if found.consumers:
        render.text("")
        render.rows([consumer.row() for consumer in found.consumers], _consumer_columns(found.consumers))


def _consumer_columns(consumers: tuple[Consumer, ...]) -> list[Column]:
    """Return the columns without a trend where there is none yet."""
    trends = any(consumer.trend for consumer in consumers)
    return [column for column in _CONSUMERS if trends or column.name not in {"trend", "lag_change_per_second"}]


def _partition_row(row: dict[str, Any], at_ms: int) -> dict[str, Any]:
    """Return a partition's row for people; what lies behind the last stable offset is held back from its readers."""
    newest, stable = row["newest_at_ms"], row["stable"]
    return {
        **row,
        "isr": " ".join(map(str, row["isr"])),
        "newest_age_ms": None if newest is None else max(0, at_ms - newest),
        "held_back": None if stable in {None, row["latest"]} else row["latest"] - stable,
    }


def _setting_row(setting: Setting) -> dict[str, Any]:
    origin = setting.origin.value
    return {
        "setting": setting.name,
        "value": _value(setting.name, setting.value),
        "default": None if setting.default is None else _value(setting.name, setting.default),
        "origin": _ORIGINS.get(origin)
        or f"somebody; the pipeline's is {_value(setting.name, setting.defined or '')}, see `fraudctl topics create`",
    }


def _value(name: str, value: str) -> str:
    """Return a setting's value in units; one that is no number, as it is."""
    if not value.lstrip("-").isdigit():
        return value
    if name.endswith(".ms"):
        return tables.duration(int(value))
    if name.endswith(".bytes"):
        return tables.size(int(value)) if int(value) >= 0 else "unlimited"
    return value
