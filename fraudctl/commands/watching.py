"""--watch: a look again and again, drawn over the one before on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from fraudctl.clock import Clock
from fraudctl.errors import Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fraudctl.render import Renderer

_EVERY_SECONDS: Final = 2.0

Look = TypeVar("Look")
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Repeat until Ctrl-C, every 2 s or as --every says.")]
Every = Annotated[
    float | None,
    typer.Option("--every", min=0.1, max=86_400, metavar="SECONDS", help="Seconds between two looks; means --watch."),
]


def seconds(*, watch: bool, every: float | None) -> float | None:
    """Return the seconds between two looks; None for a single one."""
    return every or (_EVERY_SECONDS if watch else None)


def looks(
    render: Renderer,
    every: float | None,
    look: Callable[[], Look],
    clock: Clock = Clock(),  # noqa: B008 - frozen
) -> Iterator[Look]:
    """Yield a look, or one after the other; the terminal is cleared before each of several.

    When nobody answers after the first look, that is said once and the next answer is waited for. Raises what `look`
    does, `Unreachable` only the first time.
    """
    begun = silent = False
    for _ in clock.poll(every or 0.0, within=0 if every is None else None):
        try:
            found = look()
        except Unreachable as error:
            if not begun:
                raise
            if not silent:
                render.note(f"{error}; waiting.")
            silent = True
            continue
        if every is not None:
            render.clear()
        begun, silent = True, False
        yield found
