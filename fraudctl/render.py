"""Everything fraudctl prints: tables for people, JSON Lines and CSV for programs.

stdout carries data and nothing else; progress, prompts, notes and errors go to stderr. Data never drives the terminal:
control characters are shown as escapes.
"""

from __future__ import annotations

import csv
import os
import select
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any, Final, Protocol, TypeVar

from fraudctl import tables
from fraudctl.config import Format
from fraudctl.errors import Refused
from fraudctl.hints import Invocation
from fraudctl.pipeline.text import json_safe, shown, spreadsheet_safe
from fraudctl.progress import NAME_WIDTH, Progress
from fraudctl.tables import Column

if TYPE_CHECKING:
    from fraudctl.target import Event, Plan

Row = Mapping[str, Any]
T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
_ACTION_WIDTH: Final = 8  # at least; a plan with longer words is wider
_WIDE: Final = 10_000  # a piped table is never folded


class BatchOutput(Protocol[T_contra]):
    """How items that come in batches are written, in each format."""

    @property
    def json(self) -> Callable[[Sequence[T_contra]], bytes]:
        """Returns a batch as JSON Lines."""

    @property
    def columns(self) -> Sequence[str]:
        """The columns as CSV."""

    @property
    def row(self) -> Callable[[T_contra], Row]:
        """Returns an item's cells by column."""

    @property
    def people(self) -> Callable[[Sequence[T_contra]], Iterable[str]]:
        """Returns a batch as lines for people."""

    @property
    def raw(self) -> Callable[[Sequence[T_contra]], bytes] | None:
        """Returns a batch byte for byte, if that was asked for; a terminal gets the lines for people then."""


