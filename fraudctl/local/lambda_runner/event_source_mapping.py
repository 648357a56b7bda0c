"""The MSK event source mapping: a consumer group's member that feeds a topic to a function.

Offsets are committed only for what the function has processed, or what lies in the on-failure destination.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fraudctl.local.lambda_runner.batches import Delivered, split
from fraudctl.local.lambda_runner.delivery import Delivery, Stopped
from fraudctl.local.lambda_runner.functions import Functions
from fraudctl.local.lambda_runner.on_failure import OnFailure
from fraudctl.local.lambda_runner.spec import EventSourceMappingSpec
from fraudctl.pipeline import kafka

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

_POLL_S: Final = 0.25
_ASK_S: Final = 1.0
_GROUP: Final = {
    # A killed runner's place in the group is free this soon; our Kafka allows sessions shorter than the usual 6 s.
    "session.timeout.ms": 3_000,
    "heartbeat.interval.ms": 500,
    # While a batch is tried again nothing is polled; the heartbeats say that this member lives.
    "max.poll.interval.ms": 86_400_000,
    # A topic that is made after the start is found this soon; the default takes five minutes.
    "topic.metadata.refresh.interval.ms": 5_000,
}

log = logging.getLogger(__name__)


class EventSourceMapping:
    """The mapping's thread. Only the thread touches the consumer; `status` reads what it wrote down."""

    def __init__(
        self,
        spec: EventSourceMappingSpec,
        bootstrap_servers: str,
        functions: Functions,
        *,
        opener: "Callable[[kafka.Properties], Consumer]" = kafka.open_consumer,
    ) -> None:
        """Store what is needed; nothing is opened before `start_thread`."""
        self._spec, self._opener = spec, opener
        self._connection = kafka.client(bootstrap_servers)
        self._stopping = threading.Event()
        self._on_failure = OnFailure(Path(spec.on_failure), spec.function)
        self._delivery = Delivery(spec, bootstrap_servers, functions, self._on_failure, self._stopping.wait)
        self._state = "Creating"
        self._doubt = False
        self._down = False
        self._missing = False
        self._fatal = False
        self._fresh = False
        self._position: dict[int, int] = {}
        self._end: dict[int, int] = {}
        self._unsaved: dict[int, int] = {}
        self._thread = threading.Thread(target=self._run, name="event-source-mapping", daemon=True)

    def start_thread(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Stop taking records; the thread ends when the running invocation has."""
        self._state = "Disabling"
        self._stopping.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; return whether it has ended: offsets committed, place in the group given up."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def status(self) -> dict[str, Any]:
        """Return its state, where it reads, and what became of the records since the start."""
        position, end = dict(self._position), dict(self._end)
        partitions = [
            {"partition": number, "position": at, "end": end.get(number), "lag": max(0, end.get(number, at) - at)}
            for number, at in sorted(position.items())
        ]
        counts = self._delivery.counts
        return {
            "state": self._state,
            "function": self._spec.function,
            "topic": self._spec.topic,
            "group": self._spec.group,
            "last_result": self._problem() or self._delivery.last_result,
            "partitions": partitions,
            "lag": sum(partition["lag"] or 0 for partition in partitions) if partitions else None,
            "received": counts.received,
            "processed": counts.processed,
            "retried": counts.retried,
            "failed": counts.failed,
            "batches": counts.batches,
            **self._on_failure.status(),
        }

    def _problem(self) -> str | None:
        if self._down:
            return "PROBLEM: Kafka does not answer"
        return f"PROBLEM: there is no topic {self._spec.topic}" if self._missing else None

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._consume()
            except Stopped:
                break
            except Exception:
                # Nothing uncommitted is lost by beginning anew.
                log.exception("the event source mapping starts again")
                self._stopping.wait(_ASK_S)
        self._state = "Disabled"

    def _consume(self) -> None:
        self._fatal = False
        consumer = self._opener(
            kafka.consumer(self._connection, self._spec.group) | _GROUP | {"error_cb": self._on_error}
        )
        try:
            consumer.subscribe(
                [self._spec.topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while not self._stopping.is_set() and not self._fatal:
                self._step(consumer)
        finally:
            self._position.clear()
            consumer.close()

    def _step(self, consumer: "Consumer") -> None:
        first = consumer.consume(1, _POLL_S)
        more = self._spec.batch_size - 1
        rest = consumer.consume(more, self._spec.window_ms / 1000) if first and more else []
        records = self._good([*first, *rest])
        if self._fresh:
            self._look_up(consumer)
        self._note_ends(consumer)
        if records:
            self._state, self._missing = "Enabled", False
        for part in split(records):
            self._delivery.deliver(part)
            self._done(consumer, part)
        if not records and self._unsaved:
            self._save(consumer)
        if self._doubt or self._down:
            self._ask(consumer)

    def _good(self, messages: "Sequence[Message]") -> list[Delivered]:
        records = []
        for message in messages:
            error = message.error()
            if error is None:
                records.append(Delivered.of(message))
            else:
                self._on_error(error)
        return records

    def _done(self, consumer: "Consumer", records: Sequence[Delivered]) -> None:
        for record in records:
            self._position[record.partition] = self._unsaved[record.partition] = record.offset + 1
        self._save(consumer)

    def _save(self, consumer: "Consumer") -> None:
        from confluent_kafka import KafkaException

        try:
            consumer.commit(offsets=self._offsets(self._unsaved), asynchronous=False)
        except KafkaException as error:
            # The records are processed; at worst they come again, and the first write wins.
            log.warning("offsets not committed yet: %s", _text(error))
        else:
            self._unsaved.clear()

    def _offsets(self, offsets: dict[int, int]) -> "list[TopicPartition]":
        from confluent_kafka import TopicPartition

        return [TopicPartition(self._spec.topic, partition, offset) for partition, offset in offsets.items()]

    def _on_assign(self, _consumer: "Consumer", partitions: "list[TopicPartition]") -> None:
        log.info("reading %s, partitions %s", self._spec.topic, [partition.partition for partition in partitions])
        self._state, self._fresh, self._missing = "Enabled", True, False

    def _on_revoke(self, consumer: "Consumer", partitions: "list[TopicPartition]") -> None:
        if self._unsaved:
            self._save(consumer)
        self._on_lost(consumer, partitions)

    def _on_lost(self, _consumer: "Consumer", _partitions: "list[TopicPartition]") -> None:
        # Another member may have read on: what was not committed by now must not be.
        self._position.clear()
        self._unsaved.clear()

    def _look_up(self, consumer: "Consumer") -> None:
        """Learn the position of each partition at the start, which nothing else tells before the first record."""
        from confluent_kafka import KafkaException

        try:
            for place in consumer.committed(consumer.assignment(), timeout=_ASK_S):
                lowest, end = consumer.get_watermark_offsets(place, timeout=_ASK_S)
                self._position.setdefault(place.partition, place.offset if place.offset >= 0 else lowest)
                self._end[place.partition] = end
        except KafkaException as error:
            log.debug("positions not known yet: %s", _text(error))
        else:
            self._fresh = False

    def _note_ends(self, consumer: "Consumer") -> None:
        for place in consumer.assignment():
            known = consumer.get_watermark_offsets(place, cached=True)
            if known and known[1] >= 0:
                self._end[place.partition] = known[1]

    def _on_error(self, error: "KafkaError") -> None:
        if error.fatal():
            log.error("the consumer is lost and is opened again: %s", error.str())
            self._fatal = True
        elif error.code() == error._ALL_BROKERS_DOWN:  # noqa: SLF001 - how librdkafka names it
            self._doubt = True
        elif error.code() == error.UNKNOWN_TOPIC_OR_PART and not self._missing:
            log.warning("there is no topic %s; waiting", self._spec.topic)
            self._missing = True
        else:
            log.debug("%s", error.str())

    def _ask(self, consumer: "Consumer") -> None:
        """Ask Kafka whether it answers, and say when that changes; librdkafka's own reports may be old news."""
        from confluent_kafka import KafkaException

        try:
            consumer.list_topics(self._spec.topic, timeout=_ASK_S)
        except KafkaException:
            down = True
        else:
            down = False
        if down and not self._down:
            log.warning("Kafka does not answer at %s; waiting", self._connection["bootstrap.servers"])
        if self._down and not down:
            log.info("Kafka answers again")
        self._down, self._doubt = down, False


def _text(error: "KafkaException") -> str:
    return str(error.args[0].str())
