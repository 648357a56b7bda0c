"""Query the audit table: the newest detections, of one account or of all, and single transactions."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from heapq import merge
from itertools import islice
from typing import Any, Final

from fraudctl.errors import BadConfig, NotDeployed, Unreachable
from fraudctl.pipeline import audit_table
from fraudctl.pipeline.audit_table import AuditRow
from fraudctl.pipeline.records import MAX_INT64
from fraudctl.pipeline.text import iso

COLUMNS: Final = tuple(field.name for field in fields(AuditRow))
_LARGEST_PAGE: Final = 1000
# The start of an id is looked for among this many of the newest rows: no index has ids in their order.
_SEARCHED: Final = 10_000
_SHORTEST_PREFIX: Final = 4
_CANDIDATES: Final = 10


@contextmanager
def translated() -> Iterator[None]:
    """Turn DynamoDB's errors into `NotDeployed` and `Unreachable` where their meaning is known."""
    from botocore.exceptions import ClientError, EndpointConnectionError, HTTPClientError

    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        raise NotDeployed("audit table: does not exist", hint="run `fraudctl deploy` first") from error
    except (EndpointConnectionError, HTTPClientError) as error:
        raise Unreachable(
            f"audit table: DynamoDB does not answer: {error}",
            hint="run `fraudctl status`, then `fraudctl deploy` to repair",
        ) from error


def query(
    table: Any,  # noqa: ANN401 - a boto3 Table
    account: int | None = None,
    *,
    limit: int,
    since: int | None = None,
    until: int | None = None,
) -> Iterator[AuditRow]:
    """Yield at most `limit` detections, newest first: one account's by transaction_date, all accounts' by detected_at.

    `since` (inclusive) and `until` (exclusive) bound that time, in epoch milliseconds. Pages are fetched as needed.
    Raises `BadConfig`, `NotDeployed` and `Unreachable`.
    """
    if account is not None and not 1 <= account <= MAX_INT64:
        raise BadConfig(f"account {account}: not an account number", hint="write it like 1000000003")
    page = min(limit, _LARGEST_PAGE)
    with translated():
        yield from (
            islice(_of_account(table, account, page, since, until), limit)
            if account is not None
            else islice(_of_all(table, page, since, until), limit)
        )


def find(table: Any, transaction_id: str) -> list[AuditRow]:  # noqa: ANN401 - a boto3 Table
    """Return the detections of a transaction id (several accounts may have used it), or of the one that starts so.

    The start of an id, at least four characters, is looked for among the newest 10,000 detections.

    Raises:
        BadConfig: Several ids start so; the hint has them.
        NotDeployed: There is no such transaction.
    """
    with translated():
        found = _exactly(table, transaction_id) if transaction_id else []
    if found:
        return found
    searched = ""
    if len(transaction_id) >= _SHORTEST_PREFIX:
        newest = query(table, limit=_SEARCHED)
        ids = list(dict.fromkeys(row.transaction_id for row in newest if row.transaction_id.startswith(transaction_id)))
        if len(ids) > 1:
            more = f" and {len(ids) - _CANDIDATES:,} more" if len(ids) > _CANDIDATES else ""
            raise BadConfig(
                f"transaction {transaction_id}: {len(ids):,} ids start so",
                hint=f"write more of it: {', '.join(ids[:_CANDIDATES])}{more}",
            )
        if ids:
            with translated():
                return _exactly(table, ids[0])
        searched = f", and none of the newest {_SEARCHED:,} starts so"
    raise NotDeployed(
        f"transaction {transaction_id}: not in the audit table{searched}",
        hint="run `fraudctl audit query` to see the newest detections",
    )


def _exactly(table: Any, transaction_id: str) -> list[AuditRow]:  # noqa: ANN401 - a boto3 Table
    from boto3.dynamodb.conditions import Key

    found = []
    keys = _pages(
        table, IndexName=audit_table.BY_TRANSACTION, KeyConditionExpression=Key("transaction_id").eq(transaction_id)
    )
    for key in keys:
        item = table.get_item(Key={name: key[name] for name in ("account_id", "transaction_key")}).get("Item")
        found += [AuditRow.from_item(item)] if item else []
    return found


def _of_account(table: Any, account: int, page: int, since: int | None, until: int | None) -> Iterator[AuditRow]:  # noqa: ANN401
    from boto3.dynamodb.conditions import Key

    condition = Key("account_id").eq(account) & _between("transaction_key", since, until)
    items = _pages(table, KeyConditionExpression=condition, ScanIndexForward=False, Limit=page)
    return map(AuditRow.from_item, items)


def _of_all(table: Any, page: int, since: int | None, until: int | None) -> Iterator[AuditRow]:  # noqa: ANN401
    from boto3.dynamodb.conditions import Key

    shards = [
        _pages(
            table,
            IndexName=audit_table.BY_TIME,
            KeyConditionExpression=Key("shard").eq(shard) & _between("detected_key", since, until),
            ScanIndexForward=False,
            Limit=page,
        )
        for shard in range(audit_table.SHARDS)
    ]
    return map(AuditRow.from_item, merge(*shards, key=lambda item: item["detected_key"], reverse=True))


def _between(attribute: str, since: int | None, until: int | None) -> Any:  # noqa: ANN401 - boto3's condition
    """Return the condition on a sort key ``<date>#<transaction_id>``, which sorts right behind the bare date."""
    from boto3.dynamodb.conditions import Key

    return Key(attribute).between(iso(since or 0), iso(until) if until is not None else ":")


def _pages(table: Any, **request: Any) -> Iterator[Mapping[str, Any]]:  # noqa: ANN401 - boto3's request
    while True:
        answer = table.query(**request)
        yield from answer["Items"]
        if "LastEvaluatedKey" not in answer:
            return
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
