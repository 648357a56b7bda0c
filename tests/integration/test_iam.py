"""Every role of the template at a real broker that checks its tokens and evaluates its policies, as MSK does."""

import base64
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import iam_broker
import lambda_zips
import oracle
import pytest
from confluent_kafka import TopicPartition
from histories import transaction_json
from iam_broker import NAMES, Credentials, IamBroker, Roles
from lambda_tools import wait_for
from lambda_zips import FunctionError, ZipFunction
from managed_flink import ManagedFlink
from templates import Template, load, text

from fraudctl import config
from fraudctl.artifacts.bundles import Bundles, build_all
from fraudctl.pipeline import kafka, topics, wire
from fraudctl.pipeline.reader import Request
from fraudctl.pipeline.records import AccountFlag, Transaction

pytestmark = pytest.mark.integration

GROUP = f"{NAMES['AWS::StackName']}-audit-writer"
POLLER = Path(__file__).parents[1] / "iam_poller.py"
FLAGGER, GENERATOR, WRITER = (
    f"{name}Role" for name in ("FlagAccountGenerator", "SampleTransactionGenerator", "AuditWriter")
)


@dataclass
class Cluster:
    """The broker, and what deploy would have uploaded."""

    broker: IamBroker
    bundles: Bundles
    folder: Path
    template: Template
    beside: Path
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def roles(self) -> Roles:
        """The roles that it knows."""
        return self.broker.roles

    @contextmanager
    def function(
        self, name: str, *, credentials: Credentials | None = None, region: str | None = None, **spec: Any
    ) -> Iterator[ZipFunction]:
        """Run a function of the template with its role, and what else the test says."""
        folder = self.folder / str(next(self._numbers))
        properties = self.template.properties(name)
        role = properties["Role"]["Fn::GetAtt"][0]
        names = {**NAMES, "BootstrapServers": self.broker.address}
        variables = (
            properties["Environment"]["Variables"] if "handler" not in spec else {"BROKERS": names["BootstrapServers"]}
        )
        environment = {key: text(value, names) for key, value in variables.items()}
        environment |= {"AWS_REGION": region or self.roles.region, **(credentials or self.roles.keys[role]).environment}
        # The poller needs Kafka's client, which AuditWriter's own zip does not have.
        archive = self.bundles.sample_transaction_generator if name == "AuditWriter" else self._archive(name)
        specification = {
            "folder": str(lambda_zips.unpacked(archive, folder / "task")),
            "beside": str(self.beside),
            "certificate": str(self.broker.certificate),
            **spec,
        }
        with lambda_zips.started(folder, environment, specification, timeout_s=properties["Timeout"]) as function:
            yield function

    def _archive(self, name: str) -> Path:
        key: str = self.template.properties(name)["Code"]["S3Key"]["Ref"]
        return next(path for path in self.bundles.paths() if path.name == self.bundles.parameters()[key])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One broker for the module, with the template's own policies."""
    folder, template = tmp_path_factory.mktemp("iam"), load()
    bundles = build_all(config.load().cache)
    roles = Roles.of(template, folder)
    beside = lambda_zips.beside(folder / "beside")
    with iam_broker.running(folder / "kafka", roles) as broker:
        yield Cluster(broker, bundles, folder, template, beside)


@pytest.fixture
def policies(cluster: Cluster) -> Iterator[Callable[[str, str], None]]:
    """Deny a role an action, as a policy of an account may, until the test ends."""
    before = {role: list(rules) for role, rules in cluster.roles.policies.items()}

    def deny(role: str, action: str) -> None:
        cluster.roles.policies[role] = [*before[role], ("Deny", f"kafka-cluster:{action}", "*")]
        cluster.roles.write()

    yield deny
    cluster.roles.policies = before
    cluster.roles.write()


def everything(cluster: Cluster, topic: str) -> list[bytes]:
    """Read a topic from its beginning to what is its end now, as nobody in particular."""
    properties = kafka.consumer(kafka.client(cluster.broker.plain), "tests") | {"isolation.level": "read_uncommitted"}
    consumer = kafka.open_consumer(properties)
    places = [TopicPartition(topic, partition, 0) for partition in range(topics.PARTITIONS)]
    number = sum(consumer.get_watermark_offsets(place, timeout=10)[1] for place in places)
    consumer.assign(places)
    found: list[bytes] = []
    while len(found) < number:
        message = consumer.poll(30)
        assert message is not None, f"{len(found)} of {number} records of {topic}"
        assert message.error() is None
        found.append(message.value() or b"")
    consumer.close()
    return found


