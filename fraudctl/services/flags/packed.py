"""The flag events of all accounts in a few bytes each: a million of them take 50 MB.

Of each account no more is kept than the rule asks for: the last 64 events that were known at each moment asked about.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from fraudctl import tables
from fraudctl.clock import Clock
from fraudctl.pipeline import topics
from fraudctl.pipeline.dates import format_milliseconds
from fraudctl.pipeline.reader import Records as Columns
from fraudctl.services.flags import timeline
from fraudctl.services.flags.parsing import fields
from fraudctl.services.flags.reading import naming
from fraudctl.services.flags.rule import KEPT_EVENTS, FlagEvent
from fraudctl.target import From, Range, Records

_CACHED: Final = 2**14  # texts
_LENGTH_BITS: Final = 11  # 256 characters are 1024 bytes at most
_LENGTH: Final = 2**_LENGTH_BITS - 1
_FULL: Final = 2**20  # events that are held before those that cannot count any more are dropped
_SAID_EVERY_SECONDS: Final = 5.0


class PackedFlags:
    """Flag events in columns; what one account has is taken out as `FlagEvent`."""

    def __init__(
        self,
        known_at: Sequence[int] = (timeline.ALWAYS,),
        accounts: frozenset[int] | None = None,
        *,
        full: int = _FULL,
    ) -> None:
        """Store the moments that are asked about, in epoch milliseconds, and the accounts, None for all; no I/O."""
        self._moments, self._full = sorted(set(known_at)), full
        self.wanted = accounts
        self._texts = _Texts()
        self._account, self._published, self._date, self._offset = array("q"), array("q"), array("q"), array("q")
        self._partition, self._flagged = array("i"), array("b")
        self._reason, self._author = array("Q"), array("Q")
        self.read = 0

    def __len__(self) -> int:
        """Return how many events are held."""
        return len(self._account)

    def add(self, records: Columns) -> None:
        """Take the events from records of the flag topic; what is malformed is a dead letter, and left out."""
        latest, wanted, place = self._moments[-1], self.wanted, self._texts.place
        values, published = records.values(), records.timestamps()
        partitions, offsets = records.partitions(), records.offsets()
        self.read += len(values)
        for at, value in enumerate(values):
            time = published[at] or 0
            found = fields(value) if time <= latest else None
            if found is None or (wanted is not None and found.account_id not in wanted):
                continue
            self._account.append(found.account_id)
            self._published.append(time)
            self._date.append(found.date)
            self._flagged.append(found.flagged)
            self._partition.append(partitions[at])
            self._offset.append(offsets[at])
            self._reason.append(place(found.reason))
            self._author.append(place(found.flagged_by))
        if len(self) > self._full:
            self._drop()
            self._full = max(self._full, 2 * len(self))

    def rows(self) -> Iterator[tuple[int, Sequence[int]]]:
        """Yield each account, in their order, with its events in the order of publishing."""
        account, published, partition, offset = self._account, self._published, self._partition, self._offset
        order = array("I", sorted(range(len(self)), key=account.__getitem__))  # a list of them takes ten times as much
        begin, count = 0, len(order)
        while begin < count:
            number, end = account[order[begin]], begin + 1
            while end < count and account[order[end]] == number:
                end += 1
            rows = order[begin:end].tolist()
            if end - begin > 1:
                rows.sort(key=lambda row: (published[row], partition[row], offset[row]))
            yield number, rows
            begin = end

    def judged(self, rows: Sequence[int], as_of: int, known_at: int) -> timeline.Judged | None:
        """Return what an account is at a time by what was known at another, with the row of the event that says so.

        `rows` are its events in the order of publishing. None when nothing was known of it.
        """
        dates, flagged, published = self._date, self._flagged, self._published
        if len(rows) == 1:
            (row,) = rows
            if published[row] > known_at:
                return None
            state, _, since, until = timeline.judged((dates[row],), (flagged[row],), (published[row],), as_of)
            return timeline.Judged(state, row, since, until)
        by_date = {dates[row]: row for row in self._last_known(rows, known_at)}
        if not by_date:
            return None
        days = sorted(by_date)
        known = [by_date[date] for date in days]
        columns = ([flagged[row] for row in known], [published[row] for row in known])
        state, at, since, until = timeline.judged(days, *columns, as_of)
        return timeline.Judged(state, known[at], since, until)

    def event(self, row: int) -> FlagEvent:
        """Return an event."""
        return FlagEvent(
            *(self._published[row], self._date[row], self._flagged[row] == 1, *self.place(row)),
            *(format_milliseconds(self._date[row]), self.reason(row), self.author(row)),
        )

    def published(self, row: int) -> int:
        """Return when an event was published, in epoch milliseconds."""
        return self._published[row]

    def place(self, row: int) -> tuple[int, int]:
        """Return an event's partition and offset."""
        return self._partition[row], self._offset[row]

    def reason(self, row: int) -> str | None:
        """Return an event's reason."""
        return self._texts.text(self._reason[row])

    def author(self, row: int) -> str:
        """Return by whom an event is."""
        return self._texts.text(self._author[row]) or ""

    def _last_known(self, rows: Sequence[int], known_at: int) -> Sequence[int]:
        known = bisect_right(rows, known_at, key=self._published.__getitem__)
        return rows[max(0, known - KEPT_EVENTS) : known]

    def _drop(self) -> None:
        """Drop the events that are none of the last 64 known at any of the moments."""
        kept = sorted(
            {row for _, rows in self.rows() for moment in self._moments for row in self._last_known(rows, moment)}
        )
        for name in ("_account", "_published", "_date", "_offset", "_partition", "_flagged", "_reason", "_author"):
            column: array[int] = getattr(self, name)
            setattr(self, name, array(column.typecode, map(column.__getitem__, kept)))


