r"""The filter of ``--where``: ``amount > 500 and account_id in (1000000001, 1000000003) and merchant_type like "Gr%"``.

=================================  =======================================================================
``amount``, ``merchant.city``      a field of the record's JSON, and one inside it; with other signs `` `device-id` ``
``record.partition``               of the Kafka record: partition, offset, timestamp, key, topic, headers.NAME
``500``, ``"text"``, ``true``      values; a text stands in ' or ", a backslash takes the next character literally
``== = != <> < <= > >=``           comparisons, also in a chain: ``5 <= amount < 10``
``in (1, 2)``, ``not in``          one of several values
``like "Gr%"``, ``ilike``          % is any text, _ any character; ``ilike`` in upper or lower case; ``not like``
``is null``, ``is not null``       null or missing; ``== null`` is the same
``and``, ``or``, ``not``           in upper or lower case; a field alone holds if it is true
=================================  =======================================================================

- Numbers are compared as they are written, never as floats. Of a field that is repeated, the last one counts.
- A text that names a time (as of `fraudctl.services.time_options`: ``"10m"``, ``"09:30"``, ``"2026-11-24"``) is
  compared as one with every value that is a date (of `fraudctl.pipeline.dates`), to the millisecond; with all else as
  text, by code points. A time of day is the last one. Relative times are counted from when the filter was made.
- A number and a text, or a text and true, are not equal, and neither is less. Objects and lists equal nothing.
- What is compared with a field that is null or missing is unknown, as in SQL, and so is its negation: neither
  ``amount > 5`` nor ``not amount > 5`` nor ``amount != 5`` holds of a record without an amount.
- ``record.timestamp`` is compared with times and with epoch milliseconds. Bytes of a key or a header that are not UTF-8
  become escapes; of a repeated header the last one counts. A field that is called record is written `` `record` ``.
- A value that is no JSON object (or nested deeper than 256) matches no filter, unless the filter names no field of it.
"""

import time
from collections.abc import Callable, Sequence
from datetime import tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from fraudctl.errors import BadConfig
from fraudctl.pipeline import records
from fraudctl.pipeline.fields import Kind
from fraudctl.pipeline.text import iso
from fraudctl.services import time_options, where_values
from fraudctl.services.where_syntax import (
    Comparison,
    Condition,
    Constant,
    Group,
    Name,
    Negation,
    Operand,
    Source,
    Text,
    Values,
    parse,
)
from fraudctl.services.where_values import Literal, NotAnObject, Test, Unsure

if TYPE_CHECKING:
    from fraudctl.pipeline.reader import Record

Decide = Callable[[dict[str, Any], "Record | None"], bool]
Get = Callable[[dict[str, Any], "Record | None"], Any]
Matches = Callable[[bytes | None, "Record | None"], bool]

_OF_RECORD: Final = ("partition", "offset", "timestamp", "key", "topic", "headers")
_DATES: Final = frozenset(
    field.name
    for kind in (records.FlaggedTransaction, records.AccountFlag)
    for field in kind.FIELDS
    if field.kind is Kind.DATE
) | {"detected_at"}


def compile_where(
    text: str,
    option: str = "--where",
    *,
    clock: Callable[[], float] = time.time,
    zone: tzinfo | None = None,
) -> "Where":
    """Return the filter, ready to be asked.

    Args:
        text: The filter, as in this module's description.
        option: What it was given as; begins errors.
        clock: Gives epoch seconds; relative times are counted from now.
        zone: Where times without a zone are read; None is the machine's zone.

    Raises:
        BadConfig: It is no filter; the excerpt has a caret below what is wrong.
    """
    source = Source(text, option)
    tree = parse(source)
    now = clock()
    compiler = _Compiler(source, lambda: now, zone)
    if isinstance(tree, Group) and tree.every and tree.sources:
        clauses = tuple(zip(tree.sources, map(compiler.condition, tree.parts), strict=True))
    else:
        clauses = ((text.strip(), compiler.condition(tree)),)
    return Where(text, clauses, tuple(compiler.names), tuple(compiler.notes), needs_record=compiler.needs_record)


