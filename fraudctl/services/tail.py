"""Tail a topic: what its options mean together, which records match, and what is said beside them."""

import re
import shlex
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from zlib import crc32

from fraudctl import tables
from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, NotAsAsked, NotDeployed, Unreachable
from fraudctl.pipeline import topics
from fraudctl.pipeline.reader import Batch, Record, Records
from fraudctl.pipeline.topics import Topic
from fraudctl.services import time_options
from fraudctl.services.accounts import flag as accounts
from fraudctl.services.latency import Latency
from fraudctl.services.tail_options import Order, TailOptions
from fraudctl.services.where import compile_where
from fraudctl.target import From, Range, Target

# Where the records of each topic come from, for who waits for them in vain.
_SOURCES: Final = {
    topics.TRANSACTIONS.alias: "switch on sample transactions: `fraudctl transactions start`",
    topics.FLAGGED.alias: "flag an account: `fraudctl flag-accounts`",
    topics.PROCESSED.alias: "flag an account: `fraudctl flag-accounts`",
    topics.DEAD_LETTERS.alias: "malformed records are set aside there",
}
_ASK_SECONDS: Final = 2.0
_STOPPED_SECONDS: Final = 10.0
_STATS_SECONDS: Final = 5.0
_DEFAULT_TIMEOUT_MS: Final = 30_000
_SAMPLE: Final = re.compile(r"(\d+(?:\.\d+)?)%")
_BUCKETS: Final = 1_000_000

