"""The health of every component of a local stack, by asking each a real question."""

import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib import metadata
from typing import Any, Final

from fraudctl.errors import FraudctlError
from fraudctl.local import clients
from fraudctl.local.clients import JsonClient
from fraudctl.local.definitions import NAMES
from fraudctl.local.flink.rest import FlinkRest
from fraudctl.local.processes import process_table
from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.ports import address, bootstrap_servers
from fraudctl.local.processes.state import StackState
from fraudctl.local.processes.supervisor import ProgramInfo, Restarts, Supervisor, restarts
from fraudctl.pipeline import kafka
from fraudctl.target import Component, Health

_ANSWER_SECONDS: Final = 0.5
_ALIVE: Final = frozenset({"RUNNING", "STARTING"})


class Probes:
    """Asks the programs of one stack; a client is opened once and kept."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        """Store the ports; no I/O."""
        self._ports = ports
        self._runner = JsonClient("lambda", lambda: address("lambda", ports["lambda"]))
        self._flink = FlinkRest(lambda: address("flink", ports["flink"]))

    def ready(self, name: str) -> bool:
        """Return whether the program answers a real question."""
        questions: dict[str, Callable[[], bool]] = {
            "kafka": self._kafka,
            "dynamodb": self._dynamodb,
            "lambda": lambda: self.runner() is not None,
            "flink": self._flink.ready,
        }
        return questions[name]()

    def runner(self) -> Mapping[str, Any] | None:
        """Return the function runner's status; None when it does not answer."""
        try:
            found: Mapping[str, Any] = self._runner.get("/_fraudctl/status")
        except FraudctlError:
            return None
        return found

    def samples(self) -> bool | None:
        """Return whether sample transactions flow; None when the function runner does not answer."""
        status = self.runner()
        return None if status is None else bool(status["schedule"]["enabled"])

    @cached_property
    def dynamodb(self) -> Any:  # noqa: ANN401 - a boto3 client
        """A client of DynamoDB Local that gives up soon."""
        return clients.dynamodb(self._ports["dynamodb"], read_timeout=5)

    @cached_property
    def _admin(self) -> Any:  # noqa: ANN401 - confluent_kafka has no types
        from confluent_kafka.admin import AdminClient

        connection = kafka.client(bootstrap_servers(self._ports))
        return AdminClient({**connection, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100})

    def _kafka(self) -> bool:
        from confluent_kafka import KafkaException

        try:
            return bool(self._admin.list_topics(timeout=_ANSWER_SECONDS).brokers)
        except KafkaException:
            return False

    def _dynamodb(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self.dynamodb.list_tables(Limit=1)
        except (BotoCoreError, ClientError):
            return False
        return True


def components(
    paths: StackPaths, state: StackState, supervisor: Supervisor, pinned: Mapping[str, str]
) -> list[Component]:
    """Return what supervisord and every component say; `pinned` has the programs' versions."""
    infos = supervisor.programs()
    ended = restarts(paths.log("supervisor"))
    probes = Probes(state.ports)
    versions = {**pinned, "lambda": f"Python {sys.version.split()[0]}"}
    found = [
        _component(paths, state, probes, infos.get(name), ended.get(name, Restarts()), name, versions[name])
        for name in NAMES
    ]
    found += _event_source_mapping(probes) if infos else []
    pid = supervisor.pid()
    found.append(
        Component(
            name="supervisor",
            health=Health.HEALTHY if pid else Health.STOPPED,
            version=metadata.version("supervisor"),
            pid=pid,
            memory_bytes=process_table.memory_bytes(pid) if pid else None,
        )
    )
    return found


def _component(
    paths: StackPaths,
    state: StackState,
    probes: Probes,
    info: ProgramInfo | None,
    ended: Restarts,
    name: str,
    version: str,
) -> Component:
    common: dict[str, Any] = {
        "name": name,
        "version": version,
        "address": address(name, state.ports[name]),
        "restarts": ended.count,
        "restarted_at": ended.last_at,
    }
    if info is None or info.state not in _ALIVE:
        on_purpose = paths.stopped_marker(name).exists()
        detail = "stopped by `fraudctl flink stop`" if on_purpose else (info.detail if info else "")
        return Component(health=Health.STOPPED, detail=detail, **common)
    if probes.ready(name):
        health, detail = Health.HEALTHY, ended.last_reason and f"was restarted: {ended.last_reason}"
    else:
        health = Health.STARTING if info.state == "STARTING" else Health.UNHEALTHY
        detail = "does not answer yet" if info.state == "STARTING" else f"does not answer; see `fraudctl logs {name}`"
    return Component(
        health=health,
        detail=detail,
        pid=info.pid,
        started_at=info.started_at,
        memory_bytes=process_table.memory_bytes(info.pid) if info.pid else None,
        **common,
    )


def _event_source_mapping(probes: Probes) -> list[Component]:
    """Return the event source mapping that feeds AuditWriter, a part of the function runner."""
    mapping = (probes.runner() or {}).get("mapping")
    if not mapping:
        return []
    left = mapping.get("on_failure") or 0
    result = str(mapping.get("last_result") or "")
    problem = result.startswith("PROBLEM")
    detail = "; ".join(filter(None, (result, f"{left} records in {mapping.get('on_failure_folder')}" if left else "")))
    return [Component(name="audit mapping", health=Health.UNHEALTHY if problem else Health.HEALTHY, detail=detail)]
