"""The local target: the whole pipeline as child processes of this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from fraudctl import config
from fraudctl.config import Settings
from fraudctl.errors import BadConfig, Refused, Unreachable
from fraudctl.local import clients, programs
from fraudctl.local.components import components
from fraudctl.local.flink.application import LocalFlink
from fraudctl.local.functions import LocalFunctions, LocalSchedule
from fraudctl.local.kafka.records import LocalRecords
from fraudctl.local.kafka.topics import LocalTopics
from fraudctl.local.logs import LocalLogs
from fraudctl.local.processes import recovery
from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.state import StackState
from fraudctl.local.processes.supervisor import Supervisor
from fraudctl.local.processes.tools import Toolbox
from fraudctl.local.rest import Rest
from fraudctl.local.stack import LocalStack
from fraudctl.lock import stack_lock
from fraudctl.pipeline import kafka
from fraudctl.target import Component


class LocalTarget:
    """Opens adapters at first use; constructing it touches nothing."""

    def __init__(self, settings: Settings) -> None:
        """Keep the settings."""
        self._settings = settings
        self._paths = StackPaths(settings.home, settings.stack, settings.runtime)
        self._supervisor = Supervisor(self._paths, config.child_environment())
        self._locked = False

    @cached_property
    def stack(self) -> LocalStack:
        """The infrastructure's life."""
        return LocalStack(
            self._paths,
            self._supervisor,
            Toolbox(self._settings.cache, self._settings.java_home),
            self._settings.hold_ms,
            self._settings.slack_ms,
        )

    @property
    def flink(self) -> LocalFlink:
        """The Flink application."""
        ports = self._running().ports
        return LocalFlink(
            Rest("flink", programs.address("flink", ports["flink"])),
            self._supervisor,
            programs.flink_folders(self._paths),
            programs.stopped_marker(self._paths, "flink"),
        )

    @property
    def topics(self) -> LocalTopics:
        """The pipeline's topics."""
        return LocalTopics(self._connection())

    @property
    def records(self) -> LocalRecords:
        """Reading and writing topics."""
        return LocalRecords(self._connection())

    @property
    def functions(self) -> LocalFunctions:
        """The Lambda functions."""
        port = self._running().ports["lambda"]
        return LocalFunctions(self._settings.stack, lambda: clients.lambda_client(port))

    @property
    def schedule(self) -> LocalSchedule:
        """The clock that makes sample transactions."""
        return LocalSchedule(Rest("lambda", programs.address("lambda", self._running().ports["lambda"])))

    @property
    def logs(self) -> LocalLogs:
        """What the components say."""
        self.stack.outputs()
        return LocalLogs(self._paths.logs, (*programs.NAMES, "supervisor"))

    def components(self) -> list[Component]:
        """Give a verdict for every component."""
        self.stack.outputs()
        self._mend()
        state = StackState.load(self._paths.state) or StackState()
        return components(self._paths, state, self._supervisor, self.stack.toolbox.versions())

    @contextmanager
    def page(self, name: str) -> Iterator[str]:
        """Yield the address of a page; locally that is Flink's web UI."""
        if name != "flink":
            raise BadConfig(f"page {name!r}: unknown", hint="the page here is flink")
        yield programs.address("flink", self._running().ports["flink"])

    def audit_table(self) -> Any:  # noqa: ANN401 - a boto3 Table
        """Give the audit table."""
        state = self._running()
        return clients.dynamodb_resource(state.ports["dynamodb"]).Table(programs.table_name(self._settings.stack))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the stack's lock."""
        with stack_lock(self._paths.lock, self._settings.stack):
            self._locked = True
            try:
                yield
            finally:
                self._locked = False

    def _connection(self) -> kafka.Properties:
        return kafka.client(programs.bootstrap(self._running().ports))

    def _running(self) -> StackState:
        """Give the stack's state when its processes run; a killed supervisor is mended on the way."""
        if not self._locked:
            self.stack.outputs()
            self._mend()
            if not recovery.supervisor_lives(self._paths):
                raise Unreachable(
                    f"stack {self._settings.stack}: deployed, but not running",
                    hint="run `fraudctl deploy` to bring it back; its data is intact",
                )
        return StackState.load(self._paths.state) or StackState()

    def _mend(self) -> None:
        if self._locked or recovery.supervisor_lives(self._paths):
            return
        left = recovery.orphans(self._paths, self._supervisor)
        if not left:
            return
        try:
            with stack_lock(self._paths.lock, self._settings.stack, wait=0):
                recovery.restart_all(self._paths, self._supervisor, left)
        except Refused:
            return  # another command is at it
