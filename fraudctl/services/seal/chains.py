"""Which manifests of an archive are what was sealed: k of n valid, and what is wrong with each other one."""

from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final, cast

from fraudctl.pipeline.text import iso
from fraudctl.services.seal.archive import Archive
from fraudctl.services.seal.manifest import LIST_NAME, Broken, Manifest, name, named
from fraudctl.target import Event, Phase

_AT_ONCE: Final = 8  # S3 takes some 20 ms for each
_SHOWN_EVERY: Final = 400


class State(StrEnum):
    """What a manifest is."""

    VALID = "valid"
    ALTERED = "altered"  # not what was sealed, by its own digest
    REPLACED = "replaced"  # whole in itself, but the next one of the chain follows another
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest that is there, or should be: its name, the window it begins (epoch milliseconds), and what it is.

    `manifest` is None for one that is missing or altered. Of missing ones, several in a row may be one, with their
    `number`.
    """

    name: str
    partition: int
    since: int | None
    state: State
    why: str = ""
    manifest: Manifest | None = None
    number: int = 1

    def cells(self) -> dict[str, Any]:
        """Return it as a row for people and programs."""
        return {
            "manifest": self.name,
            "state": self.state.value,
            "partition": self.partition,
            "since": iso(self.since),
            "until": None if self.manifest is None else iso(self.manifest.until),
            "rows": None if self.manifest is None else self.manifest.rows,
            "why": self.why or None,
        }


@dataclass(slots=True)
class Chains:
    """All manifests in order of partition and window; `strays` are row lists that no manifest refers to."""

    found: list[Found] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)

    @property
    def manifests(self) -> list[Manifest]:
        """Those that can be read, whatever their chain says."""
        return [one.manifest for one in self.found if one.manifest is not None]

    @property
    def valid(self) -> int:
        """How many are valid."""
        return sum(one.state is State.VALID for one in self.found)

    @property
    def number(self) -> int:
        """How many there are, or should be."""
        return sum(one.number for one in self.found)

    @property
    def bad(self) -> list[Found]:
        """Those that are not."""
        return [one for one in self.found if one.state is not State.VALID]

    def ends(self) -> tuple[int, int] | None:
        """Return when the first window begins and the last one ends; None without manifests."""
        known = self.manifests
        return (min(one.since for one in known), max(one.until for one in known)) if known else None


def load(archive: Archive, since: int | None = None, until: int | None = None, *, part: bool = False) -> Chains:
    """Return what `loading` returns."""
    steps = loading(archive, since, until, part=part)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("Chains", end.value)


def loading(
    archive: Archive, since: int | None = None, until: int | None = None, *, part: bool = False
) -> Generator[Event, None, Chains]:
    """Read the manifests of the windows that touch a span, with the neighbours that prove them, and return them.

    What proves a manifest is the one after it, so one more on each side is read. With `part` the archive is the middle
    of another one, so that chains may begin anywhere. Raises what the archive raises.
    """
    yield Event("manifests", Phase.STARTED)
    names = archive.names()
    by_partition: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for given in names:
        if (place := named(given)) is not None:
            by_partition[place[0]].append((place[1], given))
    chosen = {where: _chosen(sorted(found), since, until) for where, found in by_partition.items()}
    wanted = [given for found in chosen.values() for _, given in found]
    chains, contents = Chains(), dict[str, bytes]()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for first in range(0, len(wanted), _SHOWN_EVERY):
            some = wanted[first : first + _SHOWN_EVERY]
            contents.update(zip(some, pool.map(archive.read, some), strict=True))
            yield Event("manifests", Phase.PROGRESS, f"{len(contents):,} of {len(wanted):,} read")
    for partition in sorted(chosen):
        chains.found += _judged(chosen[partition], contents)
    whole = len(wanted) == sum(map(len, by_partition.values()))
    _missing(chains, whole=whole, part=part)
    if whole:
        listed = {one.row_list for one in chains.manifests}
        chains.strays = [given for given in names if LIST_NAME.fullmatch(given) and given not in listed]
    yield Event("manifests", Phase.DONE, f"{chains.valid:,} of {chains.number:,} valid")
    return chains


def _chosen(all_of_it: Sequence[tuple[int, str]], since: int | None, until: int | None) -> list[tuple[int, str]]:
    """Return those that a span needs: the window that it begins in, the one before, and one behind its end."""
    first, last = 0, len(all_of_it)
    for index, (begins, _) in enumerate(all_of_it):
        if since is not None and begins <= since:
            first = max(0, index - 1)
        if until is not None and begins >= until:
            last = index + 1
            break
    return list(all_of_it[first:last])


def _judged(chosen: Sequence[tuple[int, str]], contents: Mapping[str, bytes]) -> Iterator[Found]:
    """Yield the manifests of one partition with what they are by themselves, and by the one behind them."""
    read: list[Found] = []
    for begins, given in chosen:
        partition = int(given.partition("/")[0])
        try:
            manifest = Manifest.parse(contents[given], given)
        except Broken as error:
            read.append(Found(given, partition, begins, State.ALTERED, str(error)))
        else:
            read.append(Found(given, partition, begins, State.VALID, "", manifest))
    for one, following in pairwise([*read, None]):
        if one is None:
            continue
        own, after = one.manifest, following.manifest if following else None
        proves = own is None or after is None or after.sequence > own.sequence + 1 or _follows(own, after)
        why = "" if after is None else f"{after.name} follows another one"
        yield one if proves else replace(one, state=State.REPLACED, why=why)


def _follows(own: Manifest, after: Manifest) -> bool:
    return (after.sequence, after.since, after.previous) == (own.sequence + 1, own.until, own.digest)


def _missing(chains: Chains, *, whole: bool, part: bool) -> None:
    """Add those that must have been there: named by other partitions' manifests, or counted by their own chain."""
    there = {(one.partition, one.since) for one in chains.found}
    lost: dict[tuple[int, int], Found] = {}
    for one in chains.manifests:
        for partition in one.partitions:
            place = partition, one.since
            if place not in there and not _unread(chains, *place, whole=whole):
                lost[place] = Found(name(*place), *place, State.MISSING, f"{one.name} names it")
    more = []
    for partition, since, until, number in _gaps(chains.found, whole=whole and not part):
        rest = number - sum(where == partition and (since or 0) <= at < until for where, at in lost)
        if rest > 0:
            count = "a manifest is" if rest == 1 else f"{rest:,} manifests are"
            when = f"before {iso(until)}" if since is None else f"between {iso(since)} and {iso(until)}"
            own = f"{partition:05d}" if since is None else name(partition, since)
            more.append(Found(own, partition, since, State.MISSING, f"{count} missing {when}", None, rest))
    chains.found = sorted([*chains.found, *lost.values(), *more], key=lambda one: (one.partition, one.since or 0))


def _gaps(found: Sequence[Found], *, whole: bool) -> Iterator[tuple[int, int | None, int, int]]:
    """Yield of which partition, from when to when, how many manifests are not there, by the numbers of the others."""
    last: Manifest | None = None
    unreadable = 0
    for one in found:
        if last is not None and last.partition != one.partition:
            last, unreadable = None, 0
        own = one.manifest
        if own is None:
            unreadable += 1
            continue
        known = -1 if last is None else last.sequence
        if (number := own.sequence - known - 1 - unreadable) > 0 and (whole or last is not None):
            yield own.partition, None if last is None else last.until, own.since, number
        last, unreadable = own, 0


def _unread(chains: Chains, partition: int, since: int, *, whole: bool) -> bool:
    """Return whether a manifest may simply not have been asked for: it lies outside what was read of its partition."""
    if whole:
        return False
    begins = [one.since for one in chains.found if one.partition == partition and one.since is not None]
    return bool(begins) and not min(begins) <= since <= max(begins)
