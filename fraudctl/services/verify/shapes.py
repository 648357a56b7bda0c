"""Read transactions and detections fast: those that are written as usual by one pattern, all others by decoding.

Decoding and checking a record exactly takes 30 µs, more than everything else that a reconciliation does with it. The
pattern takes 2 µs and accepts only what decoding would accept: the fields in their order, text without escapes, amounts
with two decimals, nothing further. What it does not match is decoded.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

from fraudctl.pipeline.audit_table import AuditRow
from fraudctl.pipeline.dates import date_milliseconds
from fraudctl.pipeline.fields import MAX_INT64, Field, Kind, Malformed, decode, dump
from fraudctl.pipeline.records import FlaggedTransaction, Transaction
from fraudctl.services.flags.quick import usual

Identity = tuple[int, str, str]  # account_id, transaction_date, transaction_id
Place = tuple[int, int]  # partition and offset

_CENT: Final = ".2f"
_CENTS: Final = 2
_PROCESSED: Final = ("processed_partition", "processed_offset")
# A digest is of an amount as it stands here.
_AMOUNT: Final = r"((?:0|[1-9]\d{0,8})\.\d\d)"


class Detected(NamedTuple):
    """What a detection says: of which transaction, where that and the flag event lie, and why."""

    identity: Identity
    transaction: Place
    flag: Place
    why: tuple[str, str | None, str]
    digest: str


def _pattern(fields: tuple[Field, ...]) -> re.Pattern[bytes]:
    members = []
    for field in fields:
        value = _AMOUNT if field.kind is Kind.AMOUNT else usual(field)
        members.append(f'"{field.name}":{f"(?:{value}|null)" if field.nullable else value}')
    return re.compile(("\\{" + ",".join(members) + "\\}").encode())


def _indexes(*names: str) -> Callable[[Sequence[bytes]], tuple[bytes, ...]]:
    known = [field.name for field in FlaggedTransaction.FIELDS]
    getter: Callable[[Sequence[bytes]], tuple[bytes, ...]] = itemgetter(*map(known.index, names))
    return getter


_TRANSACTION: Final = _pattern(Transaction.FIELDS)
_DETECTION: Final = _pattern(FlaggedTransaction.FIELDS)
_PARTS: Final = [*(field.name for field in Transaction.FIELDS if field.name != "amount"), "amount"]
# A transaction's fields come first in a detection too.
_DIGESTED: Final = _indexes(*_PARTS)
_IDENTITY: Final = _indexes("account_id", "transaction_date", "transaction_id")
_PLACE_NAMES: Final = ("transaction_partition", "transaction_offset", "flag_partition", "flag_offset")
_TYPES: Final = [(name, "N" if name == "account_id" else "S") for name in _PARTS[:-1]]
_PLACES: Final = _indexes(*_PLACE_NAMES)
_READ: Final = (*(field.name for field in FlaggedTransaction.FIELDS), "extra")
_WHY: Final = _indexes("flag_date", "flag_reason", "flagged_by")


def transaction(value: bytes | None) -> tuple[Identity, int, str]:
    """Return a transaction's identity, its date in epoch milliseconds, and its digest; raises `Malformed`."""
    found = _TRANSACTION.fullmatch(value or b"")
    if found is not None:
        fields = found.groups()
        try:
            known = _identity(fields)
            return known, date_milliseconds(known[1]), _hashed(b"\x1f".join(_DIGESTED(fields)))
        except ValueError:
            pass  # there is no such date: decoding says so
    parsed = Transaction.parse(value)
    return identity(parsed), date_milliseconds(parsed.transaction_date), digest(parsed)


def detection(value: bytes | None) -> Detected:
    """Return what a record of processed_topic says; raises `Malformed`."""
    found = _DETECTION.fullmatch(value or b"")
    if found is not None:
        fields = found.groups()
        date, reason, author = _WHY(fields)
        try:
            known, flag_date = _identity(fields), date.decode()
            date_milliseconds(known[1])
            date_milliseconds(flag_date)
        except ValueError:
            pass  # there is no such date: decoding says so
        else:
            transaction_partition, transaction_offset, flag_partition, flag_offset = map(int, _PLACES(fields))
            return Detected(
                known,
                (transaction_partition, transaction_offset),
                (flag_partition, flag_offset),
                (flag_date, None if reason is None else reason.decode(), author.decode()),
                _hashed(b"\x1f".join(_DIGESTED(fields))),
            )
    return detected(FlaggedTransaction.parse(value))


