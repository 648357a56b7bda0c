"""One dead letter: its bytes, what is wrong with them, where they come from, and how often they were sent again."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fraudctl.errors import BadConfig, NotDeployed
from fraudctl.pipeline import topics
from fraudctl.pipeline.reader import Record
from fraudctl.pipeline.text import iso
from fraudctl.services.dead_letters.spans import Span, located
from fraudctl.services.record_fields import (
    TYPES,
    header_base64,
    header_texts,
    in_base64,
    is_text,
    text,
)
from fraudctl.services.where import Where
from fraudctl.target import From, Outgoing, Range, Records

REDRIVE_OF: Final = "redrive-of"
REDRIVE_COUNT: Final = "redrive-count"
# Sent again so often and still malformed: then not any more, unless asked for.
MOST_REDRIVES: Final = 3
# What the application appends to the headers of the original, in this order (flink Main.letter).
_OWN: Final = ("error", "topic", "partition", "offset", "timestamp")
# A letter may lie in dead_letters that somebody else has written: it must not reach any other topic.
INPUTS: Final = frozenset({topics.TRANSACTIONS.name, topics.FLAGGED.name})
_PLACE: Final = re.compile(r"(\d{1,9}):(\d{1,18})", re.ASCII)

_NAMED: Final = 10

Place = tuple[int, int]  # partition and offset
Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter; `at` is when it was set aside, in epoch milliseconds.

    `headers` are the original's, without those of the application. `topic` and `origin` say where the original lies or
    lay, `published` when it was published; None where nothing says so. `lies_in` is the topic of `place`.
    """

    place: Place
    at: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    error: str = ""
    topic: str | None = None
    origin: Place | None = None
    published: str | None = None
    lies_in: str = topics.DEAD_LETTERS.name

    @property
    def name(self) -> str:
        """Its place as it is typed: ``0:42``."""
        return f"{self.place[0]}:{self.place[1]}"

    @property
    def full_name(self) -> str:
        """Its place with the topic: ``dead_letters/0:42``."""
        return f"{self.lies_in}/{self.name}"

    @property
    def source(self) -> str | None:
        """Where the original lies: ``demo_transactions/3:1042``."""
        return (
            None if self.topic is None else self.topic + ("" if self.origin is None else "/{}:{}".format(*self.origin))
        )

    @property
    def redrive_of(self) -> str | None:
        """The letter that this one is of, when it was sent again and came back."""
        return text(_last(self.headers, REDRIVE_OF))

    @property
    def redrives(self) -> int:
        """How often its bytes, or those that they were made of, were sent again."""
        return _number(_last(self.headers, REDRIVE_COUNT)) or 0

    def outgoing(self, value: bytes | None) -> Outgoing:
        """Return the record to send: the original's key and headers, and where it comes from."""
        kept = [(name, content) for name, content in self.headers if name not in {REDRIVE_OF, REDRIVE_COUNT}]
        marks = [(REDRIVE_OF, self.full_name.encode()), (REDRIVE_COUNT, b"%d" % (self.redrives + 1))]
        return Outgoing(self.key, value, (*kept, *marks))

    def document(self) -> dict[str, Any]:
        """Return all of it for programs; what is not UTF-8 is in base64 too, as `tail` has it."""
        exact = header_base64(self.headers)
        return {
            "letter": self.name,
            "at": iso(self.at),
            "error": self.error,
            "topic": self.topic,
            "partition": self.origin and self.origin[0],
            "offset": self.origin and self.origin[1],
            "published": self.published,
            "redrives": self.redrives,
            "redrive_of": self.redrive_of,
            "key": text(self.key),
            **({} if is_text(self.key) else {"key_base64": in_base64(self.key)}),
            "headers": header_texts(self.headers),
            **({"headers_base64": exact} if exact else {}),
            "value": text(self.value),
            **({} if is_text(self.value) else {"value_base64": in_base64(self.value)}),
            **({"tombstone": True} if self.value is None else {}),
        }

    def wrong(self, value: bytes | None) -> tuple[str, Span | None] | None:
        """Return what makes these bytes malformed in the letter's topic, and where; None when nothing is known to."""
        kind = TYPES.get(self.topic or "")
        return None if kind is None else located(kind, value)


