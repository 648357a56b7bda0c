"""The audit table on a real DynamoDB Local: what its emulation in memory lets pass, such as reserved words."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from fakes import detection
from lambda_servers import Servers, servers

from fraudctl.pipeline import audit_table
from fraudctl.pipeline.audit_table import AuditRow
from fraudctl.services.audit.find import find
from fraudctl.services.audit.options import Wanted, prepare
from fraudctl.services.audit.table import AuditReader, Page, translated

pytestmark = pytest.mark.integration

DAY = 1_795_478_400_000  # 2026-11-24T00:00:00Z
ROWS = 2_000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Run Kafka and DynamoDB Local for this file."""
    with servers(tmp_path_factory.mktemp("servers")) as found:
        yield found


@pytest.fixture(scope="module")
def table(running: Servers) -> Iterator[Any]:
    """Give a table with rows of 20 accounts, several with the same time of detection."""
    resource = boto3.resource("dynamodb", **running.dynamodb_options)
    found = resource.create_table(**audit_table.definition("audit"))
    with found.batch_writer() as batch:
        for number in range(ROWS):
            item = audit_table.item(detection(number, 7 + number % 20), DAY + number // 3 * 10, 0, number)
            batch.put_item(Item=item)
    yield found
    found.meta.client.close()


@pytest.mark.parametrize("oldest", [False, True])
@pytest.mark.parametrize(("account", "size"), [(None, 700), (None, 97), (9, 33), (9, 100)])
def test_all_pages_together_are_all_rows(table: Any, account: int | None, size: int, *, oldest: bool) -> None:
    """In both orders, each row once, by tokens."""
    wanted = Wanted(account=account, oldest_first=oldest)
    found: list[AuditRow] = []
    token = None
    while True:
        prepared = prepare(wanted, token)
        page = Page(AuditReader(table).rows(prepared.query, size + 1))
        found += page.take(size)
        if page.last is None or not page.more(known=True):
            break
        token = prepared.token(page.last)
    numbers = [row.transaction_offset for row in found]
    assert sorted(numbers) == [n for n in range(ROWS) if account is None or 7 + n % 20 == account]
    times = [row.detected_at for row in found]
    assert times == sorted(times, reverse=not oldest)


def test_bounds_filter_and_cost(table: Any) -> None:
    """What is asked for, and no page more than that takes."""
    reader = AuditReader(table)
    wanted = Wanted(since="2026-11-24T00:00:01Z", until="2026-11-24T00:00:02Z", where="account_id in (7, 8)")
    rows = list(reader.rows(prepare(wanted).query))
    assert {row.account_id for row in rows} == {7, 8}
    assert sorted(row.transaction_offset for row in rows) == [n for n in range(300, 600) if n % 20 < 2]
    assert (reader.cost.rows, reader.cost.pages) == (300, 4)
    assert reader.cost.units > 0


def test_find(table: Any) -> None:
    """By the index of ids."""
    (row,) = find(table, "t-1234")
    assert (row.transaction_offset, row.account_id, str(row.amount)) == (1234, 7 + 1234 % 20, "12.50")
    with pytest.raises(ClientError, match="ValidationException"), translated():
        table.get_item(Key={"nonsense": 1})
