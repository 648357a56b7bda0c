"""A target in memory. Every fake satisfies its Protocol of fraudctl.target, which mypy checks here."""

import io
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from fraudctl.errors import BadConfig, FraudctlError, NotDeployed
from fraudctl.pipeline import topics
from fraudctl.pipeline.reader import Batch, Record
from fraudctl.pipeline.reader import Records as Columns
from fraudctl.pipeline.records import FlaggedTransaction
from fraudctl.pipeline.text import iso
from fraudctl.target import (
    NO_OPTIONS,
    Change,
    Component,
    ConsumerLag,
    Event,
    FlinkStatus,
    Health,
    Options,
    Origin,
    Outgoing,
    Outputs,
    Page,
    PartitionInfo,
    Paused,
    Phase,
    Plan,
    Range,
    Report,
    Savepoint,
    ScheduleStatus,
    Setting,
    Target,
    TopicInfo,
)

OUTPUTS = Outputs("fraud-detection", "fake", "127.0.0.1:1", "fraud-detection-audit", "application", 60_000, 5_000)


def record(offset: int, value: bytes | None, **changes: Any) -> Record:
    """Return a record of the transactions' topic, partition 0; a second passes with every offset."""
    made = Record(topics.TRANSACTIONS.name, 0, offset, 1_790_000_000_000 + offset * 1000, b"1000000001", value)
    return made._replace(**changes)


def batch(*records: Record, unreachable: str | None = None) -> Batch:
    """Return a batch of these records, with nothing behind them."""
    at = {record.partition: record.offset + 1 for record in records}
    return Batch(records, at, at, unreachable, scanned=len(records))


def detection(number: int, account: int = 7, **changes: Any) -> FlaggedTransaction:
    """Return the detection of transaction ``t-<number>``, which happened `number` seconds after ten o'clock."""
    values: dict[str, Any] = {
        "transaction_id": f"t-{number}",
        "account_id": account,
        "customer_name": "Ada",
        "transaction_date": f"2026-11-24T10:{number // 60:02d}:{number % 60:02d}.000Z",
        "merchant_type": "Grocery",
        "transaction_type": "Online",
        "amount": Decimal("12.50"),
        "flag_date": "2026-11-24T09:00:00.000Z",
        "flag_reason": "stolen card",
        "flagged_by": "bo",
        "transaction_partition": 0,
        "transaction_offset": number,
        "flag_partition": 0,
        "flag_offset": 0,
    }
    return FlaggedTransaction(**{**values, **changes})


@dataclass
class FakeStack:
    """Deployed from the start; `plans` are what `plan` gives in turn, the last one again and again."""

    plans: list[Plan] = field(default_factory=lambda: [Plan("fraud-detection", ())])
    teardown_plan: Plan = field(default_factory=lambda: Plan("fraud-detection", (Change("remove", "kafka"),)))
    events: Sequence[Event] = (Event("kafka", Phase.DONE, "answers"),)
    calls: list[Any] = field(default_factory=list)
    options: Options = NO_OPTIONS
    discarded: list[Plan] = field(default_factory=list)
    marked: Paused | None = None

    def prepare(self) -> Iterator[Event]:
        """Nothing to prepare."""
        yield from ()

    def plan(self, *, samples: bool | None = None, options: Options = NO_OPTIONS) -> Plan:
        """Return the next plan."""
        self.calls.append(("plan", samples))
        self.options = options
        return self.plans.pop(0) if len(self.plans) > 1 else self.plans[0]

    def apply(self, plan: Plan) -> Iterator[Event]:
        """Record the call, then give the events."""
        self.calls.append(("apply", plan))
        yield from self.events

    def discard(self, plan: Plan) -> None:
        """Record the plan."""
        self.discarded.append(plan)

    def attach(self) -> Iterator[Event]:
        """Record the call, then give the events."""
        self.calls.append("attach")
        yield from self.events

    def continue_rollback(self, skip: Sequence[str] = ()) -> Iterator[Event]:
        """Record the call, then give the events."""
        self.calls.append(("continue_rollback", tuple(skip)))
        yield from self.events

    def plan_teardown(self, *, keep_data: bool) -> Plan:
        """Return the plan of teardown."""
        self.calls.append(("plan_teardown", keep_data))
        return replace(self.teardown_plan, keep_data=keep_data)

    def teardown(self, plan: Plan) -> Iterator[Event]:
        """Record the call, then give the events."""
        self.calls.append(("teardown", plan, plan.keep_data))
        yield from self.events

    def outputs(self) -> Outputs:
        """Return the outputs."""
        return OUTPUTS

    def paused(self) -> Paused | None:
        """Return the mark."""
        return self.marked

    def mark(self, paused: Paused | None) -> None:
        """Keep the mark."""
        self.calls.append(("mark", paused is not None))
        self.marked = paused

    def pause(self) -> Iterator[Event]:
        """Record the call, then give the events."""
        self.calls.append("pause")
        yield from self.events

    def resume(self) -> Iterator[Event]:
        """Record the call, then give the events."""
        self.calls.append("resume")
        yield from self.events

    def saving(self) -> Sequence[str]:
        """Return a line."""
        return ("saved: $1 an hour",)


