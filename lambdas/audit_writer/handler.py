"""AuditWriter: writes each detection of an MSK event into the audit table once.

A record that is not a detection goes to the on-failure destination at once, since no retry makes it one:
WRITER_ON_FAILURE is a URL, ``s3://BUCKET`` or ``file:///FOLDER``. Without that variable it is reported as a failed
item, as is a record that the table refuses. Anything else that goes wrong (no table, no answer, throttled for as long
as the invocation lasts) fails the whole batch, which is then delivered again: so no record counts as done while one
before it is not, although chunks are written side by side.

WRITER_TRANSACTION_ROWS is how many rows are written in one transaction, at most 100; 1, the default, is a put for each.
A row is written once either way. DynamoDB charges a transaction's writes twice; DynamoDB Local is faster by it.

Each batch has one entry in the log, `Tally.log`, with what became of its records.
"""

import json
import logging
import os
import time
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from fraudctl.pipeline import on_failure, retries
from fraudctl.pipeline.audit_table import item
from fraudctl.pipeline.records import FlaggedTransaction, Malformed

THREADS: Final = 4
# DynamoDB takes 100 items and 4 MB in one transaction.
LARGEST_CHUNK: Final = 100
LARGEST_CHUNK_BYTES: Final = 3_000_000
FIRST_WINS: Final = "attribute_not_exists(account_id)"
ITS_OWN_FAULT: Final = {"ItemCollectionSizeLimitExceededException", "ValidationException"}

log = logging.getLogger("audit_writer")


@dataclass(frozen=True, slots=True)
class Put:
    """One detection on its way: where it lies in Kafka, and its item as DynamoDB has it on the wire."""

    partition: str
    offset: int
    item: dict[str, dict[str, str]]

    def identity(self) -> tuple[str, str]:
        """Return the item's key."""
        return self.item["account_id"]["N"], self.item["transaction_key"]["S"]

    def size(self) -> int:
        """Return about how many bytes the item is on the wire; attribute names and JSON count for some 40 each."""
        return sum(40 + len(value) for attribute in self.item.values() for value in attribute.values())

    def failure(self) -> dict[str, Any]:
        """Return the item as a failed one in the response to the event source mapping."""
        return _failure(self.partition, self.offset)


@dataclass(slots=True)
class Tally:
    """What became of a batch's records, or a chunk's. `records` is the sum of the others; `failed` come again."""

    records: int = 0
    written: int = 0
    already_there: int = 0
    put_aside: int = 0
    throttled: int = 0  # answers of DynamoDB, not records
    failures: list[dict[str, Any]] = field(default_factory=list)

    def add(self, chunk: "Tally") -> None:
        """Count what became of a chunk."""
        self.written += chunk.written
        self.already_there += chunk.already_there
        self.failures += chunk.failures

    def log(self, event: Mapping[str, Any], context: Any, seconds: float, error: Exception | None) -> None:  # noqa: ANN401 - Lambda's
        """Log the batch as one entry: a text for people, and fields that are JSON in the log of either target.

        `offsets` has the first and the last of each ``topic-partition``, `oldest_ms` the time from the oldest record's
        timestamp to now, `remaining_ms` what was left of the invocation. `failed` has what is reported as failed; after
        an error it is all that is not known to be done.
        """
        batch = {name: records for name, records in event["records"].items() if records}
        oldest = min((record["timestamp"] for records in batch.values() for record in records), default=None)
        failed = self.records - self.written - self.already_there - self.put_aside
        counts = {
            "written": self.written,
            "already_there": self.already_there,
            "put_aside": self.put_aside,
            "failed": failed,
        }
        said = [f"{number} {what.replace('_', ' ')}" for what, number in counts.items() if number]
        if self.throttled:
            said.append(f"throttled {self.throttled} times")
        fields: dict[str, Any] = {
            "records": self.records,
            **counts,
            "throttled": self.throttled,
            "offsets": {name: [records[0]["offset"], records[-1]["offset"]] for name, records in batch.items()},
            "duration_ms": round(seconds * 1000),
            "remaining_ms": context.get_remaining_time_in_millis(),
        }
        if oldest is not None:
            fields["oldest_ms"] = int(time.time() * 1000) - oldest
        if error is not None:
            fields["error"] = f"{type(error).__name__}: {error}"
        level = logging.ERROR if error else logging.INFO
        if not error and (failed or self.put_aside or self.throttled):
            level = logging.WARNING
        log.log(level, "batch: %s", ", ".join(said) or "no records", extra=fields)


