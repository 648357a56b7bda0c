"""What the Flink application is started with: its JVM, its properties and Flink's own settings."""

import json
from pathlib import Path
from typing import Any, Final

from fraudctl.artifacts.jars import MAIN_CLASS
from fraudctl.artifacts.java import class_path, version
from fraudctl.atomic import atomic_write, private_folder
from fraudctl.local.flink import snapshots
from fraudctl.local.processes import class_data, jvm, launch
from fraudctl.local.processes.definition import Definition
from fraudctl.local.processes.paths import StackPaths, hosts_file
from fraudctl.local.processes.ports import LOOPBACK, address, bootstrap_servers
from fraudctl.local.processes.state import StackState
from fraudctl.local.processes.tools import Tools
from fraudctl.pipeline import names, records, topics

GROUP: Final = names.FLINK_GROUP
_CHECKPOINT_INTERVAL: Final = "10 s"
_KEPT_CHECKPOINTS: Final = "3"
# Flink reaches into these packages by reflection: its own bin/config.sh opens more; these are what the application met.
_OPENS: Final = ("java.util", "java.lang", "java.time", "java.math", "java.nio", "sun.nio.ch")
# Kafka's clients print every setting of every client; alignment a line a second.
_QUIET: Final = ("org.apache.kafka", "org.apache.flink.runtime.source.coordinator", "org.apache.flink.metrics")


def definition(paths: StackPaths, state: StackState, tools: Tools) -> Definition:
    """Return what the Flink application is started with, by its launcher."""
    folders, temporary = paths.flink, paths.temporary("flink")
    classpath = [tools.flink_jar, tools.local_jar, *tools.flink]
    spec = snapshots.Spec(
        java=str(tools.java),
        flags=[
            *jvm.WORKING,
            *jvm.ALWAYS,
            *jvm.names(hosts_file(paths.root)),
            *jvm.logging(level="info", quiet=_QUIET),
            *class_data.flags(class_data.path(tools.cache, "flink", tools.java, version(tools.java), classpath)),
            *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENS),
        ],
        classpath=class_path(classpath),
        main_class=MAIN_CLASS,
        arguments=[f"{name}={value}" for name, value in _properties(paths, state, temporary).items()],
        checkpoints=str(folders.checkpoints),
        savepoints=str(folders.savepoints),
        attempts=str(folders.attempts),
        fresh=str(folders.fresh),
        tmp=str(temporary),
        servers=bootstrap_servers(state.ports),
        group=GROUP,
        topics=[topics.TRANSACTIONS.name, topics.FLAGGED.name],
        unread=str(folders.unread),
        topic_ids=str(folders.topic_ids),
        begun=str(folders.begun),
        lost=str(paths.lost),
    )
    file = paths.flink_spec

    def set_up() -> None:
        for folder in (folders.checkpoints, folders.savepoints):
            private_folder(folder)
        layout = json.dumps([state.hold_ms, state.slack_ms])
        if folders.layout.exists() and folders.layout.read_text(encoding="utf-8") != layout:
            atomic_write(
                folders.fresh, b""
            )  # its state is laid out by hold and slack: it reads both topics from the beginning
        atomic_write(folders.layout, layout.encode())

    return Definition(
        "flink",
        (*launch.PYTHON, "fraudctl.local.flink.launcher", str(file)),
        paths.root,  # the launcher empties the temporary folder
        files={file.name: spec.to_json()},
        # It looks for new partitions every five minutes, and what it has not found is not in its clock.
        inputs=json.dumps(state.partitions),
        set_up=set_up,
    )


def _properties(paths: StackPaths, state: StackState, temporary: Path) -> dict[str, Any]:
    folders = paths.flink
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
        # The age of what /metrics answers; 10 s by default, and each answer is as old as the question before.
        "metrics.fetcher.update-interval": 500,
        # Flink's default lets pages of every site read the answers; java_src/…/SameOrigin.java refuses them at all.
        "web.access-control-allow-origin": address("flink", state.ports["flink"]),
        "rest.profiling.enabled": "false",
        "web.submit.enable": "false",
        "web.cancel.enable": "false",
        "parallelism.default": state.parallelism,
        "taskmanager.memory.network.min": _network(state.parallelism),
        "taskmanager.memory.network.max": _network(state.parallelism),
        # As on Managed Flink, which does not follow Flink 2.3's new default: managed-flink, flink-2-3.md.
        "pipeline.watermark-alignment.max-drift": "0 ms",
        "state.backend.type": "hashmap",
        "execution.checkpointing.interval": _CHECKPOINT_INTERVAL,
        # Flink triggers the first one at a random moment from this pause on: not before every task runs, or it fails.
        "execution.checkpointing.min-pause": "5 s",
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
        "bootstrap.servers": bootstrap_servers(state.ports),
        "group.id": GROUP,
        "topic.transactions": topics.TRANSACTIONS.name,
        "topic.flagged": topics.FLAGGED.name,
        "topic.processed": topics.PROCESSED.name,
        "topic.dead_letters": topics.DEAD_LETTERS.name,
        "hold.ms": state.hold_ms,
        "slack.ms": state.slack_ms,
        "exit.when.done": "true",
        "stopped.marker": paths.stopped_marker("flink"),
        **records.flink_properties(),
        **{f"flink.{name}": value for name, value in flink.items()},
    }


def _network(parallelism: int) -> str:
    """Return the memory for exchanges between tasks: every task has buffers for every other; Flink's default is 64 MB.

    With 32 tasks the default is not enough for some 10,000 buffers of 32 kB.
    """
    return f"{max(64, parallelism * parallelism // 2)} mb"
