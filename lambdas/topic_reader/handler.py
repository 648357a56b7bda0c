"""TopicReader: what the command line asks of Kafka from outside the network; nothing that it does changes anything.

It answers the questions of a `fraudctl.pipeline.reader.Source` (bounds, offsets_at, poll), and those about partitions
and the lag of consumer groups. An error of Kafka is an answer too: ``{"error": {"code": 3, "reason": "…"}}``.
"""

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final, NamedTuple

from fraudctl.pipeline import kafka, reader, topics, wire
from fraudctl.pipeline.questions import Place, Questions
from fraudctl.pipeline.reader import Batch, Reader, Records, Request

# A batch that is at least as large has probably more behind it that is fetched already.
MORE: Final = 1000
# Of the room that is left, so that records of another size seldom overflow it and have to be fetched again.
SHARE: Final = 0.8
FIRST_SIZE: Final = 250
MINUTE_MS: Final = 60_000
TEN_SECONDS_MS: Final = 10_000


class Open(NamedTuple):
    """A reader with its consumer, which stays where the last poll left it."""

    reader: Reader
    consumer: Any


# The readers of this process by topic, and how large the records of a topic were in the last batch.
READERS: Final[dict[str, kafka.Kept[Open]]] = {}
SIZES: Final[dict[str, int]] = {}


def connection() -> kafka.Properties:
    """Return what every client needs."""
    return kafka.connection(os.environ, "TOPIC_READER")


@cache
def questions() -> kafka.Kept[Questions]:
    """Return what asks about partitions and groups, shared by all invocations."""
    return kafka.Kept(connection(), lambda properties: Questions(lambda: properties))


def source(topic: str) -> kafka.Kept[Open]:
    """Return the reader of a topic."""
    if topic not in READERS:
        READERS[topic] = kafka.Kept(reader.properties(connection()), _open)
    return READERS[topic]


