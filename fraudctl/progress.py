"""Live progress of an operation on stderr: one line per component with its timer, or plain lines without a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from fraudctl.pipeline.text import shown

if TYPE_CHECKING:
    from fraudctl.target import Event

_UNIT: Final = 1_000_000
NAME_WIDTH: Final = 16  # at least; longer names widen the column


class Progress:
    """Shows events as they come. A context manager; what an error interrupts is marked as failed."""

    def __init__(
        self,
        console: Any,  # noqa: ANN401 - rich's Console, imported by the caller
        paste: Callable[[str], str] = str,
        clock: Callable[[], float] = time.monotonic,
        *,
        width: int = NAME_WIDTH,
    ) -> None:
        """Store the collaborators; no I/O.

        `console` is rich's; `paste` makes commands in a text work when pasted; `clock` returns seconds; `width` is that
        of the longest name to come, if known: a longer one widens the column from there on.
        """
        self._console, self._paste, self._clock = console, paste, clock
        self._width = width
        self._running: dict[str, tuple[float, Event]] = {}
        self._live: Any = None

    def __enter__(self) -> Self:
        """Start the live display where there is a terminal."""
        if self._console.is_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, get_renderable=self._rows, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the display; print the components that were still running when an error occurred."""
        if self._live is not None:
            self._live.stop()
        if kind is not None:
            for name, (since, event) in self._running.items():
                self._print("✗" if not issubclass(kind, KeyboardInterrupt) else "…", name, event.detail, since)

    def show(self, event: Event) -> None:
        """Show one event."""
        from fraudctl.target import Phase

        self._width = max(self._width, len(shown(event.component)))
        since = self._running.get(event.component, (self._clock(), event))[0]
        match event.phase:
            case Phase.STARTED | Phase.PROGRESS:
                new = event.component not in self._running
                self._running[event.component] = (since, event)
                if self._live is None and new:
                    self._print("·", event.component, event.detail or "…", None)
            case Phase.DONE:
                self._running.pop(event.component, None)
                self._print("✓", event.component, event.detail, since)
            case Phase.NOTE:
                self._print("!", event.component, event.detail, None)

    def _print(self, mark: str, name: str, detail: str, since: float | None) -> None:
        self._console.print(self._line(mark, name, detail, since))

    def _line(self, mark: str, name: str, detail: str, since: float | None) -> Any:  # noqa: ANN401 - rich's Text
        from rich.text import Text

        elapsed = "" if since is None else f"{self._clock() - since:5.1f} s"
        style = {"✓": "green", "✗": "red", "!": "yellow"}.get(mark, "cyan")
        return Text.assemble(
            (f"{mark} ", style), f"{shown(name):<{self._width}} {elapsed:>8}  {shown(self._paste(detail))}".rstrip()
        )

    def _rows(self) -> Any:  # noqa: ANN401 - a rich Group
        from rich.console import Group

        return Group(
            *(
                self._line("…", name, f"{event.detail} {_amount(event)}".strip(), since)
                for name, (since, event) in list(self._running.items())
            )
        )


def _amount(event: Event) -> str:
    if event.done is None or not event.total:
        return ""
    filled = min(20, int(20 * event.done / event.total))
    bar = "━" * filled + "╌" * (20 - filled)
    if event.unit:
        return f"{bar} {event.done:,}/{event.total:,} {event.unit}"
    return f"{bar} {event.done / _UNIT:.0f}/{event.total / _UNIT:.0f} MB"
