"""The file of a reconciliation."""

import sqlite3
from pathlib import Path

import pytest

from fraudctl.errors import BadConfig, OperationFailed
from fraudctl.services.verify.evidence import Claim, Evidence, Sent
from fraudctl.services.verify.store import Store

FIRST, SECOND = (7, "2026-11-24T10:00:00.000Z", "t-1"), (8, "2026-11-24T09:00:00.000Z", "t-2")
SENT = Sent((1, 5), 1000, ((0, 3), None), "abc")
CLAIM = Claim((2, 9), (1, 5), (0, 3), ("2026-11-24T09:00:00.000Z", None, "ada"), "abc", 2000)


def test_evidence_comes_back_by_transaction(tmp_path: Path) -> None:
    """Every piece as it was, whatever the order in which it came."""
    with Store(tmp_path / "s.sqlite") as store:
        store.add("rows", SECOND, CLAIM)
        store.add("rows", FIRST, CLAIM)
        store.add("sent", FIRST, SENT)
        store.add("processed", FIRST, CLAIM)
        first, second = store.all()
        assert first == Evidence(FIRST, [SENT], [CLAIM], [CLAIM])
        assert second == Evidence(SECOND, rows=[CLAIM])
        assert store.count() == 2
        store.keep(found for found in store.all() if found.identity == SECOND)
        assert list(store.all()) == [second]


def test_what_was_saved_is_there_again_and_nothing_else(tmp_path: Path) -> None:
    """Evidence and state belong together."""
    file = tmp_path / "s.sqlite"
    with Store(file) as store:
        assert store.state() is None
        store.add("sent", FIRST, SENT)
        store.save({"at": {1: 6}})
        store.add("rows", FIRST, CLAIM)
        store.rollback()
        store.add("rows", SECOND, CLAIM)
        assert store.count() == 2
    assert file.stat().st_mode & 0o777 == 0o600
    with Store(file) as store:
        assert store.state() == {"at": {"1": 6}}
        assert list(store.all()) == [Evidence(FIRST, [SENT])]


def test_the_first_detection_that_was_not_written(tmp_path: Path) -> None:
    """By the partition's own position."""
    with Store(tmp_path / "s.sqlite") as store:
        store.add("processed", FIRST, CLAIM)
        store.add("processed", SECOND, CLAIM._replace(place=(3, 1), at=1500))
        assert store.first_processed({}) == 1500
        assert store.first_processed({3: 2, 2: 9}) == 2000
        assert store.first_processed({3: 2, 2: 10}) is None


def test_a_spoiled_file_and_a_full_disk_are_told(tmp_path: Path) -> None:
    """As errors that say what to do."""
    file = tmp_path / "s.sqlite"
    file.write_bytes(b"no database " * 1000)
    with pytest.raises(BadConfig, match="file is not a database"):
        Store(file)
    with pytest.raises(OperationFailed, match="disk is full"), Store(tmp_path / "other.sqlite"):
        raise sqlite3.OperationalError("database or disk is full")
