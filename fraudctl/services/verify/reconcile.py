"""Reconcile: recompute what had to be detected, and compare it with what was.

The order makes it right on a pipeline that runs. First it is noted how far the application and AuditWriter have come,
then where the topics end, then everything is read: so what lies below those positions has left its traces in what is
read afterwards, and only that is judged. What seems lost is looked at once more at the end.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from fraudctl import tables
from fraudctl.clock import Clock
from fraudctl.errors import NotDeployed
from fraudctl.pipeline import topics
from fraudctl.pipeline.audit_table import AuditRow, transaction_key
from fraudctl.pipeline.names import FLINK_GROUP
from fraudctl.pipeline.text import iso
from fraudctl.services.audit.table import AuditReader, Query, translated
from fraudctl.services.flags import reading
from fraudctl.services.flags.reading import Reach
from fraudctl.services.flags.rule import Rule
from fraudctl.services.verify import evidence
from fraudctl.services.verify.evidence import Store
from fraudctl.services.verify.verdicts import ATTEMPTED, FAULTS, Case, Judge, Word
from fraudctl.target import Event, From, Phase, Range, Target

_WRITER: Final = "audit-writer"  # how its consumer group's name ends, on both targets
_NEVER: Final = 2**63
_SHOWN_EVERY_SECONDS: Final = 0.5
_LOOKED_AT_AGAIN: Final = 10_000


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


class Reconciliation:
    """One reconciliation of a window of transactions, by the time of their publishing, in epoch milliseconds."""

    def __init__(
        self,
        target: Target,
        since: int | None = None,
        until: int | None = None,
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        """Store what is asked for; no I/O."""
        self._target, self._clock = target, clock
        self._since, self._until = since, until
        self._shown = 0.0
        self.result = Result(since=since, until=until)

    def run(self) -> Iterator[Event]:
        """Read and judge, with an event now and then; `result` is whole at the end.

        Raises:
            NotDeployed: There is no such stack, or a topic of it is missing.
            Unreachable: Kafka or DynamoDB does not answer.
        """
        outputs = self._target.stack.outputs()
        judge = Judge({}, windowed=self._since is not None)
        judge.read = self._target.topics.committed(topics.TRANSACTIONS.name).get(FLINK_GROUP, {})
        flags_read = self._target.topics.committed(topics.FLAGGED.name).get(FLINK_GROUP, {})
        groups = self._target.topics.committed(topics.PROCESSED.name)
        judge.written = next((at for group, at in groups.items() if group.endswith(_WRITER)), {})
        bounds(self._target, judge)
        with (
            tempfile.TemporaryDirectory(prefix="fraudctl-verify-") as folder,
            Store(Path(folder) / "evidence.sqlite") as store,
        ):
            yield from self._read(judge, flags_read, store, outputs.hold_ms, outputs.slack_ms)
            yield Event("verdicts", Phase.STARTED)
            for found in store.all():
                case = judge.judge(found)
                if case is not None:
                    self._count(case)
            self._look_again(judge)
            yield Event("verdicts", Phase.DONE, f"{tables.plural(self.result.attempted, 'detection')} had to be there")

    def _read(
        self, judge: Judge, flags_read: Mapping[int, int], store: Store, hold: int, slack: int
    ) -> Iterator[Event]:
        records = self._target.records
        yield Event(topics.FLAGGED.name, Phase.STARTED)
        histories = reading.histories(records, judge.flags)
        judge.events = {
            (event.partition, event.offset): event for history in histories.values() for event in history.events
        }
        number = tables.plural(sum(len(history.events) for history in histories.values()), "flag event")
        yield Event(topics.FLAGGED.name, Phase.DONE, f"{number} of {tables.plural(len(histories), 'account')}")
        unread = (e.published for e in judge.events.values() if e.offset >= flags_read.get(e.partition, 0))
        horizon = min(unread, default=_NEVER)
        yield from self._transactions(judge, Rule(histories, hold, slack), store, horizon)
        yield from self._processed(judge, store)
        yield from self._rows(store)
        for identity, claim in evidence.failed(self._target.on_failure()):
            store.add("failed", identity, claim)

    def _transactions(self, judge: Judge, rule: Rule, store: Store, horizon: int) -> Iterator[Event]:
        name = topics.TRANSACTIONS.name
        yield Event(name, Phase.STARTED)
        for count, first_unread, found in evidence.sent(
            self._target.records, self._window(), rule, judge.transactions, judge.read
        ):
            if found is not None:
                store.add("sent", *found)
                continue
            self.result.transactions += count
            horizon = min(horizon, _NEVER if first_unread is None else first_unread)
            yield from self._progress(name, f"{self.result.transactions:,} transactions")
        judge.horizon = horizon if judge.read else 0
        self._coverage(judge)
        yield Event(name, Phase.DONE, f"{self.result.transactions:,} transactions")

    def _coverage(self, judge: Judge) -> None:
        """Note what of the window is gone, and how far it could be judged."""
        result, reach = self.result, judge.transactions
        gone = {partition: at for partition, at in reach.earliest.items() if at > 0}
        begins = [reach.first_at[partition] for partition in gone if partition in reach.first_at]
        result.evidence_from = max(begins, default=None) if gone else None
        asked_before = result.evidence_from is not None and (
            self._since is None or (self._since < result.evidence_from and self._cut(judge))
        )
        if asked_before:
            result.gaps.append(
                f"transactions published before {iso(result.evidence_from)} are unknown: Kafka has deleted them"
            )
        if any(judge.flags.earliest.values()):
            result.gaps.append("flag events are missing: Kafka has deleted some of them")
        now = int(self._clock.now() * 1000)
        result.through = min(judge.horizon, now, self._until or now) if judge.horizon else None

    @staticmethod
    def _cut(judge: Judge) -> bool:
        """Return whether reading began at the earliest record that a partition still has, after it has lost some."""
        reach = judge.transactions
        return any(at > 0 and reach.starts.get(partition) == at for partition, at in reach.earliest.items())

    def _processed(self, judge: Judge, store: Store) -> Iterator[Event]:
        name, count = topics.PROCESSED.name, 0
        yield Event(name, Phase.STARTED)
        # Detections are published after their transactions.
        wanted = replace(self._window(), until=None)
        for identity, claim in evidence.processed(self._target.records, wanted, judge.processed):
            store.add("processed", identity, claim)
            count += 1
            yield from self._progress(name, f"{count:,} records")
        yield Event(name, Phase.DONE, f"{count:,} records")

    def _rows(self, store: Store) -> Iterator[Event]:
        name, count = "audit table", 0
        yield Event(name, Phase.STARTED)
        for row in AuditReader(self._target.audit_table()).rows(Query(since=self._since)):
            place = (row.processed_partition, row.processed_offset)
            store.add("rows", evidence.identity(row), evidence.claim(row, place))
            count += 1
            yield from self._progress(name, f"{count:,} rows")
        yield Event(name, Phase.DONE, f"{count:,} rows")

    def _window(self) -> Range:
        if self._since is None:
            return Range(From.BEGINNING, until=self._until, follow=False)
        return Range(From.TIME, since=self._since, until=self._until, follow=False)

    def _progress(self, component: str, detail: str) -> Iterator[Event]:
        now = self._clock.monotonic()
        if now - self._shown >= _SHOWN_EVERY_SECONDS:
            self._shown = now
            yield Event(component, Phase.PROGRESS, detail)

    def _count(self, case: Case) -> None:
        self.result.counts[case.word] += 1
        self.result.copies += case.copies > 1
        if case.word is not Word.OK:
            self.result.cases.append(case)

    def _look_again(self, judge: Judge) -> None:
        """Look once more for what seems lost: it may have been on its way, and an index of DynamoDB may be late."""
        lost = [case for case in self.result.cases if case.word is Word.LOST][:_LOOKED_AT_AGAIN]
        if not lost:
            return
        wanted = Range(From.OFFSETS, offsets=judge.processed.ends, follow=False)
        arrived = {found for found, _ in evidence.processed(self._target.records, wanted, Reach())}
        table = self._target.audit_table()
        for case in lost:
            if case.identity in arrived or (case.processed is not None and _in_table(table, case)):
                self.result.counts[Word.LOST] -= 1
                self.result.counts[Word.IN_FLIGHT] += 1
                at = self.result.cases.index(case)
                self.result.cases[at] = replace(case, word=Word.IN_FLIGHT, why="arrived while this ran")


def _in_table(table: Any, case: Case) -> bool:  # noqa: ANN401 - a boto3 Table
    account, date, transaction = case.identity
    key = {"account_id": account, "transaction_key": transaction_key(date, transaction)}
    with translated():
        item = table.get_item(Key=key, ConsistentRead=True).get("Item")
    return item is not None and AuditRow.from_item(item).transaction_id == transaction
