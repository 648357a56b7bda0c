"""What a target provides: Protocols, and the frozen values that pass through them.

`local` and `aws` each implement these once. Services and commands see nothing else of a target.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from fraudctl.pipeline.reader import Batch, Record
    from fraudctl.pipeline.reader import Records as Columns


class Consent(StrEnum):
    """What a plan needs before it is applied."""

    NONE = "none"
    YES = "yes"  # a yes on the terminal, or --yes
    NAME = "name"  # the stack's name typed on the terminal, or --yes


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a plan: what happens (create, start, repair, update, remove, keep) to which component."""

    action: str
    component: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `deploy` or `teardown` is going to do. No changes means "up to date".

    `samples` is whether sample transactions shall flow; None leaves it as it is (on in a new stack). `refusals` are
    changes that a guard forbids (`detail` says why); a plan with any of them is shown, but not applied. `outcome` is
    what can be said of a teardown that went well, `keep_data` whether it leaves topics, rows and checkpoints. `work` is
    what the target that made the plan needs to apply it; nobody else looks inside.
    """

    stack: str
    changes: tuple[Change, ...]
    consent: Consent = Consent.NONE
    losses: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    samples: bool | None = None
    refusals: tuple[Change, ...] = ()
    outcome: str = "nothing of it is left"
    keep_data: bool = False
    work: Any = None


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked of `deploy` that not every target has; a target refuses what it does not have (`BadConfig`).

    `parameters` are the stack's own, `allowed` the components that may be replaced with all they hold.
    """

    parameters: Mapping[str, str] = field(default_factory=dict)
    allowed: frozenset[str] = frozenset()


NO_OPTIONS: Final = Options()


class Phase(StrEnum):
    """Where a component is in an operation."""

    STARTED = "started"
    PROGRESS = "progress"
    DONE = "done"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Event:
    """One step of a running operation. `done` and `total` count what `unit` names: records, rows; bytes without one."""

    component: str
    phase: Phase
    detail: str = ""
    done: int | None = None
    total: int | None = None
    unit: str = ""


class Health(StrEnum):
    """A component's verdict."""

    HEALTHY = "healthy"
    STARTING = "starting"
    RESTARTING = "restarting"  # by itself, after an end that nobody asked for
    UNHEALTHY = "unhealthy"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class PutAside:
    """Records that AuditWriter's event source mapping gave up, and the folder or bucket where they lie.

    `unwritten` of the `records` may be detections that could not be written; the others are no detections.
    """

    records: int
    unwritten: int
    place: str


@dataclass(frozen=True, slots=True)
class Component:
    """One component of the stack: its verdict and the numbers behind it. Times are epoch milliseconds.

    `put_aside` is None while there is nothing.
    """

    name: str
    health: Health
    detail: str = ""
    version: str = ""
    address: str = ""
    pid: int | None = None
    started_at: int | None = None
    memory_bytes: int | None = None
    restarts: int = 0
    restarted_at: int | None = None
    put_aside: PutAside | None = None


class From(StrEnum):
    """Where reading starts."""

    NOW = "now"
    BEGINNING = "beginning"
    LAST = "last"  # the last `count` records over all partitions
    TIME = "time"  # the first record at or after `since`
    OFFSETS = "offsets"  # the partitions in `offsets`, each from there


