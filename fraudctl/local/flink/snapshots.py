"""Which checkpoint or savepoint the Flink application starts from. Standard library only: the launcher uses it."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Self

from fraudctl.atomic import atomic_write

# A snapshot that was started from this often, with no newer one to show for it, is given up.
_ATTEMPTS: Final = 2


@dataclass(frozen=True, slots=True)
class Spec:
    """What to start. `checkpoints` and `savepoints` are folders; Flink puts a job's checkpoints some levels deeper.

    `attempts` is a file that the launcher keeps to itself. `fresh` is a marker: where it exists, the application starts
    without state, once, and older snapshots are not used any more. `tmp` belongs to the application alone.
    A class archive among `flags` is used, or made, by `fraudctl.local.processes.class_data`.
    `servers` is Kafka's address, ``host:port``: while nothing listens there nothing is started, since a start that
    fails for want of Kafka would count against the snapshot.
    `topics` are those that the application reads as `group`; none of them: nothing is compared with what it has read.
    `unread`, `topic_ids`, `begun` and `lost` are files: see `fraudctl.local.processes.paths`.
    """

    java: str
    flags: list[str]
    classpath: str
    main_class: str
    arguments: list[str]
    checkpoints: str
    savepoints: str
    attempts: str
    fresh: str
    tmp: str
    servers: str
    group: str = ""
    topics: list[str] = field(default_factory=list)
    unread: str = ""
    topic_ids: str = ""
    begun: str = ""
    lost: str = ""

    def to_json(self) -> str:
        """Return the text of a spec file."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the text of a spec file; raises `ValueError` or `TypeError` for another text."""
        return cls(**json.loads(text))


@dataclass(slots=True)
class Attempts:
    """How often the application was started from which snapshot since one last proved good.

    `since` and `last` are nanoseconds since 1970: no snapshot older than `since` is used, `last` is the newest start.
    """

    since: int = 0
    last: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file; one that is missing or damaged counts as empty."""
        try:
            data = json.loads(path.read_bytes())
            counts = {str(snapshot): int(count) for snapshot, count in data["counts"].items()}
            return cls(int(data["since"]), int(data["last"]), counts)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls()

    def save(self, path: Path) -> None:
        """Replace the file in one step."""
        atomic_write(path, json.dumps(asdict(self)).encode())


def snapshots(spec: Spec) -> list[tuple[int, Path]]:
    """Return the complete checkpoints and savepoints, newest first, each with its time in nanoseconds since 1970.

    Flink writes ``_metadata`` last: a folder without it was not finished.
    """
    found = [*_complete(Path(spec.checkpoints)), *_complete(Path(spec.savepoints))]
    return sorted(found, key=lambda item: (item[0], item[1].name), reverse=True)


def choose(spec: Spec, now: int) -> Path | None:
    """Pick what to start from, None for no state, and note the attempt. `now` is nanoseconds since 1970.

    A start without state is right, only slow: the application then reads its topics from the beginning.
    """
    attempts, chosen = _pick(spec, now)
    if chosen is not None:
        attempts.counts[str(chosen)] = attempts.counts.get(str(chosen), 0) + 1
    attempts.last = now
    attempts.save(Path(spec.attempts))
    Path(spec.fresh).unlink(missing_ok=True)  # only now: killed before this line, the next start is fresh again
    return chosen


def next_snapshot(spec: Spec) -> Path | None:
    """Return what the next start will start from; None for no state."""
    return _pick(spec, time.time_ns())[1]


def _pick(spec: Spec, now: int) -> tuple[Attempts, Path | None]:
    attempts = Attempts.load(Path(spec.attempts))
    if Path(spec.fresh).exists():
        attempts = Attempts(since=now)
    usable = [(at, path) for at, path in snapshots(spec) if at > attempts.since]
    if usable and usable[0][0] > attempts.last:
        attempts.counts = {}  # the newest start got as far as a snapshot of its own
    return attempts, next((path for _, path in usable if attempts.counts.get(str(path), 0) < _ATTEMPTS), None)


def _complete(folder: Path) -> Iterator[tuple[int, Path]]:
    for metadata in folder.rglob("_metadata"):
        try:
            yield metadata.stat().st_mtime_ns, metadata.parent
        except FileNotFoundError:
            continue  # Flink removed it meanwhile
