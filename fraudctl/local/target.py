"""The local target: the whole pipeline as child processes of this machine."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from fraudctl import config
from fraudctl.config import Settings
from fraudctl.errors import Refused, Unreachable
from fraudctl.local import clients
from fraudctl.local.clients import JsonClient
from fraudctl.local.components import judge
from fraudctl.local.definitions import NAMES, SUPERVISED, WATCHDOG
from fraudctl.local.flink.application import LocalFlink
from fraudctl.local.flink.definition import GROUP
from fraudctl.local.flink.rest import FlinkRest
from fraudctl.local.flink.unread import Guard
from fraudctl.local.functions import LocalFunctions, LocalSchedule
from fraudctl.local.kafka.admin import KafkaAdmin
from fraudctl.local.kafka.records import LocalRecords
from fraudctl.local.kafka.topics import LocalTopics
from fraudctl.local.kafka.unread import Ledger
from fraudctl.local.logs import LocalLogs
from fraudctl.local.pages import LocalPages
from fraudctl.local.processes import recovery
from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.ports import address, bootstrap_servers
from fraudctl.local.processes.supervisor import Supervisor
from fraudctl.local.processes.tools import Toolbox
from fraudctl.local.stack import LocalStack
from fraudctl.lock import stack_lock
from fraudctl.pipeline import kafka, names
from fraudctl.target import Component


class LocalTarget:
    """Constructs adapters; none of them touches anything before it is asked."""

    def __init__(self, settings: Settings) -> None:
        """Store the settings; no I/O."""
        self._settings = settings
        self._paths = StackPaths(settings.home, settings.stack, settings.runtime)
        self._supervisor = Supervisor(self._paths, config.program_environment())
        # What did not answer when `components` asked: whoever asks again is told so at once.
        self._silent: frozenset[str] = frozenset()

    @cached_property
    def stack(self) -> LocalStack:
        """The infrastructure's life."""
        return LocalStack(
            self._paths,
            self._supervisor,
            Toolbox(self._settings.cache, self._settings.java_home),
            self._settings.hold_ms,
            self._settings.slack_ms,
            self._settings.given("partitions"),
            self._settings.given("parallelism"),
        )

    @property
    def flink(self) -> LocalFlink:
        """The Flink application."""
        return LocalFlink(
            FlinkRest(lambda: self._address("flink")),
            self._supervisor,
            self._paths.flink,
            self._paths.stopped_marker("flink"),
            guard=Guard(
                self._paths.flink_spec,
                KafkaAdmin(self._connection),
                Ledger(self._paths.lost),
                JsonClient("lambda", lambda: self._address("lambda")),
            ),
        )

    @property
    def topics(self) -> LocalTopics:
        """The pipeline's topics."""
        return LocalTopics(
            KafkaAdmin(self._connection),
            data=self._paths.data / "kafka",
            free_bytes=self._paths.free_bytes,
            positions={GROUP: self.flink.positions},
            partitions=lambda: self.stack.deployed().partitions,
        )

    @property
    def records(self) -> LocalRecords:
        """Reading and writing topics."""
        return LocalRecords(self._connection)

    @property
    def functions(self) -> LocalFunctions:
        """The Lambda functions."""
        return LocalFunctions(
            self._settings.stack,
            lambda: clients.lambda_client(self._port("lambda")),
            JsonClient("lambda", lambda: self._address("lambda")),
        )

    @property
    def schedule(self) -> LocalSchedule:
        """The schedule that makes sample transactions."""
        return LocalSchedule(JsonClient("lambda", lambda: self._address("lambda")))

    @property
    def logs(self) -> LocalLogs:
        """What the components log."""
        return LocalLogs(self._paths.logs, (*NAMES, WATCHDOG, "supervisor"))

    @property
    def pages(self) -> LocalPages:
        """Web pages of the stack."""
        return LocalPages(self.flink.status)

    def recover(self) -> bool:
        """Return whether supervisord runs, after starting it again around programs that a dead one left behind.

        Raises `NotDeployed`. Costs two milliseconds when nothing is to be recovered.
        """
        self.stack.outputs()
        lives = recovery.supervisor_lives(self._supervisor)
        if not lives and (left := recovery.orphans(self._paths, self._supervisor)):
            # Refused: another command changes the stack, and it looks for orphans itself.
            with suppress(Refused), stack_lock(self._paths.lock, self._settings.stack, wait=0):
                recovery.restart_all(self._paths, self._supervisor, left, SUPERVISED)
        return recovery.supervisor_lives(self._supervisor)

    def components(self) -> list[Component]:
        """Return a verdict for every component, within 4 s whatever hangs; raises `NotDeployed`.

        Until it is called again, questions to a program that has not answered raise `Unreachable` at once.
        """
        verdict = judge(self._paths, self.stack.deployed(), self._supervisor, self.stack.toolbox.versions())
        self._silent = verdict.silent
        return list(verdict.components)

    def caller(self) -> str | None:
        """Return the name of the user of the operating system; None for an id without one, as in some containers."""
        try:
            return pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            return None

    def on_failure(self) -> Iterator[bytes]:
        """Yield the documents of AuditWriter's on-failure destination, a folder."""
        for file in sorted(self._paths.on_failure.glob("*.json")):
            with suppress(FileNotFoundError):
                yield file.read_bytes()

    def audit_table(self) -> Any:  # noqa: ANN401 - a boto3 Table
        """Return the audit table as a boto3 ``Table``; raises `NotDeployed`."""
        return clients.dynamodb_resource(self._port("dynamodb")).Table(names.audit_table(self._settings.stack))

    def folder(self) -> Path:
        """Return a folder of the stack's, which a teardown removes with the rest."""
        return self._paths.root / "kept"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the stack's lock."""
        with stack_lock(self._paths.lock, self._settings.stack):
            yield

    def _port(self, program: str) -> int:
        """Return a program's port; raises `NotDeployed`, and `Unreachable` for one that was found not to answer."""
        port = self.stack.deployed().ports[program]
        if program in self._silent:
            raise Unreachable(
                f"{program}: does not answer on {address(program, port)}",
                hint="run `fraudctl status`, then `fraudctl deploy` to repair",
            )
        return port

    def _address(self, program: str) -> str:
        return address(program, self._port(program))

    def _connection(self) -> kafka.Properties:
        return kafka.client(bootstrap_servers({"kafka": self._port("kafka")}))