class Renderer:
    """Prints results in one format. Streams can be passed in, which is how tests read them."""

    def __init__(
        self,
        output: Format = Format.AUTO,
        *,
        color: bool = True,
        out: IO[str] | None = None,
        err: IO[str] | None = None,
        stdin: IO[str] | None = None,
        invocation: Invocation = Invocation(),  # noqa: B008 - frozen
    ) -> None:
        """Store the format and the streams, the process's own by default; no I/O."""
        self._out, self._err, self._stdin = out, err, stdin
        self._color, self._paste = color, invocation.paste
        self._name_width = NAME_WIDTH
        self.format = output

    @property
    def out(self) -> IO[str]:
        """Where data goes."""
        return self._out or sys.stdout

    @property
    def err(self) -> IO[str]:
        """Where everything for people goes."""
        return self._err or sys.stderr

    @property
    def structured(self) -> bool:
        """Whether the output is for programs (JSON or CSV)."""
        return self._format() is not Format.TABLE

    @property
    def json(self) -> bool:
        """Whether the output is JSON Lines."""
        return self._format() is Format.JSON

    def rows(self, rows: Iterable[Row], columns: Sequence[str | Column], *, empty: str = "") -> int:
        """Print rows and return how many; the table and the CSV have `columns`, JSON has every field.

        A table shows the columns that fit the terminal (see `fraudctl.tables`). `empty` is printed on stderr when there
        are none.
        """
        count = 0
        names = [column.name for column in tables.columns(columns)]
        match self._format():
            case Format.JSON:
                for row in rows:
                    self._write_line(_json(row))
                    count += 1
            case Format.CSV:
                writer = self._csv(names)
                for row in rows:
                    writer.writerow([csv_cell(row.get(name)) for name in names])
                    self.out.flush()
                    count += 1
            case _:
                count = self._table(rows, tables.columns(columns))
        if not count and empty:
            self.note(empty)
        return count

    def stream(
        self,
        rows: Iterable[Row],
        columns: Sequence[str],
        line: Callable[[Row], str],
        raw: Callable[[Row], str] | None = None,
    ) -> int:
        """Print rows one by one as they come, as JSON, as CSV, or for people as `line` formats them.

        With `raw`, a pipe gets that, unescaped, unless a format was asked for.
        """
        if raw is None or self.format is not Format.AUTO or self.out.isatty():
            if self._format() is not Format.TABLE:
                return self.rows(rows, columns)
            raw = None
        count = 0
        for row in rows:
            self._write_line(raw(row) if raw is not None else shown(line(row)))
            count += 1
        return count

    def batches(self, batches: Iterable[Sequence[T]], output: BatchOutput[T]) -> None:
        """Print items as they come, a batch at a time; a terminal gets lines that fit, and never raw bytes.

        Raises BrokenPipeError at an empty batch too, when nobody reads a pipe any more.
        """
        batches = self._while_read(batches)
        if output.raw is not None and not self.out.isatty():
            for batch in batches:
                self._write_bytes(output.raw(batch))
            return
        match self._format() if output.raw is None else Format.TABLE:
            case Format.JSON:
                for batch in batches:
                    self._write_bytes(output.json(batch))
            case Format.CSV:
                writer = self._csv(output.columns)
                for batch in batches:
                    writer.writerows(
                        [csv_cell(cells.get(column)) for column in output.columns] for cells in map(output.row, batch)
                    )
                    self.out.flush()
            case _:
                for batch in batches:
                    width = self._width()
                    self.out.write("".join(f"{_cropped(shown(line), width)}\n" for line in output.people(batch)))
                    self.out.flush()

    def _while_read(self, batches: Iterable[Sequence[T]]) -> Iterator[Sequence[T]]:
        """Yield what is not empty; at what is, look whether the pipe still has a reader."""
        for batch in batches:
            if len(batch):
                yield batch
            elif _is_closed(self.out):
                raise BrokenPipeError

    def _width(self) -> int | None:
        """Return how many cells a line of a terminal has; None elsewhere, and where the terminal does not say."""
        return os.get_terminal_size(self.out.fileno()).columns or None if self.out.isatty() else None

    def record(self, row: Row) -> None:
        """Print one item: one line for each field for people, one JSON document or one CSV row for programs."""
        if self._format() is not Format.TABLE:
            self.rows([row], list(row))
            return
        width = max(map(len, row), default=0)
        for name, value in row.items():
            if isinstance(value, Mapping):
                value = " ".join(f"{inner}={_plain(item)}" for inner, item in value.items())  # noqa: PLW2901
            self._write_line(f"{name.replace('_', ' '):<{width}}  {_plain(value)}")

    def text(self, line: str) -> None:
        """Print one line of data; control characters are escaped."""
        self._write_line(shown(line))

    def note(self, text: str) -> None:
        """Print a note for people on stderr."""
        _say(self._console(), self._paste(text))

    def error(self, message: str, hint: str | None = None, excerpt: Sequence[str] = ()) -> None:
        """Print an error on stderr, the excerpt below it that shows where it is, and its hint."""
        console = self._console()
        _say(console, f"Error: {self._paste(message)}", style="red")
        for line in excerpt:
            console.print(_text(f"  {line}"), no_wrap=True, crop=False, overflow="ignore")  # a caret stays in its place
        if hint:
            _say(console, f"Hint: {self._paste(hint)}")

    def plan(self, plan: Plan) -> None:
        """Print a plan on stderr, in columns as wide as its longest entries."""
        console = self._console()
        action = max((len(shown(change.action)) for change in plan.changes), default=0)
        name = max((len(shown(change.component)) for change in plan.changes), default=0)
        action, name = max(action, _ACTION_WIDTH), max(name, NAME_WIDTH)
        self._name_width = max(self._name_width, name)  # the events that follow have the same components
        for change in plan.changes:
            columns = f"  {shown(change.action):<{action}} {shown(change.component):<{name}} {change.detail}"
            console.print(_text(columns.rstrip()))
        for loss in plan.losses:
            console.print(_text(f"  lost for good: {loss}", style="yellow"))
        for note in plan.notes:
            _say(console, f"  {self._paste(note)}")

    def events(self, events: Iterable[Event]) -> None:
        """Print the events of an operation: live lines with timers on a terminal, plain lines otherwise."""
        with self.progress() as progress:
            for event in events:
                progress.show(event)

    def progress(self) -> Progress:
        """Return the same display, a context manager, for a caller that shows events while it works."""
        return Progress(self._console(), self._paste, width=self._name_width)

    def consent(self, plan: Plan, question: str, subject: str, *, given: bool) -> None:
        """Ask for the confirmation that the plan needs, unless it was given as an option.

        `question` is in the imperative ("Tear down x"), `subject` begins a sentence ("Tearing down x").

        Raises:
            Refused: It was declined, or there is no terminal to ask on.
        """
        from fraudctl.target import Consent

        if given or plan.consent is Consent.NONE:
            return
        stdin = self._stdin or sys.stdin
        if not (stdin.isatty() and self.err.isatty()):
            raise Refused(f"{subject} needs confirmation, and there is no terminal to ask on", hint="add --yes")
        wanted = plan.stack if plan.consent is Consent.NAME else "y"
        self.err.write(
            f"{question}? Type {plan.stack!r} to confirm: " if plan.consent is Consent.NAME else f"{question}? [y/N] "
        )
        self.err.flush()
        answer = stdin.readline().strip()
        if answer != wanted and not (wanted == "y" and answer.lower() in {"y", "yes"}):
            raise Refused(f"{question}: declined, nothing was changed", hint="add --yes to skip the question")

    def clear(self) -> None:
        """Clear the terminal, as ``--watch`` does before each update; does nothing without a terminal."""
        if self.out.isatty():
            self.out.write("\x1b[H\x1b[2J")

    def _format(self) -> Format:
        if self.format is not Format.AUTO:
            return self.format
        return Format.TABLE if self.out.isatty() else Format.JSON

    def _csv(self, columns: Sequence[str]) -> Any:  # noqa: ANN401 - csv's writer type has no public name
        writer = csv.writer(self.out, lineterminator="\n")
        writer.writerow(columns)
        self.out.flush()
        return writer

    def _write_line(self, line: str) -> None:
        self.out.write(line + "\n")
        self.out.flush()

    def _write_bytes(self, lines: bytes) -> None:
        binary = getattr(self.out, "buffer", None)
        if binary is None:
            self.out.write(lines.decode())
            return
        self.out.flush()
        binary.write(lines)
        binary.flush()

    def _table(self, rows: Iterable[Row], columns: Sequence[Column]) -> int:
        from rich.cells import cell_len

        shaped = list(rows)
        if not shaped:
            return 0
        cells = [{column.name: _cell(column, row) for column in columns} for row in shaped]
        widths = {
            column.name: max(cell_len(column.title), *(cell_len(cell[column.name]) for cell in cells))
            for column in columns
        }
        console = self._console(self.out)
        shown = tables.fitting(columns, widths, console.width)
        if shown is None:
            self._blocks(console, columns, shaped, cells)
        else:
            self._grid(console, shown, shaped, cells)
        return len(shaped)

    @staticmethod
    def _grid(
        console: Any,  # noqa: ANN401 - rich is imported where it is used
        columns: Sequence[Column],
        rows: Sequence[Row],
        cells: Sequence[Mapping[str, str]],
    ) -> None:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        for column in columns:
            numeric = any(isinstance(row.get(column.name), int | float | Decimal) for row in rows)
            table.add_column(
                _text(column.title),
                justify="right" if numeric else "left",
                no_wrap=not column.wrap,
                overflow="fold" if column.wrap else "crop",
            )
        for row, cell in zip(rows, cells, strict=True):
            table.add_row(*(_text(cell[column.name], _style(column, row)) for column in columns))
        console.print(table)

    @staticmethod
    def _blocks(
        console: Any,  # noqa: ANN401 - rich is imported where it is used
        columns: Sequence[Column],
        rows: Sequence[Row],
        cells: Sequence[Mapping[str, str]],
    ) -> None:
        """Print a line for each field: the terminal is too narrow for a table."""
        width = max(len(column.title) for column in columns)
        for number, (row, cell) in enumerate(zip(rows, cells, strict=True)):
            if number:
                console.print()
            for column in columns:
                if cell[column.name]:
                    line = _text(f"{column.title:<{width}}  ")
                    line.append_text(_text(cell[column.name], _style(column, row)))
                    console.print(line, soft_wrap=True)

    def _console(self, stream: IO[str] | None = None) -> Any:  # noqa: ANN401 - rich is imported where it is used
        from rich.console import Console

        file = stream or self.err
        ends = file is self.out

        class PipeSafeConsole(Console):
            """Does not exit with code 1, as rich does, when the reader of a pipe has gone."""

            def on_broken_pipe(self) -> None:
                if ends:
                    raise BrokenPipeError  # handled by the error boundary
                os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())  # notes and progress: the work goes on

        terminal = file.isatty()
        return PipeSafeConsole(
            file=file,
            width=None if terminal else _WIDE,
            no_color=not self._color,
            highlight=False,
            soft_wrap=not terminal,
        )


