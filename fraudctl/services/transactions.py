"""Transactions into the pipeline: from a file, or made up at any pace."""

import io
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fraudctl.errors import BadConfig, NotAsAsked, OperationFailed
from fraudctl.pipeline import topics
from fraudctl.services import files, transaction_file
from fraudctl.services.counting import Counter
from fraudctl.services.interrupt import Brake
from fraudctl.services.transaction_file import FileFormat, Line
from fraudctl.target import Event, Outgoing, Report, Target

DEFAULT_COUNT: Final = 1000
_LONGEST_PAUSE_SECONDS: Final = 0.1

Show = Callable[[Event], None]


class OnError(StrEnum):
    """What bad lines of a file do: stay out, or keep everything from being sent."""

    SKIP = "skip"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Sent:
    """How it ended: records delivered, lines that are no transactions, records that Kafka did not take."""

    delivered: int = 0
    bad: int = 0
    failed: int = 0
    reasons: tuple[str, ...] = ()
    interrupted: bool = False
    seconds: float = 0.0

    def check(self) -> None:
        """Raise `OperationFailed`, `NotAsAsked` or KeyboardInterrupt when not everything was sent as asked."""
        if self.failed:
            raise OperationFailed(
                f"transactions: {self.failed:,} not delivered: {'; '.join(self.reasons)}",
                hint="run `fraudctl status`, then send them again: copies are detected once",
            )
        if self.interrupted:
            raise KeyboardInterrupt
        if self.bad:
            outcome = "the others were sent" if self.delivered else "nothing was sent"
            raise NotAsAsked(
                f"transactions: {self.bad:,} bad line{'s' if self.bad > 1 else ''}; {outcome}",
                hint="mend the lines listed and send them alone",
            )


def send(
    running: Callable[[], Target],
    stream: io.BufferedReader,
    name: str,
    *,
    file_format: FileFormat | None,
    on_error: OnError,
    bad: Callable[[Line], None],
    show: Show,
) -> Sent:
    """Send a file's transactions to the target that `running` gives; `bad` gets each invalid line.

    Raises `BadConfig` for a file that holds something else, before the target is asked for.
    """
    file_format = file_format or transaction_file.format_of(name, stream)
    if on_error is OnError.SKIP:
        return _send(running, stream, name, file_format, bad, show)
    with files.rewindable(stream) as again:
        wrong = 0
        for line in transaction_file.lines(again, file_format, name):
            if line.outgoing is None:
                wrong += 1
                bad(line)
        if wrong:
            return Sent(bad=wrong)
        again.seek(0)
        return _send(running, again, name, file_format, bad, show)


def generate(  # noqa: PLR0913 - the command's options and where it reports
    target: Target,
    *,
    count: int | None = None,
    per_second: float | None = None,
    seconds: float | None = None,
    seed: int | None = None,
    show: Show,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Sent:
    """Send sample transactions: `count` as fast as can be, or evenly at a pace, until `seconds` or Ctrl-C ends it."""
    from random import Random  # neither is for `--help`: they take milliseconds

    from fraudctl.pipeline import samples

    if seconds is not None and (per_second is None or count is not None):
        raise BadConfig("--seconds: it goes with --per-second alone", hint="--per-second 100 --seconds 30")
    if not math.isfinite((per_second or 0) * (seconds or 0)):
        raise BadConfig("--per-second, --seconds: not a number of transactions", hint="--per-second 100 --seconds 30")
    number = count
    if per_second is None:
        number = DEFAULT_COUNT if count is None else count
    elif seconds is not None:
        number = round(per_second * seconds)
    drawn = samples.stream(Random(seed))  # noqa: S311 - made-up data
    ticks = range(number or 0) if per_second is None else _pace(number, per_second, clock, sleep)
    return _write(target, (Outgoing(*next(drawn)) for _ in ticks), Counter("generate", show), lambda: None)


def _send(
    running: Callable[[], Target],
    stream: io.BufferedReader,
    name: str,
    file_format: FileFormat,
    bad: Callable[[Line], None],
    show: Show,
) -> Sent:
    lines = transaction_file.lines(stream, file_format, name)
    wrong = 0

    def good() -> Iterator[Outgoing]:
        nonlocal wrong
        for line in lines:
            if line.outgoing is None:
                wrong += 1
                bad(line)
            else:
                yield line.outgoing

    sent = _write(running(), good(), Counter("send", show), files.reading(stream))
    return Sent(sent.delivered, wrong, sent.failed, sent.reasons, sent.interrupted, sent.seconds)


def _write(
    target: Target, records: Iterator[Outgoing], counter: Counter, done: Callable[[], tuple[int, int] | None]
) -> Sent:
    brake = Brake()
    with brake.armed():
        report: Report = target.records.write(topics.TRANSACTIONS.name, counter.over(brake.over(records), done))
    seconds = counter.seconds
    rate = f", {report.delivered / seconds:,.0f} a second" if seconds > 0 and report.delivered else ""
    counter.finish(f"{report.delivered:,} delivered{rate}")
    return Sent(report.delivered, 0, report.failed, report.reasons, brake.pulled, seconds)


def _pace(
    number: int | None, per_second: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Iterator[int]:
    """Count at an even pace to `number`, or without end for None."""
    start, index = clock(), 0
    while number is None or index < number:
        while (wait := start + index / per_second - clock()) > 0:
            sleep(min(wait, _LONGEST_PAUSE_SECONDS))
        yield index
        index += 1
