"""Real Kafka, DynamoDB Local and Lambda runner for tests, started by the product's own command lines."""

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined] # its stub forgets it
from lambda_tools import LAMBDAS, wait_for

from fraudctl import config
from fraudctl.local.dynamodb import server
from fraudctl.local.kafka import broker
from fraudctl.local.lambda_runner.spec import EventSourceMappingSpec, FunctionSpec, RunnerSpec, ScheduleSpec
from fraudctl.local.processes import ports
from fraudctl.local.processes.tools import Toolbox, Tools
from fraudctl.pipeline import audit_table, topics
from fraudctl.pipeline.kafka import client

CREDENTIALS = {"region_name": "local", "aws_access_key_id": "local", "aws_secret_access_key": "local"}


@dataclass
class Server:
    """A process with a log, and the question that tells whether it is ready."""

    command: Sequence[str]
    log: Path
    answers: Callable[[], object]
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start and wait until it answers; fails with its log when it does not."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        try:
            wait_for(self._ready, f"{self.log.name} answers", 60)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log.read_text()[-3000:]}") from None

    def kill(self) -> None:
        """End it as a crash does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Ask it to end and give its exit code; fails when it has not ended in 30 s."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"ended with code {self.process.returncode}"
        try:
            self.answers()
        except (KafkaException, BotoCoreError, ClientError, OSError):
            return False
        return True


@dataclass
class Servers:
    """The running Kafka and DynamoDB Local."""

    kafka: Server
    dynamodb: Server
    brokers: str
    dynamodb_options: dict[str, Any]
    admin: AdminClient
    table_client: Any
    folder: Path
    _made: int = field(default=0)

    def pipeline(self, **mapping: Any) -> "Pipeline":
        """Make topic, group, table and a runner of their own; the runner is not started."""
        self._made += 1
        name = f"test-{self._made}"
        topic = NewTopic(f"processed-{name}", topics.PARTITIONS, 1, config=topics.PROCESSED.config)
        self.admin.create_topics([topic])[topic.topic].result(30)
        self.table_client.create_table(**audit_table.definition(f"{name}-audit"))
        return Pipeline(self, name, mapping)


class Pipeline:
    """One runner with its topic, group and table. Never more than one: the input topics are shared."""

    def __init__(self, servers: Servers, name: str, mapping: dict[str, Any]) -> None:
        """Write the runner's specification."""
        self.servers, self.name = servers, name
        self.topic, self.group, self.table = f"processed-{name}", f"{name}-audit-writer", f"{name}-audit"
        self.folder = servers.folder / name
        self.folder.mkdir()
        self.on_failure = self.folder / "on-failure"
        chosen, _ = ports.choose(["lambda"], {}, lambda _: False)
        self.address = f"http://127.0.0.1:{chosen['lambda']}"
        writer = {
            "WRITER_TABLE": self.table,
            "WRITER_DYNAMODB": json.dumps(servers.dynamodb_options),
            "WRITER_ON_FAILURE": self.on_failure.as_uri(),
            "WRITER_TRANSACTION_ROWS": "100",
        }
        brokers = servers.brokers
        spec = RunnerSpec(
            port=chosen["lambda"],
            lambdas_folder=str(LAMBDAS),
            bootstrap_servers=brokers,
            functions=(
                FunctionSpec(
                    name=f"{name}-SampleTransactionGenerator",
                    folder="sample_transaction_generator",
                    environment={"GENERATOR_BOOTSTRAP_SERVERS": brokers},
                ),
                FunctionSpec(
                    name=f"{name}-FlagAccountGenerator",
                    folder="flag_account_generator",
                    environment={"FLAGGER_BOOTSTRAP_SERVERS": brokers},
                ),
                FunctionSpec(name=f"{name}-AuditWriter", folder="audit_writer", environment=writer, timeout_s=30),
            ),
            schedule=ScheduleSpec(
                function=f"{name}-SampleTransactionGenerator",
                payload={"per_second": 20, "seconds": 55},
                state_file=str(self.folder / "schedule.json"),
                enabled=False,
            ),
            mapping=EventSourceMappingSpec(
                function=f"{name}-AuditWriter",
                topic=self.topic,
                group=self.group,
                on_failure=str(self.on_failure),
                state_file=str(self.folder / "mapping.json"),
                **mapping,
            ),
        )
        file = self.folder / "spec.json"
        file.write_text(spec.to_json())
        command = [sys.executable, "-P", "-m", "fraudctl.local.lambda_runner", str(file)]
        self.runner = Server(command, self.folder / "runner.log", lambda: self.get("/_fraudctl/status"))

    def get(self, path: str) -> Any:
        """GET from the control API."""
        return self._ask(urllib.request.Request(self.address + path))  # noqa: S310 - loopback

    def post(self, path: str) -> Any:
        """POST to the control API."""
        return self._ask(urllib.request.Request(self.address + path, b"{}"))  # noqa: S310 - loopback

    def mapping(self) -> dict[str, Any]:
        """Give the mapping's status."""
        found: dict[str, Any] = self.get("/_fraudctl/status")["mapping"]
        return found

    def invoke(self, function: str, payload: dict[str, Any]) -> Any:
        """Invoke a function by a boto3 client and give its answer; fails on a function error."""
        lambda_client = boto3.client("lambda", endpoint_url=self.address, **CREDENTIALS)  # type: ignore[call-overload]
        answer = lambda_client.invoke(FunctionName=f"{self.name}-{function}", Payload=json.dumps(payload))
        content = json.load(answer["Payload"])
        lambda_client.close()
        assert "FunctionError" not in answer, content
        return content

    def count(self) -> int:
        """Count the rows of the table."""
        pages = self.servers.table_client.get_paginator("scan").paginate(TableName=self.table, Select="COUNT")
        return sum(page["Count"] for page in pages)

    def rows(self) -> list[audit_table.AuditRow]:
        """Give all rows of the table, by the offset of their transaction."""
        resource = boto3.resource("dynamodb", **self.servers.dynamodb_options)
        pages = resource.meta.client.get_paginator("scan").paginate(TableName=self.table)
        found = [audit_table.AuditRow.from_item(item) for page in pages for item in page["Items"]]
        resource.meta.client.close()
        return sorted(found, key=lambda row: row.transaction_offset)

    def committed(self) -> dict[int, int]:
        """Give the group's committed offsets by partition."""
        places = [TopicPartition(self.topic, partition) for partition in range(topics.PARTITIONS)]
        request = [ConsumerGroupTopicPartitions(self.group, places)]
        found = self.servers.admin.list_consumer_group_offsets(request)[self.group].result(30)
        return {place.partition: place.offset for place in found.topic_partitions if place.offset >= 0}

    def log(self) -> str:
        """Give the runner's log."""
        return self.runner.log.read_text()

    @staticmethod
    def _ask(request: urllib.request.Request) -> Any:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            return json.load(answer)


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Run Kafka and DynamoDB Local until the block ends."""
    settings = config.load()
    toolbox = Toolbox(settings.cache, settings.java_home)
    for _ in toolbox.ensure():
        pass
    tools = toolbox.tools()
    chosen, _ = ports.choose(["kafka", "controller", "dynamodb"], {}, lambda _: False)
    brokers = f"127.0.0.1:{chosen['kafka']}"
    admin = AdminClient(client(brokers))
    options = {"endpoint_url": f"http://127.0.0.1:{chosen['dynamodb']}", **CREDENTIALS}
    quick = Config(retries={"total_max_attempts": 1}, connect_timeout=1, proxies={})
    table_client = boto3.client("dynamodb", config=quick, **options)  # type: ignore[call-overload]
    found = Servers(
        _kafka(tools, folder, chosen, admin),
        _dynamodb(tools, folder, chosen, table_client),
        brokers,
        options,
        admin,
        table_client,
        folder,
    )
    try:
        found.kafka.start()
        found.dynamodb.start()
        inputs = [
            NewTopic(topic.name, topics.PARTITIONS, 1, config=topic.config)
            for topic in (topics.TRANSACTIONS, topics.FLAGGED)
        ]
        for created in admin.create_topics(inputs).values():
            created.result(30)
        yield found
    finally:
        for server in (found.kafka, found.dynamodb):
            if server.process is not None:
                server.kill()
        table_client.close()


def _kafka(tools: Tools, folder: Path, chosen: dict[str, int], admin: AdminClient) -> Server:
    properties = broker.write_config(folder / "kafka", folder / "kafka-data", chosen["kafka"], chosen["controller"])
    command = broker.command(tools.java, tools.kafka, properties, folder, tools.cache)
    return Server(command, folder / "kafka.log", lambda: admin.list_topics(timeout=1))


def _dynamodb(tools: Tools, folder: Path, chosen: dict[str, int], table_client: Any) -> Server:
    data = folder / "dynamodb-data"
    data.mkdir()
    command = server.command(tools.java, tools.local_jar, tools.dynamodb, chosen["dynamodb"], data, folder)
    return Server(command, folder / "dynamodb.log", table_client.list_tables)
