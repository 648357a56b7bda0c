"""fraudctl accounts show, on flag events, transactions and detections in memory."""

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from conftest import Run
from fakes import FakeRecords, FakeTarget, detection, record

from fraudctl.clock import Clock
from fraudctl.pipeline import audit_table, topics
from fraudctl.pipeline.dates import date_milliseconds
from fraudctl.pipeline.records import AccountFlag, Status, Transaction
from fraudctl.pipeline.text import iso
from fraudctl.services.accounts import effects

ACCOUNT = 7
HOLD = 60_000  # of the fakes
NOW = date_milliseconds("2026-11-24T12:00:00.000Z")
TEN = date_milliseconds("2026-11-24T10:00:00.000Z")
MINUTE = 60_000


def flag(offset: int, published: int, date: int, status: Status = Status.FLAGGED, **changes: Any) -> Any:
    """Make the record of a flag event, in partition 2."""
    values = {"account_id": ACCOUNT, "reason": "stolen card", "flagged_by": "ada", **changes}
    event = AccountFlag(flag_date=str(iso(date)), status=status, **values)
    return record(offset, event.to_json(), topic=topics.FLAGGED.name, partition=2, timestamp=published)


def transaction(offset: int, published: int, date: int, account: int = ACCOUNT, **changes: Any) -> Any:
    """Make the record of a transaction of 12.50, whose key is the account."""
    made = Transaction(
        transaction_id=f"t-{offset}",
        account_id=account,
        customer_name="Ada",
        transaction_date=str(iso(date)),
        merchant_type="Grocery",
        transaction_type="Online",
        amount=Decimal("12.50"),
    )
    return record(offset, made.to_json(), timestamp=published, **{"key": b"%d" % account, **changes})


def target(flags: list[Any], transactions: list[Any], table: Any) -> FakeTarget:
    """Make a stack of them."""
    found = {topics.FLAGGED.name: flags, topics.TRANSACTIONS.name: transactions}
    return FakeTarget(records=FakeRecords(of_topic=found), table=table)


def detected(table: Any, number: int, offset: int, amount: str = "12.50") -> None:
    """Write the row of a detection by the flag event at an offset of partition 2."""
    changes = {"flag_partition": 2, "flag_offset": offset, "amount": Decimal(amount)}
    table.put_item(Item=audit_table.item(detection(number, ACCOUNT, **changes), TEN, 0, number))


def test_an_account_and_what_its_events_did(audit: Any) -> None:
    """Each event's role, its detections and their exact sum; what came too late; and what is still to come."""
    until = NOW + 60 * MINUTE
    flags = [
        flag(0, TEN, TEN),
        flag(1, TEN + 5 * MINUTE, TEN + 5 * MINUTE, Status.CLEARED, flagged_by="bo"),
        flag(2, TEN + 20 * MINUTE, TEN + 10 * MINUTE, reason="phishing"),  # ten minutes late, nine beyond hold
        flag(3, TEN + 20 * MINUTE, until, Status.CLEARED),
        flag(4, TEN + 30 * MINUTE, until, Status.CLEARED, reason="extended to the same end"),
        flag(5, TEN, TEN, account_id=77),
    ]
    sent = [
        transaction(0, TEN + MINUTE, TEN + MINUTE),
        transaction(1, TEN + 12 * MINUTE, TEN + 12 * MINUTE),  # missed
        transaction(2, TEN + 19 * MINUTE, TEN + 19 * MINUTE),  # reached: hold before the event
        transaction(3, TEN + 19 * MINUTE - 1, TEN + 18 * MINUTE),  # missed by a millisecond
        transaction(4, TEN + 25 * MINUTE, TEN + 25 * MINUTE),
        transaction(5, TEN + 25 * MINUTE, TEN + 25 * MINUTE, account=77),
        transaction(6, TEN + 25 * MINUTE, TEN + 25 * MINUTE, account=77, key=b"7"),
        record(7, b"{}", key=b"7"),
    ]
    for number, offset, amount in ((1, 0, "0.10"), (2, 2, "0.20"), (3, 2, "123456789.01"), (4, 99, "1.00")):
        detected(audit, number, offset, amount)
    found = effects.account(target(flags, sent, audit), ACCOUNT, clock=Clock(now=lambda: NOW / 1000))
    assert [(e.role.value, e.detections.count, e.detections.amount) for e in found.effects] == [
        ("past", 1, Decimal("0.10")),
        ("past", 0, Decimal("0.00")),
        ("in force", 2, Decimal("123456789.21")),
        ("superseded", 0, Decimal("0.00")),
        ("scheduled", 0, Decimal("0.00")),
    ]
    late = found.effects[2]
    assert (late.late_ms, late.reaches_back_to) == (10 * MINUTE, TEN + 19 * MINUTE)
    assert (late.missed.count, late.missed.amount) == (2, Decimal("25.00"))
    assert all(effect.late_ms is None for effect in found.effects if effect is not late)
    assert found.document() == {
        "account_id": ACCOUNT,
        "state": "FLAGGED",
        "since": iso(TEN + 10 * MINUTE),
        "until": iso(until),
        "reason": "phishing",
        "flagged_by": "ada",
        "next": [{"at": iso(until), "status": "CLEARED"}],
        "detections": {
            "count": 4,
            "amount": Decimal("123456790.31"),
            "unexplained": 1,
            "first": "2026-11-24T10:00:01.000Z",
            "last": "2026-11-24T10:00:04.000Z",
        },
        "transactions": {
            "count": 5,
            "amount": Decimal("62.50"),
            "published_since": None,
            "first": iso(TEN + MINUTE),
            "last": iso(TEN + 25 * MINUTE),
        },
        "events": [effect.cells() for effect in found.effects],
    }
    assert [effect.line()["remark"] for effect in found.effects] == [
        "",
        "",
        f"in force; late by 10 min; reaches back to {_short(TEN + 19 * MINUTE)}; missed 2 transactions, 25.00",
        f"superseded at {_short(TEN + 30 * MINUTE)}",
        "scheduled",
    ]
    assert list(found.notes()) == [
        f"Next: CLEARED from {iso(until)} on.",
        "1 detection of flag events that are not in the topic.",
    ]


