"""Queries of the audit table, on a table in memory."""

import csv
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from fakes import detection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, NotDeployed, Unreachable
from fraudctl.pipeline import audit_table
from fraudctl.pipeline.audit_table import AuditRow
from fraudctl.render import csv_cell
from fraudctl.services.audit.by import By
from fraudctl.services.audit.export import check, export
from fraudctl.services.audit.find import find
from fraudctl.services.audit.options import Wanted, prepare
from fraudctl.services.audit.rows import Chosen, cells
from fraudctl.services.audit.stats import stats
from fraudctl.services.audit.table import AuditReader, Page, Query, requests, translated
from fraudctl.target import Phase

DAY = 1_795_478_400_000  # 2026-11-24T00:00:00Z
ROWS = 60


class Counting:
    """A table that counts its queries and serves small pages."""

    def __init__(self, table: Any, page: int) -> None:
        """Wrap a table."""
        self.table, self.page, self.queries = table, page, 0

    def query(self, **request: Any) -> Any:
        """Query for at most a page."""
        self.queries += 1
        return self.table.query(**{**request, "Limit": min(self.page, request.get("Limit", self.page))})

    def get_item(self, **request: Any) -> Any:
        """Get an item."""
        return self.table.get_item(**request)


@pytest.fixture
def filled(audit: Any) -> Any:
    """Transactions 0 to 59 of accounts 7, 8 and 9 in turn, detected a second apart in an order of their own."""
    order = list(range(ROWS))
    random.Random(1).shuffle(order)  # noqa: S311 - any order will do
    with audit.batch_writer() as batch:
        for position, number in enumerate(order):
            found = detection(number, 7 + number % 3)
            batch.put_item(Item=audit_table.item(found, DAY + position * 1000, 0, position))
    return audit


def query(table: Any, account: int | None = None, *, limit: int, **bounds: Any) -> Iterator[AuditRow]:
    """Give at most `limit` rows."""
    return islice(AuditReader(table).rows(Query(account, **bounds), limit), limit)


def test_all_accounts_newest_detection_first(filled: Any) -> None:
    """Merged over the shards, whatever the size of a page."""
    for page in (1, 3, 1000):
        rows = list(query(Counting(filled, page), limit=100))
        assert [row.processed_offset for row in rows] == list(range(ROWS))[::-1]


def test_one_account_newest_transaction_first(filled: Any) -> None:
    """By the date of the transaction, however late it was detected."""
    rows = list(query(Counting(filled, 7), 8, limit=100))
    assert [row.transaction_offset for row in rows] == list(range(1, ROWS, 3))[::-1]
    assert {row.account_id for row in rows} == {8}


def test_the_limit_is_the_number_of_rows(filled: Any) -> None:
    """Never of what was looked at."""
    assert len(list(query(filled, limit=5))) == 5
    assert len(list(query(filled, 7, limit=5))) == 5
    assert len(list(query(filled, 7, limit=20))) == 20


def test_pages_are_fetched_as_they_are_needed(filled: Any) -> None:
    """One page a shard for the first row, no more."""
    table = Counting(filled, 2)
    rows = query(table, limit=50)
    assert table.queries == 0
    next(rows)
    assert table.queries == audit_table.SHARDS
    list(islice(rows, 9))
    assert table.queries < 2 * audit_table.SHARDS + 4


def test_bounds_are_of_the_order_s_own_time(filled: Any) -> None:
    """Since counts, until does not; either may be missing."""
    by_detection = [row.processed_offset for row in query(filled, limit=99, since=DAY + 5000, until=DAY + 8000)]
    assert by_detection == [7, 6, 5]
    ten = DAY + 10 * 3_600_000
    of_account = query(filled, 7, limit=99, since=ten + 3000, until=ten + 9000)
    assert [row.transaction_offset for row in of_account] == [6, 3]
    assert [row.transaction_offset for row in query(filled, 7, limit=99, until=ten + 1)] == [0]
    assert [row.processed_offset for row in query(filled, limit=99, since=DAY + 58_000)] == [59, 58]
    assert list(query(filled, limit=99, since=DAY + 5000, until=DAY + 5000)) == []


def test_amounts_have_two_decimals_again(audit: Any) -> None:
    """DynamoDB drops trailing zeros."""
    item = audit_table.item(detection(1), DAY, 0, 0)
    audit.put_item(Item={**item, "amount": Decimal("12.5")})
    assert str(next(query(audit, limit=1)).amount) == "12.50"


@pytest.mark.parametrize("account", [0, -1, 2**63])
def test_an_account_out_of_range_is_refused(account: int) -> None:
    """DynamoDB would answer with nothing."""
    with pytest.raises(BadConfig):
        prepare(Wanted(account=account))


def test_find_by_transaction(filled: Any) -> None:
    """The whole row, of every account that used the id."""
    filled.put_item(Item=audit_table.item(detection(5, 999), DAY, 0, 77))
    found = find(Counting(filled, 1), "t-5")
    assert sorted(row.account_id for row in found) == [9, 999]
    assert {row.flag_reason for row in found} == {"stolen card"}
    with pytest.raises(NotDeployed, match="transaction t-99: not in the audit table"):
        find(filled, "t-99")


