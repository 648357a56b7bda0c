"""A list of flags in a file: which accounts are to be flagged, from when until when, and why."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from fraudctl.errors import BadConfig
from fraudctl.pipeline.fields import Malformed, check
from fraudctl.pipeline.records import AccountFlag
from fraudctl.services import time_options
from fraudctl.services.accounts import columns_file, flag
from fraudctl.services.flags.timeline import State

_COLUMNS: Final = {
    "account": "account",
    "account_id": "account",
    "until": "until",
    "reason": "reason",
    "from": "from",
    "since": "from",
    "state": "state",
}
_REASON: Final = next(field for field in AccountFlag.FIELDS if field.name == "reason")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A flag as a list asks for it; `start` and `until` in epoch milliseconds, None where the list says nothing."""

    account: int
    start: int | None = None
    until: int | None = None
    reason: str | None = None
    line: int = 0


def read(name: str, clock: Callable[[], float] = time.time) -> dict[int, Wanted]:
    """Return the flags that a file lists, by account.

    It is CSV or JSON Lines with the columns account (or account_id), until, reason and from (or since), all but the
    first optional, or a plain list of accounts. Times are written as in options, and `until` may be a duration from now
    on. What `accounts list` wrote is such a file; accounts that it calls EXPIRED or CLEARED are left out.

    Raises:
        BadConfig: The file cannot be read, or a line of it; an account stands in it twice, or there is none.
    """
    now = clock()
    found: dict[int, Wanted] = {}
    with columns_file.opened(name, _COLUMNS, bare="account") as lines:
        for number, values in lines:
            if values.get("state", "").upper() in {State.EXPIRED, State.CLEARED}:
                continue
            wanted = _wanted(name, number, values, now)
            if (other := found.get(wanted.account)) is not None:
                raise columns_file.bad(
                    name, number, f"account {wanted.account} stands in line {other.line} already", "keep one of them"
                )
            found[wanted.account] = wanted
    if not found:
        raise BadConfig(f"file {name}: contains no account", hint="the columns are account, until, reason and from")
    return found


def _wanted(name: str, number: int, values: dict[str, str], now: float) -> Wanted:
    where = f"file {name}: line {number}: "
    if "account" not in values:
        raise BadConfig(f"{where}no account", hint="the columns are account, until, reason and from")
    account = flag.account(values["account"], where)
    start = _moment(values.get("from"), f"{where}from", now)
    until = _moment(values.get("until"), f"{where}until", now, ahead=True)
    if start is not None and until is not None and until <= start:
        raise BadConfig(f"{where}until is not after from", hint="write the end of the flag, or leave it empty")
    reason = values.get("reason")
    try:
        check(_REASON, {"reason": reason})
    except Malformed as error:
        raise BadConfig(f"{where}{error}", hint="change the reason, or leave it empty") from error
    return Wanted(account, start, until, reason, number)


def _moment(text: str | None, what: str, now: float, *, ahead: bool = False) -> int | None:
    if text is None:
        return None
    if ahead:
        with suppress(BadConfig):
            return int(now * 1000) + time_options.duration(text, what)
    return time_options.read(text, what, clock=lambda: now).milliseconds
