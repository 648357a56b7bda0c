"""The components' log files."""

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from fraudctl.errors import BadConfig, NotDeployed

_PAUSE_SECONDS: Final = 0.2
# supervisord writes local time, and has no setting for it; all others write UTC.
_SUPERVISOR: Final = "supervisor"
_LOCAL_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) ", re.ASCII)


class LocalLogs:
    """Reads logs/<component>.log. The runner hosts the functions, so its file has their lines."""

    def __init__(self, folder: Path, names: Sequence[str], *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Store the folder and the components' names; no I/O."""
        self._folder, self._names, self._sleep = folder, tuple(names), sleep

    def lines(self, component: str, *, last: int, follow: bool) -> Iterator[str]:
        """Yield the last lines, times in UTC, then new ones; a rotated file is followed into its successor."""
        lines = self._lines(component, last=last, follow=follow)
        return map(_in_utc, lines) if component == _SUPERVISOR else lines

    def _lines(self, component: str, *, last: int, follow: bool) -> Iterator[str]:
        if component not in self._names:
            raise BadConfig(f"component {component!r}: unknown", hint=f"the components are {', '.join(self._names)}")
        path = self._folder / f"{component}.log"
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                yield from (line.rstrip("\n") for line in deque(file, maxlen=last))
                if follow:
                    yield from self._until_rotated(path, file)
            while follow:
                with path.open(encoding="utf-8", errors="replace") as file:
                    yield from self._until_rotated(path, file)
        except FileNotFoundError as error:
            if not self._folder.exists():
                raise NotDeployed(
                    f"stack {self._folder.parent.name}: not deployed", hint="run `fraudctl deploy` first"
                ) from error
            raise NotDeployed(f"log of {component}: there is none", hint="run `fraudctl deploy` first") from error

    def _until_rotated(self, path: Path, file: IO[str]) -> Iterator[str]:
        partial = ""
        while True:
            partial += file.readline()
            if partial.endswith("\n"):
                yield partial.rstrip("\n")
                partial = ""
            elif path.exists() and path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                return
            else:
                self._sleep(_PAUSE_SECONDS)


def _in_utc(line: str) -> str:
    """Return supervisord's line with its time as all others write it; a line without a time as it is."""
    found = _LOCAL_TIME.match(line)
    if found is None:
        return line
    try:
        moment = datetime.fromisoformat(found[1]).astimezone(UTC)
    except ValueError:  # no such date
        return line
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{found[2]}Z {line[found.end() :]}"
