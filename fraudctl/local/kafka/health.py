"""What `status` says of the records themselves: those that are held back, and those that are lost."""

from typing import Final

from fraudctl.clock import Clock
from fraudctl.local.kafka.admin import KafkaAdmin
from fraudctl.local.kafka.unread import Ledger
from fraudctl.pipeline import topics
from fraudctl.pipeline.text import iso
from fraudctl.tables import plural
from fraudctl.target import Component, Health

TRANSACTIONS: Final = "transactions"
_LONG_MS: Final = 10_000
_SHOWN: Final = 3


def held_back(admin: KafkaAdmin, clock: Clock = Clock()) -> list[Component]:  # noqa: B008 - frozen
    """Return a component when open Kafka transactions hold records back; short ones are nobody's trouble.

    When Kafka does not answer there is none: that is said by another component.
    """
    from confluent_kafka import KafkaException

    try:
        held = admin.open_transactions(topic.name for topic in topics.ALL)
    except KafkaException:
        return []
    long = [item for item in held if item.since is not None and clock.now() * 1000 - item.since > _LONG_MS]
    if not long:
        return []
    texts = [
        f"{plural(item.records, 'record')} of {item.topic}/{item.partition} since {iso(item.since)}" for item in long
    ]
    why = "they are read when its producer commits or aborts, or its transaction.timeout.ms is over"
    return [
        Component(
            name=TRANSACTIONS,
            health=Health.UNHEALTHY,
            detail=f"an open Kafka transaction holds back {', '.join(texts)}; {why}",
        )
    ]


def lost(ledger: Ledger) -> list[Component]:
    """Return a component for what somebody accepted as lost, for as long as the stack's data is kept."""
    gaps = ledger.gaps()
    if not gaps:
        return []
    count = sum(gap.end - gap.first for gap in gaps)
    newest = ", ".join(str(gap) for gap in gaps[-_SHOWN:])
    detail = f"{count:,} were deleted unread and accepted as lost, the last: {newest}; all: {ledger.path}"
    return [Component(name="lost records", health=Health.HEALTHY, detail=detail)]
