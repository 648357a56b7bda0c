"""The options of a command that reads a file of transactions, checked together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from fraudctl.errors import BadConfig

if TYPE_CHECKING:
    from datetime import tzinfo

    from fraudctl.services.mapping import FileMapping

_TAB = {"tab", "\\t", "\t"}


class FileFormat(StrEnum):
    """The formats of a file of transactions; `JSON` is an array, or objects over several lines."""

    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"


class OnError(StrEnum):
    """What to do about invalid lines of a file: leave them out, or send nothing."""

    SKIP = "skip"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How to read a file; what is None is told by the file itself. `zone` is for dates that do not name theirs."""

    file_format: FileFormat | None = None
    delimiter: str | None = None
    encoding: str | None = None
    mapping: FileMapping | None = None
    zone: tzinfo | None = None


def checked(
    file_format: FileFormat | None,
    *,
    mapping: str | None,
    zone: str | None,
    delimiter: str | None,
    encoding: str | None,
) -> ReadOptions:
    """Return the options as the reader takes them.

    Raises:
        BadConfig: The mapping has a wrong key, or the zone, the encoding or the delimiter is none.
    """
    from fraudctl.services import mapping as mappings  # not for `--help`: it takes milliseconds
    from fraudctl.services.input_files import check_encoding

    check_encoding(encoding)
    sign = "\t" if delimiter in _TAB else delimiter
    if sign is not None and (len(sign) != 1 or sign.isalnum() or sign in '"\r\n'):
        raise BadConfig(f"--delimiter {delimiter!r}: not one sign", hint="use , or ; or | or tab")
    return ReadOptions(
        file_format=file_format,
        delimiter=sign,
        encoding=encoding,
        mapping=None if mapping is None else mappings.load(mapping, zone),
        zone=None if zone is None else mappings.zone_of(zone, "--zone"),
    )
