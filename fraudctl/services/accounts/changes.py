"""What changed in the list of accounts between two moments."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from fraudctl import tables
from fraudctl.errors import BadConfig
from fraudctl.pipeline.text import iso
from fraudctl.services.accounts import flag
from fraudctl.services.accounts.listing import Note, Row, date, moment
from fraudctl.services.flags import packed
from fraudctl.services.flags.packed import PackedFlags
from fraudctl.services.flags.timeline import Judged, State
from fraudctl.tables import Column
from fraudctl.target import Records

_SIGNS: Final = {"flagged": "+", "ended": "-", "changed": "~"}
_PARTS: Final = ("state", "since", "until", "reason", "flagged_by")
FIELDS: Final = ("change", "account_id", *_PARTS, *(f"was_{name}" for name in _PARTS))
COLUMNS: Final = (
    Column("change", heading=" ", text=lambda change: _SIGNS[change]),
    Column("account_id"),
    Column("was_state", heading="was"),
    Column("state", heading="is"),
    Column("since", text=tables.short_time, drop=3),
    Column("was_until", heading="was until", text=tables.short_time, drop=2),
    Column("until", text=tables.short_time),
    Column("reason", wrap=True),
    Column("flagged_by", drop=1),
)
_ON: Final = {State.FLAGGED, State.SCHEDULED}


@dataclass(frozen=True, slots=True)
class Span:
    """Two moments in epoch milliseconds, when each was known, and the accounts, None for all."""

    moments: tuple[int, int]
    known_at: tuple[int, int]
    accounts: frozenset[int] | None = None

    def __str__(self) -> str:
        """Return it as people read it."""
        first, last = self.moments
        known = "" if self.known_at == self.moments else f", by what was known at {iso(self.known_at[0])}"
        return f"from {iso(first)} to {iso(last)}{known}"


def prepare(
    first: str,
    last: str | None = None,
    *,
    accounts: Iterable[str] = (),
    known_at: str | None = None,
    note: Note = lambda _: None,
    clock: Callable[[], float] = time.time,
) -> Span:
    """Return the span that the options ask for; `note` is told what times without a zone were read as.

    Each moment is judged by what was known then, or with `known_at` both by what was known at that time. Raises
    `BadConfig`.
    """
    now = clock()
    begin = moment(first, "TIME", note, now, latest=True)
    end = int(now * 1000) if last is None else moment(last, "TIME", note, now)
    if begin > end:
        raise BadConfig(f"{first} is after {last or 'now'}", hint="give the earlier time first")
    known = None if known_at is None else moment(known_at, "--known-at", note, now, latest=True)
    known_times = (begin, end) if known is None else (known, known)
    return Span((begin, end), known_times, frozenset(map(flag.account, accounts)) or None)


class Changes:
    """What changed. `counts` has how many of each kind there were so far."""

    def __init__(self, span: Span, flags: PackedFlags) -> None:
        """Store what is compared; `flags` has been read."""
        self._span, self._flags = span, flags
        self.counts: Counter[str] = Counter()

    def rows(self) -> Iterator[Row]:
        """Yield a row for each account whose line in the list differs, in the order of accounts.

        One that is flagged now, or will be, has ``flagged``; one that is not any more ``ended``; any other ``changed``.
        """
        for account, rows in self._flags.rows():
            before, after = (
                self._flags.judged(rows, about, known)
                for about, known in zip(self._span.moments, self._span.known_at, strict=True)
            )
            if before == after:  # most of a million; what was said by another event is compared by its texts
                continue
            was, is_ = self._parts(before), self._parts(after)
            if was == is_:
                continue
            was_off, is_off = (found is None or found.state not in _ON for found in (before, after))
            change = "changed" if was_off == is_off else "flagged" if was_off else "ended"
            self.counts[change] += 1
            yield {
                "change": change,
                "account_id": account,
                **{name: is_.get(name) for name in _PARTS},
                **{f"was_{name}": was.get(name) for name in _PARTS},
            }

    def summary(self) -> str:
        """Return in a sentence how much changed."""
        if not self.counts:
            return f"Nothing changed {self._span}."
        flagged, ended, changed = (self.counts[change] for change in _SIGNS)
        return f"{flagged:,} flagged (+), {ended:,} cleared or expired (-), {changed:,} changed (~) {self._span}."

    def _parts(self, found: Judged | None) -> dict[str, Any]:
        """Return a line of the list, empty when the account is not in it."""
        if found is None:
            return {}
        until = None if found.until is None else date(found.until)
        values = (found.state.value, date(found.since), until, self._flags.reason(found.at))
        return dict(zip(_PARTS, (*values, self._flags.author(found.at)), strict=True))


def changes(records: Records, span: Span, note: Note = lambda _: None) -> Changes:
    """Read the flag topic and return what changed; raises `NotDeployed` and `Unreachable`."""
    flags = PackedFlags(span.known_at, span.accounts)
    packed.read(records, flags, note)
    return Changes(span, flags)
