"""Queries of the audit table, on a table in memory."""

import random
from decimal import Decimal
from itertools import islice
from typing import Any

import pytest
from botocore.exceptions import ClientError
from fakes import detection

from fraudctl.errors import BadConfig, NotDeployed
from fraudctl.pipeline import audit_table
from fraudctl.services import audit as service

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


def test_all_accounts_newest_detection_first(filled: Any) -> None:
    """Merged over the shards, whatever the size of a page."""
    for page in (1, 3, 1000):
        rows = list(service.query(Counting(filled, page), limit=100))
        assert [row.processed_offset for row in rows] == list(range(ROWS))[::-1]


def test_one_account_newest_transaction_first(filled: Any) -> None:
    """By the date of the transaction, however late it was detected."""
    rows = list(service.query(Counting(filled, 7), 8, limit=100))
    assert [row.transaction_offset for row in rows] == list(range(1, ROWS, 3))[::-1]
    assert {row.account_id for row in rows} == {8}


def test_the_limit_is_the_number_of_rows(filled: Any) -> None:
    """Never of what was looked at."""
    assert len(list(service.query(filled, limit=5))) == 5
    assert len(list(service.query(filled, 7, limit=5))) == 5
    assert len(list(service.query(filled, 7, limit=20))) == 20


def test_pages_are_fetched_as_they_are_needed(filled: Any) -> None:
    """One page a shard for the first row, no more."""
    table = Counting(filled, 2)
    rows = service.query(table, limit=50)
    assert table.queries == 0
    next(rows)
    assert table.queries == audit_table.SHARDS
    list(islice(rows, 9))
    assert table.queries < 2 * audit_table.SHARDS + 4


def test_bounds_are_of_the_order_s_own_time(filled: Any) -> None:
    """Since counts, until does not; either may be missing."""
    by_detection = [row.processed_offset for row in service.query(filled, limit=99, since=DAY + 5000, until=DAY + 8000)]
    assert by_detection == [7, 6, 5]
    ten = DAY + 10 * 3_600_000
    of_account = service.query(filled, 7, limit=99, since=ten + 3000, until=ten + 9000)
    assert [row.transaction_offset for row in of_account] == [6, 3]
    assert [row.transaction_offset for row in service.query(filled, 7, limit=99, until=ten + 1)] == [0]
    assert [row.processed_offset for row in service.query(filled, limit=99, since=DAY + 58_000)] == [59, 58]
    assert list(service.query(filled, limit=99, since=DAY + 5000, until=DAY + 5000)) == []


def test_amounts_have_two_decimals_again(audit: Any) -> None:
    """DynamoDB drops trailing zeros."""
    item = audit_table.item(detection(1), DAY, 0, 0)
    audit.put_item(Item={**item, "amount": Decimal("12.5")})
    assert str(next(service.query(audit, limit=1)).amount) == "12.50"


@pytest.mark.parametrize("account", [0, -1, 2**63])
def test_an_account_out_of_range_is_refused(audit: Any, account: int) -> None:
    """DynamoDB would answer with nothing."""
    with pytest.raises(BadConfig):
        list(service.query(audit, account, limit=1))


def test_find_by_transaction(filled: Any) -> None:
    """The whole row, of every account that used the id."""
    filled.put_item(Item=audit_table.item(detection(5, 999), DAY, 0, 77))
    found = service.find(Counting(filled, 1), "t-5")
    assert sorted(row.account_id for row in found) == [9, 999]
    assert {row.flag_reason for row in found} == {"stolen card"}
    with pytest.raises(NotDeployed, match="transaction t-99: not in the audit table"):
        service.find(filled, "t-99")


def test_errors_whose_meaning_is_not_known_stay_as_they_are(audit: Any) -> None:
    """The boundary tells a bug from a fault."""
    with pytest.raises(ClientError, match="ValidationException"), service.translated():
        audit.get_item(Key={"nonsense": 1})
