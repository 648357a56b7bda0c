"""Send dead letters back to the topics that they come from, and see what becomes of them.

What is sent again is a new record: its key and its headers are the original's, its time is that of its publishing now.
Once sent, a letter is not sent again (`ledger` says how that is known), and one that came back three times is parked.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from fraudctl import tables
from fraudctl.clock import Clock
from fraudctl.errors import NotAsAsked, OperationFailed, TimedOut
from fraudctl.pipeline import topics
from fraudctl.pipeline.names import FLINK_GROUP
from fraudctl.pipeline.text import shown
from fraudctl.services.dead_letters.letters import MOST_REDRIVES, Wanted
from fraudctl.services.dead_letters.outcomes import LEFT, Item, Outcome
from fraudctl.services.dead_letters.selection import Selection
from fraudctl.target import Change, Consent, Event, Phase, Plan, Report, Target

_AT_ONCE: Final = 500
_POLL_SECONDS: Final = 1.0
_LONGEST_POLL_SECONDS: Final = 3.0
_NAMED: Final = 10
_RUNNING: Final = "RUNNING"

Edit = Callable[[bytes, str], bytes]


class Redrive:
    """One redrive: `read`, perhaps `edit`, `plan`, `send`, `wait`, in this order."""

    def __init__(
        self,
        target: Target,
        wanted: Wanted,
        *,
        most: int | None = None,
        parked: bool = False,
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        """Store what is asked for; no I/O. `most` letters are sent at most, `parked` ones only when asked for."""
        self._target, self._clock = target, clock
        self._chosen = Selection(target, wanted, clock, most=most, parked=parked)

    @property
    def items(self) -> list[Item]:
        """The letters on their way."""
        return self._chosen.items

    @property
    def left(self) -> list[Item]:
        """The first of those that are left out."""
        return self._chosen.left

    def read(self) -> Iterator[Event]:
        """Find the letters, and which of them were sent before; raises `NotDeployed` and `Unreachable`."""
        yield from self._chosen.read()

    def edit(self, edit: Edit) -> None:
        """Have each letter edited: `edit` takes its bytes and what is wrong, and returns what shall be sent."""
        items = list(self.items)
        self.items.clear()
        for number, item in enumerate(items, 1):
            before = item.letter.value or b""
            about = f"{item.letter.name} ({number} of {len(items)}): {item.letter.error}"
            after = edit(before, about)
            if after == before:
                self._chosen.leave(item.letter, Outcome.UNCHANGED)
                continue
            item.value = after
            self.items.append(item)

    def plan(self) -> Plan:
        """Return what would be sent, and what is left out and why; no changes where nothing would be sent."""
        outputs = self._target.stack.outputs()
        changes = []
        for topic, number in sorted(Counter(item.letter.topic for item in self.items).items()):
            named = [item.letter.name for item in self.items if item.letter.topic == topic]
            places = ", ".join(named[:_NAMED]) + (", …" if len(named) > _NAMED else "")
            changes.append(Change("send", str(topic), f"{tables.plural(number, 'dead letter')}: {places}"))
        notes = [
            f"left out: {tables.plural(number, 'letter')}, {LEFT[outcome]}"
            for outcome, number in self._chosen.left_out.items()
        ]
        if bad := [item for item in self.items if item.letter.wrong(item.value)]:
            wrong = bad[0].letter.wrong(bad[0].value)
            notes.append(
                f"{len(bad):,} of {len(self.items):,} would come back, malformed as they are: "
                f"{bad[0].letter.name}: {shown(wrong[0]) if wrong else ''}"
            )
        if changes and any(item.letter.topic == topics.TRANSACTIONS.name for item in self.items):
            hold = tables.duration(outputs.hold_ms)
            notes.append(
                f"a transaction gets a new publish time and so a new hold: flags of the next {hold} reach back to it"
            )
        if self._chosen.more:
            notes.append("there are more: run the command again for those behind them")
        return Plan(outputs.stack, tuple(changes), Consent.YES, notes=tuple(notes))

    def send(self) -> Iterator[Event]:
        """Send the letters; hold the stack's lock, so that nobody else sends them meanwhile.

        Raises:
            OperationFailed: Some were not sent, or nobody knows; those that lie in their topic count as sent.
            Unreachable: Kafka does not answer.
        """
        by_topic = sorted({item.letter.topic for item in self.items if item.letter.topic is not None})
        yield Event("redrive", Phase.STARTED)
        self._look_again(by_topic)
        for item in self.items:
            if item.letter.full_name in self._chosen.ledger.sent:
                self._chosen.leave(item.letter, Outcome.REDRIVEN)
        self.items[:] = [item for item in self.items if item.letter.full_name not in self._chosen.ledger.sent]
        report = Report(0)
        for topic in by_topic:
            mine = [item for item in self.items if item.letter.topic == topic]
            for start in range(0, len(mine), _AT_ONCE):
                some = mine[start : start + _AT_ONCE]
                done = self._target.records.write(topic, [item.letter.outgoing(item.value) for item in some])
                report = _added(report, done)
                yield Event("redrive", Phase.PROGRESS, f"{report.delivered:,} so far")
                if report.stopped:
                    break
        self._look_again(by_topic)
        self._find()
        yield Event("redrive", Phase.DONE, f"{report.delivered:,} sent")
        self._check(report)

    def wait(self, within: float) -> Iterator[Event]:
        """Wait until the application has read what was sent, `within` seconds at most.

        Raises:
            TimedOut: It has not, or does not run.
            Unreachable: Kafka does not answer.
        """
        waiting = [item for item in self.items if item.outcome is Outcome.SENT]
        if not waiting:
            return
        number = tables.plural(len(waiting), "record")
        hint = "`fraudctl dead-letters list --since 15m` shows whether one of them came back"
        if (state := self._target.flink.status().state) != _RUNNING:
            raise TimedOut(
                f"application: it is {state}, so it has not read the {number}",
                hint=f"run `fraudctl flink start`; {hint}",
            )
        yield Event("application", Phase.STARTED, f"reads {number}; what it has read is known every 10 s")
        for _ in self._clock.poll(_POLL_SECONDS, longest=_LONGEST_POLL_SECONDS, within=within):
            passed = self._read_past(waiting)
            self._chosen.returned.look()
            for item in waiting:
                if (letter := self._chosen.returned.letters.get(item.letter.full_name)) is not None:
                    item.outcome, item.why, item.place = Outcome.CAME_BACK, letter.error, letter.full_name
            unknown = [item for item in waiting if item.outcome is Outcome.SENT]
            if passed:
                for item in unknown:
                    item.outcome = Outcome.ACCEPTED
            if passed or not unknown:
                back = len(waiting) - len(unknown)
                yield Event("application", Phase.DONE, f"has read {number}, {back:,} came back")
                return
            yield Event("application", Phase.PROGRESS, f"{len(waiting) - len(unknown):,} of {number} came back so far")
        raise TimedOut(f"application: it has not read the {number} within {within:.0f} s", hint=hint)

    def check(self) -> None:
        """Raise `NotAsAsked` when letters came back, naming each with its new error."""
        back = [item for item in self.items if item.outcome is Outcome.CAME_BACK]
        if not back:
            return
        excerpt = [f"{item.letter.name} → {_after_topic(item.place)}: {shown(item.why)}" for item in back[:_NAMED]]
        if len(back) > _NAMED:
            excerpt.append(f"… and {len(back) - _NAMED:,} more")
        again = _after_topic(back[0].place)
        parked = sum(item.letter.redrives + 1 >= MOST_REDRIVES for item in back)
        options = "--edit --parked" if back[0].letter.redrives + 1 >= MOST_REDRIVES else "--edit"
        also = f"; {parked:,} of them {'is' if parked == 1 else 'are'} parked now" if parked else ""
        raise NotAsAsked(
            f"redrive: {len(back):,} of {len(self.items):,} came back{also}",
            hint=f"see why with `fraudctl dead-letters show {again}`, "
            f"fix it with `fraudctl dead-letters redrive {again} {options}`",
            excerpt=excerpt,
        )

    def _look_again(self, by_topic: Iterable[str]) -> None:
        """Read what came since the last look."""
        for topic in by_topic:
            for _ in self._chosen.ledger.look(topic):
                pass

    def _find(self) -> None:
        """Note which letters lie in their topics now."""
        for item in self.items:
            if (place := self._chosen.ledger.place(item.letter)) is not None:
                item.outcome, item.place = Outcome.SENT, place
            elif item.outcome is Outcome.READY:
                item.outcome = Outcome.FAILED

    def _check(self, report: Report) -> None:
        failed = [item for item in self.items if item.outcome is Outcome.FAILED]
        if not (report.failed or report.stopped):
            # Delivered and not to be read yet: an open Kafka transaction is in front of it.
            for item in failed:
                item.outcome = Outcome.SENT
            return
        why = report.stopped or "; ".join(report.reasons)
        raise OperationFailed(
            f"redrive: {len(failed):,} of {len(self.items):,} not sent: {why}",
            hint="run the command again: what lies in its topic is not sent a second time",
        )

    def _read_past(self, items: Sequence[Item]) -> bool:
        """Return whether the application has read all of them and whatever it made of them is written."""
        if any(item.place is None for item in items):
            self._look_again({item.letter.topic for item in items if item.place is None and item.letter.topic})
            self._find()
        read = {
            topic: self._target.topics.committed(topic).get(FLINK_GROUP, {})
            for topic in {item.letter.topic for item in items if item.letter.topic}
        }
        return all(
            (sent := self._chosen.ledger.sent.get(item.letter.full_name)) is not None
            and sent.place[1] < read[sent.topic].get(sent.place[0], 0)
            for item in items
        )


def _added(one: Report, other: Report) -> Report:
    reasons = tuple(dict.fromkeys((*one.reasons, *other.reasons)))
    return Report(one.delivered + other.delivered, one.failed + other.failed, reasons, one.stopped or other.stopped)


def _after_topic(place: str | None) -> str:
    return (place or "").rpartition("/")[2]
