"""Tail a topic: which records to read, and notes when Kafka stops answering."""

import time
from collections.abc import Callable, Iterator
from typing import Final

from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, NotDeployed, Unreachable
from fraudctl.pipeline import topics
from fraudctl.pipeline.reader import Batch, Record
from fraudctl.pipeline.topics import Topic
from fraudctl.services import time_options
from fraudctl.target import From, Range, Target

# Where the records of each topic come from, for who waits for them in vain.
_SOURCES: Final = {
    topics.TRANSACTIONS.alias: "switch on sample transactions: `fraudctl transactions start`",
    topics.FLAGGED.alias: "flag an account: `fraudctl flag-accounts`",
    topics.PROCESSED.alias: "flag an account: `fraudctl flag-accounts`",
    topics.DEAD_LETTERS.alias: "malformed records are set aside there",
}
_ASK_SECONDS: Final = 2.0
_STOPPED_SECONDS: Final = 10.0


def wanted(
    *,
    last: int | None = None,
    from_beginning: bool = False,
    since: str | None = None,
    until: str | None = None,
    follow: bool | None = None,
    most: int | None = None,
    clock: Callable[[], float] = time.time,
) -> Range:
    """Return the options as a range: new records by default; reading the last N stops at the end.

    Raises `BadConfig` for options that exclude each other.
    """
    given = [
        name
        for name, is_given in (
            ("--last", last is not None),
            ("--from-beginning", from_beginning),
            ("--since", since is not None),
        )
        if is_given
    ]
    if len(given) > 1:
        raise BadConfig(f"{' and '.join(given)} cannot be combined", hint=f"use {' or '.join(given)}")
    first, end = time_options.span(since, until, clock=clock)
    if follow is False and not given and end is None:
        raise BadConfig("--no-follow: there is nothing to read", hint="add --last N, --from-beginning or --since TIME")
    past = end is not None and end <= clock() * 1000
    start = From.NOW
    if last is not None:
        start = From.LAST
    elif first is not None:
        start = From.TIME
    elif from_beginning or past or follow is False:
        start = From.BEGINNING
    endless = start is not From.LAST if follow is None else follow
    return Range(start, count=last or 0, since=first, until=end, follow=endless and not past, limit=most)


def records(
    target: Target,
    topic: Topic,
    what: Range,
    note: Callable[[str], None],
    clock: Clock = Clock(),  # noqa: B008 - frozen
) -> Iterator[list[Record]]:
    """Yield the records as they arrive.

    Calls `note` when there are none to begin with, once when Kafka stops answering and once when it answers again.

    Raises:
        NotDeployed: The stack was torn down meanwhile.
        Unreachable: It was stopped meanwhile.
    """
    silent, begun, presence = False, False, _Presence(target, clock)
    seen = 0
    for batch in target.records.batches(topic.name, what):
        silent = _changed(batch, note, silent=silent)
        if batch.unreachable is not None:
            presence.check()
            continue
        presence.answered()
        if batch.records:
            seen += len(batch.records)
            yield list(batch.records)
        elif not begun and what.follow:
            note(f"Waiting for records in {topic.name}; {_SOURCES[topic.alias]}.")
        begun = True
    if not seen and not what.follow:
        note(f"No records there; {_SOURCES[topic.alias]}.")


class _Presence:
    """Whether there is still a stack behind a Kafka that does not answer."""

    def __init__(self, target: Target, clock: Clock) -> None:
        """Store the collaborators; no I/O."""
        self._target, self._clock = target, clock
        self._asked = 0.0
        self._stopped_since: float | None = None

    def answered(self) -> None:
        """Take note that Kafka has answered."""
        self._stopped_since = None

    def check(self) -> None:
        """Raise `NotDeployed` for a stack that is gone, and `Unreachable` for one that has been stopped for a while."""
        now = self._clock.monotonic()
        if self._asked and now - self._asked < _ASK_SECONDS:
            return
        self._asked = now
        try:
            stack = self._target.stack.outputs().stack
        except NotDeployed as error:
            raise NotDeployed(
                "tail: the stack was torn down, no more records come", hint="run `fraudctl deploy`"
            ) from error
        if self._target.recover():
            self._stopped_since = None
        elif self._stopped_since is None:
            self._stopped_since = now
        elif now - self._stopped_since >= _STOPPED_SECONDS:  # a repair stops it for a moment
            raise Unreachable(f"stack {stack}: it was stopped", hint="run `fraudctl deploy` to bring it back")


def _changed(batch: Batch, note: Callable[[str], None], *, silent: bool) -> bool:
    if batch.unreachable is not None and not silent:
        note("Kafka does not answer; waiting.")
    elif batch.unreachable is None and silent:
        note("Kafka is back.")
    return batch.unreachable is not None
