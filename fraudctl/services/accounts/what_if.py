"""What a list of flags would have detected: a back-test on the transactions that Kafka still has. Nothing is published.

Each transaction is judged twice by its date. As it was: by the rule of detection, with the flag events that there were,
as a replay decides. With the list: an account of the list is flagged from its `start` to its `until`, as if that had
been known in time, and keeps what it had before; other accounts keep what they had. With `only`, the list stands for
all flag events: nothing else is flagged.

What is detected either way lies in a SQLite file in the folder for temporary files, once for all copies of a
transaction. Memory grows with the flag events, the list and the labels alone.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from fraudctl.clock import Clock
from fraudctl.pipeline import topics
from fraudctl.pipeline.reader import Records as Columns
from fraudctl.pipeline.records import Malformed
from fraudctl.pipeline.text import iso
from fraudctl.services.accounts.flag_list import Wanted
from fraudctl.services.accounts.found import AS_IT_WAS, WITH_LIST, Change, Found, Tally
from fraudctl.services.accounts.labels import Confusion
from fraudctl.services.flags import lookup, quick
from fraudctl.services.flags.reading import ACCOUNT
from fraudctl.services.flags.rule import History
from fraudctl.services.verify.reconcile import bounds
from fraudctl.services.verify.verdicts import Judge
from fraudctl.target import Event, From, Phase, Range, Target

_ID: Final = re.compile(rb'"transaction_id"\s*:\s*"([^"\\]*)"')
_ESCAPED: Final = re.compile(rb"\\u00[567]")  # letters that could spell a field's name
_FRAUD, _SEEN = 4, 8
_HOUR_MS: Final = 3_600_000
_SHOWN_EVERY_SECONDS: Final = 0.5
_REMEMBERED: Final = 20_000  # accounts whose flag events are at hand


class Flags(StrEnum):
    """By which flags transactions are judged."""

    AS_THEY_WERE = "as they were"
    WITH_LIST = "with the list"


@dataclass(slots=True)
class Result:
    """What was found.

    `transactions` counts those that were read, published from `first` through `last` (epoch milliseconds, None where
    there are none); `gaps` are sentences about what Kafka has deleted. `labelled` counts the labels whose transaction
    was read, of the `labels` that were given; `confusion` is empty without labels.
    """

    transactions: int = 0
    first: int | None = None
    last: int | None = None
    gaps: list[str] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    labels: int = 0
    labelled: int = 0
    confusion: dict[Flags, Confusion] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked: the list, and which transactions to judge by it, by when they were published."""

    wanted: Mapping[int, Wanted]
    only: bool = False
    since: int | None = None
    until: int | None = None
    labels: Mapping[str, bool] | None = None
    examples: int = 5

    def with_list(self, account: int, date: int, *, before: bool) -> bool:
        """Return whether the list would have detected a transaction; `before` is whether it was detected."""
        flag = self.wanted.get(account)
        if flag is None or (flag.start is not None and date < flag.start):
            return before and not self.only
        return flag.until is None or date < flag.until