def letter_of(record: Record) -> Letter:
    """Return what a record of dead_letters is. What the application did not write has no topic to go back to."""
    headers, own = list(record.headers), dict[str, bytes | None]()
    for name in reversed(_OWN):
        if headers and headers[-1][0] == name:
            own[name] = headers.pop()[1]
        elif name != "timestamp":  # of a record without a time there is none
            own, headers = {}, list(record.headers)
            break
    numbers = _number(own.get("partition")), _number(own.get("offset"))
    origin = None if numbers[0] is None or numbers[1] is None else (numbers[0], numbers[1])
    return Letter(
        place=(record.partition, record.offset),
        at=record.timestamp,
        key=record.key,
        value=record.value,
        headers=tuple(headers),
        error=text(own.get("error")) or "no reason is given: the application did not write this record",
        topic=text(own.get("topic")),
        origin=origin,
        published=text(own.get("timestamp")),
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters: those at `places`, or all; set aside from `since` until before `until`, and matching `where`."""

    places: frozenset[Place] = frozenset()
    since: int | None = None
    until: int | None = None
    where: Where | None = None

    def matches(self, record: Record, *, timed: bool = True) -> bool:
        """Return whether a record is wanted; unless `timed`, whatever its time."""
        if timed and not self.in_time(record.timestamp):
            return False
        if self.places and (record.partition, record.offset) not in self.places:
            return False
        return self.where is None or self.where.matches(record.value, record)

    def in_time(self, at: int | None) -> bool:
        """Return whether it was set aside in the time that was asked for."""
        return (self.since or 0) <= (at or 0) < (2**63 if self.until is None else self.until)


def place(given: str) -> Place:
    """Return a letter's place; raises `BadConfig` for anything but PARTITION:OFFSET."""
    found = _PLACE.fullmatch(given.removeprefix(f"{topics.DEAD_LETTERS.name}/"))
    if found is None:
        raise BadConfig(
            f"letter {given!r}: not PARTITION:OFFSET", hint="write it like 0:42; `fraudctl dead-letters list` has them"
        )
    return int(found[1]), int(found[2])


def read(records: Records, wanted: Wanted, each: Callable[[Letter], None]) -> None:
    """Call `each` with the letters that are wanted; raises `NotDeployed` when the topic is not there, `Unreachable`."""
    start = From.BEGINNING if wanted.since is None else From.TIME
    asked = Range(start, since=wanted.since, until=wanted.until, follow=False)
    for batch in records.batches(topics.DEAD_LETTERS.name, asked):
        for record in batch.records:
            if wanted.matches(record):
                each(letter_of(record))


def one(records: Records, at: Place) -> Letter:
    """Return the letter at a place; raises `NotDeployed` when there is none, or none any more."""
    wanted = Range(From.OFFSETS, offsets={at[0]: at[1]}, limit=1, follow=False)
    found = next(records.read(topics.DEAD_LETTERS.name, wanted), None)
    if found is None or found.offset != at[1]:
        raise missing({at})
    return letter_of(found)


def missing(places: Iterable[Place], where: str = "dead letters", options: str = "") -> NotDeployed:
    """Return the error for places where no letter lies."""
    named = [f"{partition}:{offset}" for partition, offset in sorted(places)]
    more = ", …" if len(named) > _NAMED else ""
    return NotDeployed(
        f"{where}: {', '.join(named[:_NAMED])}{more} {'is' if len(named) == 1 else 'are'} not there",
        hint=f"`fraudctl dead-letters list --by letter{options}` shows those that are",
    )


def chosen(rows: Iterable[Mapping[str, Any]], fields: str | None, known: Iterable[str]) -> tuple[list[str] | None, Any]:
    """Return the columns named by ``--fields`` (None: all) and the rows with these alone; raises `BadConfig`."""
    if fields is None:
        return None, rows
    names, fine = [name.strip() for name in fields.split(",")], list(known)
    for name in names:
        if name not in fine:
            raise BadConfig(f"--fields: there is no column {name!r}", hint=f"the columns are {', '.join(fine)}")
    return names, ({name: row.get(name) for name in names} for row in rows)


def _last(headers: Headers, name: str) -> bytes | None:
    return next((content for found, content in reversed(headers) if found == name), None)


def _number(content: bytes | None) -> int | None:
    """Return a header's number; None for what is none."""
    return int(content) if content is not None and re.fullmatch(rb"\d{1,18}", content) else None
