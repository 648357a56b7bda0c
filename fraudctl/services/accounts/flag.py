"""Flag accounts, or clear them, by invoking FlagAccountGenerator."""

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from fraudctl import tables
from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, FraudctlError, OperationFailed, TimedOut
from fraudctl.pipeline import topics
from fraudctl.pipeline.dates import format_date, parse_moment
from fraudctl.pipeline.reader import Record
from fraudctl.pipeline.records import MAX_INT64, AccountFlag, Malformed, Status
from fraudctl.pipeline.text import iso
from fraudctl.services import time_options
from fraudctl.services.flags.reading import ACCOUNT
from fraudctl.tables import Column
from fraudctl.target import From, Range, Target

COLUMNS: Final = (
    Column("account_id"),
    Column("status"),
    Column("flag_date"),
    Column("reason", wrap=True),
    Column("flagged_by", drop=1),
    Column("partition", drop=2),
    Column("offset", drop=2),
)
_FUNCTION: Final = "FlagAccountGenerator"
_ID: Final = re.compile(r"0*[1-9]\d{0,18}", re.ASCII)
# Small enough for the function's time limit and the size limits of its payload and its answer.
_AT_ONCE: Final = 1000
_CHECK_SECONDS: Final = 1.0
_NAMED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagRequest:
    """What to flag or clear: `accounts`, or `random` of the sample accounts (five when that is None too)."""

    accounts: tuple[int, ...] = ()
    random: int | None = None
    clear: bool = False
    start: str | None = None
    reason: str | None = None
    flagged_by: str | None = None


def flag_request(  # noqa: PLR0913 - the options of the command
    accounts: Sequence[str],
    *,
    file: Iterable[str] | None = None,
    random: int | None = None,
    clear: bool = False,
    start: str | None = None,
    reason: str | None = None,
    flagged_by: str | None = None,
    clock: Callable[[], float] = time.time,
    note: Callable[[str], None] | None = None,
) -> FlagRequest:
    """Return the options as a request, checked; `file` has an account a line.

    `note` is called with what a start without a zone was read as. Raises `BadConfig`.
    """
    numbers = [account(text) for text in accounts]
    for number, line in enumerate(file or (), 1):
        if line.strip():
            numbers.append(account(line.strip(), f"line {number}: "))
    if file is not None and not numbers:
        raise BadConfig("--file: contains no account", hint="write one account on each line")
    if numbers and random is not None:
        raise BadConfig("--random: cannot be combined with accounts", hint="name accounts, or use --random N")
    if clear and not numbers:
        raise BadConfig("--clear: no account given", hint="run `fraudctl flag-accounts --clear 1000000003`")
    if random is not None:
        _check_random(random)
    date = iso(time_options.parse(start, "--from", clock=clock, note=note)) if start is not None else None
    request = FlagRequest(
        accounts=tuple(dict.fromkeys(numbers)),
        random=random,
        clear=clear,
        start=date,
        reason=reason,
        flagged_by=flagged_by,
    )
    _check(request)
    return request


def account(text: str, where: str = "") -> int:
    """Return an account id as a number; raises `BadConfig` unless it is a positive 64-bit integer in decimal digits."""
    if _ID.fullmatch(text) and int(text) <= MAX_INT64:
        return int(text)
    raise BadConfig(f"{where}account {text!r}: not an account number (digits only)", hint="write it like 1000000003")


def flag(target: Target, request: FlagRequest) -> Iterator[Mapping[str, Any]]:
    """Yield each flag event as it was written, with its partition and offset (see `COLUMNS`).

    Accounts are sent in batches of 1,000; `OperationFailed` says how many were written before the failure.
    """
    payload = {
        "status": Status.CLEARED if request.clear else Status.FLAGGED,
        "random": request.random,
        "from": request.start,
        "reason": request.reason,
        "flagged_by": request.flagged_by,
    }
    for start in range(0, len(request.accounts) or 1, _AT_ONCE):
        some = list(request.accounts[start : start + _AT_ONCE]) or None
        try:
            yield from target.functions.invoke(_FUNCTION, {**payload, "accounts": some})["flags"]
        except FraudctlError as error:
            if not start:
                raise
            raise OperationFailed(
                f"{error}; the first {start:,} accounts were written", hint="run the command again with the others"
            ) from error


