"""What a filter asks of one value: small functions, made once, called a hundred thousand times a second.

A value is what a JSON decoder gives. orjson is fast and makes floats: the nearest to what is written. To round keeps
the order, so a float that differs from the literal's own nearest float decides. One that is equal does not, and
`Unsure` asks for the record to be decoded exactly, where a number is an int or a Decimal.
"""

import json
import math
import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from fraudctl.pipeline.dates import format_milliseconds, milliseconds, parse_moment
from fraudctl.services.where_syntax import Text

Test = Callable[[Any], bool]

_DEEPEST: Final = 256
_SHORT_INTEGER: Final = 18  # digits; Python refuses to convert thousands
_EXACT_IN_FLOAT: Final = 2**53
# The smallest Decimal is 1e-1999999999999999997; nothing that a filter can name lies between it and zero.
_TINY: Final = Decimal("1e-1999999999999999997")
# A date as records have it, without the days that only some months have: text in this form sorts by time.
_PLAIN_DATE: Final = re.compile(
    r"(?!0000)\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z", re.ASCII
)
_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
FLIPPED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


class Unsure(Exception):
    """A float is too near to the number that it is compared with: the value has to be decoded exactly."""


class NotAnObject(ValueError):
    """A record's value is no JSON object; the text says what it is."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A text of the filter, and the time in epoch milliseconds that it names, if it does."""

    text: str
    moment: int | None


def exact(value: bytes | None) -> dict[str, Any]:
    """Decode a JSON object with ints and Decimals, of a repeated field the last one; raises `NotAnObject`."""
    if value is None:
        raise NotAnObject("the value is null")
    try:
        data = json.loads(value.decode(), parse_int=_integer, parse_float=_decimal, parse_constant=_refuse)
    except RecursionError as error:
        raise NotAnObject("the value is nested too deeply") from error
    except ValueError as error:  # also of the decoding
        raise NotAnObject("the value is not JSON" if value else "the value is empty") from error
    if not isinstance(data, dict):
        raise NotAnObject("the value is not a JSON object")
    if is_deep(value) and _depth(data) > _DEEPEST:
        raise NotAnObject("the value is nested too deeply")
    return data


def is_deep(value: bytes) -> bool:
    """Return whether the value may be nested too deeply."""
    return len(value) > 2 * _DEEPEST and value.count(b"[") + value.count(b"{") > _DEEPEST


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= _SHORT_INTEGER else Decimal(text)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # the exponent has more than 18 digits
        digits, _, exponent = text.lower().partition("e")
        if not Decimal(digits):
            return Decimal(0)
        return (_TINY if exponent.startswith("-") else Decimal("Infinity")).copy_sign(Decimal(digits))


def _refuse(name: str) -> None:
    raise ValueError(name)


def _depth(data: object) -> int:
    depth, level = 0, [data]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


def moment_of(text: str) -> int | None:
    """Return the epoch milliseconds of a date of the grammar of `fraudctl.pipeline.dates`, None for other text."""
    try:
        moment = parse_moment(text)
    except ValueError:
        return None
    return milliseconds(moment)


def is_null(value: object) -> bool:
    """Return whether a field is missing, or null."""
    return value is None


def compares_number(name: str, number: Decimal) -> Test:
    """Return a test of ``==`` or an order with a number."""
    near = float(number)
    if name == "==":
        return _equals_number(number, near)
    compare = _ORDER[name]
    # The integer that divides integers as the number does.
    whole = math.floor(number) if name in {">", "<="} else math.ceil(number)

    def test(value: Any) -> bool:  # noqa: ANN401 - whatever a decoder gives
        kind = type(value)
        if kind is float:
            if value == near:
                raise Unsure
            return compare(value, near)
        if kind is int:
            return compare(value, whole)
        return kind is Decimal and compare(value, number)

    return test


