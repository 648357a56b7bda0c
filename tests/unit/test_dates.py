"""The dates that people give: a written grammar, and nothing beside it."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.pipeline.dates import format_date, format_milliseconds, normalise_date, parse_moment
from fraudctl.pipeline.text import iso

MOMENT = datetime(2026, 11, 25, 12, 34, 56, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-25T12:34:56Z",
        "2026-11-25t12:34:56z",
        "2026-11-25 12:34:56Z",
        "2026-11-25T12:34:56.000Z",
        "2026-11-25T12:34:56,0Z",
        "2026-11-25T12:34:56.000999999Z",
        "2026-11-25T12:34:56.000999999999999999999Z",
        "2026-11-25T13:34:56+01:00",
        "2026-11-25T13:34:56+0100",
        "2026-11-25T07:04:56-05:30",
        "20261125123456Z",
        "20261125T123456Z",
        "20261125T133456+0100",
        "20261125T133456.000+01:00",
    ],
)
def test_the_same_moment_in_every_form(text: str) -> None:
    """Cut to milliseconds, in UTC."""
    assert parse_moment(text) == MOMENT
    assert normalise_date(text) == "2026-11-25T12:34:56.000Z"


def test_seconds_may_be_left_out() -> None:
    """As people type a time of day."""
    assert parse_moment("2026-11-25T12:34Z") == MOMENT.replace(second=0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-25",
        "2026-11-25T12:34:56",
        "2026-11-25x12:34:56Z",
        "2026-11-25T12:34:60Z",
        "2026-11-25T24:00:00Z",
        "2026-02-30T12:34:56Z",
        "2026-W48-3T12:34:56Z",
        "2026-330T12:34:56Z",
        "2026112512345Z",
        "20261125 123456Z",
        "2026-11-25T123456Z",
        "20261125T12:34:56Z",
        "2026-11-25T12:34:56+01",
        "2026-11-25T12:34:56+01:60",
        "2026-11-25T12:34:56+24:00",
        "2026-11-25T12:34:56.Z",
        " 2026-11-25T12:34:56Z",
        "2026-11-25T12:34:56Z\n",
        "26/11/2026 00:20",
        "٢٠٢٦-11-25T12:34:56Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-00:01",
    ],
)
def test_anything_else_is_refused_and_left_as_it_is(text: str) -> None:
    """Never read as some other moment."""
    with pytest.raises(ValueError, match=r"not|must|range|before"):
        parse_moment(text)
    assert normalise_date(text) == text


@given(
    moment=st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31)),  # noqa: DTZ001 - made aware below
    minutes=st.integers(-23 * 60 - 59, 23 * 60 + 59),
    compact=st.booleans(),
    digits=st.integers(0, 6),
)
def test_what_is_written_is_what_is_read(moment: datetime, minutes: int, compact: bool, digits: int) -> None:  # noqa: FBT001
    """Any moment in any zone, with any number of digits, written by strftime."""
    local = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    sign, offset = ("-" if minutes < 0 else "+"), abs(minutes)
    fraction = f".{local.microsecond:06d}"[: digits + 1] if digits else ""
    year = f"{local.year:04d}"
    text = year + local.strftime("%m%dT%H%M%S" if compact else "-%m-%dT%H:%M:%S")
    text += f"{fraction}{sign}{offset // 60:02d}{'' if compact else ':'}{offset % 60:02d}"
    kept = int(f"{local.microsecond:06d}"[: min(digits, 3)].ljust(6, "0"))
    assert parse_moment(text) == local.replace(microsecond=kept)
    assert normalise_date(text) == format_date(local.replace(microsecond=kept))


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_every_millisecond_that_is_a_date_is_written_and_read(epoch_ms: int) -> None:
    """From year 1, which has four digits too, to year 9999; text for people has the same form."""
    text = format_milliseconds(epoch_ms)
    assert len(text) == 24
    assert parse_moment(text) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=epoch_ms)
    assert iso(epoch_ms) == text


@pytest.mark.parametrize("epoch_ms", [-62_135_596_800_001, 253_402_300_800_000, 2**63 - 1, -(2**63)])
def test_a_timestamp_that_is_no_date_stays_a_number_for_people(epoch_ms: int) -> None:
    """A producer may give a record any timestamp; what needs a date gets an error."""
    with pytest.raises(OverflowError):
        format_milliseconds(epoch_ms)
    assert iso(epoch_ms) == str(epoch_ms)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026-11-25T12:34:56", "not a date with its zone, like 2026-11-24T10:15:30Z"),
        ("yesterday", "not a date with its zone, like 2026-11-24T10:15:30Z"),
        ("2026-11-25T12:34:60Z", "second"),
        ("2026-11-25T12:34:56+99:00", "the offset from UTC is not from -23:59 to \\+23:59"),
        ("9999-12-31T23:59:59-00:01", "after year 9999 in UTC"),
    ],
)
def test_the_refusal_states_what_is_expected(text: str, why: str) -> None:
    """Not merely that something is wrong."""
    with pytest.raises(ValueError, match=why):
        parse_moment(text)