@dataclass(frozen=True, slots=True)
class Range:
    """Which records to read. `since` and `until` are epoch milliseconds; `follow` goes on after the end.

    `partitions` are those to read, all when empty; with a `key`, the one that it lies in. `keep` chooses among records
    that arrived, by their indexes; `count` and `limit` count what it keeps. A read ends after `limit` records or
    `seconds`. `by_time` merges the partitions by the brokers' timestamps; otherwise records come as they arrive, in
    order within each partition.
    """

    start: From = From.NOW
    count: int = 0
    since: int | None = None
    until: int | None = None
    follow: bool = True
    limit: int | None = None
    offsets: Mapping[int, int] = field(default_factory=dict)
    partitions: frozenset[int] = frozenset()
    key: bytes | None = None
    keep: Callable[[Columns], Sequence[int]] | None = None
    seconds: float | None = None
    by_time: bool = False


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record to write; headers in their order, a name as often as it is there."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """How a write ended: records delivered, and the first reasons of those that were not.

    `stopped` is why it ended before its last record: nobody knows of those after the `delivered` and `failed` ones, and
    the next of them may or may not have been written.
    """

    delivered: int
    failed: int = 0
    reasons: tuple[str, ...] = ()
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """One partition: its leader, its replicas (`isr`: those in sync) by broker id, and the offsets it holds.

    `latest` is the next to be written. `stable` is the last stable offset: up to it a reader of committed records sees;
    None where nobody asked. `newest_at` is the latest time among its records (epoch milliseconds). `last_10s` and
    `last_minute` are how many offsets have been written since then, by the records' times. `size_bytes` is what it
    takes on disk, None where that is not known.
    """

    partition: int
    leader: int
    earliest: int
    latest: int
    replicas: tuple[int, ...] = ()
    isr: tuple[int, ...] = ()
    stable: int | None = None
    newest_at: int | None = None
    last_10s: int | None = None
    last_minute: int | None = None
    size_bytes: int | None = None


class Origin(StrEnum):
    """Who gave a topic's setting its value."""

    PIPELINE = "pipeline"
    CHANGED = "changed"  # the pipeline defines another value, which `fraudctl topics create` sets again
    ADDED = "added"  # the pipeline does not define it, and leaves it as it is
    BROKER = "broker"  # it holds for every topic of these brokers


@dataclass(frozen=True, slots=True)
class Setting:
    """A topic's setting whose value is not Kafka's default; `defined` is the pipeline's value where it has one."""

    name: str
    value: str
    default: str | None
    origin: Origin
    defined: str | None = None


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """One topic as the broker has it; `records` is the sum of its partitions' ranges of offsets.

    `config` is what is set for this topic, `settings` what differs from Kafka's default; only `describe` asks for them.
    """

    alias: str
    name: str
    exists: bool
    partitions: tuple[PartitionInfo, ...] = ()
    replication: int = 0
    config: Mapping[str, str] = field(default_factory=dict)
    settings: tuple[Setting, ...] = ()

    @property
    def records(self) -> int:
        """Offsets between the earliest and the latest, over all partitions."""
        return sum(partition.latest - partition.earliest for partition in self.partitions)


@dataclass(frozen=True, slots=True)
class ConsumerLag:
    """How many records of a topic a consumer has not read; `lag` is None while that is not known.

    `headroom_ms` is the time until records that it has not read are deleted, at the rate of the last minute; None while
    it is not far behind, or nothing is deleted by size. `as_of_checkpoint`: the Flink application does not run, or does
    not say where it is, so its newest checkpoint counts.
    """

    group: str
    topic: str
    lag: int | None
    headroom_ms: int | None = None
    as_of_checkpoint: bool = False
    behind_ms: int | None = None


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """What the oldest open Kafka transaction of a partition holds back from every reader of committed records.

    `offset` is its first record, the partition's last stable offset, published at `since` (epoch milliseconds; None
    when it ended meanwhile); `records` counts the offsets from there on.
    """

    topic: str
    partition: int
    offset: int
    records: int
    since: int | None


@dataclass(frozen=True, slots=True)
class Savepoint:
    """One savepoint (or checkpoint) of the application; `created_at` in epoch milliseconds."""

    location: str
    kind: str
    created_at: int
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class FlinkStatus:
    """The application's state (RUNNING, STOPPED, …) and its newest checkpoint; times in epoch milliseconds.

    What a target does not tell is None. `note` is what a person should know of that state, and do about it.
    """

    state: str
    job_id: str | None = None
    started_at: int | None = None
    web_ui: str | None = None
    checkpoints_completed: int | None = 0
    checkpoints_failed: int | None = 0
    checkpoint_at: int | None = None
    checkpoint_bytes: int | None = None
    restored_from: str | None = None
    exception: str | None = None
    metrics: Mapping[str, int | float] = field(default_factory=dict)
    metrics_at: int | None = None
    note: str | None = None
    last_operation: str | None = None


