"""A target whose topics hold what a test puts there: transactions, and flag events that were known at some time."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import oracle
from fakes import OUTPUTS, FakeFunctions, FakeRecords, FakeTarget, batch
from histories import flag_json, iso

from fraudctl.errors import OperationFailed
from fraudctl.pipeline import records, topics
from fraudctl.pipeline.reader import Batch, Record
from fraudctl.target import From, Range

HOUR = 3_600_000
NOON = 1_790_000_000_000 // HOUR * HOUR
EARLY = NOON - 100 * HOUR


@dataclass
class TopicRecords(FakeRecords):
    """Records by topic, all in partition 0, a few at a time."""

    topics: dict[str, list[Record]] = field(default_factory=dict)

    def batches(self, topic: str, wanted: Range) -> Iterator[Batch]:
        """Yield what lies in the window."""
        found = [
            record
            for record in self.topics.get(topic, ())
            if wanted.start is From.BEGINNING or (wanted.since or 0) <= (record.timestamp or 0)
            if wanted.until is None or (record.timestamp or 0) < wanted.until
        ]
        for start in range(0, len(found), 7):
            yield batch(*found[start : start + 7])


def target(transactions: Iterable[tuple[int, bytes]], flags: Iterable[oracle.Flag] = ()) -> FakeTarget:
    """Give a target whose topics hold these, with no slack."""
    sent = [Record(topics.TRANSACTIONS.name, 0, n, at, b"", value) for n, (at, value) in enumerate(transactions)]
    flagged = [Record(topics.FLAGGED.name, 0, n, flag.published, b"", flag_json(flag)) for n, flag in enumerate(flags)]
    found = FakeTarget(
        records=TopicRecords(topics={topics.TRANSACTIONS.name: sent, topics.FLAGGED.name: flagged}),
    )
    found.stack.outputs = lambda: OUTPUTS  # type: ignore[method-assign]
    return found


@dataclass
class Publishing(FakeFunctions):
    """FlagAccountGenerator, publishing into the topic; behind `most` events it fails."""

    records: TopicRecords = field(default_factory=TopicRecords)
    most: int = 10**9

    def invoke(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Publish the events."""
        answer = super().invoke(name, payload)
        topic = self.records.topics[topics.FLAGGED.name]
        now = int(time.time() * 1000)
        for event in answer["flags"]:
            if len(topic) >= self.most:
                raise OperationFailed("FlagAccountGenerator: not written")
            event |= {"flag_date": event["flag_date"] or iso(now), "partition": 0, "offset": len(topic)}
            value = {key: event[key] for key in ("account_id", "flag_date", "status", "reason", "flagged_by")}
            topic.append(Record(topics.FLAGGED.name, 0, len(topic), now, b"", json.dumps(value).encode()))
        return answer


def live(transactions: Iterable[tuple[int, bytes]], flags: Iterable[oracle.Flag] = ()) -> FakeTarget:
    """Give a target where flagging changes the flags."""
    found = target(transactions, flags)
    assert isinstance(found.records, TopicRecords)
    found.functions = Publishing(records=found.records)
    return found


def transaction(
    account: int, date: int, name: str, amount: str = "10.00", merchant: str = "Grocery"
) -> tuple[int, bytes]:
    """Give a transaction that is published when it is made."""
    made = records.Transaction(
        transaction_id=name,
        account_id=account,
        customer_name="Ada",
        transaction_date=iso(date),
        merchant_type=merchant,
        transaction_type="Online",
        amount=Decimal(amount),
    )
    return date, made.to_json()


def flagged(account: int, date: int, *, on: bool = True, published: int = EARLY) -> oracle.Flag:
    """Give a flag event that was known in time."""
    return oracle.Flag(published, account, date, on, "stolen card")


SENT = (
    transaction(1, NOON, "a", "0.10"),
    transaction(2, NOON + 1, "b", "0.20"),
    transaction(1, NOON + HOUR, "c", "999999999.99"),
    transaction(2, NOON + HOUR + 1, "d", "5.05"),
    transaction(3, NOON + 3 * HOUR, "e", "7.00"),
    transaction(2, NOON + 3 * HOUR, "f", "8.00"),
    transaction(2, NOON + 3 * HOUR, "f", "8.00"),  # a copy
    (NOON + 3 * HOUR, b'{"transaction_id":"broken","account_id":2}'),
)
