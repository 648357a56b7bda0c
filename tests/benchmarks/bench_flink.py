"""``python tests/benchmarks/bench_flink.py``: the application against a regular SQL join, on one broker, interleaved.

Prints, as medians of the runs, CPU time per transaction from the process's own accounting, latency from a transaction's
creation to its reading on processed_topic, what was delivered of what was expected, duplicates and memory.
"""

import argparse
import json
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from confluent_kafka import Consumer, TopicPartition

sys.path.insert(0, str(Path(__file__).parents[1]))

from flink_runs import Application, Topics, new_topics, running_broker, wait_until
from histories import flag_json, iso
from javatools import classes
from oracle import Flag

from fraudctl import config
from fraudctl.artifacts.downloads import Downloads
from fraudctl.artifacts.jars import JarBuild
from fraudctl.artifacts.java import class_path
from fraudctl.artifacts.pins import Lock
from fraudctl.artifacts.resources import resource
from fraudctl.local.flink.snapshots import Spec
from fraudctl.local.processes import jvm

ACCOUNTS = 10_000
FLAGGED = 1_000  # every tenth
FIRST = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Figures:
    """One run; CPU in microseconds per transaction, latencies in milliseconds, memory in MB.

    `sent` is how many transactions a second the generator really made, `busy` the share of all cores that was in use,
    by whatever: together they say whether the application or the machine is at its end.
    """

    design: str
    rate: int
    sent: float
    busy: float
    cpu: float
    p50: float
    p99: float
    worst: float
    delivered: int
    expected: int
    duplicates: int
    rss: float
    load: float
    start: float


def generate(topics: Topics, rate: int, seconds: int, result: "multiprocessing.Queue[tuple[int, float]]") -> None:
    """Write `rate` transactions a second, each dated when made; put how many are of flagged accounts, and the rate."""
    producer = topics.producer()
    dice = random.Random(1)  # noqa: S311 - not for secrets
    begin, sent, flagged = time.time(), 0, 0
    while sent < rate * seconds:
        now = time.time()
        date = iso(int(now * 1000))
        for _ in range(min(int((now - begin) * rate), rate * seconds) - sent):
            number = dice.randrange(ACCOUNTS)
            value = (
                f'{{"transaction_id":"t-{rate}-{sent:09d}","account_id":{FIRST + number},'
                f'"customer_name":"Ada Lovelace","transaction_date":"{date}","merchant_type":"Grocery",'
                f'"transaction_type":"Purchase","amount":{number % 500}.{sent % 90 + 10}}}'
            )
            producer.produce(topics.transactions, value, b"%d" % (FIRST + number))
            flagged += number < FLAGGED
            sent += 1
        producer.poll(0)
        time.sleep(0.002)
    made = sent / (time.time() - begin)
    producer.flush(60)
    result.put((flagged, made))


def measure(topics: Topics, rate: int, window: tuple[float, float], result: "multiprocessing.Queue[object]") -> None:
    """Read processed_topic until it is silent after the window; put the latencies in the window, and all ids."""
    consumer = Consumer({"bootstrap.servers": topics.broker, "group.id": "bench", "fetch.wait.max.ms": 5})
    consumer.assign([TopicPartition(topics.processed, partition, 0) for partition in range(4)])
    latencies, ids, last = list[float](), list[str](), time.time()
    while time.time() < window[1] or time.time() - last < 3:
        for message in consumer.consume(1000, timeout=0.005):
            now = time.time()
            value = message.value() or b""
            if b'"t-%d-' % rate not in value[:40]:
                continue
            record = json.loads(value)
            made = _seconds(record["transaction_date"])
            last = now
            ids.append(record["transaction_id"])
            if window[0] <= made < window[1]:
                latencies.append((now - made) * 1000)
    result.put((latencies, ids))


