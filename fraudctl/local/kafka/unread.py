"""Records that were deleted before they were read: where a consumer goes on, compared with what Kafka still has."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from fraudctl.atomic import atomic_write

Place = tuple[str, int]  # topic and partition
ACCEPT: Final = "run `fraudctl flink start --accept-loss` to go on without them; they are recorded as lost"


class Broker(Protocol):
    """What is asked of Kafka; `KafkaAdmin` answers it."""

    def offsets(self, places: Iterable[Place], *, latest: bool) -> dict[Place, int]:
        """Return the latest (the next to be written) or the earliest offset of partitions."""

    def topic_ids(self, names: Iterable[str]) -> dict[str, str]:
        """Return the ids of those topics that exist."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets from `first` up to, not including, `end` that `reader`, a consumer group, did not read and never will."""

    reader: str
    topic: str
    topic_id: str
    partition: int
    first: int
    end: int

    def __str__(self) -> str:
        """Return it as people read it, with the last offset included."""
        offsets = f"offsets {self.first} to {self.end - 1}"
        return f"{self.end - self.first:,} records of {self.topic}/{self.partition} ({offsets})"


def listed(gaps: Iterable[Gap]) -> str:
    """Return the gaps as one sentence, without its end."""
    by_reader: dict[str, list[str]] = {}
    for gap in gaps:
        by_reader.setdefault(gap.reader, []).append(str(gap))
    parts = [f"{', '.join(texts)} were deleted before {reader} read them" for reader, texts in by_reader.items()]
    return "; ".join(parts)


class Ledger:
    """The gaps that somebody accepted, one JSON object a line, for as long as the stack's data is kept.

    The fields are reader, topic, topic_id, partition, from, to (the first offset that was left), records and when
    (epoch milliseconds).
    """

    def __init__(self, path: Path) -> None:
        """Store the file's path; no I/O."""
        self.path = path

    def gaps(self) -> list[Gap]:
        """Return the gaps in the order in which they were accepted; a line that is damaged is left out."""
        if not self.path.is_file():
            return []
        lines = self.path.read_bytes().splitlines()
        found = []
        for line in lines:
            try:
                entry = json.loads(line)
                place = (str(entry["topic"]), str(entry["topic_id"]), int(entry["partition"]))
                found.append(Gap(str(entry["reader"]), *place, int(entry["from"]), int(entry["to"])))
            except (ValueError, TypeError, KeyError):
                continue
        return found

    def record(self, gaps: Iterable[Gap], when: int) -> None:
        """Add gaps, on disk when this returns; `when` is epoch milliseconds."""
        added = [
            {
                "reader": gap.reader,
                "topic": gap.topic,
                "topic_id": gap.topic_id,
                "partition": gap.partition,
                "from": gap.first,
                "to": gap.end,
                "records": gap.end - gap.first,
                "when": when,
            }
            for gap in gaps
        ]
        before = self.path.read_bytes() if self.path.exists() else b""
        text = "".join(f"{json.dumps(entry)}\n" for entry in added).encode()
        atomic_write(self.path, before + text, durable=True)

    def beyond(self, reader: str, topic: str, topic_id: str, partition: int, position: int) -> int:
        """Return the first offset from a position on that nobody has accepted as lost."""
        accepted = [g for g in self.gaps() if (g.reader, g.topic_id, g.partition) == (reader, topic_id, partition)]
        for gap in sorted((g for g in accepted if g.topic == topic), key=lambda gap: gap.first):
            if gap.first <= position < gap.end:
                position = gap.end
        return position


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a consumer would not read: `gaps` that nobody has accepted, and `moves` over those that are accepted.

    A move is a partition's position and the offset to go on from.
    """

    gaps: tuple[Gap, ...]
    moves: Mapping[Place, tuple[int, int]]


def compare(broker: Broker, ledger: Ledger, reader: str, positions: Mapping[Place, int]) -> Comparison:
    """Compare a reader's positions, the next offset of each partition, with the earliest that Kafka has."""
    earliest = broker.offsets(positions, latest=False)
    behind = {place: at for place, at in positions.items() if at < earliest[place]}
    if not behind:
        return Comparison((), {})
    ids = broker.topic_ids({topic for topic, _ in behind})
    gaps, moves = [], dict[Place, tuple[int, int]]()
    for (topic, partition), at in sorted(behind.items()):
        first, end = ledger.beyond(reader, topic, ids[topic], partition, at), earliest[topic, partition]
        if first < end:
            gaps.append(Gap(reader, topic, ids[topic], partition, first, end))
        moves[topic, partition] = (at, end)
    return Comparison(tuple(gaps), moves)
