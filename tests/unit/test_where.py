"""The filter of --where: what it means, what it refuses, and that the fast decision is the exact one."""

import json
import operator as op
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fraudctl.errors import BadConfig
from fraudctl.pipeline.dates import parse_moment
from fraudctl.pipeline.reader import Record
from fraudctl.pipeline.text import shown
from fraudctl.services import time_options
from fraudctl.services.where import Where, compile_where

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC).timestamp()
BERLIN = ZoneInfo("Europe/Berlin")
VALUE = (
    b'{"transaction_id":"t-1","account_id":1000000001,"customer_name":"Ada \\"A\\" Lovelace",'
    b'"transaction_date":"2026-11-24T09:45:00.000Z","merchant_type":"Grocery","transaction_type":"Purchase",'
    b'"amount":512.50,"exact":12345678901234567.89,"big":12345678901234567890123,"flag":true,"off":false,"nil":null,'
    b'"device":{"os":"x","v":{"n":1.10},"tags":["a"]},"device-id":"d-1","and":"kept","record":{"partition":"mine"},'
    b'"path":"C:\\\\50%_\\n"}'
)
HEADERS = (("source", b"old"), ("source", b"new"), ("x-id", b"\xff"), ("none", None))
RECORD = Record(
    "demo_transactions", 3, 42, 1_795_600_000_123, b"1000000001", VALUE, HEADERS
)  # 2026-11-25T09:46:40.123Z


def where(text: str) -> Where:
    """Return a filter made at 11:00 in Berlin on 2026-11-24."""
    return compile_where(text, clock=lambda: NOW, zone=BERLIN)


@pytest.mark.parametrize(
    "text",
    [
        'amount > 500 and account_id in (1000000001, 1000000003) and merchant_type like "Gr%"',
        "AMOUNT is null AND NOT amount IS NULL Or amount<>512.5",
        "amount = 512.5",
        "amount == 512.500 and amount == 5125e-1 and amount == +512.5",
        "500 < amount <= 512.50 and 600 > amount",
        "exact == 12345678901234567.89 and exact != 12345678901234567.9 and exact > 12345678901234567.88",
        "big == 12345678901234567890123 and big > 12345678901234567890122 and big in (1, 12345678901234567890123)",
        "amount > -5 and amount != -512.5",
        "account_id in [1000000001] and account_id in (1000000001) and account_id in (1,1000000001,)",
        "account_id not in (1, 2) and amount in (512.5, 'x')",
        "amount < big and account_id != amount and merchant_type == merchant_type and big == big and amount == amount",
        "(amount > 600 or merchant_type == 'Grocery') and not (amount > 600 or merchant_type == 'Fuel')",
        "flag and not off and flag == true and off is false and flag != false and flag in (true)",
        "nil is null and missing is null and device.v.x is null and device.os.x is null and flag is not null",
        "nil == null and flag != null and nil in (1, null) and missing not in (1, null) or true",
        "device.os == 'x' and device.v.n == 1.1 and device.v.n < 1.2",
        "`device-id` == 'd-1' and `and` == \"kept\" and device.`os` == 'x'",
        "`record`.partition == 'mine'",
        r"customer_name == 'Ada \"A\" Lovelace' and customer_name like '%\"A\"%'",
        r"customer_name == 'A\u0064a \"A\" Lovelace'",
        r"path like 'C:\\50\%\_\n' and path == 'C:\\50\%\_\n' and path not like 'C:\\\%%' and path like 'C:\\__\%_%'",
        "merchant_type like 'Gr_c%y' and merchant_type like '%' and merchant_type like '%%o%r%'",
        "merchant_type like 'Grocery'",
        "merchant_type not like 'gr%' and merchant_type ilike 'gR%' and merchant_type not ilike 'x%'",
        "merchant_type > 'Fuel' and merchant_type < 'Grocery2' and merchant_type != '10m'",
        "transaction_date >= '15m' and transaction_date < '14m' and transaction_date > '10:44'",
        "transaction_date == '2026-11-24T10:45:00+01:00' and transaction_date in ('2026-11-24 09:45Z', 'soon')",
        "transaction_date > '2026-11-24' and transaction_date < 'now' and '2026-11-25' > transaction_date",
        "transaction_date > '1795513400000' and transaction_date like '2026-11-24%'",
        "record.partition == 3 and record.offset in (41, 42) and record.topic == 'demo_transactions'",
        "record.key == '1000000001' and record.key like '10%' and record.key != 1000000001",
        "record.timestamp > '2026-11-25T09:46:40.122Z' and record.timestamp == 1795600000123",
        "record.timestamp > transaction_date and record.timestamp like '2026-11-25%' and record.timestamp is not null",
        r"record.headers.source == 'new' and record.headers.`x-id` == '\\xff' and record.headers.none is null",
        "true or amount > 'x'",
        " \n amount\n>\t500 \n",
        "flag and(amount>500)and merchant_type=='Grocery'and flag or`and`in('x')",
    ],
)
def test_what_holds(text: str) -> None:
    """Of one record that has all there is."""
    found = where(text)
    assert found.matches(VALUE, RECORD)
    assert found.stopped_by(VALUE, RECORD) is None


