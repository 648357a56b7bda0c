"""FlagAccountGenerator: flags or clears accounts, and returns where in Kafka each flag event lies."""

import json
import os
from collections.abc import Mapping, Sequence
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
KNOWN: Final = {"accounts", "random", "status", "from", "reason", "flagged_by"}


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
    start = event.get("from")
    common = {
        "flag_date": format_date(now) if start is None else normalise_date(str(start)),
        "status": event.get("status") or Status.FLAGGED,
        "reason": event.get("reason"),
        "flagged_by": event.get("flagged_by") or "fraudctl",
    }
    try:
        return [
            AccountFlag.parse(json.dumps({"account_id": account, **common}).encode()) for account in choose(event, rng)
        ]
    except Malformed as error:
        raise ValueError(str(error)) from error


def write(
    producer: Any,  # noqa: ANN401 - Kafka's or a test's
    events: Sequence[AccountFlag],
    refusals: kafka.Refusals | None = None,
) -> list[dict[str, Any]]:
    """Write the flag events; return each with its partition, its offset and when the broker published it."""
    places: dict[bytes | None, Message] = {}
    delivery = kafka.deliver(
        producer,
        [kafka.Outgoing(topics.FLAGGED.name, key(event.account_id), event.to_json()) for event in events],
        on_delivered=lambda message: places.__setitem__(message.key(), message),
        refusals=refusals,
    )
    if delivery.failed:
        lost = ", ".join((failed.record.key or b"").decode() for failed in delivery.failed)
        if any(failed.unanswered for failed in delivery.failed):
            why = delivery.failed[0].reason
            raise NotConfirmed(f"not confirmed, and may still arrive, accounts {lost}: {why}")
        raise RuntimeError(f"not written, accounts {lost}: {delivery.failed[0].reason}")
    return [event.values() | _place(places[key(event.account_id)]) for event in events]


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
