"""What would be sent of a file, and what would be refused and why; nothing is sent."""

import io
from dataclasses import dataclass
from typing import Any, Final

from fraudctl.errors import NotAsAsked
from fraudctl.pipeline.records import Transaction
from fraudctl.services import transaction_file
from fraudctl.services.read_options import ReadOptions

COLUMNS: Final = (*(field.name for field in Transaction.FIELDS), "extra")
REASON_COLUMNS: Final = ("lines", "reason", "first", "example")
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class DryRun:
    """The first records as they would be sent, how many there are, and the reasons of the others, most frequent first.

    A reason has the number of its `lines`, where the `first` of them stands, and an `example` of the value. `note` says
    that nothing is in the file.
    """

    records: tuple[dict[str, Any], ...]
    valid: int
    invalid: int
    reasons: tuple[dict[str, Any], ...]
    note: str = ""

    def check(self) -> None:
        """Raise `NotAsAsked` when a line would be refused."""
        if self.invalid:
            raise NotAsAsked(
                f"transactions: {self.invalid:,} of {self.valid + self.invalid:,} would be refused; nothing was sent",
                hint="fix them, or send the others without --dry-run",
            )


def dry_run(stream: io.BufferedReader, name: str, options: ReadOptions) -> DryRun:
    """Read a whole file as `fraudctl transactions send` would; raises `BadConfig` as it does."""
    note = "the file is empty" if not stream.peek(1) else "no transaction in it"
    records: list[dict[str, Any]] = []
    reasons: dict[str, dict[str, Any]] = {}
    valid = invalid = 0
    for line in transaction_file.lines(stream, None, name, options):
        if line.outgoing is not None:
            valid += 1
            if len(records) < _SHOWN:
                transaction = Transaction.parse(line.outgoing.value)
                records.append({**transaction.values(), "extra": transaction.extra})
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
    )
