"""What a reconciliation says to people and to programs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fraudctl import tables
from fraudctl.errors import NotAsAsked
from fraudctl.pipeline import topics
from fraudctl.pipeline.text import iso
from fraudctl.services.verify.evidence import Place
from fraudctl.services.verify.reconcile import Result
from fraudctl.services.verify.verdicts import FAULTS, Case, Word
from fraudctl.tables import Column

_MEANING: Final = {
    Word.OK: "detected, and in the table once, as the topics say",
    Word.RECOVERED: "detected; in the on-failure destination instead of the table",
    Word.LOST: "had to be detected, and is not in the table",
    Word.UNEXPECTED: "detected, and had not to be",
    Word.DIFFERENT: "detected, but the topics say something else of it",
    Word.RACE: "not detected, as the order of reading allows",
    Word.IN_FLIGHT: "not decided yet, or on its way",
    Word.UNKNOWN: "Kafka has deleted what it would be judged by",
}
_STYLES: Final = {Word.OK: "green", **dict.fromkeys(FAULTS, "red"), Word.UNKNOWN: "yellow", Word.RECOVERED: "yellow"}
SUMMARY_COLUMNS: Final = (
    Column("verdict", style=lambda word: _STYLES.get(Word(word), "")),
    Column("transactions", text=tables.count),
    Column("meaning", wrap=True),
)
CASE_COLUMNS: Final = (
    Column("verdict", style=lambda word: _STYLES.get(Word(word), "")),
    Column("account_id"),
    Column("transaction_date", text=tables.short_time),
    Column("transaction_id", text=tables.prefix),
    Column("why", wrap=True),
    Column("transaction", drop=1),
    Column("processed", drop=2),
    Column("flag", drop=3),
    Column("row", drop=4),
)
# What is listed: faults first, then what to look at; what is in flight or a race is only counted.
_LISTED: Final = (Word.LOST, Word.UNEXPECTED, Word.DIFFERENT, Word.RECOVERED, Word.UNKNOWN, Word.RACE)


def summary(result: Result) -> list[dict[str, Any]]:
    """Return a row for each verdict that occurs, and for those that should not, in any case."""
    always = {Word.OK, Word.LOST, Word.UNEXPECTED, Word.DIFFERENT}
    return [
        {"verdict": word.value, "transactions": result.counts[word], "meaning": _MEANING[word]}
        for word in Word
        if word in always or result.counts[word]
    ]


def cases(result: Result, limit: int) -> list[dict[str, Any]]:
    """Return at most so many cases of each verdict that is listed, with their evidence."""
    seen: Counter[Word] = Counter()
    found = []
    for case in sorted(
        (case for case in result.cases if case.word in _LISTED), key=lambda case: _LISTED.index(case.word)
    ):
        seen[case.word] += 1
        if seen[case.word] <= limit:
            found.append(row(case))
    return found


def document(result: Result, listed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return everything as one JSON object; times are ISO dates, or null."""
    return {
        "attempted": result.attempted,
        **{word.value.replace(" ", "_"): result.counts[word] for word in Word},
        "duplicated": result.copies,
        "transactions_read": result.transactions,
        "since": iso(result.since),
        "until": iso(result.until),
        "evidence_from": iso(result.evidence_from),
        "through": iso(result.through),
        "gaps": result.gaps,
        **({} if result.buckets is None else {"buckets": result.buckets.rows()}),
        "cases": list(listed),
    }


def notes(result: Result, limit: int) -> list[str]:
    """Return what is said below."""
    found = [f"Coverage: {gap}." for gap in result.gaps]
    if result.through is None:
        found.append("What is missing cannot be told yet: the Flink application has not completed a checkpoint.")
    else:
        read = tables.plural(result.transactions, "transaction")
        found.append(f"Verified {read} through {iso(result.through)}: {result.attempted:,} had to be detected.")
    if result.copies:
        found.append(
            f"{tables.plural(result.copies, 'detection')} in {topics.PROCESSED.name} more than once, which a restart "
            "may do; the table has each once."
        )
    hidden = sum(max(0, result.counts[word] - limit) for word in _LISTED)
    if hidden:
        found.append(f"{tables.plural(hidden, 'further case')} not shown; see --limit.")
    return found


def check(result: Result, *, allow_unknown: bool) -> None:
    """Raise `NotAsAsked` for faults, and for what could not be checked unless that is allowed."""
    if result.faults:
        named = ", ".join(
            f"{result.counts[word]:,} {word.value}" for word in Word if word in FAULTS and result.counts[word]
        )
        raise NotAsAsked(
            f"audit verify: {named}",
            hint="look at one of them: `fraudctl audit show TRANSACTION`, and at `fraudctl status`",
        )
    if result.unknown and not allow_unknown:
        raise NotAsAsked(
            "audit verify: not everything could be checked",
            hint="ask for less with --since, or add --allow-unknown",
        )


def row(case: Case) -> dict[str, Any]:
    """Return a case with its evidence."""
    account, date, transaction = case.identity
    return {
        "verdict": case.word.value,
        "account_id": account,
        "transaction_date": date,
        "transaction_id": transaction,
        "why": case.why,
        "transaction": _named(topics.TRANSACTIONS.name, case.transaction),
        "processed": _named(topics.PROCESSED.name, case.processed),
        "flag": _named(topics.FLAGGED.name, case.flag),
        "row": case.row,
    }


def line(case: Case) -> str:
    """Return a case as one line for people."""
    account, date, transaction = case.identity
    return f"{case.word.value}: account {account}, {date}, transaction {transaction}: {case.why}"


def _named(topic: str, place: Place | None) -> str | None:
    return None if place is None else f"{topic}/{place[0]}:{place[1]}"
