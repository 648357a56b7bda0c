"""A week of flag events and transactions, each published when it was made: what a list of last Tuesday is asked of."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from fraudctl.pipeline import dates, kafka, topics

STOLEN, MOVED, MULE, LATE, HONEST = 2_000_000_003, 2_000_000_005, 2_000_000_009, 2_000_000_007, 2_000_000_001
ACCOUNTS = (HONEST, STOLEN, MOVED, LATE, MULE)
EVERY_HOURS = 6
DAYS = 6


@dataclass(frozen=True)
class Week:
    """The six days before `today`, a midnight in UTC; day 0 is the first."""

    today: datetime

    @classmethod
    def before(cls, now: datetime) -> "Week":
        """Return the week that ends with the day of `now`; no record of it is older than Kafka keeps transactions."""
        return cls(now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0))

    def at(self, day: int, clock: str = "00:00") -> str:
        """Return a time of a day as records have it."""
        hours, minutes = map(int, clock.split(":"))
        return dates.format_date(self.today + timedelta(days=day - DAYS, hours=hours, minutes=minutes))

    def flags(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the flag events, with when each was published."""

        def event(account: int, status: str, date: str, reason: str, by: str) -> dict[str, Any]:
            known = {"account_id": account, "flag_date": date, "status": status}
            return {**known, "reason": reason, "flagged_by": by}

        stolen, moved = (STOLEN, "stolen card", "ada"), (MOVED, "new address", "grace")

        def of(who: tuple[int, str, str], status: str, date: str) -> dict[str, Any]:
            return event(who[0], status, date, who[1], who[2])

        return [
            # Flagged until noon of day 2 …
            (self.at(0, "10:00"), of(stolen, "FLAGGED", self.at(0, "10:00"))),
            (self.at(0, "10:00"), of(stolen, "CLEARED", self.at(2, "12:00"))),
            # … and in the morning of that day extended to noon of day 5.
            (self.at(2, "09:30"), of(stolen, "FLAGGED", self.at(2, "12:00"))),
            (self.at(2, "09:30"), of(stolen, "CLEARED", self.at(5, "12:00"))),
            # Scheduled on day 1 for day 3.
            (self.at(1, "15:00"), of(moved, "FLAGGED", self.at(3))),
            # Noticed two hours late, and cleared the day after.
            (self.at(3, "14:00"), event(LATE, "FLAGGED", self.at(3, "11:00"), "complaint", "ada")),
            (self.at(4, "16:00"), event(LATE, "CLEARED", self.at(4, "16:00"), "complaint", "grace")),
        ]

    def transactions(self) -> list[tuple[str, dict[str, Any]]]:
        """Return a transaction of each account every six hours, of 10.00, 20.00, … by account, and when it was sent."""
        found = []
        for day in range(DAYS):
            for hour in range(3, 24, EVERY_HOURS):
                date = self.at(day, f"{hour:02d}:00")
                for number, account in enumerate(ACCOUNTS, 1):
                    record = {
                        "transaction_id": f"d{day}-{hour:02d}-{account % 10}",
                        "account_id": account,
                        "customer_name": "Zoë Ōta",
                        "transaction_date": date,
                        "merchant_type": "Grocery",
                        "transaction_type": "Purchase",
                        "amount": number * 10,
                    }
                    found.append((date, record))
        return found

    def detected(self) -> Iterator[str]:
        """Yield the ids of the transactions that were made while their account was flagged, as it was known then."""
        spans = {
            STOLEN: (self.at(0, "10:00"), self.at(5, "12:00")),
            MOVED: (self.at(3), "9999"),
            # What was sent before the flag was published stays undetected.
            LATE: (self.at(3, "14:00"), self.at(4, "16:00")),
        }
        for date, record in self.transactions():
            start, end = spans.get(record["account_id"], ("9999", ""))
            if start <= date < end:
                yield record["transaction_id"]


def publish(servers: str, week: Week) -> None:
    """Write the week with its own times, which the topics take from then on instead of the broker's."""
    admin = AdminClient({"bootstrap.servers": servers})
    kind = ConfigEntry("message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET)
    inputs = (topics.FLAGGED.name, topics.TRANSACTIONS.name)
    changed = [ConfigResource(ResourceType.TOPIC, name, incremental_configs=[kind]) for name in inputs]
    for answer in admin.incremental_alter_configs(changed).values():
        answer.result(30)
    producer = kafka.open_producer(kafka.producer(kafka.client(servers)))
    for topic, records in zip(inputs, (week.flags(), week.transactions()), strict=True):
        for when, record in records:
            producer.produce(
                topic,
                json.dumps(record, ensure_ascii=False).encode(),
                str(record["account_id"]).encode(),
                timestamp=dates.date_milliseconds(when),
            )
    assert producer.flush(30) == 0
