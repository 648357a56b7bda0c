"""What would be sent of a file, and what would be refused and why; nothing is sent."""

import io
from dataclasses import dataclass
from typing import Any, Final

from fraudctl.errors import NotAsAsked
from fraudctl.pipeline import topics
from fraudctl.pipeline.records import Transaction
from fraudctl.pipeline.topics import Topic
from fraudctl.services import replay, transaction_file
from fraudctl.services.read_options import ReadOptions
from fraudctl.target import Outgoing

COLUMNS: Final = (*(field.name for field in Transaction.FIELDS), "extra")
REASON_COLUMNS: Final = ("lines", "reason", "first", "example")
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class DryRun:
    """The first records as they would be sent, how many there are, and the reasons of the others, most frequent first.

    A reason has the number of its `lines`, where the `first` of them stands, and an `example` of the value. `note` says
    that nothing is in the file. `columns` are those of the records.
    """

    records: tuple[dict[str, Any], ...]
    valid: int
    invalid: int
    reasons: tuple[dict[str, Any], ...]
    note: str = ""
    columns: tuple[str, ...] = COLUMNS

    def check(self) -> None:
        """Raise `NotAsAsked` when a line would be refused."""
        if self.invalid:
            raise NotAsAsked(
                f"transactions: {self.invalid:,} of {self.valid + self.invalid:,} would be refused; nothing was sent",
                hint="fix them, or send the others without --dry-run",
            )


def dry_run(stream: io.BufferedReader, name: str, options: ReadOptions, topic: Topic = topics.TRANSACTIONS) -> DryRun:
    """Read a whole file as `fraudctl transactions send` would; raises `BadConfig` as it does."""
    plain = topic is topics.TRANSACTIONS
    what = "transaction" if plain else "record"
    note = "the file is empty" if not stream.peek(1) else f"no {what} in it"
    if not plain:
        replay.check(topic, options, paced=False)
    lines = transaction_file.lines(stream, None, name, options) if plain else replay.lines(stream, name, options)
    records: list[dict[str, Any]] = []
    reasons: dict[str, dict[str, Any]] = {}
    valid = invalid = 0
    for line in lines:
        if line.outgoing is not None:
            valid += 1
            if len(records) < _SHOWN:
                records.append(_transaction(line.outgoing) if plain else _record(line.outgoing))
            continue
        invalid += 1
        reason = reasons.setdefault(
            line.reason, {"lines": 0, "reason": line.reason, "first": line.place, "example": line.value}
        )
        reason["lines"] += 1
    return DryRun(
        tuple(records),
        valid,
        invalid,
        tuple(sorted(reasons.values(), key=lambda one: -int(one["lines"]))),
        "" if valid or invalid else f"{name}: {note}",
        COLUMNS if plain else replay.COLUMNS,
    )


def _transaction(outgoing: Outgoing) -> dict[str, Any]:
    transaction = Transaction.parse(outgoing.value)
    return {**transaction.values(), "extra": transaction.extra}


def _record(outgoing: Outgoing) -> dict[str, Any]:
    headers = [{"name": name, "value": _text(value)} for name, value in outgoing.headers]
    return {"key": _text(outgoing.key), "value": _text(outgoing.value), "headers": headers}


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="backslashreplace")
