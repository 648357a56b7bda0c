"""The pipeline's topics: by the names that people type, as rows for a table and for programs, and how lag develops.

Rates come from the records' own times (`PartitionInfo.last_10s`), so that nobody waits for a second sample and a slow
topic has a rate too. In topics whose time the producer sets (processed_topic, dead_letters) they follow that time.
Offsets are counted, to which the markers of Kafka transactions belong.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, FraudctlError, Refused
from fraudctl.pipeline import topics
from fraudctl.pipeline.topics import Topic
from fraudctl.services.interrupts import interruptible
from fraudctl.target import (
    Change,
    Consent,
    ConsumerLag,
    Event,
    PartitionInfo,
    Phase,
    Plan,
    Target,
    TopicInfo,
)

TOPIC_FIELDS: Final = (
    "topic",
    "name",
    "exists",
    "partitions",
    "replication",
    "records",
    "size_bytes",
    "newest_at_ms",
    "newest_age_ms",
    "records_last_10s",
    "records_last_minute",
    "records_per_second",
)
PARTITION_FIELDS: Final = (
    "partition",
    "leader",
    "replicas",
    "isr",
    "earliest",
    "latest",
    "stable",
    "size_bytes",
    "newest_at_ms",
    "records_last_10s",
    "records_last_minute",
)
_AGAIN_SECONDS: Final = 1.0
# A mistyped number cannot be taken back, and each partition costs files and memory of the broker.
_MOST_PARTITIONS: Final = 100
_READ_BY_FLINK: Final = frozenset({topics.TRANSACTIONS.name, topics.FLAGGED.name})
_WINDOW_SECONDS: Final = 10
# A lag that moves by less is that of a consumer at work: batches come and go.
_STEADY_RECORDS: Final = 10
_STEADY_SHARE: Final = 0.01

Sample = Mapping[tuple[str, str], int]


def named(name: str) -> Topic:
    """Return a topic by its alias or its full name; raises `BadConfig` with the aliases."""
    found = topics.find(name)
    if found is None:
        aliases = ", ".join(topic.alias for topic in topics.ALL)
        raise BadConfig(f"topic {name!r}: no such topic", hint=f"the topics are {aliases}")
    return found


@dataclass(frozen=True, slots=True)
class Trend:
    """How a consumer's lag has changed since the look before: the word for it, and records a second."""

    word: str
    per_second: float


@dataclass(frozen=True, slots=True)
class Consumer:
    """A consumer of a topic; `trend` is None at the first look."""

    lag: ConsumerLag
    trend: Trend | None = None

    def row(self) -> dict[str, Any]:
        """Return it for programs; `lag_ms` is the age of the oldest record that it has not read."""
        return {
            "group": self.lag.group,
            "lag_records": self.lag.lag,
            "lag_ms": self.lag.behind_ms,
            "trend": self.trend and self.trend.word,
            "lag_change_per_second": self.trend and round(self.trend.per_second, 1),
            "headroom_ms": self.lag.headroom_ms,
        }


