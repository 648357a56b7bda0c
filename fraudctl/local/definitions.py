"""Every program's definition, put together from folders, ports and tools."""

import json
import sys
from pathlib import Path
from typing import Any, Final

from fraudctl.artifacts.jars import MAIN_CLASS
from fraudctl.artifacts.java import class_path, version
from fraudctl.artifacts.resources import resource
from fraudctl.local import clients, programs
from fraudctl.local.dynamodb import server
from fraudctl.local.flink import launcher
from fraudctl.local.kafka import broker
from fraudctl.local.lambda_runner.spec import FunctionSpec, MappingSpec, RunnerSpec, ScheduleSpec
from fraudctl.local.processes import class_data, jvm
from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.ports import LOOPBACK
from fraudctl.local.processes.state import StackState
from fraudctl.local.processes.tools import Tools
from fraudctl.local.programs import Definition
from fraudctl.pipeline import records, topics

FLINK_GROUP: Final = "fraud-detection"
WRITER_GROUP: Final = "audit-writer"
_CHECKPOINT_INTERVAL: Final = "10 s"
_KEPT_CHECKPOINTS: Final = "3"
# Flink reaches into these packages by reflection: its own bin/config.sh opens more; these are what the application met.
_OPENS: Final = ("java.util", "java.lang", "java.time", "java.math", "java.nio", "sun.nio.ch")
# Kafka's clients print every setting of every client; alignment a line a second.
_QUIET: Final = ("org.apache.kafka", "org.apache.flink.runtime.source.coordinator", "org.apache.flink.metrics")
_PYTHON: Final = (sys.executable, "-P", "-m")


def definitions(paths: StackPaths, state: StackState, tools: Tools) -> dict[str, Definition]:
    """Give the definition of every program by its name."""
    return {
        definition.name: definition
        for definition in (
            _kafka(paths, state, tools),
            _dynamodb(paths, state, tools),
            _lambda(paths, state),
            _flink(paths, state, tools),
        )
    }


def schedule_file(paths: StackPaths) -> Path:
    """Give the file in which the runner keeps whether sample transactions flow."""
    return paths.data / "lambda" / "schedule.json"


def write_schedule(paths: StackPaths, *, on: bool) -> None:
    """Set whether sample transactions flow before the runner's first start."""
    file = schedule_file(paths)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"enabled": on}), encoding="utf-8")


def _temporary(paths: StackPaths, name: str) -> Path:
    return paths.run / "tmp" / name


def _kafka(paths: StackPaths, state: StackState, tools: Tools) -> Definition:
    config, data = paths.config / "kafka", paths.data / "kafka"
    port, controller = state.ports["kafka"], state.ports["controller"]
    command = broker.command(
        tools.java, tools.kafka, config / "server.properties", _temporary(paths, "kafka"), tools.cache
    )
    return Definition(
        "kafka",
        tuple(command),
        _temporary(paths, "kafka"),
        inputs=json.dumps(broker.properties(data, port, controller), sort_keys=True),
        prepare=lambda: broker.write_config(config, data, port, controller),
    )


def _dynamodb(paths: StackPaths, state: StackState, tools: Tools) -> Definition:
    data, temporary = paths.data / "dynamodb", _temporary(paths, "dynamodb")
    command = server.command(
        tools.java, tools.dynamodb_launcher, tools.dynamodb, state.ports["dynamodb"], data, temporary
    )
    return Definition("dynamodb", tuple(command), temporary, prepare=lambda: data.mkdir(parents=True, exist_ok=True))


def _lambda(paths: StackPaths, state: StackState) -> Definition:
    bootstrap = programs.bootstrap(state.ports)
    endpoint = {"endpoint_url": f"http://{LOOPBACK}:{state.ports['dynamodb']}", **clients.CREDENTIALS}

    def function(name: str, folder: str, timeout_s: float, **environment: str) -> FunctionSpec:
        return FunctionSpec(
            name=programs.function_name(paths.stack, name), folder=folder, timeout_s=timeout_s, environment=environment
        )

    spec = RunnerSpec(
        port=state.ports["lambda"],
        lambdas_folder=str(resource("lambdas")),
        functions=(
            function(
                "SampleTransactionGenerator", "sample_transaction_generator", 90, GENERATOR_BOOTSTRAP_SERVERS=bootstrap
            ),
            function("FlagAccountGenerator", "flag_account_generator", 60, FLAGGER_BOOTSTRAP_SERVERS=bootstrap),
            function(
                "AuditWriter",
                "audit_writer",
                60,
                WRITER_TABLE=programs.table_name(paths.stack),
                WRITER_DYNAMODB=json.dumps(endpoint),
            ),
        ),
        bootstrap_servers=bootstrap,
        schedule=ScheduleSpec(
            function=programs.function_name(paths.stack, "SampleTransactionGenerator"),
            payload={"per_second": 10, "seconds": 55},
            state_file=str(schedule_file(paths)),
        ),
        mapping=MappingSpec(
            function=programs.function_name(paths.stack, "AuditWriter"),
            topic=topics.PROCESSED.name,
            group=WRITER_GROUP,
            on_failure=str(paths.data / "on-failure"),
        ),
    )
    file = paths.config / "lambda_runner.json"
    return Definition(
        "lambda",
        (*_PYTHON, "fraudctl.local.lambda_runner", str(file)),
        _temporary(paths, "lambda"),
        files={file.name: spec.to_json()},
        inputs=_sources_digest(),
    )


