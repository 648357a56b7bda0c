"""Evidence in one file: manifests, their rows in canonical form, and what Kafka still has of them.

A zip file with fixed dates and order: the same content makes the same file. ``SHA256SUMS`` in it is what
``sha256sum -c`` takes. docs/seal.md says how to verify it by hand.
"""

import hashlib
import json
import os
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Final

from fraudctl import tables
from fraudctl.atomic import atomic_file
from fraudctl.errors import BadConfig, NotAsAsked, NotDeployed
from fraudctl.services.seal.archive import Archive
from fraudctl.services.seal.canonical import FIELDS, Identity, Line, line
from fraudctl.services.seal.chains import loading
from fraudctl.services.seal.manifest import LIST_NAME, Manifest, named
from fraudctl.services.seal.rows import Rows
from fraudctl.target import Event, Phase

MANIFESTS: Final = "manifests/"
ROWS: Final = "rows/"
CHAINS: Final = "evidence.jsonl"
SUMS: Final = "SHA256SUMS"
README: Final = "README.txt"
_DATE: Final = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can have
_TEXT: Final = f"""\
Detections of a fraud pipeline, with what proves that they have not changed since they were sealed.

  {MANIFESTS}      the manifests of each partition of processed_topic, and their row lists, as they were sealed
  {ROWS}           the rows of each window and partition, a line of JSON each, in order of offset
  {CHAINS}  what Kafka still had of single detections: transaction, flag events, processed record
  {SUMS}      the SHA-256 of every other file

With fraudctl:   fraudctl audit verify --evidence FILE
By hand:         sha256sum -c {SUMS}
                 sha256sum {ROWS}00000/20261127T100000Z.jsonl
                 and compare with "rows_sha256" in {MANIFESTS}00000/20261127T100000Z.json
"digest" in a manifest is the SHA-256 of its other fields, as JSON with sorted names and without blanks:
  import hashlib, json, sys
  m = json.load(open(sys.argv[1])); stated = m.pop("digest")
  text = json.dumps(m, sort_keys=True, separators=(",", ":"))
  print(stated == hashlib.sha256(text.encode()).hexdigest())
"previous" in the next manifest of the partition is that digest.
"""


def export(
    path: Path,
    archive: Archive,
    rows: Rows,
    evidence: Callable[[Sequence[Identity]], Iterable[Mapping[str, Any]]],
    since: int | None = None,
    until: int | None = None,
) -> Iterator[Event]:
    """Write the windows that touch a span to a file, which appears when it is whole.

    `evidence` returns what Kafka still has of transactions, as JSON documents. What is packed is not judged: a row
    that was changed goes into the file as it is, and the file then says so itself.

    Raises:
        NotDeployed: No manifest is of that span.
        OSError: The file cannot be written.
    """
    if not path.absolute().parent.is_dir():
        raise BadConfig(f"{path}: there is no such folder", hint="create the folder, or name another file")
    yield Event(path.name, Phase.STARTED)
    chains = yield from loading(archive, since, until)
    chosen = [one for one in chains.manifests if (since or 0) < one.until and (until is None or one.since < until)]
    if not chosen:
        raise NotDeployed(f"{archive.place}: no manifest is of that time", hint="`fraudctl audit seal` writes them")
    if chains.bad:
        bad = tables.plural(len(chains.bad), "manifest")
        yield Event(path.name, Phase.NOTE, f"not valid: {bad}; see `fraudctl audit verify --sealed {archive.place}`")
    count, identities = 0, list[Identity]()
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC
    with atomic_file(path) as partial, os.fdopen(os.open(partial, flags, 0o600), "w+b") as file, _Pack(file) as pack:
        pack.add(README, _TEXT.encode())
        for manifest in chosen:
            pack.add(MANIFESTS + manifest.name, archive.read(manifest.name))
            if manifest.row_list is not None and LIST_NAME.fullmatch(manifest.row_list):
                try:
                    pack.add(MANIFESTS + manifest.row_list, archive.read(manifest.row_list))
                except NotDeployed as error:
                    yield Event(path.name, Phase.NOTE, str(error))
        for manifest, lines in _lines(chosen, rows):
            pack.add(_rows_name(manifest.name), b"".join(found.text for found in lines))
            identities += [found.identity for found in lines]
            count += len(lines)
            yield Event(path.name, Phase.PROGRESS, f"{count:,} rows")
        documents = []
        for found in evidence(identities):
            documents.append(json.dumps(found, default=str, separators=(",", ":")) + "\n")
            yield Event(path.name, Phase.PROGRESS, f"{count:,} rows, evidence of {len(documents):,}")
        pack.add(CHAINS, "".join(documents).encode())
        pack.add(SUMS, "".join(f"{digest}  {name}\n" for name, digest in pack.sums.items()).encode())
    yield Event(path.name, Phase.DONE, f"{tables.plural(count, 'row')}, {tables.plural(len(chosen), 'manifest')}")


