"""Read a range of a topic from any source of records: where to begin, in which order, and when to stop.

A bounded read stops by position: where each partition ended when it began, whatever those offsets turn out to be
(markers of transactions, holes of compaction). It never stops because nothing came for a while.

In the order of time, partitions are merged by the brokers' timestamps. Within a partition the order of offsets is kept,
so a record with an earlier time than its predecessor counts as if it had the predecessor's. Memory stays bounded: a
partition that is far ahead of the others is paused. Following, a record is held back for a moment, in case an earlier
one comes.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Final

from fraudctl.clock import Clock
from fraudctl.pipeline.kafka import partition_of
from fraudctl.pipeline.reader import Batch, Bounds, Positions, Record, Records, Request, Source
from fraudctl.pipeline.topics import PARTITIONS
from fraudctl.target import From, Range

# Producers set the time in some topics, so a record may lie a little behind newer ones.
_DISORDER_MS: Final = 60_000
_HELD_BACK_SECONDS: Final = 0.25
_TICK_SECONDS: Final = 0.1
_AHEAD_BYTES: Final = 8 * 1024 * 1024
_OBJECT_BYTES: Final = 400  # of a record in memory, beside its value
_PATIENCE_SECONDS: Final = 30.0
_FARTHER: Final = 4


def batches(source: Source, topic: str, wanted: Range, clock: Clock = Clock()) -> Iterator[Batch]:  # noqa: B008 - frozen
    """Yield the records of the range as they arrive, several at a time.

    The positions of a batch are where a reader that has seen all batches so far goes on. While the brokers do not
    answer, batches are empty and say why.

    Raises:
        KafkaException: The topic does not exist, or nobody answered at the start.
        TimeoutError: The brokers have not answered a bounded read for 30 s.
    """
    bounds = _chosen(source.bounds(topic), wanted)
    flow = _Flow(source, topic, wanted, clock)
    over = wanted.until is not None and wanted.until + _DISORDER_MS < clock.now() * 1000
    ends: Positions = {}
    if over and wanted.until is not None:
        ends = source.offsets_at(topic, bounds.highs, wanted.until + _DISORDER_MS)
    elif not wanted.follow:
        ends = bounds.highs
    if wanted.start is From.LAST:
        yield from flow.last(bounds.lows, ends or bounds.highs)
        if flow.finished or not wanted.follow or over:
            return
        yield from flow.rest(ends or bounds.highs, {}, bounds.highs)
        return
    yield from flow.rest(_starts(source, topic, wanted, bounds), ends, bounds.highs)


def _chosen(bounds: Bounds, wanted: Range) -> Bounds:
    partitions = set(wanted.offsets) or wanted.partitions
    # Where partitions were added, a key's older records lie in another one.
    if not partitions and wanted.key is not None and len(bounds.highs) == PARTITIONS:
        partitions = {partition_of(wanted.key, PARTITIONS)}
    if not partitions:
        return bounds
    return Bounds(*({p: at for p, at in side.items() if p in partitions} for side in (bounds.lows, bounds.highs)))


def _starts(source: Source, topic: str, wanted: Range, bounds: Bounds) -> Positions:
    match wanted.start:
        case From.OFFSETS:
            return wanted.offsets
        case From.TIME:
            return source.offsets_at(topic, bounds.highs, wanted.since or 0)
        case From.BEGINNING:
            return bounds.lows
        case _:
            return bounds.highs


class _Flow:
    """One read: what was read so far, and what of it has been passed on."""

    def __init__(self, source: Source, topic: str, wanted: Range, clock: Clock) -> None:
        self._source, self._topic, self._wanted, self._clock = source, topic, wanted, clock
        self._order = _ByTime(clock) if wanted.by_time else None
        self._left = wanted.limit
        self._answered = clock.monotonic()
        self._deadline = None if wanted.seconds is None else clock.monotonic() + wanted.seconds

    @property
    def finished(self) -> bool:
        """Whether the limit or the time is reached."""
        return self._left == 0 or (self._deadline is not None and self._clock.monotonic() >= self._deadline)

    def rest(self, positions: Positions, ends: Positions, known: Positions) -> Iterator[Batch]:
        """Yield from these positions to the ends, or without end; `known` is where the topic ends as far as known."""
        bounded = bool(ends) or not self._wanted.follow
        while not self.finished:
            until = self._wanted.until
            if not ends and until is not None and self._clock.now() * 1000 >= until:
                bounded, ends = True, known
            batch = self._poll(positions, ends, bounded=bounded)
            ends, known, positions = (batch.ends if ends else ends), batch.ends, batch.positions
            at_end = bool(ends) and batch.at_end
            if self._order is not None:
                batch = self._order.merged(batch, flush=at_end, follow=not bounded)
            yield self._limited(batch)
            if at_end:
                return
        if self._order is not None and self._left != 0:
            yield self._limited(self._order.merged(Batch([], positions, known), flush=True, follow=False))

    def last(self, lows: Positions, tops: Positions) -> Iterator[Batch]:
        """Yield the newest records, oldest first: read back until enough are found, or the beginning is reached."""
        count = self._wanted.count
        kept: dict[int, list[Record]] = {partition: [] for partition in lows}
        scanned, back, upper = 0, max(1, count), dict(tops)
        open_ = {partition for partition, low in lows.items() if low < tops[partition]} if count else set()
        while open_:
            starts = {partition: max(lows[partition], upper[partition] - back) for partition in open_}
            found: dict[int, deque[Record]] = {partition: deque(maxlen=count) for partition in open_}
            positions, ends = dict[int, int](starts), {partition: upper[partition] for partition in open_}
            while any(positions[partition] < end for partition, end in ends.items()):
                batch = self._poll(positions, ends, bounded=True)
                positions, ends = dict(batch.positions), dict(batch.ends)
                scanned += batch.scanned
                for record in batch.records:
                    found[record.partition].append(record)
                if batch.unreachable is not None or batch.lost:
                    yield replace(batch, records=[], scanned=0)
                if self._deadline is not None and self._clock.monotonic() >= self._deadline:
                    return
            for partition in sorted(open_):
                kept[partition] = [*found[partition], *kept[partition]][-count:]
                upper[partition] = starts[partition]
                if len(kept[partition]) >= count or starts[partition] <= lows[partition]:
                    open_.discard(partition)
            back *= _FARTHER
        merged = sorted(
            (pair for records in kept.values() for pair in _timed(records)),
            key=lambda pair: pair[0],
        )
        newest = [record for _, record in merged[-count:]] if count else []
        yield self._limited(Batch(Records(self._topic, list(newest)), dict(tops), dict(tops), scanned=scanned))

    def _poll(self, positions: Positions, ends: Positions, *, bounded: bool) -> Batch:
        order = self._order
        # Held back records are to be shown soon, and nobody waits longer than the time that is left.
        wait = _TICK_SECONDS if order is not None and order.waiting else 0.5
        if self._deadline is not None:
            wait = max(0.0, min(wait, self._deadline - self._clock.monotonic()))
        paused = order.ahead() if order is not None else frozenset()
        batch = self._source.poll(Request(self._topic, positions, ends, paused & set(positions), wait_s=wait or 0.001))
        if batch.unreachable is None:
            self._answered = self._clock.monotonic()
        elif bounded and self._clock.monotonic() - self._answered > _PATIENCE_SECONDS:
            raise TimeoutError(batch.unreachable)
        return self._filtered(batch)

    def _filtered(self, batch: Batch) -> Batch:
        if not batch.records:
            return batch
        records = _columns(self._topic, batch.records)
        since, until, keep = self._wanted.since, self._wanted.until, self._wanted.keep
        if since is not None or until is not None:
            lowest = since if since is not None else 0
            highest = until if until is not None else 2**63
            records = records.take(i for i, at in enumerate(records.timestamps()) if lowest <= (at or 0) < highest)
        scanned = len(records)
        if keep is not None:
            records = records.take(keep(records))
        return replace(batch, records=records, scanned=scanned)

    def _limited(self, batch: Batch) -> Batch:
        if self._left is None:
            return batch
        records = _columns(self._topic, batch.records)
        cut = records[self._left :]
        records = records[: self._left]
        self._left -= len(records)
        if not len(cut):
            return replace(batch, records=records)
        # Of what is not shown, the first of each partition is where a reader goes on.
        first = dict(zip(reversed(cut.partitions()), reversed(cut.offsets()), strict=True))
        return replace(batch, records=records, positions={**batch.positions, **first})


class _Pending:
    """A partition's records that are read and not passed on: in the order of their offsets, each with its time."""

    def __init__(self) -> None:
        self.records: Records | None = None
        self.times: list[int] = []
        self.arrivals: list[tuple[float, int]] = []  # when a batch came, and the time of its last record
        self.reached = 0  # the highest time so far
        self.bytes = 0

    def add(self, records: Records, now: float) -> None:
        """Append records that have just arrived."""
        times = list(accumulate((at or 0 for at in records.timestamps()), max, initial=self.reached))[1:]
        self.reached = times[-1]
        self.times += times
        self.records = records if self.records is None else self.records.joined([records])
        self.arrivals.append((now, self.reached))
        self.bytes += _bytes(records)

    def released(self, horizon: int) -> tuple[Records, list[int]] | None:
        """Remove and return what is not later than the horizon, with its times."""
        cut = bisect_right(self.times, horizon)
        if self.records is None or not cut:
            return None
        taken, times = self.records[:cut], self.times[:cut]
        self.records, self.times = (self.records[cut:], self.times[cut:]) if cut < len(self.times) else (None, [])
        self.bytes -= self.bytes * cut // (cut + len(self.times))  # as if all had the same size
        self.arrivals = [arrival for arrival in self.arrivals if arrival[1] > horizon]
        return taken, times


