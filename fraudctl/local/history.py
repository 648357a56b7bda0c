"""What was restarted and when, read from supervisord's own log."""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

# 2026-01-31 12:00:00,123 WARN exited: kafka (terminated by SIGKILL; not expected)
_EXITED: Final = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) \w+ exited: (\S+) \((.*; not expected)\)")


@dataclass(frozen=True, slots=True)
class Restarts:
    """How often a program ended without being asked to, when last (epoch milliseconds), and how."""

    count: int = 0
    last_at: int | None = None
    last_reason: str = ""


def restarts(log: Path) -> dict[str, Restarts]:
    """Give the unasked-for ends per program; empty without a log."""
    found: dict[str, Restarts] = {}
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        if match := _EXITED.match(line):
            moment, millis, name, reason = match.groups()
            at = int(datetime.fromisoformat(moment).astimezone().timestamp()) * 1000 + int(millis)
            found[name] = Restarts(found.get(name, Restarts()).count + 1, at, reason)
    return found
