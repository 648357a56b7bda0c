"""The AWS target: the pipeline as one CloudFormation stack."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from fraudctl.aws import older
from fraudctl.aws.cloudformation.describe import describe
from fraudctl.aws.cloudformation.parameters import PENDING
from fraudctl.aws.components import AwsComponents
from fraudctl.aws.names import Names
from fraudctl.aws.pages import AwsPages
from fraudctl.aws.resources import on_failure
from fraudctl.aws.resources.drift import DriftDetector
from fraudctl.aws.resources.flink import AwsFlink
from fraudctl.aws.resources.functions import AwsFunctions
from fraudctl.aws.resources.logs import AwsLogs
from fraudctl.aws.resources.metrics import Metrics
from fraudctl.aws.resources.reader import TopicReader
from fraudctl.aws.resources.records import AwsRecords
from fraudctl.aws.resources.schedule import AwsSchedule
from fraudctl.aws.resources.table import AuditTable
from fraudctl.aws.resources.topics import AwsTopics
from fraudctl.aws.session import AwsSession
from fraudctl.aws.stack import AwsStack
from fraudctl.clock import Clock
from fraudctl.config import Settings
from fraudctl.errors import NotDeployed
from fraudctl.lock import stack_lock
from fraudctl.pipeline.topics import PARTITIONS
from fraudctl.target import Component

# Settings that are also parameters of the stack; at their default the stack keeps what it has.
_SETTINGS: Final = {
    "hold_ms": "HoldMs",
    "slack_ms": "SlackMs",
    "partitions": "Partitions",
    "parallelism": "FlinkParallelism",
}


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
            metrics=self._metrics,
            logs=self.logs,
        )

    @property
    def schedule(self) -> AwsSchedule:
        """The clock that makes sample transactions."""
        return AwsSchedule(lambda: self._session.client("scheduler"), self._schedule_name)

    @property
    def topics(self) -> AwsTopics:
        """The pipeline's topics."""
        return AwsTopics(
            lambda: self._session.client("kafka"),
            self._cluster,
            self._reader,
            self._clock,
            partitions=self._partitions,
            note=self._note,
        )

    @property
    def records(self) -> AwsRecords:
        """Reading and writing topics, by functions in the stack's network."""
        return AwsRecords(self._reader, self.functions, self._clock)

    @property
    def functions(self) -> AwsFunctions:
        """The Lambda functions; an invocation is never repeated, for it may write."""
        return AwsFunctions(
            lambda: self._session.client("lambda", once=True), self._settings.stack, self._clock, self._note
        )

    @property
    def logs(self) -> AwsLogs:
        """What the components say."""
        return AwsLogs(lambda: self._session.client("logs"), self._settings.stack, self._clock)

    @property
    def pages(self) -> AwsPages:
        """Web pages of the stack."""
        return AwsPages(self.flink, self.stack.outputs, self._arguments)

    def recover(self) -> bool:
        """Return whether the stack is deployed to its end: then AWS keeps it running. Raises `NotDeployed`."""
        return self.stack.outputs().bootstrap_servers != PENDING

    def components(self) -> list[Component]:
        """Return a verdict for every component; raises `NotDeployed`."""
        found = describe(self._session.client("cloudformation"), self._settings.stack)
        if found is None:
            raise NotDeployed(f"stack {self._settings.stack}: not deployed", hint="run `fraudctl deploy` first")
        return AwsComponents(self._session, self._metrics, self.flink, found).judge()

    def caller(self) -> str | None:
        """Return the caller's identity as STS tells it: an IAM user's name, or a role's session name."""
        return self._session.caller()

    def on_failure(self) -> Iterator[bytes]:
        """Return the documents of AuditWriter's on-failure destination, a bucket."""
        bucket = Names(self._settings.stack).on_failure_bucket(self._session.account(), self._session.region)
        return on_failure.documents(self._session.client("s3"), bucket)

    def audit_table(self) -> Any:  # noqa: ANN401 - a boto3 Table
        """Return the audit table, with what is asked of it here; raises `NotDeployed`."""
        return AuditTable(self.stack.outputs().audit_table, self._session.table)

    def folder(self) -> Path:
        """Return a folder for this stack, in this region, by this profile."""
        return self._settings.home / "kept" / self._here

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the stack's lock on this machine; CloudFormation refuses a second operation from elsewhere."""
        with stack_lock(self._settings.home / "stacks" / f"{self._here}.lock", self._settings.stack):
            yield

    @property
    def _here(self) -> str:
        name = f"aws-{self._session.region}-{self._settings.profile or 'default'}-{self._settings.stack}"
        return name.replace("/", "_")

    @property
    def _reader(self) -> TopicReader:
        """Kafka as TopicReader sees it; to ask again does no harm, so botocore may."""
        functions = AwsFunctions(lambda: self._session.client("lambda"), self._settings.stack, self._clock, self._note)
        return TopicReader(functions.invoke, self._clock, self._note)

    def _cluster(self) -> str:
        """Return the cluster's ARN."""
        return self.stack.outputs().extra["ClusterArn"]

    def _partitions(self) -> int:
        """Return how many partitions the stack gives a topic."""
        found = describe(self._session.client("cloudformation"), self._settings.stack)
        return int(found.parameters.get("Partitions", PARTITIONS)) if found else PARTITIONS

    @cached_property
    def _metrics(self) -> Metrics:
        return Metrics(lambda: self._session.client("cloudwatch"), self._clock)

    def _schedule_name(self) -> str:
        return older.output(self.stack.outputs(), "ScheduleName", "a schedule for sample transactions")

    def _arguments(self) -> tuple[str, ...]:
        """Return the AWS CLI's options for this account and region."""
        profile = ("--profile", self._settings.profile) if self._settings.profile else ()
        return ("--region", self._session.region, *profile)
