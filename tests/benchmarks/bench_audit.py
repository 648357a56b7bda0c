"""``make bench-audit``: how fast detections become rows of the audit table, locally, and what the writer costs.

Deploys a stack of its own (``bench-audit``) with the user's cache, and tears it down at the end. First AuditWriter
alone writes to the stack's DynamoDB Local, with puts and with transactions. Then the whole pipeline runs at one rate
after the other: all twenty sample accounts are flagged, so every transaction is detected. A consumer of processed_topic
notes when it gets a detection; some twenty a second are looked for in the table every 20 ms until they are there. What
is measured is that time: from when the processed record can be read to when its row has been read, the looking
included.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import boto3
import psutil
from confluent_kafka import Consumer, TopicPartition

from fraudctl.pipeline import audit_table, kafka, samples, topics
from fraudctl.pipeline.records import FlaggedTransaction

EXECUTABLE = str(Path(sys.executable).with_name("fraudctl"))
HANDLER = Path(__file__).parents[2] / "lambdas" / "audit_writer" / "handler.py"
STACK = ("--stack", "bench-audit")
LOCAL = {"region_name": "local", "aws_access_key_id": "local", "aws_secret_access_key": "local"}
ROWS = 4_000
SAMPLES_A_SECOND = 20
WARM_UP_S = 10
LOOK_EVERY_S = 0.02
LATEST_S = 30.0
BUDGET_S = 1.0
HEADER = "   tx/s  detected   written    p50    p99    max  sampled   batch    ms   p99   busy  load  of a core"


def fraudctl(*arguments: str) -> str:
    """Run fraudctl and return its stdout; ends the benchmark when it fails."""
    done = subprocess.run([EXECUTABLE, *arguments, *STACK], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"fraudctl {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def quantile(values: list[float], share: float) -> float:
    """Return the value that this share of the values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


# --- the writer alone ------------------------------------------------------------------------------------------------


def events(first: int) -> Iterator[dict[str, Any]]:
    """Yield MSK events of a hundred detections, as the local mapping makes them."""
    drawn = samples.stream(Random(first))  # noqa: S311 - test data
    for start in range(0, ROWS, 100):
        entries = []
        for offset in range(start, start + 100):
            _, value = next(drawn)
            made = json.loads(value)
            detection = FlaggedTransaction(
                **made,
                flag_date=made["transaction_date"],
                flag_reason=None,
                flagged_by="bench",
                transaction_partition=0,
                transaction_offset=offset,
                flag_partition=0,
                flag_offset=0,
            )
            entry = {"partition": 0, "offset": offset, "timestamp": int(time.time() * 1000)}
            entries.append(entry | {"topic": "processed_topic", "value": b64encode(detection.to_json()).decode()})
        yield {"records": {"processed_topic-0": entries}}


def alone(endpoint: str, database: psutil.Process) -> None:
    """Measure the writer on DynamoDB Local with as many rows in a transaction as named, and what a row costs."""
    options = {"endpoint_url": endpoint, **LOCAL}
    client: Any = boto3.client("dynamodb", **options)  # type: ignore[call-overload] # as many types as services
    os.environ |= {"WRITER_DYNAMODB": json.dumps(options), "WRITER_TRANSACTION_ROWS": "1"}
    spec = importlib.util.spec_from_file_location("handler", HANDLER)
    assert spec is not None
    assert spec.loader is not None
    writer: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)
    say("rows in a transaction     rows/s   batch p50      p99   processor of a row: DynamoDB   writer   write units")
    for rows in (1, 25, 100):
        os.environ |= {"WRITER_TABLE": (table := f"bench-{rows}"), "WRITER_TRANSACTION_ROWS": str(rows)}
        client.create_table(**audit_table.definition(table))
        made = list(events(rows))
        for event in made[:5]:
            writer.handler(event, context)
        seconds = []
        begun, database_s, own_s = time.monotonic(), sum(database.cpu_times()[:2]), time.process_time()
        for event in made[5:]:
            one = time.monotonic()
            writer.handler(event, context)
            seconds.append(time.monotonic() - one)
        number = ROWS - 500
        speed = number / (time.monotonic() - begun)
        database_us = (sum(database.cpu_times()[:2]) - database_s) / number * 1e6
        own_us = (time.process_time() - own_s) / number * 1e6
        say(
            f"{rows if rows > 1 else '1 (puts)':<24}{speed:>8,.0f}{statistics.median(seconds) * 1000:>9.0f} ms"
            f"{quantile(seconds, 0.99) * 1000:>6.0f} ms{database_us:>28,.0f} us{own_us:>6,.0f} us"
            f"{units(client, table, writer, transaction=rows > 1):>14.0f}"
        )
        client.delete_table(TableName=table)


