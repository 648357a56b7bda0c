"""Send dead letters back to the topics that they come from, and see what becomes of them.

What is sent again is a new record: its key and its headers are the original's, its time is that of its publishing now.
Once sent, a letter is not sent again (`ledger` says how that is known), and one that came back three times is parked.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from fraudctl import tables
from fraudctl.clock import Clock
from fraudctl.errors import NotAsAsked, OperationFailed, TimedOut
from fraudctl.pipeline import topics
from fraudctl.pipeline.names import FLINK_GROUP
from fraudctl.pipeline.text import shown
from fraudctl.services.dead_letters.ledger import Ledger, Returned
from fraudctl.services.dead_letters.letters import INPUTS, MOST_REDRIVES, Letter, Wanted, letter_of, missing
from fraudctl.services.dead_letters.outcomes import LEFT, Item, Outcome
from fraudctl.target import Change, Consent, Event, From, Phase, Plan, Range, Report, Target

# What is held in memory while somebody is asked; a redrive goes on where the one before has ended.
MOST_LETTERS: Final = 10_000
_MOST_BYTES: Final = 256 * 1024 * 1024
_AT_ONCE: Final = 500
_POLL_SECONDS: Final = 1.0
_LONGEST_POLL_SECONDS: Final = 3.0
_SHOWN_EVERY_SECONDS: Final = 0.5
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
        self._target, self._wanted, self._clock = target, wanted, clock
        self._most, self._parked = most, parked
        self._ledger = Ledger(target.records)
        self._returned: Returned | None = None
        self.items: list[Item] = []
        self.left: list[Item] = []
        self._more = False

    def read(self) -> Iterator[Event]:
        """Find the letters, and which of them were sent before; raises `NotDeployed` and `Unreachable`."""
        name = topics.DEAD_LETTERS.name
        yield Event(name, Phase.STARTED)
        letters, came_back = self._letters()
        if gone := self._wanted.places - {letter.place for letter in letters}:
            raise missing(gone)
        yield Event(name, Phase.DONE, tables.plural(len(letters), "letter"))
        for topic in sorted(INPUTS & {letter.topic for letter in letters}):
            yield from self._look(topic, min(letter.at or 0 for letter in letters if letter.topic == topic))
        forgotten = {
            info.name: self._ledger.forgotten_before(info) for info in self._target.topics.list() if info.exists
        }
        for letter in letters:
            item = Item(letter, letter.value, self._standing(letter, came_back, forgotten))
            if item.outcome is not Outcome.READY:
                item.why = LEFT[item.outcome]
                if item.outcome is Outcome.REDRIVEN:
                    item.place = came_back.get(letter.full_name) or self._place(letter)
                    item.why += f", and came back as {item.place}" if letter.full_name in came_back else ""
                self.left.append(item)
            elif self._most is not None and len(self.items) >= self._most:
                self._more = True
            else:
                self.items.append(item)

    def _letters(self) -> tuple[list[Letter], dict[str, str]]:
        """Return the oldest letters that are wanted, and as what those that were sent again came back."""
        letters: list[Letter] = []
        came_back, ends, size = dict[str, str](), dict[int, int](), 0
        # Letters that came back say what was sent before, wherever they lie: all are read.
        for batch in self._target.records.batches(topics.DEAD_LETTERS.name, Range(From.BEGINNING, follow=False)):
            for record in batch.records:
                letter = letter_of(record)
                if letter.redrive_of is not None:
                    came_back[letter.redrive_of] = letter.full_name
                if self._wanted.matches(record):
                    letters.append(letter)
                    size += len(letter.value or b"")
            ends.update(batch.positions)
            if len(letters) > 2 * MOST_LETTERS or size > 2 * _MOST_BYTES:
                letters = self._oldest(letters)
                size = sum(len(letter.value or b"") for letter in letters)
        self._returned = Returned(self._target.records, ends)
        return self._oldest(letters), came_back

    def _oldest(self, letters: list[Letter]) -> list[Letter]:
        """Return as many as are held at once, in their order; whether there are more is noted."""
        found: list[Letter] = []
        size = 0
        for letter in sorted(letters, key=lambda letter: (letter.at or 0, letter.place)):
            size += len(letter.value or b"")
            if found and (len(found) == MOST_LETTERS or size > _MOST_BYTES):
                self._more = True
                break
            found.append(letter)
        return found

    def edit(self, edit: Edit) -> None:
        """Have each letter edited: `edit` takes its bytes and what is wrong, and returns what shall be sent."""
        items, self.items = self.items, []
        for number, item in enumerate(items, 1):
            before = item.letter.value or b""
            about = f"{item.letter.name} ({number} of {len(items)}): {item.letter.error}"
            after = edit(before, about)
            if after == before:
                item.outcome, item.why = Outcome.UNCHANGED, LEFT[Outcome.UNCHANGED]
                self.left.append(item)
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
        left = Counter(item.outcome for item in self.left)
        notes = [f"left out: {tables.plural(number, 'letter')}, {LEFT[why]}" for why, number in left.items()]
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
        if self._more:
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
        meanwhile = [item for item in self.items if item.letter.full_name in self._ledger.sent]
        for item in meanwhile:
            item.outcome, item.why = Outcome.REDRIVEN, LEFT[Outcome.REDRIVEN]
        self.left += meanwhile
        self.items = [item for item in self.items if item.outcome is Outcome.READY]
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
        if not waiting or self._returned is None:
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
            self._returned.look()
            for item in waiting:
                if (letter := self._returned.letters.get(item.letter.full_name)) is not None:
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

    def _standing(self, letter: Letter, came_back: Mapping[str, str], forgotten: Mapping[str, int]) -> Outcome:
        if letter.topic not in INPUTS:
            return Outcome.FOREIGN
        if letter.full_name in came_back or letter.full_name in self._ledger.sent:
            return Outcome.REDRIVEN
        if letter.redrives >= MOST_REDRIVES and not self._parked:
            return Outcome.PARKED
        if (letter.at or 0) < forgotten.get(letter.topic, 0) and letter.place not in self._wanted.places:
            return Outcome.FORGOTTEN
        return Outcome.READY

    def _look(self, topic: str, since: int) -> Iterator[Event]:
        yield Event(topic, Phase.STARTED, "looking for what was sent again before")
        shown_at, read_so_far = self._clock.monotonic(), 0
        for read_so_far in self._ledger.look(topic, since):
            if self._clock.monotonic() - shown_at >= _SHOWN_EVERY_SECONDS:
                shown_at = self._clock.monotonic()
                yield Event(topic, Phase.PROGRESS, f"{read_so_far:,} records")
        yield Event(topic, Phase.DONE, f"{tables.plural(read_so_far, 'record')} read")

    def _look_again(self, by_topic: Iterable[str]) -> None:
        """Read what came since the last look."""
        for topic in by_topic:
            for _ in self._ledger.look(topic):
                pass

    def _place(self, letter: Letter) -> str | None:
        sent = self._ledger.sent.get(letter.full_name)
        return None if sent is None else "{}/{}:{}".format(sent.topic, *sent.place)

    def _find(self) -> None:
        """Note which letters lie in their topics now."""
        for item in self.items:
            if (place := self._place(item.letter)) is not None:
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
            (sent := self._ledger.sent.get(item.letter.full_name)) is not None
            and sent.place[1] < read[sent.topic].get(sent.place[0], 0)
            for item in items
        )


def _added(one: Report, other: Report) -> Report:
    reasons = tuple(dict.fromkeys((*one.reasons, *other.reasons)))
    return Report(one.delivered + other.delivered, one.failed + other.failed, reasons, one.stopped or other.stopped)


def _after_topic(place: str | None) -> str:
    return (place or "").rpartition("/")[2]
