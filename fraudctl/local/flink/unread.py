"""What the application would not read if it started now: its positions, from its state, against Kafka's topics."""

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fraudctl.atomic import atomic_write
from fraudctl.clock import Clock
from fraudctl.errors import OperationFailed, Unreachable
from fraudctl.local.clients import JsonClient
from fraudctl.local.flink import snapshots
from fraudctl.local.kafka.admin import KafkaAdmin
from fraudctl.local.kafka.unread import Gap, Ledger, Place, compare
from fraudctl.services.kafka_errors import translated

AUDIT_WRITER: Final = "AuditWriter"
_READER: Final = "io.fraudctl.flink.Positions"
_READ_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a start would go: `gaps` stand against it, `moves` go on elsewhere than the state says.

    `anew` are topics that were deleted and created anew since the last start, `cut` those that end before the state's
    position: both are read from their beginning. `ids` are the topics' ids now. `begun` is where a start without state
    began, the first one if no offsets were committed since.
    """

    gaps: tuple[Gap, ...]
    moves: Mapping[Place, tuple[int, int]]
    anew: tuple[str, ...]
    cut: tuple[str, ...]
    ids: Mapping[str, str]
    begun: Mapping[Place, int] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """Return a sentence for each topic that is read from its beginning."""
        return [f"{topic} was deleted and created anew; it is read from its beginning" for topic in self.anew] + [
            f"{topic} has lost its last records; it is read again from its beginning" for topic in self.cut
        ]


class Unread:
    """Compares; `spec` is what the launcher starts, `admin` asks its broker, `ledger` has what is accepted."""

    def __init__(self, spec: snapshots.Spec, admin: KafkaAdmin, ledger: Ledger) -> None:
        """Store them; no I/O."""
        self._spec, self._admin, self._ledger = spec, admin, ledger

    def check(self, snapshot: Path | None) -> Verdict:
        """Judge a start from a snapshot, or from no state; raises KafkaException.

        The state is read, by a JVM of a second, only where something may be missing. Without state the application
        reads from the beginning, and what it has not read yet lies behind the offsets that its group has committed; as
        long as it has committed none, behind the place where it first began.
        """
        spec, admin = self._spec, self._admin
        ids = admin.topic_ids(spec.topics)
        before = _load(Path(spec.topic_ids))
        anew = tuple(sorted(topic for topic, known in ids.items() if before.get(topic, known) != known))
        existing = admin.topics()
        places = [(topic, number) for topic in ids for number in existing.get(topic, ())]
        earliest = admin.offsets(places, latest=False)
        before_any = {place: at for place, at in _places(_load(Path(spec.begun))) if place[0] not in anew}
        begun = {} if snapshot is not None else {**earliest, **before_any}
        if not (anew or any(earliest.values()) or Path(spec.unread).exists()):
            return Verdict((), {}, (), (), ids, begun)
        found = admin.committed(spec.group) if snapshot is None else self._positions(snapshot)
        positions = {place: at for place, at in found.items() if place in earliest and at >= 0}
        if snapshot is None:
            positions = {**{place: at for place, at in before_any.items() if place in earliest}, **positions}
        kept = {place: at for place, at in positions.items() if place[0] not in anew}
        behind = compare(admin, self._ledger, spec.group, kept)
        if snapshot is None:
            return Verdict(behind.gaps, {}, anew, (), ids, begun)
        latest = admin.offsets(places, latest=True)
        beyond = {place for place, at in kept.items() if at > latest[place]}
        again = {place: (at, earliest[place]) for place, at in positions.items() if place[0] in anew or place in beyond}
        cut = tuple(sorted({topic for topic, _ in beyond}))
        return Verdict(behind.gaps, {**behind.moves, **again}, anew, cut, ids)

    def remember(self, verdict: Verdict) -> None:
        """Note which topics the application is started with, and where it begins if it has no state."""
        atomic_write(Path(self._spec.topic_ids), json.dumps(dict(verdict.ids)).encode())
        if verdict.begun:
            begun = {f"{topic}/{number}": str(at) for (topic, number), at in verdict.begun.items()}
            atomic_write(Path(self._spec.begun), json.dumps(begun).encode())

    def _positions(self, snapshot: Path) -> dict[Place, int]:
        """Return no positions of a snapshot that cannot be read: the application then fails with it, or by name."""
        try:
            return positions_of(self._spec, snapshot)
        except OperationFailed:
            return {}


class Guard:
    """Refuses to start a stack's application where it, or AuditWriter, would pass over records that are gone."""

    def __init__(
        self,
        spec_file: Path,
        admin: KafkaAdmin,
        ledger: Ledger,
        runner: JsonClient,
        *,
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        """Store the collaborators; no I/O. `runner` is the function runner: its mapping knows what AuditWriter lost."""
        self._spec_file, self._admin, self._ledger = spec_file, admin, ledger
        self._runner, self._clock = runner, clock

    def check(self, *, fresh: bool, running: bool) -> tuple[Gap, ...]:
        """Return what would be passed over; of a `running` application only what AuditWriter would.

        Raises `Unreachable` when Kafka does not answer.
        """
        with translated("kafka"):
            return (*(() if running else self._application(fresh=fresh)), *self._audit_writer())

    def accept(self, gaps: Iterable[Gap]) -> None:
        """Record the gaps as lost, and let whoever waits for that go on."""
        gaps = tuple(gaps)
        writer = {gap for gap in gaps if gap.reader == AUDIT_WRITER}
        if writer:
            self._runner.post("/_fraudctl/mapping/accept-loss")
        if writer != set(gaps):
            atomic_write(Path(self._spec().unread), b"")  # tells the launcher to look into the state
        self._ledger.record(gaps, int(self._clock.now() * 1000))

    def waits(self) -> str | None:
        """Return why the launcher waits instead of starting the application; None when it does not."""
        spec = self._spec_or_none()
        return waiting(Path(spec.unread)) if spec and spec.unread else None

    def _application(self, *, fresh: bool) -> tuple[Gap, ...]:
        spec = self._spec_or_none()
        if spec is None:
            return ()
        return Unread(spec, self._admin, self._ledger).check(None if fresh else snapshots.next_snapshot(spec)).gaps

    def _audit_writer(self) -> tuple[Gap, ...]:
        """Return what the mapping waits for; nothing when the function runner does not answer, which `status` says."""
        try:
            mapping = self._runner.get("/_fraudctl/status").get("mapping") or {}
        except (Unreachable, OperationFailed):
            return ()
        losses = mapping.get("losses") or ()
        ids = self._admin.topic_ids({str(loss["topic"]) for loss in losses})
        return tuple(
            Gap(
                AUDIT_WRITER,
                str(loss["topic"]),
                ids.get(loss["topic"], ""),
                loss["partition"],
                loss["from"],
                loss["to"],
            )
            for loss in losses
        )

    def _spec_or_none(self) -> snapshots.Spec | None:
        try:
            return self._spec()
        except FileNotFoundError:
            return None

    def _spec(self) -> snapshots.Spec:
        return snapshots.Spec.from_json(self._spec_file.read_text(encoding="utf-8"))


def waiting(file: Path) -> str | None:
    """Return which records keep the application from starting; None when none do.

    An empty file stands for something that the launcher has yet to look into.
    """
    try:
        return file.read_text(encoding="utf-8") or None
    except FileNotFoundError:
        return None


def positions_of(spec: snapshots.Spec, snapshot: Path) -> dict[Place, int]:
    """Return the next offset of each partition from a snapshot's own data; negative: from the beginning.

    Committed offsets would be cheaper, but they belong to the newest snapshot, and a stop may lose the last of them.
    Raises `OperationFailed` for a snapshot that cannot be read.
    """
    line = [spec.java, "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", spec.classpath]
    line += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", _READER, str(snapshot)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=_READ_SECONDS, check=True)
        words = [text.rsplit(" ", 2) for text in done.stdout.splitlines()]
        return {(topic, int(partition)): int(offset) for topic, partition, offset in words}
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise OperationFailed(
            f"{snapshot.name}: its positions cannot be read: {said[0] if said else error}",
            hint="run `fraudctl flink savepoints` for the others",
        ) from error


def _places(begun: Mapping[str, str]) -> Iterator[tuple[Place, int]]:
    for place, at in begun.items():
        topic, _, number = place.rpartition("/")
        if number.isdecimal() and at.isdecimal():
            yield (topic, int(number)), int(at)


def _load(path: Path) -> dict[str, str]:
    try:
        return {str(topic): str(known) for topic, known in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, AttributeError):
        return {}
