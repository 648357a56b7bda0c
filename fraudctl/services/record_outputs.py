"""How the records of a tail are written, in each format."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fraudctl.errors import BadConfig
from fraudctl.pipeline.reader import Record
from fraudctl.services.record_fields import Cells
from fraudctl.services.record_formats import JsonLines, Sheet, raw_lines, raw_texts
from fraudctl.services.record_lines import AlignedLines, ChosenLines
from fraudctl.services.tail import Tail


@dataclass(frozen=True, slots=True)
class RecordOutput:
    """What the renderer takes: JSON Lines, rows of CSV with their columns, lines for people, or bytes as they are.

    With `raw`, nothing else counts; a terminal gets `people` then.
    """

    json: Callable[[Sequence[Record]], bytes]
    columns: Sequence[str]
    row: Callable[[Record], Mapping[str, Any]]
    people: Callable[[Sequence[Record]], Iterable[str]]
    raw: Callable[[Sequence[Record]], bytes] | None = None


def output(tail: Tail, *, fields: str | None = None, raw: bool = False) -> RecordOutput:
    """Return how to write the records; raises `BadConfig` for options that exclude each other."""
    if raw and (fields is not None or tail.why_not):
        other = "--fields" if fields is not None else "--why-not"
        raise BadConfig(f"--raw and {other} cannot be combined", hint="--raw shows the values as they are")
    cells = None if fields is None else Cells.of(fields)
    stopped_by = tail.stopped_by if tail.why_not else None
    sheet = Sheet(tail.topic.name, cells, stopped_by)
    people = AlignedLines(stopped_by) if cells is None else ChosenLines(cells, stopped_by)
    return RecordOutput(
        json=JsonLines(cells, stopped_by).lines,
        columns=sheet.columns,
        row=sheet.row,
        people=raw_texts if raw else people.lines,
        raw=raw_lines if raw else None,
    )
