"""The on-failure destination: a folder with what the function gave up, in the form of Lambda's S3 destination.

Both the event source mapping and the function itself write to it; see `fraudctl.pipeline.on_failure`.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fraudctl.atomic import atomic_write
from fraudctl.local.lambda_runner.batches import Delivered
from fraudctl.local.lambda_runner.functions import VERSION, Result, arn
from fraudctl.pipeline import on_failure
from fraudctl.pipeline.text import iso


class OnFailure:
    """A folder of on-failure documents."""

    def __init__(self, folder: Path, function: str, *, wall: Callable[[], float] = time.time) -> None:
        """Store the folder; it is created with the first file."""
        self._folder, self._function, self._wall = folder, function, wall
        self._read: dict[str, set[tuple[int, int]]] = {}
        self._unwritten: dict[str, bool] = {}

    def count(self) -> int:
        """Count the records given up, those of earlier runs too; one that lies in several files counts once."""
        return self._count(self._named())

    def unwritten(self) -> int:
        """Count those that used up their tries, not those that are no detections, like `count`."""
        return self._count((name, file) for name, file in self._named() if self._is_unwritten(file))

    def status(self) -> dict[str, Any]:
        """Return the numbers of records, the folder, and when the oldest and the newest file were written."""
        times = []
        for file in self._folder.glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                times.append(int(file.stat().st_mtime * 1000))
        return {
            "on_failure": self.count(),
            "on_failure_unwritten": self.unwritten(),
            "on_failure_folder": str(self._folder),
            "on_failure_oldest": iso(min(times, default=None)),
            "on_failure_newest": iso(max(times, default=None)),
        }

    def write(
        self, records: Sequence[Delivered], event: Mapping[str, Any], result: Result, attempts: int, error: str
    ) -> list[Path]:
        """Write the records with why they were given up, a file for each partition, and return the files.

        A file is whole or not there. Raises OSError.
        """
        failure = on_failure.Failure(
            function_arn=arn(self._function),
            version=VERSION,
            request_id=result.request_id,
            condition=on_failure.RETRIES_EXHAUSTED,
            attempts=attempts,
            error=error,
            function_error=result.error,
            log=result.log_tail.decode(errors="replace"),
        )
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files = []
        bodies = [record.body for record in records]
        for name, content in on_failure.documents(event, bodies, failure, int(self._wall() * 1000)):
            atomic_write(self._folder / name, content, durable=True)
            files.append(self._folder / name)
        return files

    def _named(self) -> list[tuple[on_failure.Name, Path]]:
        return [(name, file) for file in self._folder.glob("*.json") if (name := on_failure.Name.parse(file.name))]

    def _is_unwritten(self, file: Path) -> bool:
        if file.name not in self._unwritten:
            try:
                self._unwritten[file.name] = on_failure.is_unwritten(file.read_bytes())
            except OSError:  # deleted meanwhile
                return False
        return self._unwritten[file.name]

    def _count(self, named: Iterable[tuple[on_failure.Name, Path]]) -> int:
        return sum(self._distinct(files) for files in self._overlapping(named))

    def _overlapping(
        self, named: Iterable[tuple[on_failure.Name, Path]]
    ) -> Iterator[list[tuple[on_failure.Name, Path]]]:
        """Yield the files, together those that may hold the same records because their offsets overlap."""
        group: list[tuple[on_failure.Name, Path]] = []
        for name, file in sorted(named, key=lambda entry: (entry[0].partition, entry[0].first)):
            if group and (name.partition != group[0][0].partition or name.first > max(seen.last for seen, _ in group)):
                yield group
                group = []
            group.append((name, file))
        if group:
            yield group

    def _distinct(self, files: list[tuple[on_failure.Name, Path]]) -> int:
        if len(files) == 1:
            return files[0][0].records
        found: set[tuple[int, int]] = set()
        for _, file in files:
            with contextlib.suppress(OSError, ValueError, KeyError):
                if file.name not in self._read:  # its name says what is in it, so it does not change
                    self._read[file.name] = on_failure.records_of(file.read_bytes())
                found |= self._read[file.name]
        return len(found)