def csv_cell(value: object) -> str:
    """Return a value as it stands in a CSV file: on one line, without control characters, and never a formula."""
    return spreadsheet_safe(_plain(value))


def _say(console: Any, text: str, style: str = "") -> None:  # noqa: ANN401 - rich is imported where it is used
    """Print a line, folded at words; the terminal itself folds one with a command, which can be copied whole then."""
    console.print(_text(text, style=style), soft_wrap=True if "`" in text else None)


def _is_closed(stream: IO[str]) -> bool:
    """Return whether a stream is a pipe that nobody reads any more."""
    try:
        look = select.poll()
        look.register(stream.fileno(), 0)
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in look.poll(0))
    except (AttributeError, OSError, ValueError):  # no poll on this system; a stream without a file
        return False


def _cropped(line: str, width: int | None) -> str:
    """Return a line that fits, its end an ellipsis if it had to be cut; a character may take two cells."""
    if width is None or (len(line) <= width and line.isascii()):
        return line
    from rich.cells import cell_len, set_cell_size

    return line if cell_len(line) <= width else set_cell_size(line, width - 1).rstrip() + "…"


def _text(text: str, style: str = "") -> Any:  # noqa: ANN401 - rich is imported where it is used
    from rich.text import Text

    return Text(shown(text), style=style)


def _cell(column: Column, row: Row) -> str:
    value = row.get(column.name)
    return shown(column.text(value)) if column.text is not None and value is not None else _plain(value)


def _style(column: Column, row: Row) -> str:
    return column.style(row.get(column.name)) if column.style is not None else ""


def _plain(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case Mapping() | list() | tuple():
            return shown(_json(value))
        case _:
            return shown(str(value))


def _json(value: object) -> str:
    import orjson

    def other(item: object) -> object:
        match item:
            case Decimal():
                return orjson.Fragment(str(item))
            case bytes():
                return item.decode(errors="backslashreplace")
            case Mapping():
                return dict(item)
        raise TypeError(type(item).__name__)

    return json_safe(orjson.dumps(value, default=other).decode())
