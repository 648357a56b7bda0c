"""The verdict on one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from fraudctl.pipeline import topics
from fraudctl.services.flags.reading import Reach
from fraudctl.services.flags.rule import FlagEvent
from fraudctl.services.verify.evidence import Claim, Evidence, Identity, Place, Sent


class Word(StrEnum):
    """What became of a transaction; the words of Jepsen's set checker where it has one."""

    OK = "ok"  # detected, and in the table, as it has to be
    RECOVERED = "recovered"  # detected; not in the table, but in the on-failure destination
    LOST = "lost"  # had to be detected, and is in neither
    UNEXPECTED = "unexpected"  # detected, and had not to be
    DIFFERENT = "different"  # detected, but what is said of it is not what the topics say
    RACE = "race"  # not detected, which the order of reading allows, as it would allow the contrary
    IN_FLIGHT = "in flight"  # not decided yet, or on its way
    UNKNOWN = "unknown"  # what it would be judged by was deleted from Kafka


FAULTS: Final = frozenset({Word.LOST, Word.UNEXPECTED, Word.DIFFERENT})
# What counts as "had to be detected".
ATTEMPTED: Final = frozenset({Word.OK, Word.RECOVERED, Word.LOST, Word.DIFFERENT})


@dataclass(frozen=True, slots=True)
class Case:
    """A transaction with its verdict and why; `copies` is how often it lies in processed_topic.

    `published` is in epoch milliseconds, None where the transaction was not read.
    """

    identity: Identity
    word: Word
    why: str = ""
    copies: int = 0
    transaction: Place | None = None
    processed: Place | None = None
    flag: Place | None = None
    row: bool = False
    published: int | None = None


