"""Times and durations as people type them.

====================================  =====================================================================
``30s``, ``15m``, ``2h``, ``1d``      how long ago; also ``1h30m``, ``1.5h``, ``500ms``. A day is 24 hours
``09:30``, ``9:30:15``                a time of day: the last one for ``--since``, today's for other options
``2026-11-24``, ``today``             a day begins with its first moment; also ``yesterday``
``2026-11-24T10:15:30Z``              a date with its zone, of the grammar of `fraudctl.pipeline.dates`
``2026-11-24 10:15``                  the same without a zone
``1795601730123``                     epoch milliseconds, 13 digits
``now``
====================================  =====================================================================

What has no zone is read in the machine's, and what it was read as is said. ``09:30Z`` and ``09:30+02:00`` have one.
When the clocks are changed, a time of day may be skipped or come twice. Such a time is refused, and the hint names what
can be written instead; it is taken if only one of the two fits, because the other is yet to come.
"""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Final

from fraudctl.errors import BadConfig
from fraudctl.pipeline.dates import milliseconds, parse_moment

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_DAY: Final = timedelta(days=1)
_UNITS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_DURATION: Final = re.compile("".join(rf"(?:(\d{{1,6}}(?:\.\d{{1,9}})?){unit}(?![a-z]))?" for unit in _UNITS), re.ASCII)
_EPOCH_MS: Final = re.compile(r"\d{13}", re.ASCII)
_NUMBER: Final = re.compile(r"\d+", re.ASCII)
_TIME_OF_DAY: Final = re.compile(r"(\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?)(.*)", re.ASCII)
_HINT: Final = (
    "a time is like 30s, 15m, 2h, 1d (ago), 09:30, 2026-11-24, 2026-11-24T10:15:30Z, epoch milliseconds, or now"
)
_DURATION_HINT: Final = "a duration is like 500ms, 30s, 15m, 2h, 1d or 1h30m"

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in epoch milliseconds; the note says what it was read as if it lacked its zone or its day."""

    milliseconds: int
    note: str | None = None


def read(
    text: str,
    option: str,
    *,
    clock: Callable[[], float] = time.time,
    zone: tzinfo | None = None,
    latest: bool = False,
    after: int | None = None,
) -> Moment:
    """Return the time that the text names.

    Args:
        text: What was typed.
        option: What it was typed for; begins errors and the note.
        clock: Gives epoch seconds.
        zone: Where times without a zone are read; None is the machine's zone.
        latest: A time of day is the last one that is not in the future, so yesterday's if today's is yet to come.
        after: A time of day is the first one from these epoch milliseconds on, if they are less than a day ago.

    Raises:
        BadConfig: It is no time, lies before 1970, or the clocks skipped it or showed it twice.
    """
    now = int(clock() * 1000)
    if text == "now":
        return Moment(now)
    if (ago := _milliseconds(text)) is not None:
        return Moment(max(0, now - ago))
    if _EPOCH_MS.fullmatch(text):
        return Moment(int(text))
    with suppress(ValueError):
        return Moment(_after_1970(parse_moment(text), text, option))
    reader = _LocalTime(text, option, _EPOCH + now * _MILLISECOND, zone)
    try:
        return reader.read(latest=latest, after=after)
    except (ValueError, OverflowError, OSError) as error:
        raise BadConfig(f"{option}: {text!r} is not a time", hint=_numeric_hint(text) or _HINT) from error


def parse(
    text: str,
    option: str,
    *,
    clock: Callable[[], float] = time.time,
    zone: tzinfo | None = None,
    note: Note | None = None,
) -> int:
    """Return the time in epoch milliseconds, a time of day as today's; `note` is called with what should be said.

    Raises `BadConfig` as `read` does.
    """
    return _said(read(text, option, clock=clock, zone=zone), note)


def end(
    text: str,
    option: str,
    *,
    start: int,
    clock: Callable[[], float] = time.time,
    zone: tzinfo | None = None,
    note: Note | None = None,
) -> tuple[int | None, int | None]:
    """Return an end as a time in epoch milliseconds, or how long after the start it is, in milliseconds; one is None.

    A time of day is the first one from `start` on if that is less than a day ago. Raises `BadConfig` as `read` does.
    """
    lasting = _milliseconds(text)
    if lasting is not None:
        return None, lasting
    return _said(read(text, option, clock=clock, zone=zone, after=start), note), None


def span(
    since: str | None,
    until: str | None,
    *,
    clock: Callable[[], float] = time.time,
    zone: tzinfo | None = None,
    note: Note | None = None,
) -> tuple[int | None, int | None]:
    """Return ``--since`` and ``--until`` in epoch milliseconds; `note` is called with what should be said.

    A time of day is the last one for ``--since``. For ``--until`` it is the first one from ``--since`` on if that is
    less than a day ago, otherwise today's, even if that is yet to come.

    Raises `BadConfig` as `read` does, also when their order is wrong.
    """
    now = clock()
    first = last = None
    if since is not None:
        first = _said(read(since, "--since", clock=lambda: now, zone=zone, latest=True), note)
    if until is not None:
        last = _said(read(until, "--until", clock=lambda: now, zone=zone, after=first), note)
    if first is not None and last is not None and first > last:
        raise BadConfig(f"--since {since} is after --until {until}", hint="--since takes the earlier time")
    return first, last


def duration(text: str, option: str) -> int:
    """Return how long the text says, in milliseconds (cut); raises `BadConfig` naming the option."""
    milliseconds = _milliseconds(text)
    if milliseconds is None:
        hint = f"write {text}s for seconds" if _NUMBER.fullmatch(text) else _DURATION_HINT
        raise BadConfig(f"{option}: {text!r} is not a duration", hint=hint)
    return milliseconds


def _said(moment: Moment, note: Note | None) -> int:
    if note is not None and moment.note is not None:
        note(moment.note)
    return moment.milliseconds


def _milliseconds(text: str) -> int | None:
    found = _DURATION.fullmatch(text) if text else None
    if found is None:
        return None
    return int(sum(Decimal(amount or 0) * unit for amount, unit in zip(found.groups(), _UNITS.values(), strict=True)))


def _after_1970(moment: datetime, text: str, option: str) -> int:
    if moment < _EPOCH:
        raise BadConfig(f"{option}: {text!r} is before 1970", hint=_HINT)
    return milliseconds(moment)


def _numeric_hint(text: str) -> str | None:
    """Return what a number may have been meant as, so that it is not read as some other moment in silence."""
    if not _NUMBER.fullmatch(text):
        return None
    if len(text) == len("YYYYMMDD"):
        return f"write {text[:4]}-{text[4:6]}-{text[6:]} for a day"
    if len(text) == len("1795601730"):
        return f"write {text}000: epoch milliseconds have 13 digits"
    return "epoch milliseconds have 13 digits"


class _LocalTime:
    """A time that lacks its zone or its day, and what it may mean."""

    def __init__(self, text: str, option: str, now: datetime, zone: tzinfo | None) -> None:
        """Store what was typed and where; no I/O."""
        self._text, self._option, self._now, self._zone = text, option, now, zone

    def read(self, *, latest: bool, after: int | None) -> Moment:
        """Return the time.

        Raises:
            BadConfig: Clocks skipped it or showed it twice, or it lies before 1970.
            ValueError: It is no time. OverflowError and OSError mean the same.
        """
        if self._text in {"today", "yesterday"}:
            today = self._local(self._now).date()
            return self._moment(self._first_of(today if self._text == "today" else today - _DAY))
        if found := _TIME_OF_DAY.fullmatch(self._text):
            wall, suffix = f"{found[1]:0>{len(found[1]) + (found[1][1] == ':')}}", found[2]
            if suffix:
                self._zone = self._zone_of(wall, suffix)
            return self._moment(self._of_day(wall, latest=latest, after=after))
        with suppress(ValueError):
            day = parse_moment(f"{self._text}T00:00:00Z").date()
            return self._moment(self._first_of(day))
        wall_time = parse_moment(f"{self._text}Z").replace(tzinfo=None)
        return self._moment(self._only(self._instants(wall_time), wall_time))

    def _of_day(self, wall: str, *, latest: bool, after: int | None) -> datetime:
        local_now = self._local(self._now)
        start = None if after is None else _EPOCH + after * _MILLISECOND
        if latest:
            days = [local_now.date() - back * _DAY for back in range(2)]
        elif start is not None and self._local(start).replace(tzinfo=None) > local_now.replace(tzinfo=None) - _DAY:
            days = [self._local(start).date() + on * _DAY for on in range(2)]
        else:
            start = None
            days = [local_now.date()]
        for day in days:
            wall_time = _wall_time(day, wall)
            # A time that was skipped stands at the moment of the change.
            instants = self._instants(wall_time) or [self._change(wall_time)]
            fitting = [
                instant
                for instant in instants
                if (not latest or instant <= self._now) and (start is None or instant >= start)
            ]
            if fitting:
                return self._only(fitting if self._instants(wall_time) else [], wall_time)
        raise ValueError("no day around has this time")

    @staticmethod
    def _zone_of(wall: str, suffix: str) -> tzinfo:
        there = _wall_time(date(2000, 1, 2), wall)
        return timezone(there.replace(tzinfo=UTC) - parse_moment(f"2000-01-02T{wall}{suffix}"))

    def _only(self, instants: list[datetime], wall_time: datetime) -> datetime:
        """Return the only moment at which clocks show the time; raises `BadConfig` when there is none, or two."""
        if len(instants) == 1:
            return instants[0]
        where = self._where(self._utc(wall_time, 0))
        shown = wall_time.isoformat(" ", "auto")
        if instants:
            first, second = (self._local(instant).isoformat() for instant in instants)
            raise BadConfig(
                f"{self._option}: {self._text!r} came twice: clocks were set back at {shown}{where}",
                hint=f"write {first} or {second}",
            )
        change = self._change(wall_time)
        raise BadConfig(
            f"{self._option}: {self._text!r} does not exist: clocks were set forward over {shown}{where}",
            hint=f"write {self._local(change).isoformat()}, the moment of the change",
        )

    def _first_of(self, day: date) -> datetime:
        midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - a wall clock's time
        found = (self._instants(midnight) or [self._change(midnight)])[0]
        if self._local(found).date() != day:
            raise BadConfig(
                f"{self._option}: there was no {day}{self._where(found)}",
                hint=f"write {self._local(found).isoformat()}, when the day after it began",
            )
        return found

    def _instants(self, wall_time: datetime) -> list[datetime]:
        """Return the moments, in UTC and in order, at which a clock on the wall shows this time: one, two or none."""
        both = sorted({self._utc(wall_time, fold) for fold in (0, 1)})
        return [instant for instant in both if self._local(instant).replace(tzinfo=None, fold=0) == wall_time]

    def _change(self, wall_time: datetime) -> datetime:
        """Return when the clocks were set forward over the time, by halving what lies between its two readings."""
        before, behind = self._utc(wall_time, 1), self._utc(wall_time, 0)
        offset = self._local(before).utcoffset()
        while behind - before > timedelta(seconds=1):
            middle = before + (behind - before) // 2
            if self._local(middle).utcoffset() == offset:
                before = middle
            else:
                behind = middle
        return behind.replace(microsecond=0)

    def _utc(self, wall_time: datetime, fold: int) -> datetime:
        return wall_time.replace(tzinfo=self._zone, fold=fold).astimezone(UTC)

    def _local(self, instant: datetime) -> datetime:
        return instant.astimezone(self._zone)

    def _moment(self, instant: datetime) -> Moment:
        milliseconds = _after_1970(instant, self._text, self._option)
        read_as = f"{self._option} {self._text} read as {self._local(instant).isoformat()}{self._where(instant)}"
        return Moment(milliseconds, read_as)

    def _where(self, instant: datetime) -> str:
        """Return the zone's name in brackets: of the tz database if known, otherwise a short one such as CET."""
        name = getattr(self._zone, "key", None) or self._local(instant).tzname() or ""
        return f" ({name})" if name[:1].isalpha() and not isinstance(self._zone, timezone) else ""


def _wall_time(day: date, wall: str) -> datetime:
    return parse_moment(f"{day.isoformat()}T{wall}Z").replace(tzinfo=None)