@pytest.mark.parametrize(
    "text",
    [
        "exact == 12345678901234568",
        "exact > 12345678901234567.89",
        "big == 12345678901234567890124 or big > 12345678901234567890123 or big in (12345678901234567890122, 5)",
        "amount == '512.50' or account_id == '1000000001' or flag == 1 or flag == 'true' or off == 0",
        "amount > '5' or merchant_type > 5 or merchant_type < 5 or flag in (1, 'true')",
        "missing > 5 or not missing > 5 or missing != 5 or not missing != 5 or missing not in (1, 2)",
        "nil == 5 or nil != 5 or not nil == 5 or missing like '%' or missing not like 'x' or not missing",
        "missing == nil or missing != nil or amount == nil or not amount == nil",
        "device == 'x' or device < 1 or device in ('x') or device == device",
        "device.tags == 'a' or device.tags.x == 'a'",
        "merchant_type like 'gr%' or merchant_type like 'r%' or merchant_type like '%r' or merchant_type like '_'",
        r"merchant_type like 'Gr\%' or merchant_type like 'Gr\_cery' or amount like '5%'",
        "transaction_type or amount or not transaction_type and flag",
        "record.partition == '3' or record.key is null or record.headers.other is not null or record.timestamp < '1d'",
        "transaction_date > '10:46' or transaction_date < '20m' or transaction_date > 5",
        "not (flag and not off)",
        "false",
    ],
)
def test_what_does_not_hold(text: str) -> None:
    """Each part for itself: none of what `or` joins."""
    found = where(text)
    assert not found.matches(VALUE, RECORD)
    assert found.stopped_by(VALUE, RECORD) == text


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "the value is null"),
        (b"", "the value is empty"),
        (b"\xff", "the value is not JSON"),
        (b"{", "the value is not JSON"),
        (b'{"amount":NaN}', "the value is not JSON"),
        (b'{"amount":-Infinity}', "the value is not JSON"),
        (b'{"amount":0600}', "the value is not JSON"),
        (b'\xef\xbb\xbf{"amount":600}', "the value is not JSON"),
        (b'[{"amount":600}]', "the value is not a JSON object"),
        (b"600", "the value is not a JSON object"),
        (b'{"amount":600,"x":' + b"[" * 256 + b"]" * 256 + b"}", "the value is nested too deeply"),
        (b'{"amount":600.0,"x":' + b"[" * 900 + b"]" * 900 + b"}", "the value is nested too deeply"),
        (b'{"amount":600,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "the value is nested too deeply"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_value_that_is_no_json_object_matches_nothing(value: bytes | None, why: str) -> None:
    """Not even what asks for missing fields; only what asks for nothing of the value."""
    for text in ("amount is null", "amount >= 600", "not amount < 600", "record.partition == 3 or amount is null"):
        found = where(text)
        assert not found.matches(value, RECORD)
        assert found.stopped_by(value, RECORD) == why
    found = where("record.partition == 3")
    assert found.matches(value, RECORD)
    assert found.stopped_by(value, RECORD) is None


@pytest.mark.parametrize(
    ("value", "text", "holds"),
    [
        (b'{"a":1,"a":2}', "a == 2", True),
        (b'{"a":1,"a":2}', "a == 1", False),
        (b'{"a":1e999}', "a > 1e1000", False),
        (b'{"a":1e999}', "a > 1e998", True),
        (b'{"a":1e99999999999999999999}', "a > 1e1000", True),
        (b'{"a":-1e99999999999999999999}', "a < -1e1000", True),
        (b'{"a":1e-99999999999999999999}', "a > 0 and a < 1e-1000 and a != 0", True),
        (b'{"a":0e99999999999999999999}', "a == 0", True),
        (b'{"a":-0.0}', "a == 0 and not a < 0", True),
        (b'{"a":1e-400}', "a > 0", True),
        (b'{"a":0.1000000000000000055511151231257827}', "a > 0.1", True),
        (b'{"a":0.1}', "a == 0.1 and a in (0.1)", True),
        (b'{"a":9007199254740993}', "a == 9007199254740992.5 or a == 9007199254740992", False),
        (b'{"a":9007199254740993.0}', "a == 9007199254740993", True),
        (b'{"a":9007199254740993,"b":9007199254740992.0}', "a > b and b < a and a != b", True),
        (b'{"a":' + b"9" * 5000 + b"}", "a > 1e1000", True),
        (b'{"a":"\\ud800","b":1}', "b == 1", True),
        (b'{"a":"2026-02-30T00:00:00.000Z"}', "a > '10m'", True),  # no date: as text
        (b'{"a":"2026-02-30T00:00:00.000Z"}', "a < '2026-02-15'", False),
        (
            b'{"a":"2024-02-29T00:00:00.000Z"}',
            "a < '2024-02-29T00:00:00.001Z' and a > '2024-02-28T23:59:59.999Z'",
            True,
        ),
        (b'{"a":"0000-02-01T00:00:00.000Z"}', "a < '10m'", True),
        (b'{"a":"\xc3\xa9","\xc3\xa9":1}', "a == 'é' and é == 1", True),
    ],
    ids=lambda value: str(value)[:40],
)
def test_values_at_the_edges(value: bytes, text: str, holds: bool) -> None:  # noqa: FBT001
    """Of numbers, dates and JSON itself."""
    found = where(text)
    assert found.matches(value, None) is holds
    assert (found.stopped_by(value) is None) is holds


def test_a_deep_value_within_the_limit_is_decided() -> None:
    """Also when it takes the exact way."""
    value = b'{"a":0.1,"x":' + b"[" * 255 + b"]" * 255 + b"}" + b" " * 600
    assert where("a == 0.1").matches(value, None)
    assert where("a > 0.05").matches(value, None)


def test_why_not_names_the_clause() -> None:
    """The first that does not hold, as it was typed; a clause in brackets whole."""
    found = where("amount>500 and (flag or\n off) and not  merchant_type='Fuel'")
    assert found.stopped_by(VALUE) is None
    assert found.stopped_by(b'{"amount": 5}') == "amount>500"
    assert found.stopped_by(b'{"amount": 501}') == "flag or\n off"
    assert found.stopped_by(b'{"amount": 501, "flag": true, "merchant_type": "Fuel"}') == "not  merchant_type='Fuel'"


def test_names_of_the_fields() -> None:
    """Those of the value, each once; for a word about what no record of the topic has."""
    assert where("device.os == 'x' and amount > 1 and record.offset > 1 and amount < limit").names() == (
        "device",
        "amount",
        "limit",
    )
    assert where("record.offset > 1").names() == ()


def test_what_a_time_of_day_was_read_as_is_noted() -> None:
    """For fields that are dates; elsewhere the text may be no time at all."""
    assert where("transaction_date > '09:30' and record.timestamp < '2026-11-25'").notes == (
        "--where 09:30 read as 2026-11-24T09:30:00+01:00 (Europe/Berlin)",
        "--where 2026-11-25 read as 2026-11-25T00:00:00+01:00 (Europe/Berlin)",
    )
    assert where("reason == 'today' and transaction_date > '10m'").notes == ()


@pytest.mark.parametrize(
    ("text", "said", "column"),
    [
        ("", "the filter is empty", 1),
        ("   ", "the filter is empty", 1),
        ("amount >", "a field or a value is missing behind '>'", 9),
        ("> 5", "a field or a value is missing before '>'", 1),
        ("amount > 5 and", "a field or a value is missing behind 'and'", 15),
        ("amount == == 5", "a field or a value is missing before '=='", 11),
        ("amount === 5", "a field or a value is missing before '='", 10),
        ("amount => 5", "'=>' is not understood; write >=", 8),
        ("amount := 5", "':=' is not understood; == compares", 8),
        ("amount > 5 && flag", "'&&' is not understood; write and", 12),
        ("amount > 5 || flag", "'||' is not understood; write or", 12),
        ("!flag", "'!' is not understood; write not", 1),
        ("amount % 5 > 3", "'%': it is not possible to calculate; only to compare", 8),
        ("amount -5 > 3", "'-': it is not possible to calculate; only to compare", 8),
        ("device-id == 3", "'-': it is not possible to calculate; only to compare", 7),
        ("-amount > 3", "'-': it is not possible to calculate; only to compare", 1),
        ("amount ** 5 > 3", "'**': it is not possible to calculate; only to compare", 8),
        ("amount >> 5", "'>>': it is not possible to calculate; only to compare", 8),
        ("len(name) > 3", "a call is not understood: there are no functions", 4),
        ("name.upper() == 'X'", "a call is not understood: there are no functions", 11),
        ("tags[0] == 'X'", "a part in brackets is not understood; fields of fields are written with dots", 5),
        ("f'{x}' == 'X'", "the prefix 'f' of a text is not understood", 2),
        ("a == b'x'", "the prefix 'b' of a text is not understood", 7),
        ("lambda x: 1", "a function ('lambda') is not understood", 8),
        ("[x for x in y]", "a comprehension ('for') is not understood", 4),
        ("{x: 1}", "'{' is not understood", 1),
        ("a if b else c", "a choice ('if') is not understood", 3),
        ("amount between 5 and 10", "'between' is not understood; write 5 <= amount <= 10", 8),
        ("amount 5", "an operator is missing before 5", 8),
        ("name == 'it''s'", "an operator is missing between two texts", 13),
        ("name == 'x", "the text is not closed", 9),
        ("`x == 1", "the name is not closed", 1),
        (r"name == '\q'", r"the escape \q is not understood", 10),
        ("transaction_date > 10m", "10m is not a number", 20),
        ("a == 0x1F", "0x1F is not a number", 6),
        ("a == 1_000", "1_000 is not a number", 6),
        ("a == 1.2.3", "1.2.3 is not a number", 6),
        ("a == 1e1001", "the number is beyond 1e1000", 6),
        ("a == 1e99999999999999999999", "the number is beyond 1e1000", 6),
        ("a..b == 1", "'.' is not understood here", 2),
        ("a; b", "';' is not understood; a filter is one condition", 2),
        ("(a == 1", "'(' is not closed", 1),
        ("a == 1)", "')' closes nothing", 7),
        ("(a == 1]", "']' closes nothing", 8),
        ("a in ()", "nothing stands in the brackets before ')'", 7),
        ("a in 5", "'in' takes values in brackets, like (1, 2)", 6),
        ("a in b", "'in' takes values in brackets, like (1, 2)", 6),
        ("'x' in tags", "a field is missing before 'in'", 1),
        ("a in (b, 1)", "a list has values only", 7),
        ("a in ((1, 2), 3)", "a list has values only", 7),
        ("a == (1, 2)", "a list stands behind 'in' only", 6),
        ("a == 1, b", "',' is not understood; and, or join conditions", 7),
        ("(a, b)", "a list alone is no condition", 1),
        ("a is 5", "'is' takes null, true or false; == compares", 6),
        ("a like 5", "'like' takes a text in quotes", 8),
        ("a like b", "'like' takes a text in quotes", 8),
        ("a > null", "null, true and false are neither less nor greater than anything", 3),
        ("5", "a value alone is no condition", 1),
        ("a > 1 and 'x'", "a value alone is no condition", 11),
        ("1 == 1", "no field is compared", 3),
        ("a and not not", "a field or a value is missing behind 'not'", 14),
        ("a == not b", "'not' stands before a whole comparison", 6),
        ("a not b", "'not' stands before a whole comparison", 3),
        ("a == (b and c)", "only fields and values can be compared", 7),
        ("record == 1", "'record' is nothing of a Kafka record", 1),
        ("record.size == 1", "'record.size' is nothing of a Kafka record", 1),
        ("record.headers == 1", "'record.headers' is nothing of a Kafka record", 1),
        ("record.offset.x == 1", "'record.offset.x' is nothing of a Kafka record", 1),
        ("transaction_date > 'yestreday'", "'yestreday' is not a time", 20),
        ("record.timestamp == 'x'", "'x' is not a time", 21),
        ("a == 'x' \x00", r"'\x00' is not understood", 10),
        ("name == '日本' § 1", "'§' is not understood", 14),
        ("(" * 51 + "a", "nested deeper than 50", 51),
        ("not " * 51 + "a", "nested deeper than 50", 201),
    ],
)
def test_what_is_refused(text: str, said: str, column: int) -> None:
    """In plain words, with the option, the text as it was typed and a caret below what is wrong."""
    with pytest.raises(BadConfig) as raised:
        where(text)
    assert str(raised.value).startswith(f"--where: {said}")
    assert str(raised.value).endswith(f"(column {column})")
    assert raised.value.hint
    line, caret = raised.value.excerpt
    assert caret.strip() == "^"
    if text.isascii() and text.isprintable() and len(text) < 60:
        assert line == text
        assert len(caret) == column


def test_the_caret_stands_below_wide_signs_and_in_a_window_of_long_text() -> None:
    """A sign of two columns moves it by two; of a long text the part around it is shown."""
    with pytest.raises(BadConfig) as raised:
        where("name == '日本' § 1")
    assert raised.value.excerpt == ("name == '日本' § 1", " " * 15 + "^")
    with pytest.raises(BadConfig) as raised:
        where("a == 1 and " * 20 + "b % 2 and " + "c == 3 and " * 20 + "d")
    line, caret = raised.value.excerpt
    assert line.startswith("…")
    assert line.endswith("…")
    assert len(line) <= 72
    assert line[caret.index("^")] == "%"
    with pytest.raises(BadConfig, match="longer than 4,096 characters"):
        where("a" * 5000)


def test_the_hint_is_a_filter_that_works() -> None:
    """Typed as it stands."""
    with pytest.raises(BadConfig) as raised:
        where("amount >")
    assert where((raised.value.hint or "").removeprefix("write it like ")).matches(VALUE, None)


def test_the_option_that_is_named_is_the_one_given() -> None:
    """It may be another one."""
    with pytest.raises(BadConfig, match=r"^--filter: the filter is empty"):
        compile_where("", "--filter")


def test_a_hostile_pattern_takes_no_longer_than_the_value_is_long() -> None:
    """Where backtracking would take years."""
    found = where(f"a like '{'%a' * 200}b'")
    value = b'{"a":"' + b"a" * 1_000_000 + b'"}'
    started = time.process_time()
    assert not found.matches(value, None)
    assert time.process_time() - started < 10


# The exact evaluation, written for nothing but to be plainly right.

Truth = bool | None
numbers = st.one_of(
    st.integers(-3, 3).map(str),
    st.integers(-(10**25), 10**25).map(str),
    st.sampled_from(
        ["0.1", "0.10", "1e-1", "0.1000000000000000055511151231257827", "12.5", "12.50", "1.25e1", "-0.0", "0"]
    ),
    st.sampled_from(
        ["9007199254740992", "9007199254740993", "9007199254740993.0", "9007199254740992.5", "1e22", "1e300"]
    ),
    st.sampled_from(["18446744073709551615", "18446744073709551616", "18446744073709551616.0", "-9223372036854775809"]),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-20, max_value=20).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40).map(lambda n: f"{n:e}"),
)
dates = st.sampled_from(
    ["2026-11-24T09:45:00.000Z", "2026-11-24T09:45:00Z", "2026-11-24 10:45+01:00", "2026-02-28T00:00:00.000Z",
     "2026-02-30T00:00:00.000Z", "2026-11-24T09:59:00.000Z", "now", "15m", "2026-11-24", "1795513500000"]
)  # fmt: skip
texts = st.one_of(dates, st.sampled_from(["", "Grocery", "Gr", "é", "a%b", "10"]), st.text(max_size=4))
names = st.sampled_from(["a", "b", "c", "d.e"])
orders = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])