@dataclass(slots=True)
class Judge:
    """What verdicts rest on.

    `horizon` is the time, in epoch milliseconds, up to which the application has read everything; `read` are the
    offsets that it goes on from, `written` those of AuditWriter. `windowed`: not everything that Kafka has was asked
    for, so what lies before belongs to no verdict; `bounded`: nor does what lies behind. `latest` is where each topic
    ended when everything had been read: what names a place behind that names what never was.
    """

    events: Mapping[Place, FlagEvent]
    horizon: int = 0
    windowed: bool = False
    bounded: bool = False
    read: Mapping[int, int] = field(default_factory=dict)
    written: Mapping[int, int] = field(default_factory=dict)
    transactions: Reach = field(default_factory=Reach)
    flags: Reach = field(default_factory=Reach)
    processed: Reach = field(default_factory=Reach)
    latest: Mapping[str, Mapping[int, int]] = field(default_factory=dict)

    def judge(self, found: Evidence) -> Case | None:
        """Return the verdict; None for a transaction that was rightly not detected, or that was not asked about."""
        word_and_why = self._unclaimed(found) if not self._claims(found) else self._claimed(found)
        if word_and_why is None:
            return None
        word, why = word_and_why
        claims = self._claims(found)
        return Case(
            found.identity,
            word,
            why,
            len(found.processed),
            found.sent[0].place if found.sent else (claims[0].transaction if claims else None),
            claims[0].place if claims else None,
            claims[0].flag if claims else None,
            bool(found.rows),
            found.sent[0].published if found.sent else None,
        )

    @staticmethod
    def _claims(found: Evidence) -> list[Claim]:
        return [*found.processed, *found.rows, *found.failed]

    def _unclaimed(self, found: Evidence) -> tuple[Word, str] | None:
        """Judge what nobody says was detected."""
        if all(set(sent.flags) == {None} for sent in found.sent):
            return None
        must = [sent for sent in found.sent if None not in sent.flags]
        if not all(map(self._settled, must or found.sent)):
            return Word.IN_FLIGHT, "not read by the application yet"
        if not must:
            return Word.RACE, "a flag event was published about when the transaction was"
        return Word.LOST, f"not in {topics.PROCESSED.name}"

    def _claimed(self, found: Evidence) -> tuple[Word, str] | None:
        """Judge what somebody says was detected."""
        if not found.sent:
            return self._without_transaction(self._claims(found)[0])
        for claim in self._claims(found):
            if (verdict := self._against_the_topics(found, claim)) is not None:
                return verdict
        if found.rows:
            return self._row(found)
        if found.failed:
            return Word.RECOVERED, "in the on-failure destination"
        if all(self._beyond(claim.place, self.written) for claim in found.processed):
            return Word.IN_FLIGHT, "not read by AuditWriter yet"
        return Word.LOST, f"in {topics.PROCESSED.name}, not in the table"

    def _without_transaction(self, claim: Claim) -> tuple[Word, str] | None:
        partition, offset = claim.transaction
        name = f"{topics.TRANSACTIONS.name}/{partition}:{offset}"
        start = self.transactions.starts.get(partition, self.transactions.ends.get(partition, 0))
        if nowhere := self._nowhere(topics.TRANSACTIONS.name, claim.transaction):
            return Word.UNEXPECTED, nowhere
        if self.bounded and offset >= self.transactions.ends.get(partition, 0):
            return None
        if offset >= self.transactions.ends.get(partition, 0) or self._beyond(claim.flag, self.flags.ends):
            return Word.IN_FLIGHT, "published after this began"
        if offset < self.transactions.earliest.get(partition, 0):
            return None if self.windowed else (Word.UNKNOWN, f"Kafka has deleted {name}")
        if self.windowed and offset < start:
            return None
        return Word.UNEXPECTED, f"no flag event detects what lies at {name}, or another transaction lies there"

    def _against_the_topics(self, found: Evidence, claim: Claim) -> tuple[Word, str] | None:
        """Compare one claim with the transaction and the flag events."""
        if nowhere := self._nowhere(topics.FLAGGED.name, claim.flag):
            return Word.DIFFERENT, nowhere
        if self._beyond(claim.flag, self.flags.ends):
            return Word.IN_FLIGHT, "flagged after this began"
        allowed = {place for sent in found.sent for place in sent.flags}
        named = f"{topics.FLAGGED.name}/{claim.flag[0]}:{claim.flag[1]}"
        if claim.flag not in allowed:
            if allowed == {None}:
                return Word.UNEXPECTED, f"no flag event detects it; {named} is said to"
            right = next(place for place in allowed if place is not None)
            return Word.DIFFERENT, f"detected by {named}, not by {topics.FLAGGED.name}/{right[0]}:{right[1]}"
        event = self.events[claim.flag]
        origin = next((sent for sent in found.sent if sent.place == claim.transaction), None)
        wrong = None
        if claim.why != (event.flag_date, event.reason, event.flagged_by):
            wrong = f"what is said of its flag is not what {named} says"
        elif origin is None:
            wrong = f"it does not lie at {topics.TRANSACTIONS.name}/{claim.transaction[0]}:{claim.transaction[1]}"
        elif claim.digest != origin.digest:
            where = "the row" if claim in found.rows else topics.PROCESSED.name
            wrong = f"{where} has other values than the transaction"
        return (Word.DIFFERENT, wrong) if wrong else None

    def _row(self, found: Evidence) -> tuple[Word, str]:
        """Judge a row that agrees with the transaction: somebody must have put its record into processed_topic."""
        (row, *_) = found.rows
        partition, offset = row.place
        places = {claim.place for claim in found.processed}
        if row.place in places or offset < self.processed.earliest.get(partition, 0):
            return Word.OK, ""
        if nowhere := self._nowhere(topics.PROCESSED.name, row.place):
            return Word.DIFFERENT, nowhere
        if self._beyond(row.place, self.processed.ends):
            return Word.IN_FLIGHT, "written after this began"
        name = f"{topics.PROCESSED.name}/{partition}:{offset}"
        return Word.DIFFERENT, f"the row names {name}, where no such record lies"

    def _settled(self, sent: Sent) -> bool:
        """Return whether the application has decided: its clock has passed transaction and flag event."""
        flags = [self.events[place].published for place in sent.flags if place is not None and place in self.events]
        return max(sent.published, *flags, 0) < self.horizon and not self._beyond(sent.place, self.read)

    def _nowhere(self, topic: str, place: Place) -> str | None:
        """Return why there cannot be anything at a place, None if there can."""
        if topic not in self.latest or not self._beyond(place, self.latest[topic]):
            return None
        return f"it names {topic}/{place[0]}:{place[1]}, where no record ever was"

    @staticmethod
    def _beyond(place: Place, ends: Mapping[int, int]) -> bool:
        return place[1] >= ends.get(place[0], 0)
