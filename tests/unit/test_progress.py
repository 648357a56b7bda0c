"""Progress: a line a component, plain without a terminal, marked when it fails."""

import io

import pytest
from fakes import Terminal
from rich.console import Console

from fraudctl.progress import Progress
from fraudctl.target import Event, Phase

STARTED = Event("kafka", Phase.STARTED, "starting")


def progress(stream: io.StringIO) -> Progress:
    """Return a display whose clock moves on by a second each time it is asked."""
    times = iter(range(1000))
    console = Console(file=stream, width=100, no_color=True, highlight=False, soft_wrap=True)
    return Progress(console, clock=lambda: next(times))


def test_plain_lines_without_a_terminal() -> None:
    """One when it starts, one when it is done; steps between them are not repeated."""
    out = io.StringIO()
    with progress(out) as display:
        display.show(STARTED)
        for done in range(50):
            display.show(Event("kafka", Phase.PROGRESS, "loading", done, 50))
        display.show(Event("kafka", Phase.DONE, "answers on 127.0.0.1:9092"))
    first, last = out.getvalue().splitlines()
    assert first.split() == ["·", "kafka", "starting"]
    assert last.split()[:2] == ["✓", "kafka"]
    assert last.endswith(" s  answers on 127.0.0.1:9092")


def test_what_was_running_at_an_error_is_marked() -> None:
    """Failed, or just left when the user interrupts; what was done stays done."""
    for error, mark in ((RuntimeError, "✗"), (KeyboardInterrupt, "…")):
        out = io.StringIO()
        with pytest.raises(error):
            _fail(progress(out), error)
        *_, done, failed = out.getvalue().splitlines()
        assert done.split()[:2] == ["✓", "flink"]
        assert failed.split()[:2] == [mark, "kafka"]


def _fail(display: Progress, error: type[BaseException]) -> None:
    with display:
        display.show(STARTED)
        display.show(Event("flink", Phase.DONE, "running"))
        raise error


def test_a_note_is_a_line_of_its_own() -> None:
    """It does not end what it is about."""
    out = io.StringIO()
    with progress(out) as display:
        display.show(STARTED)
        display.show(Event("kafka", Phase.NOTE, "port 9092 is taken"))
        display.show(Event("kafka", Phase.DONE))
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["·", "!", "✓"]


def test_a_terminal_shows_a_bar_and_keeps_what_is_done() -> None:
    """The live part is redrawn; the lines of what is done stay."""
    out = Terminal()
    console = Console(file=out, width=100, force_terminal=True, no_color=True, highlight=False)
    display = Progress(console)
    with display:
        display.show(Event("jars", Phase.PROGRESS, "loading", 10_000_000, 40_000_000))
        display._live.refresh()
        display.show(Event("jars", Phase.DONE, "40 MB"))
    assert "━━━━━╌╌╌" in out.getvalue()
    assert "10/40 MB" in out.getvalue()
    assert "✓ jars" in out.getvalue()


LONG = "ApplicationCloudWatchLogsGroup"


def test_columns_are_as_wide_as_their_names() -> None:
    """A name of 30 characters moves all that follow, or all, when its width is given beforehand."""
    assert len(LONG) == 30
    for width, aligned in ((16, slice(1, None)), (30, slice(None))):
        out = io.StringIO()
        console = Console(file=out, width=200, no_color=True, highlight=False, soft_wrap=True)
        with Progress(console, clock=lambda: 0.0, width=width) as display:
            for name in ("kafka", LONG, "flink"):
                display.show(Event(name, Phase.DONE, "ready"))
        lines = out.getvalue().splitlines()
        assert len({line.index("ready") for line in lines[aligned]}) == 1, lines


def test_data_in_events_does_not_drive_the_terminal() -> None:
    """Names of components and details alike."""
    out = io.StringIO()
    with progress(out) as display:
        display.show(Event("a\x1b[2J", Phase.STARTED, "b\x9b"))
        display.show(Event("a\x1b[2J", Phase.DONE, "b\x9b"))
    assert not set(out.getvalue()) & set("\x1b\x9b")