def detected(found: FlaggedTransaction | AuditRow) -> Detected:
    """Return what a detection, or a row, says."""
    return Detected(
        identity(found),
        (found.transaction_partition, found.transaction_offset),
        (found.flag_partition, found.flag_offset),
        (found.flag_date, found.flag_reason, found.flagged_by),
        digest(found),
    )


def item(found: Mapping[str, Mapping[str, object]]) -> Detected:
    """Return what a row says, given as DynamoDB has it on the wire.

    Whatever somebody has put there is taken for a row: what is missing, or of another type, differs from every record.
    """
    if (usual := _usual(found)) is not None:
        return usual
    values = _values(found, _READ)
    amount = _cents(values.get("amount", ""))
    parts = [str(values.get(name)) for name in _PARTS[:-1]]
    return Detected(
        (_number(values, "account_id"), values.get("transaction_date", ""), values.get("transaction_id", "")),
        (_number(values, "transaction_partition"), _number(values, "transaction_offset")),
        (_number(values, "flag_partition"), _number(values, "flag_offset")),
        (values.get("flag_date", ""), values.get("flag_reason"), values.get("flagged_by", "")),
        _digest([*parts, amount], values.get("extra")),
    )


def _usual(found: Mapping[str, Mapping[str, Any]]) -> Detected | None:
    """Return what a row says that has every attribute, of its type; None for others."""
    try:
        parts = [found[name][kind] for name, kind in _TYPES]
        account = int(found["account_id"]["N"])
        places = [int(found[name]["N"]) for name in _PLACE_NAMES]
        why = found["flag_date"]["S"], found["flag_reason"]["S"], found["flagged_by"]["S"]
        known = account, found["transaction_date"]["S"], found["transaction_id"]["S"]
        parts.append(_cents(found["amount"]["N"]))
    except (KeyError, ValueError):
        return None
    if "extra" in found or max(account, *places) > MAX_INT64 or min(account, *places) < 0:
        return None
    return Detected(
        known,
        (places[0], places[1]),
        (places[2], places[3]),
        why,
        _hashed("\x1f".join(parts).encode(errors="surrogatepass")),
    )


def _cents(amount: str) -> str:
    """Return an amount with two decimals: DynamoDB drops trailing zeros."""
    whole, _, cents = amount.partition(".")
    return f"{whole}.{cents:0<2}" if whole.isdigit() and len(cents) <= _CENTS else amount


def place(found: Mapping[str, Mapping[str, object]]) -> Place:
    """Return where a row says that its processed record lies; -1 for what it does not say."""
    values = _values(found, _PROCESSED)
    return _number(values, _PROCESSED[0]), _number(values, _PROCESSED[1])


def identity(found: Transaction | FlaggedTransaction | AuditRow) -> Identity:
    """Return what makes two records the same transaction."""
    return found.account_id, found.transaction_date, found.transaction_id


def digest(found: Transaction | FlaggedTransaction | AuditRow) -> str:
    """Return what tells a transaction's content, further fields included, from any other."""
    parts = [str(getattr(found, name)) for name in _PARTS[:-1]]
    return _digest([*parts, format(found.amount, _CENT)], found.extra)


def _identity(fields: tuple[bytes, ...]) -> Identity:
    account, date, name = _IDENTITY(fields)
    return int(account), date.decode(), name.decode()


def _values(found: Mapping[str, Mapping[str, object]], names: Sequence[str]) -> dict[str, str]:
    """Return the attributes that are there, as texts, whatever their types."""
    return {name: str(text) for name in names if name in found for text in found[name].values()}


def _number(values: Mapping[str, str], name: str) -> int:
    text = values.get(name, "")
    number = int(text) if text.isascii() and text.isdigit() else -1
    return number if number <= MAX_INT64 else -1


def _digest(parts: list[str], extra: str | None) -> str:
    if extra:
        try:
            parts.append(dump(dict(sorted(decode(extra).items()))))
        except Malformed:
            parts.append(extra)  # in a row that somebody has altered
    return _hashed("\x1f".join(parts).encode(errors="surrogatepass"))


def _hashed(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
