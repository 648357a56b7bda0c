"""Commands that reach Kafka on AWS, by the installed executable: an emulated AWS, a real Kafka, the functions' code.

The stack is the emulator's; what Lambda is asked goes to the local function runner, which speaks Lambda's API.
"""

import json
import re
import shlex
import signal
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from emulated import AwsFraudctl, Emulator, running
from executable import Done
from lambda_servers import Server, Servers, servers
from lambda_tools import LAMBDAS, wait_for
from topic_functions import environment

from fraudctl.local.kafka.admin import KafkaAdmin
from fraudctl.local.kafka.topics import LocalTopics
from fraudctl.local.lambda_runner.spec import FunctionSpec, RunnerSpec
from fraudctl.local.processes import ports
from fraudctl.pipeline import kafka, samples, topics

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

STACK = "data"


@dataclass(frozen=True)
class Commands(AwsFraudctl):
    """The executable with Lambda at an address of its own."""

    functions: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """The emulator's, but for Lambda."""
        return {**super().environment, "AWS_ENDPOINT_URL_LAMBDA": self.functions}

    def documents(self, *arguments: str) -> list[dict[str, Any]]:
        """Run with JSON for output."""
        return self(*arguments, "-o", "json").documents


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An emulator of the module's own."""
    with running(tmp_path_factory.mktemp("emulator")) as found:
        yield found


