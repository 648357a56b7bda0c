"""The pipeline's topics on a broker whose admin side is in memory."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from fakes import FakeTarget, FakeTopics
from stubs import FakeTime

from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, FraudctlError, NotDeployed, OperationFailed, TimedOut, Unreachable
from fraudctl.local.kafka import health
from fraudctl.local.kafka.admin import Configs, Found, KafkaAdmin
from fraudctl.local.kafka.headroom import headroom_ms
from fraudctl.local.kafka.topics import LocalTopics, retention_bytes
from fraudctl.pipeline import topics
from fraudctl.pipeline.questions import Place
from fraudctl.services import kafka_errors
from fraudctl.services.topics import Describer, Trend, named, trend
from fraudctl.target import ConsumerLag, OpenTransaction, Origin, Phase, Setting


@dataclass
class Partition:
    """What metadata says of a partition."""

    leader: int = 1
    replicas: tuple[int, ...] = (1,)
    isrs: tuple[int, ...] = (1,)


NOW_MS = 1_795_000_000_000


@dataclass
class FakeAdmin:
    """A broker's topics; mypy checks that its methods are KafkaAdmin's."""

    found: dict[str, int] = field(default_factory=dict)
    configurations: Configs = field(default_factory=dict)
    ends: dict[Place, int] = field(default_factory=dict)
    offsets_of: dict[str, dict[Place, int]] = field(default_factory=dict)
    error: int | None = None
    changed: Configs = field(default_factory=dict)
    leaderless: int = 0
    stable: dict[Place, int] = field(default_factory=dict)
    times: dict[Place, int] = field(default_factory=dict)

    def topics(self) -> dict[str, dict[int, Any]]:
        """Give the topics."""
        if self.error is not None:
            raise KafkaException(KafkaError(self.error, "why"))
        return {name: {number: Partition() for number in range(count)} for name, count in self.found.items()}

    def create(self, configs: Configs, partitions: int = 4) -> None:
        """Create topics."""
        for name, config in configs.items():
            self.found[name], self.configurations[name] = partitions, dict(config)

    def configs(self, names: Sequence[str]) -> Configs:
        """Give configurations."""
        return {name: dict(self.configurations[name]) for name in names}

    def change(self, configs: Configs) -> None:
        """Change configurations."""
        self.changed = configs
        for name, config in configs.items():
            self.configurations[name].update(config)

    def settings(self, name: str) -> list[Found]:
        """Give a topic's own settings, and one of the broker's."""
        own = [Found(key, value, None, own=True) for key, value in self.configurations[name].items()]
        return [*own, Found("segment.bytes", "5", "9", own=False)]

    def add_partitions(self, name: str, number: int) -> None:
        """Add partitions."""
        assert number > self.found[name]
        self.found[name] = number

    def offsets(self, places: Iterable[Place], *, latest: bool, committed: bool = False) -> dict[Place, int]:
        """Give ends, or zero; a transaction is open where `stable` says so."""
        ends = {**self.ends, **self.stable} if committed else self.ends
        return {place: ends.get(place, 0) if latest else 0 for place in places}

    def have_leaders(self, places: Iterable[Place]) -> bool:
        """Say so after some questions."""
        assert all(name in self.found for name, _ in places)
        self.leaderless -= 1
        return self.leaderless < 0

    def offsets_at(self, places: Iterable[Place], epoch_ms: int) -> dict[Place, int]:
        """Give what was the end then: a hundred records less a minute ago, ten less ten seconds ago."""
        ago = {NOW_MS - 60_000: 100, NOW_MS - 10_000: 10}[epoch_ms]
        return {place: self.ends[place] - ago for place in places if self.ends.get(place, 0) >= ago}

    def newest(self, places: Iterable[Place]) -> dict[Place, int]:
        """Give a time to each partition with records: two seconds ago in 0, three in 1."""
        return {place: NOW_MS - 2000 - 1000 * place[1] for place in places if self.ends.get(place)}

    def published(self, places: Mapping[Place, int]) -> dict[Place, tuple[int, int]]:
        """Give the times that are set, as far as a record is there at all."""
        return {place: (at, self.times[place]) for place, at in places.items() if place in self.times}

    def topic_ids(self, names: Iterable[str]) -> dict[str, str]:
        """Give an id to each topic that is there."""
        return {name: f"id of {name}" for name in names if name in self.found}

    def open_transactions(self, names: Iterable[str]) -> list[OpenTransaction]:
        """Give none."""
        del names
        return []

    def groups(self) -> list[str]:
        """Give the groups."""
        return list(self.offsets_of)

    def committed(self, group: str) -> dict[Place, int]:
        """Give a group's offsets."""
        return self.offsets_of.get(group, {})


