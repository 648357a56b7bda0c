"""fraudctl status."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from fraudctl.context import Context
from fraudctl.errors import NotAsAsked
from fraudctl.pipeline.text import iso, span
from fraudctl.render import Renderer
from fraudctl.services import health

_EVERY_SECONDS: Final = 2.0
_COLUMNS: Final = ("component", "health", "version", "address", "pid", "up", "memory", "restarts", "detail")


def status(
    ctx: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again every 2 s until Ctrl-C.")] = False,
) -> None:
    """Show how every component is.

    With the numbers behind it; exit code 8 unless all is healthy.

    Example: fraudctl status
    """
    context: Context = ctx.obj
    found = health.look(context.target)
    while watch:
        context.render.clear()
        _show(context.render, found)
        time.sleep(_EVERY_SECONDS)
        found = health.look(context.target)
    _show(context.render, found)
    if not found.healthy:
        raise NotAsAsked(f"{found.outputs.stack}: not everything is healthy", hint="run `fraudctl deploy` to repair")


def _show(render: Renderer, found: health.Status) -> None:
    if render.structured:
        render.record(_document(found))
        return
    outputs = found.outputs
    render.text(f"{outputs.stack} on {outputs.target}: {'healthy' if found.healthy else 'not healthy'}")
    render.text("")
    render.rows([_component(item) for item in _document(found)["components"]], _COLUMNS)
    render.text("")
    lags = {lag.topic: lag for lag in found.consumers or ()}
    render.rows(
        [
            {
                "topic": topic.alias,
                "name": topic.name,
                "partitions": len(topic.partitions),
                "records": topic.records if topic.exists else "missing",
                "read by": lag.group if (lag := lags.get(topic.name)) else "",
                "lag": lag.lag if lag else None,
            }
            for topic in found.topics or ()
        ],
        ("topic", "name", "partitions", "records", "read by", "lag"),
    )
    render.text("")
    if found.audit_rows is not None:
        render.text(f"audit table {outputs.audit_table}: {found.audit_rows} rows")
    if found.samples is not None:
        last = f", last tick {found.samples.last_result}" if found.samples.last_result else ""
        render.text(f"sample transactions: {'on' if found.samples.enabled else 'off'}{last}")
    for problem in found.problems:
        render.note(problem)


def _document(found: health.Status) -> dict[str, Any]:
    return {
        "stack": found.outputs.stack,
        "target": found.outputs.target,
        "healthy": found.healthy,
        "components": [
            {
                **asdict(component),
                "started_at": iso(component.started_at),
                "restarted_at": iso(component.restarted_at),
            }
            for component in found.components
        ],
        "topics": [
            {
                "alias": t.alias,
                "name": t.name,
                "exists": t.exists,
                "partitions": len(t.partitions),
                "records": t.records,
            }
            for t in found.topics or ()
        ],
        "consumers": [asdict(consumer) for consumer in found.consumers or ()],
        "audit_table": found.outputs.audit_table,
        "audit_rows": found.audit_rows,
        "samples": found.samples and {**asdict(found.samples), "last_at": iso(found.samples.last_at)},
        "outputs": asdict(found.outputs),
        "problems": list(found.problems),
    }


def _component(item: Mapping[str, Any]) -> dict[str, Any]:
    restarted = f"{item['restarts']} (last {item['restarted_at']})" if item["restarts"] else 0
    return {
        "component": item["name"],
        "health": item["health"],
        "version": item["version"],
        "address": item["address"],
        "pid": item["pid"],
        "up": span(item["started_at"]),
        "memory": f"{item['memory_bytes'] / 1_000_000:.0f} MB" if item["memory_bytes"] else "",
        "restarts": restarted,
        "detail": item["detail"],
    }
