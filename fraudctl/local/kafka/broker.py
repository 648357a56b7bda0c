"""Kafka as one local process: a broker that is its own controller (KRaft), on loopback."""

import base64
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from fraudctl.artifacts.java import version
from fraudctl.atomic import atomic_write, private_folder
from fraudctl.errors import BadConfig
from fraudctl.local.processes import class_data, jvm
from fraudctl.local.processes.definition import Definition
from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.ports import LOOPBACK
from fraudctl.local.processes.state import StackState
from fraudctl.local.processes.tools import Tools

_MAIN: Final = "kafka.Kafka"
_NODE: Final = "1"
_HEAP_MB: Final = (64, 256)
_MIB: Final = 1 << 20
# They print every setting, several times over.
_QUIET: Final = ("kafka.server.KafkaConfig", "org.apache.kafka.common.config")

# What a properties file can hold as it is: printable ASCII but the blank and the backslash.
_PLAIN: Final = frozenset(range(ord("!"), ord("~") + 1)) - {ord("\\")}

_SINGLE_NODE: Final = {
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "auto.create.topics.enable": "false",
    # Nobody else will join: a group starts at once instead of after 3 s.
    "group.initial.rebalance.delay.ms": "0",
    # A consumer may ask for a short session, so that its successor need not wait 6 s after a kill.
    "group.min.session.timeout.ms": "1000",
    # After kill -9 the new broker is refused until the dead one's session is over: 9 s by default. It must outlive a
    # pause of the machine, or clients see the partitions without a leader for a moment.
    "broker.session.timeout.ms": "1500",
    "broker.heartbeat.interval.ms": "300",
    # An idle controller writes and flushes a record this often: 0.5 s by default, which keeps a disk awake.
    "metadata.max.idle.interval.ms": "5000",
}
_SMALL: Final = {
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "4",
    # retention.bytes deletes whole segments only: with the default of 1 GiB a limit of 128 MiB would not be kept.
    "log.segment.bytes": str(128 * _MIB),
    "log.index.size.max.bytes": str(_MIB),
    # The cleaner holds this much of the heap from the start, 128 MiB by default. It must fit the keys of one segment of
    # the compacted topics, hence those are small too.
    "log.cleaner.dedupe.buffer.size": str(8 * _MIB),
    "offsets.topic.segment.bytes": str(16 * _MIB),
    "transaction.state.log.segment.bytes": str(16 * _MIB),
}


def properties(data_dir: Path, port: int, controller_port: int) -> dict[str, str]:
    """Return the broker's settings; clients connect to 127.0.0.1:`port`. Raises `BadConfig` for a comma in the path."""
    if "," in str(data_dir):
        raise BadConfig(
            f"state folder {data_dir}: Kafka takes a comma for the end of a path",
            hint="set FRAUDCTL_HOME to a folder without one",
        )
    return {
        "process.roles": "broker,controller",
        "node.id": _NODE,
        "controller.quorum.voters": f"{_NODE}@{LOOPBACK}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(data_dir),
        **_SINGLE_NODE,
        **_SMALL,
    }


def write_config(config_dir: Path, data_dir: Path, port: int, controller_port: int) -> Path:
    """Write ``server.properties`` and return its path; format `data_dir` unless it is formatted.

    Formatting is one small file, for which Kafka's own tool would start a JVM.
    """
    private_folder(config_dir)
    private_folder(data_dir)
    path = config_dir / "server.properties"
    _write(path, properties(data_dir, port, controller_port))
    meta = data_dir / "meta.properties"
    if not meta.exists():
        _write(meta, {"version": "1", "cluster.id": _uuid(), "node.id": _NODE, "directory.id": _uuid()})
    return path


def command(java: Path, classpath: Sequence[Path], config: Path, tmp: Path, cache: Path) -> list[str]:
    """Return the broker's command line; `tmp` must exist."""
    archive = class_data.path(cache, "kafka", java, version(java), classpath)
    return jvm.command(
        java,
        classpath,
        _MAIN,
        [str(config)],
        heap_mb=_HEAP_MB,
        tmp=tmp,
        quiet=_QUIET,
        extra=class_data.flags(archive),
    )


def definition(paths: StackPaths, state: StackState, tools: Tools) -> Definition:
    """Return what the broker is started with."""
    config, data, temporary = paths.config / "kafka", paths.data / "kafka", paths.temporary("kafka")
    port, controller = state.ports["kafka"], state.ports["controller"]
    line = command(tools.java, tools.kafka, config / "server.properties", temporary, tools.cache)
    return Definition(
        "kafka",
        tuple(line),
        temporary,
        inputs=json.dumps(properties(data, port, controller), sort_keys=True),
        set_up=lambda: write_config(config, data, port, controller),
    )


def _write(path: Path, values: Mapping[str, str]) -> None:
    """Write a Java properties file in one step."""
    atomic_write(path, "".join(f"{key}={_escaped(value)}\n" for key, value in values.items()).encode("ascii"))


def _escaped(value: str) -> str:
    """Escape a value for java.util.Properties.load, which reads ISO 8859-1 and drops leading blanks."""
    raw = value.encode("utf-16-be")
    units = [int.from_bytes(raw[at : at + 2]) for at in range(0, len(raw), 2)]
    return "".join(chr(unit) if unit in _PLAIN else f"\\u{unit:04x}" for unit in units)


def _uuid() -> str:
    """Return a UUID as Kafka writes them: 22 characters of URL-safe base64, none that looks like an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
