"""Dead letters counted by what they have in common."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fraudctl import tables
from fraudctl.pipeline.text import iso
from fraudctl.services.dead_letters.by import By
from fraudctl.services.dead_letters.excerpts import sample
from fraudctl.services.dead_letters.letters import MOST_REDRIVES, Letter, Place
from fraudctl.services.record_fields import text
from fraudctl.tables import Column

# What is different in each error of a kind: positions and lengths.
_VARIES: Final = (
    (re.compile(r"\b(at (?:character|byte)) \d+"), r"\1 …"),
    (re.compile(r"\btoo long: \d+ bytes"), "too long: … bytes"),
    (re.compile(r"\bhas \d+ characters"), "has … characters"),
)
_HOUR: Final = len("2026-11-24T10")
_DAY: Final = len("2026-11-24")


def kind_of(error: str) -> str:
    """Return an error without what differs from record to record."""
    for pattern, common in _VARIES:
        error = pattern.sub(common, error)
    return error


_KEYS: Final[Mapping[By, Callable[[Letter], str | None]]] = {
    By.ERROR: lambda letter: kind_of(letter.error),
    By.TOPIC: lambda letter: letter.topic,
    By.PARTITION: lambda letter: (
        None if letter.topic is None or letter.origin is None else f"{letter.topic}/{letter.origin[0]}"
    ),
    By.KEY: lambda letter: text(letter.key),
    By.HOUR: lambda letter: (iso(letter.at) or "")[:_HOUR] or None,
    By.DAY: lambda letter: (iso(letter.at) or "")[:_DAY] or None,
    By.LETTER: lambda letter: letter.name,
}


@dataclass(slots=True)
class Group:
    """Some letters: how many, when the first and the last of them were set aside, and the last one as a sample.

    `redriven` counts those that had been sent again and came back, `parked` those of them that came back too often.
    """

    value: str | None
    sample: Letter
    count: int = 0
    first: int | None = None
    last: int | None = None
    redriven: int = 0
    parked: int = 0

    def add(self, letter: Letter) -> None:
        """Count one."""
        self.count += 1
        self.redriven += letter.redrives > 0
        self.parked += letter.redrives >= MOST_REDRIVES
        if letter.at is None:
            return
        self.first = letter.at if self.first is None else min(self.first, letter.at)
        if self.last is None or letter.at >= self.last:
            self.last, self.sample = letter.at, letter


class Groups:
    """Counts letters as they come; memory grows with the groups alone."""

    def __init__(self, by: By) -> None:
        """Begin with none."""
        self._by, self._key = by, _KEYS[by]
        self._found: dict[str | None, Group] = {}
        self._each: list[tuple[tuple[int, Place], dict[str, Any]]] = []
        self._newest: Letter | None = None
        self.total = 0

    @property
    def newest(self) -> Letter:
        """The letter that was set aside last; there has to be one."""
        assert self._newest is not None  # noqa: S101
        return self._newest

    def add(self, letter: Letter) -> None:
        """Count one."""
        self.total += 1
        if self._newest is None or _order(letter) >= _order(self._newest):
            self._newest = letter
        if self._by is By.LETTER:  # its bytes are not kept: there may be many
            self._each.append((_order(letter), _single(letter)))
            return
        value = self._key(letter)
        if value not in self._found:
            self._found[value] = Group(value, letter)
        self._found[value].add(letter)

    def rows(self) -> list[dict[str, Any]]:
        """Return the groups, the largest first; hours, days and single letters in their order."""
        if self._by is By.LETTER:
            return [row for _, row in sorted(self._each, key=lambda each: each[0])]
        if self._by in {By.HOUR, By.DAY}:
            found = sorted(self._found.values(), key=lambda group: group.value or "")
        else:
            found = sorted(self._found.values(), key=lambda group: (-group.count, group.value or ""))
        return [self._row(group) for group in found]

    def columns(self) -> tuple[Column, ...]:
        """Return the columns for people and for CSV."""
        if self._by is By.LETTER:
            return (
                Column("letter"),
                Column("at", text=tables.short_time),
                Column("error", wrap=True),
                Column("source", drop=2),
                Column("redriven", drop=1),
                Column("excerpt", drop=3),
            )
        return (
            Column(self._by.value, wrap=self._by is By.ERROR, text=lambda value: value or "(none)"),
            Column("count", text=tables.count),
            Column("first", text=tables.short_time),
            Column("last", text=tables.short_time),
            Column("redriven", drop=2),
            Column("parked", drop=3),
            Column("sample"),
            Column("excerpt", drop=1),
        )

    def _row(self, group: Group) -> dict[str, Any]:
        return {
            self._by.value: group.value,
            "count": group.count,
            "first": iso(group.first),
            "last": iso(group.last),
            "redriven": group.redriven,
            "parked": group.parked,
            "sample": group.sample.name,
            "excerpt": _excerpt(group.sample),
        }


def _single(letter: Letter) -> dict[str, Any]:
    return {
        "letter": letter.name,
        "at": iso(letter.at),
        "error": letter.error,
        "source": letter.source,
        "redriven": letter.redrives,
        "excerpt": _excerpt(letter),
    }


def _excerpt(letter: Letter) -> str:
    found = letter.wrong(letter.value)
    return sample(letter.value, found[1] if found else None)


def _order(letter: Letter) -> tuple[int, Place]:
    return letter.at or 0, letter.place