def quoted(text: str) -> str:
    """Return a text as a filter writes it."""
    return '"' + re.sub(r'["\\%_]', lambda found: "\\" + found[0], text) + '"'


@st.composite
def comparisons(draw: st.DrawFn) -> tuple[str, Callable[[Any], Truth]]:
    """Draw a comparison as text, and what it means."""
    name = draw(names)
    kind = draw(st.sampled_from(["number", "text", "in", "null", "bool", "field"]))
    if kind == "number":
        sign, literal = draw(orders), draw(numbers)
        return f"{name} {sign} {literal}", lambda data: plainly(sign, field(data, name), Decimal(literal))
    if kind == "text":
        sign, literal = draw(orders), draw(texts)
        return f"{name} {sign} {quoted(literal)}", lambda data: plainly(sign, field(data, name), literal)
    if kind == "in":
        some, others = draw(st.lists(numbers, max_size=3)), draw(st.lists(texts, min_size=1, max_size=3))
        values = [*map(Decimal, some), *others]
        listed = ", ".join([*some, *map(quoted, others)])

        def is_in(data: Any) -> Truth:
            value = field(data, name)
            return None if value is None else any(plainly("==", value, item) for item in values)

        return f"{name} in ({listed})", is_in
    if kind == "null":
        return f"{name} is null", lambda data: field(data, name) is None
    if kind == "bool":
        return f"{name} == true", lambda data: field(data, name) is True if field(data, name) is not None else None
    sign, other = draw(orders), draw(names)
    return f"{name} {sign} {other}", lambda data: plainly(sign, field(data, name), field(data, other))


