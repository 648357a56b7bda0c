"""``python -P -m fraudctl.local.flink.launcher SPEC.json``: start the Flink application from its newest state.

The supervisor runs this instead of Java. It empties the application's folder for temporary files (each start of Flink
leaves 24 MB there), picks the newest complete checkpoint or savepoint, and then becomes the JVM. Standard library only.
"""

import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Self

from fraudctl.atomic import atomic_write
from fraudctl.clock import Clock
from fraudctl.local.processes import class_data

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
    attempts = Attempts.load(Path(spec.attempts))
    fresh = Path(spec.fresh)
    if fresh.exists():
        attempts = Attempts(since=now)
    usable = [(at, path) for at, path in snapshots(spec) if at > attempts.since]
    if usable and usable[0][0] > attempts.last:
        attempts.counts = {}  # the newest start got as far as a snapshot of its own
    chosen = next((path for _, path in usable if attempts.counts.get(str(path), 0) < _ATTEMPTS), None)
    if chosen is not None:
        attempts.counts[str(chosen)] = attempts.counts.get(str(chosen), 0) + 1
    attempts.last = now
    attempts.save(Path(spec.attempts))
    fresh.unlink(missing_ok=True)  # only now: killed before this line, the next start is fresh again
    return chosen


def command(spec: Spec, snapshot: Path | None) -> list[str]:
    """Return the command line of the JVM."""
    line = [spec.java, *spec.flags, f"-Djava.io.tmpdir={spec.tmp}", "-cp", spec.classpath, spec.main_class]
    line += spec.arguments
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


def main(spec_file: Path) -> None:
    """Clean up, choose, and become the JVM."""
    spec = Spec.from_json(spec_file.read_text(encoding="utf-8"))
    wait_for_kafka(spec.servers, Clock())
    shutil.rmtree(spec.tmp, ignore_errors=True)
    Path(spec.tmp).mkdir(parents=True, exist_ok=True)
    snapshot = choose(spec, time.time_ns())
    _write(f"starting from {snapshot or 'the beginning of the topics'}")
    line = class_data.resolved(command(spec, snapshot))
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