def as_admin(admin: FakeAdmin) -> Any:
    """Give it without its type."""
    return admin


def on(admin: FakeAdmin) -> LocalTopics:
    """The topics on this broker."""
    return LocalTopics(as_admin(admin), clock=Clock(now=lambda: NOW_MS / 1000))


def create(admin: FakeAdmin) -> tuple[list[str], str]:
    """Create; gives the notes and how it ended."""
    *steps, last = on(admin).create()
    assert steps[0].phase is Phase.STARTED
    assert last.phase is Phase.DONE
    return [step.detail for step in steps[1:]], last.detail


def test_the_fake_has_the_methods_of_the_real_one() -> None:
    """Or the tests would prove nothing."""
    public = {name for name in dir(KafkaAdmin) if not name.startswith("_")} - {"offsets_once", "poll"}
    assert public == {
        name for name in vars(FakeAdmin) if not name.startswith("_") and callable(getattr(FakeAdmin, name))
    }


def test_create_makes_what_is_missing_with_its_configuration() -> None:
    """On a laptop with the laptop's limits; again there is nothing to do."""
    admin = FakeAdmin()
    assert create(admin) == ([], "all 4 created")
    assert admin.configurations["demo_transactions"] == {
        "message.timestamp.type": "LogAppendTime",
        "compression.type": "uncompressed",
        "retention.ms": "604800000",
        "retention.bytes": "536870912",
    }
    assert create(admin) == ([], "all 4 as they should be")
    assert admin.changed == {}


def test_create_repairs_what_differs_and_leaves_the_rest() -> None:
    """Somebody's own settings stay."""
    admin = FakeAdmin()
    create(admin)
    admin.configurations["flagged_accounts"].update({"retention.ms": "5", "segment.ms": "60000"})
    del admin.found["dead_letters"]
    assert create(admin) == (
        [
            "flagged_accounts: retention.ms was 5, is -1 now",
            "flagged_accounts: segment.ms is 60000; left, the pipeline has none",
        ],
        "dead_letters created, flagged_accounts repaired",
    )
    assert admin.changed == {"flagged_accounts": {"retention.ms": "-1"}}
    assert admin.configurations["flagged_accounts"]["segment.ms"] == "60000"


def test_create_waits_for_leaders_with_a_word_and_a_deadline() -> None:
    """Kafka takes a moment to take in what was created, or deleted, just before."""
    admin, time = FakeAdmin(leaderless=3), FakeTime()
    events = list(LocalTopics(as_admin(admin), clock=time.clock()).create())
    assert [(event.phase, event.detail) for event in events[1:]] == [
        *[(Phase.PROGRESS, "waiting until Kafka has taken in which topics there are")] * 3,
        (Phase.DONE, "all 4 created"),
    ]
    admin.leaderless = 10_000
    with pytest.raises(TimedOut, match="topics: not usable after 30 s"):
        list(LocalTopics(as_admin(admin), clock=time.clock()).create())