class Where:
    """A compiled filter.

    `matches` takes a record's value and the record (None where there is none) and returns whether the filter holds; it
    raises nothing. `notes` are lines to show: what times without a zone were read as. Unless `needs_record`, it decides
    by the value alone.
    """

    def __init__(
        self,
        text: str,
        clauses: Sequence[tuple[str, Decide]],
        names: tuple[str, ...],
        notes: tuple[str, ...],
        *,
        needs_record: bool = False,
    ) -> None:
        """Store the clauses, all of which must hold; `names` are the fields of the value that they ask for."""
        self.text, self.notes, self.needs_record = text, notes, needs_record
        self._clauses, self._names = clauses, names
        self.matches: Matches = _matcher(_all([decide for _, decide in clauses]), needs_value=bool(names))

    def names(self) -> tuple[str, ...]:
        """Return the fields of the value that the filter asks for, without those inside them, as they come."""
        return self._names

    def stopped_by(self, value: bytes | None, record: "Record | None" = None) -> str | None:
        """Return the first clause that does not hold, as typed, or what is wrong with the value; None if all hold."""
        data: dict[str, Any] = {}
        if self._names:
            try:
                data = where_values.exact(value)
            except NotAnObject as error:
                return str(error)
        return next((text for text, decide in self._clauses if not decide(data, record)), None)


def _matcher(decide: Decide, *, needs_value: bool) -> Matches:
    import orjson

    loads, is_deep, nothing = orjson.loads, where_values.is_deep, dict[str, Any]()

    def without_value(value: bytes | None, record: "Record | None" = None) -> bool:  # noqa: ARG001 - one signature
        return decide(nothing, record)

    def matches(value: bytes | None, record: "Record | None" = None) -> bool:
        try:
            data = loads(value)  # type: ignore[arg-type] # None is refused like what is not JSON
            if type(data) is dict and (len(value) < 512 or not is_deep(value)):  # type: ignore[arg-type] # noqa: PLR2004
                return decide(data, record)
        except (ValueError, Unsure):  # orjson also refuses unpaired surrogates and numbers beyond floats
            pass
        try:
            return decide(where_values.exact(value), record)
        except NotAnObject:
            return False

    return matches if needs_value else without_value


class _Compiler:
    """Makes functions out of the tree.

    They tell what holds from what does not; what is unknown does not hold. So a negation is not a function of its own:
    it is carried down to the comparisons, where unknown stays unknown.
    """

    def __init__(self, source: Source, clock: Callable[[], float], zone: tzinfo | None) -> None:
        self._source, self._clock, self._zone = source, clock, zone
        self.names: dict[str, None] = {}
        self.notes: dict[str, None] = {}
        self.needs_record = False

    def condition(self, tree: Condition, *, negated: bool = False) -> Decide:
        match tree:
            case Negation():
                return self.condition(tree.part, negated=not negated)
            case Group():
                parts = [self.condition(part, negated=negated) for part in tree.parts]
                return _all(parts) if tree.every is not negated else _any(parts)
            case Constant():
                holds = tree.value is not negated
                return lambda _data, _record: holds
            case Name():
                return _asks(self._get(tree), where_values.is_boolean(not negated))
            case Comparison():
                return self._comparison(tree, negated=negated)

    def _comparison(self, tree: Comparison, *, negated: bool) -> Decide:
        left, name, right = tree.left, tree.operator, tree.right
        if name == "!=" or name.startswith("not ") or name == "is not":
            name, negated = {"!=": "==", "is not": "is"}.get(name, name.removeprefix("not ")), not negated
        if not isinstance(left, Name) and not isinstance(right, Name):
            raise self._source.error("no field is compared", tree.at)
        if name in where_values.FLIPPED:
            if isinstance(left, Name) and isinstance(right, Name):
                return _compares(self._get(left), self._get(right), where_values.compares_fields(name), negated)
            if not isinstance(left, Name):
                left, name, right = right, where_values.FLIPPED[name], left
        if not isinstance(left, Name):
            raise self._source.error(f"a field is missing before {tree.operator!r}", left.at)
        test = self._test(left, name, right, tree.at)
        get = self._get(left, as_number=name not in {"like", "ilike"})
        return _asks(get, (lambda value: value is not None and not test(value)) if negated else test)

    def _test(self, field: Name, name: str, right: Operand, at: int) -> Test:
        match name:
            case "in":
                return where_values.is_one_of([self._plain(item, field, name) for item in self._items(right)])
            case "is":
                if isinstance(right, Constant) and (right.value is None or isinstance(right.value, bool)):
                    return self._compares(name, right.value)
                raise self._source.error("'is' takes null, true or false; == compares", right.at)
            case "like" | "ilike":
                if isinstance(right, Constant) and isinstance(right.value, Text):
                    return where_values.is_like(right.value, fold=name == "ilike")
                raise self._source.error(f"{name!r} takes a text in quotes", right.at)
        if not isinstance(right, Constant):
            raise self._source.error("a list stands behind 'in' only", right.at)
        if name != "==" and (right.value is None or isinstance(right.value, bool)):
            raise self._source.error("null, true and false are neither less nor greater than anything", at)
        return self._compares(name, self._plain(right, field, name))

    def _items(self, right: Operand) -> Sequence[Constant]:
        if isinstance(right, Values):
            return right.items
        # To Python, brackets around one value are no list.
        if isinstance(right, Constant) and self._source.text[: right.at].rstrip().endswith("("):
            return [right]
        raise self._source.error("'in' takes values in brackets, like (1, 2)", right.at)

    @staticmethod
    def _compares(name: str, value: object) -> Test:
        match value:
            case bool():
                return where_values.is_boolean(value)
            case Decimal():
                return where_values.compares_number(name, value)
            case Literal():
                return where_values.compares_text(name, value)
            case _:
                return where_values.is_null

    def _plain(self, constant: Constant, field: Name, name: str) -> Literal | Decimal | bool | None:
        """Return a value of the filter as a field is compared with it, texts with the time that they name."""
        value = constant.value
        if not isinstance(value, Text):
            return value
        timestamp = _of_record(field) == "timestamp"
        dated = timestamp or field.path[-1] in _DATES
        try:
            moment = time_options.read(
                value.value, self._source.option, clock=self._clock, zone=self._zone, latest=True
            )
        except BadConfig as error:
            if timestamp or (dated and name not in {"==", "in"}):
                wrong = str(error).removeprefix(f"{self._source.option}: ")
                raise self._source.error(wrong, constant.at, *([error.hint] if error.hint else [])) from error
            return Literal(value.value, None)
        if dated and moment.note is not None:
            self.notes[moment.note] = None
        return Decimal(moment.milliseconds) if timestamp else Literal(value.value, moment.milliseconds)

    def _get(self, name: Name, *, as_number: bool = False) -> Get:
        """Return how to get a field; the record's timestamp as epoch milliseconds, or as text."""
        own = _of_record(name)
        self.needs_record = self.needs_record or own is not None
        if own is None:
            self.names[name.path[0]] = None
            return _field(name.path)
        if own not in _OF_RECORD or (len(name.path) > 2) is not (own == "headers"):  # noqa: PLR2004 - record.partition
            hint = f"there are {', '.join(f'record.{one}' for one in _OF_RECORD)}.NAME; a field is written `record`"
            raise self._source.error(f"{'.'.join(name.path)!r} is nothing of a Kafka record", name.at, hint)
        match own:
            case "timestamp" if not as_number:
                return lambda _data, record: iso(record.timestamp) if record is not None else None
            case "headers":
                header = ".".join(name.path[2:])
                return lambda _data, record: _header(record, header) if record is not None else None
            case "key":
                return lambda _data, record: _text(record.key) if record is not None else None
            case _:
                return lambda _data, record: getattr(record, own, None)