def field(data: Any, name: str) -> Any:
    """Return a field, None for what is not there."""
    for part in name.split("."):
        data = data.get(part) if isinstance(data, dict) else None
    return data


def moment(text: str) -> float | None:
    """Return the time of a date, or what the time options make of a text."""
    try:
        return (parse_moment(text) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1)
    except ValueError:
        return None


def plainly(sign: str, left: Any, right: Any) -> Truth:
    """Compare two values; None is unknown."""
    if left is None or right is None:
        return None
    if sign == "!=":
        return not plainly("==", left, right)
    if isinstance(left, bool) and isinstance(right, bool):
        return sign == "==" and left is right
    if isinstance(left, str) and isinstance(right, str):
        first, second = moment(left), moment(right)
        if first is not None and second is None:
            try:
                second = time_options.read(right, "", clock=lambda: NOW, zone=BERLIN, latest=True).milliseconds
            except BadConfig:
                second = None
        if first is not None and second is not None:
            left, right = first, second
    elif not (isinstance(left, Decimal) and isinstance(right, Decimal)):
        return False
    return bool({"==": op.eq, "<": op.lt, "<=": op.le, ">": op.gt, ">=": op.ge}[sign](left, right))


def both(one: Truth, other: Truth) -> Truth:
    """Return what and makes of two truths in SQL."""
    return False if False in {one, other} else None if None in {one, other} else True


