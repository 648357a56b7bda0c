"""fraudctl logs."""

from typing import Annotated

import typer

from fraudctl.commands import completion
from fraudctl.context import Context


def logs(
    ctx: typer.Context,
    component: Annotated[
        str,
        typer.Argument(
            help="kafka, lambda, flink, ..., as `fraudctl status` shows; on AWS each function too: audit-writer.",
            autocompletion=completion.components,
        ),
    ],
    last: Annotated[
        int, typer.Option("--last", "-n", min=0, max=1_000_000_000, help="Number of lines from the end.")
    ] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines as they are written, until Ctrl-C.")
    ] = False,
) -> None:
    """Print the log of a component.

    The lines as they are, in a pipe too; -o json or csv gives each with its component. Times are UTC.

    Example: fraudctl logs flink --last 100 --follow
    Example: fraudctl logs lambda -n 1000 | grep ERROR
    Example: fraudctl logs kafka -o json
    """
    context: Context = ctx.obj
    lines = context.target.logs.lines(component, last=last, follow=follow)
    context.render.stream(
        ({"component": component, "line": line} for line in lines),
        ("component", "line"),
        lambda row: str(row["line"]).expandtabs(),
        raw=lambda row: str(row["line"]),
    )
