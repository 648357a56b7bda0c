"""fraudctl topics: the pipeline's topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fraudctl import tables
from fraudctl.context import Context
from fraudctl.services import topics as service
from fraudctl.tables import Column

if TYPE_CHECKING:
    from fraudctl.target import TopicInfo

app = typer.Typer(no_args_is_help=True, help="Create, list and describe the pipeline's topics.")

_COLUMNS: Final = (
    Column("topic"),
    Column("name", drop=1),
    Column("exists"),
    Column("partitions", drop=2),
    Column("replication", drop=3),
    Column("records", text=tables.count),
)
_OFFSETS: Final = ("partition", "leader", "earliest", "latest")


@app.command()
def create(ctx: typer.Context) -> None:
    """Create the topics that are missing and repair configuration that differs.

    Example: fraudctl topics create
    Example: fraudctl topics create --stack two
    """
    context: Context = ctx.obj
    running = context.running
    with running.lock():
        context.render.events(running.topics.create())


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List the pipeline's topics.

    Example: fraudctl topics list
    Example: fraudctl topics list -o csv
    """
    context: Context = ctx.obj
    context.render.rows([_row(topic) for topic in context.running.topics.list()], _COLUMNS)


@app.command()
def describe(
    ctx: typer.Context,
    topic: Annotated[str, typer.Argument(help="transactions, flagged, processed, dead-letters, or a full name.")],
) -> None:
    """Show a topic's partitions and its configuration.

    Example: fraudctl topics describe processed
    Example: fraudctl topics describe dead_letters -o json
    """
    context: Context = ctx.obj
    found = context.running.topics.describe(service.named(topic).name)
    partitions = [
        {"partition": p.partition, "leader": p.leader, "earliest": p.earliest, "latest": p.latest}
        for p in found.partitions
    ]
    render = context.render
    if render.json:
        render.record({**_row(found), "partitions": partitions, "config": dict(found.config)})
        return
    if render.structured:  # CSV is a table of one kind of row
        render.rows(partitions, _OFFSETS)
        return
    config = {_heading(name): _setting(name, value) for name, value in found.config.items()}
    render.record({**_row(found), "records": tables.count(found.records), **config})
    render.text("")
    render.rows(partitions, _OFFSETS)


def _heading(name: str) -> str:
    """Return a setting's name for people, without its unit: ``retention`` and ``max message size``."""
    kind = f"{name.removesuffix('.bytes')} size" if name.endswith(".bytes") else name.removesuffix(".ms")
    return kind.replace(".", " ")


def _setting(name: str, value: str) -> str:
    """Return a setting's value in units; one that is no number, as it is."""
    if not value.lstrip("-").isdigit():
        return value
    if name.endswith(".ms"):
        return tables.duration(int(value))
    if name.endswith(".bytes"):
        return tables.size(int(value)) if int(value) >= 0 else "unlimited"
    return value


def _row(topic: TopicInfo) -> dict[str, Any]:
    return {
        "topic": topic.alias,
        "name": topic.name,
        "exists": topic.exists,
        "partitions": len(topic.partitions),
        "replication": topic.replication,
        "records": topic.records,
    }