class BackTest:
    """One back-test."""

    def __init__(self, target: Target, question: Question, clock: Clock = Clock()) -> None:  # noqa: B008 - frozen
        """Store what is asked for; no I/O."""
        self._target, self._question, self._clock = target, question, clock
        self._shown = 0.0
        self.histories: Mapping[int, History] = {}
        self._hours: set[int] = set()
        self._labels = {id_.encode(): _FRAUD * fraud for id_, fraud in (question.labels or {}).items()}
        self.result = Result(labels=len(self._labels))

    def run(self) -> Iterator[Event]:
        """Read and judge, with an event now and then; `result` and `histories`, the flag events, are whole at the end.

        Raises:
            NotDeployed: There is no such stack, or a topic of it is missing.
            Unreachable: Kafka does not answer.
        """
        hold = self._target.stack.outputs().hold_ms
        reach = Judge({})
        bounds(self._target, reach)
        self.histories = yield from lookup.read(self._target.records)
        with (
            tempfile.TemporaryDirectory(prefix="fraudctl-what-if-") as folder,
            Found(Path(folder) / "found.sqlite") as found,
        ):
            yield Event(topics.TRANSACTIONS.name, Phase.STARTED)
            for read in self._read(_Judged(self.histories, hold, self._question), found, reach):
                self.result.transactions += read
                yield from self._progress()
            yield Event(topics.TRANSACTIONS.name, Phase.DONE, f"{self.result.transactions:,} transactions")
            yield Event("comparison", Phase.STARTED)
            self.result.tallies = found.tallies(self._hours)
            self.result.changes = found.changes(self._question.examples)
            yield Event("comparison", Phase.DONE)
        self._coverage(reach)
        self._confusion()

    def _read(self, judged: "_Judged", found: Found, reach: Judge) -> Iterator[int]:
        question = self._question
        window = Range(
            From.BEGINNING if question.since is None else From.TIME,
            since=question.since,
            until=question.until,
            follow=False,
        )
        for batch in self._target.records.batches(topics.TRANSACTIONS.name, window):
            records = batch.records if isinstance(batch.records, Columns) else Columns("", list(batch.records))
            if not len(records):
                yield 0
                continue
            partitions, times = records.partitions(), [at or 0 for at in records.timestamps()]
            for partition in set(partitions) - reach.transactions.starts.keys():
                at = partitions.index(partition)
                reach.transactions.starts[partition] = records.offsets()[at]
                reach.transactions.first_at[partition] = times[at]
            self._times(times)
            for seen, published in self._candidates(records.values(), times, judged.accounts):
                bits, reason = judged.judge(seen, published)
                if bits:
                    found.add(seen, published, bits, reason)
                if (label := self._labels.get(seen.id.encode())) is not None:
                    self._labels[seen.id.encode()] = label | _SEEN | bits
            yield len(records)

    def _candidates(
        self, values: Sequence[bytes | None], times: Sequence[int], accounts: frozenset[bytes]
    ) -> Iterator[tuple[quick.Seen, int]]:
        """Yield the transactions that may count, with their times; most are passed over without being decoded."""
        labels = self._labels
        for value, at in zip(values, times, strict=True):
            if value is None:
                continue
            named = ACCOUNT.findall(value)
            if len(named) == 1 and named[0] not in accounts and not (b"\\u00" in value and _ESCAPED.search(value)):
                if not labels:
                    continue
                ids = _ID.findall(value) if b"\\" not in value else ()
                if len(ids) == 1 and ids[0] not in labels:
                    continue
            try:
                yield quick.read(value), at
            except Malformed:
                continue  # a dead letter

    def _times(self, times: Sequence[int]) -> None:
        first, last = min(times), max(times)
        result = self.result
        result.first = first if result.first is None else min(result.first, first)
        result.last = last if result.last is None else max(result.last, last)
        if first // _HOUR_MS == last // _HOUR_MS:
            self._hours.add(first // _HOUR_MS)
        else:
            self._hours.update(at // _HOUR_MS for at in times)

    def _progress(self) -> Iterator[Event]:
        now = self._clock.monotonic()
        if now - self._shown >= _SHOWN_EVERY_SECONDS:
            self._shown = now
            yield Event(topics.TRANSACTIONS.name, Phase.PROGRESS, f"{self.result.transactions:,} transactions")

    def _coverage(self, reach: Judge) -> None:
        """Note what of the window is gone."""
        read, since = reach.transactions, self._question.since
        cut = [partition for partition, at in read.earliest.items() if at > 0 and read.starts.get(partition) == at]
        begins = max((read.first_at[partition] for partition in cut), default=None)
        if begins is not None and (since is None or since < begins):
            self.result.gaps.append(
                f"transactions published before {iso(begins)} are not judged: Kafka has deleted some or all of them"
            )
        if any(reach.flags.earliest.values()):
            self.result.gaps.append("flag events are missing: Kafka has deleted some of them")

    def _confusion(self) -> None:
        seen = [bits for bits in self._labels.values() if bits & _SEEN]
        self.result.labelled = len(seen)
        if not self._labels:
            return
        for flags, bit in ((Flags.AS_THEY_WERE, AS_IT_WAS), (Flags.WITH_LIST, WITH_LIST)):
            self.result.confusion[flags] = Confusion.of((bool(bits & _FRAUD), bool(bits & bit)) for bits in seen)


class _Judged:
    """Judges transactions by the flag events that there were, and by the list."""

    def __init__(self, histories: Mapping[int, History], hold: int, question: Question) -> None:
        self._histories, self._hold, self._question = histories, hold, question
        self.accounts = frozenset(b"%d" % account for account in histories.keys() | question.wanted.keys())
        self._asked: dict[int, History | None] = {}

    def judge(self, seen: quick.Seen, published: int) -> tuple[int, str | None]:
        """Return the bits of who detects a transaction, `AS_IT_WAS` and `WITH_LIST`, and the reason of the flag."""
        account = seen.account
        try:
            history = self._asked[account]
        except KeyError:
            history = self._ask(account)
        detects = None
        if history is not None:
            # Without slack there is one outcome: a transaction is decided with what was published before it.
            (detects,) = history.outcomes(published, seen.date, hold=self._hold, slack=0)
        if self._question.with_list(account, seen.date, before=detects is not None):
            if detects is not None:
                return AS_IT_WAS | WITH_LIST, detects.reason
            return WITH_LIST, self._question.wanted[account].reason
        return (0, None) if detects is None else (AS_IT_WAS, detects.reason)

    def _ask(self, account: int) -> History | None:
        """Return an account's flag events, and remember them for its next transaction."""
        if len(self._asked) >= _REMEMBERED:
            self._asked.clear()
        found = self._asked[account] = self._histories.get(account)
        return found
