"""FlagAccountGenerator: flags or clears accounts, and returns where in Kafka each flag event lies."""

import json
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any, Final

from fraudctl.pipeline import kafka, samples, topics
from fraudctl.pipeline.records import AccountFlag, Malformed, Status, format_date, key, normalise_date
from fraudctl.pipeline.text import iso

if TYPE_CHECKING:
    from confluent_kafka import Message

DEFAULT_RANDOM: Final = 5
KNOWN: Final = {"accounts", "random", "status", "from", "reason", "flagged_by", "events"}
# What an event of the list `events` says for itself; without a flag_date it takes effect now.
OF_EVENT: Final = {"account_id", "status", "flag_date", "reason"}


class NotConfirmed(RuntimeError):
    """Kafka did not say no, it said nothing: a flag event may still be written. The name is part of the API."""


def choose(event: Mapping[str, Any], rng: Random) -> Sequence[int]:
    """Return the accounts that were named, each once, or `random` of those that may be drawn; raises ValueError."""
    accounts, number = event.get("accounts"), event.get("random")
    if accounts is not None and number is not None:
        raise ValueError("accounts and random cannot go together")
    if accounts is not None:
        if not isinstance(accounts, list) or not accounts or any(type(account) is not int for account in accounts):
            raise ValueError("accounts is not a list of account ids, which are integers")
        return list(dict.fromkeys(accounts))
    number = DEFAULT_RANDOM if number is None else number
    if type(number) is not int or not 1 <= number <= len(samples.FLAGGABLE):
        raise ValueError(f"random is not an integer from 1 to {len(samples.FLAGGABLE)}")
    return sorted(rng.sample(samples.FLAGGABLE, number))


def flags(event: Mapping[str, Any], rng: Random, now: datetime) -> list[AccountFlag]:
    """Return the flag events that the payload asks for; raises ValueError when one would be malformed."""
    if unknown := set(event) - KNOWN:
        raise ValueError(f"unknown in the payload: {', '.join(sorted(unknown))}")
    flagged_by = event.get("flagged_by") or "fraudctl"
    try:
        return [
            AccountFlag.parse(json.dumps({**asked, "flagged_by": flagged_by}).encode())
            for asked in (_listed(event, now) if event.get("events") is not None else _alike(event, rng, now))
        ]
    except Malformed as error:
        raise ValueError(str(error)) from error


def _alike(event: Mapping[str, Any], rng: Random, now: datetime) -> Iterator[dict[str, Any]]:
    """Yield the same event for each of the accounts."""
    common = {
        "flag_date": _date(event.get("from"), now),
        "status": event.get("status") or Status.FLAGGED,
        "reason": event.get("reason"),
    }
    yield from ({"account_id": account, **common} for account in choose(event, rng))


def _listed(event: Mapping[str, Any], now: datetime) -> Iterator[dict[str, Any]]:
    """Yield the events of the list, in its order: an account may have several, which one partition keeps in order."""
    listed = event["events"]
    if others := {name for name, value in event.items() if value is not None} - {"events", "flagged_by"}:
        raise ValueError(f"events and {', '.join(sorted(others))} cannot go together")
    if not isinstance(listed, list) or not listed or any(not isinstance(asked, dict) for asked in listed):
        raise ValueError("events is not a list of events, which are objects")
    for asked in listed:
        if unknown := set(asked) - OF_EVENT:
            raise ValueError(f"unknown in an event: {', '.join(sorted(unknown))}")
        yield {"reason": None, **asked, "flag_date": _date(asked.get("flag_date"), now)}


def _date(given: object, now: datetime) -> str:
    return format_date(now) if given is None else normalise_date(str(given))


def write(
    producer: Any,  # noqa: ANN401 - Kafka's or a test's
    events: Sequence[AccountFlag],
    refusals: kafka.Refusals | None = None,
) -> list[dict[str, Any]]:
    """Write the flag events; return each with its partition, its offset and when the broker published it."""
    # A key's messages are confirmed in the order in which they were sent.
    places: dict[bytes | None, deque[Message]] = {}
    delivery = kafka.deliver(
        producer,
        [kafka.Outgoing(topics.FLAGGED.name, key(event.account_id), event.to_json()) for event in events],
        on_delivered=lambda message: places.setdefault(message.key(), deque()).append(message),
        refusals=refusals,
    )
    if delivery.failed:
        lost = ", ".join(dict.fromkeys((failed.record.key or b"").decode() for failed in delivery.failed))
        if any(failed.unanswered for failed in delivery.failed):
            why = delivery.failed[0].reason
            raise NotConfirmed(f"not confirmed, and may still arrive, accounts {lost}: {why}")
        raise RuntimeError(f"not written, accounts {lost}: {delivery.failed[0].reason}")
    return [event.values() | _place(places[key(event.account_id)].popleft()) for event in events]


@cache
def producer() -> kafka.KeptProducer:
    """Return the producer that all invocations share."""
    return kafka.KeptProducer(kafka.producer(kafka.connection(os.environ, "FLAGGER")))


def warm() -> None:
    """Open what the first invocation would wait for; the local runner calls this when it loads the function."""
    producer().get()


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Write the flag events; return them with their partitions, offsets and times in Kafka."""
    events = flags(event, SystemRandom(), datetime.now(UTC))
    kept = producer()
    return {"flags": write(kept.get(), events, kept.refusals)}


def _place(message: "Message") -> dict[str, Any]:
    _, published_ms = message.timestamp()
    return {
        "partition": message.partition(),
        "offset": message.offset(),
        "published": iso(published_ms),
    }
