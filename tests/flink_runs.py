"""The real application on a real broker, started by the product's own code, in folders and topics of the test's."""

import base64
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from histories import epoch_ms
from javatools import classes, service_classpath
from oracle import Flag, Identity, Transaction

from fraudctl import config
from fraudctl.artifacts.downloads import Downloads
from fraudctl.artifacts.java import class_path
from fraudctl.artifacts.pins import Lock
from fraudctl.artifacts.resources import PACKAGE
from fraudctl.local.flink import snapshots
from fraudctl.local.flink.rest import all_running
from fraudctl.local.kafka import broker
from fraudctl.local.processes import jvm, ports
from fraudctl.pipeline import records, topics

CORPUS = Path(__file__).parent / "data" / "records.jsonl"
NOBODY = 5
# What records of that account carry: a name that dead letters add too, a repeated one, bytes that are no text, none.
HEADERS: list[tuple[str, bytes | None]] = [
    ("error", b"of an earlier pipeline"),
    ("trace", b"one"),
    ("trace", b"\xff\x00"),
    ("none", None),
]
DEADLINE = 90.0
_OPENS = ("java.util", "java.lang", "java.time")
_QUIET = ("org.apache.kafka", "org.apache.flink.runtime.source.coordinator", "org.apache.flink.metrics")


def wait_until(condition: Callable[[], Any], what: str, *, seconds: float = DEADLINE, logs: Iterable[Path] = ()) -> Any:
    """Give the condition's first true value; fail with the end of the logs after the deadline."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            tails = "\n".join(f"--- {log}\n{log.read_text(errors='replace')[-4000:]}" for log in logs)
            raise AssertionError(f"{what}: not within {seconds} s\n{tails}")
        time.sleep(0.05)
    return value


@contextmanager
def running_broker(folder: Path, *, without: Sequence[str] = ()) -> Iterator[str]:
    """Run Kafka in `folder`, `without` some of the local stack's options; give its address."""
    settings = config.load()
    downloads, lock = Downloads(settings.cache), Lock.load(PACKAGE / "local" / "kafka" / "kafka.lock")
    downloads.ensure([lock])
    chosen, _ = ports.choose(["kafka", "controller"], {}, lambda _: False)
    (folder / "tmp").mkdir(parents=True)
    file = broker.write_config(folder / "config", folder / "data", chosen["kafka"], chosen["controller"])
    line = broker.command(classes().java, downloads.paths(lock), file, folder / "tmp", settings.cache)
    line = [argument for argument in line if argument not in without]
    log = folder / "kafka.log"
    with log.open("wb") as output, subprocess.Popen(line, stdout=output, stderr=output) as process:
        try:
            address = f"127.0.0.1:{chosen['kafka']}"
            admin = AdminClient({"bootstrap.servers": address, "log_level": 0, "error_cb": lambda _: None})  # type: ignore[dict-item]
            wait_until(lambda: answers(admin), "Kafka answers", logs=[log])
            yield address
        finally:
            process.terminate()


def answers(admin: AdminClient) -> bool:
    """Say whether the broker answers."""
    from confluent_kafka import KafkaException

    try:
        return bool(admin.list_topics(timeout=1).brokers)
    except KafkaException:
        return False


