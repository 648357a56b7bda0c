"""Publish flag events by FlagAccountGenerator, after what is set for the accounts was read and planned for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fraudctl import tables
from fraudctl.errors import FraudctlError, OperationFailed
from fraudctl.pipeline.dates import date_milliseconds
from fraudctl.pipeline.records import Status
from fraudctl.pipeline.text import iso
from fraudctl.services.accounts.flag import Limits, check_extension
from fraudctl.services.accounts.plan import AccountPlan, Action, Interval, Request, plan
from fraudctl.services.flags.reading import Reach, histories
from fraudctl.services.flags.rule import FlagEvent, History
from fraudctl.tables import Column
from fraudctl.target import Target

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
# Small enough for the function's time limit and the size limits of its payload and its answer.
_AT_ONCE: Final = 1000
# A flag is urgent: what was set before is not waited for longer. Some seconds for a million flag events, more on AWS.
_READ_SECONDS: Final = 30.0
_OLDER: Final = "unknown in the payload: events"

Flag = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is to be published for each account, and the events that it was planned by.

    `read_to` is up to which offsets the partitions were read; `unread` is why they were not, and then nothing is known
    of what was set before.
    """

    plans: tuple[AccountPlan, ...]
    known: Mapping[int, History]
    read_to: Mapping[int, int] = field(default_factory=dict)
    unread: str | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """The flag events as they were written, and what the accounts' events come to with them.

    `others` are events that somebody else published meanwhile for the same accounts.
    """

    flags: tuple[Flag, ...]
    histories: Mapping[int, History]
    others: tuple[tuple[int, FlagEvent], ...] = ()


def prepare(
    target: Target,
    requests: Sequence[Request],
    now: int,
    *,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    note: Callable[[str], None] = lambda _: None,
) -> Prepared:
    """Read what is set for the accounts and plan what to publish; nothing is published yet, for no account.

    A flag is urgent, and clearing too: when Kafka has not given it within 30 s, they are planned without it. An
    extension cannot be. `now` is in epoch milliseconds.

    Raises:
        BadConfig: An end does not lie after its start, or an extension lasts longer than is allowed.
        Refused: There is no end to extend, or more would be set than the application keeps.
        Unreachable: Kafka does not answer, and an end is to be extended. `TimedOut` means the same.
    """
    reach, unread = Reach(), None
    known: dict[int, History] = {}
    accounts = {request.account for request in requests}
    try:
        known = histories(
            target.records,
            reach,
            accounts,
            seconds=_READ_SECONDS,
            slow=lambda: note("Reading what is set for the accounts …"),
        )
    except FraudctlError as error:
        if any(request.action is Action.EXTEND for request in requests):
            raise
        unread = str(error)
    plans = tuple(plan(known.get(request.account, History([])), request, now) for request in requests)
    for request, planned in zip(requests, plans, strict=True):
        if request.action is Action.EXTEND:
            flagged = next(interval for interval in planned.after if interval.end == planned.asked.end)
            check_extension(request.account, Interval(max(now, flagged.start), flagged.end), limits)
    return Prepared(plans, known, reach.ends, unread)


def publish(target: Target, plans: Sequence[AccountPlan], flagged_by: str | None) -> Iterator[Flag]:
    """Yield each flag event as it was written, with its partition, its offset and when it was published.

    A thousand events go in one call, all of an account in the same; its events are yielded in the order of their dates.

    Raises:
        OperationFailed: The function failed; the error says for how many accounts events were written before.
    """
    done = 0
    for some in _calls(plans):
        events = [
            {
                "account_id": planned.account,
                "status": event.status,
                "flag_date": None if event.immediate else iso(event.date),
                "reason": event.reason,
            }
            for planned in some
            for event in planned.events
        ]
        try:
            flags = target.functions.invoke(_FUNCTION, {"events": events, "flagged_by": flagged_by})["flags"]
        except FraudctlError as error:
            raise _explained(error, done) from error
        place = {planned.account: number for number, planned in enumerate(some)}
        yield from sorted(flags, key=lambda flag: (place[flag["account_id"]], flag["flag_date"]))
        done += len(some)


def published(target: Target, prepared: Prepared, flags: Sequence[Flag]) -> Published:
    """Return what the accounts' events come to, those included that somebody else published meanwhile.

    Whoever else wrote to the same partitions since they were read is read; never raises, the events are written by now.
    """
    own: dict[int, list[FlagEvent]] = {}
    for flag in flags:
        own.setdefault(flag["account_id"], []).append(_event(flag))
    others: dict[int, History] = {}
    begun = _since(prepared.read_to, flags)
    if begun and prepared.unread is None:
        ours = {(flag["partition"], flag["offset"]) for flag in flags}
        try:
            found = histories(target.records, Reach(), set(own), offsets=begun, seconds=_READ_SECONDS)
        except FraudctlError:
            found = {}
        others = {
            account: History([event for event in history.events if (event.partition, event.offset) not in ours])
            for account, history in found.items()
        }
    none = History([])
    return Published(
        tuple(flags),
        {
            account: History([*prepared.known.get(account, none).events, *others.get(account, none).events, *events])
            for account, events in own.items()
        },
        tuple((account, event) for account, history in others.items() for event in history.events),
    )


def _calls(plans: Sequence[AccountPlan]) -> Iterator[list[AccountPlan]]:
    some: list[AccountPlan] = []
    events = 0
    for planned in plans:
        if some and events + len(planned.events) > _AT_ONCE:
            yield some
            some, events = [], 0
        some.append(planned)
        events += len(planned.events)
    if some:
        yield some


def _explained(error: FraudctlError, done: int) -> FraudctlError:
    if _OLDER in str(error):
        return OperationFailed(
            f"{_FUNCTION}: an older version of fraudctl deployed it, which knows no flags with an end",
            hint="run `fraudctl deploy`",
        )
    if not done:
        return error
    return OperationFailed(
        f"{error}; the first {tables.plural(done, 'account')} were written",
        hint="run the command again with the others",
    )


def _event(flag: Flag) -> FlagEvent:
    return FlagEvent(
        date_milliseconds(flag["published"]),
        date_milliseconds(flag["flag_date"]),
        flag["status"] == Status.FLAGGED,
        flag["partition"],
        flag["offset"],
        flag["flag_date"],
        flag["reason"],
        flag["flagged_by"],
    )


def _since(read_to: Mapping[int, int], flags: Sequence[Flag]) -> dict[int, int]:
    """Return where somebody else wrote between reading and the flags: partitions, and up to where they were read."""
    written: dict[int, set[int]] = {}
    for flag in flags:
        written.setdefault(flag["partition"], set()).add(flag["offset"])
    return {
        partition: read_to[partition]
        for partition, offsets in written.items()
        if partition in read_to and not offsets.issuperset(range(read_to[partition], max(offsets)))
    }
