"""A manifest: what is sealed of one window and partition, as a JSON file, and its row list.

docs/seal.md describes every field. A manifest's `digest` is the SHA-256 of its other fields as compact JSON with sorted
names; `previous` is the digest of the manifest before it.
"""

import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple, Self

from fraudctl.pipeline.dates import date_milliseconds, parse_moment
from fraudctl.pipeline.text import iso
from fraudctl.services.seal.canonical import Identity, Line

FORMAT: Final = "fraudctl-seal/1"
_NAME: Final = re.compile(r"(\d{5})/(\d{8}T\d{6}Z)\.json", re.ASCII)
LIST_NAME: Final = re.compile(r"\d{5}/\d{8}T\d{6}Z\.[0-9a-f]{12}\.rows\.gz", re.ASCII)
_LARGEST_ENTRY: Final = 2_000  # bytes of a row list's line: an id has at most 128 characters
_GZIP: Final = zlib.MAX_WBITS | 16


class Broken(ValueError):
    """A manifest, or a row list, is not what fraudctl writes."""


class Entry(NamedTuple):
    """One row in a row list: its offset in processed_topic, the start of its digest, and its transaction."""

    offset: int
    digest: str
    account_id: int
    transaction_date: str
    transaction_id: str

    @property
    def identity(self) -> Identity:
        """The row's transaction."""
        return self.account_id, self.transaction_date, self.transaction_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is sealed; `since` and `until` are the window in epoch milliseconds, `until` exclusive.

    `first` and `last` are the offsets of its rows, None without rows. `verify` counts the words of `audit verify`,
    `gaps` says what of its evidence was gone. `before` counts rows from before the first window of the chain; it is
    None in all other manifests.
    """

    stack: str
    topic: str
    partition: int
    partitions: tuple[int, ...]
    sequence: int
    since: int
    until: int
    first: int | None
    last: int | None
    rows: int
    amount: Decimal
    fields: tuple[str, ...]
    rows_sha256: str
    row_list: str | None
    row_list_sha256: str | None
    verify: Mapping[str, int]
    gaps: tuple[str, ...]
    with_faults: bool
    before: int | None
    previous: str | None
    sealed_at: str
    sealed_by: str

    @property
    def name(self) -> str:
        """Its name in the archive: sorted by name, manifests are in their order."""
        return name(self.partition, self.since)

    @property
    def digest(self) -> str:
        """What the next manifest names as its previous one."""
        return _digest(self._document())

    def sound(self) -> bool:
        """Return whether its values are of the right types: a file from elsewhere may hold anything."""
        numbers = (self.partition, self.sequence, self.rows, *self.partitions, *self.verify.values())
        perhaps = (self.first, self.last, self.before)
        texts = (self.stack, self.topic, self.rows_sha256, self.sealed_at, self.sealed_by, *self.fields, *self.gaps)
        texts_perhaps = (self.row_list, self.row_list_sha256, self.previous)
        return (
            all(type(number) is int and number >= 0 for number in numbers)
            and all(number is None or type(number) is int for number in perhaps)
            and all(type(text) is str for text in texts)
            and all(text is None or type(text) is str for text in texts_perhaps)
            and type(self.with_faults) is bool
            and self.amount.is_finite()
            and self.since < self.until
        )

    def encode(self) -> bytes:
        """Return the file."""
        found = self._document()
        return json.dumps({**found, "digest": _digest(found)}, indent=2).encode() + b"\n"

    def _document(self) -> dict[str, Any]:
        found = {name: getattr(self, name) for name in _OWN}
        return {
            "format": FORMAT,
            **found,
            "since": iso(self.since),
            "until": iso(self.until),
            "amount": format(self.amount, ".2f"),
            "verify": dict(self.verify),
        }

    @classmethod
    def parse(cls, data: bytes, given: str) -> Self:
        """Read a file that is called `given`; raises `Broken` unless it is, byte for byte, what `encode` writes."""
        try:
            document = json.loads(data)
            stated, version = document.pop("digest"), document.pop("format")
            found = cls(
                **{
                    **document,
                    "since": date_milliseconds(document["since"]),
                    "until": date_milliseconds(document["until"]),
                    "amount": Decimal(document["amount"]),
                    "partitions": tuple(document["partitions"]),
                    "fields": tuple(document["fields"]),
                    "gaps": tuple(document["gaps"]),
                }
            )
            whole = found.encode() if found.sound() else b""
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
            raise Broken("it is not a manifest") from error
        if version != FORMAT:
            raise Broken(f"its format is {version!r}, and this version of fraudctl reads {FORMAT}")
        if not whole:
            raise Broken("it is not a manifest")
        if found.digest != stated:
            raise Broken("its content does not match its digest")
        if whole != data:
            raise Broken("it is not written as fraudctl writes it")
        if found.name != given:
            raise Broken(f"it is the manifest {found.name}")
        return found


_OWN: Final = tuple(field.name for field in fields(Manifest))


def _digest(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def name(partition: int, since: int) -> str:
    """Return a manifest's name: ``00003/20261127T100000Z.json``."""
    return f"{partition:05d}/{datetime.fromtimestamp(since / 1000, UTC):%Y%m%dT%H%M%SZ}.json"


def named(given: str) -> tuple[int, int] | None:
    """Return the partition and the beginning of the window that a manifest's name says; None for any other name."""
    found = _NAME.fullmatch(given)
    if found is None:
        return None
    try:
        moment = parse_moment(found[2])
    except ValueError:
        return None
    return int(found[1]), int(moment.timestamp() * 1000)


class RowList(NamedTuple):
    """A row list as it is stored: its name, its file, and the file's SHA-256."""

    name: str
    data: bytes
    sha256: str


def row_list(partition: int, since: int, lines: Iterable[Line]) -> RowList:
    """Return the row list of a window: a line for each row, packed by gzip without a date, named by its content."""
    content = b"".join(
        json.dumps([one.offset, one.digest, *one.identity], separators=(",", ":")).encode() + b"\n" for one in lines
    )
    packer = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    data = packer.compress(content) + packer.flush()
    found = hashlib.sha256(data).hexdigest()
    return RowList(f"{name(partition, since).removesuffix('.json')}.{found[:12]}.rows.gz", data, found)


def entries(manifest: Manifest, data: bytes) -> Sequence[Entry]:
    """Return the rows of a manifest's row list; raises `Broken` when it is not the list that was sealed."""
    if hashlib.sha256(data).hexdigest() != manifest.row_list_sha256:
        raise Broken("its SHA-256 is not what the manifest says")
    try:
        content = zlib.decompressobj(_GZIP).decompress(data, _LARGEST_ENTRY * (manifest.rows + 1))
        found = [Entry(*json.loads(one)) for one in content.splitlines()]
    except (zlib.error, TypeError, ValueError, RecursionError) as error:
        raise Broken("it is not a row list") from error
    return found


def document(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest's fields for programs."""
    return {**asdict(manifest), "since": iso(manifest.since), "until": iso(manifest.until), "digest": manifest.digest}
