"""Send transactions: those of a file, or sample ones at any rate."""

import io
import math
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, TypeVar

from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, NotAsAsked, OperationFailed
from fraudctl.pipeline import topics
from fraudctl.pipeline.topics import Topic
from fraudctl.services import files, pacing, replay, transaction_file
from fraudctl.services.interrupts import GracefulStop
from fraudctl.services.read_options import OnError, ReadOptions
from fraudctl.services.transaction_file import Line
from fraudctl.target import Event, Outgoing, Phase, Report, Target

DEFAULT_COUNT: Final = 1000
_LONGEST_PAUSE_SECONDS: Final = 0.1
_MOST_LINES_NAMED: Final = 10
_SHOW_EVERY_SECONDS: Final = 0.1
_CHECK_CLOCK_EVERY: Final = 256  # records; asking the clock for each of a million would take longer than the rest

T = TypeVar("T")
Show = Callable[[Event], None]
BytesRead = Callable[[], tuple[int, int] | None]


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent: records delivered, invalid lines (the first of them by number), records that Kafka refused.

    `done` counts the lines of the file, valid or not, that need not be sent again; `stopped` is why it ended early.
    """

    delivered: int = 0
    invalid: int = 0
    failed: int = 0
    reasons: tuple[str, ...] = ()
    interrupted: bool = False
    seconds: float = 0.0
    invalid_lines: tuple[int, ...] = ()
    done: int = 0
    stopped: str = ""

    def check(self, again: str | None = None) -> None:
        """Raise `OperationFailed`, `NotAsAsked` or KeyboardInterrupt unless everything was sent.

        `again` is the command that goes on with what `done` leaves.
        """
        if self.failed and not self.stopped:
            raise OperationFailed(
                f"transactions: {self.failed:,} not delivered: {'; '.join(self.reasons)}",
                hint="run `fraudctl status`, then send them again: a transaction that is sent twice is detected once",
            )
        if self.interrupted:
            raise KeyboardInterrupt
        if self.stopped:
            raise OperationFailed(
                f"transactions: stopped after {self.delivered:,}: {self.stopped}",
                hint=f"{f'go on with `{again}`' if again else 'run the command again'}; "
                "a transaction that is sent twice is detected once",
            )
        if self.invalid:
            numbers = ", ".join(map(str, self.invalid_lines)) + (
                ", …" if self.invalid > len(self.invalid_lines) else ""
            )
            outcome = "the others were sent" if self.delivered else "nothing was sent"
            raise NotAsAsked(
                f"transactions: {self.invalid:,} invalid line{'s' if self.invalid > 1 else ''} ({numbers}); {outcome}",
                hint="fix the lines listed and send them alone" if self.delivered else "fix the lines listed",
            )


class Counter:
    """Turns the items of a stream into progress events of one component, a few a second."""

    def __init__(self, component: str, show: Show, clock: Clock = Clock()) -> None:  # noqa: B008 - frozen
        """Store where events go, and start the stopwatch."""
        self._component, self._show, self._clock = component, show, clock
        self._started = clock.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since it was constructed."""
        return self._clock.monotonic() - self._started

    def count(self, items: Iterable[T], bytes_read: BytesRead = lambda: None) -> Iterator[T]:
        """Yield the items and show how many there were; `bytes_read` returns bytes read and in total, if known."""
        self._show(Event(self._component, Phase.STARTED))
        last = self._clock.monotonic()
        for number, item in enumerate(items, 1):
            yield item
            if number % _CHECK_CLOCK_EVERY and number > _CHECK_CLOCK_EVERY:
                continue
            if (now := self._clock.monotonic()) - last > _SHOW_EVERY_SECONDS:
                last = now
                done, total = bytes_read() or (None, None)
                self._show(Event(self._component, Phase.PROGRESS, f"{number:,} so far", done, total))

    def show(self, number: int) -> None:
        """Show how many there are so far."""
        self._show(Event(self._component, Phase.PROGRESS, f"{number:,} so far"))

    def finish(self, text: str) -> None:
        """Show the result."""
        self._show(Event(self._component, Phase.DONE, text))


class _Valid:
    """The valid lines of a file as records to send; counts the invalid ones and passes them to a function."""

    def __init__(self, lines: Iterable[Line], on_invalid: Callable[[Line], None]) -> None:
        self._lines, self._on_invalid = lines, on_invalid
        self.invalid = 0
        self.invalid_lines: tuple[int, ...] = ()
        self._valid = 0
        self._valid_before = array("q")  # each invalid line

    def __iter__(self) -> Iterator[Outgoing]:
        for line in self._lines:
            if line.outgoing is not None:
                self._valid += 1
                yield line.outgoing
                continue
            self.invalid += 1
            self._valid_before.append(self._valid)
            if self.invalid <= _MOST_LINES_NAMED:
                self.invalid_lines += (line.number,)
            self._on_invalid(line)

    def lines(self, valid: int) -> int:
        """Return how many lines end with the last of so many valid ones, and the invalid ones right behind it."""
        return valid + bisect_right(self._valid_before, valid)


