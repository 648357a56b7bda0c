"""A handler that does with a group what the pollers of the event source mapping do: join, read, commit."""

import os
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from fraudctl.pipeline import kafka

PARTITIONS = 4


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Read `number` records of `topic` in `group` and commit; return them, or what the brokers say."""
    properties = kafka.consumer(
        kafka.client(os.environ["BROKERS"], security="iam", region=os.environ["AWS_REGION"]), event["group"]
    )
    consumer = kafka.open_consumer(properties)
    found: list[str] = []
    try:
        consumer.subscribe([event["topic"]])
        for _ in range(int(event["seconds"] * 10)):
            message = consumer.poll(0.1)
            if message is not None:
                if error := message.error():
                    return {"error": error.str()}
                found.append((message.value() or b"").decode())
                consumer.commit(message=message, asynchronous=False)
            if len(found) == event["number"] or properties["error_cb"].reason():
                break
        places = consumer.committed([TopicPartition(event["topic"], p) for p in range(PARTITIONS)], timeout=10)
        committed = sum(place.offset for place in places if place.offset > 0)
    except KafkaException as error:
        return {"error": properties["error_cb"].reason() or error.args[0].str()}
    finally:
        consumer.close()
    return {"values": found, "committed": committed, "refused": properties["error_cb"].reason()}
