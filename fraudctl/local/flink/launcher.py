"""``python -P -m fraudctl.local.flink.launcher SPEC.json``: start the Flink application from its newest state.

The supervisor runs this instead of Java. It empties the application's folder for temporary files (each start of Flink
leaves 24 MB there), picks the newest complete checkpoint or savepoint, waits while records that it needs were deleted
unread and nobody has accepted that, and then becomes the JVM.
"""

import os
import shutil
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fraudctl.atomic import atomic_write
from fraudctl.clock import Clock
from fraudctl.local.flink.snapshots import Attempts, Spec, choose, next_snapshot
from fraudctl.local.processes import class_data

if TYPE_CHECKING:
    from fraudctl.local.kafka.unread import Place

_PAUSE_SECONDS: Final = 0.2
# The program argument that carries the snapshot.
_RECOVERY_PATH: Final = "flink.execution.state-recovery.path"


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


if __name__ == "__main__":
    main(Path(sys.argv[1]))
