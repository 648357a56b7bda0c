"""The status of the stack: a verdict for every component and the numbers behind it, as a document and as rows."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from fraudctl.clock import Clock
from fraudctl.errors import FraudctlError, NotAsAsked
from fraudctl.pipeline.text import iso, span
from fraudctl.target import Component, ConsumerLag, Health, Outputs, ScheduleStatus, Target, TopicInfo

COMPONENT_COLUMNS: Final = (
    "component",
    "health",
    "version",
    "address",
    "pid",
    "up",
    "memory",
    "restarts",
    "detail",
)
TOPIC_COLUMNS: Final = ("topic", "name", "partitions", "records", "read by", "lag")

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

    @property
    def healthy(self) -> bool:
        """Whether every component is healthy, every topic exists and everything could be asked."""
        return (
            not self.problems
            and all(component.health is Health.HEALTHY for component in self.components)
            and all(topic.exists for topic in self.topics or ())
        )

    def check(self) -> None:
        """Raise `NotAsAsked` unless everything is healthy."""
        if not self.healthy:
            raise NotAsAsked(f"{self.outputs.stack}: not everything is healthy", hint="run `fraudctl deploy` to repair")

    def document(self) -> dict[str, Any]:
        """Return everything for programs; times in ISO 8601."""
        return {
            "stack": self.outputs.stack,
            "target": self.outputs.target,
            "healthy": self.healthy,
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
        }

    def headline(self) -> str:
        """Return the verdict in one line."""
        verdict = "healthy" if self.healthy else "not healthy"
        return f"{self.outputs.stack} on {self.outputs.target}: {verdict}"

    def component_rows(self, clock: Clock) -> list[dict[str, Any]]:
        """Return a row for each component, with `COMPONENT_COLUMNS`."""
        now = datetime.fromtimestamp(clock.now(), UTC)
        return [
            {
                "component": component.name,
                "health": component.health,
                "version": component.version,
                "address": component.address,
                "pid": component.pid,
                "up": span(iso(component.started_at), now),
                "memory": f"{component.memory_bytes / 1_000_000:.0f} MB" if component.memory_bytes else "",
                "restarts": f"{component.restarts} (last {iso(component.restarted_at)})" if component.restarts else 0,
                "detail": component.detail,
            }
            for component in self.components
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
            rows = f"{self.audit_rows:,} row{'' if self.audit_rows == 1 else 's'}"
            lines.append(f"audit table {self.outputs.audit_table}: {rows}")
        if self.samples is not None:
            state = "on" if self.samples.enabled else "off"
            result = f" · {_last_minute(self.samples.last_result)}" if self.samples.last_result else ""
            lines.append(f"sample transactions: {state}{result}")
        return lines


def read(target: Target) -> Status:
    """Return the stack's status; raises `NotDeployed`. A component that does not answer is a problem, not an error."""
    target.recover()
    outputs = target.stack.outputs()
    problems: list[str] = []

    def ask(question: Callable[[], _Answer]) -> _Answer | None:
        try:
            return question()
        except FraudctlError as error:
            problems.append(str(error))
            return None

    components = tuple(target.components())
    topics = ask(lambda: tuple(target.topics.list()))
    consumers = ask(lambda: tuple(target.topics.consumers()))
    rows = ask(lambda: _rows(target))
    samples = ask(lambda: target.schedule.status())  # noqa: PLW0108 - opening the schedule may raise too
    return Status(outputs, components, topics, consumers, rows, samples, tuple(dict.fromkeys(problems)))


def _rows(target: Target) -> int:
    """Return the table's own count: exact locally, up to six hours old on AWS (DescribeTable)."""
    from fraudctl.services.audit import translated

    with translated():
        return int(target.audit_table().item_count)


def _last_minute(result: str) -> str:
    """Return the generator's result in words; one in another form, such as an error, unchanged."""
    try:
        counts = json.loads(result)
        return f"{counts['sent']:,} sent in the last minute, {counts['failed']:,} failed"
    except (ValueError, TypeError, KeyError):
        return result
