"""The pipeline's topics on a broker whose admin side is in memory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from stubs import FakeTime

from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, FraudctlError, NotDeployed, OperationFailed, TimedOut, Unreachable
from fraudctl.local.kafka import errors, health
from fraudctl.local.kafka.admin import Configs, KafkaAdmin, Place
from fraudctl.local.kafka.headroom import headroom_ms
from fraudctl.local.kafka.topics import LocalTopics, retention_bytes
from fraudctl.pipeline import topics
from fraudctl.services.topics import named
from fraudctl.target import ConsumerLag, OpenTransaction, Phase


@dataclass
class Partition:
    """What metadata says of a partition."""

    leader: int = 1
    replicas: tuple[int, ...] = (1,)


NOW_MS = 1_795_000_000_000


@dataclass
class FakeAdmin:
    """A broker's topics; mypy checks that its methods are KafkaAdmin's."""

    found: dict[str, int] = field(default_factory=dict)
    settings: Configs = field(default_factory=dict)
    ends: dict[Place, int] = field(default_factory=dict)
    offsets_of: dict[str, dict[Place, int]] = field(default_factory=dict)
    error: int | None = None
    changed: Configs = field(default_factory=dict)
    leaderless: int = 0

    def topics(self) -> dict[str, dict[int, Any]]:
        """Give the topics."""
        if self.error is not None:
            raise KafkaException(KafkaError(self.error, "why"))
        return {name: {number: Partition() for number in range(count)} for name, count in self.found.items()}

    def create(self, configs: Configs) -> None:
        """Create topics."""
        for name, config in configs.items():
            self.found[name], self.settings[name] = topics.PARTITIONS, dict(config)

    def configs(self, names: Sequence[str]) -> Configs:
        """Give configurations."""
        return {name: dict(self.settings[name]) for name in names}

    def change(self, configs: Configs) -> None:
        """Change configurations."""
        self.changed = configs
        for name, config in configs.items():
            self.settings[name].update(config)

    def offsets(self, places: Iterable[Place], *, latest: bool, committed: bool = False) -> dict[Place, int]:
        """Give ends, or zero; no transaction is open."""
        del committed
        return {place: self.ends.get(place, 0) if latest else 0 for place in places}

    def have_leaders(self, places: Iterable[Place]) -> bool:
        """Say so after some questions."""
        assert all(name in self.found for name, _ in places)
        self.leaderless -= 1
        return self.leaderless < 0

    def offsets_at(self, places: Iterable[Place], epoch_ms: int) -> dict[Place, int]:
        """Give what was the end a minute ago: a hundred records less."""
        assert epoch_ms == NOW_MS - 60_000
        return {place: self.ends.get(place, 0) - 100 for place in places}

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
        return self.offsets_of[group]


def as_admin(admin: FakeAdmin) -> Any:
    """Give it without its type."""
    return admin


def on(admin: FakeAdmin) -> LocalTopics:
    """The topics on this broker."""
    return LocalTopics(as_admin(admin))


def create(admin: FakeAdmin) -> tuple[list[str], str]:
    """Create; gives the notes and how it ended."""
    *steps, last = on(admin).create()
    assert steps[0].phase is Phase.STARTED
    assert last.phase is Phase.DONE
    return [step.detail for step in steps[1:]], last.detail


def test_the_fake_has_the_methods_of_the_real_one() -> None:
    """Or the tests would prove nothing."""
    public = {name for name in vars(KafkaAdmin) if not name.startswith("_")}
    assert public == {
        name for name in vars(FakeAdmin) if not name.startswith("_") and callable(getattr(FakeAdmin, name))
    }


def test_create_makes_what_is_missing_with_its_configuration() -> None:
    """On a laptop with the laptop's limits; again there is nothing to do."""
    admin = FakeAdmin()
    assert create(admin) == ([], "all 4 created")
    assert admin.settings["demo_transactions"] == {
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
    admin.settings["flagged_accounts"].update({"retention.ms": "5", "segment.ms": "60000"})
    del admin.found["dead_letters"]
    assert create(admin) == ([], "dead_letters created, flagged_accounts repaired")
    assert admin.changed == {"flagged_accounts": {"retention.ms": "-1"}}
    assert admin.settings["flagged_accounts"]["segment.ms"] == "60000"


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
    with pytest.raises(Unreachable, match="topic t: Kafka does not answer: late"), errors.translated("topic t"):
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

    client = SimpleNamespace(list_offsets=lambda asked, **_: dict.fromkeys(asked, Answer()))
    pauses: list[float] = []
    admin = KafkaAdmin(dict, clock=Clock(sleep=pauses.append, monotonic=lambda: sum(pauses)))
    admin.__dict__["_client"] = client
    assert admin.offsets([("t", 0)], latest=True) == {("t", 0): 7}
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
    admin.__dict__["_client"] = SimpleNamespace(list_offsets=list_offsets)
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
    assert admin.settings["demo_transactions"]["retention.bytes"] == str(kept)
    assert "retention.bytes" not in admin.settings["flagged_accounts"]


def test_retention_grows_with_the_free_space_and_never_shrinks() -> None:
    """A disk that has become fuller, by these very records perhaps, deletes none of them."""
    admin = FakeAdmin()
    list(LocalTopics(as_admin(admin), free_bytes=lambda: 16 << 30).create())
    for free, kept in ((1 << 30, 1 << 30), (64 << 30, 4 << 30), (16 << 30, 4 << 30)):
        list(LocalTopics(as_admin(admin), free_bytes=lambda free=free: free).create())  # type: ignore[misc]
        assert admin.settings["demo_transactions"]["retention.bytes"] == str(kept)


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