@dataclass(frozen=True, slots=True)
class Topics:
    """The four topics of one test, on one broker."""

    broker: str
    transactions: str
    flagged: str
    processed: str
    dead_letters: str
    partitions: int = field(default=topics.PARTITIONS, kw_only=True)

    def names(self) -> dict[str, str]:
        """Give the topics' names under the application's names for them."""
        return {name: getattr(self, name) for name in ("transactions", "flagged", "processed", "dead_letters")}

    def read(self, topic: str) -> list[Message]:
        """Read a topic from its beginning to its present end."""
        settings = {"group.id": "tests", "enable.auto.commit": False, "enable.partition.eof": True}
        consumer = Consumer({"bootstrap.servers": self.broker, **settings, "auto.offset.reset": "earliest"})
        open_ones = set(range(self.partitions))
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in open_ones])
        found: list[Message] = []
        deadline = time.monotonic() + DEADLINE
        while open_ones and time.monotonic() < deadline:
            for message in consumer.consume(10_000, timeout=1):
                error = message.error()
                if error is None:
                    found.append(message)
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    open_ones.discard(message.partition())
        consumer.close()
        return found

    def count(self, topic: str) -> int:
        """Give how many offsets a topic has: its records, and what transactions add."""
        consumer = Consumer({"bootstrap.servers": self.broker, "group.id": "tests"})
        marks = [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10) for p in range(self.partitions)]
        consumer.close()
        return sum(high for _, high in marks)

    def producer(self, **settings: str) -> Producer:
        """Give a producer that puts an account where Java's producers do."""
        own = {"partitioner": "murmur2_random", "linger.ms": 2, "message.max.bytes": 2_000_000}
        return Producer({"bootstrap.servers": self.broker, **own, **settings})

    def write(self, messages: Iterable[tuple[str, int, int, bytes | None]], *, transaction: bool = False) -> None:
        """Write (topic, publish time or 0, account, value) in this order; if asked as one transaction."""
        producer = self.producer(**({"transactional.id": f"tests-{time.time_ns()}"} if transaction else {}))
        if transaction:
            producer.init_transactions(30)
            producer.begin_transaction()
        for number, (topic, published, account, value) in enumerate(messages):
            headers: Any = HEADERS if account == NOBODY else None
            producer.produce(self.names()[topic], value, records.key(account), timestamp=published, headers=headers)
            if number % 1000 == 0:
                producer.poll(0)
        if transaction:
            producer.commit_transaction(30)
        assert producer.flush(30) == 0

    def trim(self, topic: str, offset: int) -> None:
        """Delete the records before an offset, as retention does; in partitions that have as many."""
        admin = AdminClient({"bootstrap.servers": self.broker})
        consumer = Consumer({"bootstrap.servers": self.broker, "group.id": "tests"})
        parts = [TopicPartition(topic, partition, offset) for partition in range(self.partitions)]
        long = [part for part in parts if consumer.get_watermark_offsets(part, timeout=10)[1] > offset]
        consumer.close()
        for future in admin.delete_records(long).values():
            future.result(30)


def new_topics(broker: str, name: str, *, log_append_time: bool, partitions: int = topics.PARTITIONS) -> Topics:
    """Create the four topics; without log-append time the producer says when a record was published."""
    kind = "LogAppendTime" if log_append_time else "CreateTime"
    named = (f"{name}-{alias}" for alias in ("transactions", "flagged", "processed", "dead"))
    result = Topics(broker, *named, partitions=partitions)
    large = {"max.message.bytes": str(2 * 1024 * 1024)}
    limits = {"message.timestamp.type": kind, "compression.type": topics.TRANSACTIONS.config["compression.type"]}
    settings = {"transactions": limits, "flagged": limits}
    new = [NewTopic(topic, partitions, 1, config=settings.get(alias, large)) for alias, topic in result.names().items()]
    admin = AdminClient({"bootstrap.servers": broker})
    for future in admin.create_topics(new).values():
        future.result(30)
    return result