def _lines(chosen: Sequence[Manifest], rows: Rows) -> Iterator[tuple[Manifest, list[Line]]]:
    """Yield manifests, window by window, with the rows of their partitions."""
    windows: dict[tuple[int, int], list[Manifest]] = defaultdict(list)
    for one in chosen:
        windows[one.since, one.until].append(one)
    for (since, until), manifests in sorted(windows.items()):
        found: dict[int, list[Line]] = defaultdict(list)
        for row in rows.window(since, until, manifests[0].fields):
            found[row.partition].append(row)
        for manifest in manifests:
            yield manifest, sorted(found[manifest.partition])


class _Pack(zipfile.ZipFile):
    """A zip file of which every byte follows from what is added."""

    def __init__(self, file: IO[bytes]) -> None:
        """Begin the file."""
        super().__init__(file, "w")
        self.sums: dict[str, str] = {}

    def add(self, name: str, data: bytes) -> None:
        """Add a file, and its SHA-256 to `sums`."""
        info = zipfile.ZipInfo(name, _DATE)
        info.external_attr, info.create_system = 0o600 << 16, 3  # a plain file, as Unix writes it
        self.writestr(info, data, zipfile.ZIP_DEFLATED, 9)
        self.sums[name] = hashlib.sha256(data).hexdigest()


def _rows_name(manifest: str) -> str:
    return ROWS + manifest.removesuffix(".json") + ".jsonl"


class Bundle:
    """A file of evidence: an `Archive` that cannot be written, and `Rows`. It needs no stack and no network.

    `altered` names the files in it that are not what its sums say, or are not there.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and check its sums.

        Raises:
            BadConfig: It is no such file.
            NotDeployed: There is no such file.
        """
        self._path = path
        self.altered: list[str] = []
        try:
            self._zip = zipfile.ZipFile(path)
            self._files = {info.filename: info for info in self._zip.infolist()}
            self._check()
        except FileNotFoundError as error:
            raise NotDeployed(
                f"{path}: there is no such file", hint="name what `audit export --evidence` wrote"
            ) from error
        except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, NotImplementedError, EOFError) as error:
            raise BadConfig(
                f"{path}: not a file of evidence: {error}", hint="name what `audit export --evidence` wrote"
            ) from error

    @property
    def place(self) -> str:
        """The file's path."""
        return str(self._path)

    def names(self) -> list[str]:
        """Return the names of manifests and row lists."""
        return sorted(name.removeprefix(MANIFESTS) for name in self._files if name.startswith(MANIFESTS))

    def read(self, name: str) -> bytes:
        """Return a manifest or a row list."""
        if MANIFESTS + name not in self._files:
            raise NotDeployed(f"{self.place}: there is no {name} in it", hint="export it again")
        return self._zip.read(MANIFESTS + name)

    def put(self, name: str, data: bytes) -> bool:
        """Refuse: nothing is added to evidence."""
        raise NotImplementedError(name, data)

    def window(self, since: int | None, until: int, fields: Sequence[str] = FIELDS) -> Iterator[Line]:
        """Yield the rows of the windows that begin in a span."""
        for name in self._files:
            place = named(name.removeprefix(ROWS).removesuffix(".jsonl") + ".json") if name.startswith(ROWS) else None
            if place is None or not (since or 0) <= place[1] < until:
                continue
            for text in self._zip.read(name).splitlines(keepends=True):
                try:
                    found = line(json.loads(text), fields)
                except (ValueError, AttributeError, RecursionError) as error:
                    raise NotAsAsked(
                        f"{self.place}: {name} has a line that is no row", hint="export it again"
                    ) from error
                yield replace(found, text=text)  # another spelling of the same values is not what was sealed

    def has(self, identity: Identity) -> bool:
        """Return False: only the windows' rows are there."""
        del identity
        return False

    def _check(self) -> None:
        stated: dict[str, str] = {}
        for text in self._zip.read(SUMS).decode().splitlines():
            digest, _, name = text.partition("  ")
            stated[name] = digest
        names = self._zip.namelist()
        if len(set(names)) != len(names):
            raise ValueError("a name is in it twice")
        for name in names:
            if name != SUMS and hashlib.sha256(self._zip.read(name)).hexdigest() != stated.get(name):
                self.altered.append(name)
        self.altered += sorted(stated.keys() - set(names))
