"""``python -P -m fraudctl.local.flink.launcher SPEC.json``: start the Flink application from its newest state.

The supervisor runs this instead of Java. It empties the application's folder for temporary files (each start of Flink
leaves 24 MB there), picks the newest complete checkpoint or savepoint, waits while records that it needs were deleted
unread and nobody has accepted that, and then becomes the JVM.
"""

import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from fraudctl.atomic import atomic_write
from fraudctl.clock import Clock
from fraudctl.local.processes import class_data

if TYPE_CHECKING:
    from fraudctl.local.kafka.unread import Place

# A snapshot that was started from this often, with no newer one to show for it, is given up.
_ATTEMPTS: Final = 2
_PAUSE_SECONDS: Final = 0.2
# The program argument that carries the snapshot.
_RECOVERY_PATH: Final = "flink.execution.state-recovery.path"


@dataclass(frozen=True, slots=True)
class Spec:
    """What to start. `checkpoints` and `savepoints` are folders; Flink puts a job's checkpoints some levels deeper.

    `attempts` is a file that the launcher keeps to itself. `fresh` is a marker: where it exists, the application starts
    without state, once, and older snapshots are not used any more. `tmp` belongs to the application alone.
    A class archive among `flags` is used, or made, by `fraudctl.local.processes.class_data`.
    `servers` is Kafka's address, ``host:port``: while nothing listens there nothing is started, since a start that
    fails for want of Kafka would count against the snapshot.
    `topics` are those that the application reads as `group`; none of them: nothing is compared with what it has read.
    `unread`, `topic_ids` and `lost` are files: see `fraudctl.local.processes.paths`.
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


def command(spec: Spec, snapshot: Path | None, moves: "Mapping[Place, tuple[int, int]] | None" = None) -> list[str]:
    """Return the command line of the JVM; `moves` are partitions that go on elsewhere than the snapshot says."""
    line = [spec.java, *spec.flags, f"-Djava.io.tmpdir={spec.tmp}", "-cp", spec.classpath, spec.main_class]
    line += spec.arguments
    if spec.unread:
        line.append(f"unread.file={spec.unread}")
    if moves:
        texts = [f"{topic} {number} {at} {to}" for (topic, number), (at, to) in sorted(moves.items())]
        line.append(f"moves={';'.join(texts)}")
    if snapshot is not None:
        # Not as_uri(): Flink takes a path's % for itself and would look for a folder named "a%20b".
        line.append(f"{_RECOVERY_PATH}=file://{snapshot}")
    return line


def wait_for_kafka(servers: str, clock: Clock) -> None:
    """Wait until something listens at ``host:port``; write once that it waits."""
    host, _, port = servers.rpartition(":")
    for waited in clock.poll(_PAUSE_SECONDS):
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            if not waited:
                _write(f"waiting for Kafka at {servers}")
        else:
            return


def wait_for_consent(spec: Spec, clock: Clock) -> "Mapping[Place, tuple[int, int]]":
    """Return the partitions that go on elsewhere than the snapshot says.

    While records were deleted unread, write which into `spec.unread` and wait until somebody accepts that.
    """
    if not spec.topics:
        return {}
    from fraudctl.local.flink.unread import Unread
    from fraudctl.local.kafka.admin import KafkaAdmin
    from fraudctl.local.kafka.unread import Ledger, listed
    from fraudctl.pipeline import kafka

    unread = Unread(spec, KafkaAdmin(lambda: kafka.client(spec.servers)), Ledger(Path(spec.lost)))
    file = Path(spec.unread)
    failed = file.exists()  # the last start, for want of records; the snapshot is as good as it was
    while (verdict := unread.check(next_snapshot(spec))).gaps:
        _write(f"waiting: {listed(verdict.gaps)}")
        atomic_write(file, listed(verdict.gaps).encode())
        seen = _decisions(spec)
        for _ in clock.poll(_PAUSE_SECONDS):
            if _decisions(spec) != seen:
                break
    for note in verdict.notes():
        _write(note)
    if failed:
        attempts = Attempts.load(Path(spec.attempts))
        attempts.counts = {}
        attempts.save(Path(spec.attempts))
    unread.remember(verdict)
    file.unlink(missing_ok=True)
    return verdict.moves


def _decisions(spec: Spec) -> tuple[bool, bool, int]:
    lost = Path(spec.lost)
    return Path(spec.fresh).exists(), Path(spec.unread).exists(), lost.stat().st_mtime_ns if lost.exists() else 0


def main(spec_file: Path) -> None:
    """Clean up, choose, and become the JVM."""
    spec = Spec.from_json(spec_file.read_text(encoding="utf-8"))
    wait_for_kafka(spec.servers, Clock())
    shutil.rmtree(spec.tmp, ignore_errors=True)
    Path(spec.tmp).mkdir(parents=True, exist_ok=True)
    moves = wait_for_consent(spec, Clock())
    snapshot = choose(spec, time.time_ns())
    _write(f"starting from {snapshot or 'the beginning of the topics'}")
    line = class_data.resolved(command(spec, snapshot, moves))
    os.execv(line[0], line)  # noqa: S606 - to become the JVM is the purpose


def _write(text: str) -> None:
    sys.stdout.write(f"flink_launcher: {text}\n")
    sys.stdout.flush()


def _complete(folder: Path) -> Iterator[tuple[int, Path]]:
    for metadata in folder.rglob("_metadata"):
        try:
            yield metadata.stat().st_mtime_ns, metadata.parent
        except FileNotFoundError:
            continue  # Flink removed it meanwhile


if __name__ == "__main__":
    main(Path(sys.argv[1]))
