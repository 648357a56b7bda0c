"""Retries of DynamoDB's throttling within a Lambda invocation.

botocore retries: its standard mode has the pauses, which are up to 1, 2, 4, 8, 16 and then 20 s after a throttle, the
codes that are throttles, and a quota that ends retries when nothing succeeds any more. Two things are added by its
events, since it cannot know them: when the invocation ends, and that a transaction was cancelled by a throttle or a
conflict only ("if that request fails, AWS SDKs do not retry the request": DynamoDB developer guide, transaction-apis).
Its adaptive mode would also slow down what is not throttled, by a rate that it keeps between invocations.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

# 71 s of pauses at most: it is the invocation's end that ends them.
CONFIG: Final[Any] = {"mode": "standard", "total_max_attempts": 8}
CONNECT_TIMEOUT_S: Final = 2
READ_TIMEOUT_S: Final = 10

_LONGEST_PAUSE_S: Final = 20
_ANSWER_S: Final = 1  # to log the batch and to answer
_SERVER_ERROR: Final = 500
_CANCELED: Final = "TransactionCanceledException"
_THROTTLES: Final = frozenset(
    ("ProvisionedThroughputExceeded", "RequestLimitExceeded", "Throttling", "ThrottlingError", "TransactionConflict")
)


class OutOfTime(RuntimeError):
    """The invocation ends before another attempt could have its answer."""


class Budget:
    """The time of one invocation, and how often DynamoDB throttled it; shared by its threads."""

    def __init__(self, remaining_ms: Callable[[], int]) -> None:
        """Take the function of Lambda's context that gives the milliseconds until the time-out."""
        self._remaining_ms = remaining_ms
        self._lock = threading.Lock()
        self.throttled = 0

    def count(self) -> None:
        """Count an answer that was a throttle."""
        with self._lock:
            self.throttled += 1

    def check(self, seconds: float, what: str) -> None:
        """Raise OutOfTime when less than this, and what it takes to answer, is left."""
        left = self._remaining_ms() / 1000
        if left < seconds + _ANSWER_S:
            raise OutOfTime(f"{what}, with {left:.1f} s of the invocation left")


_current: ContextVar[Budget | None] = ContextVar("budget", default=None)


@contextmanager
def within(remaining_ms: Callable[[], int]) -> Iterator[Budget]:
    """Bound what is called in the block, in threads that run in a copy of its context too, by the remaining time."""
    budget = Budget(remaining_ms)
    token = _current.set(budget)
    try:
        yield budget
    finally:
        _current.reset(token)


def check() -> None:
    """Raise OutOfTime when there is no time for another call."""
    if budget := _current.get():
        budget.check(0, "not everything is written")


def attach(client: Any) -> None:  # noqa: ANN401 - boto3's
    """Let the client's retries end with the invocation, and let it retry what only a throttle cancelled."""
    for operation in ("PutItem", "TransactWriteItems"):
        # botocore's own handler is for the whole service; those of an operation are called before it.
        client.meta.events.register(f"needs-retry.dynamodb.{operation}", _judge)


def _judge(
    attempts: int, response: tuple[Any, dict[str, Any]] | None, caught_exception: Exception | None, **_: object
) -> None:
    """Look at an attempt before botocore does; raises OutOfTime when there is no time for what it would do."""
    parsed = response[1] if response else {}
    error = parsed.get("Error") or {}
    throttled = _throttled(error, parsed)
    budget = _current.get()
    if budget is None:
        return
    if throttled:
        budget.count()
    if throttled or caught_exception or parsed.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= _SERVER_ERROR:
        pause = min(2 ** (attempts - 1), _LONGEST_PAUSE_S)
        said = ": ".join(filter(None, (error.get("Code"), error.get("Message")))) or repr(caught_exception)
        budget.check(pause + READ_TIMEOUT_S, f"attempt {attempts} failed, {said}")


def _throttled(error: dict[str, Any], parsed: Mapping[str, Any]) -> bool:
    """Return whether an answer is a throttle; what botocore would not retry gets a code that it retries."""
    code = str(error.get("Code", "")).removesuffix("Exception")
    reasons = {reason.get("Code") or "None" for reason in parsed.get("CancellationReasons", ())} - {"None"}
    if error.get("Code") == _CANCELED and reasons and reasons <= _THROTTLES:
        error["Code"] = "ThrottlingException"
    elif code == "TransactionConflict":
        error["Code"] = "TransactionInProgressException"
    return code in _THROTTLES or not reasons.isdisjoint(_THROTTLES)
