"""Reading and writing topics from outside the network, by the functions TopicReader and TopicWriter."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from fraudctl.aws.resources.functions import AwsFunctions
from fraudctl.aws.resources.reader import TopicReader
from fraudctl.clock import Clock
from fraudctl.errors import FraudctlError
from fraudctl.pipeline import wire
from fraudctl.pipeline.reader import Batch, Record
from fraudctl.services import reading
from fraudctl.services.kafka_errors import translated
from fraudctl.target import Outgoing, Range, Report

_WRITER: Final = "TopicWriter"
_MOST_AT_ONCE: Final = 20_000
_GENERATOR: Final = "SampleTransactionGenerator"
# Some seconds of work, after which there is something to show, and Ctrl-C is looked at.
_MADE_AT_ONCE: Final = 20_000
# Records that come slowly, at a given rate, are not held back for a full batch.
_LONGEST_HELD_SECONDS: Final = 0.5
_REASONS: Final = 10


class AwsRecords:
    """Asks `reader`, and writes by `functions`, which never send a batch twice by themselves."""

    def __init__(self, reader: TopicReader, functions: AwsFunctions, clock: Clock) -> None:
        """Store the collaborators; no I/O."""
        self._reader, self._functions, self._clock = reader, functions, clock

    def read(self, topic: str, wanted: Range) -> Iterator[Record]:
        """Yield records in the order they are read; an endless iterator when following.

        Raises `NotDeployed` for a topic, or a function, that is not there, and `Unreachable` when nobody answers: at
        the start, or when not following.
        """
        for batch in self.batches(topic, wanted):
            yield from batch.records

    def batches(self, topic: str, wanted: Range) -> Iterator[Batch]:
        """Yield what `read` does as it arrives; raises the same."""
        with translated(f"topic {topic}"):
            yield from reading.batches(self._reader, topic, wanted, self._clock)

    def write(self, topic: str, records: Iterable[Outgoing]) -> Report:
        """Write records in batches, one after the other, each counted as the brokers confirm it.

        A batch whose end is not known stops the write: the report then says why, and counts the batches before it.
        Raises what invoking does when that is the first.
        """
        delivered = failed = 0
        reasons: dict[str, None] = {}
        for batch in self._filled(records):
            try:
                done = self._write(topic, batch)
            except (FraudctlError, KeyboardInterrupt) as error:
                if not delivered and not failed:
                    raise
                return Report(delivered, failed, tuple(reasons)[:_REASONS], stopped=str(error) or "interrupted")
            delivered += done["delivered"]
            failed += done["failed"]
            reasons |= dict.fromkeys(done["reasons"])
        return Report(delivered, failed, tuple(reasons)[:_REASONS])

    def generate(self, count: int) -> Iterator[Report]:
        """Have SampleTransactionGenerator make so many, in parts; raises what invoking does when that is the first."""
        made = 0
        while made < count:
            try:
                sent = int(self._functions.invoke(_GENERATOR, {"count": min(count - made, _MADE_AT_ONCE)})["sent"])
            except FraudctlError as error:
                if not made:
                    raise
                yield Report(0, stopped=str(error))
                return
            if not sent:
                yield Report(0, stopped=f"{_GENERATOR}: none was written within its time")
                return
            made += sent
            yield Report(sent)

    def _write(self, topic: str, batch: list[Outgoing]) -> dict[str, Any]:
        block = wire.packed_contents((record.key, record.value, record.headers) for record in batch)
        return self._functions.invoke(_WRITER, {"topic": topic, "records": block})

    def _filled(self, records: Iterable[Outgoing]) -> Iterator[list[Outgoing]]:
        """Yield the records in batches that Lambda takes, and at a slow rate as they come."""
        batch: list[Outgoing] = []
        taken, sent = 0, self._clock.monotonic() - _LONGEST_HELD_SECONDS
        for record in records:
            size = wire.size(record.key, record.value, record.headers)
            if batch and (taken + size > wire.ROOM_BYTES or len(batch) == _MOST_AT_ONCE):
                yield batch
                batch, taken, sent = [], 0, self._clock.monotonic()
            batch.append(record)
            taken += size
            if self._clock.monotonic() - sent >= _LONGEST_HELD_SECONDS:
                yield batch
                batch, taken, sent = [], 0, self._clock.monotonic()
        if batch:
            yield batch