def _equals_number(number: Decimal, near: float) -> Test:
    whole = math.floor(number) if number == number.to_integral_value() else None

    def test(value: Any) -> bool:  # noqa: ANN401 - whatever a decoder gives
        kind = type(value)
        if kind is float:
            if value == near:
                raise Unsure
            return False
        if kind is int:
            return bool(value == whole)
        return kind is Decimal and bool(value == number)

    return test


def compares_text(name: str, literal: Literal) -> Test:
    """Return a test of ``==`` or an order with a text; with a time if both are."""
    text, moment = literal.text, literal.moment
    compare = operator.eq if name == "==" else _ORDER[name]
    if moment is None:
        return lambda value: type(value) is str and compare(value, text)
    plain, is_plain = format_milliseconds(moment), _PLAIN_DATE.fullmatch

    def test(value: Any) -> bool:  # noqa: ANN401 - whatever a decoder gives
        if type(value) is not str:
            return False
        if is_plain(value):
            return compare(value, plain)
        found = moment_of(value)
        return compare(value, text) if found is None else compare(found, moment)

    return test


def is_boolean(wanted: bool) -> Test:  # noqa: FBT001 - the value itself
    """Return a test for one of the two."""
    return lambda value: value is wanted


def is_one_of(items: Iterable[Literal | Decimal | bool | None]) -> Test:
    """Return a test for the values of a list; null among them stands for a field that is null or missing."""
    listed = list(items)
    numbers = {item for item in listed if isinstance(item, Decimal)}
    nears = {float(item) for item in numbers}
    wholes = {math.floor(item) for item in numbers if item == item.to_integral_value()}
    texts = [item for item in listed if isinstance(item, Literal)]
    moments = {item.moment for item in texts if item.moment is not None}
    sets: dict[type, set[Any]] = {
        str: {item.text for item in texts},
        int: wholes,
        Decimal: numbers,
        bool: {item for item in listed if isinstance(item, bool)},
        type(None): {item for item in listed if item is None},
    }

    def test(value: Any) -> bool:  # noqa: ANN401 - whatever a decoder gives
        kind = type(value)
        if kind is float:
            if value in nears:
                raise Unsure
            return False
        found = sets.get(kind)
        if found is None:
            return False
        return value in found or (kind is str and bool(moments) and moment_of(value) in moments)

    return test


def is_like(pattern: Text, *, fold: bool) -> Test:
    """Return a test for a pattern with ``%`` and ``_``; in any case with `fold`.

    What lies between two ``%`` is looked for once, from left to right, and never again (an atomic group), so the time
    is linear in the value's length whatever the pattern.
    """
    parts = [""]
    for sign, escaped in zip(pattern.value, pattern.escaped, strict=True):
        if sign == "%" and not escaped:
            parts.append("")
        else:
            parts[-1] += "." if sign == "_" and not escaped else re.escape(sign)
    first, *others = parts
    middle = "".join(f"(?>.*?{part})" for part in others[:-1] if part)
    expression = f"{first}{middle}.*{others[-1]}" if others else first
    matches = re.compile(expression, re.DOTALL | (re.IGNORECASE if fold else 0)).fullmatch
    return lambda value: type(value) is str and matches(value) is not None


def compares_fields(name: str) -> Callable[[Any, Any], bool]:
    """Return a test of ``==`` or an order between two values; as times if both are dates."""
    compare = operator.eq if name == "==" else _ORDER[name]

    def test(left: Any, right: Any) -> bool:  # noqa: ANN401 - whatever a decoder gives
        kinds = {type(left), type(right)}
        if kinds <= {int, float, Decimal}:
            if float in kinds and (left == right or _is_inexact(left) or _is_inexact(right)):
                raise Unsure
            return compare(left, right)
        if kinds == {str}:
            one, other = moment_of(left), moment_of(right)
            return compare(left, right) if one is None or other is None else compare(one, other)
        return kinds == {bool} and name == "==" and left is right

    return test


def _is_inexact(value: float | Decimal) -> bool:
    """Return whether a float cannot hold the integer."""
    return type(value) is int and abs(value) > _EXACT_IN_FLOAT
