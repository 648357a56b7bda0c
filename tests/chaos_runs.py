"""Faults in a deployed stack under load, and an independent check of what it recorded: nothing lost, twice or wrong.

The truth is what lies in the two input topics with the broker's times, judged by `oracle`; the audit table is read with
boto3. Nothing of fraudctl but its executable takes part.
"""

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import boto3
from botocore.config import Config
from executable import Fraudctl, eventually
from flink_runs import Topics
from histories import epoch_ms, flag_json, transaction_json
from oracle import Flag, Transaction, accepted

from fraudctl.pipeline import records, topics
from fraudctl.pipeline.records import AccountFlag

HOLD = 6_000
SLACK = 5_000
ACCOUNTS = range(5_000_001, 5_000_101)
_FOREVER_MS = "600000"
_SHOWN = 5
_NEAR_MS = 60_000
_ON_ITS_WAY_SECONDS = 60.0


@dataclass(frozen=True)
class Fault:
    """What is done to components at once: killed (SIGKILL) or made to hang (SIGSTOP)."""

    how: Literal["kill", "hang"]
    components: tuple[str, ...]

    def __str__(self) -> str:
        """Name it in a table."""
        return f"{self.how} {' + '.join(self.components)}"


@dataclass(frozen=True)
class Report:
    """What an independent check found."""

    transactions: int
    detected: int
    lost: int
    wrong: int
    duplicates: int
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Healed:
    """A fault, and the seconds until `status` was healthy again."""

    fault: Fault
    seconds: float


