"""Seal the windows that nothing can be added to any more."""

import math
import tempfile
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from fraudctl import tables
from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, Refused
from fraudctl.pipeline import topics
from fraudctl.pipeline.dates import date_milliseconds
from fraudctl.pipeline.text import iso
from fraudctl.pipeline.version import VERSION
from fraudctl.services import time_options
from fraudctl.services.seal import canonical
from fraudctl.services.seal.archive import Archive
from fraudctl.services.seal.canonical import Line
from fraudctl.services.seal.manifest import Broken, Manifest, named, row_list
from fraudctl.services.seal.processed import Processed
from fraudctl.services.seal.rows import TableRows
from fraudctl.services.verify import evidence
from fraudctl.services.verify.evidence import Identity
from fraudctl.services.verify.reconcile import Reconciliation
from fraudctl.services.verify.reconcile import Result as Verified
from fraudctl.services.verify.verdicts import FAULTS, Case, Word
from fraudctl.target import Event, Phase, Target

_DAY_MS: Final = 86_400_000
_LEAST_MARGIN_MS: Final = 10_000  # the application's checkpoints come every 10 s
_MOST_WINDOWS: Final = 100_000
# What a manifest counts: what can still be written (recovered) counts as a fault here, for it would be added later.
WORDS: Final = (Word.OK, Word.RECOVERED, Word.LOST, Word.UNEXPECTED, Word.DIFFERENT, Word.RACE, Word.UNKNOWN)
BAD: Final = FAULTS | {Word.RECOVERED}


@dataclass(frozen=True, slots=True)
class Sealed:
    """One window that was sealed, over all partitions; times in epoch milliseconds."""

    since: int
    until: int
    manifests: int
    rows: int
    amount: Decimal
    verify: Mapping[str, int]

    def cells(self) -> dict[str, Any]:
        """Return it as a row for people and programs."""
        return {
            "since": iso(self.since),
            "until": iso(self.until),
            "manifests": self.manifests,
            "rows": self.rows,
            "amount": self.amount,
            **{word: number for word, number in self.verify.items() if word != "unknown"},
            "unknown": self.verify["unknown"],
        }


@dataclass(slots=True)
class Result:
    """What was done; times in epoch milliseconds, None where there is none.

    `through` is how far is sealed, `closes` when the next window can be. `faulty` is the window that was not sealed
    because of its faults, counted by `faults`. `began` is the first window, if this run began the seals, and `before`
    how many rows lie before it.
    """

    windows: list[Sealed] = field(default_factory=list)
    through: int | None = None
    closes: int | None = None
    open_because: str = ""
    faulty: int | None = None
    faults: Counter[str] = field(default_factory=Counter)
    began: int | None = None
    before: int = 0


class _Open(Exception):
    """Something may still be added to a window."""


def every(text: str) -> int:
    """Return the length of a window in milliseconds; raises `BadConfig` unless a day has a whole number of them."""
    found = time_options.duration(text, "--every")
    if found < 1000 or found % 1000 or _DAY_MS % found:  # noqa: PLR2004 - a second
        raise BadConfig(
            f"--every {text}: a day is no whole number of such windows", hint="use 1m, 10m, 1h, 6h or 1d, for example"
        )
    return found