def in_future(flags: Iterable[Mapping[str, Any]], clock: Callable[[], float] = time.time) -> str | None:
    """Return when the flag events take effect if that is yet to come, else None."""
    latest = max((str(flag["flag_date"]) for flag in flags), default="")
    return latest if latest > (iso(int(clock() * 1000)) or "") else None


def too_late(target: Target, request: FlagRequest, flags: Sequence[Mapping[str, Any]]) -> str | None:
    """Return a note when the flags take effect before what the stack still held back when they were published.

    It has a command that shows what they came too late for.
    """
    if request.start is None or not flags:
        return None
    hold_ms = target.stack.outputs().hold_ms
    published = max(parse_moment(str(flag["published"])) for flag in flags)
    reached = published - timedelta(milliseconds=hold_ms)
    if parse_moment(request.start) >= reached:
        return None
    until = format_date(reached)
    since = f"--since {request.start} --until {until}"
    only = str(flags[0]["account_id"]) if len(flags) == 1 else None
    if request.clear:
        command = f"fraudctl audit query {only} {since}" if only else f"fraudctl audit query {since}"
        kept = f"published before {until} keep their detections"
    else:
        command = f"fraudctl tail transactions {since}" + (f" | grep -w {only}" if only else "")
        kept = f"published before {until} stay undetected"
    back = f"It reaches back {tables.duration(hold_ms)} (the stack's hold)"
    return f"{back}: transactions {kept}. `{command}` lists them."


def never_flagged(target: Target, request: FlagRequest, clock: Clock = Clock()) -> str | None:  # noqa: B008 - frozen
    """Return a note on accounts that were cleared and had never been flagged, None when there are none.

    Reads the flag events until all the accounts are found, for a second at most; the note says so when that was too
    short. Never raises, since the flag events are written by now.
    """
    if not request.clear:
        return None
    unknown = set(request.accounts)
    end = clock.monotonic() + _CHECK_SECONDS
    try:
        for batch in target.records.batches(topics.FLAGGED.name, Range(From.BEGINNING, follow=False)):
            unknown -= _flagged(batch.records, unknown)
            if not unknown:
                return None
            if clock.monotonic() > end and not batch.at_end:
                raise TimedOut("too many flag events")
    except FraudctlError:
        return "Whether they had been flagged before was not found out: see `fraudctl tail flagged --from-beginning`."
    names = ", ".join(map(str, sorted(unknown)[:_NAMED])) + (", …" if len(unknown) > _NAMED else "")
    if len(unknown) == 1:
        return f"Account {names} had never been flagged: clearing it changes nothing."
    return f"{len(unknown):,} accounts had never been flagged ({names}): clearing them changes nothing."


def _flagged(records: Iterable[Record], accounts: set[int]) -> set[int]:
    """Return those of the accounts that one of the records flags."""
    found = set()
    for record in records:
        if not any(int(number) in accounts for number in ACCOUNT.findall(record.value or b"")):
            continue
        with contextlib.suppress(Malformed):
            event = AccountFlag.parse(record.value)
            if event.status == Status.FLAGGED:
                found.add(event.account_id)
    return found & accounts


def _check_random(number: int) -> None:
    from fraudctl.pipeline.samples import FLAGGABLE  # not for `--help`: it takes milliseconds

    if not 1 <= number <= len(FLAGGABLE):
        raise BadConfig(
            f"--random {number}: must be from 1 to {len(FLAGGABLE)}",
            hint="there are ten sample accounts; name others explicitly",
        )


def _check(request: FlagRequest) -> None:
    """Apply the record's own rules to the options, before the function does."""
    event = AccountFlag(
        account_id=request.accounts[0] if request.accounts else 1,
        flag_date=request.start or "1970-01-01T00:00:00.000Z",
        status=Status.FLAGGED,
        reason=request.reason,
        flagged_by=request.flagged_by or "fraudctl",
    )
    try:
        AccountFlag.parse(event.to_json())
    except Malformed as error:
        raise BadConfig(f"flag event: {error}", hint="shorten the reason") from error
