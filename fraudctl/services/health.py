"""The status of the stack: a verdict for every component and the numbers behind it, as a document and as rows."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from fraudctl import tables
from fraudctl.clock import Clock
from fraudctl.errors import FraudctlError, NotAsAsked
from fraudctl.pipeline import topics as pipeline_topics
from fraudctl.pipeline.text import iso
from fraudctl.tables import Column
from fraudctl.target import Component, ConsumerLag, Health, Outputs, Paused, PutAside, ScheduleStatus, Target, TopicInfo

# What a component's CSV row has; sizes in bytes, times in ISO 8601.
COMPONENT_FIELDS: Final = (
    "component",
    "health",
    "address",
    "started_at",
    "restarts",
    "restarted_at",
    "memory_bytes",
    "version",
    "pid",
    "detail",
)
TOPIC_COLUMNS: Final = (
    Column("topic"),
    Column("name", drop=2),
    Column("partitions", drop=3),
    Column("records", text=tables.count),
    Column("read by", drop=1),
    Column("lag", text=tables.count),
)
_COLOURS: Final = {
    Health.HEALTHY: "green",
    Health.STARTING: "yellow",
    Health.RESTARTING: "yellow",
    Health.UNHEALTHY: "red",
    Health.STOPPED: "red",
}
_COMING: Final = {Health.STARTING, Health.RESTARTING}  # up soon, by themselves
# A consumer this far behind is looked at twice, to tell one that catches up from one that falls behind.
_BEHIND: Final = 1000
_AGAIN_SECONDS: Final = 1.0
# Records that the Flink application has not read are a problem when they are about to be deleted, also while it catches
# up.
_SHORT_HEADROOM_MS: Final = 3_600_000

# Of records that could not be written: more questions to the table would take seconds.
_LOOKED_FOR: Final = 100

# What a pause has stopped, on any target.
_PAUSED: Final = frozenset({"flink", "audit mapping"})

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Status:
    """The stack at one moment. What could not be asked is None, and `problems` says why."""

    outputs: Outputs
    components: tuple[Component, ...]
    topics: tuple[TopicInfo, ...] | None
    consumers: tuple[ConsumerLag, ...] | None
    audit_rows: int | None
    samples: ScheduleStatus | None
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()
    paused: Paused | None = None

    @property
    def healthy(self) -> bool:
        """Whether every component is healthy, every topic exists, everything could be asked and nothing is stuck.

        What `notes` has is worth a look and no reason to call the stack unhealthy.
        """
        return (
            not self.problems
            and all(component.health is Health.HEALTHY for component in self.components)
            and all(topic.exists for topic in self.topics or ())
        )

    def check(self) -> None:
        """Raise `NotAsAsked` unless everything is healthy."""
        if self.healthy:
            return
        if self.paused:
            raise NotAsAsked(f"{self.outputs.stack}: it is paused", hint="run `fraudctl resume`")
        ill = [component for component in self.components if component.health is not Health.HEALTHY]
        if not self.problems and ill and {component.health for component in ill} <= _COMING:
            what = ", ".join(f"{component.name} is {component.health}" for component in ill)
            raise NotAsAsked(
                f"{self.outputs.stack}: not everything is up yet: {what}",
                hint="run `fraudctl status --watch` to see it come up",
            )
        on_purpose = len(ill) == 1 and ill[0].health is Health.STOPPED and "`fraudctl flink st" in ill[0].detail
        hint = "run `fraudctl flink start`" if on_purpose else "run `fraudctl deploy` to repair"
        if not self.problems and [component.name for component in ill] == ["alarms"]:
            hint = "each alarm says what to do"
        raise NotAsAsked(f"{self.outputs.stack}: not everything is healthy", hint=hint)

    def document(self) -> dict[str, Any]:
        """Return everything for programs; times in ISO 8601."""
        return {
            "stack": self.outputs.stack,
            "target": self.outputs.target,
            "healthy": self.healthy,
            "paused": self.paused and {**asdict(self.paused), "since": iso(self.paused.since)},
            "components": [
                {
                    **asdict(component),
                    "started_at": iso(component.started_at),
                    "restarted_at": iso(component.restarted_at),
                }
                for component in self.components
            ],
            "topics": [
                {
                    "alias": topic.alias,
                    "name": topic.name,
                    "exists": topic.exists,
                    "partitions": len(topic.partitions),
                    "records": topic.records,
                }
                for topic in self.topics or ()
            ],
            "consumers": [asdict(consumer) for consumer in self.consumers or ()],
            "audit_table": self.outputs.audit_table,
            "audit_rows": self.audit_rows,
            "samples": self.samples and {**asdict(self.samples), "last_at": iso(self.samples.last_at)},
            "outputs": asdict(self.outputs),
            "problems": list(self.problems),
            "notes": list(self.notes),
        }

    def headline(self) -> str:
        """Return the verdict in one line."""
        if self.paused:
            return f"{self.outputs.stack} on {self.outputs.target}: paused since {iso(self.paused.since)}"
        verdict = "healthy" if self.healthy else "not healthy"
        if self.healthy and self.notes:
            verdict += f", {len(self.notes)} {'note' if len(self.notes) == 1 else 'notes'} below"
        return f"{self.outputs.stack} on {self.outputs.target}: {verdict}"

    def component_rows(self) -> list[dict[str, Any]]:
        """Return a row for each component, with `COMPONENT_FIELDS`."""
        return [
            {
                **asdict(component),
                "component": component.name,
                "started_at": iso(component.started_at),
                "restarted_at": iso(component.restarted_at),
            }
            for component in self.components
        ]

    def component_columns(self, clock: Clock) -> list[Column]:
        """Return the columns of a table of the components, as they are at the clock's time."""
        now = datetime.fromtimestamp(clock.now(), UTC)

        def since(value: str) -> str:
            return tables.duration((now - datetime.fromisoformat(value)).total_seconds() // 1 * 1000)

        last = [Column("restarted_at", drop=4, heading="last restart", text=tables.short_time)]
        return [
            Column("component"),
            Column("health", style=_colour),
            Column("address", drop=1),
            Column("started_at", drop=2, heading="up", text=since),
            Column("restarts", drop=3, text=tables.count),
            *(last if any(component.restarts for component in self.components) else ()),
            Column("memory_bytes", drop=5, heading="memory", text=tables.size),
            Column("version", drop=6),
            Column("pid", drop=7),
            Column("detail", wrap=True),
        ]

    def topic_rows(self) -> list[dict[str, Any]]:
        """Return a row for each topic, with `TOPIC_COLUMNS`."""
        consumers = {consumer.topic: consumer for consumer in self.consumers or ()}
        return [
            {
                "topic": topic.alias,
                "name": topic.name,
                "partitions": len(topic.partitions),
                "records": topic.records if topic.exists else "missing",
                "read by": consumer.group if (consumer := consumers.get(topic.name)) else "",
                "lag": consumer.lag if consumer else None,
            }
            for topic in self.topics or ()
        ]

    def footer(self) -> list[str]:
        """Return a line on the audit table and one on the sample transactions, as far as they could be asked."""
        lines = []
        if self.audit_rows is not None:
            rows = tables.plural(self.audit_rows, "row")
            lines.append(f"audit table {self.outputs.audit_table}: {rows}")
        if self.samples is not None:
            state = "on" if self.samples.enabled else "off"
            result = f" · {_last_minute(self.samples.last_result)}" if self.samples.last_result else ""
            lines.append(f"sample transactions: {state}{result}")
        return lines


def read(target: Target, clock: Clock = Clock()) -> Status:  # noqa: B008 - frozen
    """Return the stack's status; raises `NotDeployed`. A component that does not answer is a problem, not an error.

    Takes a second longer where a consumer is far behind: whether it catches up shows in a second look.
    """
    running = target.recover()
    outputs = target.stack.outputs()
    problems: list[str] = []

    def ask(question: Callable[[], _Answer]) -> _Answer | None:
        try:
            return question()
        except FraudctlError as error:
            problems.append(str(error))
            return None

    paused = ask(target.stack.paused)
    components = tuple(target.components())
    if paused is not None and not running:
        return Status(outputs, components, None, None, None, None, (), paused=paused)
    topics = ask(lambda: tuple(target.topics.list()))
    consumers = ask(lambda: tuple(target.topics.consumers()))
    rows = ask(lambda: _rows(target))
    samples = ask(lambda: target.schedule.status())  # noqa: PLW0108 - opening the schedule may raise too
    later = consumers
    if any(_far_behind(consumer) and not consumer.as_of_checkpoint for consumer in consumers or ()):
        clock.sleep(_AGAIN_SECONDS)
        later = ask(lambda: tuple(target.topics.consumers()))
    stuck, notes = _behind(consumers or (), later or (), components)
    problems += stuck
    notes += _dead_letters(topics or ())
    for put_aside in filter(None, (component.put_aside for component in components)):
        _put_aside(put_aside, _without_row(target, put_aside), problems, notes)
    if paused is not None and any(one.health is not Health.STOPPED for one in components if one.name in _PAUSED):
        notes.append("the pause is not finished: `fraudctl pause` finishes it, `fraudctl resume` ends it")
    return Status(
        outputs,
        components,
        topics,
        later or consumers,
        rows,
        samples,
        tuple(dict.fromkeys(problems)),
        tuple(notes),
        paused,
    )


def _far_behind(consumer: ConsumerLag) -> bool:
    return consumer.lag is not None and consumer.lag >= _BEHIND


def _behind(
    before: Sequence[ConsumerLag], after: Sequence[ConsumerLag], components: Sequence[Component]
) -> tuple[list[str], list[str]]:
    """Return the problems and the notes on consumers that are behind, from two looks at them."""
    problems: list[str] = []
    notes: list[str] = []
    earlier = {(consumer.group, consumer.topic): consumer.lag for consumer in before}
    mapping_ill = any(
        component.name == "audit mapping" and component.health is not Health.HEALTHY for component in components
    )
    for consumer in after:
        lag, was = consumer.lag or 0, earlier.get((consumer.group, consumer.topic)) or 0
        behind = f"{consumer.group}: {tables.plural(lag, 'record')} behind the end of {consumer.topic}"
        if consumer.headroom_ms is not None:
            left = tables.duration(consumer.headroom_ms)
            behind += f", {left} until unread records are deleted at the rate of the last minute"
        if consumer.as_of_checkpoint:
            behind += ", as of its last checkpoint"
        if consumer.topic == pipeline_topics.PROCESSED.name and lag and mapping_ill:
            problems.append(f"{behind}: these detections wait until the audit mapping goes on")
        elif not (_far_behind(consumer) and was):
            continue
        elif _about_to_be_deleted(consumer):
            problems.append(behind)
        elif consumer.as_of_checkpoint:
            notes.append(behind)
        elif lag >= was:
            problems.append(f"{behind}, and not catching up")
        else:
            notes.append(f"{behind}, catching up")
    return problems, notes


def _about_to_be_deleted(consumer: ConsumerLag) -> bool:
    of_application = consumer.topic != pipeline_topics.PROCESSED.name
    return of_application and consumer.headroom_ms is not None and consumer.headroom_ms < _SHORT_HEADROOM_MS


def _dead_letters(topics: Sequence[TopicInfo]) -> list[str]:
    """Return a note on malformed records that were set aside."""
    return [
        f"dead letters: {tables.plural(topic.records, 'malformed record')}; see why with `fraudctl dead-letters list`"
        for topic in topics
        if topic.alias == pipeline_topics.DEAD_LETTERS.alias and topic.records
    ]


def _without_row(target: Target, found: PutAside) -> int | None:
    """Return how many of the records that could not be written have no row yet; None when that cannot be told."""
    if not found.unwritten:
        return None
    from fraudctl.services.dead_letters import aside

    return aside.without_row(target, _LOOKED_FOR)


def _put_aside(found: PutAside, lacking: int | None, problems: list[str], notes: list[str]) -> None:
    """Add a problem on detections that could not be written, and a note on what is settled or is no detection."""
    options = "--from on-failure"
    reasons = f"see why with `fraudctl dead-letters list {options}`"
    if found.unwritten:
        records = tables.plural(found.unwritten, "record")
        what = f"audit mapping: {records} could not be written to the audit table and lie in {found.place}"
        if lacking == 0:
            notes.append(f"{what}; all have their rows by now, so the files can be deleted")
        else:
            left = f", {lacking:,} without a row so far" if lacking is not None else ""
            problems.append(f"{what}{left}; {reasons}, write them with `fraudctl dead-letters redrive {options}`")
    if foreign := found.records - found.unwritten:
        records = f"{tables.plural(foreign, 'record')} of {pipeline_topics.PROCESSED.name}"
        what = "is no detection and lies" if foreign == 1 else "are no detections and lie"
        notes.append(
            f"audit mapping: {records} {what} in {found.place}; {reasons}; delete the files when that is settled"
        )


def _colour(health: Health) -> str:
    return _COLOURS.get(health, "")


def _rows(target: Target) -> int:
    """Return the table's own count: exact locally, up to six hours old on AWS (DescribeTable)."""
    from fraudctl.services.audit.table import translated

    with translated():
        return int(target.audit_table().item_count)


def _last_minute(result: str) -> str:
    """Return the generator's result in words; one in another form, such as an error, unchanged."""
    try:
        counts = json.loads(result)
        return f"{counts['sent']:,} sent in the last minute, {counts['failed']:,} failed"
    except (ValueError, TypeError, KeyError):
        return result
