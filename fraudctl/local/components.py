"""The health of every component of a local stack, by asking each a real question.

`status` shows this list, and a deploy repairs whatever in it is not healthy.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from fraudctl.errors import FraudctlError, OperationFailed, Unreachable
from fraudctl.local.clients import DynamoDbClient, JsonClient
from fraudctl.local.definitions import NAMES, WATCHDOG
from fraudctl.local.flink.rest import FlinkRest, all_running
from fraudctl.local.flink.unread import waiting
from fraudctl.local.kafka import health
from fraudctl.local.kafka.admin import KafkaAdmin
from fraudctl.local.kafka.unread import ACCEPT, Ledger
from fraudctl.local.processes import ports, process_table
from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.ports import address, bootstrap_servers
from fraudctl.local.processes.state import StackState
from fraudctl.local.processes.supervisor import ProgramInfo, Restarts, Standing, Supervisor, restarts
from fraudctl.pipeline import kafka, names
from fraudctl.target import Component, Health, PutAside

# `status` answers within 5 s whatever hangs, and all are asked at the same time.
_ANSWER_SECONDS: Final = 1.5
_ALIVE: Final = frozenset({"RUNNING", "STARTING", "BACKOFF"})
# A start takes this long on a slow machine; supervisord itself calls a program RUNNING after 3 s.
_STARTING_SECONDS: Final = 60.0
# Nobody has seen it answer: Kafka may be reading its log again after a crash, which takes minutes with much data.
_RECOVERY_SECONDS: Final = 300.0
# supervisord's pauses between tries grow to 8 s, and it gives whole seconds.
_FOLLOWS_MS: Final = 10_000
# The watchdog's turns are a few seconds apart.
_TURN_SECONDS: Final = 30.0


MAPPING: Final = "audit mapping"


class Answer(StrEnum):
    """What a program says to a real question."""

    READY = "ready"
    BUSY = "busy"  # it answers, and is not ready
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Look:
    """One look at all programs. `runner` is the function runner's status, `table` whether the audit table exists.

    Both are None when nobody answered.
    """

    answers: Mapping[str, Answer]
    runner: Mapping[str, Any] | None = None
    table: bool | None = None


class Probes:
    """Asks the programs of one stack; a client is opened once and kept."""

    def __init__(self, ports: Mapping[str, int], table: str, *, seconds: float = _ANSWER_SECONDS) -> None:
        """Store the ports, the audit table's name, and how long an answer may take; no I/O."""
        self._ports, self._table, self._seconds = ports, table, seconds
        self._runner = JsonClient("lambda", lambda: address("lambda", ports["lambda"]))
        self._flink = FlinkRest(lambda: address("flink", ports["flink"]))
        self._dynamodb = DynamoDbClient(ports["dynamodb"])

    def look(self, programs: Sequence[str] = NAMES) -> Look:
        """Ask the programs side by side; it takes as long as the slowest."""
        if not programs:
            return Look({})
        with ThreadPoolExecutor(len(programs)) as pool:
            found = dict(zip(programs, pool.map(self._ask, programs), strict=True))
        return Look(
            {name: answer for name, (answer, _) in found.items()},
            runner=found["lambda"][1] if "lambda" in found else None,
            table=found["dynamodb"][1] if "dynamodb" in found else None,
        )

    def answer(self, name: str) -> Answer:
        """Return what one program says."""
        return self._ask(name)[0]

    def ready(self, name: str) -> bool:
        """Return whether the program answers a real question."""
        return self.answer(name) is Answer.READY

    def samples(self) -> bool | None:
        """Return whether sample transactions flow; None when the function runner does not answer."""
        status = self._ask_lambda()[1]
        return None if status is None else bool(status["schedule"]["enabled"])

    def is_mapping_well(self) -> bool:
        """Return whether a restart of the function runner would change nothing for its event source mapping."""
        status = self._ask_lambda()[1]
        mapping = _event_source_mapping(status)
        return mapping is not None and (mapping.health is Health.HEALTHY or _has_losses(status))

    def _ask(self, name: str) -> tuple[Answer, Any]:
        questions: dict[str, Callable[[], tuple[Answer, Any]]] = {
            "kafka": self._ask_kafka,
            "dynamodb": self._ask_dynamodb,
            "lambda": self._ask_lambda,
            "flink": self._ask_flink,
        }
        return questions[name]()

    @cached_property
    def _admin(self) -> Any:  # noqa: ANN401 - confluent_kafka has no types
        from confluent_kafka.admin import AdminClient

        connection = kafka.client(bootstrap_servers(self._ports))
        return AdminClient({**connection, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100})

    def _ask_kafka(self) -> tuple[Answer, None]:
        from confluent_kafka import KafkaException

        try:
            return Answer.READY if self._admin.list_topics(timeout=self._seconds).brokers else Answer.BUSY, None
        except KafkaException:
            return Answer.SILENT, None

    def _ask_dynamodb(self) -> tuple[Answer, bool | None]:
        try:
            return Answer.READY, self._dynamodb.has_table(self._table, timeout=self._seconds)
        except Unreachable:
            return Answer.SILENT, None
        except OperationFailed:
            return Answer.BUSY, None

    def _ask_lambda(self) -> tuple[Answer, Mapping[str, Any] | None]:
        try:
            return Answer.READY, self._runner.get("/_fraudctl/status", timeout=self._seconds)
        except Unreachable:
            return Answer.SILENT, None
        except OperationFailed:
            return Answer.BUSY, None

    def _ask_flink(self) -> tuple[Answer, None]:
        try:
            job = self._flink.job(timeout=self._seconds)
        except Unreachable:
            return Answer.SILENT, None
        except FraudctlError:
            return Answer.BUSY, None
        return Answer.READY if job is not None and all_running(job) else Answer.BUSY, None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Every component of the stack, and which programs gave no answer.

    `undecided` are components that a deploy cannot repair: somebody has to accept first that records are lost, or to
    commit or abort a Kafka transaction.
    """

    components: tuple[Component, ...]
    silent: frozenset[str]
    undecided: frozenset[str] = frozenset()

    def healthy(self, *components: str) -> bool:
        """Return whether these components are healthy."""
        well = {component.name for component in self.components if component.health is Health.HEALTHY}
        return well.issuperset(components)


def judge(paths: StackPaths, state: StackState, supervisor: Supervisor, pinned: Mapping[str, str]) -> Verdict:
    """Ask supervisord and every component, side by side; `pinned` has the programs' versions."""
    probes = Probes(state.ports, names.audit_table(paths.stack))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(_supervised, supervisor)
        look = probes.look()
        standing, infos = asked.result()
    judgement = _Judgement(paths, state, look, standing, restarts(paths.log("supervisor")))
    versions = {**pinned, "lambda": f"Python {sys.version.split()[0]}"}
    found = [*judgement.components(infos, versions), *health.lost(Ledger(paths.lost))]
    if look.answers["kafka"] is Answer.READY:
        found += health.held_back(KafkaAdmin(lambda: kafka.client(bootstrap_servers(state.ports))))
    undecided = {MAPPING} if _has_losses(look.runner) else set()
    if waiting(paths.flink.unread):
        undecided.add("flink")
    return Verdict(
        tuple(found),
        frozenset(name for name, answer in look.answers.items() if answer is Answer.SILENT),
        frozenset(undecided | {health.TRANSACTIONS}),
    )


