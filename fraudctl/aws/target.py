"""The AWS target: the pipeline as one CloudFormation stack."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Final, NoReturn

from fraudctl.aws import older
from fraudctl.aws.cloudformation.describe import describe
from fraudctl.aws.components import AwsComponents
from fraudctl.aws.pages import AwsPages
from fraudctl.aws.resources.drift import DriftDetector
from fraudctl.aws.resources.flink import AwsFlink
from fraudctl.aws.resources.logs import AwsLogs
from fraudctl.aws.resources.schedule import AwsSchedule
from fraudctl.aws.session import AwsSession
from fraudctl.aws.stack import AwsStack
from fraudctl.clock import Clock
from fraudctl.config import Settings
from fraudctl.errors import BadConfig, NotDeployed
from fraudctl.lock import stack_lock
from fraudctl.target import Component, Functions, Records, Topics

# Settings that are also parameters of the stack; at their default the stack keeps what it has.
_SETTINGS: Final = {
    "hold_ms": "HoldMs",
    "slack_ms": "SlackMs",
    "partitions": "Partitions",
    "parallelism": "FlinkParallelism",
}


class AwsTarget:
    """Opens adapters at first use; constructing it touches nothing."""

    def __init__(self, settings: Settings, session: AwsSession | None = None, clock: Clock | None = None) -> None:
        """Store the collaborators; no I/O."""
        self._settings = settings
        self._session = session or AwsSession(settings.region, settings.profile)
        self._clock = clock or Clock()

    @cached_property
    def stack(self) -> AwsStack:
        """The infrastructure's life."""
        from fraudctl.aws.release import Release

        given = {
            parameter: str(value)
            for name, parameter in _SETTINGS.items()
            if (value := self._settings.given(name)) is not None
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
            watch=lambda: self._session.client("cloudwatch"),
            logs=self.logs,
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
    def functions(self) -> Functions:
        """The Lambda functions."""
        self._later("invoking functions")

    @property
    def logs(self) -> AwsLogs:
        """What the components say."""
        return AwsLogs(lambda: self._session.client("logs"), self._settings.stack, self._clock)

    @property
    def pages(self) -> AwsPages:
        """Web pages of the stack."""
        return AwsPages(self.flink, self.stack.outputs, self._arguments)

    def recover(self) -> bool:
        """Return True for a deployed stack: AWS keeps it running. Raises `NotDeployed`."""
        self.stack.outputs()
        return True

    def components(self) -> list[Component]:
        """Return a verdict for every component; raises `NotDeployed`."""
        found = describe(self._session.client("cloudformation"), self._settings.stack)
        if found is None:
            raise NotDeployed(f"stack {self._settings.stack}: not deployed", hint="run `fraudctl deploy` first")
        return AwsComponents(self._session, self._clock, self.flink, found).judge()

    def audit_table(self) -> Any:  # noqa: ANN401 - a boto3 Table
        """Return the audit table."""
        self._later("the audit table")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the stack's lock on this machine; CloudFormation refuses a second operation from elsewhere."""
        name = f"aws-{self._session.region}-{self._settings.profile or 'default'}-{self._settings.stack}.lock"
        with stack_lock(self._settings.home / "stacks" / name.replace("/", "_"), self._settings.stack):
            yield

    def _schedule_name(self) -> str:
        return older.output(self.stack.outputs(), "ScheduleName", "a schedule for sample transactions")

    def _arguments(self) -> tuple[str, ...]:
        """Return the AWS CLI's options for this account and region."""
        profile = ("--profile", self._settings.profile) if self._settings.profile else ()
        return ("--region", self._session.region, *profile)

    def _later(self, what: str) -> NoReturn:
        raise BadConfig(f"{what}: not on AWS in this version", hint="use --target local")