Keep = Callable[[Records, Sequence[int]], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition on records: as typed, which of several meet it, and what of it stops a single one."""

    text: str
    keep: Keep
    stopped_by: Callable[[Record], str | None] | None = None


@dataclass(frozen=True, slots=True)
class Tail:
    """A tail that is ready to run. `rest` are the options to go on with, beside offsets and `most`, what is left."""

    topic: Topic
    range: Range
    clauses: tuple[Clause, ...] = ()
    why_not: bool = False
    expect: int | None = None
    stats: bool = False
    most: int | None = None
    rest: tuple[str, ...] = ()

    def stopped_by(self, record: Record) -> str | None:
        """Return the first clause that a record does not meet; None if it meets all."""
        one = Records(record.topic, [record])
        for clause in self.clauses:
            if not clause.keep(one, (0,)):
                return (clause.stopped_by and clause.stopped_by(record)) or clause.text
        return None


def prepare(
    topic: Topic,
    options: TailOptions,
    *,
    note: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.time,
) -> Tail:
    """Return what the options mean together; `note` is told what times without a zone were read as.

    New records by default; what has an end by itself does not follow. Raises `BadConfig` for options that exclude each
    other.
    """
    clauses = tuple(_clauses(options, note, clock))
    if options.why_not and not clauses:
        raise BadConfig("--why-not: there is no filter", hint="add --where, --account, --key, --grep or --sample")
    if options.timeout is not None and options.expect is None:
        raise BadConfig("--timeout: needs --expect", hint="add --expect N, or use --for to stop after a time")
    wanted = _range(options, note, clock)
    if clauses and not options.why_not:
        wanted = replace(wanted, keep=_keep(clauses))
    return Tail(
        topic=topic,
        range=wanted,
        clauses=clauses,
        why_not=options.why_not,
        expect=options.expect,
        stats=options.stats,
        most=options.most,
        rest=(*_bound(wanted), *options.rest()),
    )


def _bound(wanted: Range) -> tuple[str, ...]:
    """Return the options by which a read that goes on ends where this one would have: an end in time as a moment."""
    if wanted.until is not None:
        return ("--until", str(wanted.until))
    return () if wanted.follow else ("--no-follow",)


def _range(options: TailOptions, note: Callable[[str], None], clock: Callable[[], float]) -> Range:
    offsets = _offsets(options.offsets)
    partitions = frozenset(options.partitions)
    given = [
        name
        for name, is_given in (
            ("--last", options.last is not None),
            ("--from-beginning", options.from_beginning),
            ("--since", options.since is not None),
            ("--offsets", bool(offsets)),
        )
        if is_given
    ]
    if len(given) > 1:
        raise BadConfig(f"{' and '.join(given)} cannot be combined", hint=f"use {' or '.join(given)}")
    if offsets and partitions - set(offsets):
        raise BadConfig("--partition: not one of --offsets", hint="--offsets names the partitions to read")
    first, end = time_options.span(options.since, options.until, clock=clock, note=note)
    follow = options.follow
    if follow is False and not given and end is None:
        raise BadConfig(
            "--no-follow: there is nothing to read", hint="add --last N, --from-beginning, --offsets or --since TIME"
        )
    past = end is not None and end <= clock() * 1000
    start = From.NOW
    if offsets:
        start = From.OFFSETS
    elif options.last is not None:
        start = From.LAST
    elif first is not None:
        start = From.TIME
    elif options.from_beginning or past or follow is False:
        start = From.BEGINNING
    endless = start is not From.LAST if follow is None else follow
    limits = [limit for limit in (options.most, options.expect) if limit is not None]
    return Range(
        start,
        count=options.last or 0,
        since=first,
        until=end,
        follow=endless and not past,
        limit=min(limits, default=None),
        offsets={p: at for p, at in offsets.items() if not partitions or p in partitions},
        partitions=partitions,
        key=_key(options),
        seconds=_seconds(options),
        by_time=options.order is Order.TIME,
    )


def _seconds(options: TailOptions) -> float | None:
    limits = []
    if options.duration is not None:
        limits.append(time_options.duration(options.duration, "--for"))
    if options.expect is not None:
        timeout = options.timeout
        limits.append(_DEFAULT_TIMEOUT_MS if timeout is None else time_options.duration(timeout, "--timeout"))
    return min(limits) / 1000 if limits else None


def _offsets(given: str | None) -> dict[int, int]:
    if given is None:
        return {}
    found: dict[int, int] = {}
    for part in given.split(","):
        match = re.fullmatch(r"\s*(\d{1,9}):(\d{1,18})\s*", part, re.ASCII)
        if match is None or int(match[1]) in found:
            raise BadConfig(f"--offsets {given!r}: not PARTITION:OFFSET,...", hint="use --offsets 0:1042,1:998")
        found[int(match[1])] = int(match[2])
    return found


def _key(options: TailOptions) -> bytes | None:
    if options.account is not None and options.key is not None:
        raise BadConfig("--account and --key cannot be combined", hint="an account's records have it as their key")
    if options.account is not None:
        return b"%d" % accounts.account(options.account)
    return None if options.key is None else options.key.encode()


def _clauses(options: TailOptions, note: Callable[[str], None], clock: Callable[[], float]) -> Iterator[Clause]:
    if (key := _key(options)) is not None:
        name = f"--account {options.account}" if options.account is not None else f"--key {options.key}"
        yield Clause(name, lambda records, indexes: _equal(records.keys(), indexes, key))
    if options.sample is not None:
        below = _share(options.sample)
        yield Clause(
            f"--sample {options.sample}",
            lambda records, indexes: _sampled(records.keys(), indexes, below),
        )
    if options.grep is not None:
        try:
            search = re.compile(options.grep.encode()).search
        except re.error as error:
            raise BadConfig(f"--grep {options.grep!r}: {error}", hint="it is a regular expression of Python") from error
        yield Clause(
            f"--grep {options.grep}",
            lambda records, indexes: _matching(records.values(), indexes, search),
        )
    if options.where is not None:
        where = compile_where(options.where, clock=clock)
        for line in where.notes:
            note(line)
        matches, needs_record = where.matches, where.needs_record

        def keep(records: Records, indexes: Sequence[int]) -> Sequence[int]:
            values = records.values()
            if needs_record:
                found = list(records)
                return [index for index in indexes if matches(values[index], found[index])]
            return [index for index in indexes if matches(values[index], None)]

        yield Clause(options.where, keep, lambda record: where.stopped_by(record.value, record))


def _equal(keys: Sequence[bytes | None], indexes: Sequence[int], key: bytes) -> Sequence[int]:
    return [index for index in indexes if keys[index] == key]


def _sampled(keys: Sequence[bytes | None], indexes: Sequence[int], below: int) -> Sequence[int]:
    return [index for index in indexes if crc32(keys[index] or b"") % _BUCKETS < below]


def _matching(
    values: Sequence[bytes | None], indexes: Sequence[int], search: Callable[[bytes], re.Match[bytes] | None]
) -> Sequence[int]:
    return [index for index in indexes if (value := values[index]) is not None and search(value)]


def _share(given: str) -> int:
    match = _SAMPLE.fullmatch(given)
    if match is None or not 0 < float(match[1]) <= 100:  # noqa: PLR2004 - per cent
        raise BadConfig(f"--sample {given!r}: not a percentage above 0", hint="use --sample 1%")
    return round(float(match[1]) * _BUCKETS / 100)


def _keep(clauses: Sequence[Clause]) -> Callable[[Records], Sequence[int]]:
    def keep(records: Records) -> Sequence[int]:
        indexes: Sequence[int] = range(len(records))
        for clause in clauses:
            if not indexes:
                break
            indexes = clause.keep(records, indexes)
        return indexes

    return keep


@dataclass(slots=True)
class Progress:
    """What a running tail has read: records that matched, were shown, and all; where each partition goes on."""

    matched: int = 0
    shown: int = 0
    scanned: int = 0
    positions: Mapping[int, int] = field(default_factory=dict)
    latency: Latency | None = None

    def shown_to(self, batch: Batch) -> None:
        """Take note that a batch was shown."""
        self.shown += len(batch.records)
        self.positions = batch.positions


def summary(tail: Tail, done: Progress) -> Iterator[str]:
    """Yield what is said of a tail that has ended."""
    if done.latency is not None:
        yield done.latency.total()
    if tail.clauses and done.scanned:
        yield f"Matched {done.matched:,} of {done.scanned:,}."


def resume(tail: Tail, done: Progress, more: Sequence[str] = ()) -> str | None:
    """Return the command, `more` its options, that shows what an interrupted tail has not; None if it has all."""
    left = () if tail.most is None else ("--max", str(tail.most - done.shown))
    if not done.positions or (tail.most is not None and done.shown >= tail.most):
        return None
    places = ",".join(f"{number}:{at}" for number, at in sorted(done.positions.items()))
    return shlex.join(["fraudctl", "tail", tail.topic.alias, "--offsets", places, *left, *tail.rest, *more])


def records(
    target: Target,
    tail: Tail,
    note: Callable[[str], None],
    clock: Clock = Clock(),  # noqa: B008 - frozen
    progress: Progress | None = None,
) -> Generator[Sequence[Record], None, None]:
    """Yield the records as they arrive; an empty sequence when none came for a moment.

    Calls `note` when there are none to begin with, once when Kafka stops answering and once when it answers again, for
    records that were deleted before they could be read, for `--stats`, and at the end for the `summary`. Who ends it,
    by an interrupt or because nobody reads on, has that from `progress`.

    Raises:
        NotAsAsked: Fewer records matched than were expected.
        NotDeployed: The stack was torn down meanwhile.
        Unreachable: It was stopped meanwhile.
    """
    done = progress if progress is not None else Progress()
    done.latency = Latency(clock) if tail.stats else None
    try:
        yield from _records(target, tail, note, clock, done)
    except Exception:
        _say(note, summary(tail, done))
        raise
    _say(note, summary(tail, done))
    if tail.expect is not None and done.matched < tail.expect:
        within = "" if tail.range.seconds is None else f" within {tail.range.seconds:g} s"
        raise NotAsAsked(
            f"tail: {done.matched:,} of {tail.expect:,} expected records{within}",
            hint=f"look at what there is: `fraudctl tail {tail.topic.alias} --last 10`",
        )


def _say(note: Callable[[str], None], lines: Iterator[str]) -> None:
    for line in lines:
        note(line)


def _records(
    target: Target, tail: Tail, note: Callable[[str], None], clock: Clock, done: Progress
) -> Generator[Sequence[Record], None, None]:
    silent, begun, presence = False, False, _Presence(target, clock)
    latency = done.latency
    for batch in target.records.batches(tail.topic.name, tail.range):
        silent = _changed(batch, note, silent=silent)
        for partition, lost in batch.lost.items():
            place = f"{tail.topic.name}, partition {partition}"
            note(f"{lost:,} records of {place}, were deleted before they could be read.")
        if batch.unreachable is not None:
            presence.check()
            yield ()
            continue
        presence.answered()
        done.scanned += batch.scanned
        done.matched += _met(tail, batch.records)
        if latency is not None:
            latency.add(batch.records)
        try:
            yield batch.records
        except KeyboardInterrupt:  # kept back until they were shown
            done.shown_to(batch)
            raise
        done.shown_to(batch)
        if not begun and not done.shown and tail.range.follow and batch.at_end:
            note(_waiting(tail, done.scanned))
        begun = begun or batch.at_end
        if latency is not None and latency.due(_STATS_SECONDS):
            note(latency.line())
    if not done.scanned and not tail.range.follow:
        note(f"No records there; {_SOURCES[tail.topic.alias]}.")


def _waiting(tail: Tail, scanned: int) -> str:
    """Return what is waited for by who has seen no record."""
    if scanned:
        return f"No match in {tables.plural(scanned, 'record')} of {tail.topic.name}; waiting for more."
    return f"Waiting for records in {tail.topic.name}; {_SOURCES[tail.topic.alias]}."


def _met(tail: Tail, found: Sequence[Record]) -> int:
    if not tail.why_not:
        return len(found)
    return sum(1 for record in found if tail.stopped_by(record) is None)


class _Presence:
    """Whether there is still a stack behind a Kafka that does not answer."""

    def __init__(self, target: Target, clock: Clock) -> None:
        """Store the collaborators; no I/O."""
        self._target, self._clock = target, clock
        self._asked = 0.0
        self._stopped_since: float | None = None

    def answered(self) -> None:
        """Take note that Kafka has answered."""
        self._stopped_since = None

    def check(self) -> None:
        """Raise `NotDeployed` for a stack that is gone, and `Unreachable` for one that has been stopped for a while."""
        now = self._clock.monotonic()
        if self._asked and now - self._asked < _ASK_SECONDS:
            return
        self._asked = now
        try:
            stack, running = self._target.stack.outputs().stack, self._target.recover()
        except NotDeployed as error:
            raise NotDeployed(
                "tail: the stack was torn down, no more records come", hint="run `fraudctl deploy`"
            ) from error
        except Unreachable:  # AWS itself: what is wrong for good, the next question for records meets too
            return
        if running:
            self._stopped_since = None
        elif self._stopped_since is None:
            self._stopped_since = now
        elif now - self._stopped_since >= _STOPPED_SECONDS:  # a repair stops it for a moment
            raise Unreachable(f"stack {stack}: it was stopped", hint="run `fraudctl deploy` to bring it back")


def _changed(batch: Batch, note: Callable[[str], None], *, silent: bool) -> bool:
    if batch.unreachable is not None and not silent:
        note("Kafka does not answer; waiting.")
    elif batch.unreachable is None and silent:
        note("Kafka is back.")
    return batch.unreachable is not None