def inverse(one: Truth) -> Truth:
    """Return what not makes of a truth in SQL."""
    return None if one is None else not one


Condition = tuple[str, Callable[[Any], Truth]]
conditions: st.SearchStrategy[Condition] = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        inner.map(lambda one: (f"not ({one[0]})", lambda data: inverse(one[1](data)))),
        st.tuples(inner, inner).map(
            lambda two: (f"({two[0][0]}) and ({two[1][0]})", lambda data: both(two[0][1](data), two[1][1](data)))
        ),
        st.tuples(inner, inner).map(
            lambda two: (
                f"({two[0][0]}) or ({two[1][0]})",
                lambda data: inverse(both(inverse(two[0][1](data)), inverse(two[1][1](data)))),
            )
        ),
    ),
    max_leaves=6,
)
json_values = st.one_of(
    numbers, texts.map(json.dumps), st.sampled_from(["true", "false", "null", "{}", "[1]", '{"e":1.5}'])
)
documents = st.lists(st.tuples(st.sampled_from("abcd"), json_values), max_size=5).map(
    lambda fields: "{" + ",".join(f'"{name}":{value}' for name, value in fields) + "}"
)


@settings(max_examples=1000)
@given(condition=conditions, document=documents)
@example(condition=("a == 0.1", lambda _: False), document='{"a":0.1000000000000000055511151231257827}')
@example(condition=("a > b", lambda _: True), document='{"a":9007199254740993,"b":9007199254740992.0}')
def test_the_fast_decision_is_the_exact_one(condition: Condition, document: str) -> None:
    """Compared with three-valued logic over Decimals, for near numbers, repeated fields, dates and nesting."""
    text, meaning = condition
    expected = meaning(json.loads(document, parse_int=Decimal, parse_float=Decimal)) is True
    found = where(text)
    assert found.matches(document.encode(), None) is expected
    assert (found.stopped_by(document.encode()) is None) is expected


