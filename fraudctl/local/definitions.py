"""Every program of a local stack, in the order in which people think of them."""

import json
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Final

from fraudctl.local.dynamodb import server
from fraudctl.local.flink import definition as flink
from fraudctl.local.kafka import broker
from fraudctl.local.lambda_runner import definition as lambda_runner
from fraudctl.local.processes import launch
from fraudctl.local.processes.definition import Definition
from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.state import StackState
from fraudctl.local.processes.supervisor import Program
from fraudctl.local.processes.tools import Tools

_DEFINITIONS: Final[Mapping[str, Callable[[StackPaths, StackState, Tools], Definition]]] = {
    "kafka": broker.definition,
    "dynamodb": server.definition,
    "lambda": lambda_runner.definition,
    "flink": flink.definition,
}
# The programs that people know. The watchdog looks after them as the supervisor does.
NAMES: Final = tuple(_DEFINITIONS)
WATCHDOG: Final = "watchdog"
PORTS: Final = ("kafka", "controller", "dynamodb", "lambda", "flink")
HOLDS: Final[Mapping[str, str]] = {
    "kafka": "one broker, four topics",
    "dynamodb": "DynamoDB Local with the audit table",
    "lambda": "the three functions, their schedule and event source mapping",
    "flink": "the detection",
}
SUPERVISED: Final = (
    Program("kafka", stop_seconds=20, priority=10),
    Program("dynamodb", priority=10),
    Program("lambda", priority=20),
    # It ends with exit code 0 only when `flink stop` asked for that: then it stays down.
    Program("flink", stop_seconds=20, priority=20, restart_on_success=False),
    Program(WATCHDOG, stop_seconds=2, priority=30),
)


def definitions(paths: StackPaths, state: StackState, tools: Tools) -> dict[str, Definition]:
    """Return the definition of every program by its name."""
    found = {name: define(paths, state, tools) for name, define in _DEFINITIONS.items()}
    return {**found, WATCHDOG: _watchdog(paths, state)}


def _watchdog(paths: StackPaths, state: StackState) -> Definition:
    where = (str(paths.home), paths.stack, str(paths.runtime))
    return Definition(
        WATCHDOG,
        (*launch.PYTHON, "fraudctl.local.watchdog", *where),
        paths.temporary(WATCHDOG),
        inputs=json.dumps([dict(state.ports), metadata.version("fraudctl")]),
    )
