"""The stages of the pipeline by time: where what had to be detected has got to, and the first bucket that differs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from fraudctl import tables
from fraudctl.errors import BadConfig
from fraudctl.pipeline.dates import date_milliseconds
from fraudctl.pipeline.text import iso
from fraudctl.services import time_options
from fraudctl.services.verify.evidence import Evidence
from fraudctl.services.verify.verdicts import FAULTS, Case, Word
from fraudctl.tables import Column

STAGES: Final = ("in", "should", "processed", "table", "dead")
COLUMNS: Final = (
    Column("time", text=tables.short_time),
    *(Column(stage, text=tables.count) for stage in STAGES),
    Column("differs", style=lambda text: "red" if text else ""),
)
_SHORTEST_MS: Final = 1000
_WORDS: Final = tuple(word for word in Word if word in FAULTS)


def width(text: str) -> int:
    """Return how long a bucket is, in milliseconds; raises `BadConfig`."""
    found = time_options.duration(text, "--by")
    if found < _SHORTEST_MS:
        raise BadConfig(f"--by {text}: shorter than a second", hint="write 10m for ten minutes")
    return found


class Buckets:
    """Counts of each stage by the time at which the transaction was published.

    `in` are the transactions, `should` those that have to be detected, or may be and are; `processed` and `table` those
    of them, or of any others, that are there; `dead` lie in the on-failure destination instead of the table.
    """

    def __init__(self, width: int) -> None:
        """Start without counts; `width` in milliseconds."""
        self._width = width
        self._counts: dict[str, Counter[int]] = {name: Counter() for name in (*STAGES, *_WORDS)}

    def read(self, times: Iterable[int]) -> None:
        """Count transactions by the times of their publishing."""
        width = self._width
        self._counts["in"].update([at // width for at in times])

    def judged(self, found: Evidence, case: Case) -> None:
        """Count a transaction that had to be detected, or was."""
        bucket = self._bucket(found.sent[0].published if found.sent else None, case)
        claimed = bool(found.processed or found.rows or found.failed)
        must = any(None not in sent.flags for sent in found.sent)
        may = any(set(sent.flags) != {None} for sent in found.sent)
        self._counts["should"][bucket] += must or (may and claimed)
        self._counts["processed"][bucket] += bool(found.processed)
        self._counts["table"][bucket] += bool(found.rows)
        self._counts["dead"][bucket] += bool(found.failed and not found.rows)
        if case.word in FAULTS:
            self._counts[case.word.value][bucket] += 1

    def arrived(self, cases: Iterable[Case]) -> None:
        """Take back what seemed lost and was only late."""
        for case in cases:
            self._counts[Word.LOST.value][self._bucket(case.published, case)] -= 1

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each bucket with anything in it; `first` is set in the first one with a fault."""
        numbers = sorted({bucket for counts in self._counts.values() for bucket, count in counts.items() if count})
        found = []
        first = True
        for number in numbers:
            faults = [f"{count:,} {word.value}" for word in _WORDS if (count := self._counts[word.value][number])]
            found.append(
                {
                    "time": iso(number * self._width),
                    **{stage: self._counts[stage][number] for stage in STAGES},
                    "differs": ", ".join(faults),
                    "first": first and bool(faults),
                }
            )
            first = first and not faults
        return found

    def counted(self) -> dict[str, dict[int, int]]:
        """Return the counts as JSON can keep them."""
        return {name: dict(counts) for name, counts in self._counts.items()}

    def restore(self, kept: dict[str, dict[str, int]]) -> None:
        """Take over what was counted before an interruption."""
        for name, counts in kept.items():
            self._counts[name] = Counter({int(bucket): count for bucket, count in counts.items()})

    def _bucket(self, published: int | None, case: Case) -> int:
        if published is None:
            try:
                published = date_milliseconds(case.identity[1])
            except ValueError:
                published = 0
        return published // self._width


def people(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows as people read them: the first that differs says so."""
    return [{**row, "differs": f"{row['differs']}  ← first" if row["first"] else row["differs"]} for row in rows]
