"""A handler that does what the pollers of the event source mapping do with a group: join, read, commit, leave."""

import os
from base64 import b64encode
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from fraudctl.pipeline import kafka

PARTITIONS = 4
CONSUMERS: dict[str, tuple[Consumer, kafka.Properties]] = {}


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Read up to `number` records of `topic` in `group` as Lambda's event, or what the brokers say.

    With `commit`, what was read before is committed first, and the answer says how much that is.
    """
    if event["group"] not in CONSUMERS:
        region = os.environ["AWS_REGION"]
        properties = kafka.consumer(kafka.client(os.environ["BROKERS"], security="iam", region=region), event["group"])
        CONSUMERS[event["group"]] = kafka.open_consumer(properties), properties
        CONSUMERS[event["group"]][0].subscribe([event["topic"]])
    consumer, properties = CONSUMERS[event["group"]]
    try:
        committed = _commit(consumer, event["topic"]) if event.get("commit") else None
        records: dict[str, list[dict[str, Any]]] = {}
        found = 0
        for _ in range(int(event["seconds"] * 10)):
            if found == event["number"] or (found and event.get("soon")) or properties["error_cb"].reason():
                break
            for message in consumer.consume(event["number"] - found, 0.1):
                if error := message.error():
                    return _gave_up(event["group"], error)
                records.setdefault(f"{message.topic()}-{message.partition()}", []).append(_record(message))
                found += 1
    except KafkaException as error:
        return _gave_up(event["group"], error.args[0])
    return {"event": {"eventSource": "aws:kafka", "records": records}, "number": found, "committed": committed}


def _gave_up(group: str, error: KafkaError) -> dict[str, Any]:
    consumer, properties = CONSUMERS.pop(group)
    consumer.close()
    return {"error": properties["error_cb"].reason() or error.str()}


def _commit(consumer: Consumer, topic: str) -> int:
    consumer.commit(asynchronous=False)
    places = consumer.committed([TopicPartition(topic, number) for number in range(PARTITIONS)], timeout=10)
    return sum(place.offset for place in places if place.offset > 0)


def _record(message: Message) -> dict[str, Any]:
    key, value = message.key(), message.value()
    headers = [{name: list(content or b"")} for name, content in kafka.headers(message)]
    return {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": message.timestamp()[1],
        "timestampType": "CREATE_TIME",
        **({} if key is None else {"key": b64encode(key).decode()}),
        **({} if value is None else {"value": b64encode(value).decode()}),
        "headers": headers,
    }
