"""Find single transactions in the audit table, by their id or by how it begins."""

from itertools import islice
from typing import Any, Final

from fraudctl.errors import BadConfig, NotDeployed
from fraudctl.pipeline import audit_table
from fraudctl.pipeline.audit_table import AuditRow
from fraudctl.services.audit.table import AuditReader, Query, translated

# The start of an id is looked for among this many of the newest rows: no index has ids in their order.
_SEARCHED: Final = 10_000
_SHORTEST_PREFIX: Final = 4
_CANDIDATES: Final = 10


class NoSuchTransaction(NotDeployed):
    """The table has no such transaction."""


def find(table: Any, transaction_id: str) -> list[AuditRow]:  # noqa: ANN401 - a boto3 Table
    """Return the detections of a transaction id (several accounts may have used it), or of the one that starts so.

    The start of an id, at least four characters, is looked for among the newest 10,000 detections.

    Raises:
        BadConfig: Several ids start so; the hint has them.
        NoSuchTransaction: There is none.
        NotDeployed: There is no table.
    """
    with translated():
        found = _exactly(table, transaction_id) if transaction_id else []
    if found:
        return found
    searched = ""
    if len(transaction_id) >= _SHORTEST_PREFIX:
        newest = islice(AuditReader(table).rows(Query()), _SEARCHED)
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
    raise NoSuchTransaction(
        f"transaction {transaction_id}: not in the audit table{searched}",
        hint="run `fraudctl audit query` to see the newest detections",
    )


def _exactly(table: Any, transaction_id: str) -> list[AuditRow]:  # noqa: ANN401 - a boto3 Table
    request: dict[str, Any] = {
        "IndexName": audit_table.BY_TRANSACTION,
        "KeyConditionExpression": "transaction_id = :id",
        "ExpressionAttributeValues": {":id": transaction_id},
    }
    found = []
    while True:
        answer = table.query(**request)
        for key in answer["Items"]:
            item = table.get_item(Key={name: key[name] for name in ("account_id", "transaction_key")}).get("Item")
            found += [AuditRow.from_item(item)] if item else []
        if "LastEvaluatedKey" not in answer:
            return found
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
