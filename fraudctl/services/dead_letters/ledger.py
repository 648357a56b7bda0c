"""Which dead letters were sent again before: told by what lies in the topics that they were sent to.

A record that is sent again names its letter in its header ``redrive-of``. So it is itself the note that it was sent:
nothing else has to be kept, a command that is killed leaves nothing half done, and whoever asks, from wherever, is told
the same. A letter can only have been sent again after it was set aside, so reading begins there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fraudctl.pipeline import topics
from fraudctl.pipeline.reader import Records as Columns
from fraudctl.services.dead_letters.letters import REDRIVE_OF, Letter, Place, letter_of
from fraudctl.target import From, Range, Records, TopicInfo

# Letters are dated by the application's clock, the topics by the brokers'.
_CLOCKS_DIFFER_MS: Final = 60_000
_NEVER: Final = 2**63


@dataclass(frozen=True, slots=True)
class Sent:
    """Where a letter lies that was sent again."""

    topic: str
    place: Place


class Ledger:
    """What was sent again to some topics; asked again, it reads only what came since."""

    def __init__(self, records: Records) -> None:
        """Begin without having read anything; no I/O."""
        self._records = records
        self._positions: dict[str, dict[int, int]] = {}
        self._firsts: dict[str, dict[int, tuple[int, int]]] = {}
        self.sent: dict[str, Sent] = {}

    def look(self, topic: str, since: int | None = None) -> Iterator[int]:
        """Read a topic from where the last look ended, or else from a time on; yields how much was read so far.

        Raises `NotDeployed` and `Unreachable`.
        """
        known = self._positions.setdefault(topic, {})
        keep = _Redriven(self._firsts.setdefault(topic, {}))
        start = None if since is None else max(0, since - _CLOCKS_DIFFER_MS)
        wanted = Range(From.BEGINNING if start is None else From.TIME, since=start, follow=False, keep=keep)
        if known:
            wanted = Range(From.OFFSETS, offsets=dict(known), follow=False, keep=keep)
        for batch in self._records.batches(topic, wanted):
            for record in batch.records:
                for name, value in record.headers:
                    if name == REDRIVE_OF:
                        self.sent[(value or b"").decode(errors="replace")] = Sent(
                            topic, (record.partition, record.offset)
                        )
            known.update(batch.positions)
            yield keep.read

    def place(self, letter: Letter) -> str | None:
        """Return where a letter lies that was sent again, ``demo_transactions/0:7``; None for any other."""
        sent = self.sent.get(letter.full_name)
        return None if sent is None else "{}/{}:{}".format(sent.topic, *sent.place)

    def forgotten_before(self, info: TopicInfo) -> int:
        """Return the time (epoch milliseconds) before which nobody knows what was sent: Kafka has deleted it.

        0 where nothing that was read has been deleted.
        """
        found = 0
        for partition in info.partitions:
            if not partition.earliest:
                continue
            offset, at = self._firsts.get(info.name, {}).get(partition.partition, (-1, 0))
            if partition.earliest == partition.latest:
                found = _NEVER
            elif offset == partition.earliest:
                found = max(found, at)
        return found


class _Redriven:
    """Keeps records that were sent again; notes the first record of each partition, kept or not."""

    def __init__(self, firsts: dict[int, tuple[int, int]]) -> None:
        self._firsts = firsts
        self.read = 0

    def __call__(self, records: Columns) -> Sequence[int]:
        self.read += len(records)
        partitions = records.partitions()
        for partition in set(partitions) - self._firsts.keys():
            at = partitions.index(partition)
            self._firsts[partition] = records.offsets()[at], records.timestamps()[at] or 0
        # Most have no headers at all.
        return [i for i, found in enumerate(records.headers()) if found and any(n == REDRIVE_OF for n, _ in found)]


class Returned:
    """Letters that were sent again and set aside once more; asked again, it reads only what came since."""

    def __init__(self, records: Records, positions: dict[int, int]) -> None:
        """Store from where on in dead_letters to look; no I/O."""
        self._records, self._positions = records, dict(positions)
        self.letters: dict[str, Letter] = {}

    def look(self, note: Callable[[Letter], None] = lambda _: None) -> None:
        """Read on; raises as `Ledger.look` does."""
        start = Range(From.OFFSETS, offsets=dict(self._positions), follow=False)
        for batch in self._records.batches(topics.DEAD_LETTERS.name, start if self._positions else _FROM_THE_BEGINNING):
            for record in batch.records:
                letter = letter_of(record)
                if (of := letter.redrive_of) is not None:
                    self.letters[of] = letter
                    note(letter)
            self._positions.update(batch.positions)


_FROM_THE_BEGINNING: Final = Range(From.BEGINNING, follow=False)
