"""fraudctl status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from fraudctl.clock import Clock
from fraudctl.commands import watching
from fraudctl.commands.watching import Every, Watch
from fraudctl.context import Context

if TYPE_CHECKING:
    from fraudctl.render import Renderer
    from fraudctl.services.health import Status


def status(ctx: typer.Context, watch: Watch = False, every: Every = None) -> None:
    """Show the health of every component.

    With topics, rows and consumer lag. The exit code is 8 unless everything is healthy.

    Example: fraudctl status
    Example: fraudctl status --watch
    Example: fraudctl status --every 10 -o json
    Example: fraudctl status -o csv > components.csv
    """
    from fraudctl.services import health

    context: Context = ctx.obj
    clock = Clock()
    seconds = watching.seconds(watch=watch, every=every)
    for found in watching.looks(context.render, seconds, lambda: health.read(context.target, clock), clock):
        _show(context.render, found, clock)
    found.check()


def _show(render: Renderer, found: Status, clock: Clock) -> None:
    from fraudctl.services.health import COMPONENT_FIELDS, TOPIC_COLUMNS

    if render.json:
        render.record(found.document())
        return
    if render.structured:  # CSV is a table of one kind of row
        render.rows(found.component_rows(), COMPONENT_FIELDS)
        return
    render.text(found.headline())
    render.text("")
    render.rows(found.component_rows(), found.component_columns(clock))
    render.text("")
    render.rows(found.topic_rows(), TOPIC_COLUMNS)
    render.text("")
    for line in found.footer():
        render.text(line)
    for line in (*found.problems, *found.notes):
        render.note(line)