def is_hung(paths: StackPaths, info: ProgramInfo, port: int) -> bool:
    """Return whether a program that has just given no answer is hung, and not merely on its way up.

    It is hung when the operating system has stopped it, when the watchdog has seen this very process answer before,
    or when it has listened for minutes without a word.
    """
    if info.pid is None or info.started_at is None:
        return False
    if process_table.is_stopped(info.pid) or answered(paths.answered).get(info.name) == info.pid:
        return True
    return _age(info.started_at) > _RECOVERY_SECONDS and not ports.is_free(port)


def is_watchdog_hung(paths: StackPaths, info: ProgramInfo) -> bool:
    """Return whether the watchdog, which runs, has not looked for longer than its turns take."""
    if info.pid is None or info.started_at is None:
        return False
    try:
        looked_at = paths.answered.stat().st_mtime * 1000
    except OSError:
        looked_at = 0.0
    return process_table.is_stopped(info.pid) or _age(max(looked_at, info.started_at)) > _TURN_SECONDS


def answered(path: Path) -> dict[str, int]:
    """Return the pid of each program's process that the watchdog has seen answer; empty without a file."""
    with suppress(OSError, ValueError, AttributeError, TypeError):
        return {str(name): int(pid) for name, pid in json.loads(path.read_text(encoding="ascii")).items()}
    return {}


def _supervised(supervisor: Supervisor) -> tuple[Standing, dict[str, ProgramInfo]]:
    standing = supervisor.standing()
    try:
        return standing, supervisor.programs() if standing.process and not standing.trouble else {}
    except Unreachable:  # it has hung since
        return supervisor.standing(), {}


def _age(started_at: float) -> float:
    """Return the seconds since a moment in epoch milliseconds."""
    return time.time() - started_at / 1000


