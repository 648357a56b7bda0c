"""Tail a topic: which records to read, and notes when Kafka stops answering."""

import time
from collections.abc import Callable, Iterator

from fraudctl.errors import BadConfig
from fraudctl.pipeline.reader import Batch, Record
from fraudctl.pipeline.topics import Topic
from fraudctl.services import time_options
from fraudctl.target import From, Range, Target


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


def records(target: Target, topic: Topic, what: Range, note: Callable[[str], None]) -> Iterator[list[Record]]:
    """Yield the records as they arrive; call `note` once when Kafka stops answering and once when it answers again."""
    silent = False
    for batch in target.records.batches(topic.name, what):
        silent = _changed(batch, note, silent=silent)
        if batch.records:
            yield list(batch.records)


def _changed(batch: Batch, note: Callable[[str], None], *, silent: bool) -> bool:
    if batch.unreachable is not None and not silent:
        note("Kafka does not answer; waiting.")
    elif batch.unreachable is None and silent:
        note("Kafka is back.")
    return batch.unreachable is not None
