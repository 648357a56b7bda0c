"""The one loop that waits, and files that appear whole."""

import os
from pathlib import Path

import pytest
from stubs import FakeTime

from fraudctl.atomic import atomic_file, atomic_write, private_folder


def test_a_poll_asks_at_once_then_waits() -> None:
    """Three turns within two seconds, and one more at the deadline: what is met in time is always seen."""
    time = FakeTime(at=100.0)
    assert list(time.clock().poll(1.0, within=2.0)) == [0.0, 1.0, 2.0]
    assert time.slept == [1.0, 1.0]


def test_pauses_grow_to_the_longest_and_can_begin_again() -> None:
    """Half as long again each time; after `restart` the shortest once more."""
    time = FakeTime()
    turns = time.clock().poll(1.0, longest=2.0)
    for _ in range(5):
        next(turns)
    turns.restart()
    next(turns)
    assert time.slept == [1.0, 1.5, 2.0, 2.0, 1.0]


def test_a_poll_without_a_deadline_goes_on() -> None:
    """Nothing but the caller ends it."""
    turns = FakeTime().clock().poll(60.0)
    assert sum(1 for _ in zip(range(1000), turns, strict=False)) == 1000


def test_a_file_is_replaced_whole_and_for_the_user_alone(tmp_path: Path) -> None:
    """Whatever the umask; nothing else is left in the folder."""
    target = tmp_path / "state.json"
    target.write_bytes(b"old")
    before = os.umask(0)
    try:
        atomic_write(target, b"new", durable=True)
    finally:
        os.umask(before)
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_a_private_folder_has_private_parents(tmp_path: Path) -> None:
    """Whatever the umask, for each that was missing; one that exists keeps its mode."""
    tmp_path.chmod(0o755)
    before = os.umask(0)
    try:
        private_folder(tmp_path / "a" / "b" / "c")
        private_folder(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (tmp_path, *sorted(tmp_path.rglob("*")))] == [0o755, *[0o700] * 3]


def test_an_error_in_between_leaves_the_old_content(tmp_path: Path) -> None:
    """The half that was written is removed."""
    target = tmp_path / "built.jar"
    target.write_bytes(b"old")

    def fail() -> None:
        with atomic_file(target) as partial:
            partial.write_bytes(b"half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
