"""Kafka as the function TopicReader sees it, asked from outside the network."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from fraudctl.aws.errors import ConnectionLost, Throttled
from fraudctl.aws.resources.functions import FunctionError
from fraudctl.clock import Clock
from fraudctl.errors import OperationFailed, TimedOut
from fraudctl.pipeline import wire
from fraudctl.pipeline.reader import Batch, Bounds, Positions, Records, Request

_NAME: Final = "TopicReader"
_PAUSE_SECONDS: Final = 1.0
# An answer over Lambda's 6 MB: a record that is larger than fits into one.
_TOO_LARGE: Final = "Function.ResponseSizeTooLarge"
# Ends of a function that say nothing about the question: out of time, out of memory.
_FAILED_ONCE: Final = frozenset({"Sandbox.Timedout", "Runtime.ExitError", "Runtime.OutOfMemory"})

Invoke = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


class TopicReader:
    """Answers the questions of `fraudctl.pipeline.reader.Source`; `invoke` is that of the functions, with retries.

    It keeps nothing but what the questions bring along, so it does not matter which instance of the function answers.
    """

    def __init__(self, invoke: Invoke, clock: Clock, note: Callable[[str], None] = lambda _: None) -> None:
        """Store the collaborators; `note` tells people, once, why no answer comes for now. No I/O."""
        self._invoke, self._clock, self._note = invoke, clock, note
        self._said = ""

    def bounds(self, topic: str) -> Bounds:
        """Return the range of offsets of every partition; raises KafkaException, and what invoking does."""
        return wire.bounds_of(self._ask("bounds", {"topic": topic}))

    def offsets_at(self, topic: str, ends: Positions, moment: int) -> dict[int, int]:
        """Return the offset of the first record at or after a time, in epoch milliseconds; else the partition's end."""
        asked = {"topic": topic, "ends": wire.by_text(ends), "moment": moment}
        return wire.by_number(self._ask("offsets_at", asked)["offsets"])

    def poll(self, request: Request) -> Batch:
        """Return a batch as soon as there are records, else after the wait or at the request's ends.

        While AWS throttles, cannot be reached, or the function fails as it may once, the batch says so instead.

        Raises:
            KafkaException: The topic does not exist (any more), or the brokers refuse the login.
            OperationFailed: A record is larger than the function can answer with.
        """
        try:
            answer = self._ask("poll", {"topic": request.topic, **wire.request(request)})
        except (Throttled, ConnectionLost, TimedOut) as error:
            return self._silent(request, error)
        except FunctionError as error:
            if error.kind in _FAILED_ONCE:
                return self._silent(request, error)
            if error.kind == _TOO_LARGE:
                places = ",".join(f"{number}:{at}" for number, at in sorted(request.positions.items()))
                raise OperationFailed(
                    f"topic {request.topic}: a record from offsets {places} on is over the 6 MB of an answer",
                    hint="go on behind it with --offsets",
                ) from error
            raise
        self._said = ""
        return wire.batch_of(answer, request.topic)

    def partitions(self, topics: list[str]) -> Mapping[str, list[dict[str, Any]]]:
        """Return, for each of the topics that exists, its partitions: see lambdas/topic_reader."""
        found: Mapping[str, list[dict[str, Any]]] = self._ask("partitions", {"topics": topics})["topics"]
        return found

    def lags(self, *, timed: bool) -> list[dict[str, Any]]:
        """Return how far each consumer group is behind, for each topic that it has read: see lambdas/topic_reader."""
        found: list[dict[str, Any]] = self._ask("lag", {"timed": timed})["groups"]
        return found

    def _ask(self, what: str, question: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = self._invoke(_NAME, {"ask": what, **question})
        if (error := answer.get("error")) is not None:
            from confluent_kafka import KafkaError, KafkaException

            raise KafkaException(KafkaError(error["code"], error["reason"]))
        return answer

    def _silent(self, request: Request, error: Exception) -> Batch:
        if not self._said:
            self._said = str(error)
            self._note(self._said)
        self._clock.sleep(_PAUSE_SECONDS)
        ends = request.ends or request.positions
        return Batch(Records(request.topic, []), dict(request.positions), dict(ends), str(error))
