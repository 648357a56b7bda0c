"""Read very many rows: the parts of the index by time side by side, ahead of who takes them, as they are on the wire.

botocore walks through every attribute of an answer and boto3 through every item again, which takes five times as long
as to decode its JSON. So an answer's items are taken out before botocore parses it (its event ``before-parse``).

Only named attributes could be asked for (ProjectionExpression). DynamoDB reads, and charges for, whole items all the
same, and DynamoDB Local takes half as long again.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple, Self

from fraudctl.clock import Clock
from fraudctl.services.audit.table import LARGEST_PAGE, AuditReader, Query, requests, translated

_EVENT: Final = "before-parse.dynamodb.Query"
_ROWS: Final = "FraudctlRows"
_AHEAD: Final = 8  # pages, which take a megabyte each
_LOOK_SECONDS: Final = 0.2

Item = Mapping[str, Mapping[str, str]]  # {"account_id": {"N": "7"}, …}
Key = Mapping[str, Any]


class Page(NamedTuple):
    """A page of one shard's items, oldest first, and the key to go on behind; None for the last page."""

    shard: int
    items: list[Item]
    after: Key | None


class Rows:
    """The rows that were detected in a span of time, read ahead from the moment this is made. A context manager."""

    def __init__(
        self,
        table: Any,  # noqa: ANN401 - a boto3 Table
        since: int | None = None,
        until: int | None = None,
        after: Mapping[int, Key | None] | None = None,
        note: Callable[[str], None] = lambda _: None,
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        """Begin to read from `since` on and before `until`, in epoch milliseconds, all shards at the same time.

        A shard in `after` goes on behind the key, or is read to its end already where that is None. `note` is told of
        throttling.
        """
        after = after or {}
        self._found: queue.Queue[Page | BaseException] = queue.Queue(_AHEAD)
        self._stop = threading.Event()
        self._left = 0
        with translated():
            table.meta.client.meta.events.register(_EVENT, _take_out, unique_id="fraudctl-rows")
        for shard, first in enumerate(requests(Query(since=since, until=until, oldest_first=True), LARGEST_PAGE)):
            if shard in after and after[shard] is None:
                continue
            request = {**first, **({"ExclusiveStartKey": after[shard]} if shard in after else {})}
            parts = (AuditReader(table, note, clock), shard, request, self._found, self._stop)
            threading.Thread(target=_read, args=parts, daemon=True).start()
            self._left += 1

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reading."""
        self._stop.set()

    def ready(self) -> Iterator[Page]:
        """Yield the pages that are there; raises `NotDeployed` and `Unreachable`."""
        with suppress(queue.Empty):
            while True:
                yield self._page(self._found.get_nowait())

    def rest(self) -> Iterator[Page]:
        """Yield all further pages; raises as `ready` does."""
        while self._left:
            with suppress(queue.Empty):  # a bounded wait, so that Ctrl-C is heard
                yield self._page(self._found.get(timeout=_LOOK_SECONDS))

    def _page(self, found: Page | BaseException) -> Page:
        if isinstance(found, BaseException):
            raise found
        self._left -= found.after is None
        return found


def _read(
    reader: AuditReader,
    shard: int,
    request: Mapping[str, Any],
    found: "queue.Queue[Page | BaseException]",
    stop: threading.Event,
) -> None:
    """Put a shard's pages, or what went wrong, into the queue."""
    page: Page | BaseException
    _wanted.now = True
    while True:
        try:
            with translated():
                answer = reader.answer(dict(request))
            page = Page(shard, answer[_ROWS], _key(answer.get("LastEvaluatedKey")))
        except Exception as error:  # noqa: BLE001 - raised again where the pages are taken
            page = error
        while not stop.is_set():
            try:
                found.put(page, timeout=_LOOK_SECONDS)
                break
            except queue.Full:
                continue
        if stop.is_set() or isinstance(page, BaseException) or page.after is None:
            return
        request = {**request, "ExclusiveStartKey": page.after}


def _key(found: Key | None) -> Key | None:
    """Return a key with its numbers as integers, which JSON can keep."""
    return found and {name: value if isinstance(value, str) else int(value) for name, value in found.items()}


_wanted = threading.local()


def _take_out(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:  # noqa: ANN401
    """Decode an answer's items for a thread that wants them so, and leave the rest of it to botocore."""
    if not getattr(_wanted, "now", False) or response_dict["status_code"] != 200:  # noqa: PLR2004 - OK
        return
    import orjson

    answer = orjson.loads(response_dict["body"])
    customized_response_dict[_ROWS] = answer.pop("Items")
    response_dict["body"] = orjson.dumps(answer)
