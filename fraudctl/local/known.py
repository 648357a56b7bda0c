"""What is known of the local stacks without asking anybody for long: what a shell completes at a Tab.

Imports little, since a Tab may take 150 ms: importing `LocalTarget` alone costs more than half of that.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.ports import bootstrap_servers
from fraudctl.local.processes.state import StackState
from fraudctl.pipeline import topics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fraudctl.pipeline.reader import Record

_ASK_SECONDS: Final = 0.1
_RECORDS: Final = 200  # of each partition


class LocalKnown:
    """Reads the stacks' folders; what is not there is an empty list, and nothing is ever started or repaired."""

    def __init__(self, paths: StackPaths) -> None:
        """Store the paths of the stack that the other options name; no I/O."""
        self._paths = paths

    def stacks(self) -> Sequence[str]:
        """Return the stacks of this home."""
        return sorted(file.parent.name for file in self._paths.root.parent.glob("*/stack.json"))

    def components(self) -> Sequence[str]:
        """Return the components that have a log."""
        return sorted(file.stem for file in self._paths.logs.glob("*.log"))

    def accounts(self) -> Sequence[str]:
        """Return the accounts of the last flag events, newest first; those that Kafka gives within 100 ms."""
        found = self._newest(topics.FLAGGED.name)
        keys = (record.key.decode() for record in found if record.key is not None and record.key.isdigit())
        return list(dict.fromkeys(keys))

    def reasons(self) -> Sequence[str]:
        """Return the reasons of the last flag events, newest first; those that Kafka gives within 100 ms."""
        found: dict[str, None] = {}
        for record in self._newest(topics.FLAGGED.name):
            with suppress(ValueError, KeyError, TypeError):
                reason = json.loads(record.value or b"")["reason"]
                if isinstance(reason, str) and reason.isprintable():
                    found[reason] = None
        return list(found)

    def dead_letters(self) -> Sequence[str]:
        """Return the places of the last dead letters, newest first; those that Kafka gives within 100 ms."""
        return [f"{record.partition}:{record.offset}" for record in self._newest(topics.DEAD_LETTERS.name)]

    def _newest(self, topic: str) -> Sequence[Record]:
        found: list[Record] = []
        state = StackState.load(self._paths.state)
        if state is None or "kafka" not in state.ports:
            return []
        _load_client()  # outside of the time that Kafka has
        answered = threading.Event()
        # Left behind when Kafka hangs, and with its consumer, which takes its time to close.
        threading.Thread(target=self._read, args=(state, topic, found, answered), daemon=True).start()
        answered.wait(_ASK_SECONDS)
        return sorted(found, key=lambda record: (record.timestamp or 0, record.offset), reverse=True)

    @staticmethod
    def _read(state: StackState, topic: str, found: list[Record], answered: threading.Event) -> None:
        from confluent_kafka import KafkaException

        from fraudctl.pipeline import kafka
        from fraudctl.pipeline.reader import Batch, Reader, Request, properties

        connection = {
            **kafka.client(bootstrap_servers(state.ports)),
            # librdkafka keeps to this pause before its first connection to a broker too: half of the time there is.
            "reconnect.backoff.ms": 0,
            "reconnect.backoff.max.ms": 0,
        }
        with suppress(KafkaException):
            # A first fetch may ask for empty partitions alone: it comes back at once.
            reader = Reader(kafka.open_consumer({**properties(connection), "fetch.wait.max.ms": 1}))
            bounds = reader.bounds(topic)
            starts = {number: max(low, bounds.highs[number] - _RECORDS) for number, low in bounds.lows.items()}
            batch = Batch([], starts, bounds.highs)
            while not batch.at_end:
                batch = reader.poll(Request(topic, batch.positions, batch.ends))
                found += batch.records
            answered.set()


def _load_client() -> None:
    """Load of confluent_kafka what a reader needs. The whole of it takes a third of a Tab's time, for asyncio mostly.

    For a process that completes and ends. A test sees the accounts and counts the modules, so another layout of the
    package is noticed.
    """
    if "confluent_kafka" in sys.modules:
        return
    for name, part in (("confluent_kafka", "cimpl"), ("confluent_kafka.admin", "_metadata")):
        spec = importlib.util.find_spec(name)
        assert spec is not None  # noqa: S101 - it is a dependency
        package = sys.modules[name] = importlib.util.module_from_spec(spec)  # not executed
        found = vars(importlib.import_module(f"{name}.{part}"))
        vars(package).update({name: value for name, value in found.items() if not name.startswith("_")})