@dataclass(frozen=True)
class Stack:
    """A deployed stack with a short hold, its samples off."""

    fraudctl: Fraudctl
    topics: Topics
    table: Any

    @classmethod
    def deploy(cls, fraudctl: Fraudctl) -> "Stack":
        """Deploy; the caller's fixture tears it down."""
        fraudctl("deploy", "--no-samples", "--yes")
        outputs = fraudctl.healthy()["outputs"]
        everything = Topics(outputs["bootstrap_servers"], *(topic.name for topic in topics.ALL))
        resource = boto3.resource(
            "dynamodb",
            endpoint_url=outputs["extra"]["dynamodb"],
            region_name="local",
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(proxies={}),
        )
        return cls(fraudctl, everything, resource.Table(outputs["audit_table"]))

    def inject(self, fault: Fault) -> Healed:
        """Do it, and wait until the stack is healthy without those processes."""
        pids = {name: self.fraudctl.pid(name) for name in fault.components}
        begun = time.monotonic()
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL if fault.how == "kill" else signal.SIGSTOP)

        said: list[str] = []

        def healed() -> bool:
            status = self.fraudctl.status(code=None)
            now = {component["name"]: component["pid"] for component in status["components"]}
            ill = [f"{item['name']}: {item['health']}, {item['detail']}" for item in status["components"]]
            said[:] = [*status["problems"], *(text for text in ill if ": healthy, " not in text)]
            return bool(status["healthy"]) and all(now.get(name) not in {None, pid} for name, pid in pids.items())

        try:
            eventually(healed, seconds=240)
        except AssertionError as error:
            raise AssertionError(f"{fault}: pids {pids}: {said}\n{self.fraudctl.logs()}") from error
        return Healed(fault, time.monotonic() - begun)

    @contextmanager
    def load(self, *, per_second: int, seed: int) -> Iterator[None]:
        """Write transactions, and now and then a flag event, until the block ends; waits for every acknowledgement."""
        stop, errors = threading.Event(), list[str]()
        writer = threading.Thread(target=self._write, args=(per_second, seed, stop, errors), daemon=True)
        writer.start()
        try:
            yield
        finally:
            stop.set()
            writer.join(120)
            assert not writer.is_alive(), "the load did not come to its end"
        assert errors == []

    def settle(self) -> None:
        """Wait until everything is read, decided and written."""
        count = sum(self.topics.count(name) for name in (self.topics.transactions, self.topics.flagged))

        def done() -> bool:
            status = self.fraudctl.status(code=None)
            if not status["healthy"]:
                return False
            lags = {(lag["group"], lag["topic"]): lag["lag"] for lag in status["consumers"]}
            found = self.fraudctl("flink", "status", "-o", "json", code=None).documents
            metrics = found[0]["metrics"] if found else {}
            # After a restart `pending` does not count what was restored: the clock has to have come up too.
            decided = metrics.get("pending") == 0 and 0 <= metrics.get("eventTimeLagMs", -1) < SLACK
            return decided and len(lags) >= 3 and not any(lags.values())

        assert count
        eventually(done, seconds=240)

    def check(self) -> Report:
        """Judge everything; what seems to be missing may still be on its way for a minute, what is lost never comes."""
        deadline = time.monotonic() + _ON_ITS_WAY_SECONDS
        while (report := self._judge()).lost and time.monotonic() < deadline:
            time.sleep(1)
        return report

    def _judge(self) -> Report:
        """Judge every transaction in the topic by the rule, and every row by its transaction."""
        transactions, flags = self._transactions(), self._flags()
        rows = self._rows()
        copies: dict[tuple[int, int, str], list[Transaction]] = {}
        for transaction in transactions:
            copies.setdefault(transaction.identity, []).append(transaction)
        found: dict[tuple[int, int, str], list[tuple[int, str]]] = {}
        for row in rows:
            identity = (int(row["account_id"]), epoch_ms(row["transaction_date"]), row["transaction_id"])
            found.setdefault(identity, []).append((epoch_ms(row["flag_date"]), row["flag_reason"]))
        lost, wrong = [], 0
        for identity, sent in copies.items():
            right: set[Any] = set()
            for copy in sent:
                right |= accepted(copy, flags.get(copy.account, []), HOLD, SLACK)
            results = found.get(identity, [])
            if not results and None not in right:
                lost.append(identity)
            wrong += any(result not in right for result in results)
        wrong += sum(1 for identity in found if identity not in copies)
        duplicates = sum(len(results) - 1 for results in found.values())
        details = [self._detail(copies[identity], flags) for identity in lost[:_SHOWN]]
        return Report(len(copies), len(found), len(lost), wrong, duplicates, tuple(details))

    def _detail(self, copies: Sequence[Transaction], flags: Mapping[int, Sequence[Flag]]) -> str:
        """Say of a lost transaction whether it was detected, and what its account's flag events were."""
        texts = [message.value() or b"" for message in self.topics.read(self.topics.processed)]
        sent = copies[0]
        place = sum(f'"{sent.id}"'.encode() in text for text in texts)
        near = [flag for flag in flags.get(sent.account, []) if abs(flag.published - sent.published) < _NEAR_MS]
        return f"{sent}: {place} times in {self.topics.processed}; flag events near it: {near}"

    def _write(self, per_second: int, seed: int, stop: threading.Event, errors: list[str]) -> None:
        dice = random.Random(seed)  # noqa: S311 - not for secrets
        producer = self.topics.producer(
            **{"enable.idempotence": "true", "delivery.timeout.ms": _FOREVER_MS, "log_level": "0"}
        )

        def report(error: Any, _message: Any) -> None:
            if error is not None:
                errors.append(str(error))

        number, begun = 0, time.monotonic()
        while not stop.is_set():
            now = round(time.time() * 1000)
            account = dice.choice(ACCOUNTS)
            if number % 50 == 0:
                flag = Flag(0, account, now - dice.choice([0, 2_000, 60_000]), dice.random() < 0.7, f"case {number}")
                producer.produce(self.topics.flagged, flag_json(flag), records.key(account), on_delivery=report)
            one = Transaction(0, account, now, f"chaos-{seed}-{number}")
            producer.produce(self.topics.transactions, transaction_json(one), records.key(account), on_delivery=report)
            number += 1
            producer.poll(0)
            stop.wait(max(0.0, begun + number / per_second - time.monotonic()))
        assert producer.flush(100) == 0

    def _transactions(self) -> list[Transaction]:
        found = []
        for message in self.topics.read(self.topics.transactions):
            record = records.Transaction.parse(message.value())
            date = epoch_ms(record.transaction_date)
            found.append(Transaction(message.timestamp()[1], record.account_id, date, record.transaction_id))
        return found

    def _flags(self) -> dict[int, list[Flag]]:
        found: dict[int, list[Flag]] = {}
        for message in self.topics.read(self.topics.flagged):
            record = AccountFlag.parse(message.value())
            flagged = record.status is records.Status.FLAGGED
            flag = Flag(
                message.timestamp()[1], record.account_id, epoch_ms(record.flag_date), flagged, record.reason or ""
            )
            found.setdefault(record.account_id, []).append(flag)
        return found

    def _rows(self) -> list[dict[str, Any]]:
        """Read the table account by account: for each page of a scan DynamoDB Local loads all the rest of the table."""
        query = self.table.meta.client.get_paginator("query").paginate
        self.table.reload()
        rows, count = [], self.table.item_count
        for account in ACCOUNTS:
            pages = query(
                TableName=self.table.name,
                ConsistentRead=True,
                KeyConditionExpression="account_id = :account",
                ExpressionAttributeValues={":account": account},
            )
            rows += [row for page in pages for row in page["Items"]]
        assert count <= len(rows), "rows of other accounts"
        return rows


def wreak(stack: Stack, faults: Sequence[Fault], *, per_second: int, seed: int, pause: float = 3.0) -> list[Healed]:
    """Inject the faults one after the other under load, `pause` seconds apart, and settle."""
    healed = []
    with stack.load(per_second=per_second, seed=seed):
        for fault in faults:
            time.sleep(pause)  # the load between two faults is part of the case
            healed.append(stack.inject(fault))
            sys.stderr.write(f"{fault}: healthy again after {healed[-1].seconds:.0f} s\n")
        time.sleep(pause)
    stack.settle()
    return healed
