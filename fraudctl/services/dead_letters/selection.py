"""Choose the dead letters that are sent again: those that are wanted and were not sent before."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from fraudctl import tables
from fraudctl.clock import Clock
from fraudctl.pipeline import topics
from fraudctl.services.dead_letters.ledger import Ledger, Returned
from fraudctl.services.dead_letters.letters import INPUTS, MOST_REDRIVES, Letter, Place, Wanted, letter_of, missing
from fraudctl.services.dead_letters.outcomes import LEFT, Item, Outcome
from fraudctl.target import Event, From, Phase, Range, Target

# What is held in memory while somebody is asked; a redrive goes on where the one before has ended.
MOST_LETTERS: Final = 10_000
_MOST_BYTES: Final = 256 * 1024 * 1024
_SHOWN_EVERY_SECONDS: Final = 0.5


class Selection:
    """The letters to send, `items`, and those that are left out.

    Of these, `left` has the first ones and `left_out` counts all. `more`: there are letters that a next redrive sends.
    """

    def __init__(self, target: Target, wanted: Wanted, clock: Clock, *, most: int | None, parked: bool) -> None:
        """Store what is asked for; no I/O. `most` letters are sent at most, `parked` ones only when asked for."""
        self._target, self._wanted, self._clock = target, wanted, clock
        self._most, self._parked = most, parked
        self.ledger = Ledger(target.records)
        self.returned = Returned(target.records, {})
        self.items: list[Item] = []
        self.left: list[Item] = []
        self.left_out: Counter[Outcome] = Counter()
        self.more = False
        self._came_back: dict[str, str] = {}  # what was sent again → as what it came back
        self._forgotten: dict[str, int] = {}

    def read(self) -> Iterator[Event]:
        """Find the letters, and which of them were sent before; raises `NotDeployed` and `Unreachable`."""
        name = topics.DEAD_LETTERS.name
        yield Event(name, Phase.STARTED)
        firsts, number = self._survey()
        yield Event(name, Phase.DONE, tables.plural(number, "letter"))
        for topic in sorted(INPUTS & firsts.keys()):
            yield from self._look(topic, firsts[topic])
        self._forgotten = {
            info.name: self.ledger.forgotten_before(info) for info in self._target.topics.list() if info.exists
        }
        ready: list[Letter] = []
        size = 0
        for letter in self._wanted_letters():
            outcome = self._standing(letter)
            if outcome is not Outcome.READY:
                self.leave(letter, outcome)
                continue
            ready.append(letter)
            size += len(letter.value or b"")
            if len(ready) > 2 * MOST_LETTERS or size > 2 * _MOST_BYTES:
                ready = self._oldest(ready)
                size = sum(len(letter.value or b"") for letter in ready)
        self.items = [Item(letter, letter.value) for letter in self._oldest(ready)]
        self.left.sort(key=lambda item: _age(item.letter))

    def _survey(self) -> tuple[dict[str | None, int], int]:
        """Return when the first wanted letter of each topic was set aside, and how many are wanted.

        Letters that came back say what was sent before, wherever they lie: all are read.
        """
        firsts, ends = dict[str | None, int](), dict[int, int]()
        gone, number = set(self._wanted.places), 0
        for batch in self._target.records.batches(topics.DEAD_LETTERS.name, Range(From.BEGINNING, follow=False)):
            for record in batch.records:
                letter = letter_of(record)
                if letter.redrive_of is not None:
                    self._came_back[letter.redrive_of] = letter.full_name
                if self._wanted.matches(record):
                    number += 1
                    gone.discard(letter.place)
                    firsts[letter.topic] = min(letter.at or 0, firsts.get(letter.topic, letter.at or 0))
            ends.update(batch.positions)
        if gone:
            raise missing(gone)
        self.returned = Returned(self._target.records, ends)
        return firsts, number

    def _wanted_letters(self) -> Iterator[Letter]:
        """Yield them once more, now that it is known what was sent before."""
        for record in self._target.records.read(topics.DEAD_LETTERS.name, Range(From.BEGINNING, follow=False)):
            if self._wanted.matches(record):
                yield letter_of(record)

    def leave(self, letter: Letter, outcome: Outcome) -> None:
        """Note that a letter is left out, without its bytes: there may be many, and some are shown."""
        self.left_out[outcome] += 1
        if len(self.left) == MOST_LETTERS:
            return
        item = Item(replace(letter, value=None), None, outcome, LEFT[outcome])
        if outcome is Outcome.REDRIVEN:
            back = self._came_back.get(letter.full_name)
            item.place = back or self.ledger.place(letter)
            item.why += f", and came back as {back}" if back else ""
        self.left.append(item)

    def _oldest(self, letters: list[Letter]) -> list[Letter]:
        """Return as many as are sent at once, in their order; whether there are more is noted."""
        most = MOST_LETTERS if self._most is None else min(self._most, MOST_LETTERS)
        found: list[Letter] = []
        size = 0
        for letter in sorted(letters, key=_age):
            size += len(letter.value or b"")
            if found and (len(found) == most or size > _MOST_BYTES):
                self.more = True
                break
            found.append(letter)
        return found

    def _standing(self, letter: Letter) -> Outcome:
        if letter.topic not in INPUTS:
            return Outcome.FOREIGN
        if letter.full_name in self._came_back or letter.full_name in self.ledger.sent:
            return Outcome.REDRIVEN
        if letter.redrives >= MOST_REDRIVES and not self._parked:
            return Outcome.PARKED
        if (letter.at or 0) < self._forgotten.get(letter.topic, 0) and letter.place not in self._wanted.places:
            return Outcome.FORGOTTEN
        return Outcome.READY

    def _look(self, topic: str, since: int) -> Iterator[Event]:
        yield Event(topic, Phase.STARTED, "looking for what was sent again before")
        shown_at, read_so_far = self._clock.monotonic(), 0
        for read_so_far in self.ledger.look(topic, since):
            if self._clock.monotonic() - shown_at >= _SHOWN_EVERY_SECONDS:
                shown_at = self._clock.monotonic()
                yield Event(topic, Phase.PROGRESS, f"{read_so_far:,} records")
        yield Event(topic, Phase.DONE, f"{tables.plural(read_so_far, 'record')} read")


def _age(letter: Letter) -> tuple[int, Place]:
    return letter.at or 0, letter.place
