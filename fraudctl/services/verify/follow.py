"""Reconcile again and again, each round only what is new: everything up to a mark is judged, once and for good.

The mark lies so far back that nothing can change any more: hold and slack before the first record that the application
has not read, and before now. What belongs to later transactions, or is not written yet, is kept until its turn comes;
so memory and disk hold what is under way, and the counts.

The table is read by the time of detection, each span once. A row that appears later, which a paused AuditWriter or an
index that is late may cause, is asked for by its key. What is done to rows that were judged before is not seen: that
takes a whole `fraudctl audit verify`.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from fraudctl import tables
from fraudctl.clock import Clock
from fraudctl.errors import Unreachable
from fraudctl.pipeline import topics
from fraudctl.pipeline.reader import Records as Columns
from fraudctl.pipeline.records import Malformed
from fraudctl.pipeline.text import iso
from fraudctl.services.audit.bulk import Rows
from fraudctl.services.flags.reading import Reach, histories
from fraudctl.services.flags.rule import FlagEvent, History, Rule
from fraudctl.services.verify import evidence, report, shapes
from fraudctl.services.verify.evidence import Claim, Evidence, Identity, Place, Sent
from fraudctl.services.verify.reconcile import (
    Result,
    bounds,
    check_same,
    committed_by_application,
    committed_by_writer,
    coverage,
    latest,
)
from fraudctl.services.verify.store import Store
from fraudctl.services.verify.verdicts import FAULTS, Case, Judge, Word
from fraudctl.target import From, Range, Target

EVERY_SECONDS: Final = 5.0
# An index of DynamoDB has a row a moment after the table.
_INDEX_MS: Final = 2_000
_SAVED_EVERY_SECONDS: Final = 2.0
_TOLD: Final = frozenset({Word.LOST, Word.UNEXPECTED, Word.DIFFERENT, Word.RECOVERED, Word.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Round:
    """What is verified after a round: through when (epoch milliseconds, None: nothing yet) and how long ago that was.

    `result` is everything since the beginning, `new` are the cases that this round found and that somebody should look
    at. `silent` says why a round was left out.
    """

    result: Result
    through: int | None
    age_ms: int | None
    new: Sequence[Case] = ()
    silent: str = ""

    @property
    def line(self) -> str:
        """What people read of it."""
        if self.silent:
            return f"{self.silent}; waiting"
        if self.through is None or self.age_ms is None:
            return "nothing can be judged yet: the Flink application has not completed a checkpoint"
        counts = self.result.counts
        faults = [f"{counts[word]:,} {word}" for word in Word if word in FAULTS and counts[word]] or ["no fault"]
        return (
            f"verified through {tables.short_time(iso(self.through))} (age {self.age_ms / 1000:.0f} s): "
            f"{tables.plural(self.result.transactions, 'transaction')}, {counts[Word.OK]:,} detected and ok, "
            f"{', '.join(faults)}"
        )

    def changes(self, before: "Round | None") -> bool:
        """Return whether it says more than the round before."""
        if before is None or self.new or self.silent != before.silent:
            return True
        return self.counted != before.counted

    @property
    def counted(self) -> list[int]:
        """The counts that the line has."""
        counts = self.result.counts
        return [self.result.transactions, *(counts[word] for word in Word if word is not Word.IN_FLIGHT)]

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "through": iso(self.through),
            "age_ms": self.age_ms,
            "transactions_read": self.result.transactions,
            **{word.value.replace(" ", "_"): self.result.counts[word] for word in Word},
            "duplicated": self.result.copies,
            "silent": self.silent or None,
            "cases": [report.row(case) for case in self.new],
        }


@dataclass(slots=True)
class _State:
    """How far this has come."""

    since: int | None = None
    mark: int | None = None
    rows_until: int | None = None
    positions: dict[int, int] = field(default_factory=dict)
    processed: dict[int, int] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)
    first_at: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "_State":
        numbers = {name: {int(key): at for key, at in kept[name].items()} for name in _NUMBERED}
        return cls(kept["since"], kept["mark"], kept["rows_until"], **numbers)


_NUMBERED: Final = ("positions", "processed", "starts", "first_at")


class Following:
    """A reconciliation that goes on; with a `file`, one that was stopped goes on where it was."""

    def __init__(
        self,
        target: Target,
        since: int | None = None,
        clock: Clock = Clock(),  # noqa: B008 - frozen
        *,
        file: Path | None = None,
        every: float = EVERY_SECONDS,
    ) -> None:
        """Store what is asked for; no I/O. `every` are the seconds between two rounds."""
        self._target, self._clock, self._file, self._every = target, clock, file, every
        self._state = _State(since)
        self._saved = clock.monotonic()
        self._events: dict[int, list[FlagEvent]] = {}
        self._histories: dict[int, History] = {}
        self._places: dict[Place, FlagEvent] = {}
        self._flags: dict[int, int] = {}
        self._failed: dict[Identity, list[Claim]] | None = None
        self.result = Result(since=since)
        self.seen: list[Round] = []  # the last one
        self._told = 0

    def rounds(self) -> Iterator[Round]:
        """Yield what is verified, a round after the other, without end.

        Raises:
            NotDeployed: There is no such stack, or a topic of it is missing.
            Unreachable: Kafka or DynamoDB does not answer the first round; later ones are left out.
        """
        outputs = self._target.stack.outputs()
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fraudctl-verify-"))
            store = stack.enter_context(Store(self._file or Path(folder) / "evidence.sqlite"))
            self._restore(store)
            if self._state.starts:
                check_same(self._target, Reach(starts=self._state.starts, first_at=self._state.first_at))
            begun = False
            for _ in self._clock.poll(self._every):
                try:
                    new = self._round(store, outputs.hold_ms, outputs.slack_ms)
                except Unreachable as error:
                    if not begun:
                        raise
                    store.rollback()
                    self._restore(store)
                    yield self._seen((), str(error))
                    continue
                begun = True
                yield self._seen(new)

    def _seen(self, new: Sequence[Case], silent: str = "") -> Round:
        mark = self._state.mark
        age = None if mark is None else int(self._clock.now() * 1000) - mark
        now = replace(
            self.result,
            counts=Counter(self.result.counts),
            cases=list(self.result.cases),
            gaps=list(self.result.gaps),
        )
        self.seen = [Round(now, mark, age, new, silent)]
        return self.seen[0]

    def _round(self, store: Store, hold: int, slack: int) -> list[Case]:
        """Judge what is decided by now; return the cases to be told."""
        records, state = self._target.records, self._state
        now = int(self._clock.now() * 1000)
        judge = Judge({}, windowed=state.since is not None)
        read = committed_by_application(self._target, topics.TRANSACTIONS.name)
        flags_read = committed_by_application(self._target, topics.FLAGGED.name)
        bounds(self._target, judge)
        if not read:
            return []  # before its first checkpoint
        unread = (
            first_time(records, topics.TRANSACTIONS.name, _behind(judge.transactions, read)),
            first_time(records, topics.FLAGGED.name, _behind(judge.flags, flags_read)),
        )
        mark = max(min([now, *(at for at in unread if at is not None)]) - hold - slack, state.mark or 0)
        rule = self._rule(judge, hold, slack)
        before = dict(state.positions)
        self._transactions(store, judge, rule, mark)
        self._detections(store, judge)
        judge.written = committed_by_writer(self._target)
        self._table(store, judge, now)
        judge.latest = latest(self._target)
        judge.horizon, judge.read = mark, state.positions
        new = self._judged(store, judge, rule, before)
        if state.mark is None:
            coverage(self.result, judge, state.since)
        state.mark = mark
        self.result.through = mark
        self._save(store)
        self._told = len(self.result.cases)
        return new

    def _rule(self, judge: Judge, hold: int, slack: int) -> Rule:
        """Read the flag events that are new, and return the rule by all of them."""
        begin = {partition: self._flags.get(partition, at) for partition, at in judge.flags.earliest.items()}
        found = histories(self._target.records, judge.flags, offsets=begin)
        for account, history in found.items():
            self._events.setdefault(account, []).extend(history.events)
            self._places.update({(event.partition, event.offset): event for event in history.events})
        self._flags.update(judge.flags.ends)
        self._histories.update({account: History(self._events[account]) for account in found})
        judge.events = self._places
        return Rule(self._histories, hold, slack)

    def _transactions(self, store: Store, judge: Judge, rule: Rule, mark: int) -> None:
        state, reach = self._state, judge.transactions
        reach.starts, reach.first_at = state.starts, state.first_at
        wanted = self._range(state.positions, judge.transactions)
        for found in evidence.sent(self._target.records, wanted, rule, reach, {}, before=mark):
            for identity, piece in found.found:
                store.add("sent", identity, piece)
            state.positions.update(found.positions)
            self.result.transactions += len(found.times)
            if found.lost:
                self.result.gap(f"{found.lost:,} transactions were deleted by Kafka before they could be read")
            self._save(store, now_and_then=True)
        reach.ends.update(state.positions)

    def _detections(self, store: Store, judge: Judge) -> None:
        state = self._state
        for found in evidence.processed(
            self._target.records, self._range(state.processed, judge.processed), judge.processed
        ):
            for identity, claim in found:
                store.add("processed", identity, claim)
            state.processed.update(judge.processed.ends)
            self._save(store, now_and_then=True)

    def _table(self, store: Store, judge: Judge, now: int) -> None:
        """Read the rows that are new, up to the first detection that AuditWriter has not read."""
        state = self._state
        unwritten = store.first_processed(judge.written)
        until = now - _INDEX_MS if unwritten is None else min(unwritten, now - _INDEX_MS)
        begin = state.since if state.rows_until is None else state.rows_until
        if begin is not None and until <= begin:
            return
        with Rows(self._target.audit_table(), begin, until, clock=self._clock) as rows:
            for page in rows.rest():
                for item in page.items:
                    store.add("rows", *evidence.row(item))
        state.rows_until = until

    def _range(self, positions: Mapping[int, int], reach: Reach) -> Range:
        """Return what is to be read from positions on; without any, from the beginning of what is asked about."""
        if positions:
            return Range(From.OFFSETS, offsets={**reach.earliest, **positions}, follow=False)
        since = self._state.since
        return Range(From.BEGINNING, follow=False) if since is None else Range(From.TIME, since=since, follow=False)

    def _judged(self, store: Store, judge: Judge, rule: Rule, before: Mapping[int, int]) -> list[Case]:
        """Count what is decided, keep the rest, and return the cases to be told."""
        again = self._read_again(store, rule, before)
        self._failed = None
        new: list[Case] = []

        def undecided() -> Iterator[Evidence]:
            for found in store.all():
                known = found
                if found.identity in again:  # what is kept stays without, so that the next round knows it too
                    known = replace(
                        found, sent=again[found.identity], processed=list(found.processed), rows=list(found.rows)
                    )
                case = self._verdict(judge, known, again=found.identity in again)
                if case is None:
                    continue
                if case.word is Word.IN_FLIGHT:
                    yield found
                elif case.word is Word.OK and found.identity in again:
                    self.result.copies += 1  # it was counted when it was there for the first time
                else:
                    self.result.count(case)
                    new.extend([case] if case.word in _TOLD else [])

        store.keep(undecided())
        self.result.counts[Word.IN_FLIGHT] = store.count()
        return new

    def _verdict(self, judge: Judge, found: Evidence, *, again: bool) -> Case | None:
        """Return the verdict; what seems to be missing from the table is looked for by its key, and elsewhere.

        `again`: the transaction was judged in an earlier round, and so was the record that its row names.
        """
        case = judge.judge(found)
        if case is None or case.word is not Word.LOST or not found.processed:
            return case
        until = self._state.rows_until
        if until is None or any(claim.at >= until for claim in found.processed):
            return replace(case, word=Word.IN_FLIGHT)  # that part of the table has not been read yet
        row = evidence.row_by_key(self._target.audit_table(), found.identity)
        found.rows.extend([] if row is None else [row])
        if again:
            found.processed.extend(found.processed[0]._replace(place=claim.place) for claim in found.rows)
        if not found.rows:
            self._failed = _by_identity(self._target) if self._failed is None else self._failed
            found.failed.extend(self._failed.get(found.identity, ()))
        return judge.judge(found)

    def _read_again(self, store: Store, rule: Rule, before: Mapping[int, int]) -> dict[Identity, list[Sent]]:
        """Return the transactions of detections that were judged in an earlier round: somebody wrote them again."""
        places: dict[Place, Identity] = {}
        for found in store.all():
            for claim in (*found.processed, *found.rows) if not found.sent else ():
                partition, offset = claim.transaction
                if self._state.starts.get(partition, 0) <= offset < before.get(partition, 0):
                    places[claim.transaction] = found.identity
        if not places:
            return {}
        first: dict[int, int] = {}
        for partition, offset in places:
            first[partition] = min(offset, first.get(partition, offset))

        def keep(records: Columns) -> list[int]:
            at = zip(records.partitions(), records.offsets(), strict=True)
            return [index for index, place in enumerate(at) if place in places]

        wanted = Range(From.OFFSETS, offsets=first, limit=len(places), keep=keep, follow=False)
        again: dict[Identity, list[Sent]] = {}
        for record in self._target.records.read(topics.TRANSACTIONS.name, wanted):
            place = record.partition, record.offset
            try:
                identity, date, content = shapes.transaction(record.value)
            except Malformed:
                continue
            history = rule.histories.get(identity[0])
            if identity != places[place] or history is None:
                continue
            published = record.timestamp or 0
            outcomes = history.outcomes(published, date, hold=rule.hold, slack=rule.slack)
            flags = tuple(event and (event.partition, event.offset) for event in outcomes)
            again.setdefault(identity, []).append(Sent(place, published, flags, content))
        return again

    def _save(self, store: Store, *, now_and_then: bool = False) -> None:
        now = self._clock.monotonic()
        if now_and_then and now - self._saved < _SAVED_EVERY_SECONDS:
            return
        self._saved = now
        result = self.result
        counts = {word.value: count for word, count in result.counts.items()}
        more = {"counts": counts, "transactions": result.transactions, "copies": result.copies, "gaps": result.gaps}
        store.save({**asdict(self._state), **more})

    def _restore(self, store: Store) -> None:
        """Go on from what was saved last, if anything was."""
        del self.result.cases[self._told :]
        kept = store.state()
        if kept is None:
            self._state = _State(self._state.since)
            self.result.transactions = 0
            return
        self._state = _State.of(kept)
        result = self.result
        result.since, result.through = self._state.since, self._state.mark
        result.counts = Counter({Word(word): count for word, count in kept["counts"].items()})
        result.transactions, result.copies, result.gaps = kept["transactions"], kept["copies"], kept["gaps"]


def changes(rounds: Iterable[Round]) -> Iterator[Round]:
    """Yield the rounds that say more than the one before."""
    before = None
    for found in rounds:
        if found.changes(before):
            yield found
        before = found


def first_time(records: Any, topic: str, offsets: Mapping[int, int]) -> int | None:  # noqa: ANN401 - target.Records
    """Return when the first record from these offsets on was published, in epoch milliseconds; None without any."""
    if not offsets:
        return None
    left, earliest = set(offsets), None
    for batch in records.batches(topic, Range(From.OFFSETS, offsets=offsets, follow=False)):
        for record in batch.records:
            if record.partition in left:
                left.discard(record.partition)
                earliest = min(record.timestamp or 0, record.timestamp or 0 if earliest is None else earliest)
        left -= {partition for partition, end in batch.ends.items() if batch.positions[partition] >= end}
        if not left:
            break
    return earliest


def _behind(reach: Reach, committed: Mapping[int, int]) -> dict[int, int]:
    """Return where a consumer goes on in the partitions that it has not read to the end."""
    return {
        partition: max(committed.get(partition, 0), reach.earliest.get(partition, 0))
        for partition, end in reach.ends.items()
        if committed.get(partition, 0) < end
    }


def _by_identity(target: Target) -> dict[Identity, list[Claim]]:
    found: dict[Identity, list[Claim]] = {}
    for identity, claim in evidence.failed(target.on_failure()):
        found.setdefault(identity, []).append(claim)
    return found