@dataclass(slots=True)
class Application:
    """The application in a folder of its own; started as the supervisor does it, from its newest checkpoint.

    `as_service`: as Managed Flink runs it, from the one jar made for there, with its properties in a file.
    """

    topics: Topics
    folder: Path
    properties: Mapping[str, str] = field(default_factory=dict)
    as_service: bool = False
    memory: Sequence[str] = jvm.WORKING
    starts: int = 0
    _process: "subprocess.Popen[bytes] | None" = None
    _port: int = 0

    def start(self) -> None:
        """Start the JVM and wait until every vertex runs."""
        self.launch()
        wait_until(self.running, "the application runs", logs=[self.log])

    def launch(self) -> None:
        """Start the JVM."""
        chosen, _ = ports.choose(["flink"], {}, lambda _: False)
        self._port = chosen["flink"]
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "spec.json"
        file.write_text(self._spec().to_json())
        self.starts += 1
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "fraudctl.local.flink.launcher", str(file)], stdout=output, stderr=output
            )

    @property
    def log(self) -> Path:
        """Where the JVM prints."""
        return self.folder / "flink.log"

    @property
    def pid(self) -> int:
        """The JVM's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def address(self) -> str:
        """Where Flink's REST API answers."""
        return f"http://127.0.0.1:{self._port}"

    def running(self) -> bool:
        """Say whether every vertex of the job is RUNNING; fail when the JVM is gone."""
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text(errors="replace")[-4000:]
        try:
            jobs = self.rest("/jobs/overview")["jobs"]
            return bool(jobs) and all_running(jobs[0])
        except (URLError, ConnectionError, TimeoutError):
            return False

    def rest(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask Flink's REST API; a body makes it a POST."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.address}{path}", data, {"Content-Type": "application/json"})  # noqa: S310
        with urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.loads(answer.read())

    def job(self) -> str:
        """The job's id."""
        return str(self.rest("/jobs/overview")["jobs"][0]["jid"])

    def metrics(self) -> dict[str, float]:
        """Give the application's own metrics as ``operator.name`` → value, summed over subtasks."""
        found: dict[str, float] = {}
        for vertex in self.rest(f"/jobs/{self.job()}")["vertices"]:
            path = f"/jobs/{self.job()}/vertices/{vertex['id']}/subtasks/metrics"
            names = [entry["id"] for entry in self.rest(path) if ".KinesisAnalytics." in entry["id"]]
            for entry in self.rest(f"{path}?get={','.join(names)}&agg=sum") if names else []:
                found[entry["id"].replace("KinesisAnalytics.", "")] = entry["sum"]
        return found

    def stop_with_savepoint(self) -> None:
        """Stop the job with a savepoint and wait until the JVM has ended by itself, with code 0."""
        wait_until(self._savepoint, "a savepoint", logs=[self.log])
        assert self._process is not None
        assert self._process.wait(60) == 0, self.log.read_text(errors="replace")[-4000:]

    def _savepoint(self) -> bool:
        """Ask for a stop with savepoint and wait for the answer; Flink refuses while a task is still starting."""
        path = f"/jobs/{self.job()}"
        asked = self.rest(f"{path}/stop", {"targetDirectory": f"file://{self.folder}/savepoints", "drain": False})
        try:
            while (answer := self.rest(f"{path}/savepoints/{asked['request-id']}"))["status"]["id"] != "COMPLETED":
                time.sleep(0.05)
        except (URLError, ConnectionError, TimeoutError):
            return True  # the JVM ends once the savepoint is there
        return "location" in answer["operation"]

    def ended(self) -> int | None:
        """Give the exit code of the JVM, or of its launcher; None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def kill(self) -> None:
        """Kill the JVM as a power failure would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)

    def forget(self) -> None:
        """Throw the state away."""
        for name in ("checkpoints", "savepoints", "attempts.json"):
            path = self.folder / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def _spec(self) -> snapshots.Spec:
        built = classes()
        tmp = self.folder / "tmp"
        for name in ("checkpoints", "savepoints"):
            (self.folder / name).mkdir(exist_ok=True)
        return snapshots.Spec(
            java=str(built.java),
            flags=[
                *(*self.memory, *jvm.ALWAYS, "-Dorg.slf4j.simpleLogger.showDateTime=true"),
                *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENS),
                *(f"-Dorg.slf4j.simpleLogger.log.{name}=warn" for name in _QUIET),
            ],
            classpath=service_classpath() if self.as_service else class_path([built.application, *built.libraries]),
            main_class="io.fraudctl.flink.Main",
            arguments=self._arguments(),
            checkpoints=str(self.folder / "checkpoints"),
            savepoints=str(self.folder / "savepoints"),
            attempts=str(self.folder / "attempts.json"),
            fresh=str(self.folder / "fresh"),
            tmp=str(tmp),
            servers=self.topics.broker,
            group=self.topics.transactions,
            topics=[self.topics.transactions, self.topics.flagged],
            unread=str(self.folder / "unread"),
            topic_ids=str(self.folder / "topic_ids.json"),
            begun=str(self.folder / "begun.json"),
            lost=str(self.folder / "lost.jsonl"),
        )

    def _arguments(self) -> list[str]:
        flink = {
            "execution.target": "local",
            **dict.fromkeys(("rest.address", "rest.bind-address", "jobmanager.bind-host"), "127.0.0.1"),
            **dict.fromkeys(("jobmanager.rpc.address", "taskmanager.bind-host", "taskmanager.host"), "127.0.0.1"),
            **dict.fromkeys(("rest.port", "rest.bind-port"), str(self._port)),
            "parallelism.default": "1",
            # As on Managed Flink, whatever the default of this version is: managed-flink, flink-2-3.md.
            "pipeline.watermark-alignment.max-drift": "0 ms",
            "state.backend.type": "hashmap",
            "execution.checkpointing.interval": "2s",
            "execution.checkpointing.dir": f"file://{self.folder}/checkpoints",
            "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
            "restart-strategy.type": "exponential-delay",
            "metrics.fetcher.update-interval": "500",
            "io.tmp.dirs": str(self.folder / "tmp"),
        }
        properties = {
            "bootstrap.servers": self.topics.broker,
            "group.id": self.topics.transactions,
            **{f"topic.{alias}": name for alias, name in self.topics.names().items()},
            **records.flink_properties(),
            "hold.ms": "60000",
            "slack.ms": "5000",
            "exit.when.done": "true",
            **{f"flink.{name}": value for name, value in flink.items()},
            **self.properties,
        }
        if not self.as_service:
            return [f"{name}={value}" for name, value in properties.items()]
        file = self.folder / "application_properties.json"
        groups = [{"PropertyGroupId": "other", "PropertyMap": {"hold.ms": "1"}}]
        groups.append({"PropertyGroupId": "fraudctl", "PropertyMap": properties})
        file.write_text(json.dumps(groups))
        return [str(file)]


