"""Evidence by transaction in a SQLite file, and how far a reconciliation has come.

Memory does not grow with the number of detections. What was added and where reading goes on are committed together, so
an interrupted run loses neither.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Self

from fraudctl.services.verify.evidence import Claim, Evidence, Sent
from fraudctl.services.verify.shapes import Identity

_KINDS: Final = ("sent", "processed", "rows", "failed")
_AT_ONCE: Final = 20_000
_VERSION: Final = 1
_TABLE: Final = "(account INTEGER, date TEXT, id TEXT, kind INTEGER, partition INTEGER, offset INTEGER, content BLOB)"

Entry = tuple[int, str, str, int, int, int, bytes]


class Store:
    """The file. A context manager; what was not saved is lost at its end."""

    def __init__(self, file: Path) -> None:
        """Open the file, or make it; raises OSError and what sqlite3 raises."""
        import orjson

        self._dump, self._load = orjson.dumps, orjson.loads
        self._connection = sqlite3.connect(file, isolation_level=None)
        file.chmod(0o600)
        # A power cut may spoil the file, an end of the process at any moment may not.
        self._connection.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA cache_size=-32000;"
            f"CREATE TABLE IF NOT EXISTS evidence {_TABLE};"
            "CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value BLOB)"
        )
        self._connection.execute("BEGIN")
        self._new: list[Entry] = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._connection.close()

    def state(self) -> dict[str, Any] | None:
        """Return what `save` was given last; None for a new file, or one of another version."""
        found = self._connection.execute("SELECT value FROM state WHERE name = ?", (f"state {_VERSION}",)).fetchone()
        return None if found is None else self._load(found[0])

    def save(self, state: dict[str, Any]) -> None:
        """Commit what was added, and the state that belongs to it."""
        import orjson

        self._flush()
        values = f"state {_VERSION}", self._dump(state, option=orjson.OPT_NON_STR_KEYS)
        self._connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", values)
        self._connection.execute("COMMIT")
        self._connection.execute("BEGIN")

    def clear(self) -> None:
        """Begin anew."""
        self._new.clear()
        self._connection.execute("DELETE FROM evidence")
        self._connection.execute("DELETE FROM state")

    def add(self, kind: str, identity: Identity, found: Sent | Claim) -> None:
        """Keep one piece of evidence."""
        self._new.append((*identity, _KINDS.index(kind), *found.place, self._dump(found[1:])))
        if len(self._new) >= _AT_ONCE:
            self._flush()

    def all(self) -> Iterator[Evidence]:
        """Yield the evidence of each transaction, account by account in the order of dates."""
        self._flush()
        rows = self._connection.execute("SELECT * FROM evidence ORDER BY account, date, id, kind, rowid")
        for identity, entries in groupby(rows, key=lambda entry: entry[:3]):
            evidence = Evidence(identity)
            for _, _, _, kind, partition, offset, content in entries:
                fields = self._load(content)
                if kind == 0:
                    evidence.sent.append(_sent((partition, offset), fields))
                else:
                    getattr(evidence, _KINDS[kind]).append(_claim((partition, offset), fields))
            yield evidence

    def keep(self, kept: Iterable[Evidence]) -> None:
        """Replace all evidence by this, which may be made from `all`."""
        self._connection.execute(f"CREATE TABLE kept {_TABLE}")
        for found in kept:
            for number, kind in enumerate(_KINDS):
                entries = [
                    (*found.identity, number, *piece.place, self._dump(piece[1:])) for piece in getattr(found, kind)
                ]
                self._connection.executemany("INSERT INTO kept VALUES (?, ?, ?, ?, ?, ?, ?)", entries)
        self._connection.execute("DROP TABLE evidence")
        self._connection.execute("ALTER TABLE kept RENAME TO evidence")

    def _flush(self) -> None:
        self._connection.executemany("INSERT INTO evidence VALUES (?, ?, ?, ?, ?, ?, ?)", self._new)
        self._new.clear()


def _sent(place: tuple[int, int], fields: list[Any]) -> Sent:
    published, flags, digest = fields
    return Sent(place, published, tuple(flag and (flag[0], flag[1]) for flag in flags), digest)


def _claim(place: tuple[int, int], fields: list[Any]) -> Claim:
    transaction, flag, why, digest, at = fields
    return Claim(place, (transaction[0], transaction[1]), (flag[0], flag[1]), tuple(why), digest, at)