def _of_record(name: Name) -> str | None:
    """Return what of the Kafka record is named, None for a field of its value."""
    if name.path[0] != "record" or name.quoted:
        return None
    return name.path[1] if len(name.path) > 1 else ""


def _field(path: tuple[str, ...]) -> Get:
    first, *inner = path
    if not inner:
        return lambda data, _record: data.get(first)

    def get(data: dict[str, Any], _record: "Record | None") -> Any:  # noqa: ANN401 - whatever a decoder gives
        value = data.get(first)
        for name in inner:
            if type(value) is not dict:
                return None
            value = value.get(name)
        return value

    return get


def _header(record: "Record", name: str) -> str | None:
    return next((_text(value) for header, value in reversed(record.headers) if header == name), None)


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="backslashreplace")


def _asks(get: Get, test: Test) -> Decide:
    return lambda data, record: test(get(data, record))


def _compares(left: Get, right: Get, test: Callable[[Any, Any], bool], negated: bool) -> Decide:  # noqa: FBT001
    def decide(data: dict[str, Any], record: "Record | None") -> bool:
        one, other = left(data, record), right(data, record)
        return one is not None and other is not None and test(one, other) is not negated

    return decide


def _all(parts: Sequence[Decide]) -> Decide:
    if len(parts) == 1:
        return parts[0]

    def decide(data: dict[str, Any], record: "Record | None") -> bool:
        for part in parts:  # noqa: SIM110 - a generator costs as much as the rest
            if not part(data, record):
                return False
        return True

    return decide


def _any(parts: Sequence[Decide]) -> Decide:
    def decide(data: dict[str, Any], record: "Record | None") -> bool:
        for part in parts:  # noqa: SIM110 - a generator costs as much as the rest
            if part(data, record):
                return True
        return False

    return decide