@dataclass(frozen=True, slots=True)
class Detected:
    """A record of processed_topic."""

    identity: Identity
    flag_date: int
    reason: str | None
    source: tuple[int, int]
    flag_source: tuple[int, int]


def detected(messages: Iterable[Message]) -> list[Detected]:
    """Read detections; every one must be the record that its definition says, under its account's key."""
    found = []
    for message in messages:
        record = records.FlaggedTransaction.parse(message.value())
        assert message.key() == records.key(record.account_id)
        found.append(
            Detected(
                (record.account_id, epoch_ms(record.transaction_date), record.transaction_id),
                epoch_ms(record.flag_date),
                record.flag_reason,
                (record.transaction_partition, record.transaction_offset),
                (record.flag_partition, record.flag_offset),
            )
        )
    return found


def published(read: Topics) -> tuple[list[Transaction], list[Flag]]:
    """Give what the input topics hold as the rule sees it, with Kafka's own times; malformed records are left out."""
    transactions, flags = list[Transaction](), list[Flag]()
    for message in read.read(read.transactions):
        try:
            t = records.Transaction.parse(message.value())
        except records.Malformed:
            continue
        date = epoch_ms(t.transaction_date)
        transactions.append(Transaction(message.timestamp()[1], t.account_id, date, t.transaction_id))
    for message in sorted(read.read(read.flagged), key=lambda m: (m.partition(), m.offset())):
        try:
            f = records.AccountFlag.parse(message.value())
        except records.Malformed:
            continue
        flagged = f.status is records.Status.FLAGGED
        flags.append(Flag(message.timestamp()[1], f.account_id, epoch_ms(f.flag_date), flagged, f.reason or ""))
    return transactions, flags


def malformed(corpus: Path) -> list[tuple[str, bytes | None]]:
    """Give (transactions or flagged, bytes) of the corpus' malformed lines and of the largest values that fit."""
    aliases = {topics.TRANSACTIONS.name: "transactions", topics.FLAGGED.name: "flagged"}
    cases = map(json.loads, corpus.read_text().splitlines())
    found = [(aliases[case["topic"]], corpus_value(case)) for case in cases if case["verdict"] == "malformed"]
    found += [("transactions", b"x" * 1_048_000), ("flagged", b"{" * 1_048_000)]
    return found


def corpus_value(case: Mapping[str, Any]) -> bytes | None:
    """Give the bytes of a line of the corpus."""
    if "repeat" in case:
        parts = {name: base64.b64decode(case["repeat"][f"{name}_base64"]) for name in ("prefix", "unit", "suffix")}
        return parts["prefix"] + int(case["repeat"]["times"]) * parts["unit"] + parts["suffix"]
    return None if case["value_base64"] is None else base64.b64decode(case["value_base64"])


def missing_and_extra(wanted: Sequence[Any], found: Sequence[Any]) -> str:
    """Say briefly how two collections differ."""
    lost, extra = set(wanted) - set(found), set(found) - set(wanted)
    return f"missing {len(lost)}: {sorted(lost)[:3]}, extra {len(extra)}: {sorted(extra)[:3]}"