@dataclass
class FakeFlink:
    """An application that runs."""

    found: FlinkStatus = field(
        default_factory=lambda: FlinkStatus("RUNNING", "j1", 1_790_000_000_000, metrics={"detected": 3})
    )
    states: list[Savepoint] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)

    def start(self, *, fresh: bool = False, accept_loss: bool = False) -> Iterator[Event]:
        """Record the call."""
        self.calls.append(("start", fresh, "accept loss") if accept_loss else ("start", fresh))
        yield Event("flink", Phase.DONE, "running")

    def stop(self, *, savepoint: bool = True) -> Iterator[Event]:
        """Record the call."""
        self.calls.append(("stop", savepoint))
        yield Event("flink", Phase.DONE, "stopped")

    def status(self) -> FlinkStatus:
        """Return the status."""
        return self.found

    def savepoints(self) -> list[Savepoint]:
        """Return the states."""
        return self.states


@dataclass
class FakeTopics:
    """The four topics, with one record in each partition of the first."""

    missing: frozenset[str] = frozenset()
    calls: list[Any] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    positions: dict[str, dict[str, dict[int, int]]] = field(default_factory=dict)

    def create(self) -> Iterator[Event]:
        """Record the call."""
        self.calls.append("create")
        yield Event("topics", Phase.DONE, "all 4 as they should be")

    def add_partitions(self, name: str, number: int) -> None:
        """Record the call; the topic has so many from now on."""
        self.calls.append(("add_partitions", name, number))
        self.numbers[name] = number

    def list(self, *, activity: bool = False) -> list[TopicInfo]:
        """Return the topics."""
        del activity
        return [self._info(topic) for topic in topics.ALL]

    def describe(self, name: str) -> TopicInfo:
        """Return one topic with its defined configuration."""
        topic = topics.find(name)
        if topic is None or name in self.missing:
            raise NotDeployed(f"topic {name}: does not exist", hint="run `fraudctl topics create`")
        return self._info(topic)

    def consumers(self, *, timed: bool = False) -> Sequence[ConsumerLag]:
        """Return one consumer."""
        return [ConsumerLag("audit-writer", topics.PROCESSED.name, 7, behind_ms=2_500 if timed else None)]

    def committed(self, topic: str) -> Mapping[str, Mapping[int, int]]:
        """Return what `positions` says of the topic."""
        return self.positions.get(topic, {})

    def _info(self, topic: topics.Topic) -> TopicInfo:
        if topic.name in self.missing:
            return TopicInfo(topic.alias, topic.name, exists=False)
        latest = 1 if topic is topics.TRANSACTIONS else 0
        partitions = tuple(
            PartitionInfo(number, 1, 0, latest, replicas=(1,), isr=(1,))
            for number in range(self.numbers.get(topic.name, topics.PARTITIONS))
        )
        return TopicInfo(
            topic.alias,
            topic.name,
            exists=True,
            partitions=partitions,
            replication=1,
            config=topic.config,
            settings=tuple(Setting(name, value, None, Origin.PIPELINE, value) for name, value in topic.config.items()),
        )


@dataclass
class FakeRecords:
    """Yields `arriving` when it is read and stores what is written; `refuse` has keys that Kafka does not accept.

    `of_topic` has what other topics give, chosen as a reader would by `keep`, `limit` and time.
    """

    arriving: Iterable[Batch | BaseException] = ()
    refuse: frozenset[bytes] = frozenset()
    asked: list[tuple[str, Range]] = field(default_factory=list)
    written: list[Outgoing] = field(default_factory=list)
    topic: str = ""
    parts: Sequence[Report] | None = None
    asked_for: int = 0
    most: int | None = None  # the write stops behind so many
    of_topic: Mapping[str, Sequence[Record]] = field(default_factory=dict)

    def read(self, topic: str, wanted: Range) -> Iterator[Record]:
        """Yield the records of all batches."""
        for found in self.batches(topic, wanted):
            yield from found.records

    def batches(self, topic: str, wanted: Range) -> Iterator[Batch]:
        """Yield the batches; an error among them is raised."""
        self.asked.append((topic, wanted))
        if topic in self.of_topic:
            since, until = wanted.since or 0, wanted.until or 2**63
            there = Columns(topic, [item for item in self.of_topic[topic] if since <= (item.timestamp or 0) < until])
            there = there if wanted.keep is None else there.take(wanted.keep(there))
            yield batch(*there[: wanted.limit])
            return
        for found in self.arriving:
            if isinstance(found, BaseException):
                raise found
            yield found

    def write(self, topic: str, records: Iterable[Outgoing]) -> Report:
        """Store the records."""
        self.topic = topic
        failed = 0
        for outgoing in records:
            if outgoing.key in self.refuse:
                failed += 1
            else:
                self.written.append(outgoing)
            if self.most is not None and len(self.written) == self.most:
                return Report(self.most, failed, stopped="TopicWriter: no answer in time")
        return Report(len(self.written), failed, ("Broker: refused",) if failed else ())

    def generate(self, count: int) -> Iterator[Report] | None:
        """Leave it to the caller, unless parts are prepared."""
        self.asked_for = count
        return None if self.parts is None else iter(self.parts)


