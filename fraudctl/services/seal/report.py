"""What sealing, and comparing rows with seals, say to people and to programs."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from fraudctl import tables
from fraudctl.errors import NotAsAsked
from fraudctl.pipeline.text import iso
from fraudctl.services.seal import sealing
from fraudctl.services.seal.check import Case, Fault, Result
from fraudctl.tables import Column

SEALED_COLUMNS: Final = (
    Column("since", text=tables.short_time),
    Column("until", text=tables.short_time),
    Column("rows", text=tables.count),
    Column("amount", text=tables.money),
    Column("ok", text=tables.count),
    *(Column(word.value, drop=2) for word in sealing.WORDS if word.value not in {"ok", "unknown"}),
    Column("unknown", text=tables.count, drop=1),
    Column("manifests", drop=3),
)
MANIFEST_COLUMNS: Final = (
    Column("state", style=lambda _: "red"),
    Column("manifest"),
    Column("why", wrap=True),
    Column("since", text=tables.short_time, drop=2),
    Column("rows", drop=1),
)
DIFFERING_COLUMNS: Final = (
    Column("manifest"),
    Column("rows_sealed", text=tables.count),
    Column("rows_found", text=tables.count),
    Column("amount_sealed", text=tables.money),
    Column("amount_found", text=tables.money),
    Column("why", wrap=True, drop=1),
)
CASE_COLUMNS: Final = (
    Column("verdict", style=lambda _: "red"),
    Column("account_id"),
    Column("transaction_date", text=tables.short_time),
    Column("transaction_id", text=tables.prefix),
    Column("processed", drop=1),
    Column("why", wrap=True),
    Column("window", text=tables.short_time, drop=2),
)
ELSEWHERE: Final = (
    "This proves something only as long as who can change the table cannot change the seals: keep them elsewhere, "
    "or under S3 Object Lock."
)


def sealed_notes(result: sealing.Result, place: str) -> list[str]:
    """Return what is said below the windows that were sealed."""
    found = []
    if result.began is not None and result.windows:
        before = f"; {tables.plural(result.before, 'row')} lie before that" if result.before else ""
        found.append(f"The seals begin at {iso(result.began)}{before}.")
    if result.windows:
        manifests = sum(window.manifests for window in result.windows)
        found.append(
            f"Sealed through {iso(result.through)}: {tables.plural(manifests, 'manifest')} written to {place}."
        )
        unknown = sum(window.verify["unknown"] for window in result.windows)
        if unknown:
            found.append(
                f"Of {tables.plural(unknown, 'row')} Kafka has no evidence any more; they are sealed as they are."
            )
        found.append(ELSEWHERE)
    if result.closes is None:
        return [*found, "No detections yet: there is nothing to seal."]
    if result.faulty is None:
        why = f"{result.open_because}; " if result.open_because else ""
        found.append(f"The next window is open: {why}it closes at {iso(result.closes)} at the earliest.")
    return found


def check_sealed(result: sealing.Result) -> None:
    """Raise `NotAsAsked` when a window was not sealed because of its faults."""
    if result.faulty is not None:
        named = ", ".join(f"{number:,} {word}" for word, number in result.faults.items())
        raise NotAsAsked(
            f"audit seal: the window from {iso(result.faulty)} on is not sealed: {named}",
            hint="see `fraudctl audit verify`; to seal it as it is, add --with-faults, which its manifests record",
        )


def cases(result: Result, limit: int) -> list[Case]:
    """Return at most so many rows of each kind that are not as sealed."""
    seen: Counter[Fault] = Counter()
    found = []
    for case in result.cases:
        seen[case.fault] += 1
        if seen[case.fault] <= limit:
            found.append(case)
    return found


def document(result: Result, limit: int) -> dict[str, Any]:
    """Return everything as one JSON object; times are ISO dates, or null."""
    counts = Counter(case.fault for case in result.cases)
    begins, ends = result.found or (None, None)
    return {
        "asked_since": iso(result.since),
        "asked_until": iso(result.until),
        "found_since": iso(begins),
        "found_until": iso(ends),
        "manifests": result.chains.number,
        "manifests_valid": result.chains.valid,
        "windows": result.windows,
        "windows_same": result.same,
        "rows": result.rows,
        **{fault.value: counts[fault] for fault in Fault},
        "rows_before": result.before,
        "rows_before_sealed": result.before_sealed,
        "verify": dict(result.verify),
        "unsure": result.unsure,
        "manifests_bad": [one.cells() for one in result.chains.bad],
        "files_without_manifest": result.chains.strays,
        "files_altered": result.altered,
        "differing": [one.cells() for one in result.differing],
        "cases": [case.cells() for case in cases(result, limit)],
    }


def notes(result: Result, limit: int, now: int | None) -> list[str]:
    """Return what is said below; `now` in epoch milliseconds tells how long ago the seals end, None says nothing."""
    chains = result.chains
    asked = _span(result.since, result.until, "everything")
    found = _span(*result.found, "") if result.found else "nothing"
    valid = f"{chains.valid:,} of {tables.plural(chains.number, 'manifest')} valid"
    same = f"{result.same:,} of them with their rows as sealed"
    lines = [f"Asked for {asked}, found {found}: {valid}, {same}, {tables.plural(result.rows, 'row')} compared."]
    lines += [
        f"{name}: no manifest refers to it; was sealing interrupted, or a manifest removed?" for name in chains.strays
    ]
    lines += [f"{name}: not what the file's own sums say." for name in result.altered]
    if result.before != result.before_sealed:
        then = tables.plural(result.before_sealed or 0, "row")
        lines.append(f"Before the first window: {then} when it was sealed, {result.before:,} now.")
    if unread := [one for one in chains.bad if one.manifest is None]:
        number = tables.plural(sum(one.number for one in unread), "manifest")
        lines.append(f"Rows that belong to {number} could not be compared.")
    lines += [f"Not known: {text}." for text in result.unsure]
    faults = {word: number for word, number in result.verify.items() if word in sealing.BAD and number}
    if faults or result.verify["unknown"]:
        lines.append(f"When they were sealed, `audit verify` said of these windows: {_counted(faults, result.verify)}.")
    hidden = len(result.cases) - len(cases(result, limit))
    if hidden:
        lines.append(f"{tables.plural(hidden, 'further row')} not shown; see --limit.")
    ends = chains.ends()
    if now is not None and ends is not None and result.until is None:
        lines.append(
            f"Not sealed yet: what was detected from {iso(ends[1])} on, {tables.duration(max(0, now - ends[1]))}."
        )
    return [*lines, ELSEWHERE]


def check(result: Result, *, allow_unknown: bool) -> None:
    """Raise `NotAsAsked` for what is not as sealed, and for what cannot be told unless that is allowed."""
    if result.faults:
        counts = Counter(case.fault.value for case in result.cases)
        told = [f"{counts[fault.value]:,} {fault.value}" for fault in Fault if counts[fault.value]]
        rows = (
            f"{_rows(counts.total())} {', '.join(told)}" if told else "rows as sealed, as far as they could be compared"
        )
        valid = f"{result.chains.valid:,} of {tables.plural(result.chains.number, 'manifest')} valid"
        raise NotAsAsked(
            f"audit verify: {valid}; {rows}",
            hint="look at one of them: `fraudctl audit show TRANSACTION`; if `audit seal` was interrupted, repeat it",
        )
    if result.unsure and not allow_unknown:
        raise NotAsAsked(
            "audit verify: not everything that was asked for is sealed",
            hint="ask for less with --since and --until, or add --allow-unknown",
        )


def _rows(number: int) -> str:
    return "row:" if number == 1 else "rows:"


def _counted(faults: Mapping[str, int], words: Mapping[str, int]) -> str:
    found = {**faults, **({"unknown": words["unknown"]} if words["unknown"] else {})}
    return ", ".join(f"{number:,} {word}" for word, number in found.items())


def _span(since: int | None, until: int | None, whole: str) -> str:
    parts = [f"from {iso(since)}" if since is not None else "", f"to {iso(until)}" if until is not None else ""]
    return " ".join(part for part in parts if part) or whole