@dataclass(frozen=True, slots=True)
class ScheduleStatus:
    """Whether sample transactions are made by the clock; times in epoch milliseconds."""

    enabled: bool
    last_at: int | None = None
    last_result: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A web page of the stack, and what a person should know of it.

    `command` has to run for the page to be there, until Ctrl-C, and needs `programs`; empty when it is there already.
    """

    address: str
    note: str = ""
    command: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Paused:
    """Since when the stack is paused (epoch milliseconds), and whether sample transactions flowed until then."""

    since: int
    samples: bool


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the stack says of itself once deployed: the contract between infrastructure and code."""

    stack: str
    target: str
    bootstrap_servers: str
    audit_table: str
    flink_application: str
    hold_ms: int
    slack_ms: int
    extra: Mapping[str, str] = field(default_factory=dict)


class Stack(Protocol):
    """The infrastructure's life."""

    def prepare(self) -> Iterator[Event]:
        """Fetch and build what planning needs; changes nothing on the other side."""

    def plan(self, *, samples: bool | None = None, options: Options = NO_OPTIONS) -> Plan:
        """Return what deploying would do; change nothing."""

    def apply(self, plan: Plan) -> Iterator[Event]:
        """Do what the plan says."""

    def discard(self, plan: Plan) -> None:
        """Remove what planning left on the other side. Always called, also after `apply`; harmless then."""

    def attach(self) -> Iterator[Event]:
        """Follow an operation that runs without fraudctl to its end; raises `NotDeployed` when there is none."""

    def continue_rollback(self, skip: Sequence[str] = ()) -> Iterator[Event]:
        """Finish going back after a failed update got stuck, without the components to `skip`."""

    def plan_teardown(self, *, keep_data: bool) -> Plan:
        """Return what `teardown` would remove; raises `NotDeployed` when there is nothing."""

    def teardown(self, plan: Plan) -> Iterator[Event]:
        """Do what the plan says, then prove the stack gone; raises `NotAsAsked` naming what is left."""

    def outputs(self) -> Outputs:
        """Return the stack's outputs; raises `NotDeployed`."""

    def paused(self) -> Paused | None:
        """Return since when it is paused; None when it is not, or not deployed."""

    def mark(self, paused: Paused | None) -> None:
        """Remember that it is paused, or with None that it is not any more."""

    def pause(self) -> Iterator[Event]:
        """Switch off what is still on once samples and application are off; what it holds stays."""

    def resume(self) -> Iterator[Event]:
        """Switch on what `pause` has switched off: what application and samples need."""

    def saving(self) -> Sequence[str]:
        """Return what a pause saves and what goes on all the same, a line each."""


class Flink(Protocol):
    """The Flink application."""

    def start(self, *, fresh: bool = False, accept_loss: bool = False) -> Iterator[Event]:
        """Start it from its newest state (`fresh`: without any) and wait until it runs.

        Raises `Refused` while records are gone that it, or AuditWriter, has not read; with `accept_loss` they are
        recorded as lost and it goes on without them.
        """

    def stop(self, *, savepoint: bool = True) -> Iterator[Event]:
        """Stop it, with a savepoint first unless told otherwise."""

    def status(self) -> FlinkStatus:
        """Return its state."""

    def savepoints(self) -> list[Savepoint]:
        """List the states it can start from, newest first."""


class Topics(Protocol):
    """The pipeline's topics."""

    def create(self) -> Iterator[Event]:
        """Create what is missing and repair configuration that differs."""

    def add_partitions(self, name: str, number: int) -> None:
        """Raise a topic's number of partitions; none is ever removed. Raises `NotDeployed`."""

    def list(self, *, activity: bool = False) -> list[TopicInfo]:
        """Return every topic of the pipeline, missing ones with ``exists=False``.

        With `activity`, with the times and sizes of its partitions, which cost further questions.
        """

    def describe(self, name: str) -> TopicInfo:
        """Return one topic by its full name, with its configuration and all of its partitions; raises `NotDeployed`."""

    def consumers(self, *, timed: bool = False) -> Sequence[ConsumerLag]:
        """Return how far each consumer of the pipeline is behind; with `timed`, in milliseconds too."""

    def committed(self, topic: str) -> Mapping[str, Mapping[int, int]]:
        """Return, by consumer group, the offset in each of a topic's partitions that it has committed."""


