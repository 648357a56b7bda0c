"""What becomes of a dead letter that is sent again."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from fraudctl.services.dead_letters.letters import MOST_REDRIVES, Letter
from fraudctl.tables import Column

COLUMNS: Final = (
    Column("letter"),
    Column("topic", drop=3),
    Column("redrive", drop=2),
    Column("outcome"),
    Column("why", wrap=True),
    Column("place", drop=1),
)


class Outcome(StrEnum):
    """What became of a letter."""

    READY = "ready"  # it would be sent
    SENT = "sent"  # it lies in its topic again; whether the application takes it is not known
    ACCEPTED = "accepted"  # and the application has read past it
    CAME_BACK = "came back"  # and the application set it aside again
    FAILED = "not sent"
    REDRIVEN = "redriven before"
    PARKED = "parked"
    FORGOTTEN = "not certain"  # whether it was sent before: what would say so is deleted
    FOREIGN = "no way back"  # it names no topic of the application's input
    UNCHANGED = "unchanged"  # in the editor


# Why one is left out, behind its number.
LEFT: Final = {
    Outcome.REDRIVEN: "sent again before",
    Outcome.PARKED: f"sent {MOST_REDRIVES} times and came back each time; --parked sends it all the same",
    Outcome.FORGOTTEN: "perhaps sent again before: Kafka has deleted what would say so; name it to send it",
    Outcome.FOREIGN: "names no topic that the application reads",
    Outcome.UNCHANGED: "left as it was in the editor",
}


@dataclass(slots=True)
class Item:
    """A letter on its way: the bytes to send, what became of it and why, and where it lies now."""

    letter: Letter
    value: bytes | None
    outcome: Outcome = Outcome.READY
    why: str = ""
    place: str | None = None

    @property
    def edited(self) -> bool:
        """Whether the bytes are others than the letter's."""
        return self.value != self.letter.value

    def row(self) -> dict[str, Any]:
        """Return its cells."""
        return {
            "letter": self.letter.name,
            "topic": self.letter.topic,
            "redrive": self.letter.redrives + 1,
            "edited": self.edited,
            "outcome": self.outcome.value,
            "why": self.why or None,
            "place": self.place,
        }
