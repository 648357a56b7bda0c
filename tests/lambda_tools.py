"""What the tests of the Lambda functions and of their runner share."""

import ctypes
import importlib.util
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar

import confluent_kafka
from confluent_kafka import Message, Producer, TopicPartition

from fraudctl.pipeline import kafka
from fraudctl.pipeline.records import FlaggedTransaction

T = TypeVar("T")

LAMBDAS = Path(__file__).parents[1] / "lambdas"


def load(folder: str) -> ModuleType:
    """Load a handler by its path, as the runner does."""
    spec = importlib.util.spec_from_file_location(f"lambdas.{folder}.handler", LAMBDAS / folder / "handler.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def mock_brokers() -> Iterator[str]:
    """Run librdkafka's mock broker and give its address."""
    host = Producer(kafka.client("mock") | {"test.mock.num.brokers": 1})
    yield ",".join(f"{broker.host}:{broker.port}" for broker in host.list_topics(timeout=10).brokers.values())
    host.close()


def topics(brokers: str) -> set[str]:
    """Give the names of the topics that the brokers have."""
    with Producer(kafka.client(brokers)) as client:
        return set(client.list_topics(timeout=10).topics)


def read(brokers: str, topic: str, number: int) -> list[Message]:
    """Read this many records of a topic from its beginning, and see that no more come."""
    consumer = kafka.open_consumer(kafka.consumer(kafka.client(brokers), "test") | {"enable.partition.eof": True})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    found: list[Message] = []
    ended = 0
    while ended < len(partitions):
        message = consumer.poll(30)
        assert message is not None, f"{len(found)} of {number} records"
        if message.error():
            ended += 1
        else:
            found.append(message)
    consumer.close()
    assert len(found) == number
    return found


def send_with_header_name(brokers: str, topic: str, name: bytes, value: bytes) -> None:
    """Write a record with a header of any name, as clients in C can; Python's takes only text."""
    (library,) = Path(confluent_kafka.__file__).parents[1].glob("confluent_kafka.libs/librdkafka*")
    librdkafka = ctypes.CDLL(str(library))
    for function in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(librdkafka, function).restype = ctypes.c_void_p
    conf, headers = ctypes.c_void_p(librdkafka.rd_kafka_conf_new()), ctypes.c_void_p(librdkafka.rd_kafka_headers_new(1))
    error = ctypes.create_string_buffer(500)
    assert librdkafka.rd_kafka_conf_set(conf, b"bootstrap.servers", brokers.encode(), error, 500) == 0, error.value
    client = ctypes.c_void_p(librdkafka.rd_kafka_new(0, conf, error, 500))
    librdkafka.rd_kafka_header_add(headers, name, ctypes.c_ssize_t(len(name)), b"v", ctypes.c_ssize_t(1))
    # Its variable arguments: RD_KAFKA_VTYPE_TOPIC, _VALUE, _HEADERS and _END.
    arguments = [1, topic.encode(), 4, value, ctypes.c_size_t(len(value)), 10, headers, 0]
    assert librdkafka.rd_kafka_producev(client, *arguments) == 0
    assert librdkafka.rd_kafka_flush(client, 10_000) == 0
    librdkafka.rd_kafka_destroy(client)


def context(remaining_s: float = 60.0) -> SimpleNamespace:
    """Give Lambda's context object with this much time left, for ever."""
    return SimpleNamespace(
        aws_request_id="request-1",
        invoked_function_arn="arn:aws:lambda:::function:writer",
        function_version="$LATEST",
        get_remaining_time_in_millis=lambda: round(remaining_s * 1000),
    )


def detection(number: int, **changes: Any) -> bytes:
    """Give a detection's bytes; the number makes its id and its offset."""
    fields: dict[str, Any] = {
        "transaction_id": f"t-{number}",
        "account_id": 1,
        "customer_name": "Ada",
        "transaction_date": "2026-11-24T10:15:30.123Z",
        "merchant_type": "Grocery",
        "transaction_type": "Purchase",
        "amount": Decimal("12.50"),
        "flag_date": "2026-11-24T10:00:00.000Z",
        "flag_reason": None,
        "flagged_by": "ada",
        "transaction_partition": 0,
        "transaction_offset": number,
        "flag_partition": 0,
        "flag_offset": 0,
    }
    return FlaggedTransaction(**fields | changes).to_json()


def msk(*values: bytes | None, partition: int = 0, first: int = 0) -> dict[str, Any]:
    """Give the MSK event of records with these values, written by hand as AWS documents it."""
    entries = [
        {
            "topic": "processed_topic",
            "partition": partition,
            "offset": offset,
            "timestamp": 1_795_515_331_000 + offset,
            "timestampType": "CREATE_TIME",
            "key": "MQ==",
            **({} if value is None else {"value": b64encode(value).decode()}),
            "headers": [],
        }
        for offset, value in enumerate(values, first)
    ]
    return {"eventSource": "aws:kafka", "records": {f"processed_topic-{partition}": entries}}


def wait_for(condition: Callable[[], T], what: str, seconds: float = 30.0, *, pause: float = 0.01) -> T:
    """Wait until the condition, asked every `pause` seconds, gives something true, and give that."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}"
        time.sleep(pause)
    return value
