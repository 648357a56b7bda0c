"""The pipeline's topics on the local broker."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from fraudctl.clock import Clock
from fraudctl.errors import NotDeployed, TimedOut
from fraudctl.local.kafka.admin import Found, KafkaAdmin
from fraudctl.local.kafka.headroom import headroom_ms, partition_bytes
from fraudctl.pipeline.questions import Place
from fraudctl.pipeline.topics import ALL, PARTITIONS, Topic
from fraudctl.services.kafka_errors import translated
from fraudctl.target import ConsumerLag, Event, Origin, PartitionInfo, Phase, Setting, TopicInfo

_NAME: Final = "topics"
_SIZE: Final = "retention.bytes"
_USABLE_SECONDS: Final = 30.0
_AGAIN_SECONDS: Final = 0.1
_SHARE: Final = 4
# A consumer with less to read is about to read it.
_FAR_BEHIND: Final = 1_000
_MINUTE_MS: Final = 60_000
_TEN_SECONDS_MS: Final = 10_000
_LEAST_BYTES: Final = 128 * 1024 * 1024
_MOST_BYTES: Final = 16 * 1024 * 1024 * 1024


# Where a running consumer is, per partition the next offset, or None where it has read nothing since its start; None
# when it does not run or does not say.
Positions = Callable[[], Mapping[Place, int | None] | None]


class LocalTopics:
    """Asks the broker and changes what has to be changed."""

    def __init__(
        self,
        admin: KafkaAdmin,
        topics: Sequence[Topic] = ALL,
        *,
        data: Path | None = None,
        free_bytes: Callable[[], int] | None = None,
        positions: Mapping[str, Positions] = {},
        partitions: Callable[[], int] = lambda: PARTITIONS,
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        """Store the admin client and the topics' definitions; no I/O.

        `data` is Kafka's data folder. With `free_bytes`, the free space there, topics bounded by size get what that
        allows. `positions` has the groups that commit seldom, and asks them where they are. `partitions` gives how many
        a topic shall have.
        """
        self._partitions = partitions
        self._admin, self._topics, self._clock = admin, tuple(topics), clock
        self._data, self._free_bytes, self._positions = data, free_bytes, positions

    def create(self) -> Iterator[Event]:
        """Create what is missing and repair configuration that differs; raises `Unreachable` or `TimedOut`."""
        yield Event(_NAME, Phase.STARTED, "looking at the topics")
        created: list[str] = []
        repaired: list[str] = []
        notes: dict[str, None] = {}
        with translated(_NAME):
            for _ in self._clock.poll(_AGAIN_SECONDS, within=_USABLE_SECONDS):
                if existing := self._bring_about(created, repaired, notes):
                    break
                yield Event(_NAME, Phase.PROGRESS, "waiting until Kafka has taken in which topics there are")
        if not existing:
            raise TimedOut(f"{_NAME}: not usable after {_USABLE_SECONDS:.0f} s", hint="run `fraudctl logs kafka`")
        for note in notes:
            yield Event(_NAME, Phase.NOTE, note)
        for name, number in existing.items():
            if number != (wanted := self._partitions()):
                # More move accounts to other partitions, so somebody has to ask for them; fewer cannot be had.
                yield Event(_NAME, Phase.NOTE, f"{name} has {number} partitions, not {wanted}")
        new = [f"all {len(created)}"] if len(created) == len(existing) else created
        done = [f"{name} created" for name in new] + [f"{name} repaired" for name in repaired]
        yield Event(_NAME, Phase.DONE, ", ".join(done) or f"all {len(existing)} as they should be")

    def _bring_about(self, created: list[str], repaired: list[str], notes: dict[str, None]) -> Mapping[str, int]:
        """Create and repair topics and add their names, and notes on what differed.

        Return the number of partitions of each topic; of none while one of them is not usable. What the broker says of
        a topic that was created or deleted a moment ago may be out of date.
        """
        from confluent_kafka import KafkaError, KafkaException

        before = self._admin.topics()
        wanted = {topic.name: self._wanted(topic) for topic in self._topics}
        try:
            missing = {name: config for name, config in wanted.items() if name not in before}
            self._admin.create(missing, self._partitions())
            created += [name for name in missing if name not in created]
            found = self._admin.configs([name for name in wanted if name in before])
            # Other settings stay as somebody may have made them.
            wrong = {name: _differences(wanted[name], config) for name, config in found.items()}
            changes = {name: config for name, config in wrong.items() if config}
            self._admin.change(changes)
            repaired += [name for name in changes if name not in repaired]
            for name, config in found.items():
                for setting, value in wrong[name].items():
                    notes[f"{name}: {setting} was {config.get(setting, 'not set')}, is {value} now"] = None
                for setting in sorted(config.keys() - wanted[name].keys()):
                    notes[f"{name}: {setting} is {config[setting]}; left, the pipeline has none"] = None
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
            return {}
        now = self._admin.topics()
        if not (set(wanted) <= set(now) and self._admin.have_leaders((name, n) for name in wanted for n in now[name])):
            return {}
        return {name: len(now[name]) for name in wanted}

    def _wanted(self, topic: Topic) -> dict[str, str]:
        return {**topic.config, **self._bounded(topic.local_config)}

    def _bounded(self, config: Mapping[str, str]) -> dict[str, str]:
        if _SIZE not in config or self._free_bytes is None:
            return dict(config)
        return {**config, _SIZE: str(retention_bytes(self._free_bytes(), self._partitions()))}

    def grow(self) -> Iterator[Event]:
        """Add partitions to every topic that has fewer than it shall have; raises `Unreachable`."""
        wanted = self._partitions()
        with translated(_NAME):
            short = {name: len(found) for name, found in self._admin.topics().items() if len(found) < wanted}
        for topic in self._topics:
            if topic.name in short:
                self.add_partitions(topic.name, wanted)
                yield Event(_NAME, Phase.DONE, f"{topic.name}: {short[topic.name]} → {wanted} partitions")

    def add_partitions(self, name: str, number: int) -> None:
        """Raise a topic's number of partitions; raises `NotDeployed`, `Unreachable`, or `OperationFailed` for fewer."""
        with translated(f"topic {name}"):
            self._admin.add_partitions(name, number)

    def list(self, *, activity: bool = False) -> list[TopicInfo]:
        """Return every topic of the pipeline, missing ones with ``exists=False``; raises `Unreachable`."""
        with translated(_NAME):
            found = self._infos(self._topics)
            return [self._with_activity(info) if activity else info for info in found]

    def describe(self, name: str) -> TopicInfo:
        """Return one topic by its full name; raises `NotDeployed`.

        With its configuration, what of it differs from Kafka's default, and last stable offsets.
        """
        with translated(f"topic {name}"):
            for topic in self._topics:
                if topic.name != name:
                    continue
                (info,) = self._infos([topic])
                if info.exists:
                    return self._described(topic, self._with_activity(info))
        raise NotDeployed(f"topic {name}: does not exist in Kafka", hint="run `fraudctl topics create`")

    def _described(self, topic: Topic, info: TopicInfo) -> TopicInfo:
        stable = self._admin.offsets(((info.name, p.partition) for p in info.partitions), latest=True, committed=True)
        found = self._admin.settings(info.name)
        config = {one.name: one.value for one in found if one.own}
        wanted = self._wanted(topic)
        wrong = _differences(wanted, config)
        return replace(
            info,
            # Both ends were asked for one after the other, and an end only grows.
            partitions=tuple(replace(p, stable=min(stable[info.name, p.partition], p.latest)) for p in info.partitions),
            config=config,
            settings=tuple(
                Setting(one.name, one.value, one.default, _origin(one, wanted, wrong), wanted.get(one.name))
                for one in found
            ),
        )

    def _infos(self, topics: Sequence[Topic]) -> Sequence[TopicInfo]:
        existing = self._admin.topics()
        places = [(topic.name, number) for topic in topics for number in existing.get(topic.name, ())]
        earliest, latest = self._admin.offsets(places, latest=False), self._admin.offsets(places, latest=True)
        return [
            TopicInfo(
                alias=topic.alias,
                name=topic.name,
                exists=topic.name in existing,
                partitions=tuple(
                    PartitionInfo(
                        number,
                        found.leader,
                        earliest[topic.name, number],
                        latest[topic.name, number],
                        tuple(found.replicas),
                        tuple(found.isrs),
                    )
                    for number, found in sorted(existing.get(topic.name, {}).items())
                ),
                replication=max((len(found.replicas) for found in existing.get(topic.name, {}).values()), default=0),
            )
            for topic in topics
        ]

    def _with_activity(self, info: TopicInfo) -> TopicInfo:
        """Return the topic with what its records' times and its files say; asks three times whatever it holds."""
        places = [(info.name, partition.partition) for partition in info.partitions]
        now = int(self._clock.now() * 1000)
        newest = self._admin.newest(places)
        minute = self._admin.offsets_at(places, now - _MINUTE_MS)
        moment = self._admin.offsets_at(places, now - _TEN_SECONDS_MS)

        def active(found: PartitionInfo) -> PartitionInfo:
            place = (info.name, found.partition)
            return replace(
                found,
                newest_at=newest.get(place),
                last_minute=max(0, found.latest - minute.get(place, found.latest)),
                last_10s=max(0, found.latest - moment.get(place, found.latest)),
                size_bytes=None if self._data is None else partition_bytes(self._data, *place),
            )

        return replace(info, partitions=tuple(map(active, info.partitions)))

    def consumers(self, *, timed: bool = False) -> Sequence[ConsumerLag]:
        """Return how far every group that reads, or has read, the topics is behind; raises `Unreachable`.

        What was there when this was called counts; a consumer has until it answers to read that. With `timed`, one
        record of each partition that is not read to the end is fetched for its time.
        """
        names = {topic.name for topic in self._topics}
        lags = []
        with translated("consumers"):
            existing = self._admin.topics()
            ends = self._admin.offsets(
                [(name, number) for name in names & set(existing) for number in existing[name]], latest=True
            )
            known = self._admin.groups()
            for group in dict.fromkeys((*known, *self._positions)):
                found = self._admin.committed(group)
                committed = {place: at for place, at in found.items() if place in ends}
                ask = self._positions.get(group)
                now = ask() if ask else None
                at = committed if now is None else self._complete(now, committed, ends)
                for name in sorted({topic for topic, _ in at}):
                    unread = {place: max(0, ends[place] - next_) for place, next_ in at.items() if place[0] == name}
                    lag = sum(unread.values())
                    headroom = self._headroom(name, unread, ends) if lag > _FAR_BEHIND else None
                    old = ask is not None and now is None
                    behind = self._behind({place: at[place] for place in unread}, unread) if timed else None
                    lags.append(ConsumerLag(group, name, lag, headroom, as_of_checkpoint=old, behind_ms=behind))
        return lags

    def committed(self, topic: str) -> Mapping[str, Mapping[int, int]]:
        """Return, by consumer group, the offset in each partition that it has committed; raises `Unreachable`."""
        with translated("consumers"):
            found = {group: self._admin.committed(group) for group in self._admin.groups()}
        return {
            group: {number: at for (name, number), at in places.items() if name == topic}
            for group, places in found.items()
        }

    def _complete(
        self, now: Mapping[Place, int | None], committed: Mapping[Place, int], ends: Mapping[Place, int]
    ) -> dict[Place, int]:
        """Return where a consumer is; where it has read nothing yet, it goes on from there."""
        here = {place: at for place, at in now.items() if place in ends and at is not None}
        new = [place for place in now if place in ends and place not in here and place not in committed]
        return {**self._admin.offsets(new, latest=False), **committed, **here}

    def _behind(self, positions: Mapping[Place, int], unread: Mapping[Place, int]) -> int | None:
        """Return the age in milliseconds of the oldest record from the positions on; 0 when none is `unread`.

        None when there is none to be found: what is left are markers of transactions, or it was deleted.
        """
        waiting = {place: at for place, at in positions.items() if unread[place]}
        if not waiting:
            return 0
        times = [time for _, time in self._admin.published(waiting).values()]
        return max(0, int(self._clock.now() * 1000) - min(times)) if times else None

    def _headroom(self, topic: str, unread: Mapping[Place, int], ends: Mapping[Place, int]) -> int | None:
        kept = int(self._admin.configs([topic])[topic].get(_SIZE, 0))
        if not kept or self._data is None:
            return None
        starts = self._admin.offsets(unread, latest=False)
        minute_ago = self._admin.offsets_at(unread, int(self._clock.now() * 1000) - _MINUTE_MS)
        found = [
            headroom_ms(
                kept_bytes=kept,
                size_bytes=partition_bytes(self._data, *place),
                records=ends[place] - starts[place],
                unread=number,
                last_minute=ends[place] - minute_ago.get(place, ends[place]),
            )
            for place, number in unread.items()
        ]
        return min((value for value in found if value is not None), default=None)


def retention_bytes(free: int, partitions: int = PARTITIONS) -> int:
    """Return how many bytes of a partition are kept: together a quarter of the disk's `free` bytes at most.

    A power of two, so that it rarely changes; at least a segment, since less cannot be deleted.
    """
    each = max(_LEAST_BYTES, min(_MOST_BYTES, free // _SHARE // partitions))
    return 1 << (each.bit_length() - 1)


def _differences(wanted: Mapping[str, str], config: Mapping[str, str]) -> dict[str, str]:
    """Return what is to be changed; what is kept already is not deleted because the disk has become fuller."""
    different = dict(wanted.items() - config.items())
    if int(config.get(_SIZE, 0)) > int(different.get(_SIZE, 0)):
        different.pop(_SIZE, None)
    return different


def _origin(found: Found, wanted: Mapping[str, str], wrong: Mapping[str, str]) -> Origin:
    if not found.own:
        return Origin.BROKER
    if found.name not in wanted:
        return Origin.ADDED
    return Origin.CHANGED if found.name in wrong else Origin.PIPELINE
