"""Evidence by transaction in a SQLite file, and how far a reconciliation has come.

Memory does not grow with the number of detections. What was added and where reading goes on are committed together, so
an interrupted run loses neither.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Self

from fraudctl.errors import BadConfig, OperationFailed
from fraudctl.services.verify.evidence import Claim, Evidence, Sent
from fraudctl.services.verify.shapes import Identity

_KINDS: Final = ("sent", "processed", "rows", "failed")
_AT_ONCE: Final = 20_000
_VERSION: Final = 1
_TABLE: Final = (
    "(account INTEGER, date TEXT, id TEXT, kind INTEGER, partition INTEGER, offset INTEGER, at INTEGER, content BLOB)"
)
_INSERT: Final = "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_PROCESSED: Final = 1

Entry = tuple[int, str, str, int, int, int, int, bytes]


class Store:
    """The file. A context manager; what was not saved is lost at its end."""

    def __init__(self, file: Path) -> None:
        """Open the file, or make it; raises OSError, and `BadConfig` for a file that is spoiled."""
        import orjson

        self._dump, self._load = orjson.dumps, orjson.loads
        self._file = file
        self._connection = sqlite3.connect(file, isolation_level=None)
        file.chmod(0o600)
        # A power cut may spoil the file, an end of the process at any moment may not.
        try:
            self._connection.executescript(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA cache_size=-32000;"
                f"CREATE TABLE IF NOT EXISTS evidence {_TABLE};"
                "CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value BLOB)"
            )
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise BadConfig(
                f"{file}: {error}", hint="run `fraudctl audit verify` without --resume, or free disk space"
            ) from error
        self._connection.execute("BEGIN")
        self._new: list[Entry] = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Close the file; raises `OperationFailed` for what SQLite has refused, such as a full disk."""
        self._connection.close()
        if isinstance(error, sqlite3.Error):
            raise OperationFailed(
                f"{self._file}: {error}", hint="free disk space, or set FRAUDCTL_HOME to a folder with more of it"
            ) from error

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
        self._new.append(self._entry(_KINDS.index(kind), identity, found))
        if len(self._new) >= _AT_ONCE:
            self._flush()

    def all(self) -> Iterator[Evidence]:
        """Yield the evidence of each transaction, account by account in the order of dates."""
        self._flush()
        rows = self._connection.execute("SELECT * FROM evidence ORDER BY account, date, id, kind, rowid")
        for identity, entries in groupby(rows, key=lambda entry: entry[:3]):
            evidence = Evidence(identity)
            for _, _, _, kind, partition, offset, at, content in entries:
                fields = self._load(content)
                if kind == 0:
                    evidence.sent.append(_sent((partition, offset), at, fields))
                else:
                    getattr(evidence, _KINDS[kind]).append(_claim((partition, offset), at, fields))
            yield evidence

    def rollback(self) -> None:
        """Forget what was added since `save`."""
        self._new.clear()
        self._connection.execute("ROLLBACK")
        self._connection.execute("BEGIN")

    def first_processed(self, written: Mapping[int, int]) -> int | None:
        """Return when the first detection in processed_topic was published that AuditWriter has not read; None without.

        `written` is where AuditWriter goes on. The time is in epoch milliseconds.
        """
        self._flush()
        query = "SELECT partition, offset, at FROM evidence WHERE kind = ?"
        places = self._connection.execute(query, (_PROCESSED,))
        return min((at for partition, offset, at in places if offset >= written.get(partition, 0)), default=None)

    def count(self) -> int:
        """Return of how many transactions there is evidence."""
        self._flush()
        query = "SELECT count(*) FROM (SELECT DISTINCT account, date, id FROM evidence)"
        return int(self._connection.execute(query).fetchone()[0])

    def keep(self, kept: Iterable[Evidence]) -> None:
        """Replace all evidence by this, which may be made from `all`."""
        self._connection.execute(f"CREATE TABLE kept {_TABLE}")
        for found in kept:
            for number, kind in enumerate(_KINDS):
                entries = [self._entry(number, found.identity, piece) for piece in getattr(found, kind)]
                self._connection.executemany(f"INSERT INTO kept {_INSERT}", entries)
        self._connection.execute("DROP TABLE evidence")
        self._connection.execute("ALTER TABLE kept RENAME TO evidence")

    def _flush(self) -> None:
        self._connection.executemany(f"INSERT INTO evidence {_INSERT}", self._new)
        self._new.clear()

    def _entry(self, kind: int, identity: Identity, found: Sent | Claim) -> Entry:
        if isinstance(found, Sent):
            return (*identity, kind, *found.place, found.published, self._dump(found[2:]))
        return (*identity, kind, *found.place, found.at, self._dump(found[1:-1]))


def _sent(place: tuple[int, int], at: int, fields: list[Any]) -> Sent:
    flags, digest = fields
    return Sent(place, at, tuple(flag and (flag[0], flag[1]) for flag in flags), digest)


def _claim(place: tuple[int, int], at: int, fields: list[Any]) -> Claim:
    transaction, flag, why, digest = fields
    return Claim(place, (transaction[0], transaction[1]), (flag[0], flag[1]), tuple(why), digest, at)
