"""Rows in bulk, on a table in memory."""

from typing import Any

import pytest
from fakes import detection

from fraudctl.errors import NotDeployed
from fraudctl.pipeline import audit_table
from fraudctl.services.audit import bulk
from fraudctl.services.audit.bulk import Page, Rows
from fraudctl.services.audit.table import AuditReader, Query

DAY = 1_795_478_400_000  # 2026-11-24T00:00:00Z
NUMBER = 40


@pytest.fixture
def filled(audit: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Detections a second apart, in pages of three."""
    monkeypatch.setattr(bulk, "LARGEST_PAGE", 3)
    with audit.batch_writer() as batch:
        for number in range(NUMBER):
            batch.put_item(Item=audit_table.item(detection(number), DAY + number * 1000, 0, number))
    return audit


def ids(pages: list[Page]) -> list[str]:
    """Give the transactions of pages."""
    return sorted(item["transaction_id"]["S"] for page in pages for item in page.items)


def named(numbers: range) -> list[str]:
    """Give the ids of transactions."""
    return sorted(f"t-{number}" for number in numbers)


def test_all_rows_of_a_span(filled: Any) -> None:
    """Each once, as they are on the wire, in the order of detection within a shard."""
    with Rows(filled) as rows:
        found = list(rows.rest())
    assert ids(found) == named(range(NUMBER))
    (item,) = [item for page in found for item in page.items if item["transaction_id"]["S"] == "t-7"]
    assert (item["account_id"], item["processed_offset"]) == ({"N": "7"}, {"N": "7"})
    for shard in range(audit_table.SHARDS):
        dates = [item["detected_at"]["S"] for page in found if page.shard == shard for item in page.items]
        assert dates == sorted(dates)
        assert len(dates) > 3
    with Rows(filled, DAY + 5000, DAY + 9000) as rows:
        assert ids(list(rows.rest())) == named(range(5, 9))


def test_reading_goes_on_behind_a_page(filled: Any) -> None:
    """A shard that was read to its end is not read again."""
    with Rows(filled) as rows:
        whole = list(rows.rest())
    before: list[Page] = []
    after: dict[int, Any] = {}
    for page in whole[: len(whole) // 2]:
        before.append(page)
        after[page.shard] = page.after
    with Rows(filled, after=after) as rows:
        rest = list(rows.rest())
    assert ids(before + rest) == named(range(NUMBER))
    assert rest


def test_other_readers_of_the_table_are_not_disturbed(filled: Any) -> None:
    """They get rows in boto3's types."""
    with Rows(filled) as rows:
        list(rows.rest())
    assert [row.transaction_id for row in AuditReader(filled).rows(Query(oldest_first=True))] == [
        f"t-{number}" for number in range(NUMBER)
    ]


def test_a_table_that_is_gone(audit: Any) -> None:
    """Is an error where the rows are taken."""
    audit.delete()
    with Rows(audit) as rows, pytest.raises(NotDeployed):
        list(rows.rest())
