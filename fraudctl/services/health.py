"""How the stack is: a verdict for every component, and the numbers behind it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fraudctl.errors import FraudctlError
from fraudctl.target import Component, ConsumerLag, Health, Outputs, ScheduleStatus, Target, TopicInfo

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Status:
    """One look at the stack. What could not be asked is None, and `problems` says why."""

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


def look(target: Target) -> Status:
    """Ask everything once; raises `NotDeployed`, while a component that does not answer is a problem listed."""
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
    """Give the table's own count: exact on a laptop, some six hours old on AWS (DescribeTable)."""
    from fraudctl.services.audit import translated

    with translated():
        return int(target.audit_table().item_count)