@dataclass(frozen=True, slots=True)
class _Judgement:
    paths: StackPaths
    state: StackState
    look: Look
    standing: Standing
    ended: Mapping[str, Restarts]

    def components(self, infos: Mapping[str, ProgramInfo], versions: Mapping[str, str]) -> Iterator[Component]:
        blind = bool(self.standing.trouble)
        ours = process_table.of_stack(self.paths.root) if blind else []
        for name in NAMES:
            common = {"name": name, "version": versions[name], "address": address(name, self.state.ports[name])}
            if blind:
                listener = process_table.listener(ours, self.state.ports[name])
                yield self._unsupervised(listener.pid if listener else None, common)
            else:
                yield self._program(infos.get(name), common)
        if not blind:
            yield self._watchdog(infos.get(WATCHDOG))
        mapping = _event_source_mapping(self.look.runner)
        if mapping:
            yield mapping
        if self.look.table is not None:
            yield _table(names.audit_table(self.paths.stack), exists=self.look.table)
        yield self._supervisor()

    def _program(self, info: ProgramInfo | None, common: dict[str, Any]) -> Component:
        name = common["name"]
        ended = self.ended.get(name, Restarts())
        common |= {"restarts": ended.count, "restarted_at": ended.last_at}
        if info is None or info.state not in _ALIVE:
            on_purpose = self.paths.stopped_marker(name).exists()
            detail = "stopped by `fraudctl flink stop`" if on_purpose else (info.detail if info else "")
            return Component(health=Health.STOPPED, detail=detail, **common)
        common |= _process(info)
        answer = self.look.answers[name]
        if answer is Answer.READY:
            detail = f"was restarted: {ended.last_reason}" if ended.last_reason else ""
            return Component(health=Health.HEALTHY, detail=detail, **common)
        if name == "flink" and (waits := waiting(self.paths.flink.unread)):
            return Component(health=Health.UNHEALTHY, detail=f"{waits}; {ACCEPT}", **common)
        if answer is Answer.SILENT and is_hung(self.paths, info, self.state.ports[name]):
            detail = "it does not answer; the watchdog restarts it unless it does soon"
            return Component(health=Health.UNHEALTHY, detail=detail, **common)
        what = "does not answer" if answer is Answer.SILENT else "is not ready"
        if info.pid is None or info.started_at is None or _age(info.started_at) < _STARTING_SECONDS:
            by_itself = info.state == "BACKOFF" or _follows(ended, info.started_at)
            how = Health.RESTARTING if by_itself else Health.STARTING
            return Component(health=how, detail=f"it {what} yet", **common)
        return Component(health=Health.UNHEALTHY, detail=f"it {what}; see `fraudctl logs {name}`", **common)

    def _unsupervised(self, pid: int | None, common: dict[str, Any]) -> Component:
        """Return a program's health while supervisord cannot be asked about it."""
        if pid is None and self.look.answers[common["name"]] is Answer.SILENT:
            return Component(health=Health.STOPPED, detail="nothing listens there", **common)
        ready = self.look.answers[common["name"]] is Answer.READY
        return Component(
            health=Health.HEALTHY if ready else Health.UNHEALTHY,
            detail="" if ready else "it does not answer",
            pid=pid,
            memory_bytes=process_table.memory_bytes(pid) if pid else None,
            **common,
        )

    def _watchdog(self, info: ProgramInfo | None) -> Component:
        ended = self.ended.get(WATCHDOG, Restarts())
        common: dict[str, Any] = {"name": WATCHDOG, "restarts": ended.count, "restarted_at": ended.last_at}
        if info is None or info.state not in _ALIVE:
            return Component(health=Health.STOPPED, **common)
        common |= _process(info)
        if not is_watchdog_hung(self.paths, info):
            return Component(health=Health.HEALTHY, **common)
        return Component(health=Health.UNHEALTHY, detail="it has stopped looking", **common)

    def _supervisor(self) -> Component:
        process, trouble = self.standing.process, self.standing.trouble
        how = Health.HEALTHY if process and not trouble else Health.UNHEALTHY if process else Health.STOPPED
        return Component(
            name="supervisor",
            health=how,
            detail=trouble and f"{trouble}; `fraudctl deploy` restarts it, with its programs",
            version=metadata.version("supervisor"),
            pid=process.pid if process else None,
            memory_bytes=process_table.memory_bytes(process.pid) if process else None,
        )


def _process(info: ProgramInfo) -> dict[str, Any]:
    memory = process_table.memory_bytes(info.pid) if info.pid else None
    return {"pid": info.pid, "started_at": info.started_at, "memory_bytes": memory}


def _follows(ended: Restarts, started_at: int | None) -> bool:
    """Return whether a process was started because its predecessor had ended by itself; both times in milliseconds."""
    return ended.last_at is not None and started_at is not None and abs(started_at - ended.last_at) <= _FOLLOWS_MS


def _table(name: str, *, exists: bool) -> Component:
    if exists:
        return Component(name="audit table", health=Health.HEALTHY, detail=name)
    return Component(name="audit table", health=Health.UNHEALTHY, detail=f"{name} does not exist")


def _has_losses(status: Mapping[str, Any] | None) -> bool:
    """Return whether the mapping waits until it is accepted that records were deleted unread."""
    return bool(((status or {}).get("mapping") or {}).get("losses"))


def _event_source_mapping(status: Mapping[str, Any] | None) -> Component | None:
    """Return the event source mapping that feeds AuditWriter, a part of the function runner."""
    mapping = (status or {}).get("mapping")
    if not mapping:
        return None
    left = mapping.get("on_failure") or 0
    result = str(mapping.get("last_result") or "")
    off = f"it is {str(mapping['state']).lower()}" if mapping.get("state") in {"Disabling", "Disabled"} else ""
    problem = off or result.startswith("PROBLEM")
    put_aside = None
    if left:
        put_aside = PutAside(left, mapping.get("on_failure_unwritten") or 0, str(mapping.get("on_failure_folder")))
    return Component(
        name=MAPPING,
        health=Health.UNHEALTHY if problem else Health.HEALTHY,
        detail="; ".join(filter(None, (off, result))),
        put_aside=put_aside,
    )
