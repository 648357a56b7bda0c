"""TopicWriter: writes records that the command line sends it, and returns how many the brokers confirmed."""

import os
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, Protocol

from fraudctl.pipeline import kafka, topics, wire

# Of the time that is left, what it takes to answer.
ANSWER_MS: Final = 2_000
SHORTEST_FLUSH_S: Final = 0.5
MOST_REASONS: Final = 10


class Context(Protocol):
    """The part of Lambda's context object that the function uses."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the time-out."""


@cache
def producer() -> kafka.KeptProducer:
    """Return the producer that all invocations share."""
    return kafka.KeptProducer(kafka.producer(kafka.connection(os.environ, "TOPIC_WRITER")))


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Write the records of ``{"topic": "…", "records": BLOCK}`` in their order; raises ValueError for anything else.

    Returns how many were confirmed, how many not, how many of those may still be written, and the first reasons.
    """
    name = event.get("topic")
    if not isinstance(name, str) or name not in {topic.name for topic in topics.ALL}:
        raise ValueError(f"topic {name!r} is none of {', '.join(topic.name for topic in topics.ALL)}")
    records = [
        kafka.Outgoing(name, key, value, tuple(pairs))
        for key, value, pairs in wire.unpacked_contents(event.get("records"))
    ]
    kept = producer()
    delivery = kafka.deliver(
        kept.get(),
        records,
        timeout_s=lambda: max((context.get_remaining_time_in_millis() - ANSWER_MS) / 1000, SHORTEST_FLUSH_S),
        refusals=kept.refusals,
    )
    reasons = list(dict.fromkeys(failed.reason for failed in delivery.failed))[:MOST_REASONS]
    unanswered = sum(failed.unanswered for failed in delivery.failed)
    return {
        "delivered": delivery.delivered,
        "failed": len(delivery.failed),
        "unanswered": unanswered,
        "reasons": reasons,
    }
