"""How long until retention deletes records that a consumer has not read, at the rate of the last minute."""

from pathlib import Path
from typing import Final

_MINUTE_MS: Final = 60_000


def headroom_ms(*, kept_bytes: int, size_bytes: int, records: int, unread: int, last_minute: int) -> int | None:
    """Return the milliseconds until the oldest unread record of a partition is deleted; None while nothing is written.

    `kept_bytes` is the partition's ``retention.bytes``, `size_bytes` what its `records` take on disk, `unread` how many
    of them the consumer has not read, `last_minute` how many were written in the last minute.
    """
    if not (records and unread and last_minute):
        return None
    each = size_bytes / records
    left = max(0.0, kept_bytes - unread * each)
    return int(left / (last_minute * each) * _MINUTE_MS) if each else None


def partition_bytes(data: Path, topic: str, partition: int) -> int:
    """Return what a partition's records take in Kafka's data folder; 0 when it is not there."""
    total = 0
    for segment in (data / f"{topic}-{partition}").glob("*.log"):
        try:
            total += segment.stat().st_size
        except OSError:  # deleted meanwhile
            continue
    return total