def _flink(paths: StackPaths, state: StackState, tools: Tools) -> Definition:
    folders, temporary = programs.flink_folders(paths), _temporary(paths, "flink")
    classpath = [tools.flink_jar, *tools.flink]
    spec = launcher.Spec(
        java=str(tools.java),
        flags=[
            *jvm.WORKING,
            *jvm.ALWAYS,
            *jvm.logging(level="info", quiet=_QUIET),
            *class_data.flags(class_data.path(tools.cache, "flink", tools.java, version(tools.java), classpath)),
            *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENS),
        ],
        classpath=class_path(classpath),
        main_class=MAIN_CLASS,
        arguments=[f"{name}={value}" for name, value in _flink_properties(paths, state, temporary).items()],
        checkpoints=str(folders.checkpoints),
        savepoints=str(folders.savepoints),
        attempts=str(paths.data / "flink" / "attempts.json"),
        fresh=str(folders.fresh),
        tmp=str(temporary),
        servers=programs.bootstrap(state.ports),
    )
    file = paths.config / "flink_launcher.json"

    def prepare() -> None:
        for folder in (folders.checkpoints, folders.savepoints):
            folder.mkdir(parents=True, exist_ok=True)
        layout, wanted = paths.data / "flink" / "layout.json", json.dumps([state.hold_ms, state.slack_ms])
        if layout.exists() and layout.read_text(encoding="utf-8") != wanted:
            folders.fresh.touch()  # its state is laid out by hold and slack: it reads both topics from the beginning
        layout.write_text(wanted, encoding="utf-8")

    return Definition(
        "flink",
        (*_PYTHON, "fraudctl.local.flink.launcher", str(file)),
        paths.root,  # the launcher empties the temporary folder
        files={file.name: spec.to_json()},
        prepare=prepare,
    )


def _flink_properties(paths: StackPaths, state: StackState, temporary: Path) -> dict[str, Any]:
    folders = programs.flink_folders(paths)
    flink = {
        "execution.target": "local",
        "rest.address": LOOPBACK,
        "rest.bind-address": LOOPBACK,
        "rest.port": state.ports["flink"],
        "rest.bind-port": state.ports["flink"],
        # The blob server and the data exchange listen on every interface otherwise.
        "jobmanager.bind-host": LOOPBACK,
        "jobmanager.rpc.address": LOOPBACK,
        "taskmanager.bind-host": LOOPBACK,
        "taskmanager.host": LOOPBACK,
        "rest.profiling.enabled": "false",
        "web.submit.enable": "false",
        "web.cancel.enable": "false",
        "parallelism.default": 1,
        "state.backend.type": "hashmap",
        "execution.checkpointing.interval": _CHECKPOINT_INTERVAL,
        "execution.checkpointing.dir": f"file://{folders.checkpoints}",
        "execution.checkpointing.savepoint-dir": f"file://{folders.savepoints}",
        "execution.checkpointing.num-retained": _KEPT_CHECKPOINTS,
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "500 ms",
        "restart-strategy.exponential-delay.max-backoff": "10 s",
        # Then the JVM ends and the launcher chooses again: a snapshot with damaged data is given up in a minute.
        "restart-strategy.exponential-delay.attempts-before-reset-backoff": 6,
        "pipeline.generic-types": "false",
        "execution.buffer-timeout.interval": "10 ms",
        "io.tmp.dirs": temporary,
    }
    return {
        "bootstrap.servers": programs.bootstrap(state.ports),
        "group.id": FLINK_GROUP,
        "topic.transactions": topics.TRANSACTIONS.name,
        "topic.flagged": topics.FLAGGED.name,
        "topic.processed": topics.PROCESSED.name,
        "topic.dead_letters": topics.DEAD_LETTERS.name,
        "hold.ms": state.hold_ms,
        "slack.ms": state.slack_ms,
        "exit.when.done": "true",
        **records.flink_properties(),
        **{f"flink.{name}": value for name, value in flink.items()},
    }


def _sources_digest() -> str:
    """Give a digest of what the runner loads: after an upgrade or an edit it is started again."""
    import hashlib

    digest = hashlib.sha256()
    package = Path(__file__).parent.parent
    for folder in (resource("lambdas"), package / "pipeline", package / "local" / "lambda_runner"):
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