def test_functions_write_to_their_topics(cluster: Cluster) -> None:
    """Out of their zips, with their roles, environment and login; each does what its policy names and no more."""
    before = len(everything(cluster, topics.TRANSACTIONS.name))
    with cluster.function("SampleTransactionGenerator") as generate, cluster.function("FlagAccountGenerator") as flag:
        assert generate({"count": 500}) == {"sent": 500, "failed": 0}
        answer = flag({"accounts": [7, 8], "reason": "stolen"})["flags"]
    assert [(item["account_id"], item["reason"]) for item in answer] == [(7, "stolen"), (8, "stolen")]
    written = everything(cluster, topics.TRANSACTIONS.name)
    assert len(written) == before + 500
    assert all(Transaction.parse(value) for value in written)
    flags = [AccountFlag.parse(value) for value in everything(cluster, topics.FLAGGED.name)]
    assert {(found.account_id, found.reason) for found in flags} >= {(7, "stolen"), (8, "stolen")}
    for role, topic in ((GENERATOR, "demo_transactions"), (FLAGGER, "flagged_accounts")):
        assert cluster.roles.allowed(role) == {
            ("WriteDataIdempotently", "cluster"),
            ("DescribeTopic", f"topic {topic}"),
            ("WriteData", f"topic {topic}"),
        }
        assert cluster.roles.denied(role) == set()


def test_pollers_read_and_commit_with_the_writers_role(cluster: Cluster) -> None:
    """What the event source mapping does with the role of AuditWriter: its group and its topic, nothing else."""
    with kafka.open_producer(kafka.producer(kafka.client(cluster.broker.plain))) as producer:
        records = [kafka.Outgoing(topics.PROCESSED.name, b"%d" % number, b"r%d" % number) for number in range(20)]
        assert kafka.deliver(producer, records).delivered == 20
    asked = {"topic": "processed_topic", "group": GROUP, "number": 20, "seconds": 20}
    with cluster.function("AuditWriter", handler=str(POLLER)) as poll:
        answer = poll(asked)
        assert answer.get("number") == 20, answer
        values = [
            base64.b64decode(record["value"]) for records in answer["event"]["records"].values() for record in records
        ]
        assert set(values) >= {b"r%d" % number for number in range(20)}
        assert poll(asked | {"number": 0, "commit": True})["committed"] == 20
        assert cluster.roles.allowed(WRITER) == {
            ("DescribeTopic", "topic processed_topic"),
            ("ReadData", "topic processed_topic"),
            ("DescribeGroup", f"group {GROUP}"),
            ("AlterGroup", f"group {GROUP}"),
        }
        assert cluster.roles.denied(WRITER) == set()
        assert "Group authorization failed" in poll(asked | {"group": "fraud-detection"})["error"]
    with cluster.function("AuditWriter", handler=str(POLLER)) as poll:
        assert "Topic authorization failed" in poll(asked | {"topic": "demo_transactions", "seconds": 5})["error"]
    assert cluster.roles.denied(WRITER) == {
        ("DescribeGroup", "group fraud-detection"),
        ("DescribeTopic", "topic demo_transactions"),
    }