WORDS = "a amount record . and or not in is like ilike null true ( ) [ ] , == = < > <> 5 0 00 - 1.5 1e5 'x' \"%\" `a`"
OTHERS = [
    "lambda",
    ":",
    "f",
    "\\",
    "\n",
    "\t",
    " ",
    " ",
    "é",
    "日",
    "\x00",
    "\ud800",
    "#",
    "{",
    "ſ",
    "\u212a",
    "\u00a0",
]
soup = st.lists(st.sampled_from([*WORDS.split(), *OTHERS]), max_size=25).map("".join)


@settings(max_examples=500)
@given(text=st.one_of(st.text(max_size=60), soup, soup.map(lambda text: text.replace("a", "a "))))
@example("'a'and b")
@example("b or`a`and'a'or b")
@example("x == 0or y")
@example("(" * 4000)
@example("not " * 1000)
@example("a" * 4096)
@example("9" * 4090)
@example("-" * 4096)
@example("[" * 50 + "]" * 50)
@example("a and " * 682 + "a")
@example("a < " * 1000 + "a")
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    """By its own error alone; a filter answers for any record."""
    try:
        found = where(text)
    except BadConfig as error:
        assert str(error).startswith("--where: ")  # noqa: PT017 - either is fine
        assert [shown(line) for line in error.excerpt] == list(error.excerpt)  # noqa: PT017
    else:
        for value in (VALUE, None, b"", b"{}"):
            assert found.matches(value, RECORD) in {True, False}


ALL = where(
    "a > 5 or a == 0.1 or a in (1, 2.5, 'x', 'now') or a like '%x%' "
    "or a > '10m' or a == b or a.b.c > 1 or a or a is null"
)


@given(
    value=st.one_of(
        st.none(), st.binary(), documents.map(str.encode), st.text().map(lambda text: text.encode("utf-8", "replace"))
    )
)
@example(b'{"a":' * 5000 + b"}" * 5000)
@example(b'{"a":' + b"[" * 100_000)
@example(b'{"a":"\\ud800","b":"\\ud800"}')
@example(b'{"a":' + b"1" * 100_000 + b"}")
@example(b'{"a":1e' + b"1" * 100_000 + b"}")
@example(b"\xef\xbb\xbf{}")
def test_any_bytes_are_decided(value: bytes | None) -> None:
    """Without an error; the reason agrees with the decision."""
    assert ALL.matches(value, RECORD) is (ALL.stopped_by(value, RECORD) is None)
