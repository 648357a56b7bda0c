"""One dead letter for people, for programs, and as its bytes alone."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fraudctl import tables
from fraudctl.pipeline.text import iso
from fraudctl.services.dead_letters import excerpts
from fraudctl.services.dead_letters.by import Source
from fraudctl.services.dead_letters.letters import INPUTS, MOST_REDRIVES, REDRIVE_COUNT, REDRIVE_OF, Letter
from fraudctl.services.record_fields import header_texts, text

_NEVER_SHOWN: Final = frozenset({REDRIVE_OF, REDRIVE_COUNT})


def document(letter: Letter) -> dict[str, Any]:
    """Return all of it; ``error_at`` and ``error_bytes`` say from which byte on, counted from 0, how many are wrong."""
    found = letter.wrong(letter.value)
    span = found[1] if found is not None else None
    return {
        **letter.document(),
        "error_at": span and span.start,
        "error_bytes": span and span.end - span.start,
    }


def facts(letter: Letter) -> dict[str, Any]:
    """Return what is known of a letter beside its bytes, for people."""
    headers = {name: value for name, value in header_texts(letter.headers).items() if name not in _NEVER_SHOWN}
    redriven = ""
    if letter.redrives:
        times = "once" if letter.redrives == 1 else f"{letter.redrives} times"
        parked = ", so it is parked" if letter.redrives >= MOST_REDRIVES else ""
        redriven = f"{times}, from {letter.redrive_of}{parked}"
    found = {
        "dead letter": letter.full_name,
        "set aside": iso(letter.at),
        "error": letter.error,
        "source": letter.source,
        "published": letter.published,
        "key": text(letter.key),
        "headers": headers,
        "redriven": redriven,
        "value": "null" if letter.value is None else tables.plural(len(letter.value), "byte"),
    }
    return {name: value for name, value in found.items() if value not in (None, "", {})}


def lines(letter: Letter) -> list[str]:
    """Return the bytes with carets below what is wrong."""
    if not letter.value:
        return []
    found = letter.wrong(letter.value)
    return excerpts.lines(letter.value, found[1] if found is not None else None)


def next_step(letter: Letter, source: Source) -> str:
    """Return what can be done about it."""
    if source is Source.ON_FAILURE:
        if letter.wrong(letter.value) is not None:
            return "It is no detection: whoever writes to processed_topic has to be stopped."
        return f"Next: `fraudctl dead-letters redrive {letter.name} --from on-failure`."
    if letter.topic not in INPUTS:
        return "It names no topic that the application reads, so there is no way back for it."
    parked = " --parked" if letter.redrives >= MOST_REDRIVES else ""
    edit = " --edit" if letter.wrong(letter.value) is not None else ""
    return f"Next: `fraudctl dead-letters redrive {letter.name}{edit}{parked}`."


class Raw:
    """A letter's bytes alone, and for a terminal its lines; what the renderer takes for items that come in batches."""

    columns: Sequence[str] = ()

    @staticmethod
    def raw(batch: Sequence[Letter]) -> bytes:
        """Return the bytes, without a line end behind them."""
        return b"".join(letter.value or b"" for letter in batch)

    json = raw

    @staticmethod
    def row(letter: Letter) -> Mapping[str, Any]:
        """Return no cells: there are no columns."""
        del letter
        return {}

    @staticmethod
    def people(batch: Sequence[Letter]) -> Iterable[str]:
        """Return the lines that a terminal gets, which obeys nothing of them."""
        return [line for letter in batch for line in lines(letter)]
