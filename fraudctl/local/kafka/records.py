"""Reading and writing topics with Kafka's own protocol, in this process."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from fraudctl.pipeline import kafka, reader
from fraudctl.pipeline.reader import Batch, Reader, Record
from fraudctl.services import reading
from fraudctl.services.kafka_errors import is_missing, missing, translated
from fraudctl.target import Outgoing, Range, Report

_ANSWER_SECONDS: Final = 5.0
_REASONS: Final = 10


class LocalRecords:
    """Opens a client per call with the properties of `fraudctl.pipeline.kafka.client`."""

    def __init__(self, connection: Callable[[], Mapping[str, Any]]) -> None:
        """Store what gives the properties; no I/O."""
        self._connection = connection

    def read(self, topic: str, wanted: Range) -> Iterator[Record]:
        """Yield records in the order they are read; an endless iterator when following.

        Raises `NotDeployed` for a topic that is not there, `Unreachable` when Kafka does not answer: at the start, or
        when not following.
        """
        for batch in self.batches(topic, wanted):
            yield from batch.records

    def batches(self, topic: str, wanted: Range) -> Iterator[Batch]:
        """Yield what `read` does as it arrives; raises the same."""
        from confluent_kafka import KafkaException

        with translated(f"topic {topic}"):
            consumer = kafka.open_consumer(reader.properties(self._connection()))
            try:
                yield from reading.batches(Reader(consumer), topic, wanted)
            except KafkaException as error:
                if not is_missing(error):
                    raise
                raise missing(f"topic {topic}", consumer.list_topics(timeout=_ANSWER_SECONDS).topics) from error
            finally:
                consumer.close()

    def write(self, topic: str, records: Iterable[Outgoing]) -> Report:
        """Write records and check every delivery report; raises as `read` before the first is written."""
        with translated(f"topic {topic}"):
            producer = kafka.open_producer(kafka.producer(self._connection()))
            found = producer.list_topics(topic, timeout=_ANSWER_SECONDS).topics[topic]
            if found.error is not None:
                from confluent_kafka import KafkaException

                raise KafkaException(found.error)
            sent = (kafka.Outgoing(topic, record.key, record.value, record.headers) for record in records)
            done = kafka.deliver(producer, sent)
        reasons = tuple(dict.fromkeys(failed.reason for failed in done.failed))
        return Report(done.delivered, len(done.failed), reasons[:_REASONS])

    def generate(self, count: int) -> None:
        """Return None: this process makes sample transactions itself."""