def _seconds(date: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(date).timestamp()


@dataclass(slots=True)
class Reference(Application):
    """The SQL join instead of the application, started in the same way."""

    def _spec(self) -> Spec:
        libraries = (*classes().libraries, *fetched("planner"))
        sources = Path(__file__).with_name("java")
        (ecj,) = fetched("compiler", resource("flink"))
        jar = JarBuild("reference", sources, libraries, ecj, config.load().cache / "built").make(classes().java)
        return replace(Application._spec(self), classpath=class_path([jar, *libraries]), main_class="ReferenceMain")


@dataclass(slots=True)
class RocksDb(Application):
    """The application with its state in RocksDB, as on Managed Flink."""

    def _spec(self) -> Spec:
        spec = Application._spec(self)
        settings = ["flink.state.backend.type=rocksdb", "flink.execution.checkpointing.incremental=true"]
        return replace(
            spec,
            classpath=os.pathsep.join([spec.classpath, class_path(fetched("rocksdb"))]),
            arguments=[*spec.arguments, *settings],
        )


DESIGNS = {"reference": Reference, "application": Application, "rocksdb": RocksDb}


def fetched(lock: str, folder: Path = Path(__file__).parent) -> list[Path]:
    """Give the jars of a lock file, downloaded if need be."""
    downloads, pinned = Downloads(config.load().cache), Lock.load(folder / f"{lock}.lock")
    downloads.ensure([pinned])
    return downloads.paths(pinned)


def run(design: str, broker: str, asked: argparse.Namespace, folder: Path) -> Iterator[Figures]:
    """Run one design once: one process, the rates one after the other, so that the later ones find compiled code."""
    topics = new_topics(broker, f"{design}-{time.time_ns()}", log_append_time=False)
    properties = {"flink.execution.checkpointing.interval": "10s", "flink.execution.buffer-timeout.interval": "10ms"}
    properties |= {"consumer.max.poll.records": "100000", **dict(pair.split("=", 1) for pair in asked.set)}
    application = DESIGNS[design](topics, folder, properties)
    application.memory = asked.jvm.split()
    begin = time.time()
    application.launch()
    try:
        wait_until(application.running, "running", logs=[application.log])
        started = time.time() - begin
        flags = [Flag(0, FIRST + number, 0, flagged=True, reason="bench") for number in range(FLAGGED)]
        topics.write(("flagged", 0, flag.account, flag_json(flag)) for flag in flags)
        for rate in asked.rates:
            yield replace(at_rate(design, application, rate, asked), start=started)
    finally:
        application.kill()


def at_rate(design: str, application: Application, rate: int, asked: argparse.Namespace) -> Figures:
    """Measure one rate: warm up, then let a window pass."""
    spawn = multiprocessing.get_context("spawn")
    since = time.time() + asked.warm_up
    window = (since, since + asked.seconds)
    counted, measured = spawn.Queue(), spawn.Queue()
    seconds = asked.warm_up + asked.seconds
    children = [
        spawn.Process(target=measure, args=(application.topics, rate, window, measured)),
        spawn.Process(target=generate, args=(application.topics, rate, seconds, counted)),
    ]
    for child in children:
        child.start()
    process = psutil.Process(application.pid)
    time.sleep(max(0.0, window[0] - time.time()))
    before, _ = process.cpu_times(), psutil.cpu_percent()  # counts from here on
    time.sleep(max(0.0, window[1] - time.time()))
    after, busy = process.cpu_times(), psutil.cpu_percent() / 100
    rss, load = process.memory_info().rss, os.getloadavg()[0]
    expected, sent = counted.get(timeout=120)
    latencies, ids = measured.get(timeout=120)
    for child in children:
        child.join(10)
    latencies.sort()
    used = after.user + after.system - before.user - before.system
    at = [latencies[int(len(latencies) * share)] for share in (0.5, 0.99)] if latencies else [float("inf")] * 2
    return Figures(
        design=design,
        rate=rate,
        sent=sent,
        busy=busy,
        cpu=used * 1e6 / (sent * asked.seconds),
        p50=at[0],
        p99=at[1],
        worst=latencies[-1] if latencies else float("inf"),
        delivered=len(set(ids)),
        expected=expected,
        duplicates=len(ids) - len(set(ids)),
        rss=rss / 1e6,
        load=load,
        start=0,
    )


def medians(figures: list[Figures]) -> Iterator[str]:
    """Give a Markdown table, one line for each rate and design."""
    yield "| tx/s | design | sent/s | busy | µs/tx | p50 | p99 | max | delivered | twice | RSS MB | load | start s |"
    yield "|---" * 13 + "|"
    for rate, design in sorted({(figure.rate, figure.design) for figure in figures}):
        runs = [figure for figure in figures if (figure.rate, figure.design) == (rate, design)]

        def middle(name: str, runs: list[Figures] = runs) -> float:
            return float(statistics.median(getattr(figure, name) for figure in runs))

        delivered = " ".join(f"{figure.delivered}/{figure.expected}" for figure in runs)
        yield (
            f"| {rate} | {design} | {middle('sent'):.0f} | {middle('busy'):.0%} "
            f"| {middle('cpu'):.1f} | {middle('p50'):.0f} | {middle('p99'):.0f} "
            f"| {middle('worst'):.0f} | {delivered} | {sum(figure.duplicates for figure in runs)} "
            f"| {middle('rss'):.0f} | {middle('load'):.1f} | {middle('start'):.1f} |"
        )


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-flink-") as name:
        yield Path(name)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=int, nargs="+", default=[2_000, 5_000, 10_000, 20_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=15)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--jvm", default=" ".join(jvm.WORKING), help="the JVM's options for memory")
    parser.add_argument("--designs", nargs="+", choices=DESIGNS, default=["reference", "application"])
    parser.add_argument("--set", nargs="*", default=[], help="further properties of the application, name=value")
    asked = parser.parse_args()
    figures: list[Figures] = []
    # The local stack's broker starts sooner with C1 alone, but takes a fifth of a core more at 20,000 a second.
    with _folder() as folder, running_broker(folder / "kafka", without=["-XX:TieredStopAtLevel=1"]) as broker:
        for number in range(asked.runs):
            for design in asked.designs:
                for figure in run(design, broker, asked, folder / f"{design}-{number}"):
                    sys.stderr.write(f"{figure}\n")
                    figures.append(figure)
    sys.stdout.write("\n".join(medians(figures)) + "\n")


if __name__ == "__main__":
    main()