def test_create_goes_on_when_a_topic_was_deleted_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker still showed it; a moment later it does not, and it is created."""
    admin = FakeAdmin()
    create(admin)
    real = admin.configs

    def configs(names: Sequence[str]) -> Configs:
        if "dead_letters" in names:
            del admin.found["dead_letters"]
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        return real(names)

    monkeypatch.setattr(admin, "configs", configs)
    assert create(admin)[1] == "dead_letters created"


def test_another_number_of_partitions_is_said_not_changed() -> None:
    """More would move accounts to other partitions."""
    admin = FakeAdmin()
    create(admin)
    admin.found["processed_topic"] = 2
    assert create(admin)[0] == ["processed_topic has 2 partitions, not 4"]
    assert admin.found["processed_topic"] == 2


def test_topics_have_as_many_partitions_as_the_stack() -> None:
    """New ones from the start; growing adds to those that have fewer, and never takes any."""
    admin = FakeAdmin()
    made = LocalTopics(as_admin(admin), partitions=lambda: 6)
    list(made.create())
    assert set(admin.found.values()) == {6}
    admin.found |= {"processed_topic": 2, "dead_letters": 9, "somebody_else": 1}
    assert [event.detail for event in made.grow()] == ["processed_topic: 2 → 6 partitions"]
    assert admin.found["processed_topic"] == 6
    assert (admin.found["dead_letters"], admin.found["somebody_else"]) == (9, 1)
    assert list(made.grow()) == []
    assert retention_bytes(16 << 30, 64) == 128 << 20  # together still a quarter, or a segment each


def test_list_has_missing_topics_too() -> None:
    """With what they hold."""
    admin = FakeAdmin(ends={("demo_transactions", 1): 5, ("demo_transactions", 3): 7})
    create(admin)
    del admin.found["dead_letters"]
    found = {info.alias: info for info in on(admin).list()}
    assert [info.exists for info in found.values()] == [True, True, True, False]
    assert found["transactions"].records == 12
    assert found["transactions"].replication == 1
    assert found["dead-letters"].records == 0


def test_describe() -> None:
    """Its own configuration; one that is missing, or not the pipeline's, is not deployed."""
    admin = FakeAdmin()
    create(admin)
    info = on(admin).describe("flagged_accounts")
    assert info.config == topics.FLAGGED.config
    assert [partition.partition for partition in info.partitions] == [0, 1, 2, 3]
    del admin.found["flagged_accounts"]
    for name in ("flagged_accounts", "others"):
        with pytest.raises(NotDeployed, match="does not exist in Kafka"):
            on(admin).describe(name)


def test_describe_says_who_made_each_setting_what_it_is() -> None:
    """The pipeline, somebody who changed or added it, or the brokers for all topics."""
    admin = FakeAdmin()
    create(admin)
    admin.configurations["demo_transactions"].update({"retention.ms": "5", "segment.ms": "60000"})
    found = {one.name: one for one in on(admin).describe("demo_transactions").settings}
    assert found["compression.type"].origin is Origin.PIPELINE
    assert found["retention.ms"] == Setting("retention.ms", "5", None, Origin.CHANGED, "604800000")
    assert found["segment.ms"].origin is Origin.ADDED
    assert found["segment.bytes"] == Setting("segment.bytes", "5", "9", Origin.BROKER)
    # Kept since the disk had more room: the pipeline's own value of another day.
    admin.configurations["demo_transactions"]["retention.bytes"] = str(8 << 30)
    kept = {one.name: one for one in on(admin).describe("demo_transactions").settings}["retention.bytes"]
    assert kept.origin is Origin.PIPELINE


def test_partitions_come_with_their_times_sizes_and_what_is_held_back(tmp_path: Path) -> None:
    """By the records' own times; an empty partition has none."""
    places = [("demo_transactions", number) for number in range(2)]
    admin = FakeAdmin(ends={places[0]: 1000, places[1]: 40}, stable={places[1]: 30})
    create(admin)
    folder = tmp_path / "demo_transactions-0"
    folder.mkdir()
    (folder / "0.log").write_bytes(bytes(700))
    topics_ = LocalTopics(as_admin(admin), data=tmp_path, clock=Clock(now=lambda: NOW_MS / 1000))
    info = topics_.describe("demo_transactions")
    assert [(p.newest_at, p.last_10s, p.last_minute, p.size_bytes) for p in info.partitions] == [
        (NOW_MS - 2000, 10, 100, 700),
        (NOW_MS - 3000, 10, 0, 0),
        (None, 0, 0, 0),
        (None, 0, 0, 0),
    ]
    assert [p.stable for p in info.partitions] == [1000, 30, 0, 0]
    (listed,) = [found for found in topics_.list(activity=True) if found.alias == "transactions"]
    assert listed.partitions[0] == replace(info.partitions[0], stable=None)
    assert [p.newest_at for p in topics_.list()[0].partitions] == [None] * 4


def test_adding_partitions() -> None:
    """Then that is how many there are, and `create` says that it is another number than the pipeline's."""
    admin = FakeAdmin()
    create(admin)
    on(admin).add_partitions("processed_topic", 6)
    assert len(on(admin).describe("processed_topic").partitions) == 6
    assert create(admin) == (["processed_topic has 6 partitions, not 4"], "all 4 as they should be")