class _ByTime:
    """Merges what arrives by time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pending: dict[int, _Pending] = {}

    @property
    def waiting(self) -> bool:
        """Whether anything is held back."""
        return any(pending.times for pending in self._pending.values())

    def ahead(self) -> frozenset[int]:
        """Return the partitions that others have to catch up with before more of them is read."""
        return frozenset(p for p, pending in self._pending.items() if pending.bytes > _AHEAD_BYTES)

    def merged(self, batch: Batch, *, flush: bool, follow: bool) -> Batch:
        """Return the batch with what may be passed on now instead of its records."""
        now = self._clock.monotonic()
        if batch.records:
            for partition, records in _by_partition(_columns("", batch.records)):
                self._pending.setdefault(partition, _Pending()).add(records, now)
        horizon = self._horizon(batch, now, follow=follow) if not flush else 2**63
        parts = [part for p in sorted(self._pending) if (part := self._pending[p].released(horizon)) is not None]
        positions = dict(batch.positions)
        for partition, pending in self._pending.items():
            if pending.records is not None:
                positions[partition] = pending.records[:1].offsets()[0]
        return replace(batch, records=_sorted(parts), positions=positions)

    def _horizon(self, batch: Batch, now: float, *, follow: bool) -> int:
        """Return the time up to which no earlier record can come any more, as far as one can tell."""
        horizon = 2**63
        for partition, end in batch.ends.items():
            if batch.positions[partition] < end:
                pending = self._pending.get(partition)
                horizon = min(horizon, pending.reached if pending is not None else -1)
        if follow:
            settled = int((self._clock.now() - _HELD_BACK_SECONDS) * 1000)
            for pending in self._pending.values():
                for arrived, reached in pending.arrivals:
                    if arrived <= now - _HELD_BACK_SECONDS:
                        settled = max(settled, reached)
            horizon = min(horizon, settled)
        return horizon


def _by_partition(records: Records) -> Iterator[tuple[int, Records]]:
    partitions = records.partitions()
    found = set(partitions)
    if len(found) == 1:
        yield partitions[0], records
        return
    for partition in sorted(found):
        yield partition, records.take(i for i, other in enumerate(partitions) if other == partition)


def _sorted(parts: Sequence[tuple[Records, list[int]]]) -> Records:
    if not parts:
        return Records("", [])
    first, *others = (records for records, _ in parts)
    if not others:
        return first
    times = [at for _, part in parts for at in part]
    # Sorting finds the runs that are sorted already, and merges them.
    return first.joined(others).take(sorted(range(len(times)), key=times.__getitem__))


def _timed(records: Sequence[Record]) -> Iterator[tuple[int, Record]]:
    return zip(accumulate((record.timestamp or 0 for record in records), max), records, strict=True)


def _columns(topic: str, records: Sequence[Record]) -> Records:
    return records if isinstance(records, Records) else Records(topic, list(records))


def _bytes(records: Records) -> int:
    return _OBJECT_BYTES * len(records) + sum(map(len, filter(None, records.values())))