def _short(at: int) -> str:
    from fraudctl import tables

    return tables.short_time(iso(at))


def test_events_that_do_not_count_any_more(audit: Any) -> None:
    """Beyond the 64 that the application keeps."""
    flags = [flag(n, TEN + n, TEN + n) for n in range(66)]
    found = effects.account(target(flags, [], audit), ACCOUNT, clock=Clock(now=lambda: NOW / 1000))
    assert [effect.role.value for effect in found.effects] == ["dropped"] * 2 + ["past"] * 63 + ["in force"]
    assert "2 events dropped: the application keeps an account's last 64." in list(found.notes())


def test_what_kafka_has_of_its_transactions(audit: Any) -> None:
    """All of them; or from a time on, which is said."""
    sent = [transaction(n, TEN + n * MINUTE, TEN + n * MINUTE) for n in range(4)]
    stack = target([flag(0, TEN, TEN)], sent, audit)
    found = effects.account(stack, ACCOUNT, TEN + 2 * MINUTE, clock=Clock(now=lambda: NOW / 1000))
    assert (found.transactions.count, found.since) == (2, TEN + 2 * MINUTE)
    assert found.record()["transactions"].endswith(f"(published since {iso(TEN + 2 * MINUTE)})")


def test_what_kafka_has_deleted_of_its_transactions(audit: Any) -> None:
    """Each partition's oldest record says from when on it is whole; the latest of those counts."""
    sent = [transaction(n, TEN + n * MINUTE, TEN + n * MINUTE) for n in range(4)]
    stack = target([flag(0, TEN, TEN)], sent, audit)
    (info,) = (info for info in stack.topics.list() if info.name == topics.TRANSACTIONS.name)
    gone = replace(info, partitions=(replace(info.partitions[0], earliest=5), *info.partitions[1:]))
    stack.topics.list = lambda **_: [gone]  # type: ignore[method-assign]
    found = effects.account(stack, ACCOUNT, clock=Clock(now=lambda: NOW / 1000))
    assert found.document()["transactions"]["published_since"] == iso(TEN)


def test_nobody_waits_in_silence(audit: Any) -> None:
    """Every five seconds it says how far it has come."""
    said: list[str] = []
    ticks = iter(range(0, 600, 6))
    stack = target([flag(0, TEN, TEN)], [transaction(n, TEN + n, TEN + n) for n in range(2)], audit)
    effects.account(stack, ACCOUNT, note=said.append, clock=Clock(monotonic=lambda: float(next(ticks))))
    assert said == ["Read 2 transactions; 0 to come."]


def test_each_format(run: Run, audit: Any) -> None:
    """One JSON document with exact amounts; a row an event as CSV; a head, a table and what happens next for people."""
    soon = int(datetime.now(UTC).timestamp() * 1000) + 10**9
    stack = target([flag(0, TEN, TEN), flag(1, TEN, soon, Status.CLEARED)], [transaction(0, TEN, TEN)], audit)
    detected(audit, 1, 0, "1.10")
    done = run(stack, "accounts", "show", "7", output="json")
    assert (done.code, done.out.count("\n")) == (0, 1)
    assert '"detections":{"count":1,"amount":1.10,' in done.out
    assert [event["amount"] for event in json.loads(done.out)["events"]] == [1.1, 0.0]
    assert done.err == f"Next: CLEARED from {iso(soon)} on.\n"
    done = run(stack, "accounts", "show", "7", output="csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [(row["status"], row["role"], row["amount"]) for row in rows] == [
        ("FLAGGED", "in force", "1.10"),
        ("CLEARED", "scheduled", "0.00"),
    ]
    done = run(stack, "accounts", "show", "7")
    assert "1, 1.10 in all, from 2026-11-24T10:00:01.000Z to 2026-11-24T10:00:01.000Z" in done.out
    assert "1, 12.50 in all" in done.out
    assert "(all there were)" in done.out
    assert "stolen card" in done.out


@pytest.mark.parametrize("account", ["8", "9223372036854775807"])
def test_an_account_that_was_never_flagged(run: Run, audit: Any, account: str) -> None:
    """Exit 3 with the list to look at."""
    done = run(target([flag(0, TEN, TEN)], [], audit), "accounts", "show", account)
    assert (done.code, done.out) == (3, "")
    assert f"account {account}: was never flagged or cleared" in done.err
    assert "Hint: run `fraudctl accounts list`" in done.err
