"""The AWS target: the pipeline as one CloudFormation stack."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Final, NoReturn

from fraudctl.aws.resources.drift import DriftDetector
from fraudctl.aws.resources.flink import AwsFlink
from fraudctl.aws.resources.functions import AwsFunctions
from fraudctl.aws.resources.schedule import AwsSchedule
from fraudctl.aws.resources.table import AuditTable
from fraudctl.aws.session import AwsSession
from fraudctl.aws.stack import AwsStack
from fraudctl.clock import Clock
from fraudctl.config import Settings
from fraudctl.errors import BadConfig, NotDeployed
from fraudctl.lock import stack_lock
from fraudctl.target import Component, Logs, Records, Topics

# Settings that are also parameters of the stack; at their default the stack keeps what it has.
_SETTINGS: Final = {"hold_ms": "HoldMs", "slack_ms": "SlackMs"}


class AwsTarget:
    """Opens adapters at first use; constructing it touches nothing."""

    def __init__(
        self,
        settings: Settings,
        session: AwsSession | None = None,
        clock: Clock | None = None,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Store the collaborators; `note` tells people what is waited for. No I/O."""
        self._settings, self._note = settings, note
        self._session = session or AwsSession(settings.region, settings.profile)
        self._clock = clock or Clock()

    @cached_property
    def stack(self) -> AwsStack:
        """The infrastructure's life."""
        from fraudctl.aws.release import Release

        given = {
            parameter: str(getattr(self._settings, name))
            for name, parameter in _SETTINGS.items()
            if self._settings.sources.get(name) != "default"
        }
        return AwsStack(
            self._settings.stack,
            self._session,
            Release(self._settings, self._session, self._clock),
            DriftDetector(self._session, self._clock, self.flink, self.schedule),
            self._clock,
            given,
        )

    @property
    def flink(self) -> AwsFlink:
        """The Flink application."""
        return AwsFlink(
            lambda: self._session.client("kinesisanalyticsv2"),
            lambda: self.stack.outputs().flink_application,
            self._clock,
        )

    @property
    def schedule(self) -> AwsSchedule:
        """The clock that makes sample transactions."""
        return AwsSchedule(lambda: self._session.client("scheduler"), self._schedule_name)

    @property
    def topics(self) -> Topics:
        """The pipeline's topics."""
        self._later("topics")

    @property
    def records(self) -> Records:
        """Reading and writing topics."""
        self._later("reading and writing topics")

    @property
    def functions(self) -> AwsFunctions:
        """The Lambda functions; an invocation is never repeated, for it may write."""
        return AwsFunctions(
            lambda: self._session.client("lambda", once=True), self._settings.stack, self._clock, self._note
        )

    @property
    def logs(self) -> Logs:
        """What the components say."""
        self._later("logs")

    def recover(self) -> bool:
        """Return True for a deployed stack: AWS keeps it running. Raises `NotDeployed`."""
        self.stack.outputs()
        return True

    def components(self) -> list[Component]:
        """Return a verdict for every component."""
        self._later("status")

    def audit_table(self) -> Any:  # noqa: ANN401 - a boto3 Table
        """Return the audit table, with what is asked of it here; raises `NotDeployed`."""
        return AuditTable(self.stack.outputs().audit_table, self._session.table)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the stack's lock on this machine; CloudFormation refuses a second operation from elsewhere."""
        name = f"aws-{self._session.region}-{self._settings.profile or 'default'}-{self._settings.stack}.lock"
        with stack_lock(self._settings.home / "stacks" / name.replace("/", "_"), self._settings.stack):
            yield

    def _schedule_name(self) -> str:
        name = self.stack.outputs().extra.get("ScheduleName")
        if not name:
            raise NotDeployed(
                "schedule: sample transactions are off in this stack", hint="run `fraudctl deploy --samples`"
            )
        return name

    def _later(self, what: str) -> NoReturn:
        raise BadConfig(f"{what}: not on AWS in this version", hint="use --target local")
