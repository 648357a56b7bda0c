"""Reconcile: recompute what had to be detected, and compare it with what was.

The order makes it right on a pipeline that runs. First it is noted how far the application and AuditWriter have come,
then where the topics end, then everything is read: so what lies below those positions has left its traces in what is
read afterwards, and only that is judged. What seems lost is looked at once more at the end.

The table is read while the topics are, by threads: DynamoDB takes longer than Kafka.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from fraudctl import tables
from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, NotDeployed
from fraudctl.pipeline import topics
from fraudctl.pipeline.names import FLINK_GROUP
from fraudctl.pipeline.text import iso
from fraudctl.services.audit.bulk import Page, Rows
from fraudctl.services.flags.reading import Reach, histories
from fraudctl.services.flags.rule import History, Rule
from fraudctl.services.verify import evidence
from fraudctl.services.verify.buckets import Buckets
from fraudctl.services.verify.store import Store
from fraudctl.services.verify.verdicts import ATTEMPTED, FAULTS, Case, Judge, Word
from fraudctl.target import Event, From, Phase, Range, Target

_WRITER: Final = "audit-writer"  # how its consumer group's name ends, on both targets
_NEVER: Final = 2**63
_SHOWN_EVERY_SECONDS: Final = 0.5
_SAVED_EVERY_SECONDS: Final = 2.0
# Cases are counted without end, and kept to be shown and looked at again up to so many of each word.
MOST_CASES: Final = 10_000


@dataclass(slots=True)
class Result:
    """What was found: cases by their word, those that are not ok, and what was asked for and could be read.

    `transactions` counts those that were read, `copies` the detections that lie in processed_topic more than once.
    `gaps` are sentences about evidence that is gone. Times are in epoch milliseconds, None where there is none.
    """

    counts: Counter[Word] = field(default_factory=Counter)
    cases: list[Case] = field(default_factory=list)
    transactions: int = 0
    copies: int = 0
    since: int | None = None
    until: int | None = None
    evidence_from: int | None = None
    through: int | None = None
    gaps: list[str] = field(default_factory=list)
    buckets: Buckets | None = None
    every_case: bool = False

    @property
    def attempted(self) -> int:
        """How many transactions had to be detected, as far as they are decided."""
        return sum(self.counts[word] for word in ATTEMPTED)

    @property
    def faults(self) -> int:
        """How many verdicts are faults."""
        return sum(self.counts[word] for word in FAULTS)

    @property
    def unknown(self) -> bool:
        """Whether something that was asked about could not be checked."""
        return bool(self.gaps) or self.counts[Word.UNKNOWN] > 0

    def gap(self, sentence: str) -> None:
        """Note once what evidence is gone."""
        if sentence not in self.gaps:
            self.gaps.append(sentence)

    def count(self, case: Case) -> None:
        """Count a verdict, and keep it if it is to be shown."""
        self.counts[case.word] += 1
        self.copies += case.copies > 1
        shown = case.word is not Word.IN_FLIGHT and self.counts[case.word] <= MOST_CASES
        if case.word is not Word.OK and (shown or self.every_case):
            self.cases.append(case)


def bounds(target: Target, judge: Judge) -> None:
    """Tell a judge what the topics hold; raises `NotDeployed` when one is missing."""
    reaches = {
        topics.TRANSACTIONS.name: judge.transactions,
        topics.FLAGGED.name: judge.flags,
        topics.PROCESSED.name: judge.processed,
    }
    for info in target.topics.list():
        if info.name not in reaches:
            continue
        if not info.exists:
            raise NotDeployed(f"topic {info.name}: does not exist", hint="run `fraudctl topics create`")
        reaches[info.name].earliest = {part.partition: part.earliest for part in info.partitions}
        reaches[info.name].ends = {part.partition: part.latest for part in info.partitions}


def coverage(result: Result, judge: Judge, since: int | None) -> None:
    """Note what is gone of the transactions from a time on, and of the flag events."""
    reach = judge.transactions
    gone = [p for p, at in reach.starts.items() if at > 0 and (since is None or at <= reach.earliest.get(p, 0))]
    result.evidence_from = max((reach.first_at[partition] for partition in gone), default=None)
    if result.evidence_from is not None and (since is None or since < result.evidence_from):
        result.gap(f"transactions published before {iso(result.evidence_from)} are unknown: Kafka has deleted them")
    if any(judge.flags.earliest.values()):
        result.gap("flag events are missing: Kafka has deleted some of them")


def latest(target: Target) -> dict[str, dict[int, int]]:
    """Return where each topic ends now; raises `NotDeployed` when one is missing."""
    judge = Judge({})
    bounds(target, judge)
    return {
        topics.TRANSACTIONS.name: judge.transactions.ends,
        topics.FLAGGED.name: judge.flags.ends,
        topics.PROCESSED.name: judge.processed.ends,
    }


def committed_by_application(target: Target, topic: str) -> Mapping[int, int]:
    """Return where the Flink application goes on in a topic after its newest checkpoint."""
    return target.topics.committed(topic).get(FLINK_GROUP, {})


def committed_by_writer(target: Target) -> Mapping[int, int]:
    """Return where AuditWriter goes on in processed_topic."""
    groups = target.topics.committed(topics.PROCESSED.name)
    return next((at for group, at in groups.items() if group.endswith(_WRITER)), {})


def check_same(target: Target, reach: Reach) -> None:
    """Raise `BadConfig` when the topic is not the one that was read before: created anew, it has other records."""
    for partition, offset in reach.starts.items():
        found = evidence.at(target.records, topics.TRANSACTIONS.name, (partition, offset))
        if found is not None:
            if found.timestamp == reach.first_at[partition]:
                return
            raise BadConfig(
                f"--resume: {topics.TRANSACTIONS.name} is not the topic that was read before the interruption",
                hint="run `fraudctl audit verify` without --resume",
            )


class Reconciliation:
    """One reconciliation of a window of transactions, by the time of their publishing, in epoch milliseconds.

    With a `file`, what was read is kept there until the end, and a run that was interrupted goes on where it was.
    With `by`, in milliseconds, the stages are counted in buckets of that time. With `every_case` all that are not ok
    are kept, those in flight too.
    """

    def __init__(
        self,
        target: Target,
        since: int | None = None,
        until: int | None = None,
        clock: Clock = Clock(),  # noqa: B008 - frozen
        *,
        file: Path | None = None,
        by: int | None = None,
        every_case: bool = False,
    ) -> None:
        """Store what is asked for; no I/O."""
        self._target, self._clock, self._file = target, clock, file
        self._since, self._until = since, until
        self._shown = self._saved = clock.monotonic()
        self._horizon = _NEVER
        self._flags_read: Mapping[int, int] = {}
        self._positions: Mapping[int, int] | None = None
        self._processed_at: Mapping[int, int] | None = None
        self._rows_after: dict[int, Any] = {}
        self._rows = 0
        self.result = Result(
            since=since, until=until, buckets=None if by is None else Buckets(by), every_case=every_case
        )

    def run(self) -> Iterator[Event]:
        """Read and judge, with an event now and then; `result` is whole at the end.

        Raises:
            NotDeployed: There is no such stack, or a topic of it is missing.
            Unreachable: Kafka or DynamoDB does not answer.
        """
        outputs = self._target.stack.outputs()
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fraudctl-verify-"))
            store = stack.enter_context(Store(self._file or Path(folder) / "evidence.sqlite"))
            judge = self._restored(store) or self._noted()
            self._save(judge, store)
            yield from self._read(judge, store, outputs.hold_ms, outputs.slack_ms)
            self._save(judge, store)
            yield Event("verdicts", Phase.STARTED)
            judge.latest = latest(self._target)
            for found in store.all():
                case = judge.judge(found)
                if case is not None:
                    self.result.count(case)
                    if self.result.buckets is not None:
                        self.result.buckets.judged(found, case)
            self._look_again(judge)
            yield Event("verdicts", Phase.DONE, f"{tables.plural(self.result.attempted, 'detection')} had to be there")

    def _noted(self) -> Judge:
        """Note how far the pipeline has come, before anything is read."""
        judge = Judge({}, windowed=self._since is not None, bounded=self._until is not None)
        judge.read = committed_by_application(self._target, topics.TRANSACTIONS.name)
        self._flags_read = committed_by_application(self._target, topics.FLAGGED.name)
        judge.written = committed_by_writer(self._target)
        bounds(self._target, judge)
        return judge

    def _read(self, judge: Judge, store: Store, hold: int, slack: int) -> Iterator[Event]:
        with Rows(self._target.audit_table(), self._since, after=self._rows_after, clock=self._clock) as rows:
            yield Event(topics.FLAGGED.name, Phase.STARTED)
            known = self._histories(judge)
            events = [event for history in known.values() for event in history.events]
            judge.events = {(event.partition, event.offset): event for event in events}
            number = tables.plural(len(events), "flag event")
            yield Event(topics.FLAGGED.name, Phase.DONE, f"{number} of {tables.plural(len(known), 'account')}")
            unread = (e.published for e in events if e.offset >= self._flags_read.get(e.partition, 0))
            self._horizon = min(self._horizon, min(unread, default=_NEVER))
            yield from self._transactions(judge, Rule(known, hold, slack), store, rows)
            yield from self._processed(judge, store, rows)
            yield from self._table(judge, store, rows)
        for identity, claim in evidence.failed(self._target.on_failure()):
            store.add("failed", identity, claim)

    def _histories(self, judge: Judge) -> dict[int, History]:
        """Return the flag events up to where their topic ended when this began."""
        ends = dict(judge.flags.ends)
        known = histories(self._target.records, judge.flags)
        if self._positions is None:
            return known
        judge.flags.ends = ends  # a run that goes on judges by what was there when it began
        return {
            account: History(event for event in history.events if event.offset < ends.get(event.partition, 0))
            for account, history in known.items()
        }

    def _transactions(self, judge: Judge, rule: Rule, store: Store, rows: Rows) -> Iterator[Event]:
        name, reach = topics.TRANSACTIONS.name, judge.transactions
        yield Event(name, Phase.STARTED)
        ends = dict(reach.ends)
        window = self._window() if self._positions is None else self._from(self._positions)
        reads = evidence.sent(self._target.records, window, rule, reach, judge.read, before=self._until, ends=ends)
        for read in reads:
            for found in read.found:
                store.add("sent", *found)
            self._positions = read.positions
            self.result.transactions += len(read.times)
            if self.result.buckets is not None:
                self.result.buckets.read(read.times)
            if read.unread is not None:
                self._horizon = min(self._horizon, read.unread)
            if read.lost:
                self.result.gap(f"{read.lost:,} transactions were deleted by Kafka before they could be read")
            for page in rows.ready():
                self._add(page, store)
            first = {**reach.earliest, **reach.starts}
            total = sum(ends.values()) - sum(first.values())
            done = sum(read.positions.get(part, at) for part, at in first.items()) - sum(first.values())
            yield from self._progress(name, "", done, total, "transactions")
            self._save(judge, store, now_and_then=True)
        judge.horizon = self._horizon if judge.read else 0
        coverage(self.result, judge, self._since)
        now = int(self._clock.now() * 1000)
        self.result.through = min(judge.horizon, now, self._until or now) if judge.horizon else None
        yield Event(name, Phase.DONE, f"{self.result.transactions:,} transactions")

    def _processed(self, judge: Judge, store: Store, rows: Rows) -> Iterator[Event]:
        name, reach = topics.PROCESSED.name, judge.processed
        yield Event(name, Phase.STARTED)
        # Detections are published after their transactions.
        window = self._window() if self._processed_at is None else self._from(self._processed_at)
        ends, count = dict(reach.ends), 0
        for found in evidence.processed(self._target.records, window, reach):
            for identity, claim in found:
                store.add("processed", identity, claim)
            count += len(found)
            self._processed_at = dict(reach.ends)
            for page in rows.ready():
                self._add(page, store)
            first = {**reach.earliest, **reach.starts}
            total = sum(ends.values()) - sum(first.values())
            yield from self._progress(name, "", sum(reach.ends.values()) - sum(first.values()), total, "records")
            self._save(judge, store, now_and_then=True)
        yield Event(name, Phase.DONE, f"{count:,} records")

    def _table(self, judge: Judge, store: Store, rows: Rows) -> Iterator[Event]:
        name = "audit table"
        yield Event(name, Phase.STARTED)
        for page in rows.rest():
            self._add(page, store)
            yield from self._progress(name, f"{self._rows:,} rows")
            self._save(judge, store, now_and_then=True)
        yield Event(name, Phase.DONE, f"{self._rows:,} rows")

    def _add(self, page: Page, store: Store) -> None:
        for item in page.items:
            store.add("rows", *evidence.row(item))
        self._rows += len(page.items)
        self._rows_after[page.shard] = page.after

    def _window(self) -> Range:
        if self._since is None:
            return Range(From.BEGINNING, follow=False)
        return Range(From.TIME, since=self._since, follow=False)

    def _from(self, positions: Mapping[int, int]) -> Range:
        return Range(From.OFFSETS, offsets=positions, since=self._since, follow=False)

    def _progress(
        self, component: str, detail: str, done: int | None = None, total: int | None = None, unit: str = ""
    ) -> Iterator[Event]:
        now = self._clock.monotonic()
        if now - self._shown >= _SHOWN_EVERY_SECONDS:
            self._shown = now
            yield Event(component, Phase.PROGRESS, detail, done, total, unit)

    def _save(self, judge: Judge, store: Store, *, now_and_then: bool = False) -> None:
        """Commit how far this has come; `now_and_then`, not if that was done a moment ago."""
        now = self._clock.monotonic()
        if self._file is None or (now_and_then and now - self._saved < _SAVED_EVERY_SECONDS):
            return
        self._saved = now
        reaches = {name: asdict(getattr(judge, name)) for name in _REACHES}
        store.save(
            {
                "since": self._since,
                "until": self._until,
                "read": dict(judge.read),
                "written": dict(judge.written),
                "flags_read": dict(self._flags_read),
                **reaches,
                "positions": self._positions,
                "processed_at": self._processed_at,
                "rows_after": self._rows_after,
                "rows": self._rows,
                "horizon": self._horizon if self._horizon < _NEVER else None,
                "transactions_read": self.result.transactions,
                "gaps": self.result.gaps,
                "buckets": None if self.result.buckets is None else self.result.buckets.counted(),
            }
        )

    def _restored(self, store: Store) -> Judge | None:
        """Return the judge of the run that the store is of, and go on where that was; None for a new store."""
        kept = store.state()
        if kept is None:
            return None
        self._since, self._until = kept["since"], kept["until"]
        judge = Judge({}, windowed=self._since is not None, bounded=self._until is not None)
        judge.read, judge.written = _numbers(kept["read"]), _numbers(kept["written"])
        self._flags_read = _numbers(kept["flags_read"])
        for name in _REACHES:
            setattr(judge, name, Reach(**{part: _numbers(value) for part, value in kept[name].items()}))
        check_same(self._target, judge.transactions)
        self._positions = None if kept["positions"] is None else _numbers(kept["positions"])
        self._processed_at = None if kept["processed_at"] is None else _numbers(kept["processed_at"])
        self._rows_after = _numbers(kept["rows_after"])
        self._rows = kept["rows"]
        self._horizon = _NEVER if kept["horizon"] is None else kept["horizon"]
        self.result.since, self.result.until = self._since, self._until
        self.result.transactions, self.result.gaps = kept["transactions_read"], kept["gaps"]
        if self.result.buckets is not None and kept["buckets"] is not None:
            self.result.buckets.restore(kept["buckets"])
        return judge

    def _look_again(self, judge: Judge) -> None:
        """Look once more for what seems lost: it may have been on its way, and an index of DynamoDB may be late."""
        lost = [case for case in self.result.cases if case.word is Word.LOST]
        if not lost:
            return
        wanted = Range(From.OFFSETS, offsets=judge.processed.ends, follow=False)
        found = evidence.processed(self._target.records, wanted, Reach())
        arrived = {identity for batch in found for identity, _ in batch}
        table = self._target.audit_table()
        late = {
            c
            for c in lost
            if c.identity in arrived or (c.processed is not None and evidence.row_by_key(table, c.identity) is not None)
        }
        if not late:
            return
        self.result.counts[Word.LOST] -= len(late)
        self.result.counts[Word.IN_FLIGHT] += len(late)
        self.result.cases = [case for case in self.result.cases if case not in late]
        if self.result.every_case:
            self.result.cases += [replace(case, word=Word.IN_FLIGHT, why="arrived while this ran") for case in late]
        if self.result.buckets is not None:
            self.result.buckets.arrived(late)


_REACHES: Final = ("transactions", "flags", "processed")


def _numbers(found: Mapping[str, Any]) -> dict[int, Any]:
    """Return a dictionary with numbers as keys, which JSON keeps as texts."""
    return {int(name): value for name, value in found.items()}