@dataclass
class FakeFunctions:
    """Answers as FlagAccountGenerator does."""

    error: FraudctlError | None = None
    payloads: list[dict[str, Any]] = field(default_factory=list)

    def invoke(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Flag what is asked for."""
        assert name == "FlagAccountGenerator"
        if self.error:
            raise self.error
        self.payloads.append(dict(payload))
        now, published = "2026-11-24T10:00:00.000Z", iso(int(time.time() * 1000))
        listed = payload.get("events") or [
            {"account_id": account, "status": "FLAGGED", "reason": None} for account in range(1000000001, 1000000006)
        ]
        return {
            "flags": [
                {
                    **event,
                    "flag_date": event.get("flag_date") or now,
                    "flagged_by": payload["flagged_by"],
                    "partition": 1,
                    "offset": offset,
                    "published": published,
                }
                for offset, event in enumerate(listed)
            ]
        }


@dataclass
class FakeSchedule:
    """A switch."""

    on: bool = True

    def start(self) -> bool:
        """Switch on."""
        changed, self.on = not self.on, True
        return changed

    def stop(self) -> bool:
        """Switch off."""
        changed, self.on = self.on, False
        return changed

    def status(self) -> ScheduleStatus:
        """Return whether it is on."""
        return ScheduleStatus(self.on)


@dataclass
class FakeLogs:
    """Two lines of one component."""

    text: Sequence[str] = ("\tfirst line", "second \x1b[31mline")
    asked: list[Any] = field(default_factory=list)

    def lines(self, component: str, *, last: int, follow: bool) -> Iterator[str]:
        """Return the lines."""
        self.asked.append((component, last, follow))
        if component != "kafka":
            raise BadConfig(f"component {component!r}: unknown", hint="the components are kafka")
        yield from self.text


@dataclass
class FakePages:
    """Both pages; that over the topics needs a program."""

    command: tuple[str, ...] = ("true",)
    programs: tuple[str, ...] = ()

    def flink(self) -> Page:
        """Return one that is there."""
        return Page("http://127.0.0.1:1/flink", "Open it soon.")

    def topics(self) -> Page:
        """Return one that needs a program."""
        return Page("http://127.0.0.1:9000", command=self.command, programs=self.programs)


@dataclass
class FakeTarget:
    """All of it. With `error` set, everything of it raises that error, as for a stack that is not deployed."""

    stack: FakeStack = field(default_factory=FakeStack)
    flink: FakeFlink = field(default_factory=FakeFlink)
    topics: FakeTopics = field(default_factory=FakeTopics)
    records: FakeRecords = field(default_factory=FakeRecords)
    functions: FakeFunctions = field(default_factory=FakeFunctions)
    schedule: FakeSchedule = field(default_factory=FakeSchedule)
    logs: FakeLogs = field(default_factory=FakeLogs)
    pages: FakePages = field(default_factory=FakePages)
    running: bool = True
    table: Any = None
    locked: int = 0
    kept: Path = Path("/dev/null/kept")

    def recover(self) -> bool:
        """Return whether it runs."""
        return self.running

    def components(self) -> list[Component]:
        """Return one healthy component."""
        return [Component("kafka", Health.HEALTHY, pid=1)]

    def caller(self) -> str | None:
        """Return a name."""
        return "bo"

    def on_failure(self) -> Iterator[bytes]:
        """Yield no documents."""
        return iter(())

    def audit_table(self) -> Any:
        """Return the table."""
        return self.table

    def folder(self) -> Path:
        """Return the folder for what is kept; by default one that cannot be made."""
        return self.kept

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Count how often it was held."""
        self.locked += 1
        yield


class Undeployed:
    """A target without a stack: whatever is asked for raises `NotDeployed`."""

    def __getattr__(self, name: str) -> Any:
        """Refuse, but for the lock."""
        if name == "lock":
            return FakeTarget().lock
        raise NotDeployed("stack fraud-detection: not deployed", hint="run `fraudctl deploy` first")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Always."""
        return True


def _satisfies_the_protocol(fake: FakeTarget) -> Target:
    return fake