def test_consumers_are_behind_by_the_oldest_record_that_they_have_not_read() -> None:
    """Over all partitions; nothing unread is 0, and where no record is to be found the time is not known."""
    place, other = ("processed_topic", 0), ("processed_topic", 1)
    admin = FakeAdmin(
        ends={place: 10, other: 20},
        offsets_of={"behind": {place: 4, other: 15}, "done": {place: 10, other: 20}, "markers": {place: 9, other: 20}},
    )
    create(admin)
    admin.times = {place: NOW_MS - 5_000, other: NOW_MS - 90_000}
    assert [(lag.group, lag.behind_ms) for lag in on(admin).consumers(timed=True)][:2] == [
        ("behind", 90_000),
        ("done", 0),
    ]
    assert [lag.behind_ms for lag in on(admin).consumers()] == [None, None, None]
    admin.times = {}
    assert [lag.behind_ms for lag in on(admin).consumers(timed=True)] == [None, 0, None]


@pytest.mark.parametrize(
    ("before", "after", "word", "per_second"),
    [
        (0, 10, "steady", 5.0),
        (0, 11, "growing", 5.5),
        (100, 0, "shrinking", -50.0),
        (100_000, 100_999, "steady", 499.5),
        (100_000, 98_000, "shrinking", -1000.0),
    ],
)
def test_a_trend(before: int, after: int, word: str, per_second: float) -> None:
    """Batches come and go: ten records, or a hundredth, are no trend."""
    assert trend(before, after, 2.0) == Trend(word, per_second)


def test_a_describer_looks_twice_unless_it_is_asked_again_anyway() -> None:
    """The first of many looks has no trend, and nobody waits."""
    lags = iter([100, 600, 100, 50, 50])
    slept: list[float] = []

    class Topics(FakeTopics):
        def consumers(self, *, timed: bool = False) -> Sequence[ConsumerLag]:
            assert timed
            return [ConsumerLag("w", "processed_topic", next(lags)), ConsumerLag("f", "demo_transactions", 5)]

    clock = Clock(sleep=slept.append, monotonic=lambda: sum(slept), now=lambda: NOW_MS / 1000)
    once = Describer(FakeTarget(topics=Topics()), "processed_topic", clock).look(wait=True)
    assert [(c.lag.group, c.trend) for c in once.consumers] == [("w", Trend("growing", 500.0))]
    watching = Describer(FakeTarget(topics=Topics()), "processed_topic", clock)
    assert watching.look(wait=False).consumers[0].trend is None
    assert slept == [1.0]
    slept.append(5.0)
    assert watching.look(wait=False).consumers[0].trend == Trend("shrinking", -10.0)
    assert watching.look(wait=False).consumers[0].trend is None  # no time has passed


def test_consumers_are_the_groups_that_committed_something() -> None:
    """Behind by what they have not committed, over the partitions; other topics do not count."""
    admin = FakeAdmin(
        ends={("processed_topic", 0): 10, ("processed_topic", 1): 20, ("demo_transactions", 0): 3},
        offsets_of={
            "writer": {("processed_topic", 0): 4, ("processed_topic", 1): 20, ("others", 0): 1},
            "flink": {("demo_transactions", 0): 3, ("processed_topic", 1): 25},
            "idle": {},
        },
    )
    create(admin)
    assert on(admin).consumers() == [
        ConsumerLag("writer", "processed_topic", 6),
        ConsumerLag("flink", "demo_transactions", 0),
        ConsumerLag("flink", "processed_topic", 0),
    ]


@pytest.mark.parametrize(
    ("code", "error", "said"),
    [
        (KafkaError._TRANSPORT, Unreachable, "Kafka does not answer"),
        (KafkaError._TIMED_OUT, Unreachable, "Kafka does not answer"),
        (KafkaError.SASL_AUTHENTICATION_FAILED, Unreachable, "not allowed"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Unreachable, "not allowed"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, NotDeployed, "does not exist in Kafka"),
        (KafkaError.POLICY_VIOLATION, OperationFailed, "why"),
    ],
)
def test_errors_of_kafka_get_their_meaning(code: int, error: type[FraudctlError], said: str) -> None:
    """With a command to type next."""
    admin = FakeAdmin(error=code)
    for question in (on(admin).list, lambda: list(on(admin).create()), lambda: on(admin).describe("processed_topic")):
        with pytest.raises(error, match=said) as raised:
            question()
        assert "`fraudctl" in (raised.value.hint or "") or "credentials" in (raised.value.hint or "")


