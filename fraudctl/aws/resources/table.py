"""The audit table, which outlives the stack: counted, kept or deleted."""

from collections.abc import Iterator
from typing import Any, Final

from botocore.exceptions import ClientError

from fraudctl.aws.errors import asking
from fraudctl.clock import Clock
from fraudctl.errors import Refused, TimedOut
from fraudctl.target import Event, Phase

_POLL_SECONDS: Final = 2.0
_WAIT_SECONDS: Final = 600.0


def rows(dynamodb: Any, table: str) -> int | None:  # noqa: ANN401 - a boto3 client
    """Return about how many rows a table has (DynamoDB counts every six hours); None when there is none."""
    with asking(f"table {table}"):
        try:
            return int(dynamodb.describe_table(TableName=table)["Table"].get("ItemCount", 0))
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return None
            raise


def delete(dynamodb: Any, clock: Clock, table: str) -> Iterator[Event]:  # noqa: ANN401 - a boto3 client
    """Delete a table and wait until it is gone; nothing to do when there is none."""
    if rows(dynamodb, table) is None:
        return
    with asking(f"table {table}"):
        if dynamodb.describe_table(TableName=table)["Table"].get("DeletionProtectionEnabled"):
            raise Refused(
                f"table {table}: its deletion protection is on",
                hint=f"`aws dynamodb update-table --table-name {table} --no-deletion-protection-enabled`, "
                "then `fraudctl teardown` again",
            )
        yield Event(table, Phase.STARTED, "deleting the table")
        dynamodb.delete_table(TableName=table)
    for _ in clock.poll(_POLL_SECONDS, within=_WAIT_SECONDS):
        if rows(dynamodb, table) is None:
            yield Event(table, Phase.DONE, "deleted, with its rows")
            return
    raise TimedOut(f"table {table}: still being deleted", hint="run `fraudctl teardown` again")