@pytest.fixture(scope="module")
def kafka_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A Kafka with all topics."""
    with servers(tmp_path_factory.mktemp("servers")) as found:
        list(LocalTopics(KafkaAdmin(lambda: kafka.client(found.brokers))).create())
        yield found


@pytest.fixture(scope="module")
def fraudctl(
    emulator: Emulator, kafka_servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Commands]:
    """The executable with a deployed stack, whose functions run."""
    folder = tmp_path_factory.mktemp("functions")
    chosen, _ = ports.choose(["lambda"], {}, lambda _: False)
    brokers, both = kafka_servers.brokers, environment(kafka_servers.brokers)
    variables = {
        "TopicReader": {name: value for name, value in both.items() if name.startswith("TOPIC_READER")},
        "TopicWriter": {name: value for name, value in both.items() if name.startswith("TOPIC_WRITER")},
        "SampleTransactionGenerator": {"GENERATOR_BOOTSTRAP_SERVERS": brokers},
        "FlagAccountGenerator": {"FLAGGER_BOOTSTRAP_SERVERS": brokers},
    }
    folders = ("topic_reader", "topic_writer", "sample_transaction_generator", "flag_account_generator")
    specs = (
        FunctionSpec(name=f"{STACK}-{name}", folder=where, environment=variables[name])
        for name, where in zip(variables, folders, strict=True)
    )
    spec = RunnerSpec(
        port=chosen["lambda"], lambdas_folder=str(LAMBDAS), bootstrap_servers=brokers, functions=tuple(specs)
    )
    file = folder / "spec.json"
    file.write_text(spec.to_json())
    command = [sys.executable, "-P", "-m", "fraudctl.local.lambda_runner", str(file)]
    address = f"http://127.0.0.1:{chosen['lambda']}"
    runner = Server(command, folder / "runner.log", lambda: _answers(address))
    AwsFraudctl(folder / "home", emulator.url, STACK)("deploy", "--yes", "--no-samples")
    runner.start()
    try:
        yield Commands(folder / "home", emulator.url, STACK, None, address)
    finally:
        runner.terminate()


def _answers(address: str) -> None:
    with urllib.request.urlopen(f"{address}/_fraudctl/status", timeout=5):  # noqa: S310 - on 127.0.0.1
        pass


def test_flags_and_transactions_go_in_and_come_out(fraudctl: Commands, tmp_path: Path) -> None:
    """Written by functions, counted exactly, read by TopicReader with the options and output of the local target."""
    flags = fraudctl.documents("flag-accounts", "7", "8", "--reason", "stolen card")
    assert [(one["account_id"], one["status"], one["offset"] >= 0) for one in flags] == [
        (7, "FLAGGED", True),
        (8, "FLAGGED", True),
    ]
    seen = fraudctl.documents("tail", "flagged", "--last", "2", "--where", 'reason = "stolen card"')
    assert {one["value"]["account_id"] for one in seen} == {7, 8}
    assert "never been flagged" in fraudctl("flag-accounts", "--clear", "9").err
    assert {one["flagged_by"] for one in flags} == {"root"}  # of the ARN that the emulator's STS gives
    assert "8 is flagged from" in fraudctl("flag-accounts", "8", "--until", "2999-01-01T00:00:00Z").err
    extended = fraudctl.documents("flag-accounts", "8", "--extend", "--until", "1d")
    assert [(one["status"], one["flag_date"], one["reason"]) for one in extended] == [
        ("FLAGGED", "2999-01-01T00:00:00.000Z", "stolen card"),
        ("CLEARED", "2999-01-02T00:00:00.000Z", "stolen card"),
    ]

    file = tmp_path / "many.jsonl"
    drawn = samples.stream(Random(1))  # noqa: S311 - made-up data
    file.write_bytes(b"".join(next(drawn)[1] + b"\n" for _ in range(30_000)) + b"nonsense\n")
    (bad, sent) = fraudctl("transactions", "send", str(file), "-o", "json", code=8).documents
    assert (bad["line"], sent["delivered"], sent["invalid"]) == (30_001, 30_000, 1)
    done = fraudctl("tail", "transactions", "--from-beginning", "--no-follow", "--raw")
    assert sorted(done.out.splitlines()) == sorted(file.read_text().splitlines()[:-1])
    (_, rest) = fraudctl("transactions", "send", str(file), "--skip", "29990", "-o", "json", code=8).documents
    assert rest["delivered"] == 10

    assert fraudctl.documents("transactions", "generate", "--count", "500")[0]["delivered"] == 500
    assert fraudctl.documents("transactions", "generate", "--count", "5", "--seed", "1")[0]["delivered"] == 5
    rated = fraudctl.documents("transactions", "generate", "--per-second", "20", "--seconds", "1")
    assert rated[0]["delivered"] == 20
    (stats,) = [one for one in fraudctl.documents("topics", "list") if one["topic"] == "transactions"]
    assert stats["records"] == 30_000 + 10 + 500 + 5 + 20
    assert fraudctl("tail", "transactions", "--expect", "5", "--from-beginning", "--order", "partition").code == 0


def test_an_interrupted_send_goes_on_by_the_command_it_shows(
    fraudctl: Commands, kafka_servers: Servers, tmp_path: Path
) -> None:
    """Ctrl-C between batches, the command pasted: every transaction once, none twice."""
    file = tmp_path / "large file.jsonl"
    drawn, number = samples.stream(Random(2)), 120_000  # noqa: S311 - made-up data
    file.write_bytes(b"".join(next(drawn)[1] + b"\n" for _ in range(number)))
    admin = KafkaAdmin(lambda: kafka.client(kafka_servers.brokers))
    places = [(topics.TRANSACTIONS.name, partition) for partition in range(topics.PARTITIONS)]

    def written() -> int:
        return sum(admin.offsets(places, latest=True).values())

    before = written()
    process = fraudctl.popen("transactions", "send", str(file))
    wait_for(lambda: written() > before + 1000, "some are written", 60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert before + 1000 < written() < before + number, "it was interrupted too late to prove anything"
    assert json.loads(out)["delivered"] == written() - before
    (command,) = re.findall(r"Go on with `([^`]*)`", err)
    _, *rest = shlex.split(command)
    fraudctl(*rest)
    assert written() == before + number


def test_topics_are_listed_described_and_created(emulator: Emulator, fraudctl: Commands) -> None:
    """What MSK and the brokers say together; one that is gone from the cluster is created again."""
    listed = fraudctl.documents("topics", "list")
    assert [(one["name"], one["exists"], one["partitions"]) for one in listed] == [
        (topic.name, True, topics.PARTITIONS) for topic in topics.ALL
    ]
    (described,) = fraudctl.documents("topics", "describe", "processed")
    assert described["config"] == topics.PROCESSED.config
    assert len(described["partitions"]) == topics.PARTITIONS
    assert "up to a minute ago" in fraudctl("topics", "describe", "processed").err
    assert "all 4 as they should be" in fraudctl("topics", "create").err
    cluster = emulator.client("kafka").list_clusters_v2()["ClusterInfoList"][0]["ClusterArn"]
    emulator.client("kafka").delete_topic(ClusterArn=cluster, TopicName=topics.DEAD_LETTERS.name)
    assert "dead_letters created" in fraudctl("topics", "create").err


def test_the_audit_table_is_asked_in_its_own_place(fraudctl: Commands) -> None:
    """An empty table of DynamoDB."""
    assert "No detections yet" in fraudctl("audit", "query").err


def test_what_cannot_be_asked_is_said_in_a_line(fraudctl: Commands) -> None:
    """A stack that another version deployed has no such function; no credentials, no region, no network."""

    def ended(code: int, *arguments: str, **variables: str | None) -> Done:
        changed = {name: value for name, value in {**fraudctl.environment, **variables}.items() if value is not None}

        class Changed(Commands):
            @property
            def environment(self) -> dict[str, str]:
                return changed

        return Changed(fraudctl.home, fraudctl.url, STACK, None, fraudctl.functions)(*arguments, code=code)

    older = ended(3, "tail", "processed", "--last", "1", AWS_ENDPOINT_URL_LAMBDA=fraudctl.url, FRAUDCTL_STACK="older")
    assert "stack older: not deployed" in older.err
    nobody = ended(4, "topics", "list", AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None)
    assert "aws configure" in nobody.err
    nowhere = ended(2, "topics", "list", AWS_DEFAULT_REGION=None)
    assert "AWS region: none is set" in nowhere.err
    for done in (older, nobody, nowhere):
        assert len([line for line in done.err.splitlines() if line.startswith("Error: ")]) == 1