def test_a_time_out_is_unreachable() -> None:
    """As a bounded read ends."""
    with pytest.raises(Unreachable, match="topic t: Kafka does not answer: late"), kafka_errors.translated("topic t"):
        raise TimeoutError("late")


@pytest.mark.parametrize("code", [KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.NOT_LEADER_FOR_PARTITION])
def test_offsets_are_asked_again_while_the_broker_finds_its_leaders(code: int) -> None:
    """A broker that has just started refuses for some moments; for ten seconds that is no error."""
    answers = [KafkaException(KafkaError(code, "why")), KafkaException(KafkaError(code, "why")), 7]

    class Answer:
        def result(self) -> Any:
            answer = answers.pop(0)
            if isinstance(answer, KafkaException):
                raise answer
            return SimpleNamespace(offset=answer)

    asked_anew: list[float] = []
    client = SimpleNamespace(
        list_offsets=lambda asked, **_: dict.fromkeys(asked, Answer()),
        list_topics=lambda *, timeout: asked_anew.append(timeout),
    )
    pauses: list[float] = []
    admin = KafkaAdmin(dict, clock=Clock(sleep=pauses.append, monotonic=lambda: sum(pauses)))
    admin.__dict__["_client"] = client
    assert admin.offsets([("t", 0)], latest=True) == {("t", 0): 7}
    assert len(asked_anew) == 2  # what the client knows of the leaders is not asked for by itself
    answers[:] = [KafkaException(KafkaError(code, "why"))] * 1000
    with pytest.raises(KafkaException):
        admin.offsets([("t", 0)], latest=True)
    assert sum(pauses) == pytest.approx(10, abs=0.2)


def test_an_attempt_that_waits_for_nothing_is_not_the_only_one() -> None:
    """The client waits for the whole time of a request when the broker did not know a leader when it was asked."""
    time, attempts = FakeTime(), list[float]()

    class Answer:
        def result(self) -> Any:
            raise KafkaException(KafkaError(KafkaError._NOENT, "No leaders found"))

    def list_offsets(asked: Any, *, request_timeout: float, **_: Any) -> Any:
        attempts.append(request_timeout)
        time.at += request_timeout
        return dict.fromkeys(asked, Answer() if len(attempts) < 3 else SimpleNamespace(result=lambda: found))

    found = SimpleNamespace(offset=7)
    admin = KafkaAdmin(dict, clock=time.clock())
    admin.__dict__["_client"] = SimpleNamespace(list_offsets=list_offsets, list_topics=lambda **_: None)
    assert admin.offsets([("t", 0)], latest=True) == {("t", 0): 7}
    assert attempts == [1, 2, 4]


def test_names_that_people_type() -> None:
    """Aliases and full names; anything else gets the list."""
    assert named("dead-letters") is named("dead_letters") is topics.DEAD_LETTERS
    with pytest.raises(BadConfig) as raised:
        named("Processed")
    assert raised.value.hint == "the topics are transactions, flagged, processed, dead-letters"


@pytest.mark.parametrize(
    ("free", "kept"),
    [(0, 128 << 20), (4 << 30, 256 << 20), (16 << 30, 1 << 30), (31 << 30, 1 << 30), (10 << 40, 16 << 30)],
)
def test_retention_follows_the_free_space(free: int, kept: int) -> None:
    """All partitions together take a quarter of it at most, within bounds, and in steps of two."""
    assert retention_bytes(free) == kept
    admin = FakeAdmin()
    list(LocalTopics(as_admin(admin), free_bytes=lambda: free).create())
    assert admin.configurations["demo_transactions"]["retention.bytes"] == str(kept)
    assert "retention.bytes" not in admin.configurations["flagged_accounts"]


def test_retention_grows_with_the_free_space_and_never_shrinks() -> None:
    """A disk that has become fuller, by these very records perhaps, deletes none of them."""
    admin = FakeAdmin()
    list(LocalTopics(as_admin(admin), free_bytes=lambda: 16 << 30).create())
    for free, kept in ((1 << 30, 1 << 30), (64 << 30, 4 << 30), (16 << 30, 4 << 30)):
        list(LocalTopics(as_admin(admin), free_bytes=lambda free=free: free).create())  # type: ignore[misc]
        assert admin.configurations["demo_transactions"]["retention.bytes"] == str(kept)


