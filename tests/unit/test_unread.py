"""Records deleted unread: what a comparison finds, and what the ledger makes of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fraudctl.local.kafka.unread import Gap, Ledger, Place, compare, listed

GAP = Gap("app", "t", "id-1", 0, 5, 20)


@dataclass
class FakeBroker:
    """Earliest offsets; every topic has the id id-1 unless told otherwise."""

    earliest: dict[Place, int] = field(default_factory=dict)
    identifier: str = "id-1"

    def offsets(self, places: Iterable[Place], *, latest: bool) -> dict[Place, int]:
        """Give the earliest, or zero."""
        assert not latest
        return {place: self.earliest.get(place, 0) for place in places}

    def topic_ids(self, names: Iterable[str]) -> dict[str, str]:
        """Give the id."""
        return dict.fromkeys(names, self.identifier)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Give an empty ledger."""
    return Ledger(tmp_path / "lost.jsonl")


def test_nothing_is_gone(ledger: Ledger) -> None:
    """A position at the earliest offset has missed nothing."""
    found = compare(FakeBroker({("t", 0): 5}), ledger, "app", {("t", 0): 5, ("t", 1): 0})
    assert (found.gaps, found.moves) == ((), {})


def test_a_gap_is_found_and_named(ledger: Ledger) -> None:
    """By partition, from, to and count."""
    found = compare(FakeBroker({("t", 0): 20, ("t", 1): 3}), ledger, "app", {("t", 0): 5, ("t", 1): 2})
    assert found.gaps == (GAP, Gap("app", "t", "id-1", 1, 2, 3))
    assert listed(found.gaps) == (
        "15 records of t/0 (offsets 5 to 19), 1 records of t/1 (offsets 2 to 2) were deleted before app read them"
    )


def test_what_is_accepted_is_passed_over_and_no_more(ledger: Ledger) -> None:
    """Gone on since then is a new gap; accepted by parts is accepted."""
    broker = FakeBroker({("t", 0): 20})
    ledger.record([replace(GAP, end=12)], 1)
    assert compare(broker, ledger, "app", {("t", 0): 5}).gaps == (replace(GAP, first=12),)
    ledger.record([replace(GAP, first=12)], 2)
    assert compare(broker, ledger, "app", {("t", 0): 5}).gaps == ()
    assert compare(broker, ledger, "app", {("t", 0): 5}).moves == {("t", 0): (5, 20)}
    assert compare(broker, ledger, "app", {("t", 0): 7}).moves == {("t", 0): (7, 20)}
    # An older state has not read what lies before.
    assert compare(broker, ledger, "app", {("t", 0): 4}).gaps == (replace(GAP, first=4),)


@pytest.mark.parametrize("other", [{"reader": "b"}, {"topic": "u"}, {"topic_id": "id-2"}, {"partition": 1}])
def test_what_is_accepted_for_another_does_not_count(ledger: Ledger, other: dict[str, str | int]) -> None:
    """Nor for a topic that was deleted and created anew under the same name."""
    ledger.record([replace(GAP, **other)], 1)  # type: ignore[arg-type]
    assert compare(FakeBroker({("t", 0): 20}), ledger, "app", {("t", 0): 5}).gaps == (GAP,)


def test_the_ledger_survives_damage(ledger: Ledger) -> None:
    """A line that cannot be read takes no other with it."""
    ledger.record([GAP], 1)
    with ledger.path.open("ab") as file:
        file.write(b'{"reader": "app"}\n\xff\n[]\n')
    ledger.record([replace(GAP, partition=3)], 2)
    assert ledger.gaps() == [GAP, replace(GAP, partition=3)]
