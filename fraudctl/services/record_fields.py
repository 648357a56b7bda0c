"""What ``--fields`` and CSV take from a Kafka record: where it lies, the fields of its value, and those inside them."""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from fraudctl.errors import BadConfig
from fraudctl.pipeline import records as kinds
from fraudctl.pipeline import topics
from fraudctl.pipeline.fields import Number, decode, dump
from fraudctl.pipeline.reader import Record
from fraudctl.pipeline.text import iso

# The record type of each topic whose records have one; dead letters are what has none.
TYPES: Final[Mapping[str, type[kinds.Transaction | kinds.AccountFlag | kinds.FlaggedTransaction]]] = {
    topics.TRANSACTIONS.name: kinds.Transaction,
    topics.FLAGGED.name: kinds.AccountFlag,
    topics.PROCESSED.name: kinds.FlaggedTransaction,
}
_RECORD: Final[Mapping[str, Callable[[Record], Any]]] = {
    "topic": lambda record: record.topic,
    "partition": lambda record: record.partition,
    "offset": lambda record: record.offset,
    "timestamp": lambda record: iso(record.timestamp),
    "key": lambda record: text(record.key),
    "value": lambda record: text(record.value),
    "headers": lambda record: header_texts(record.headers),
}
_HEADER: Final = "headers."
_OWN: Final = "record."


def known(topic: str) -> tuple[str, ...]:
    """Return the names of the fields that a topic's records have, those of the Kafka record first."""
    kind = TYPES.get(topic)
    return (*_RECORD, *(field.name for field in kind.FIELDS)) if kind else tuple(_RECORD)


class Cells:
    """Takes chosen fields from records.

    A name is one of the Kafka record's (topic, partition, offset, timestamp, key, value, headers, headers.NAME; also
    with ``record.`` in front), else a field of the value; dots go inside it. What is missing, or lies in a value that
    is no JSON object, is None.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Store the names."""
        self.names = tuple(names)
        self._paths = [(name, _of_record(name), tuple(name.split("."))) for name in names]
        self._decodes = any(own is None for _, own, _ in self._paths)

    @classmethod
    def of(cls, given: str) -> "Cells":
        """Return those named in a list with commas; raises `BadConfig` for an empty name."""
        names = [name.strip() for name in given.split(",")]
        if not all(names) or not all(all(name.split(".")) for name in names):
            raise BadConfig(f"--fields {given!r}: a name is empty", hint="use --fields account_id,amount")
        return cls(names)

    def row(self, record: Record) -> dict[str, Any]:
        """Return a record's fields by name: text, numbers as written, lists and objects as JSON."""
        data: Mapping[str, Any] = {}
        if self._decodes:
            try:
                data = decode((record.value or b"").decode())
            except (kinds.Malformed, UnicodeDecodeError):
                data = {}
        return {name: own(record) if own else inside(data, path) for name, own, path in self._paths}

    def document(self, record: Record) -> str:
        """Return the same as a JSON object, numbers as written."""
        return dump(self.row(record))


def _of_record(name: str) -> Callable[[Record], Any] | None:
    own = name.removeprefix(_OWN)
    if own.startswith(_HEADER):
        wanted = own.removeprefix(_HEADER)
        return lambda record: header_texts(record.headers).get(wanted)
    return _RECORD.get(own)


def inside(data: Any, path: Iterable[str]) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return what lies at a path of names inside decoded JSON; None where there is nothing."""
    for name in path:
        if not isinstance(data, dict):
            return None
        data = data.get(name)
    return data


def cell(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return a field's value as it stands in a cell: a number as written, lists and objects as JSON."""
    match value:
        case Number():
            return str(value)
        case dict() | list() | bool():
            return dump(value)
        case _:
            return value


def text(data: bytes | None) -> str | None:
    """Return the bytes decoded as UTF-8; invalid ones become escapes."""
    return None if data is None else data.decode(errors="backslashreplace")


def is_text(data: bytes | None) -> bool:
    """Return whether bytes are UTF-8; None is."""
    try:
        (data or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def in_base64(data: bytes | None) -> str | None:
    """Return bytes in base64; None stays None."""
    return None if data is None else base64.b64encode(data).decode()


def header_texts(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str | list[str | None] | None]:
    """Return the headers by name; one that occurs several times has the list of its values, in their order."""
    return {name: _one_or_all(map(text, found)) for name, found in _by_name(headers).items()}


def header_base64(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str | list[str | None] | None]:
    """Return, in the same shape and in base64, those headers of which a value is not UTF-8."""
    return {
        name: _one_or_all(map(in_base64, found))
        for name, found in _by_name(headers).items()
        if not all(map(is_text, found))
    }


def _by_name(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, list[bytes | None]]:
    values: dict[str, list[bytes | None]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    return values


def _one_or_all(values: Iterable[str | None]) -> str | list[str | None] | None:
    """Return the only value, or the list of several."""
    found = list(values)
    return found[0] if len(found) == 1 else found
