"""Every program of a local stack, in the order in which people think of them."""

from collections.abc import Callable, Mapping
from typing import Final

from fraudctl.local.dynamodb import server
from fraudctl.local.flink import definition as flink
from fraudctl.local.kafka import broker
from fraudctl.local.lambda_runner import definition as lambda_runner
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
NAMES: Final = tuple(_DEFINITIONS)
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
)


def definitions(paths: StackPaths, state: StackState, tools: Tools) -> dict[str, Definition]:
    """Return the definition of every program by its name."""
    return {name: define(paths, state, tools) for name, define in _DEFINITIONS.items()}
