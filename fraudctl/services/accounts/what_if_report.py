"""What a back-test says to people and to programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from fraudctl import tables
from fraudctl.errors import BadConfig
from fraudctl.pipeline.text import iso
from fraudctl.services.accounts.found import ADDED, DETECTED, REMOVED, THEN
from fraudctl.services.accounts.what_if import Flags, Result
from fraudctl.services.flags.quick import amount
from fraudctl.tables import Column

_NAMES: Final = {DETECTED: Flags.AS_THEY_WERE, ADDED: ADDED, REMOVED: REMOVED, THEN: Flags.WITH_LIST}
_STYLES: Final = {ADDED: "green", REMOVED: "yellow"}
SUMMARY_COLUMNS: Final = (
    Column("flags", style=lambda name: _STYLES.get(name, "")),
    Column("transactions", text=tables.count),
    Column("accounts", text=tables.count),
    Column("amount", text=tables.money),
    Column("hour_p50", heading="an hour (p50)", text=tables.count),
    Column("hour_max", heading="at most", text=tables.count),
)
CHANGE_COLUMNS: Final = (
    Column("change", style=lambda name: _STYLES.get(name, "")),
    Column("account_id"),
    Column("transaction_date", text=tables.short_time),
    Column("amount", text=tables.money),
    Column("merchant_type", drop=2),
    Column("transaction_id", text=tables.prefix),
    Column("reason", wrap=True, drop=1),
)
_MATRIX: Final = (
    ("true_positives", "fraud, detected"),
    ("false_negatives", "fraud, not detected"),
    ("false_positives", "no fraud, detected"),
    ("true_negatives", "no fraud, not detected"),
)
LABEL_COLUMNS: Final = (
    Column("labelled"),
    Column(Flags.AS_THEY_WERE.value, text=tables.count),
    Column(Flags.WITH_LIST.value, text=tables.count),
)


def chosen(fields: str | None) -> Sequence[Column]:
    """Return the columns of the examples, or those that are named with commas; raises `BadConfig`."""
    if fields is None:
        return CHANGE_COLUMNS
    known = {column.name: column for column in CHANGE_COLUMNS} | {"published": Column("published")}
    names = [name.strip() for name in fields.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise BadConfig(f"--fields: {unknown[0]!r} is no column", hint=f"the columns are {', '.join(known)}")
    return [known[name] for name in names]


def summary(result: Result) -> list[dict[str, Any]]:
    """Return a row for what was detected, added and removed, and for what the list would have detected."""
    return [{"flags": _NAMES[side], **asdict(tally)} for side, tally in result.tallies.items()]


def changes(result: Result, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return the examples of what was added, then of what was removed, the largest amounts first."""
    found = (
        {
            "change": change.change,
            "account_id": change.seen.account,
            "transaction_date": iso(change.seen.date),
            "amount": amount(change.seen.cents),
            "merchant_type": change.seen.merchant,
            "transaction_id": change.seen.id,
            "reason": change.reason,
            "published": iso(change.published),
        }
        for change in result.changes
    )
    names = [column.name for column in columns]
    return [{name: row[name] for name in names} for row in found]


def labelled(result: Result) -> list[dict[str, Any]]:
    """Return the confusion matrix as rows, with precision and recall; nothing without labels."""
    if not result.confusion:
        return []
    rows: list[dict[str, Any]] = [
        {"labelled": text, **{flags.value: getattr(found, name) for flags, found in result.confusion.items()}}
        for name, text in _MATRIX
    ]
    for name in ("precision", "recall"):
        shares = {flags.value: _per_cent(getattr(found, name)) for flags, found in result.confusion.items()}
        rows.append({"labelled": name, **shares})
    return rows


def document(result: Result, listed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return everything as one JSON object; times are ISO dates, or null."""
    return {
        "transactions_read": result.transactions,
        "from": iso(result.first),
        "through": iso(result.last),
        "gaps": result.gaps,
        **{_NAMES[side].replace(" ", "_"): asdict(tally) for side, tally in result.tallies.items()},
        "labels": {
            "given": result.labels,
            "read": result.labelled,
            **{
                flags.replace(" ", "_"): {**asdict(found), "precision": found.precision, "recall": found.recall}
                for flags, found in result.confusion.items()
            },
        }
        if result.confusion
        else None,
        "examples": list(listed),
    }


def coverage(result: Result) -> list[str]:
    """Return the sentences that come first: what was read, and what could not be."""
    found = [f"Coverage: {gap}." for gap in result.gaps]
    if not result.transactions:
        return [*found, "Coverage: no transactions were published in this time."]
    read = tables.plural(result.transactions, "transaction")
    found.append(f"Coverage: {read}, published from {iso(result.first)} through {iso(result.last)}.")
    return found


def notes(result: Result) -> list[str]:
    """Return what is said below."""
    found = []
    hidden = sum(result.tallies[side].transactions for side in (ADDED, REMOVED)) - len(result.changes)
    if result.changes and hidden:
        found.append(f"The largest amounts; {tables.plural(hidden, 'transaction')} more: see --limit.")
    if result.confusion and result.labelled < result.labels:
        missing = tables.plural(result.labels - result.labelled, "label")
        found.append(f"{missing} of transactions that were not read, left out.")
    return found


def _per_cent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} %"