class Sealing:
    """One run, which seals what is closed and not sealed yet."""

    def __init__(
        self,
        target: Target,
        archive: Archive,
        length: int,
        *,
        since: int | None = None,
        with_faults: bool = False,
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        """Store what is asked for; no I/O. `length` of a window and `since`, for the first one, in milliseconds."""
        self._target, self._archive, self._length, self._clock = target, archive, length, clock
        self._since, self._with_faults = since, with_faults
        self._heads: dict[int, Manifest] = {}
        self._before: Counter[int] = Counter()
        self.result = Result()

    def run(self) -> Iterator[Event]:
        """Verify and seal, with an event now and then; `result` is whole at the end.

        Raises:
            BadConfig: The archive has another stack's manifests, or there would be too many windows.
            NotDeployed: There is no such stack, or a topic of it is missing.
            Refused: The last manifests are not what was sealed, or somebody else seals with another --every.
            Unreachable: Kafka, DynamoDB or S3 does not answer.
        """
        outputs = self._target.stack.outputs()
        rows = TableRows(self._target.audit_table())
        yield Event("seals", Phase.STARTED)
        start = self._start(outputs.stack, rows)
        yield Event("seals", Phase.DONE, "none yet" if start is None or not self._heads else f"up to {iso(start)}")
        if start is None:
            return
        self.result.through = start if self._heads else None
        margin = max(outputs.hold_ms + outputs.slack_ms, _LEAST_MARGIN_MS)
        self.result.closes = self._end(start) + margin
        if self.result.closes > self._clock.now() * 1000:
            return  # nothing else need be read to know that the window is open
        with (
            tempfile.TemporaryDirectory(prefix="fraudctl-seal-") as folder,
            Processed(Path(folder) / "processed.sqlite", self._clock) as processed,
        ):
            yield from processed.fill(self._target, start)
            first = self._from(processed, start - margin)
            run = Reconciliation(self._target, first, clock=self._clock, every_case=True)
            yield from run.run()
            through = run.result.through
            limit = -math.inf if through is None else through - margin
            if through is None:
                self.result.open_because = "the Flink application has not completed a checkpoint"
            elif limit < self._end(start):
                self.result.open_because = f"the Flink application has read everything up to {iso(through)} only"
            if processed.read.horizon < min(limit, self._end(start)):
                self.result.open_because = "AuditWriter has not read all of it"
            limit = min(limit, processed.read.horizon)
            windows = _Windows(run.result, processed, {part.partition for part in self._partitions()})
            yield from self._seal(outputs.stack, rows, windows, start, limit)

    def _seal(self, stack: str, rows: TableRows, windows: "_Windows", start: int, limit: float) -> Iterator[Event]:
        yield Event("seals", Phase.STARTED)
        margin = (self.result.closes or 0) - self._end(start)
        while (until := self._end(start)) <= limit:
            self.result.closes = until + margin
            found = list(rows.window(start, until))
            try:
                verdicts = windows.verdicts(found, start, until)
            except _Open as why:
                self.result.open_because = str(why)
                break
            total = sum(verdicts.values(), Counter[Word]())
            if not self._with_faults and any(total[word] for word in BAD):
                self.result.faulty = start
                self.result.faults = Counter({word.value: total[word] for word in Word if word in BAD and total[word]})
                break
            by_partition: dict[int, list[Line]] = defaultdict(list)
            for one in found:
                by_partition[one.partition].append(one)
            # A row that names no partition of the topic is a fault, and stays unsealed: it is found as added.
            partitions = sorted({*windows.partitions, *self._heads})
            written = 0
            for partition in partitions:
                head = self._heads.get(partition)
                if head is not None and head.until >= until:
                    continue  # an earlier run was interrupted behind this one
                lines = sorted(by_partition[partition])
                counts = verdicts.get(partition, Counter())
                written += self._put(stack, partition, tuple(partitions), (start, until), lines, counts, windows)
            amount = sum((one.amount for one in found), Decimal(0))
            words = {word.value: total[word] for word in WORDS}
            self.result.windows.append(Sealed(start, until, written, len(found), amount, words))
            self.result.through = start = until
            self.result.closes = self._end(start) + margin
            yield Event("seals", Phase.PROGRESS, f"{len(self.result.windows):,} windows, up to {iso(until)}")
        manifests = sum(window.manifests for window in self.result.windows)
        yield Event("seals", Phase.DONE, f"{tables.plural(manifests, 'manifest')} written")

    def _put(
        self,
        stack: str,
        partition: int,
        partitions: tuple[int, ...],
        window: tuple[int, int],
        lines: Sequence[Line],
        counts: Counter[Word],
        windows: "_Windows",
    ) -> bool:
        """Write one manifest, its row list first; return False when another run was faster, whose manifest counts."""
        head = self._heads.get(partition)
        listed = row_list(partition, window[0], lines) if lines else None
        made = Manifest(
            stack=stack,
            topic=topics.PROCESSED.name,
            partition=partition,
            partitions=partitions,
            sequence=0 if head is None else head.sequence + 1,
            since=window[0],
            until=window[1],
            first=lines[0].offset if lines else None,
            last=lines[-1].offset if lines else None,
            rows=len(lines),
            amount=sum((one.amount for one in lines), Decimal(0)),
            fields=canonical.FIELDS,
            rows_sha256=canonical.digest(lines),
            row_list=listed and listed.name,
            row_list_sha256=listed and listed.sha256,
            verify={word.value: counts[word] for word in WORDS},
            gaps=windows.gaps(window[0]),
            with_faults=self._with_faults and any(counts[word] for word in BAD),
            before=self._before[partition] if head is None else None,
            previous=None if head is None else head.digest,
            sealed_at=str(iso(int(self._clock.now() * 1000))),
            sealed_by=f"fraudctl {VERSION}",
        )
        if listed is not None:
            self._archive.put(listed.name, listed.data)
        if self._archive.put(made.name, made.encode()):
            self._heads[partition] = made
            return True
        other = self._read(made.name)
        if (other.until, other.sequence, other.previous) != (made.until, made.sequence, made.previous):
            raise Refused(
                f"{self._archive.place}: somebody else seals at this moment, with another --every",
                hint="run it again with the same --every",
            )
        self._heads[partition] = other
        return False

    def _start(self, stack: str, rows: TableRows) -> int | None:
        """Return where to go on, or to begin, in epoch milliseconds; None without anything to begin with."""
        last: dict[int, tuple[int, str]] = {}
        for given in self._archive.names():
            place = named(given)
            if place is not None:
                last[place[0]] = max(last.get(place[0], (-1, "")), (place[1], given))
        if not last:
            return self._first(rows)
        self._heads = {partition: self._read(given) for partition, (_, given) in last.items()}
        strangers = {head.stack for head in self._heads.values()} - {stack}
        if strangers:
            raise BadConfig(
                f"{self._archive.place}: it has the seals of stack {min(strangers)}", hint="give each stack its own"
            )
        ends = {head.until for head in self._heads.values()}
        # Windows are sealed one after the other, so after an interruption the partitions are one window apart at most.
        newest = [head.since for head in self._heads.values() if head.until == max(ends)]
        if min(ends) not in {max(ends), max(newest)}:
            raise Refused(
                f"{self._archive.place}: manifests are missing from {iso(min(ends))} on",
                hint=f"see `fraudctl audit verify --sealed {self._archive.place}`",
            )
        return min(ends)

    def _first(self, rows: TableRows) -> int | None:
        oldest = rows.first() if self._since is None else iso(self._since)
        if oldest is None:
            return None
        at = date_milliseconds(oldest)
        start = at - at % self._length
        if (self._clock.now() * 1000 - start) / self._length > _MOST_WINDOWS:
            raise BadConfig(
                f"--every: from {oldest} on these are more than {_MOST_WINDOWS:,} windows",
                hint="use longer ones, such as --every 1d, or begin later with --since",
            )
        if self._since is not None:
            self._before = Counter(one.partition for one in rows.window(None, start))
        self.result.began, self.result.before = start, self._before.total()
        return start

    def _end(self, start: int) -> int:
        """Return the end of the window that begins there: what another partition has, or the next whole one."""
        known = [head.until for head in self._heads.values() if head.since == start]
        return known[0] if known else start - start % self._length + self._length

    def _from(self, processed: Processed, since: int) -> int | None:
        """Return from when on transactions are to be read; None for all, when some that are needed are gone."""
        found = since
        for place in processed.read.transactions.items():
            record = evidence.at(self._target.records, topics.TRANSACTIONS.name, place)
            if record is None or record.timestamp is None:
                return None
            found = min(found, record.timestamp)
        return found

    def _partitions(self) -> Sequence[Any]:
        return self._target.topics.describe(topics.PROCESSED.name).partitions

    def _read(self, given: str) -> Manifest:
        try:
            return Manifest.parse(self._archive.read(given), given)
        except Broken as error:
            raise Refused(
                f"{self._archive.place}/{given}: {error}",
                hint=f"see `fraudctl audit verify --sealed {self._archive.place}`",
            ) from error


_time: Final = itemgetter(0)


class _Windows:
    """Verdicts by window: what a reconciliation found, and whether a row is what its processed record says."""

    def __init__(self, verified: Verified, processed: Processed, partitions: set[int]) -> None:
        """Sort the cases: those with a row belong to its window, others to that of their record or transaction."""
        self.partitions = partitions
        self._verified, self._processed = verified, processed
        self._of_rows: dict[Identity, Case] = {}
        self._others: list[tuple[int, int, Case]] = []
        for case in verified.cases:
            if case.row:
                self._of_rows[case.identity] = case
                continue
            found = None if case.processed is None else processed.at(case.processed)
            at = case.published if found is None else found[0]
            place = case.processed or case.transaction
            if at is not None and place is not None:
                self._others.append((at, place[0], case))
        self._others.sort(key=_time)

    def gaps(self, since: int) -> tuple[str, ...]:
        """Return what of a window's evidence was gone."""
        first = self._verified.evidence_from
        return tuple(self._verified.gaps) if first is None or since < first else ()

    def verdicts(self, lines: Sequence[Line], since: int, until: int) -> Mapping[int, Counter[Word]]:
        """Return the verdicts of a window, counted by partition; raises `_Open` when something is still to come."""
        found: dict[int, Counter[Word]] = defaultdict(Counter)
        for one in lines:
            found[one.partition][self._of(one)] += 1
        first, last = (bisect_left(self._others, at, key=_time) for at in (since, until))
        for _, partition, case in self._others[first:last]:
            if case.word is Word.IN_FLIGHT:
                raise _Open(f"transaction {case.identity[2]} is in flight: {case.why}")
            found[partition if partition in self.partitions else min(self.partitions)][case.word] += 1
        return found

    def _of(self, one: Line) -> Word:
        """Return the verdict on a row: it has to be what the record at its place says, as long as there is one."""
        case = self._of_rows.get(one.identity)
        record = self._processed.at((one.partition, one.offset))
        agrees = record is not None and record[1] == one.digest
        if case is not None and case.word is Word.IN_FLIGHT:
            if agrees:
                raise _Open(f"transaction {one.identity[2]} is in flight: {case.why}")
            return Word.DIFFERENT  # it refers to what never was
        if case is not None and case.word in FAULTS:
            return case.word
        if record is None and 0 <= one.offset < self._processed.read.earliest.get(one.partition, 0):
            return Word.UNKNOWN
        if not agrees:
            return Word.DIFFERENT
        return Word.OK if case is None else case.word
