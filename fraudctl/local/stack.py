"""The local stack's life: plan, apply, teardown. Every deploy is a repair of whatever is there."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

from fraudctl.atomic import atomic_write, private_folder
from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, NotAsAsked, NotDeployed, OperationFailed
from fraudctl.local import clients
from fraudctl.local.components import MAPPING, Answer, Probes, is_hung, is_watchdog_hung, judge
from fraudctl.local.definitions import HOLDS, NAMES, PORTS, SUPERVISED, WATCHDOG, definitions
from fraudctl.local.kafka.admin import KafkaAdmin
from fraudctl.local.kafka.topics import LocalTopics
from fraudctl.local.processes import ports, process_table, recovery
from fraudctl.local.processes.definition import Definition, last_error
from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.state import StackState
from fraudctl.local.processes.supervisor import Supervisor
from fraudctl.local.processes.tools import Toolbox
from fraudctl.pipeline import audit_table, kafka, names
from fraudctl.target import NO_OPTIONS, Change, Consent, Event, Health, Options, Outputs, Paused, Phase, Plan

# Without it a broker ends without a word somewhere on its way up; the first topics, logs and temporary files take half.
_LEAST_BYTES: Final = 256_000_000
_READY_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0
_EVERY_SECONDS: Final = 0.5
# What does not answer once may be busy; what does not answer for this long, while it is known to be able to, is hung.
_CONFIRM_SECONDS: Final = 4.0
# How long what is hung has for ending by itself.
_GRACE_SECONDS: Final = 5.0
_MAPPING_SECONDS: Final = 10.0
_FIRST: Final = ("kafka", "dynamodb")
_THEN: Final = ("lambda", "flink")


@dataclass(frozen=True, slots=True)
class LocalStack:
    """Kafka, DynamoDB Local, the function runner and the Flink application under one supervisord.

    Without `partitions` of a topic or `parallelism` of the application the stack keeps what it has.
    """

    paths: StackPaths
    supervisor: Supervisor
    toolbox: Toolbox
    hold_ms: int
    slack_ms: int
    partitions: int | None = None
    parallelism: int | None = None
    clock: Clock = Clock()  # noqa: RUF009 - frozen

    def prepare(self) -> Iterator[Event]:
        """Yield nothing: what `apply` downloads and compiles is not needed for planning."""
        yield from ()

    def plan(self, *, samples: bool | None = None, options: Options = NO_OPTIONS) -> Plan:
        """Compare what runs with what should run; changes nothing."""
        if options != NO_OPTIONS:
            raise BadConfig("--set and --allow-replacement: not on the local target", hint="add --target aws")
        state = StackState.load(self.paths.state)
        if state is None or not state.deployed:
            kept = "with the data that is there" if self._has_data() else ""
            changes = [Change("create", name, kept or HOLDS[name]) for name in NAMES]
            return Plan(self.paths.stack, tuple(changes), samples=samples)
        self._check_growth(state)
        changes = list(self._repairs(state))
        if samples is not None and not changes and self._probes(state).samples() is not samples:
            changes.append(Change("start" if samples else "stop", "samples"))
        return Plan(self.paths.stack, tuple(changes), samples=samples)

    def apply(self, plan: Plan) -> Iterator[Event]:
        """Bring everything up, Flink's process included; leaves alone what is as it should be."""
        self._make_folders()
        yield from self.toolbox.ensure()
        before = StackState.load(self.paths.state)
        yield from self._end_orphans()
        state, stolen = self._choose_ports(before)
        for name, port in stolen.items():
            yield Event(
                name, Phase.NOTE, f"port {port} is taken by another program; {name} moves to {state.ports[name]}"
            )
        wanted = self._definitions(state)
        state.save(self.paths.state)
        for definition in wanted.values():
            if state.programs.get(definition.name) != definition.digest:
                self.supervisor.stop_program(definition.name)
            definition.write(self.paths)
        if plan.samples is not None or not self.paths.schedule.exists():
            self._write_schedule(on=plan.samples is not False)
        self.supervisor.start(SUPERVISED)
        yield from self._start(_FIRST, state)
        yield from self._create_table(state)
        topics = self._topics(state)
        yield from topics.grow()
        yield from topics.create()
        yield from topics.grow()  # a broker that has just started may not have known them all
        yield from self._start(_THEN, state, wait_for=("lambda",))
        yield from self._repair_mapping(state)
        self._start_watchdog()
        digests = {name: definition.digest for name, definition in wanted.items()}
        state.change(deployed=True, programs=digests).save(self.paths.state)

    def discard(self, plan: Plan) -> None:
        """Do nothing: planning leaves nothing behind."""

    def attach(self) -> Iterator[Event]:
        """Refuse: here nothing is under way without a command that does it."""
        raise NotDeployed(f"stack {self.paths.stack}: no operation is running", hint="run `fraudctl deploy`")

    def continue_rollback(self, skip: Sequence[str] = ()) -> Iterator[Event]:
        """Refuse: here every deploy is a repair, none goes back."""
        del skip
        raise NotDeployed(f"stack {self.paths.stack}: no rollback is stuck", hint="run `fraudctl deploy`")

    def plan_teardown(self, *, keep_data: bool) -> Plan:
        """Return what would be removed; raises `NotDeployed` when there is neither folder nor process."""
        running = process_table.of_stack(self.paths.root)
        if not self.paths.root.exists() and not running:
            raise NotDeployed(f"stack {self.paths.stack}: not deployed", hint="run `fraudctl deploy` first")
        changes = [Change("stop", "processes", f"{len(running)} running")] if running else []
        changes.append(Change("remove", "folder", "all but its data" if keep_data else "with all its data"))
        if keep_data:
            return Plan(self.paths.stack, tuple(changes), keep_data=True)
        losses = ("topics, audit rows and checkpoints",) if self._has_data() else ()
        outcome = "no process, port or file is left"
        return Plan(self.paths.stack, tuple(changes), Consent.YES, losses, outcome=outcome)

    def teardown(self, plan: Plan) -> Iterator[Event]:
        """Stop everything, remove the folder, then look whether anything is left."""
        keep_data = plan.keep_data
        state = StackState.load(self.paths.state)
        yield from self._stop_all()
        for path in self.paths.root.iterdir() if self.paths.root.exists() else ():
            if keep_data and path == self.paths.data:
                continue
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if not keep_data:
            shutil.rmtree(self.paths.root, ignore_errors=True)
        self.paths.socket.unlink(missing_ok=True)
        self._prove_gone(state.ports if state else {}, keep_data=keep_data)
        yield Event("folder", Phase.DONE, "data kept" if keep_data else "removed")
        self.paths.lock.unlink(missing_ok=True)

    def outputs(self) -> Outputs:
        """Return the outputs from the stack's state; raises `NotDeployed`."""
        state = self.deployed()
        return Outputs(
            stack=self.paths.stack,
            target="local",
            bootstrap_servers=ports.bootstrap_servers(state.ports),
            audit_table=names.audit_table(self.paths.stack),
            flink_application=self.paths.stack,
            hold_ms=state.hold_ms,
            slack_ms=state.slack_ms,
            extra={name: ports.address(name, port) for name, port in state.ports.items() if name != "controller"},
        )

    def paused(self) -> Paused | None:
        """Return since when it is paused, as its state says; None when it is not, or not deployed."""
        state = StackState.load(self.paths.state)
        return Paused(**state.paused) if state is not None and state.paused else None

    def mark(self, paused: Paused | None) -> None:
        """Write it into the stack's state."""
        state = self.deployed()
        state.change(paused=asdict(paused) if paused else None).save(self.paths.state)

    def pause(self) -> Iterator[Event]:
        """Stop every process, Kafka in order, and keep every file."""
        yield from self._stop_all()

    def resume(self) -> Iterator[Event]:
        """Bring everything up as it was deployed, whatever the settings are now; versions are this fraudctl's."""
        state = self.deployed()
        as_it_was = replace(self, hold_ms=state.hold_ms, slack_ms=state.slack_ms, partitions=None, parallelism=None)
        yield from as_it_was.apply(Plan(self.paths.stack, ()))

    def saving(self) -> Sequence[str]:
        """Return what is free and what is kept."""
        return ("every process is stopped; topics, rows and snapshots are kept on disk",)

    def deployed(self) -> StackState:
        """Return what a stack that was deployed to the end remembers; raises `NotDeployed`."""
        state = StackState.load(self.paths.state)
        if state is None or not state.deployed:
            why = "deploying it was interrupted" if state else "not deployed"
            raise NotDeployed(f"stack {self.paths.stack}: {why}", hint="run `fraudctl deploy` first")
        return state

    def _stop_all(self) -> Iterator[Event]:
        yield Event("processes", Phase.STARTED, "stopping")
        supervisord = self.supervisor.process()
        self.supervisor.shutdown()
        if supervisord is not None:
            process_table.wait([supervisord], _STOP_SECONDS)
        process_table.end(process_table.of_stack(self.paths.root))
        yield Event("processes", Phase.DONE, "stopped")

    def _repairs(self, state: StackState) -> Iterator[Change]:
        if missing := self.toolbox.missing():
            yield Change("download", "packages", missing)
            return
        verdict = judge(self.paths, state, self.supervisor, self.toolbox.versions())
        asked = self._as_asked(state)
        if asked.partitions != state.partitions:
            yield Change("add", "partitions", f"{state.partitions} → {asked.partitions} of each topic")
        wanted = self._definitions(asked)
        for component in sorted(verdict.components, key=lambda found: found.name != "supervisor"):
            definition = wanted.get(component.name)
            if component.health is Health.STOPPED:
                yield Change("start", component.name, "it does not run")
            elif definition and state.programs.get(component.name) != definition.digest:
                yield Change("restart", component.name, "its settings or its version changed")
            elif component.name in verdict.undecided or (component.name == MAPPING and not verdict.healthy(*NAMES)):
                continue  # not for a deploy to decide, or it suffers from what is repaired anyway
            elif component.health is not Health.HEALTHY:
                yield Change("repair", component.name, component.detail)
        topics = self._missing_topics(state) if verdict.healthy("kafka", "supervisor") else []
        if topics:
            yield Change("repair", "topics", ", ".join(topics))

    def _missing_topics(self, state: StackState) -> list[str]:
        return [topic.alias for topic in self._topics(state).list() if not topic.exists]

    def _definitions(self, state: StackState) -> dict[str, Definition]:
        return definitions(self.paths, state, self.toolbox.tools())

    def _topics(self, state: StackState) -> LocalTopics:
        admin = KafkaAdmin(lambda: kafka.client(ports.bootstrap_servers(state.ports)))
        return LocalTopics(admin, free_bytes=self.paths.free_bytes, partitions=lambda: state.partitions)

    def _create_table(self, state: StackState) -> Iterator[Event]:
        from botocore.exceptions import ClientError

        name = names.audit_table(self.paths.stack)
        try:
            clients.dynamodb(state.ports["dynamodb"]).create_table(**audit_table.definition(name))
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceInUseException":
                raise
        else:
            yield Event("audit table", Phase.DONE, f"{name} created")

    def _write_schedule(self, *, on: bool) -> None:
        """Set whether sample transactions flow, before the function runner's first start."""
        private_folder(self.paths.schedule.parent)
        atomic_write(self.paths.schedule, json.dumps({"enabled": on}).encode())

    def _choose_ports(self, before: StackState | None) -> tuple[StackState, dict[str, int]]:
        state = before or StackState()
        mine = process_table.of_stack(self.paths.root)
        chosen, stolen = ports.choose(PORTS, state.ports, lambda port: process_table.listener(mine, port) is not None)
        return self._as_asked(state.change(ports=chosen)), stolen

    def _as_asked(self, state: StackState) -> StackState:
        """Return the state with the settings of now."""
        return state.change(
            hold_ms=self.hold_ms,
            slack_ms=self.slack_ms,
            partitions=self.partitions or state.partitions,
            parallelism=self.parallelism or state.parallelism,
        )

    def _check_growth(self, state: StackState) -> None:
        """Raise `BadConfig` for fewer partitions than the stack has."""
        if self.partitions is not None and self.partitions < state.partitions:
            raise BadConfig(
                f"partitions {self.partitions}: the stack has {state.partitions}, and Kafka's topics never shrink",
                hint=f"leave it out, or give at least {state.partitions}",
            )

    def _end_orphans(self) -> Iterator[Event]:
        for _ in self.clock.poll(0, within=_CONFIRM_SECONDS):
            standing = self.supervisor.standing()
            if not standing.trouble:
                break
        if standing.process and standing.trouble:
            why = f"pid {standing.process.pid} runs, but {standing.trouble}: it is restarted, with its programs"
            yield Event("supervisor", Phase.NOTE, why)
            recovery.end_supervisor(standing)
        left = recovery.orphans(self.paths, self.supervisor)
        if left:
            yield Event("supervisor", Phase.NOTE, f"ending {len(left)} processes that it left behind")
            process_table.end(left)

    def _start(
        self, names: tuple[str, ...], state: StackState, wait_for: tuple[str, ...] | None = None
    ) -> Iterator[Event]:
        probes = self._probes(state)
        waiting_for = list(names if wait_for is None else wait_for)
        for name in names:
            if name in waiting_for:
                yield Event(name, Phase.STARTED, "starting")
            yield from self._stop_hung(name, probes, state.ports[name])
            if not self._runs(name):
                self.paths.stopped_marker(name).unlink(missing_ok=True)
            self.supervisor.start_program(name)

        def settled() -> bool:
            return all(self._alive(name) and probes.ready(name) for name in waiting_for[:1])

        while waiting_for:
            name = waiting_for[0]
            hint = f"run `fraudctl logs {name}`"
            for _ in self.clock.until(settled, within=_READY_SECONDS, what=name, hint=hint):
                yield Event(name, Phase.PROGRESS, "starting")
            yield Event(name, Phase.DONE, f"ready on {ports.address(name, state.ports[name])}")
            waiting_for.pop(0)

    def _stop_hung(self, name: str, probes: Probes, port: int) -> Iterator[Event]:
        """Stop a program that runs, does not answer, and is not merely on its way up."""
        pid: int | None = None
        for _ in self.clock.poll(_EVERY_SECONDS, within=_CONFIRM_SECONDS):
            info = self.supervisor.programs().get(name)
            if info is None or info.state not in {"RUNNING", "STARTING"}:
                return
            if probes.answer(name) is not Answer.SILENT or not is_hung(self.paths, info, port):
                return
            pid = info.pid
        yield Event(name, Phase.NOTE, f"pid {pid} runs, but does not answer: it is stopped and started again")
        self.supervisor.stop_program(name, grace=_GRACE_SECONDS)

    def _start_watchdog(self) -> None:
        """Start the watchdog; one that has hung is replaced."""
        info = self.supervisor.programs().get(WATCHDOG)
        if info is not None and is_watchdog_hung(self.paths, info):
            self.supervisor.stop_program(WATCHDOG, grace=_GRACE_SECONDS)
        self.supervisor.start_program(WATCHDOG)

    def _repair_mapping(self, state: StackState) -> Iterator[Event]:
        """Restart the function runner when its event source mapping is not well, and does not become so by itself."""
        probes = self._probes(state)
        for _ in self.clock.poll(_EVERY_SECONDS, within=_MAPPING_SECONDS):
            if probes.is_mapping_well():
                return
        yield Event(MAPPING, Phase.NOTE, "it is not well: the function runner is restarted")
        self.supervisor.stop_program("lambda")
        yield from self._start(("lambda",), state)

    def _probes(self, state: StackState) -> Probes:
        return Probes(state.ports, names.audit_table(self.paths.stack))

    def _runs(self, name: str) -> bool:
        info = self.supervisor.programs().get(name)
        return info is not None and info.state in {"RUNNING", "STARTING"}

    def _alive(self, name: str) -> bool:
        info = self.supervisor.programs().get(name)
        if info is not None and info.state in {"FATAL", "EXITED", "STOPPED"}:
            log = self.paths.log(name)
            raise OperationFailed(f"{name}: it ended: {last_error(log)}", hint=f"see {log}")
        return True

    def _make_folders(self) -> None:
        try:
            self.paths.make_folders()
        except OSError as error:
            raise BadConfig(
                f"state folder {self.paths.root}: {error.strerror or error}",
                hint="set FRAUDCTL_HOME to a folder you can write",
            ) from error
        free = self.paths.free_bytes()
        if free < _LEAST_BYTES:
            raise OperationFailed(
                f"state folder {self.paths.root}: no disk space: {_LEAST_BYTES / 1e6:.0f} MB are needed, "
                f"{free / 1e6:.0f} MB are free",
                hint="free some space, or set FRAUDCTL_HOME to a folder on another disk",
            )

    def _has_data(self) -> bool:
        return self.paths.data.exists() and any(self.paths.data.iterdir())

    def _prove_gone(self, used: Mapping[str, int], *, keep_data: bool) -> None:
        left = [f"process {process.pid} ({process.name()})" for process in process_table.of_stack(self.paths.root)]
        left += [f"port {port}" for port in used.values() if not ports.is_free(port)]
        if self.paths.socket.exists():
            left.append(str(self.paths.socket))
        if self.paths.root.exists():
            left += [str(path) for path in self.paths.root.iterdir() if not (keep_data and path == self.paths.data)]
        if left:
            raise NotAsAsked(
                f"stack {self.paths.stack}: left behind: {', '.join(left)}", hint="run `fraudctl teardown` again"
            )