def test_a_consumer_far_behind_has_a_time_until_unread_records_are_deleted(tmp_path: Path) -> None:
    """10,000 records of 1,000 bytes, 4,000 of them unread, 100 a minute, 5 MB kept: 1 MB is left, ten minutes."""
    place = ("demo_transactions", 0)
    admin = FakeAdmin({"demo_transactions": 1}, {"demo_transactions": {"retention.bytes": "5000000"}}, {place: 10_000})
    admin.offsets_of = {"fraud-detection": {place: 6_000}, "near": {place: 9_900}}
    folder = tmp_path / "demo_transactions-0"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.log").write_bytes(bytes(5_000_000))
    (folder / "0.index").write_bytes(bytes(1000))
    found = LocalTopics(as_admin(admin), data=tmp_path, clock=Clock(now=lambda: NOW_MS / 1000)).consumers()
    assert [(lag.group, lag.lag, lag.headroom_ms) for lag in found] == [
        ("fraud-detection", 4_000, 600_000),
        ("near", 100, None),
    ]


FLAGS = ("flagged_accounts", 3, False)
PLACES = [("demo_transactions", number) for number in range(3)]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (dict(zip(PLACES, (100, 95, 100), strict=True)), [("demo_transactions", 5, False)]),
        (dict(zip(PLACES, (100, None, None), strict=True)), [("demo_transactions", 40 + 100, False)]),
        ({**dict.fromkeys(PLACES, 100), ("flagged_accounts", 0): 0}, [("demo_transactions", 0, False), FLAGS]),
        ({PLACES[2]: 99}, [("demo_transactions", 30 + 40 + 1, False)]),
        (None, [("demo_transactions", 70, True)]),
    ],
    ids=["now", "nothing-read-yet", "more-topics", "not-yet-all", "stopped"],
)
def test_a_running_consumer_is_where_it_says(
    where: dict[Place, int | None] | None, expected: list[tuple[str, int, bool]]
) -> None:
    """Not where it committed last, unless it has read nothing since its start; without that at the beginning."""
    admin = FakeAdmin(ends=dict.fromkeys(PLACES, 100) | {("flagged_accounts", 0): 3})
    admin.offsets_of = {"fraud-detection": {PLACES[0]: 70, PLACES[1]: 60, ("gone", 0): 1}}
    create(admin)
    found = LocalTopics(as_admin(admin), positions={"fraud-detection": lambda: where}).consumers()
    assert [(lag.topic, lag.lag, lag.as_of_checkpoint) for lag in found] == expected


def test_what_is_read_until_a_consumer_answers_is_not_unread() -> None:
    """The ends are asked first: at 20,000 records a second a healthy application would be far behind otherwise."""
    place = ("demo_transactions", 0)
    admin = FakeAdmin(ends={place: 100})
    create(admin)

    def where() -> dict[Place, int | None]:
        admin.ends[place] = 500
        return {place: 480}

    (lag,) = LocalTopics(as_admin(admin), positions={"fraud-detection": where}).consumers()
    assert lag.lag == 0


@pytest.mark.parametrize(
    ("unread", "last_minute", "expected"), [(0, 10, None), (10, 0, None), (2_000, 10, 0), (500, 100, 300_000)]
)
def test_headroom(unread: int, last_minute: int, expected: int | None) -> None:
    """None while nothing is unread or written; zero when it is too late already."""
    headroom = headroom_ms(
        kept_bytes=1_000_000, size_bytes=2_000_000, records=2_000, unread=unread, last_minute=last_minute
    )
    assert headroom == expected


def test_what_an_open_transaction_holds_back_is_counted() -> None:
    """One record is one; a transaction that has been open for a moment only is not worth a word."""

    @dataclass
    class Held(FakeAdmin):
        since: int = 0

        def open_transactions(self, names: Iterable[str]) -> list[OpenTransaction]:
            del names
            return [OpenTransaction("demo_transactions", 1, 50, 1, self.since)]

    clock = Clock(now=lambda: NOW_MS / 1000)
    (found,) = health.held_back(as_admin(Held(since=NOW_MS - 20_000)), clock)
    assert "holds back 1 record of demo_transactions/1 since 2026-11-18T" in found.detail
    assert health.held_back(as_admin(Held(since=NOW_MS - 1000)), clock) == []
