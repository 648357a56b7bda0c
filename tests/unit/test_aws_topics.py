"""Topics on AWS: what MSK and TopicReader say together, and what is said when either does not answer."""

import base64
from collections.abc import Mapping
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from stubs import Aws, FakeTime

from fraudctl.aws.errors import ConnectionLost, Throttled
from fraudctl.aws.resources.functions import FunctionError
from fraudctl.aws.resources.reader import TopicReader
from fraudctl.aws.resources.topics import AwsTopics
from fraudctl.errors import FraudctlError, NotDeployed, OperationFailed, TimedOut, Unreachable
from fraudctl.pipeline import topics
from fraudctl.pipeline.reader import Request
from fraudctl.target import Origin, Phase

ARN = "arn:aws:kafka:eu-west-1:123456789012:cluster/fraud-detection/4d3c-1"
PARTITION = {"leader": 1, "replicas": [1, 2], "isr": [1, 2], "stable": 5, "last_10s": 1, "last_minute": 2}


def partition(number: int, latest: int = 5) -> dict[str, Any]:
    """Return a partition as TopicReader answers."""
    return {**PARTITION, "partition": number, "earliest": 0, "latest": latest, "newest_at": 1_790_000_000_000}


def encoded(config: Mapping[str, str]) -> str:
    """Return a topic's settings as MSK has them: without a line break at the end."""
    return base64.b64encode("\n".join(f"{name}={value}" for name, value in config.items()).encode()).decode()