def test_errors_whose_meaning_is_not_known_stay_as_they_are(audit: Any) -> None:
    """The boundary tells a bug from a fault."""
    with pytest.raises(ClientError, match="ValidationException"), translated():
        audit.get_item(Key={"nonsense": 1})


def pages(table: Any, wanted: Wanted, size: int, between: Any = lambda: None) -> list[AuditRow]:
    """Read page by page, each by the token of the one before; `between` is called after each."""
    found: list[AuditRow] = []
    token = None
    for _ in range(200):
        prepared = prepare(wanted, token, clock=lambda: DAY / 1000 + 3600)
        page = Page(AuditReader(table).rows(prepared.query))
        found += page.take(size)
        between()
        if page.last is None or not page.more(known=False):
            return found
        token = prepared.token(page.last)
    raise AssertionError("the pages have no end")


@given(
    numbers=st.lists(st.integers(0, 30), min_size=1, max_size=20),
    size=st.integers(1, 8),
    oldest=st.booleans(),
    account=st.sampled_from([None, 7, 8]),
    where=st.sampled_from([None, "amount > 100", "merchant_type == 'Grocery'", "city == 'Bern'"]),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_all_pages_together_are_all_rows(
    audit: Any, numbers: list[int], size: int, account: int | None, where: str | None, *, oldest: bool
) -> None:
    """Whatever the size of a page and whatever is inserted meanwhile, in both orders, each row once."""
    for item in audit.scan()["Items"]:
        audit.delete_item(Key={name: item[name] for name in ("account_id", "transaction_key")})
    for position, number in enumerate(numbers):
        found = detection(number, 7 + number % 2, amount=Decimal(number * 10))
        found = replace(found, extra='{"city":"Bern"}' if number % 3 else None)
        audit.put_item(Item=audit_table.item(found, DAY + position // 2 * 1000, 0, position))
    everything = [AuditRow.from_item(item) for item in audit.scan()["Items"]]

    def meets(row: AuditRow) -> bool:
        if account is not None and row.account_id != account:
            return False
        by = {"amount > 100": row.amount > 100, "city == 'Bern'": row.extra is not None}
        return where is None or by.get(where, True)

    def order(row: AuditRow) -> tuple[str, str]:
        return (row.transaction_date if account is not None else row.detected_at), row.transaction_id

    expected = sorted(filter(meets, everything), key=order, reverse=not oldest)
    inserted = iter(range(1000, 2000))

    def insert() -> None:
        """Write a row that belongs to a page that was read already."""
        day = "2026-11-23" if oldest else "2026-11-25"
        late = detection(0, 7, transaction_id=f"x-{next(inserted)}", transaction_date=f"{day}T09:00:00.000Z")
        audit.put_item(Item=audit_table.item(late, DAY + (-1 if oldest else 1) * 10**9, 0, 0))

    found_rows = pages(audit, Wanted(account=account, where=where, oldest_first=oldest), size, insert)
    assert [(row.account_id, *order(row)) for row in found_rows] == [(row.account_id, *order(row)) for row in expected]


def test_a_token_is_of_its_query(filled: Any) -> None:
    """Other options, or something else than a token, are refused; relative times count from the first page."""
    wanted = Wanted(since="1h")
    prepared = prepare(wanted, clock=lambda: DAY / 1000 + 3600)
    assert (prepared.query.since, prepared.query.until) == (DAY, None)
    page = Page(AuditReader(filled).rows(prepared.query))
    assert [row.processed_offset for row in page.take(2)] == [59, 58]
    assert page.last is not None
    token = prepared.token(page.last)
    later = prepare(wanted, token, clock=lambda: DAY / 1000 + 7200)
    assert later.query.since == DAY
    assert [row.processed_offset for row in Page(AuditReader(filled).rows(later.query)).take(2)] == [57, 56]
    assert prepared.next_command(page.last, "--limit", "2") == (
        f"fraudctl audit query --since 1h --limit 2 --next {token}"
    )
    for other in (Wanted(), Wanted(since="2h"), Wanted(7, since="1h"), Wanted(since="1h", oldest_first=True)):
        with pytest.raises(BadConfig, match="of a query with other options"):
            prepare(other, token)
    for bad in ("", "x", token[:-5], token + "é", "bnVsbA", "WzFd"):
        with pytest.raises(BadConfig, match="not a token"):
            prepare(wanted, bad)


def test_what_a_query_costs(filled: Any) -> None:
    """Requests and capacity are counted as they are sent; `requests` returns them unsent."""
    reader = AuditReader(filled)
    assert len(list(reader.rows(Query(8), 7))) == 20
    assert (reader.cost.rows, reader.cost.pages) == (20, 3)
    assert reader.cost.units > 0
    assert str(reader.cost).startswith("20 rows in 3 requests, ")
    (one,) = requests(Query(8, since=DAY))
    assert one["ExpressionAttributeNames"] == {"#part": "account_id", "#sort": "transaction_key"}
    assert one["ExpressionAttributeValues"] == {":part": 8, ":low": "2026-11-24T00:00:00.000Z", ":high": ":"}
    assert [part["ExpressionAttributeValues"][":part"] for part in requests(Query())] == [0, 1, 2, 3]


class Throttled:
    """A table that refuses the first requests."""

    def __init__(self, table: Any, times: int) -> None:
        """Refuse so many."""
        self.table, self.times = table, times

    def query(self, **request: Any) -> Any:
        """Refuse, or query."""
        self.times -= 1
        if self.times >= 0:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, "Query")
        return self.table.query(**request)


def test_throttling_is_waited_out_and_said(filled: Any) -> None:
    """Once a request; after a minute the query ends with what to do."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    said: list[str] = []
    clock = Clock(sleep=sleep, monotonic=lambda: now[0])
    assert len(list(AuditReader(Throttled(filled, 3), said.append, clock).rows(Query(8)))) == 20
    assert said == ["DynamoDB throttles the query; waiting."]
    with pytest.raises(Unreachable, match="throttled the query for 60 s"):
        list(AuditReader(Throttled(filled, 10**6), said.append, clock).rows(Query(8)))


def test_fields_are_columns_or_further_fields(audit: Any) -> None:
    """With dots inside one; what is not there is None, and a column counts before a field of the same name."""
    more = '{"device":{"os":"x","v":1.50},"detected_at":"never"}'
    audit.put_item(Item=audit_table.item(detection(1, extra=more), DAY, 0, 0))
    (row,) = query(audit, limit=1)
    found = Chosen("amount, device.os,device.v,device,detected_at,nothing.x").cells(row)
    assert list(found) == ["amount", "device.os", "device.v", "device", "detected_at", "nothing.x"]
    expected = ["12.50", "x", "1.50", '{"os":"x","v":1.50}', "2026-11-24T00:00:00.000Z", "None"]
    assert list(map(str, found.values())) == expected
    for bad in ("", "a,,b", "a..b"):
        with pytest.raises(BadConfig, match="a name is empty"):
            Chosen(bad)


def test_stats_count_and_sum(audit: Any) -> None:
    """By each value; the largest first, hours in their order."""
    for number in range(10):
        merchant, amount = "A" if number < 7 else "B", Decimal(f"{number}.10")
        found = detection(number, 7 + number % 3, merchant_type=merchant, amount=amount)
        audit.put_item(Item=audit_table.item(found, DAY + number * 1_200_000, 0, number))
    rows = list(query(audit, limit=99))

    def counted(by: By) -> list[tuple[str, int]]:
        return [(group.value, group.count) for group in stats(rows, by).groups]

    by_merchant = stats(rows, By.MERCHANT)
    assert [(g.value, g.count, str(g.amount), len(g.accounts)) for g in by_merchant.groups] == [
        ("A", 7, "21.70", 3),
        ("B", 3, "24.30", 3),
    ]
    total = by_merchant.total
    assert (total.count, str(total.amount), total.accounts) == (10, "46.00", {7, 8, 9})
    assert counted(By.HOUR) == [(f"2026-11-24T0{hour}:00Z", count) for hour, count in enumerate((3, 3, 3, 1))]
    assert counted(By.ACCOUNT) == [("7", 4), ("8", 3), ("9", 3)]
    assert counted(By.REASON) == [("stolen card", 10)]
    assert counted(By.DAY) == [("2026-11-24", 10)]
    assert counted(By.TYPE) == [("Online", 10)]


def test_an_exported_file_is_whole_or_absent(audit: Any, tmp_path: Path) -> None:
    """JSON Lines and CSV have the same rows; a file that was there stays until the new one is written."""
    for number, name in enumerate(["=1+1", "Ada", "-5", "@x", "a\tb"]):
        audit.put_item(Item=audit_table.item(detection(number, customer_name=name), DAY, 0, number))
    rows = list(query(audit, 7, limit=99, oldest_first=True))
    lines, sheet = tmp_path / "found.jsonl", tmp_path / "found.csv"
    events = list(export(rows, lines, csv_cell))
    assert (events[0].phase, events[-1].phase, events[-1].detail) == (Phase.STARTED, Phase.DONE, "5 rows")
    assert [json.loads(line, parse_float=Decimal) for line in lines.read_text().splitlines()] == [
        cells(row) for row in rows
    ]
    list(export(rows, sheet, csv_cell))
    with sheet.open(newline="") as file:
        names = [row["customer_name"] for row in csv.DictReader(file)]
    assert names == ["'=1+1", "Ada", "-5", "'@x", "a\\tb"]
    list(export(rows, sheet, csv_cell, Chosen("account_id,amount")))
    assert sheet.read_text() == "account_id,amount\n" + "7,12.50\n" * 5

    def broken() -> Iterator[AuditRow]:
        yield rows[0]
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        list(export(broken(), sheet, csv_cell))
    assert sheet.read_text().startswith("account_id,amount\n7")
    assert {path.name for path in tmp_path.iterdir()} == {"found.jsonl", "found.csv"}
    assert sheet.stat().st_mode & 0o777 == 0o600
    for bad in (tmp_path / "x.txt", tmp_path / "none" / "x.csv"):
        with pytest.raises(BadConfig):
            check(bad)
