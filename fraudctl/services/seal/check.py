"""Compare rows with the manifests that sealed them: what was changed, deleted or added since."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from fraudctl import tables
from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, NotDeployed
from fraudctl.pipeline import topics
from fraudctl.pipeline.text import iso
from fraudctl.services.seal import canonical
from fraudctl.services.seal.archive import Archive
from fraudctl.services.seal.canonical import NO_PLACE, Identity, Line
from fraudctl.services.seal.chains import Chains, loading
from fraudctl.services.seal.manifest import LIST_NAME, Broken, Entry, Manifest, entries
from fraudctl.services.seal.rows import Rows
from fraudctl.target import Event, Phase

_SHOWN_EVERY_SECONDS: Final = 0.5
_LOOKED_FOR: Final = 10_000  # rows that seem deleted and are looked for in the table itself


class Fault(StrEnum):
    """What became of a row since it was sealed."""

    CHANGED = "changed"
    DELETED = "deleted"
    ADDED = "added"


@dataclass(frozen=True, slots=True)
class Case:
    """A row that is not as sealed; `since` is its window, in epoch milliseconds, None for one that has none."""

    fault: Fault
    identity: Identity
    partition: int
    offset: int
    since: int | None
    why: str = ""

    def cells(self) -> dict[str, Any]:
        """Return it as a row for people and programs."""
        account, date, transaction = self.identity
        place = None if NO_PLACE in {self.partition, self.offset} else f"{topics.PROCESSED.name}/"
        return {
            "verdict": self.fault.value,
            "account_id": account,
            "transaction_date": date,
            "transaction_id": transaction,
            "processed": place and f"{place}{self.partition}:{self.offset}",
            "window": iso(self.since),
            "why": self.why or None,
        }


@dataclass(frozen=True, slots=True)
class Differing:
    """A manifest whose rows are other ones now: how many and what sum were sealed, and are there; `why` if no list."""

    name: str
    sealed: int
    found: int
    sealed_amount: Decimal
    found_amount: Decimal
    why: str = ""

    def cells(self) -> dict[str, Any]:
        """Return it as a row for people and programs."""
        return {
            "manifest": self.name,
            "rows_sealed": self.sealed,
            "rows_found": self.found,
            "amount_sealed": self.sealed_amount,
            "amount_found": self.found_amount,
            "why": self.why or None,
        }


@dataclass(slots=True)
class Result:
    """What was asked for and found (epoch milliseconds), the manifests, and the rows that are not as sealed.

    `before` and `before_sealed` count the rows from before the first window, now and when it was sealed; None where
    that was not asked for. `unsure` are sentences about what was asked for and cannot be told. `altered` names the
    files of a bundle that are not what its sums say.
    """

    since: int | None
    until: int | None
    chains: Chains
    found: tuple[int, int] | None = None
    rows: int = 0
    windows: int = 0
    same: int = 0
    differing: list[Differing] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    before: int | None = None
    before_sealed: int | None = None
    unsure: list[str] = field(default_factory=list)
    verify: Counter[str] = field(default_factory=Counter)
    gaps: int = 0
    altered: list[str] = field(default_factory=list)

    @property
    def faults(self) -> bool:
        """Whether a row or a manifest is not as it was sealed."""
        return bool(
            self.cases
            or self.differing
            or self.altered
            or self.chains.bad
            or self.chains.strays
            or self.before != self.before_sealed
        )


class Check:
    """One comparison, of the windows that touch a span of times of detection in epoch milliseconds."""

    def __init__(
        self,
        archive: Archive,
        rows: Rows,
        since: int | None = None,
        until: int | None = None,
        *,
        stack: str | None = None,
        part: bool = False,
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        """Store what is asked for; no I/O. The manifests have to be of the `stack`, if one is given.

        With `part` the archive is a part of another one (`chains.load`).
        """
        self._archive, self._rows, self._stack, self._clock = archive, rows, stack, clock
        self._part = part
        self.result = Result(since, until, Chains())
        self._missing: list[tuple[Entry, Manifest]] = []
        self._extra: list[tuple[Line, int]] = []
        self._shown = 0.0

    def run(self) -> Iterator[Event]:
        """Read and compare, with an event now and then; `result` is whole at the end.

        Raises:
            BadConfig: The manifests are of another stack.
            NotDeployed: There are no manifests, or there is no table.
            Unreachable: DynamoDB or S3 does not answer.
        """
        result = self.result
        result.chains = chains = yield from loading(self._archive, result.since, result.until, part=self._part)
        if not chains.found:
            raise NotDeployed(
                f"{self._archive.place}: there are no manifests", hint="`fraudctl audit seal --to FOLDER` writes them"
            )
        strangers = {one.stack for one in chains.manifests} - {self._stack}
        if self._stack is not None and strangers:
            named = min(strangers)
            raise BadConfig(
                f"{self._archive.place}: these manifests are of stack {named}, not {self._stack}",
                hint=f"add --stack {named}, or name another place",
            )
        yield Event("rows", Phase.STARTED)
        for (since, until), manifests in self._windows():
            self._window(since, until, manifests)
            yield from self._progress(f"{result.rows:,} rows, up to {iso(until)}")
        yield from self._settle()
        self._coverage()
        result.cases.sort(key=lambda case: (case.since or 0, case.partition, case.offset))
        yield Event("rows", Phase.DONE, f"{tables.plural(result.rows, 'row')} compared")

    def _progress(self, detail: str) -> Iterator[Event]:
        now = self._clock.monotonic()
        if now - self._shown >= _SHOWN_EVERY_SECONDS:
            self._shown = now
            yield Event("rows", Phase.PROGRESS, detail)

    def _windows(self) -> list[tuple[tuple[int, int], list[Manifest]]]:
        result = self.result
        found: dict[tuple[int, int], list[Manifest]] = defaultdict(list)
        for one in result.chains.manifests:
            inside = (result.since is None or one.until > result.since) and (
                result.until is None or one.since < result.until
            )
            if inside:
                found[one.since, one.until].append(one)
        if found:
            result.found = min(since for since, _ in found), max(until for _, until in found)
        return sorted(found.items())

    def _window(self, since: int, until: int, manifests: Sequence[Manifest]) -> None:
        """Compare the rows of one window, all partitions at once, with its manifests."""
        lines: dict[int, list[Line]] = defaultdict(list)
        for one in self._rows.window(since, until, manifests[0].fields):
            lines[one.partition].append(one)
            self.result.rows += 1
        for manifest in manifests:
            self.result.windows += 1
            self.result.verify.update(manifest.verify)
            self.result.gaps += bool(manifest.gaps)
            self._compare(manifest, sorted(lines.pop(manifest.partition, [])))
        # A partition that was sealed, but whose manifest is gone or altered, says nothing of its rows.
        due = {partition for manifest in manifests for partition in manifest.partitions}
        for partition, rest in lines.items():
            if partition not in due:
                self._extra += [(one, since) for one in rest]

    def _compare(self, manifest: Manifest, lines: Sequence[Line]) -> None:
        amount = sum((one.amount for one in lines), Decimal(0))
        stated = manifest.rows, manifest.amount, manifest.rows_sha256
        same = (len(lines), amount, canonical.digest(lines)) == stated
        try:
            listed = self._listed(manifest)
        except (Broken, NotDeployed) as error:
            listed = None
            self._differ(manifest, lines, amount, f"its row list cannot be used: {error}")
        if same:
            self.result.same += 1
            return
        if listed is None:
            return
        self._differ(manifest, lines, amount, "")
        sealed: dict[int, list[Entry]] = defaultdict(list)
        for entry in listed:
            sealed[entry.offset].append(entry)
        others = []
        for one in lines:
            right = next((entry for entry in sealed[one.offset] if entry.digest == one.digest), None)
            if right is None:
                others.append(one)
            else:
                sealed[one.offset].remove(right)
        for one in others:
            own = next((entry for entry in sealed[one.offset] if entry.identity == one.identity), None)
            if own is None:
                self._extra.append((one, manifest.since))
            else:
                sealed[one.offset].remove(own)
                self._changed(own, manifest, "its values are other ones")
        self._missing += [(entry, manifest) for rest in sealed.values() for entry in rest]

    def _listed(self, manifest: Manifest) -> Sequence[Entry]:
        if manifest.row_list is None:
            return ()
        if not LIST_NAME.fullmatch(manifest.row_list):
            raise Broken(f"{manifest.row_list!r} is not the name of one")
        return entries(manifest, self._archive.read(manifest.row_list))

    def _differ(self, manifest: Manifest, lines: Sequence[Line], amount: Decimal, why: str) -> None:
        self.result.differing.append(Differing(manifest.name, manifest.rows, len(lines), manifest.amount, amount, why))

    def _changed(self, entry: Entry, manifest: Manifest, why: str) -> None:
        self.result.cases.append(
            Case(Fault.CHANGED, entry.identity, manifest.partition, entry.offset, manifest.since, why)
        )

    def _settle(self) -> Iterator[Event]:
        """Tell rows that are gone from rows that lie elsewhere now, by another place or another time of detection."""
        extra: dict[Identity, list[tuple[Line, int]]] = defaultdict(list)
        for one, since in self._extra:
            extra[one.identity].append((one, since))
        places = {(one.partition, one.offset): one.identity for one, _ in self._extra}
        gone = []
        for entry, manifest in self._missing:
            if extra.get(entry.identity):
                one, since = extra[entry.identity].pop()
                moved = f"it names {topics.PROCESSED.name}/{one.partition}:{one.offset}, detected after {iso(since)}"
                self._changed(entry, manifest, moved)
            else:
                gone.append((entry, manifest))
        for index, (entry, manifest) in enumerate(gone):
            place = manifest.partition, entry.offset
            yield from self._progress(f"looked for {index:,} of {len(gone):,} rows that seem deleted")
            if index < _LOOKED_FOR and self._rows.has(entry.identity):
                # Its key is what it was, and some of its fields say that it is another row, or was detected elsewhere.
                disguised = extra.get(places.get(place, entry.identity))
                if disguised:
                    disguised.pop()
                self._changed(entry, manifest, "it is in the table, but not as this transaction, or not at this time")
            else:
                self.result.cases.append(Case(Fault.DELETED, entry.identity, *place, manifest.since))
        for rest in extra.values():
            for one, since in rest:
                self.result.cases.append(Case(Fault.ADDED, one.identity, one.partition, one.offset, since))

    def _coverage(self) -> None:
        """Note what was asked for and is not sealed, and whether rows appeared or went before the first window."""
        result = self.result
        asked = f"since {iso(result.since)}" if result.since is not None else "from the beginning"
        if result.found is None:
            ends = result.chains.ends()
            has = f"; the manifests there are from {iso(ends[0])} to {iso(ends[1])}" if ends else ""
            result.unsure.append(f"nothing {asked} is sealed{has}")
            return
        begins, ends_at = result.found
        firsts = [one for one in result.chains.manifests if one.before is not None]
        known = {one.partition for one in firsts} == {one.partition for one in result.chains.found}
        if result.since is None and known and not self._part:
            result.before_sealed = sum(one.before or 0 for one in firsts)
            result.before = sum(1 for _ in self._rows.window(None, begins))
            if result.before:
                result.unsure.append(
                    f"{tables.plural(result.before, 'row')} from before {iso(begins)}, where the seals begin"
                )
        elif result.since is not None and result.since < begins:
            result.unsure.append(f"what was detected {asked} and before {iso(begins)} is not sealed")
        if result.until is not None and result.until > ends_at:
            result.unsure.append(f"what was detected from {iso(ends_at)} on is not sealed yet")