def described(
    topic: topics.Topic, status: str = "ACTIVE", partitions: int = 4, config: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return DescribeTopic's answer."""
    return {
        "TopicName": topic.name,
        "PartitionCount": partitions,
        "ReplicationFactor": 2,
        "Status": status,
        "Configs": encoded({**topic.config, **(config or {})}),
    }


class Answers:
    """A TopicReader function with prepared answers."""

    def __init__(self, *answers: Any) -> None:
        """Store them."""
        self.left = list(answers)
        self.asked: list[Mapping[str, Any]] = []

    def __call__(self, _name: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give the next one."""
        self.asked.append(payload)
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


def on(aws: Aws, *answers: Any, notes: list[str] | None = None, time: FakeTime | None = None) -> AwsTopics:
    """Return the topics of a stack whose MSK follows the script and whose function gives the answers."""
    clock = (time or FakeTime()).clock()
    reader = TopicReader(Answers(*answers), clock)
    note = (notes if notes is not None else []).append
    return AwsTopics(lambda: aws.session().client("kafka"), lambda: ARN, reader, clock, note=note)


def listed(aws: Aws, *names: str) -> None:
    """Expect the list of topics; Kafka's and MSK's own are in it."""
    own = ("__consumer_offsets", "__amazon_msk_canary")
    found = [{"TopicName": name, "PartitionCount": 4, "ReplicationFactor": 2} for name in (*own, *names)]
    aws.on("kafka").list_topics(ClusterArn=ARN).returns({"Topics": found})


ALL = [topic.name for topic in topics.ALL]


def test_the_list_has_what_the_brokers_have() -> None:
    """Existence and numbers; where MSK's list of a minute ago says something else, that is said."""
    notes: list[str] = []
    with Aws() as aws:
        listed(aws, *ALL)
        found = on(aws, {"topics": {name: [partition(0), partition(1)] for name in ALL}}, notes=notes).list()
    assert [(one.alias, one.exists, one.records, one.replication) for one in found] == [
        (topic.alias, True, 10, 2) for topic in topics.ALL
    ]
    assert found[0].partitions[1].replicas == (1, 2)
    assert notes == []
    with Aws() as aws:
        listed(aws, *ALL[1:])
        (first, *_) = on(aws, {"topics": {name: [partition(0)] for name in ALL[1:]}}, notes=notes).list()
        assert not first.exists
    assert notes == []
    with Aws() as aws:
        listed(aws, *ALL[1:])
        (first, *_) = on(aws, {"topics": {name: [partition(0)] for name in ALL}}, notes=notes).list()
        assert first.exists
    assert notes == ["MSK lists topics as they were up to a minute ago."]


def test_a_topic_is_described_with_its_settings() -> None:
    """Those of the pipeline, changed ones, and what somebody has added; with the age of what MSK says."""
    notes: list[str] = []
    topic = topics.PROCESSED
    answer = described(topic, config={"retention.ms": "5", "segment.ms": "7"})
    with Aws() as aws:
        aws.on("kafka").describe_topic(ClusterArn=ARN, TopicName=topic.name).returns(answer)
        found = on(aws, {"topics": {topic.name: [partition(0, 9)]}}, notes=notes).describe(topic.name)
    assert {one.name: (one.value, one.origin) for one in found.settings} == {
        "max.message.bytes": ("2097152", Origin.PIPELINE),
        "retention.ms": ("5", Origin.CHANGED),
        "segment.ms": ("7", Origin.ADDED),
    }
    assert found.config["segment.ms"] == "7"
    assert found.partitions[0].latest == 9
    assert len(notes) == 1


def test_a_topic_that_is_not_there() -> None:
    """Neither MSK nor the brokers have it."""
    with Aws() as aws:
        aws.on("kafka").describe_topic(ClusterArn=ARN, TopicName=ALL[0]).fails("NotFoundException")
        with pytest.raises(NotDeployed, match="does not exist") as caught:
            on(aws, {"topics": {}}).describe(ALL[0])
    assert "fraudctl topics create" in str(caught.value.hint)


def test_create_makes_what_is_missing_and_repairs_what_differs() -> None:
    """Missing ones are waited for, however old MSK's answers are; settings of others stay."""
    time = FakeTime()
    missing, wrong, *fine = topics.ALL
    with Aws() as aws:
        kafka = aws.on("kafka")
        kafka.describe_topic(ClusterArn=ARN, TopicName=missing.name).fails("NotFoundException")
        kafka.create_topic(
            ClusterArn=ARN,
            TopicName=missing.name,
            PartitionCount=4,
            ReplicationFactor=2,
            Configs=base64.b64encode("".join(f"{k}={v}\n" for k, v in missing.config.items()).encode()).decode(),
        ).fails("TopicExistsException")
        kafka.describe_topic(ClusterArn=ARN, TopicName=missing.name).fails("NotFoundException")
        kafka.describe_topic(ClusterArn=ARN, TopicName=missing.name).returns(described(missing, "CREATING"))
        kafka.describe_topic(ClusterArn=ARN, TopicName=missing.name).returns(described(missing))
        kept = {"segment.ms": "7", **wrong.config}
        kafka.describe_topic(ClusterArn=ARN, TopicName=wrong.name).returns(
            described(wrong, partitions=8, config={"retention.ms": "5", "segment.ms": "7"})
        )
        kafka.update_topic(
            ClusterArn=ARN,
            TopicName=wrong.name,
            Configs=base64.b64encode("".join(f"{k}={v}\n" for k, v in kept.items()).encode()).decode(),
        ).returns({"Status": "UPDATING"})
        kafka.describe_topic(ClusterArn=ARN, TopicName=wrong.name).returns(described(wrong))
        for topic in fine:
            for _ in range(2):
                kafka.describe_topic(ClusterArn=ARN, TopicName=topic.name).returns(described(topic))
        events = list(on(aws, time=time).create())
    assert events[-1].phase is Phase.DONE
    assert events[-1].detail == f"{missing.name} created, {wrong.name} repaired"
    notes = [event.detail for event in events if event.phase is Phase.NOTE]
    assert notes == [
        f"{wrong.name}: retention.ms was 5, is -1 now",
        f"{wrong.name} has 8 partitions, not 4",
    ]
    assert len(time.slept) == 2


def test_a_cluster_that_is_not_active_is_named_with_its_state() -> None:
    """MSK itself only says that something is wrong."""
    with Aws() as aws:
        aws.on("kafka").list_topics(ClusterArn=ARN).fails("BadRequestException", "The cluster is not ready.")
        aws.on("kafka").describe_cluster_v2(ClusterArn=ARN).returns({"ClusterInfo": {"State": "MAINTENANCE"}})
        with pytest.raises(Unreachable, match="the cluster is MAINTENANCE"):
            on(aws).list()
    with Aws() as aws:
        aws.on("kafka").list_topics(ClusterArn=ARN).fails("BadRequestException", "Something else.")
        aws.on("kafka").describe_cluster_v2(ClusterArn=ARN).returns({"ClusterInfo": {"State": "ACTIVE"}})
        with pytest.raises(OperationFailed, match="Something else"):
            on(aws).list()
    with Aws() as aws:
        message = "User: a is not authorized to perform: kafka-cluster:DescribeTopic on resource: b"
        aws.on("kafka").list_topics(ClusterArn=ARN).fails("ForbiddenException", message)
        with pytest.raises(Unreachable, match="not allowed") as caught:
            on(aws).list()
    assert "kafka-cluster:DescribeTopic" in str(caught.value.hint)
    assert "cfn/deployer-policy.json" in str(caught.value.hint)


def test_partitions_are_added_and_waited_for() -> None:
    """Until the brokers themselves have them."""
    name = ALL[0]
    with Aws() as aws:
        aws.on("kafka").update_topic(ClusterArn=ARN, TopicName=name, PartitionCount=3).returns({"Status": "UPDATING"})
        aws.on("kafka").describe_topic(ClusterArn=ARN, TopicName=name).returns(described(topics.ALL[0]))
        before, after = ({"topics": {name: [partition(n) for n in range(count)]}} for count in (2, 3))
        on(aws, before, after).add_partitions(name, 3)


def test_lag_of_the_groups() -> None:
    """The application's is that of its last checkpoint."""
    groups = [
        {"group": "fraud-detection", "topic": ALL[0], "lag": 7, "behind_ms": 1500},
        {"group": "fraud-detection-audit-writer", "topic": ALL[2], "lag": 0, "behind_ms": 0},
    ]
    with Aws() as aws:
        application, writer = on(aws, {"groups": groups}).consumers(timed=True)
    assert (application.lag, application.behind_ms, application.as_of_checkpoint) == (7, 1500, True)
    assert (writer.lag, writer.as_of_checkpoint) == (0, False)


def test_brokers_that_refuse_the_login_are_not_silent() -> None:
    """The reason that a broker gave comes through the function, and is told from a topic that is not allowed."""
    refused = {"error": {"code": KafkaError._AUTHENTICATION, "reason": "the brokers refuse the login: token expired"}}
    denied = {"error": {"code": KafkaError.TOPIC_AUTHORIZATION_FAILED, "reason": "Topic authorization failed"}}
    for answer, said in ((refused, "token expired"), (denied, "Topic authorization failed")):
        with Aws() as aws:
            listed(aws, *ALL)
            with pytest.raises(Unreachable, match=f"topics: not allowed: .*{said}"):
                on(aws, answer).list()


REQUEST = Request("t", {0: 5}, wait_s=0.5)


@pytest.mark.parametrize(
    "error",
    [
        Throttled("TopicReader: AWS is throttling"),
        ConnectionLost("TopicReader: no network"),
        TimedOut("TopicReader: no answer in time"),
        FunctionError("TopicReader: it ran out of time", kind="Sandbox.Timedout"),
    ],
)
def test_what_passes_is_waited_out(error: FraudctlError) -> None:
    """A tail goes on when it is over: the batch says why there is nothing, after a pause."""
    time, notes = FakeTime(), list[str]()
    reader = TopicReader(Answers(error, error), time.clock(), notes.append)
    batch = reader.poll(REQUEST)
    assert (list(batch.records), batch.positions, batch.unreachable) == ([], {0: 5}, str(error))
    reader.poll(REQUEST)
    assert time.slept == [1.0, 1.0]
    assert notes == [str(error)]


def test_what_does_not_pass_ends_the_read() -> None:
    """No such function, a record that no answer holds, an error of Kafka, a fault of the function."""
    clock = FakeTime().clock()
    with pytest.raises(NotDeployed):
        TopicReader(Answers(NotDeployed("no such function")), clock).poll(REQUEST)
    large = FunctionError("too large", kind="Function.ResponseSizeTooLarge")
    with pytest.raises(OperationFailed, match="from offsets 0:5 on is over the 6 MB") as caught:
        TopicReader(Answers(large), clock).poll(REQUEST)
    assert "--offsets" in str(caught.value.hint)
    with pytest.raises(KafkaException) as raised:
        TopicReader(Answers({"error": {"code": 3, "reason": "no such topic"}}), clock).poll(REQUEST)
    assert raised.value.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    with pytest.raises(FunctionError, match="KeyError"):
        TopicReader(Answers(FunctionError("TopicReader: KeyError: 'x'", kind="KeyError")), clock).poll(REQUEST)