def send(  # noqa: PLR0913 - the command's options and where it reports
    running: Callable[[], Target],
    stream: io.BufferedReader,
    name: str,
    *,
    options: ReadOptions,
    on_error: OnError,
    on_invalid: Callable[[Line], None],
    show: Show,
    times: float | None = None,
    topic: Topic = topics.TRANSACTIONS,
    skip: int = 0,
) -> Sent:
    """Send a file's transactions to the target that `running` returns; call `on_invalid` with each invalid line.

    The first `skip` lines, valid or not, are left out.

    To another `topic` go the records that `fraudctl tail -o json` wrote into the file, as they are.

    With `times`, they go at the distances of their own dates, so many times as fast (see `fraudctl.services.pacing`).
    Raises `BadConfig` for a file of another kind, before `running` is called.
    """
    if topic is not topics.TRANSACTIONS:
        replay.check(topic, options, paced=times is not None)

    def lines(source: io.BufferedReader) -> Iterator[Line]:
        if topic is not topics.TRANSACTIONS:
            return islice(replay.lines(source, name, options), skip, None)
        return islice(transaction_file.lines(source, None, name, options), skip, None)

    def write(source: io.BufferedReader) -> Sent:
        empty = not source.peek(1)
        valid = _Valid(lines(source), on_invalid)
        records = valid if times is None else pacing.paced(valid, times)
        sent = _write(running(), records, Counter("send", show), files.reading(source), topic)
        if not (sent.delivered or sent.failed or valid.invalid or sent.interrupted):
            what = "transaction" if topic is topics.TRANSACTIONS else "record"
            show(Event("send", Phase.NOTE, f"{name}: {'the file is empty' if empty else f'no {what} in it'}"))
        done = skip + valid.lines(sent.done)
        return replace(sent, invalid=valid.invalid, invalid_lines=valid.invalid_lines, done=done)

    if on_error is OnError.SKIP:
        return write(stream)
    with files.rewindable(stream) as again:
        valid = _Valid(lines(again), on_invalid)
        for _ in valid:
            pass
        if valid.invalid:
            return Sent(invalid=valid.invalid, invalid_lines=valid.invalid_lines)
        again.seek(0)
        return write(again)


def generate(
    target: Target,
    *,
    count: int | None = None,
    per_second: float | None = None,
    seconds: float | None = None,
    seed: int | None = None,
    show: Show,
    clock: Clock = Clock(),  # noqa: B008 - frozen
) -> Sent:
    """Send sample transactions: `count` at full speed, or at an even rate until `seconds` are over or Ctrl-C."""
    from random import Random  # neither is for `--help`: they take milliseconds

    from fraudctl.pipeline import samples

    if seconds is not None and (per_second is None or count is not None):
        raise BadConfig("--seconds: needs --per-second, without --count", hint="--per-second 100 --seconds 30")
    if not math.isfinite((per_second or 0) * (seconds or 0)):
        raise BadConfig("--per-second, --seconds: not a number of transactions", hint="--per-second 100 --seconds 30")
    number = count
    if per_second is None:
        number = DEFAULT_COUNT if count is None else count
    elif seconds is not None:
        number = round(per_second * seconds)
    if per_second is None and seed is None and (parts := target.records.generate(number or 0)) is not None:
        return _made(parts, Counter("generate", show))
    drawn = samples.stream(Random(seed))  # noqa: S311 - made-up data
    turns = range(number or 0) if per_second is None else _at_rate(number, per_second, clock)
    return _write(target, (Outgoing(*next(drawn)) for _ in turns), Counter("generate", show))


def _write(
    target: Target,
    records: Iterable[Outgoing],
    counter: Counter,
    bytes_read: BytesRead = lambda: None,
    topic: Topic = topics.TRANSACTIONS,
) -> Sent:
    stop = GracefulStop()
    with stop.on_interrupt():
        counted = counter.count(stop.items(records), bytes_read)
        report: Report = target.records.write(topic.name, counted)
    return _sent(report, counter, interrupted=stop.requested)


def _made(parts: Iterable[Report], counter: Counter) -> Sent:
    """Add up what is made elsewhere, part by part; the part that is being made at Ctrl-C is waited for."""
    stop, report = GracefulStop(), Report(0)
    with stop.on_interrupt():
        for part in parts:
            report = replace(part, delivered=report.delivered + part.delivered)
            counter.show(report.delivered)
            if stop.requested:
                break
    return _sent(report, counter, interrupted=stop.requested)


def _sent(report: Report, counter: Counter, *, interrupted: bool) -> Sent:
    seconds = counter.seconds
    rate = f", {report.delivered / seconds:,.0f} a second" if seconds > 0 and report.delivered else ""
    counter.finish(f"{report.delivered:,} delivered{rate}")
    done = report.delivered + report.failed
    return Sent(
        report.delivered, 0, report.failed, report.reasons, interrupted, seconds, done=done, stopped=report.stopped
    )


def _at_rate(number: int | None, per_second: float, clock: Clock) -> Iterator[int]:
    """Count at an even rate to `number`, or without end for None."""
    start, index = clock.monotonic(), 0
    while number is None or index < number:
        while (wait := start + index / per_second - clock.monotonic()) > 0:
            clock.sleep(min(wait, _LONGEST_PAUSE_SECONDS))
        yield index
        index += 1