def test_the_command_line_reads_and_writes_by_its_functions(cluster: Cluster) -> None:
    """TopicWriter writes any of the four topics, TopicReader answers every question, each with its role alone."""
    before = len(everything(cluster, topics.DEAD_LETTERS.name))
    block = wire.packed_contents([(b"k", b"v%d" % number, (("h", b"1"),)) for number in range(10)])
    with cluster.function("TopicWriter") as write, cluster.function("TopicReader") as read_:
        done = write({"topic": topics.DEAD_LETTERS.name, "records": block})
        assert (done["delivered"], done["failed"]) == (10, 0)
        for topic in topics.ALL:
            write({"topic": topic.name, "records": wire.packed_contents([(b"k", b"x", ())])})
        found = wire.bounds_of(read_({"ask": "bounds", "topic": topics.DEAD_LETTERS.name}))
        assert sum(found.highs.values()) == before + 11
        wanted = Request(topics.DEAD_LETTERS.name, dict.fromkeys(range(topics.PARTITIONS), 0), found.highs, wait_s=5)
        batch = wire.batch_of(read_({"ask": "poll", "topic": wanted.topic, **wire.request(wanted)}), wanted.topic)
        assert {record.value for record in batch.records} >= {b"v%d" % number for number in range(10)}
        names = [topic.name for topic in topics.ALL]
        listed = read_({"ask": "partitions", "topics": names})["topics"]
        assert {name: len(partitions) for name, partitions in listed.items()} == dict.fromkeys(names, topics.PARTITIONS)
        read_({"ask": "lag", "timed": True})
        at = {"ask": "offsets_at", "topic": topics.FLAGGED.name, "moment": 0, "ends": wire.by_text(found.highs)}
        assert set(read_(at)["offsets"]) == {str(partition) for partition in range(topics.PARTITIONS)}
    assert cluster.roles.denied("TopicReaderRole") == cluster.roles.denied("TopicWriterRole") == set()
    assert ("ReadData", "topic dead_letters") in cluster.roles.allowed("TopicReaderRole")
    assert {("WriteData", f"topic {name}") for name in names} <= cluster.roles.allowed("TopicWriterRole")


def test_the_application_detects_with_its_role(cluster: Cluster, tmp_path: Path) -> None:
    """The one jar, in a class loader of its own, with the resource's properties: MSK's login in both of its processes.

    It goes on where it stopped, in the same processes but with new class loaders, as after a failure of one of the two.
    """
    resource_ = cluster.template.properties("FlinkApplication")["ApplicationConfiguration"]
    names = {**NAMES, "BootstrapServers": cluster.broker.address, "HoldMs": "60000", "SlackMs": "1000"}
    groups = [
        {**group, "PropertyMap": {key: text(value, names) for key, value in group["PropertyMap"].items()}}
        for group in resource_["EnvironmentProperties"]["PropertyGroups"]
    ]
    environment = {"PATH": os.environ["PATH"], "AWS_REGION": cluster.roles.region}
    environment |= cluster.roles.keys["FlinkRole"].environment
    options = {"parallelism.default": "1", "execution.checkpointing.interval": "2s"}
    jar = cluster.bundles.flink_jar
    application = ManagedFlink(tmp_path, jar, groups, environment, options, cluster.broker.certificate)
    try:
        application.start()
        with cluster.function("FlagAccountGenerator") as flag, cluster.function("TopicWriter") as write:
            flag({"accounts": [4711], "from": "2026-01-01T00:00:00Z"})

            def send(number: str) -> None:
                now = round(time.time() * 1000)
                value = transaction_json(oracle.Transaction(now, 4711, now, number))
                write({"topic": topics.TRANSACTIONS.name, "records": wire.packed_contents([(b"4711", value, ())])})

            def found() -> set[str]:
                values = everything(cluster, topics.PROCESSED.name)
                return {json.loads(value)["transaction_id"] for value in values if b"4711" in value}

            send("before")
            wait_for(lambda: found() == {"before"}, "the first detection", 60, pause=0.5)
            savepoint = application.stop(end=False)
            send("while stopped")
            application.start(savepoint)
            wait_for(lambda: found() == {"before", "while stopped"}, "the second detection", 60, pause=0.5)
    finally:
        application.kill()
    assert application.written_elsewhere() == []
    assert cluster.roles.denied("FlinkRole") == set()
    assert cluster.roles.allowed("FlinkRole") >= {
        *(("ReadData", f"topic {name}") for name in ("demo_transactions", "flagged_accounts")),
        *(("WriteData", f"topic {name}") for name in ("processed_topic", "dead_letters")),
        ("AlterGroup", "group fraud-detection"),
    }