class Records(Protocol):
    """Reading and writing topics."""

    def read(self, topic: str, wanted: Range) -> Iterator[Record]:
        """Yield records in the order they are read; an endless iterator when following."""

    def batches(self, topic: str, wanted: Range) -> Iterator[Batch]:
        """Yield what `read` does as it arrives, several records at a time; says when the brokers do not answer."""

    def write(self, topic: str, records: Iterable[Outgoing]) -> Report:
        """Write records and check every delivery report."""

    def generate(self, count: int) -> Iterator[Report] | None:
        """Have sample transactions made beside the brokers, and yield a report of each part that is written.

        None where they are made by this process.
        """


class Functions(Protocol):
    """The Lambda functions."""

    def invoke(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke by its short name (FlagAccountGenerator) and give its result; raises `OperationFailed`."""


class Schedule(Protocol):
    """The clock that makes sample transactions."""

    def start(self) -> bool:
        """Switch it on; False when it was on already."""

    def stop(self) -> bool:
        """Switch it off; False when it was off already."""

    def status(self) -> ScheduleStatus:
        """Return whether it is on and how the last tick ended."""


class Logs(Protocol):
    """What the components say."""

    def lines(self, component: str, *, last: int, follow: bool) -> Iterator[str]:
        """Yield a component's last lines, then new ones when following; raises `NotDeployed`."""


class Pages(Protocol):
    """Web pages of the stack. Both raise an error that says what is missing for one."""

    def flink(self) -> Page:
        """Return Flink's own page."""

    def topics(self) -> Page:
        """Return a page over the topics."""


class Known(Protocol):
    """What a shell completes at a Tab: names, found at once or not at all; no method raises for want of a stack."""

    def stacks(self) -> Sequence[str]:
        """Return the stacks."""

    def components(self) -> Sequence[str]:
        """Return the components that have a log."""

    def accounts(self) -> Sequence[str]:
        """Return accounts that were flagged or cleared, newest first."""

    def dead_letters(self) -> Sequence[str]:
        """Return the places of dead letters, ``0:42``, newest first."""

    def reasons(self) -> Sequence[str]:
        """Return the reasons of flag events, newest first."""


class Target(Protocol):
    """Everything a command can ask of a place where the pipeline runs."""

    @property
    def stack(self) -> Stack:
        """The infrastructure's life."""

    @property
    def flink(self) -> Flink:
        """The Flink application."""

    @property
    def topics(self) -> Topics:
        """The pipeline's topics."""

    @property
    def records(self) -> Records:
        """Reading and writing topics."""

    @property
    def functions(self) -> Functions:
        """The Lambda functions."""

    @property
    def schedule(self) -> Schedule:
        """The clock that makes sample transactions."""

    @property
    def logs(self) -> Logs:
        """What the components say."""

    @property
    def pages(self) -> Pages:
        """Web pages of the stack."""

    def recover(self) -> bool:
        """Return whether the stack runs, after bringing back what can be brought back without a deploy.

        Called once, before a command that needs the stack. Raises `NotDeployed`.
        """

    def components(self) -> list[Component]:
        """Return a verdict for every component; raises `NotDeployed`."""

    def caller(self) -> str | None:
        """Return by what name the target knows who asks, None when by none: claimed, for nothing here proves it."""

    def on_failure(self) -> Iterator[bytes]:
        """Yield the documents of AuditWriter's on-failure destination (`fraudctl.pipeline.on_failure`)."""

    def audit_table(self) -> Any:  # noqa: ANN401 - a boto3 Table; boto3 has no static types of its own
        """Return the audit table as a boto3 ``Table``; raises `NotDeployed`."""

    def folder(self) -> Path:
        """Return the folder on this machine for what a command keeps of the stack; it need not exist."""

    def lock(self) -> AbstractContextManager[None]:
        """Hold the stack's lock; raises `Refused` naming the holder when it is taken for over 5 s."""
