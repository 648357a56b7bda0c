"""The MSK event source mapping: a consumer group's member that feeds a topic to a function.

Offsets are committed only for what the function has processed, or what lies in the on-failure destination. Nothing is
skipped in silence: where offsets are committed, reading begins there or, if records after them were deleted unread, not
at all until somebody accepts that loss; see `offsets`. A topic that was deleted and made again is read from its
beginning, by a new consumer, since librdkafka may hold on to what it knows of the old one.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fraudctl.local.lambda_runner.batches import Delivered, split
from fraudctl.local.lambda_runner.delivery import Delivery, Stopped
from fraudctl.local.lambda_runner.functions import Functions
from fraudctl.local.lambda_runner.offsets import NOTHING_COMMITTED, Loss, Offsets, Partition, TopicIds
from fraudctl.local.lambda_runner.on_failure import OnFailure
from fraudctl.local.lambda_runner.spec import EventSourceMappingSpec
from fraudctl.pipeline import kafka

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

_POLL_S: Final = 0.25
_ASK_S: Final = 1.0
_LOOK_EVERY_S: Final = 2.0  # at whether the topic is still the same
_GROUP: Final = {
    # Where to begin is decided here; what is out of range afterwards is an error, not a reason to skip records.
    "auto.offset.reset": "error",
    # A killed runner's place in the group is free this soon; our Kafka allows sessions shorter than the usual 6 s.
    "session.timeout.ms": 3_000,
    "heartbeat.interval.ms": 500,
    # While a batch is tried again nothing is polled; the heartbeats say that this member lives.
    "max.poll.interval.ms": 86_400_000,
    # What waits for the function takes this much memory; the default is 64 MB.
    "queued.max.messages.kbytes": 16_384,
    # What changes about the topic is known this soon; the default takes five minutes.
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
        topic_ids: Callable[[str], str | None] | None = None,
    ) -> None:
        """Store what is needed; nothing is opened before `start_thread`.

        `topic_ids` returns the id of a topic, None when there is none, or raises KafkaException.
        """
        self._spec, self._opener = spec, opener
        self._connection = kafka.client(bootstrap_servers)
        self._topic_ids = topic_ids or TopicIds(self._connection, _ASK_S)
        self._offsets = Offsets(Path(spec.state_file), spec.topic, time.time)
        self._topic_id: str | None = None
        self._losses: tuple[Loss, ...] = ()
        self._look_at = 0.0
        self._stopping = threading.Event()
        self._on_failure = OnFailure(Path(spec.on_failure), spec.function)
        self._delivery = Delivery(spec, bootstrap_servers, functions, self._on_failure, self._stopping.wait)
        self._state = "Creating"
        self._doubt = False
        self._down = False
        self._missing = False
        self._reopen = False
        self._failed: Exception | None = None
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

    def accept_loss(self) -> dict[str, Any]:
        """Record that the records named in `status` are lost, and let reading go on after them.

        Returns the losses as recorded; without any the list is empty. Raises OSError when that cannot be recorded.
        """
        found = self._offsets.accept(self._losses)
        if found:
            self._losses, self._reopen = (), True
            log.warning("accepted that records are lost: %s", found)
        return {"accepted": found}

    def status(self) -> dict[str, Any]:
        """Return its state, where it reads, what is lost, and what became of the records since the start.

        A loss has `from`, the first offset that is gone, and `to`, the first that is not; `accepted_at` is in epoch
        milliseconds.
        """
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
            "losses": [loss.to_json() for loss in self._losses],
            "accepted_losses": self._offsets.accepted(),
            **self._on_failure.status(),
        }

    def _problem(self) -> str | None:
        if self._thread.ident is not None and not self._thread.is_alive() and not self._stopping.is_set():
            return "PROBLEM: it has ended by itself; see `fraudctl logs lambda`"
        if self._down:
            return "PROBLEM: Kafka does not answer"
        if self._missing:
            return f"PROBLEM: there is no topic {self._spec.topic}"
        if losses := self._losses:
            places = ", ".join(str(loss) for loss in losses)
            return f"PROBLEM: records of {self._spec.topic} were deleted unread: {places}"
        return None

    def _run(self) -> None:
        from confluent_kafka import KafkaException

        while not self._stopping.is_set():
            try:
                self._consume()
            except Stopped:
                break
            except KafkaException as error:
                log.warning("the event source mapping starts again: %s", _text(error))
                self._stopping.wait(_ASK_S)
            except Exception:
                # Nothing uncommitted is lost by beginning anew.
                log.exception("the event source mapping starts again")
                self._stopping.wait(_ASK_S)
        self._state = "Disabled"

    def _consume(self) -> None:
        self._reopen, self._failed = False, None
        while (topic_id := self._look()) is None:
            if self._stopping.wait(_ASK_S):
                return
        self._topic_id = topic_id
        consumer = self._opener(
            kafka.consumer(self._connection, self._spec.group) | _GROUP | {"error_cb": self._on_error}
        )
        try:
            consumer.subscribe(
                [self._spec.topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while not self._stopping.is_set() and not self._reopen:
                self._step(consumer)
        finally:
            consumer.close()
            self._position.clear()

    def _step(self, consumer: "Consumer") -> None:
        first = consumer.consume(1, _POLL_S)
        more = self._spec.batch_size - 1
        rest = consumer.consume(more, self._spec.window_ms / 1000) if first and more else []
        if self._failed is not None:
            raise self._failed
        records = self._good([*first, *rest])
        self._note_ends(consumer)
        for part in split(records):
            self._delivery.deliver(part)
            self._done(consumer, part)
        if not records and self._unsaved:
            self._save(consumer)
        if self._doubt or self._down or time.monotonic() >= self._look_at:
            found = self._look()
            if found != self._topic_id and not self._down:
                log.warning("topic %s %s", self._spec.topic, "was deleted" if found is None else "was made again")
                self._reopen = True

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
            consumer.commit(offsets=self._places(self._unsaved), asynchronous=False)
        except KafkaException as error:
            # The records are processed; at worst they come again, and the first write wins.
            log.warning("offsets not committed yet: %s", _text(error))
        else:
            self._unsaved.clear()

    def _places(self, offsets: dict[int, int]) -> "list[TopicPartition]":
        from confluent_kafka import TopicPartition

        return [TopicPartition(self._spec.topic, partition, offset) for partition, offset in offsets.items()]

    def _on_assign(self, consumer: "Consumer", partitions: "list[TopicPartition]") -> None:
        """Begin to read; keeps what goes wrong for `_step` to raise.

        Out of a callback confluent_kafka 2.16 raises a KafkaException's KafkaError, which is no exception at all: no
        `except` but a bare one catches it, and it would end the thread.
        """
        try:
            self._begin(consumer, partitions)
        except Exception as error:  # noqa: BLE001 - raised again where it can be caught
            self._failed = error

    def _begin(self, consumer: "Consumer", partitions: "list[TopicPartition]") -> None:
        """Begin each partition where `Offsets` says; raises KafkaException, after which everything begins anew."""
        assert self._topic_id is not None  # noqa: S101 - the consumer is opened for it
        starts: dict[int, int] = {}
        moved: dict[int, int] = {}
        losses = []
        for place in consumer.committed(partitions, timeout=_ASK_S):
            low, high = consumer.get_watermark_offsets(place, timeout=_ASK_S)
            committed = place.offset if place.offset >= 0 else NOTHING_COMMITTED
            start = self._offsets.start(Partition(place.partition, committed, low, high), self._topic_id)
            self._position[place.partition] = start.first if isinstance(start, Loss) else start
            self._end[place.partition] = high
            if isinstance(start, Loss):
                losses.append(start)
                log.error("records of %s were deleted unread: %s", self._spec.topic, start)
                continue
            starts[place.partition] = start
            if committed not in {start, NOTHING_COMMITTED}:
                log.warning("%s-%d is read from offset %d, not %d", self._spec.topic, place.partition, start, committed)
                moved[place.partition] = start
        if moved:  # before the file says that what is committed is this topic's
            consumer.commit(offsets=self._places(moved), asynchronous=False)
        self._offsets.belong(self._topic_id)
        consumer.assign(self._places(starts))
        log.info("reading %s, partitions %s", self._spec.topic, sorted(starts))
        self._state, self._losses = "Enabled", tuple(losses)

    def _on_revoke(self, consumer: "Consumer", partitions: "list[TopicPartition]") -> None:
        if self._unsaved:
            self._save(consumer)
        self._on_lost(consumer, partitions)

    def _on_lost(self, _consumer: "Consumer", _partitions: "list[TopicPartition]") -> None:
        # Another member may have read on: what was not committed by now must not be.
        self._position.clear()
        self._unsaved.clear()

    def _note_ends(self, consumer: "Consumer") -> None:
        for place in consumer.assignment():
            known = consumer.get_watermark_offsets(place, cached=True)
            if known and known[1] >= 0:
                self._end[place.partition] = known[1]

    def _on_error(self, error: "KafkaError") -> None:
        if error.fatal():
            log.error("the consumer is lost and is opened again: %s", error.str())
            self._reopen = True
        elif error.code() in {error._AUTO_OFFSET_RESET, error.OFFSET_OUT_OF_RANGE}:  # noqa: SLF001 - how librdkafka names it
            log.warning("the consumer is opened again: %s", error.str())
            self._reopen = True
        elif error.code() in {error._ALL_BROKERS_DOWN, error.UNKNOWN_TOPIC_OR_PART, error.UNKNOWN_TOPIC_ID}:  # noqa: SLF001
            self._doubt = True
        else:
            log.debug("%s", error.str())

    def _look(self) -> str | None:
        """Return the topic's id, None if there is no topic or no answer, and say when that changes.

        librdkafka's own reports may be old news.
        """
        from confluent_kafka import KafkaException

        found = None
        try:
            found = self._topic_ids(self._spec.topic)
        except KafkaException:
            down, missing = True, self._missing
        else:
            down, missing = False, found is None
        if down and not self._down:
            log.warning("Kafka does not answer at %s; waiting", self._connection["bootstrap.servers"])
        if self._down and not down:
            log.info("Kafka answers again")
        if missing and not self._missing:
            log.warning("there is no topic %s; waiting", self._spec.topic)
        self._down, self._missing, self._doubt = down, missing, False
        self._look_at = time.monotonic() + _LOOK_EVERY_S
        return found


def _text(error: "KafkaException") -> str:
    return str(error.args[0].str())
