"""The pipeline's topics: names, partitions and configuration, the same on both targets."""

from dataclasses import dataclass, field
from typing import Final

PARTITIONS: Final = 4
_DAY_MS: Final = 24 * 60 * 60 * 1000
_LARGE_MESSAGE_BYTES: Final = 2 * 1024 * 1024
_INPUT: Final = {
    # The clock of detection is the broker's, out of a producer's hands.
    "message.timestamp.type": "LogAppendTime",
    # The broker's limit on messages is on bytes as stored. Compressed, a gigabyte could lie within it, which the
    # application would have to read and, if it is malformed, to pass on.
    "compression.type": "uncompressed",
}


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `alias` is its name on the command line; `local_config` comes on top of `config` on a laptop.

    A `retention.bytes` there is what holds where nobody knows the free space (`fraudctl.local.kafka.topics`).
    """

    alias: str
    name: str
    config: dict[str, str]
    local_config: dict[str, str] = field(default_factory=dict)


TRANSACTIONS: Final = Topic(
    alias="transactions",
    name="demo_transactions",
    config={**_INPUT, "retention.ms": str(7 * _DAY_MS)},
    local_config={"retention.bytes": str(512 * 1024 * 1024)},
)
# Flag events are state, so they are kept for ever.
FLAGGED: Final = Topic(
    alias="flagged",
    name="flagged_accounts",
    config={**_INPUT, "retention.ms": "-1"},
)
PROCESSED: Final = Topic(
    alias="processed",
    name="processed_topic",
    config={"retention.ms": str(30 * _DAY_MS), "max.message.bytes": str(_LARGE_MESSAGE_BYTES)},
)
DEAD_LETTERS: Final = Topic(
    alias="dead-letters",
    name="dead_letters",
    config={"retention.ms": str(14 * _DAY_MS), "max.message.bytes": str(_LARGE_MESSAGE_BYTES)},
)
ALL: Final = (TRANSACTIONS, FLAGGED, PROCESSED, DEAD_LETTERS)


def find(name: str) -> Topic | None:
    """Find a topic by its alias or its full name; None when there is no such topic."""
    return next((topic for topic in ALL if name in {topic.alias, topic.name}), None)