@dataclass(frozen=True, slots=True)
class Bad:
    """One record that is no detection: its key in the event, itself, and why."""

    partition: str
    record: Mapping[str, Any]
    reason: str


def decode(event: Mapping[str, Any]) -> tuple[list[Put], list[Bad]]:
    """Return the event's detections, and the records that are not detections."""
    puts, bad = [], []
    for partition, records in event["records"].items():
        for record in records:
            try:
                puts.append(Put(partition, record["offset"], _item(record)))
            except Malformed as error:
                bad.append(Bad(partition, record, str(error)))
    return puts, bad


def put_aside(event: Mapping[str, Any], bad: Sequence[Bad], context: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - Lambda's
    """Write the records that are no detections to the on-failure destination; gives the failed items if there is none.

    Raises OSError or what boto3 raises when they cannot be written: the batch then has to come again.
    """
    destination = os.environ.get("WRITER_ON_FAILURE")
    if not destination:
        for found in bad:
            log.warning("%s offset %d is no detection: %s", found.partition, found.record["offset"], found.reason)
        return [_failure(found.partition, found.record["offset"]) for found in bad]
    failure = on_failure.Failure(
        function_arn=context.invoked_function_arn,
        version=context.function_version,
        request_id=context.aws_request_id,
        condition=on_failure.MALFORMED,
        attempts=1,
        error="these records are no detections",
        reasons={(found.record["partition"], found.record["offset"]): found.reason for found in bad},
    )
    records = [found.record for found in bad]
    for name, content in on_failure.documents(event, records, failure, int(time.time() * 1000)):
        _store(destination, name, content)
    first = bad[0]
    log.warning(
        "no detections: %d records, now in %s; the first: %s offset %d: %s",
        *(len(bad), destination, first.partition, first.record["offset"], first.reason),
    )
    return []


def chunks(puts: Sequence[Put], rows: int) -> Iterator[list[Put]]:
    """Yield the detections in chunks of at most so many rows, one request each; of copies only the first."""
    distinct: dict[tuple[str, str], Put] = {}
    for put in puts:
        distinct.setdefault(put.identity(), put)
    chunk: list[Put] = []
    size = 0
    for put in distinct.values():
        if chunk and (len(chunk) >= min(rows, LARGEST_CHUNK) or size + put.size() > LARGEST_CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(put)
        size += put.size()
    if chunk:
        yield chunk


def write(client: Any, table: str, chunk: Sequence[Put]) -> Tally:  # noqa: ANN401 - boto3's
    """Write one chunk in one transaction, without the rows that already exist; return what became of it."""
    from botocore.exceptions import ClientError

    tally = Tally(len(chunk))
    retries.check()
    while len(chunk) > 1:
        puts = [{"Put": {"TableName": table, "Item": put.item, "ConditionExpression": FIRST_WINS}} for put in chunk]
        try:
            client.transact_write_items(TransactItems=puts)
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"TransactionCanceledException", "ValidationException"}:
                raise
            reasons = error.response.get("CancellationReasons", [])
            there = {index for index, reason in enumerate(reasons) if reason.get("Code") == "ConditionalCheckFailed"}
            if not there:
                break
            tally.already_there += len(there)
            chunk = [put for index, put in enumerate(chunk) if index not in there]
        else:
            tally.written += len(chunk)
            return tally
    for put in chunk:
        retries.check()
        _write_one(client, table, put, tally)
    return tally


def write_all(client: Any, table: str, puts: Sequence[Put], tally: Tally) -> None:  # noqa: ANN401 - boto3's
    """Write the detections, chunks in parallel, and count them; raises the first error when no write is under way."""
    parts = list(chunks(puts, int(os.environ.get("WRITER_TRANSACTION_ROWS", "1"))))
    tally.already_there += len(puts) - sum(map(len, parts))
    running: list[Future[Tally]] = [
        threads().submit(copy_context().run, write, client, table, chunk) for chunk in parts
    ]
    wait(running, return_when="FIRST_EXCEPTION")
    for future in running:
        future.cancel()
    wait(running)
    done = [future for future in running if not future.cancelled()]
    for future in done:
        if future.exception() is None:
            tally.add(future.result())
    for future in done:
        future.result()


def wait_for_commit(client: Any, table: str, put: Put) -> None:  # noqa: ANN401 - boto3's
    """Return when DynamoDB Local has committed what it has answered.

    It answers a transaction before it commits it: of 40 kills (SIGKILL) among writes 8 lost one that had been answered.
    What it is asked next waits for the commit: with such a question 50 kills lost none.
    """
    key = {name: put.item[name] for name in ("account_id", "transaction_key")}
    client.get_item(TableName=table, Key=key, ProjectionExpression="account_id")


@cache
def dynamodb() -> Any:  # noqa: ANN401 - boto3's
    """Return the client that all invocations share."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=retries.CONNECT_TIMEOUT_S,
        read_timeout=retries.READ_TIMEOUT_S,
        retries=retries.CONFIG,
        max_pool_connections=THREADS,
        parameter_validation=False,
    )
    client = boto3.client("dynamodb", config=config, **json.loads(os.environ.get("WRITER_DYNAMODB", "{}")))
    retries.attach(client)
    return client


@cache
def s3() -> Any:  # noqa: ANN401 - boto3's
    """Return the client for an on-failure destination in S3."""
    import boto3
    from botocore.config import Config

    return boto3.client("s3", config=Config(connect_timeout=2, read_timeout=10, retries={"mode": "standard"}))


@cache
def threads() -> ThreadPoolExecutor:
    """Return the threads that write chunks in parallel."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="audit-writer")


def warm() -> None:
    """Open what the first invocation would wait for; the local runner calls this when it loads the function."""
    dynamodb().describe_table(TableName=os.environ["WRITER_TABLE"])


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
    """Write the event's detections, put aside what is not a detection; return the records that could not be written."""
    begun = time.monotonic()
    tally, error = Tally(sum(map(len, event["records"].values()))), None
    try:
        with retries.within(context.get_remaining_time_in_millis) as budget:
            _handle(event, context, tally)
    except Exception as raised:
        error = raised
        raise
    finally:
        tally.throttled = budget.throttled
        tally.log(event, context, time.monotonic() - begun, error)
    return {"batchItemFailures": tally.failures}


def _handle(event: Mapping[str, Any], context: Any, tally: Tally) -> None:  # noqa: ANN401 - Lambda's
    client, table = dynamodb(), os.environ["WRITER_TABLE"]
    puts, bad = decode(event)
    write_all(client, table, puts, tally)
    if puts and "WRITER_DYNAMODB" in os.environ:
        wait_for_commit(client, table, puts[-1])
    if bad:
        reported = put_aside(event, bad, context)
        tally.failures += reported
        tally.put_aside = len(bad) - len(reported)


def _item(record: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    value = record.get("value")
    detection = FlaggedTransaction.parse(None if value is None else b64decode(value))
    try:
        attributes = item(detection, record["timestamp"], record["partition"], record["offset"])
    except OverflowError as error:
        raise Malformed(f"its Kafka timestamp {record['timestamp']} is no date") from error
    return {name: {"S": value} if isinstance(value, str) else {"N": str(value)} for name, value in attributes.items()}


def _store(destination: str, name: str, content: bytes) -> None:
    url = urlsplit(destination)
    if url.scheme == "s3":
        s3().put_object(Bucket=url.netloc, Key=f"malformed/{name}", Body=content, ContentType="application/json")
        return
    from fraudctl.atomic import atomic_write  # the zip for Lambda lacks it, and needs no folder

    folder = Path(unquote(url.path))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    atomic_write(folder / name, content, durable=True)


def _write_one(client: Any, table: str, put: Put, tally: Tally) -> None:  # noqa: ANN401 - boto3's
    from botocore.exceptions import ClientError

    try:
        client.put_item(TableName=table, Item=put.item, ConditionExpression=FIRST_WINS)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "ConditionalCheckFailedException":
            tally.already_there += 1
        elif code in ITS_OWN_FAULT:
            log.warning("%s offset %d was refused: %s", put.partition, put.offset, error)
            tally.failures.append(put.failure())
        else:
            raise
    else:
        tally.written += 1


def _failure(partition: str, offset: int) -> dict[str, Any]:
    return {"itemIdentifier": {"partition": partition, "offset": offset}}
