"""Write audit rows to a file, which appears when it is whole."""

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from fraudctl.atomic import atomic_file
from fraudctl.clock import Clock
from fraudctl.errors import BadConfig
from fraudctl.pipeline.audit_table import AuditRow
from fraudctl.pipeline.fields import dump
from fraudctl.pipeline.text import json_safe
from fraudctl.services.audit.rows import Chosen, cells, columns
from fraudctl.target import Event, Phase

_SHOWN_EVERY_SECONDS: Final = 0.5


def check(path: Path) -> None:
    """Raise `BadConfig` unless rows can be written there: the suffix says the format."""
    if path.suffix not in {".jsonl", ".csv"}:
        raise BadConfig(f"{path}: neither .jsonl nor .csv", hint="name the file detections.jsonl or detections.csv")
    if not path.absolute().parent.is_dir():
        raise BadConfig(f"{path}: there is no such folder", hint="create the folder, or name another file")


def export(
    rows: Iterable[AuditRow],
    path: Path,
    cell: Callable[[object], str],
    chosen: Chosen | None = None,
    clock: Clock = Clock(),  # noqa: B008 - frozen
) -> Iterator[Event]:
    """Write rows as JSON Lines or CSV, whatever the file's suffix says; a file that was there is replaced at the end.

    `cell` returns a value as it stands in a CSV file. Raises OSError.
    """
    yield Event(path.name, Phase.STARTED)
    count, shown = 0, clock.monotonic()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with (
        atomic_file(path) as partial,
        os.fdopen(os.open(partial, flags, 0o600), "w", encoding="utf-8", newline="") as file,
    ):
        take = cells if chosen is None else chosen.cells
        sheet = csv.writer(file, lineterminator="\n") if path.suffix == ".csv" else None
        if sheet is not None:
            sheet.writerow(columns(chosen))
        for row in rows:
            if sheet is not None:
                sheet.writerow(map(cell, take(row).values()))
            else:
                file.write(json_safe(dump(take(row))) + "\n")
            count += 1
            if clock.monotonic() - shown >= _SHOWN_EVERY_SECONDS:
                shown = clock.monotonic()
                yield Event(path.name, Phase.PROGRESS, f"{count:,} rows")
        file.flush()
        os.fsync(file.fileno())
    yield Event(path.name, Phase.DONE, f"{count:,} rows")