# What is wrong with a login → how the function is run for it, and what it says.
REFUSED: Mapping[str, tuple[dict[str, Any], str]] = {
    "an expired token": ({"token": "expired"}, "the token expired at 20"),
    "an unsigned token": ({"token": "unsigned"}, "the token has no X-Amz-Signature"),
    "a token of another region": (
        {"region": "us-west-2"},
        "the token is for kafka.us-west-2.amazonaws.com, this cluster is in eu-west-1",
    ),
    "an unknown key": ({"access_key": "ASIA9999999999999999"}, "the access key ASIA9999999999999999 is unknown"),
    "another key's secret": ({"secret": "guessed"}, "the token's signature does not match"),
    "another session's token": ({"session": "of another one"}, "the session token is not that of the key"),
}


def test_a_refused_login_is_named(cluster: Cluster) -> None:
    """The function says in seconds why the brokers do not let it in, and that nothing was written."""
    before = len(everything(cluster, topics.FLAGGED.name))
    own = cluster.roles.keys[FLAGGER]

    def refused(kind: str) -> tuple[str, float]:
        options = dict(REFUSED[kind][0])
        used = Credentials(
            *(
                options.pop(name, value)
                for name, value in zip(("access_key", "secret", "session"), astuple(own), strict=True)
            )
        )
        with cluster.function("FlagAccountGenerator", credentials=used, **options) as flag:
            start = time.monotonic()
            with pytest.raises(FunctionError) as error:
                flag({"accounts": [1]})
            return str(error.value), time.monotonic() - start

    with ThreadPoolExecutor(len(REFUSED)) as threads:
        found = dict(zip(REFUSED, threads.map(refused, REFUSED), strict=True))
    for kind, (_, why) in REFUSED.items():
        said, seconds = found[kind]
        assert said.startswith("RuntimeError: not written, accounts 1: the brokers refuse the login: Access denied"), (
            kind
        )
        assert why in said, kind
        assert seconds < 20, kind
    assert len(everything(cluster, topics.FLAGGED.name)) == before


def test_the_reader_says_why_it_is_refused(cluster: Cluster) -> None:
    """Both of its clients: the one that reads, and the one that asks about partitions and groups."""
    asks = ({"ask": "bounds", "topic": topics.FLAGGED.name}, {"ask": "partitions", "topics": [topics.FLAGGED.name]})

    def refused(asked: dict[str, Any]) -> str:
        with cluster.function("TopicReader", token="expired") as read:
            return str(read(asked)["error"]["reason"])

    with ThreadPoolExecutor(len(asks)) as threads:
        for said in threads.map(refused, asks):
            assert said.startswith("the brokers refuse the login: Access denied: the token expired at 20")


# A denied action → what the function says. Only the first is about the login.
DENIED: Mapping[str, str] = {
    "Connect": "the brokers refuse the login: Access denied: FlagAccountGeneratorRole lacks kafka-cluster:Connect",
    "WriteData": "not written, accounts 1: Broker: Topic authorization failed",
    "DescribeTopic": "not written, accounts 1: Broker: Topic authorization failed",
    "WriteDataIdempotently": "Broker: Cluster authorization failed",
}


@pytest.mark.parametrize("action", DENIED)
def test_each_action_of_a_writer_is_needed(cluster: Cluster, policies: Callable[[str, str], None], action: str) -> None:
    """Denied one, the function says which kind; allowed it again, the next call of the same function works."""
    policies(FLAGGER, action)
    with cluster.function("FlagAccountGenerator") as flag:
        with pytest.raises(FunctionError, match=DENIED[action]):
            flag({"accounts": [1]})
        policies(FLAGGER, "Nothing")
        assert flag({"accounts": [1]})["flags"][0]["account_id"] == 1


def test_tokens_are_renewed_under_load(cluster: Cluster) -> None:
    """With tokens of four seconds, after which the broker closes connections, nothing is lost in nine."""
    before = len(everything(cluster, topics.TRANSACTIONS.name))
    logins = len(cluster.roles.tokens(GENERATOR))
    with cluster.function("SampleTransactionGenerator", token_s=4) as generate:
        assert generate({"per_second": 400, "seconds": 9}) == {"sent": 3600, "failed": 0}
    assert len(everything(cluster, topics.TRANSACTIONS.name)) == before + 3600
    assert len(cluster.roles.tokens(GENERATOR)) >= logins + 3
