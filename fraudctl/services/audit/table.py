"""Ask the audit table: the pages of a query, in order, with what they cost."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from heapq import merge
from itertools import islice
from typing import Any, Final

from fraudctl import tables
from fraudctl.clock import Clock
from fraudctl.errors import NotDeployed, Unreachable
from fraudctl.pipeline import audit_table
from fraudctl.pipeline.audit_table import AuditRow
from fraudctl.pipeline.text import iso
from fraudctl.services.audit import rows
from fraudctl.services.where import Where

LARGEST_PAGE: Final = 1000
_THROTTLED: Final = {"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"}
_PATIENCE_SECONDS: Final = 60.0
_SAID_EVERY_SECONDS: Final = 5.0
_SORT: Final = {"account_id": "transaction_key", "shard": "detected_key"}

Request = dict[str, Any]


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


@dataclass(frozen=True, slots=True)
class Query:
    """Which rows: one account's in the order of transaction_date, or all accounts' in that of detected_at.

    `since` (inclusive) and `until` (exclusive) bound that time, in epoch milliseconds. Newest first, unless
    `oldest_first`. With `after`, only the rows behind that one.
    """

    account: int | None = None
    since: int | None = None
    until: int | None = None
    oldest_first: bool = False
    where: Where | None = None
    after: "Place | None" = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands in every order."""

    account_id: int
    transaction_date: str
    transaction_id: str
    detected_at: str

    @classmethod
    def of(cls, row: AuditRow) -> "Place":
        """Return a row's place."""
        return cls(row.account_id, row.transaction_date, row.transaction_id, row.detected_at)


@dataclass(slots=True)
class Cost:
    """What a query has taken so far: requests, read capacity units, and the rows that it looked at."""

    pages: int = 0
    units: Decimal = Decimal(0)
    rows: int = 0

    def __str__(self) -> str:
        """Return it as people read it."""
        return (
            f"{tables.plural(self.rows, 'row')} in {tables.plural(self.pages, 'request')}, "
            f"{self.units:f} read capacity units"
        )


def requests(query: Query, page: int = LARGEST_PAGE) -> list[Request]:
    """Return the first request of each of a query's parts, as boto3's ``Table.query`` takes them.

    One account is one part of the table. The index by time has its rows in four shards, which are merged.
    """
    if query.account is not None:
        return [_request(query, {"account_id": query.account}, page)]
    return [
        {"IndexName": audit_table.BY_TIME, **_request(query, {"shard": shard}, page)}
        for shard in range(audit_table.SHARDS)
    ]


def _request(query: Query, part: Mapping[str, int], page: int) -> Request:
    ((name, value),) = part.items()
    sort = _SORT[name]
    # A sort key is <date>#<transaction_id>: it lies right behind the bare date, and before a colon, which is no digit.
    low, high = str(iso(query.since or 0)), str(iso(query.until)) if query.until is not None else ":"
    more: Request = {}
    if query.after is not None:
        key = _keys(query.after)
        if name == "account_id":
            more = {"ExclusiveStartKey": {name: key[name], sort: key[sort]}}
        elif value == key["shard"]:
            more = {"ExclusiveStartKey": key}
        # The same transaction_id is always in the same shard, so no other one has a row of exactly this place.
        elif query.oldest_first:
            low = key[sort]
        else:
            high = key[sort]
    return {
        "KeyConditionExpression": "#part = :part AND #sort BETWEEN :low AND :high",
        "ExpressionAttributeNames": {"#part": name, "#sort": sort},  # shard is a reserved word of DynamoDB
        "ExpressionAttributeValues": {":part": value, ":low": low, ":high": high},
        "ScanIndexForward": query.oldest_first,
        "Limit": page,
        "ReturnConsumedCapacity": "TOTAL",
        **more,
    }


def _keys(place: Place) -> dict[str, Any]:
    return {
        "account_id": place.account_id,
        "transaction_key": audit_table.transaction_key(place.transaction_date, place.transaction_id),
        "shard": audit_table.shard(place.transaction_id),
        "detected_key": f"{place.detected_at}#{place.transaction_id}",
    }


class Page:
    """The rows of a page, the last one that was taken, and whether there are more."""

    def __init__(self, found: Iterator[AuditRow]) -> None:
        """Store the rows; no I/O."""
        self._found = found
        self._full = False
        self.last: AuditRow | None = None

    def take(self, most: int | None) -> Iterator[AuditRow]:
        """Yield at most so many rows, or all."""
        count = 0
        for row in islice(self._found, most):
            self.last = row
            count += 1
            yield row
        self._full = count == most

    def more(self, *, known: bool) -> bool:
        """Return whether there are more rows; unless that is to be `known`, whether there may be."""
        return self._full and (not known or next(self._found, None) is not None)


class AuditReader:
    """Reads rows of a table as they are asked for, and counts what that costs."""

    def __init__(
        self,
        table: Any,  # noqa: ANN401 - a boto3 Table
        note: Callable[[str], None] = lambda _: None,
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        """Store the collaborators; no I/O. `note` is told of throttling, and of a search that takes long."""
        self._table, self._note, self._clock = table, note, clock
        self.cost = Cost()

    def rows(self, query: Query, page: int = LARGEST_PAGE) -> Iterator[AuditRow]:
        """Yield the rows of a query, a page of at most so many at a time; raises `NotDeployed` and `Unreachable`."""
        parts = [self._pages(request) for request in requests(query, min(page, LARGEST_PAGE))]
        sort = "transaction_key" if query.account is not None else "detected_key"
        items = merge(*parts, key=lambda item: str(item[sort]), reverse=not query.oldest_first)
        said = self._clock.monotonic()
        with translated():
            for item in items:
                row = AuditRow.from_item(item)
                self.cost.rows += 1
                if query.where is None or query.where.matches(rows.document(row), None):
                    said = self._clock.monotonic()
                    yield row
                elif self._clock.monotonic() - said >= _SAID_EVERY_SECONDS:
                    said = self._clock.monotonic()
                    self._note(f"Looked at {self.cost.rows:,} rows, back to {row.detected_at}.")

    def _pages(self, request: Request) -> Iterator[Mapping[str, Any]]:
        while True:
            answer = self.answer(request)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            request = {**request, "ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def answer(self, request: Request) -> Any:  # noqa: ANN401 - boto3's answer
        """Return the answer to one request, waiting while it is throttled; raises `Unreachable` and what boto3 does."""
        from botocore.exceptions import ClientError

        for waited in self._clock.poll(0.5, longest=8, within=_PATIENCE_SECONDS):
            try:
                answer = self._table.query(**request)
            except ClientError as error:
                if error.response["Error"]["Code"] not in _THROTTLED:
                    raise
                if not waited:
                    self._note("DynamoDB throttles the query; waiting.")
                continue
            self.cost.pages += 1
            self.cost.units += Decimal(str(answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0)))
            return answer
        raise Unreachable(
            f"audit table: DynamoDB has throttled the query for {_PATIENCE_SECONDS:.0f} s",
            hint="ask for fewer rows with --limit, --since or an account, or try again later",
        )
