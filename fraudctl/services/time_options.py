"""Times as people type them: ISO 8601 with a zone, ``now``, or how long ago (``15m``, ``1h30m``)."""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from fraudctl.errors import BadConfig
from fraudctl.pipeline.dates import parse_moment

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_AGO: Final = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", re.ASCII)
_HINT: Final = "a time is like 2026-11-24T10:15:30Z, now, or how long ago: 30s, 15m, 2h, 1d"


def parse(text: str, option: str, *, clock: Callable[[], float] = time.time) -> int:
    """Return the time in epoch milliseconds; raises `BadConfig` naming the option."""
    if text == "now":
        return int(clock() * 1000)
    if text and (ago := _AGO.fullmatch(text)):
        seconds = sum(int(amount or 0) * unit for amount, unit in zip(ago.groups(), _SECONDS.values(), strict=True))
        return max(0, int(clock() * 1000) - seconds * 1000)
    try:
        moment = parse_moment(text)
    except ValueError as error:
        if example := _in_utc(text):
            raise BadConfig(f"{option}: {text!r} has no time zone", hint=f"write {example} for UTC") from error
        raise BadConfig(f"{option}: {text!r} is not a time", hint=_HINT) from error
    if moment < _EPOCH:
        raise BadConfig(f"{option}: {text!r} is before 1970", hint=_HINT)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _in_utc(text: str) -> str:
    """Return the text with the zone that it lacks, and a time of day for a bare date; empty when more is wrong."""
    dashed = re.sub(r"(\d{4})(\d\d)(\d\d)", r"\1-\2-\3", text) if text.isdigit() else text
    for candidate in (f"{text}Z", f"{dashed}T00:00:00Z"):
        with suppress(ValueError):
            parse_moment(candidate)
            return candidate
    return ""


def span(
    since: str | None, until: str | None, *, clock: Callable[[], float] = time.time
) -> tuple[int | None, int | None]:
    """Return ``--since`` and ``--until`` in epoch milliseconds; raises `BadConfig`, also when their order is wrong."""
    first = None if since is None else parse(since, "--since", clock=clock)
    last = None if until is None else parse(until, "--until", clock=clock)
    if first is not None and last is not None and first > last:
        raise BadConfig(f"--since {since} is after --until {until}", hint="--since takes the earlier time")
    return first, last