def bounds(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the range of offsets of every partition of a topic."""
    topic = _topic(event)
    return _reading(topic, lambda found: wire.bounds(found.bounds(topic)))


def offsets_at(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the offset of the first record at or after a moment, by partition."""
    topic, ends, moment = _topic(event), wire.positions(event, "ends"), event.get("moment")
    if type(moment) is not int or not 0 <= moment < 2**63:
        raise ValueError("moment is not a time in epoch milliseconds")
    return _reading(topic, lambda found: {"offsets": wire.by_text(found.offsets_at(topic, ends, moment))})


def poll(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what comes next, as soon as something does: as much as there is and as fits into an answer."""
    topic = _topic(event)
    request = wire.request_of(event, topic)
    return _reading(topic, lambda found: wire.batch(_filled(found, request), topic))


def partitions(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return, for each topic that exists, its partitions: leader, replicas, offsets, and how many are new."""
    names = event.get("topics")
    if not isinstance(names, list) or not names:
        raise ValueError("topics is not a list of names")
    for name in names:
        _topic({"topic": name})
    return _asking(lambda kept: _partitions(kept, names))


def _partitions(kept: Questions, names: Sequence[str]) -> dict[str, Any]:
    known = kept.topics()
    found = {name: known[name] for name in names if name in known}
    places = [(name, number) for name in found for number in found[name]]
    now = int(time.time() * 1000)
    earliest, stable = kept.offsets(places, latest=False), kept.offsets(places, latest=True, committed=True)
    latest, newest = kept.offsets(places, latest=True), kept.newest(places)
    minute, moment = kept.offsets_at(places, now - MINUTE_MS), kept.offsets_at(places, now - TEN_SECONDS_MS)

    def partition(place: Place) -> dict[str, Any]:
        metadata, end = found[place[0]][place[1]], latest[place]
        return {
            "partition": place[1],
            "leader": metadata.leader,
            "replicas": list(metadata.replicas),
            "isr": list(metadata.isrs),
            "earliest": earliest[place],
            "latest": end,
            "stable": min(stable[place], end),
            "newest_at": newest.get(place),
            "last_10s": max(0, end - moment.get(place, end)),
            "last_minute": max(0, end - minute.get(place, end)),
        }

    return {"topics": {name: [partition((name, number)) for number in sorted(found[name])] for name in found}}


def lag(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return how far the pipeline's consumer groups are behind their committed offsets.

    With ``timed``, in milliseconds too: the age of the oldest record that a group has not read.
    """
    return _asking(lambda kept: _lag(kept, timed=bool(event.get("timed"))))


def _lag(kept: Questions, *, timed: bool) -> dict[str, Any]:
    found, known = [], kept.topics()
    places = [(topic.name, number) for topic in topics.ALL for number in known.get(topic.name, ())]
    for group in filter(None, os.environ["TOPIC_READER_GROUPS"].split(",")):
        committed = {place: at for place, at in kept.committed(group).items() if place in places}
        ends = kept.offsets(committed, latest=True)
        for name in sorted({topic for topic, _ in committed}):
            unread = {place: max(0, ends[place] - at) for place, at in committed.items() if place[0] == name}
            waiting = {place: committed[place] for place in unread if unread[place]}
            behind = _behind(kept, waiting) if timed else None
            found.append(
                {
                    "group": group,
                    "topic": name,
                    "lag": sum(unread.values()),
                    "behind_ms": behind,
                    "committed": {str(number): at for (topic, number), at in committed.items() if topic == name},
                }
            )
    return {"groups": found}


ASKS: Final[Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "bounds": bounds,
    "offsets_at": offsets_at,
    "poll": poll,
    "partitions": partitions,
    "lag": lag,
}


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Answer one question; raises ValueError for one that is none."""
    from confluent_kafka import KafkaException

    answer = ASKS.get(str(event.get("ask")))
    if answer is None:
        raise ValueError(f"ask is none of {', '.join(ASKS)}")
    try:
        return answer(event)
    except KafkaException as error:
        return {"error": {"code": error.args[0].code(), "reason": error.args[0].str()}}


def _filled(found: Reader, request: Request) -> Batch:
    """Return several batches as one."""
    first = batch = found.poll(replace(request, limit=_limit(request, [], wire.ROOM_BYTES)))
    parts, lost, room = [_records(batch)], dict(batch.lost), wire.ROOM_BYTES
    while len(batch.records) >= MORE and not batch.at_end:
        room -= sum(map(wire.size, parts[-1].keys(), parts[-1].values(), parts[-1].headers()))
        limit = _limit(request, parts, room)
        if limit < MORE:
            break
        batch = found.poll(replace(request, positions=batch.positions, ends=batch.ends, limit=limit, wait_s=0.0))
        parts.append(_records(batch))
        lost |= {partition: lost.get(partition, 0) + number for partition, number in batch.lost.items()}
    if any(parts):
        records = parts[0].joined(parts[1:])
        SIZES[request.topic] = max(1, sum(map(wire.size, records.keys(), records.values())) // len(records))
        return replace(batch, records=records, lost=lost, unreachable=None)
    return first


def _limit(request: Request, parts: list[Records], room: int) -> int:
    """Return how many records to ask for: those that are expected to fit, at most those that are wanted."""
    have = sum(map(len, parts))
    wanted = wire.MOST_RECORDS if request.limit is None else min(request.limit, wire.MOST_RECORDS)
    expected = int(SHARE * room / SIZES.get(request.topic, FIRST_SIZE))
    return min(wanted - have, max(expected, 0 if parts else 1))


def _records(batch: Batch) -> Records:
    records = batch.records
    return records if isinstance(records, Records) else Records("", list(records))


def _reading(topic: str, ask: Callable[[Reader], dict[str, Any]]) -> dict[str, Any]:
    """Return what a reader answers; one that meets an error, or silence, is given up for a new one."""
    from confluent_kafka import KafkaError, KafkaException

    kept = source(topic)
    opened = kept.get()
    try:
        answer = ask(opened.reader)
        if not answer.get("unreachable"):
            return answer
        silence = KafkaException(KafkaError(KafkaError._TRANSPORT, answer["unreachable"]))  # noqa: SLF001
        if (refused := kafka.explained(silence, kept.properties, opened.consumer.poll)) is silence:
            return answer
        raise refused
    except KafkaException as error:
        READERS.pop(topic, None)
        raised = kafka.explained(error, kept.properties, opened.consumer.poll)
        with contextlib.suppress(KafkaException):
            opened.consumer.close()
        raise raised from error


def _asking(ask: Callable[[Questions], dict[str, Any]]) -> dict[str, Any]:
    """Return what the questions answer; their client, like a reader, is given up at an error."""
    from confluent_kafka import KafkaException

    kept = questions()
    opened = kept.get()
    try:
        return ask(opened)
    except KafkaException as error:
        questions.cache_clear()
        raise kafka.explained(error, kept.properties, opened.poll) from error


def _open(properties: kafka.Properties) -> Open:
    consumer = kafka.open_consumer(properties)
    return Open(Reader(consumer), consumer)


def _topic(event: Mapping[str, Any]) -> str:
    name = event.get("topic")
    if not isinstance(name, str) or name not in {topic.name for topic in topics.ALL}:
        raise ValueError(f"topic {name!r} is none of {', '.join(topic.name for topic in topics.ALL)}")
    return name


def _behind(kept: Questions, waiting: Mapping[Place, int]) -> int | None:
    """Return the age of the oldest of these records; 0 when there is none, None when it is not to be found."""
    if not waiting:
        return 0
    times = [published for _, published in kept.published(waiting).values()]
    return max(0, int(time.time() * 1000) - min(times)) if times else None
