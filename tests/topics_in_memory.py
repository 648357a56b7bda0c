"""A target whose topics hold what a test puts there: transactions, and flag events that were known at some time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

import oracle
from fakes import OUTPUTS, FakeRecords, FakeTarget, batch
from histories import flag_json, iso

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
