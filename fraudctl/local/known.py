"""What is known of the local stacks without asking anybody for long: what a shell completes at a Tab.

Imports little, since a Tab may take 150 ms: importing `LocalTarget` alone costs more than half of that.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.ports import bootstrap_servers
from fraudctl.local.processes.state import StackState
from fraudctl.pipeline import kafka, topics

_ASK_SECONDS: Final = 0.1
_FLAGS: Final = 500


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

    def savepoints(self) -> Sequence[str]:
        """Return the savepoints and checkpoints that are complete, newest first."""
        folders = (self._paths.flink.savepoints, self._paths.flink.checkpoints)
        found = [file for folder in folders for file in folder.rglob("_metadata")]
        return [str(file.parent) for file in sorted(found, key=lambda file: file.stat().st_mtime_ns, reverse=True)]

    def accounts(self) -> Sequence[str]:
        """Return the accounts of the last flag events, newest first; none when Kafka takes longer than 100 ms."""
        import confluent_kafka  # noqa: F401 - loaded outside of the time that Kafka has

        found: list[str] = []
        state = StackState.load(self._paths.state)
        if state is None or "kafka" not in state.ports:
            return found
        answered = threading.Event()
        # Left behind when Kafka hangs, and with its consumer, which takes its time to close.
        threading.Thread(target=self._read, args=(state, found, answered), daemon=True).start()
        answered.wait(_ASK_SECONDS)
        return list(dict.fromkeys(reversed(found)))

    @staticmethod
    def _read(state: StackState, found: list[str], answered: threading.Event) -> None:
        from confluent_kafka import KafkaException

        from fraudctl.pipeline.reader import Reader, properties
        from fraudctl.services.reading import batches
        from fraudctl.target import From, Range

        connection = {
            **kafka.client(bootstrap_servers(state.ports)),
            # librdkafka keeps to this pause before its first connection to a broker too: half of the time there is.
            "reconnect.backoff.ms": 0,
            "reconnect.backoff.max.ms": 0,
        }
        wanted = Range(From.LAST, count=_FLAGS, follow=False)
        with suppress(KafkaException):
            for batch in batches(Reader(kafka.open_consumer(properties(connection))), topics.FLAGGED.name, wanted):
                found += [one.key.decode() for one in batch.records if one.key is not None and one.key.isdigit()]
            answered.set()
