"""The audit table, which outlives the stack: queried, counted, kept or deleted."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from botocore.exceptions import ClientError

from fraudctl.aws.errors import THROTTLED, asking
from fraudctl.clock import Clock
from fraudctl.errors import NotDeployed, Refused, TimedOut
from fraudctl.target import Event, Phase

_POLL_SECONDS: Final = 2.0
_WAIT_SECONDS: Final = 600.0
# What `fraudctl.services.audit` waits out itself, and says so.
_WAITED_OUT: Final = THROTTLED | {"ProvisionedThroughputExceededException"}


class AuditTable:
    """The table as boto3's ``Table`` has it, with AWS's errors told as everywhere; `table` gives that at first use."""

    def __init__(self, name: str, table: Callable[[str], Any]) -> None:
        """Store where it is; no I/O."""
        self._name, self._make = name, table
        self._made: Any = None

    def query(self, **request: Any) -> Any:  # noqa: ANN401 - boto3's
        """Return one page; raises `NotDeployed` for a table that is gone; throttling is botocore's own."""
        return self._ask("query", request)

    def get_item(self, **request: Any) -> Any:  # noqa: ANN401 - boto3's
        """Return one item's answer; raises as `query` does."""
        return self._ask("get_item", request)

    @property
    def item_count(self) -> int:
        """The number of rows, which DynamoDB counts every six hours; raises as `query` does."""
        with asking(f"table {self._name}"):
            return int(self._table().item_count)

    @property
    def meta(self) -> Any:  # noqa: ANN401 - boto3's
        """boto3's own description of the table, with its client."""
        return self._table().meta

    def _ask(self, operation: str, request: dict[str, Any]) -> Any:  # noqa: ANN401 - boto3's
        with asking(f"table {self._name}"):
            try:
                return getattr(self._table(), operation)(**request)
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code == "ResourceNotFoundException":
                    raise NotDeployed(f"table {self._name}: it is not there", hint="run `fraudctl deploy`") from error
                if code not in _WAITED_OUT:
                    raise
                throttled = error
        raise throttled

    def _table(self) -> Any:  # noqa: ANN401 - boto3's
        if self._made is None:
            self._made = self._make(self._name)
        return self._made


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
