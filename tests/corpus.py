"""The corpus of records and of what is malformed: see tests/data/README.md."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parent / "data" / "records.jsonl"


@dataclass(frozen=True)
class Line:
    """One line of the corpus."""

    name: str
    topic: str
    value: bytes | None
    verdict: str


def corpus() -> Iterator[Line]:
    """Read the corpus as tests/data/README.md describes it."""
    for line in CORPUS.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if repeat := entry.get("repeat"):
            prefix, unit, suffix = (base64.b64decode(repeat[f"{part}_base64"]) for part in ("prefix", "unit", "suffix"))
            value = prefix + unit * repeat["times"] + suffix
        else:
            value = None if entry["value_base64"] is None else base64.b64decode(entry["value_base64"])
        yield Line(entry["name"], entry["topic"], value, entry["verdict"])


LINES = list(corpus())
