"""Flag accounts, or clear them, by invoking FlagAccountGenerator."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fraudctl.errors import BadConfig, FraudctlError, OperationFailed
from fraudctl.pipeline.records import MAX_INT64, AccountFlag, Malformed, Status
from fraudctl.pipeline.text import iso
from fraudctl.services import time_options
from fraudctl.target import Target

COLUMNS: Final = ("account_id", "status", "flag_date", "reason", "flagged_by", "partition", "offset")
_FUNCTION: Final = "FlagAccountGenerator"
_ID: Final = re.compile(r"0*[1-9]\d{0,18}", re.ASCII)
# Small enough for the function's time limit and the size limits of its payload and its answer.
_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to flag: `accounts`, or `random` of the sample accounts (as many as the function likes when None)."""

    accounts: tuple[int, ...] = ()
    random: int | None = None
    clear: bool = False
    start: str | None = None
    reason: str | None = None
    flagged_by: str | None = None


def wish(  # noqa: PLR0913 - the options of the command
    accounts: Sequence[str],
    *,
    file: Iterable[str] | None = None,
    random: int | None = None,
    clear: bool = False,
    start: str | None = None,
    reason: str | None = None,
    flagged_by: str | None = None,
    clock: Callable[[], float] = time.time,
) -> Wish:
    """Check the options; `file` has an account a line. Raises `BadConfig` before anything is flagged."""
    numbers = [account(text) for text in accounts]
    for number, line in enumerate(file or (), 1):
        if line.strip():
            numbers.append(account(line.strip(), f"line {number}: "))
    if file is not None and not numbers:
        raise BadConfig("--file: no account in it", hint="write an account a line")
    if numbers and random is not None:
        raise BadConfig("--random: accounts are named too", hint="give either accounts or --random N")
    if clear and not numbers:
        raise BadConfig("--clear: no account is named", hint="fraudctl flag-accounts --clear 1000000003")
    if random is not None:
        _check_random(random)
    date = iso(time_options.parse(start, "--from", clock=clock)) if start is not None else None
    chosen = Wish(
        accounts=tuple(dict.fromkeys(numbers)),
        random=random,
        clear=clear,
        start=date,
        reason=reason,
        flagged_by=flagged_by,
    )
    _check(chosen)
    return chosen


def account(text: str, where: str = "") -> int:
    """Read an account id; raises `BadConfig` unless it is a positive 64-bit integer in decimal digits."""
    if _ID.fullmatch(text) and int(text) <= MAX_INT64:
        return int(text)
    raise BadConfig(
        f"{where}account {text!r}: not an integer from 1 to {MAX_INT64}", hint="accounts are like 1000000003"
    )


def flag(target: Target, chosen: Wish) -> Iterator[Mapping[str, Any]]:
    """Yield each flag event as it was written, with its place in Kafka (see `COLUMNS`).

    Accounts go by the thousand: an `OperationFailed` says how many were written before.
    """
    payload = {
        "status": Status.CLEARED if chosen.clear else Status.FLAGGED,
        "random": chosen.random,
        "from": chosen.start,
        "reason": chosen.reason,
        "flagged_by": chosen.flagged_by,
    }
    for start in range(0, len(chosen.accounts) or 1, _AT_ONCE):
        some = list(chosen.accounts[start : start + _AT_ONCE]) or None
        try:
            yield from target.functions.invoke(_FUNCTION, {**payload, "accounts": some})["flags"]
        except FraudctlError as error:
            if not start:
                raise
            raise OperationFailed(
                f"{error}; the first {start:,} accounts were written", hint="run it again with the others"
            ) from error


def _check_random(number: int) -> None:
    from fraudctl.pipeline.samples import FLAGGABLE  # not for `--help`: it takes milliseconds

    if not 1 <= number <= len(FLAGGABLE):
        raise BadConfig(f"--random {number}: not from 1 to {len(FLAGGABLE)}", hint="name accounts for more")


def _check(chosen: Wish) -> None:
    """Apply the record's own rules to the options, which the function would only do later."""
    event = AccountFlag(
        account_id=chosen.accounts[0] if chosen.accounts else 1,
        flag_date=chosen.start or "1970-01-01T00:00:00.000Z",
        status=Status.FLAGGED,
        reason=chosen.reason,
        flagged_by=chosen.flagged_by or "fraudctl",
    )
    try:
        AccountFlag.parse(event.to_json())
    except Malformed as error:
        raise BadConfig(f"flag event: {error}", hint="shorten the reason") from error
