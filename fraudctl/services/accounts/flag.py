"""What `flag-accounts` asks for: its options, checked before anything happens."""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import Final

from fraudctl.errors import BadConfig
from fraudctl.pipeline.dates import format_milliseconds
from fraudctl.pipeline.records import MAX_INT64, AccountFlag, Malformed, Status
from fraudctl.services import time_options
from fraudctl.services.accounts.plan import Action, Interval, Request

_ID: Final = re.compile(r"0*[1-9]\d{0,18}", re.ASCII)
_DRAWN: Final = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """What fraudctl.toml allows: `reasons`, any when empty, and how long a flag lasts at most, as people type it."""

    reasons: Sequence[str] = ()
    longest: str | None = None

    @property
    def longest_ms(self) -> int | None:
        """How long a flag lasts at most, in milliseconds; raises `BadConfig` when that is no duration."""
        return None if self.longest is None else time_options.duration(self.longest, "longest")


def flag_requests(  # noqa: PLR0913 - the options of the command
    accounts: Sequence[str],
    *,
    file: Iterable[str] | None = None,
    random: int | None = None,
    clear: bool = False,
    extend: bool = False,
    start: str | None = None,
    until: str | None = None,
    reason: str | None = None,
    limits: Limits = Limits(),
    clock: Callable[[], float] = time.time,
    note: Callable[[str], None] | None = None,
) -> list[Request]:
    """Return the options as a request for each account, checked; `file` has an account a line.

    Without accounts, `random` of the sample accounts are drawn, or five. `note` is called with what a time was read as.
    Raises `BadConfig`.
    """
    numbers = [account(text) for text in accounts]
    for number, line in enumerate(file or (), 1):
        if line.strip():
            numbers.append(account(line.strip(), f"line {number}: "))
    if file is not None and not numbers:
        raise BadConfig("--file: contains no account", hint="write one account on each line")
    if numbers and random is not None:
        raise BadConfig("--random: cannot be combined with accounts", hint="name accounts, or use --random N")
    example = str(numbers[0]) if numbers else "1000000003"
    _check_combination(
        {"--clear": clear, "--extend": extend, "--from": start is not None, "--until": until is not None},
        example,
        named=bool(numbers),
    )
    now = clock()
    first = None if start is None else time_options.parse(start, "--from", clock=lambda: now, note=note)
    begin = int(now * 1000) if first is None else first
    last, lasting = None, None
    if until is not None:
        last, lasting = time_options.end(until, "--until", start=begin, clock=lambda: now, note=note)
    action = Action.CLEAR if clear else Action.EXTEND if extend else Action.FLAG
    if action is Action.FLAG:
        last = _end(begin, last, lasting, first, until, example)
        _check_length(begin, last, limits)
    if action is not Action.CLEAR:
        _check_reason(reason, limits)
    _check_record(reason)
    return [
        Request(
            account=number,
            action=action,
            start=first,
            until=last,
            lasting=lasting if action is Action.EXTEND else None,
            reason=reason,
        )
        for number in dict.fromkeys(numbers or _drawn(random))
    ]


def account(text: str, where: str = "") -> int:
    """Return an account id as a number; raises `BadConfig` unless it is a positive 64-bit integer in decimal digits."""
    if _ID.fullmatch(text) and int(text) <= MAX_INT64:
        return int(text)
    raise BadConfig(f"{where}account {text!r}: not an account number (digits only)", hint="write it like 1000000003")


def check_extension(account: int, flagged: Interval, limits: Limits) -> None:
    """Raise `BadConfig` when an extended flag would last longer than is allowed, counted from now if it has begun."""
    longest, (start, end) = limits.longest_ms, flagged
    if longest is not None and end is not None and end - start > longest:
        raise BadConfig(
            f"account {account}: it would be flagged until {format_milliseconds(end)}; the setting longest allows"
            f" {limits.longest}",
            hint=f"add --until {format_milliseconds(start + longest)} at most",
        )


def _check_combination(given: Mapping[str, bool], example: str, *, named: bool) -> None:
    """Raise `BadConfig` for options that do not go together."""
    for first, second, hint in (
        ("--clear", "--extend", "use one of them"),
        ("--clear", "--until", f"`fraudctl flag-accounts {example} --until TIME` sets an end"),
        ("--extend", "--from", "an extension begins at the present end"),
    ):
        if given[first] and given[second]:
            raise BadConfig(f"{second}: cannot be combined with {first}", hint=hint)
    if given["--extend"] and not given["--until"]:
        raise BadConfig(
            "--extend: until when?",
            hint=f"run `fraudctl flag-accounts {example} --extend --until 30d` for 30 days more",
        )
    for option, more in (("--clear", ""), ("--extend", " --until 30d")):
        if given[option] and not named:
            raise BadConfig(
                f"{option}: no account given", hint=f"run `fraudctl flag-accounts {option} 1000000003{more}`"
            )


def _end(
    begin: int, last: int | None, lasting: int | None, first: int | None, until: str | None, example: str
) -> int | None:
    """Return the end of a flag; raises `BadConfig` unless it lies after the start."""
    end = begin + lasting if lasting is not None else last
    if end is None or end > begin:
        return end
    if first is None:
        raise BadConfig(
            f"--until {until}: that is not after now, when the flag starts",
            hint=f"run `fraudctl flag-accounts --clear {example}`, or say with --from when it started",
        )
    raise BadConfig(
        f"--until {until}: that is not after --from, {format_milliseconds(begin)}", hint="--from takes the earlier time"
    )


def _check_length(start: int, end: int | None, limits: Limits) -> None:
    longest = limits.longest_ms
    if longest is None or (end is not None and end - start <= longest):
        return
    what = "a flag without an end" if end is None else f"a flag until {format_milliseconds(end)}"
    raise BadConfig(
        f"{what}: the setting longest allows {limits.longest}", hint=f"add --until {limits.longest}, or a shorter one"
    )


def _check_reason(reason: str | None, limits: Limits) -> None:
    if reason is None or not limits.reasons or reason in limits.reasons:
        return
    raise BadConfig(
        f"--reason {reason!r}: not one of the setting reasons",
        hint=f"the reasons are {', '.join(map(repr, limits.reasons))}",
    )


def _drawn(number: int | None) -> Sequence[int]:
    from fraudctl.pipeline.samples import FLAGGABLE  # not for `--help`: it takes milliseconds

    number = _DRAWN if number is None else number
    if not 1 <= number <= len(FLAGGABLE):
        raise BadConfig(
            f"--random {number}: must be from 1 to {len(FLAGGABLE)}",
            hint="there are ten sample accounts; name others explicitly",
        )
    return sorted(SystemRandom().sample(FLAGGABLE, number))


def _check_record(reason: str | None) -> None:
    """Apply the record's own rules to the reason, before the function does."""
    event = AccountFlag(
        account_id=1, flag_date="1970-01-01T00:00:00.000Z", status=Status.FLAGGED, reason=reason, flagged_by="fraudctl"
    )
    try:
        AccountFlag.parse(event.to_json())
    except Malformed as error:
        raise BadConfig(f"flag event: {error}", hint="shorten the reason") from error