def units(client: Any, table: str, writer: Any, *, transaction: bool) -> float:
    """Return the write capacity units of one more row with its indexes, as DynamoDB Local counts them.

    In a transaction of one row: of several it gives the units of one.
    """
    puts, _ = writer.decode(next(events(-1)))
    put = {"TableName": table, "Item": puts[0].item, "ConditionExpression": writer.FIRST_WINS}
    if not transaction:
        return float(client.put_item(ReturnConsumedCapacity="TOTAL", **put)["ConsumedCapacity"]["CapacityUnits"])
    answer = client.transact_write_items(TransactItems=[{"Put": put}], ReturnConsumedCapacity="TOTAL")
    return float(answer["ConsumedCapacity"][0]["CapacityUnits"])


# --- the pipeline ----------------------------------------------------------------------------------------------------


@dataclass
class Watch:
    """What was detected, and how long some of it took to become a row."""

    seen: int = 0
    waits: list[float] = field(default_factory=list)
    missing: dict[tuple[int, str], float] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)


@contextmanager
def watching(broker: str, endpoint: str, rate: float) -> Iterator[Watch]:
    """Look for detections in the table in the background until the block ends."""
    watch, done = Watch(), Event()
    reader = kafka.open_consumer(kafka.consumer(kafka.client(broker), "bench-audit"))
    places = [TopicPartition(topics.PROCESSED.name, number) for number in range(topics.PARTITIONS)]
    for place in places:
        place.offset = reader.get_watermark_offsets(place, timeout=10)[1]
    reader.assign(places)
    table = f"{STACK[1]}-audit"
    client: Any = boto3.client("dynamodb", endpoint_url=endpoint, **LOCAL)  # type: ignore[call-overload]
    threads = [
        Thread(target=_read, args=(reader, watch, done, max(1, round(rate / SAMPLES_A_SECOND)))),
        Thread(target=_look, args=(client, table, watch, done)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield watch
    finally:
        done.set()
        for thread in threads:
            thread.join()
        reader.close()


def _read(reader: Consumer, watch: Watch, done: Event, every: int) -> None:
    while not done.is_set():
        for message in reader.consume(500, 0.005):
            now = time.monotonic()
            if message.error():
                continue
            watch.seen += 1
            if watch.seen % every == 0 and now - watch.begun > WARM_UP_S:
                found = FlaggedTransaction.parse(message.value())
                key = found.account_id, audit_table.transaction_key(found.transaction_date, found.transaction_id)
                watch.missing[key] = now


def _look(client: Any, table: str, watch: Watch, done: Event) -> None:
    while not done.wait(LOOK_EVERY_S):
        if not (keys := list(watch.missing)[:100]):
            continue
        wanted = [{"account_id": {"N": str(account)}, "transaction_key": {"S": key}} for account, key in keys]
        asked = {"Keys": wanted, "ConsistentRead": True, "ProjectionExpression": "account_id, transaction_key"}
        found = client.batch_get_item(RequestItems={table: asked})["Responses"][table]
        now = time.monotonic()
        for item in found:
            since = watch.missing.pop((int(item["account_id"]["N"]), item["transaction_key"]["S"]))
            watch.waits.append(now - since)


def pipeline(rate: int, seconds: int, broker: str, endpoint: str, processes: dict[str, psutil.Process]) -> bool:
    """Run the pipeline at a rate, print a row of the table, and return whether it kept up."""
    entries_before = len(entries())
    with watching(broker, endpoint, rate) as watch:
        before = {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}
        psutil.cpu_percent()
        begun = time.monotonic()
        count = json.loads(
            fraudctl(
                "transactions",
                "generate",
                "--per-second",
                str(rate),
                "--seconds",
                str(WARM_UP_S + seconds),
                "-o",
                "json",
            ).splitlines()[-1]
        )["delivered"]
        took = time.monotonic() - begun
        busy, load = psutil.cpu_percent(), os.getloadavg()[0]
        used = {name: (sum(process.cpu_times()[:2]) - before[name]) / took for name, process in processes.items()}
        ended = time.monotonic()
        while time.monotonic() - ended < LATEST_S and (watch.seen < count or watch.missing):
            time.sleep(0.1)
    batches = [entry for entry in entries()[entries_before:] if entry["records"]]
    written = sum(entry["written"] for entry in batches)
    waits = watch.waits or [LATEST_S]
    kept_up = watch.seen == written == count and not watch.missing and quantile(waits, 0.99) < BUDGET_S
    figures = (f"{quantile(waits, share) * 1000:>7,.0f}" for share in (0.5, 0.99, 1.0))
    size, lasts = statistics.mean(entry["records"] for entry in batches), [entry["duration_ms"] for entry in batches]
    shares = "  ".join(f"{name} {share:.0%}" for name, share in used.items())
    say(
        f"{rate:>7,}{watch.seen:>10,}{written:>10,}{''.join(figures)}{len(watch.waits):>9,}{size:>8.0f}"
        f"{statistics.median(lasts):>7.0f}{quantile(lasts, 0.99):>6.0f}{busy:>6.0f}%{load:>6.1f}  {shares}"
    )
    return kept_up


def entries() -> list[dict[str, Any]]:
    """Return what AuditWriter has logged of each batch."""
    lines = fraudctl("logs", "lambda", "-n", "1000000").splitlines()
    return [json.loads(line[line.index("{") :]) for line in lines if " batch: " in line]


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=int, nargs="+", default=[100, 500, 750, 1000, 1500, 2000])
    parser.add_argument("--seconds", type=int, default=60, help="of measuring at each rate, after 10 s of warm-up")
    parser.add_argument("--only", choices=["alone", "pipeline"])
    chosen = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's Python keeps its bytecode
    with tempfile.TemporaryDirectory(prefix="bench-audit-") as home:
        os.environ["FRAUDCTL_HOME"] = home
        try:
            fraudctl("deploy", "--no-samples")
            status = json.loads(fraudctl("status", "-o", "json"))["components"]
            address = {item["name"]: item["address"] for item in status}
            endpoint = address["dynamodb"] if "://" in address["dynamodb"] else f"http://{address['dynamodb']}"
            processes = {item["name"]: psutil.Process(item["pid"]) for item in status if item["pid"]}
            say(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f} before\n")
            if chosen.only != "pipeline":
                alone(endpoint, processes["dynamodb"])
                say("")
            if chosen.only != "alone":
                fraudctl("flag-accounts", *map(str, samples.CUSTOMERS))
                say(HEADER)
                for rate in chosen.rates:
                    if not pipeline(rate, chosen.seconds, address["kafka"], endpoint, processes):
                        say(f"At {rate:,} it does not keep up, or p99 is over {BUDGET_S:g} s.")
                        break
        finally:
            fraudctl("teardown", "--yes")


if __name__ == "__main__":
    main()