class _Texts:
    """Texts one behind the other, those that come again mostly once: of many different ones, no table is kept."""

    def __init__(self) -> None:
        self._data = bytearray(b"\0")  # at 0 lies what stands for None
        self._places: dict[str, int] = {}
        self.text = lru_cache(_CACHED)(self._text)

    def place(self, text: str | None) -> int:
        """Return where the text lies and how long it is, in one number, after adding it if need be."""
        if text is None:
            return 0
        found = self._places.get(text)
        if found is None:
            if len(self._places) >= _CACHED:
                self._places.clear()
            data = text.encode()
            found = self._places[text] = len(self._data) << _LENGTH_BITS | len(data)
            self._data += data
        return found

    def _text(self, place: int) -> str | None:
        if not place:
            return None
        begin = place >> _LENGTH_BITS
        return self._data[begin : begin + (place & _LENGTH)].decode()


def read(
    records: Records,
    flags: PackedFlags,
    note: Callable[[str], None] = lambda _: None,
    clock: Clock = Clock(),  # noqa: B008 - frozen
) -> None:
    """Read the whole flag topic; `note` is told how far it has come if that takes long.

    Raises `NotDeployed` and `Unreachable`.
    """
    said = clock.monotonic()
    # An account's number stands in its events as it is written here.
    only = flags.wanted if flags.wanted is not None and len(flags.wanted) == 1 else ()
    keep = next((naming(b"%d" % account) for account in only), None)
    for batch in records.batches(topics.FLAGGED.name, Range(From.BEGINNING, follow=False, keep=keep)):
        found = batch.records
        flags.add(found if isinstance(found, Columns) else Columns(topics.FLAGGED.name, list(found)))
        if clock.monotonic() - said >= _SAID_EVERY_SECONDS:
            said = clock.monotonic()
            left = sum(max(0, end - batch.positions.get(partition, 0)) for partition, end in batch.ends.items())
            note(f"Read {tables.plural(flags.read, 'flag event')}; {left:,} to come.")
