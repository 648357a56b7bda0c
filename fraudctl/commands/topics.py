"""fraudctl topics: the pipeline's topics."""

from typing import Annotated, Any, Final

import typer

from fraudctl.context import Context
from fraudctl.services import topics as service
from fraudctl.target import TopicInfo

app = typer.Typer(no_args_is_help=True, help="Create, list and describe the pipeline's topics.")

_COLUMNS: Final = ("topic", "name", "exists", "partitions", "replication", "records")


@app.command()
def create(ctx: typer.Context) -> None:
    """Create the topics that are missing and repair configuration that differs.

    Example: fraudctl topics create
    """
    context: Context = ctx.obj
    running = context.running
    with running.lock():
        context.render.events(running.topics.create())


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List the pipeline's topics.

    Example: fraudctl topics list
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
    """
    context: Context = ctx.obj
    found = context.running.topics.describe(service.named(topic).name)
    partitions = [
        {"partition": p.partition, "leader": p.leader, "earliest": p.earliest, "latest": p.latest}
        for p in found.partitions
    ]
    render = context.render
    if render.structured:
        render.record({**_row(found), "partitions": partitions, "config": dict(found.config)})
        return
    render.record({**_row(found), **found.config})
    render.text("")
    render.rows(partitions, ("partition", "leader", "earliest", "latest"))


def _row(topic: TopicInfo) -> dict[str, Any]:
    return {
        "topic": topic.alias,
        "name": topic.name,
        "exists": topic.exists,
        "partitions": len(topic.partitions),
        "replication": topic.replication,
        "records": topic.records,
    }