@dataclass(frozen=True, slots=True)
class Listed:
    """Every topic at one moment (epoch milliseconds)."""

    at_ms: int
    topics: tuple[TopicInfo, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each topic, with `TOPIC_FIELDS`."""
        return [topic_row(topic, self.at_ms) for topic in self.topics]

    def document(self) -> dict[str, Any]:
        """Return all of it as one document."""
        return {"at_ms": self.at_ms, "topics": self.rows()}


@dataclass(frozen=True, slots=True)
class Described:
    """One topic at one moment (epoch milliseconds), with its consumers."""

    at_ms: int
    topic: TopicInfo
    consumers: tuple[Consumer, ...]

    def partitions(self) -> list[dict[str, Any]]:
        """Return a row for each partition, with `PARTITION_FIELDS`."""
        return [_partition_row(partition) for partition in self.topic.partitions]

    def document(self) -> dict[str, Any]:
        """Return all of it as one document."""
        return {
            "at_ms": self.at_ms,
            **topic_row(self.topic, self.at_ms),
            "config": dict(self.topic.config),
            "settings": [asdict(setting) for setting in self.topic.settings],
            "partitions": self.partitions(),
            "consumers": [consumer.row() for consumer in self.consumers],
        }


def listed(target: Target, clock: Clock = Clock()) -> Listed:  # noqa: B008 - frozen
    """Return every topic of the pipeline; raises `Unreachable`."""
    found = tuple(target.topics.list(activity=True))
    return Listed(int(clock.now() * 1000), found)


def partitions(given: Iterable[str]) -> dict[str, int]:
    """Return how many partitions each topic shall have, by its full name, of ``transactions=8``; raises `BadConfig`."""
    wanted = {}
    for item in given:
        topic, _, number = item.partition("=")
        if not (number.isascii() and number.isdigit() and 0 < int(number) <= _MOST_PARTITIONS):
            raise BadConfig(
                f"--partitions {item}: not a topic and its number of partitions",
                hint=f"write --partitions transactions=8; {_MOST_PARTITIONS} at most",
            )
        wanted[named(topic).name] = int(number)
    return wanted


def plan_partitions(target: Target, wanted: Mapping[str, int]) -> Plan:
    """Return what raising the topics' numbers of partitions would do; no changes where they have so many.

    Raises `Refused` where one would have fewer, which Kafka cannot do, and `NotDeployed`.
    """
    changes = []
    for name, number in wanted.items():
        now = len(target.topics.describe(name).partitions)
        if number < now:
            raise Refused(
                f"topic {name}: has {now} partitions, and Kafka cannot take any away",
                hint=f"nothing was changed; name {now} or more",
            )
        if number > now:
            changes.append(Change("add", name, f"{now} → {number} partitions; they stay for good"))
    if not changes:
        return Plan(target.stack.outputs().stack, ())
    notes = [
        "Records with the same key go to another partition from now on. So the records of an account that are there",
        "already lie in another partition than its new ones, and nobody reads them in order across both.",
        "Detection goes by the times at which records were published, not by their order: it stays right.",
    ]
    if _restarts(target, (change.component for change in changes)):
        notes += [
            "The Flink application stops with a savepoint and starts again: it would notice new partitions only after",
            "some minutes, too late for flags.",
        ]
    return Plan(target.stack.outputs().stack, tuple(changes), Consent.YES, notes=tuple(notes), work=dict(wanted))


def add_partitions(target: Target, plan: Plan) -> Iterator[Event]:
    """Do what the plan says; the application runs again afterwards, whatever happens. Hold the stack's lock."""
    return interruptible(_add_partitions(target, plan))


def _add_partitions(target: Target, plan: Plan) -> Generator[Event, None, None]:
    names = [change.component for change in plan.changes]
    restarts = _restarts(target, names)
    if restarts:
        yield from target.flink.stop()
    try:
        for name in names:
            target.topics.add_partitions(name, plan.work[name])
            yield Event("topics", Phase.DONE, f"{name} has {plan.work[name]} partitions")
    except (FraudctlError, KeyboardInterrupt):
        if restarts:
            yield from target.flink.start()
        raise
    if restarts:
        yield from target.flink.start()


def _restarts(target: Target, names: Iterable[str]) -> bool:
    """Return whether the application reads one of the topics and runs.

    Its connector looks for new partitions every five minutes, and what it has not found is not in its clock.
    """
    return bool(_READ_BY_FLINK & set(names)) and target.flink.status().state != "STOPPED"


class Describer:
    """Looks at one topic again and again."""

    def __init__(self, target: Target, name: str, clock: Clock = Clock()) -> None:  # noqa: B008 - frozen
        """Store the target and the topic's full name; no I/O."""
        self._target, self._name, self._clock = target, name, clock
        self._before: tuple[float, Sample] | None = None

    def look(self, *, wait: bool) -> Described:
        """Return the topic as it is; raises `NotDeployed` and `Unreachable`.

        How a lag develops shows against the look before. At the first one there is none: with `wait`, consumers are
        looked at twice, a second apart; otherwise they have no trend.
        """
        info = self._target.topics.describe(self._name)
        at_ms = int(self._clock.now() * 1000)
        found = self._consumers()
        if self._before is None and wait and found:
            self._note(found)
            self._clock.sleep(_AGAIN_SECONDS)
            found = self._consumers()
        consumers = tuple(Consumer(lag, self._trend(lag)) for lag in found)
        self._note(found)
        return Described(at_ms, info, consumers)

    def _consumers(self) -> list[ConsumerLag]:
        return [lag for lag in self._target.topics.consumers(timed=True) if lag.topic == self._name]

    def _note(self, found: Sequence[ConsumerLag]) -> None:
        lags = {(lag.group, lag.topic): lag.lag for lag in found if lag.lag is not None}
        self._before = self._clock.monotonic(), lags

    def _trend(self, lag: ConsumerLag) -> Trend | None:
        if self._before is None or lag.lag is None:
            return None
        at, before = self._before
        was, seconds = before.get((lag.group, lag.topic)), self._clock.monotonic() - at
        return None if was is None or seconds <= 0 else trend(was, lag.lag, seconds)


def trend(before: int, after: int, seconds: float) -> Trend:
    """Return how a lag has changed; steady is a change of up to ten records, or of a hundredth of the lag."""
    change = after - before
    if abs(change) <= max(_STEADY_RECORDS, _STEADY_SHARE * max(before, after)):
        return Trend("steady", change / seconds)
    return Trend("growing" if change > 0 else "shrinking", change / seconds)


def topic_row(topic: TopicInfo, at_ms: int) -> dict[str, Any]:
    """Return a topic's numbers over all partitions, with `TOPIC_FIELDS`; what is not known is None."""
    newest = [found.newest_at for found in topic.partitions if found.newest_at is not None]
    recent = _sum(found.last_10s for found in topic.partitions)
    return {
        "topic": topic.alias,
        "name": topic.name,
        "exists": topic.exists,
        "partitions": len(topic.partitions),
        "replication": topic.replication,
        "records": topic.records,
        "size_bytes": _sum(found.size_bytes for found in topic.partitions),
        "newest_at_ms": max(newest, default=None),
        "newest_age_ms": max(0, at_ms - max(newest)) if newest else None,
        "records_last_10s": recent,
        "records_last_minute": _sum(found.last_minute for found in topic.partitions),
        "records_per_second": None if recent is None else recent / _WINDOW_SECONDS,
    }


def _partition_row(found: PartitionInfo) -> dict[str, Any]:
    return {
        "partition": found.partition,
        "leader": found.leader,
        "replicas": list(found.replicas),
        "isr": list(found.isr),
        "earliest": found.earliest,
        "latest": found.latest,
        "stable": found.stable,
        "size_bytes": found.size_bytes,
        "newest_at_ms": found.newest_at,
        "records_last_10s": found.last_10s,
        "records_last_minute": found.last_minute,
    }


def _sum(numbers: Iterable[int | None]) -> int | None:
    """Return the sum; None where one of them is not known, or there is none."""
    found = list(numbers)
    known = [number for number in found if number is not None]
    return sum(known) if known and len(known) == len(found) else None
