"""The runner's log: lines ``time component level message`` on stdout, and the tail of one invocation.

What a function logs carries the function's name as its component, everything else ``runner``. Fields that are logged
with `extra` follow their message as JSON; Lambda's JSON format has them beside it.
"""

import json
import logging
import sys
from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TextIO

from fraudctl.pipeline.records import format_date

TAIL_BYTES: Final = 4096  # what Lambda gives back of a log
_CHATTY: Final = ("boto3", "botocore", "urllib3")
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"asctime", "component", "message", "taskName"}


@dataclass(slots=True)
class Capture:
    """The log of one invocation while it runs."""

    function: str
    _lines: deque[str] = field(default_factory=lambda: deque(maxlen=200))

    def add(self, text: str) -> None:
        """Add a line."""
        self._lines.append(text)

    def tail(self) -> bytes:
        """Return the last 4 KB."""
        return "".join(f"{line}\n" for line in self._lines).encode(errors="backslashreplace")[-TAIL_BYTES:]


current: ContextVar[Capture | None] = ContextVar("current", default=None)


class LineHandler(logging.Handler):
    """Writes every record as lines that all carry time, component and level, and keeps them for the invocation."""

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`."""
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record; a text of several lines becomes as many lines of the log."""
        try:
            capture = current.get()
            component = getattr(record, "component", None) or (capture.function if capture else "runner")
            time = format_date(datetime.fromtimestamp(record.created, UTC))
            text = self.format(record)
            if fields := {name: value for name, value in vars(record).items() if name not in _OWN}:
                text = f"{text} {json.dumps(fields, default=str)}"
            lines = text.splitlines() or [""]
            for line in lines:
                if capture:
                    capture.add(f"{time} {record.levelname} {line}")
                self._stream.write(f"{time} {component} {record.levelname} {line}\n")
            self._stream.flush()
        except Exception:  # noqa: BLE001 - logging must not stop the work; handleError says so on stderr
            self.handleError(record)


def configure(level: str) -> None:
    """Send all logging of the process to stdout."""
    logging.basicConfig(level=level, format="%(message)s", handlers=[LineHandler(sys.stdout)], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
