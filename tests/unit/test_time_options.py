"""The times and durations that people type: frozen clocks, five zones, the days on which clocks change."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.errors import BadConfig
from fraudctl.services import time_options

NOW = 1_790_000_000.5  # 2026-09-21T14:13:20.5Z, 16:13 in Berlin
BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    BERLIN,
    ZoneInfo("America/New_York"),
    ZoneInfo("Asia/Kolkata"),
    ZoneInfo("UTC"),
    ZoneInfo("Australia/Lord_Howe"),  # changes its clocks by half an hour
]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
# From 2000 to 2037, a third of them within two days of a change of the clocks somewhere.
seconds = st.integers(946_684_800, 2_145_916_800)
changes = st.sampled_from(
    [
        datetime(year, month, day, 12, tzinfo=UTC).timestamp()
        for year in (2024, 2026)
        for month, day in [
            (2, 29 if year == 2024 else 28),
            (3, 8),
            (3, 10),
            (3, 29),
            (3, 31),
            (4, 5),
            (4, 7),
            (10, 4),
            (10, 25),
            (10, 27),
            (11, 1),
            (11, 3),
            (12, 31),
        ]
    ]
)
nows = st.one_of(seconds, seconds, st.builds(lambda at, by: int(at) + by, changes, st.integers(-172_800, 172_800)))


def at(text: str, zone: tzinfo = BERLIN) -> float:
    """Return epoch seconds of a local time."""
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def read(text: str, now: float = NOW, zone: tzinfo = BERLIN, **options: object) -> datetime:
    """Return what `read` makes of a text, in the zone."""
    moment = time_options.read(text, "--since", clock=lambda: now, zone=zone, **options)  # type: ignore[arg-type]
    return (EPOCH + timedelta(milliseconds=moment.milliseconds)).astimezone(zone)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("now", 1_790_000_000_500),
        ("30s", 1_789_999_970_500),
        ("15m", 1_789_999_100_500),
        ("2h", 1_789_992_800_500),
        ("1d", 1_789_913_600_500),
        ("1h30m", 1_789_994_600_500),
        ("1.5h", 1_789_994_600_500),
        ("250ms", 1_790_000_000_250),
        ("1m250ms", 1_789_999_940_250),
        ("999999d", 0),
        ("1790000000500", 1_790_000_000_500),
        ("2026-09-21T14:13:20.5Z", 1_790_000_000_500),
        ("2026-09-21T16:13:20.500999+02:00", 1_790_000_000_500),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_times_that_need_no_zone(text: str, milliseconds: int) -> None:
    """Read the same everywhere, so nothing has to be said; milliseconds are cut, not rounded."""
    for zone in ZONES:
        moment = time_options.read(text, "--since", clock=lambda: NOW, zone=zone)
        assert moment == time_options.Moment(milliseconds)


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("09:30", "2026-09-21T09:30:00+02:00 (Europe/Berlin)"),
        ("9:30", "2026-09-21T09:30:00+02:00 (Europe/Berlin)"),
        ("09:30:15", "2026-09-21T09:30:15+02:00 (Europe/Berlin)"),
        ("09:30:15.25", "2026-09-21T09:30:15.250000+02:00 (Europe/Berlin)"),
        ("16:13:20", "2026-09-21T16:13:20+02:00 (Europe/Berlin)"),
        ("16:13:21", "2026-09-20T16:13:21+02:00 (Europe/Berlin)"),
        ("00:00", "2026-09-21T00:00:00+02:00 (Europe/Berlin)"),
        ("14:00Z", "2026-09-21T14:00:00+00:00"),
        ("14:30Z", "2026-09-20T14:30:00+00:00"),
        ("9:30-0500", "2026-09-20T09:30:00-05:00"),
        ("today", "2026-09-21T00:00:00+02:00 (Europe/Berlin)"),
        ("yesterday", "2026-09-20T00:00:00+02:00 (Europe/Berlin)"),
        ("2024-02-29", "2024-02-29T00:00:00+01:00 (Europe/Berlin)"),
        ("2026-11-24T10:15", "2026-11-24T10:15:00+01:00 (Europe/Berlin)"),
        ("2026-07-01 10:15:30.5", "2026-07-01T10:15:30.500000+02:00 (Europe/Berlin)"),
        ("20260701T101530", "2026-07-01T10:15:30+02:00 (Europe/Berlin)"),
    ],
)
def test_what_a_time_without_its_zone_or_day_was_read_as(text: str, read_as: str) -> None:
    """Is said with the zone, in a form that can be typed instead; --since takes the last such time of day."""
    moment = time_options.read(text, "--since", clock=lambda: NOW, zone=BERLIN, latest=True)
    assert moment.note == f"--since {text} read as {read_as}"
    again = time_options.read(read_as.split(maxsplit=1)[0], "--since", clock=lambda: NOW, zone=ZoneInfo("Asia/Kolkata"))
    assert again == time_options.Moment(moment.milliseconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "15",
        "m",
        "s",
        "-5m",
        "5m ago",
        "5 m",
        "10M",
        "30m1h",
        "1..5h",
        ".5h",
        "1.h",
        "٣m",
        "1e3s",
        "24:00",
        "9:5",
        "09:60",
        "09:30:60",
        "009:30",
        "09:30 ",
        "09:30Europe/Berlin",
        "09:30+25:00",
        "2026-02-29",
        "2026-02-29T10:00",
        "2026-13-01",
        "0000-01-01",
        "26-11-24",
        "2026-11-24Z",
        "1960-01-01T00:00:00Z",
        "1960-01-01",
        "0001-01-01",
        "10000-01-01",
        "123456789012",
        "12345678901234567",
        "Now",
        "now\n",
        "\x00",
    ],
)
def test_what_is_no_time(text: str) -> None:
    """Names the option; the hint shows how a time looks."""
    for latest in (False, True):
        with pytest.raises(BadConfig, match=r"^--since: ") as raised:
            read(text, latest=latest)
        assert raised.value.hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("1790000000", "write 1790000000000: epoch milliseconds have 13 digits"),
        ("1790000000000000", "epoch milliseconds have 13 digits"),
        ("20261124", "write 2026-11-24 for a day"),
    ],
)
def test_a_number_that_is_no_time_is_not_read_as_another(text: str, hint: str) -> None:
    """Seconds and microseconds are not milliseconds; what the hint says to write is understood."""
    with pytest.raises(BadConfig) as raised:
        read(text)
    assert raised.value.hint == hint
    if hint.startswith("write"):
        assert read(hint.split()[1].rstrip(":"))


@given(now=nows, minute=st.integers(0, 1439), zone=st.sampled_from(ZONES))
def test_a_time_of_day_is_the_last_one(now: int, minute: int, zone: tzinfo) -> None:
    """Compared with a clock that is wound back minute by minute from now to the beginning of yesterday."""
    wall = f"{minute // 60:02d}:{minute % 60:02d}"
    instant = EPOCH + timedelta(seconds=now - now % 60)
    today = instant.astimezone(zone).date()
    shown: dict[date, list[datetime]] = {today: [], today - timedelta(days=1): []}
    while (local := instant.astimezone(zone)).date() in shown:
        if f"{local:%H:%M}" == wall:
            shown[local.date()].append(local)
        instant -= MINUTE
    # Yesterday counts if today's is yet to come, not if today has none: then it was skipped.
    passed = f"{(EPOCH + timedelta(seconds=now)).astimezone(zone):%H:%M}" >= wall
    expected = shown[today] or ([] if passed else shown[today - timedelta(days=1)])
    try:
        found = read(wall, now, zone, latest=True)
    except BadConfig as error:
        assert len(expected) != 1, expected
        said = "came twice" if expected else "does not exist"
        assert said in str(error)  # noqa: PT017
        assert error.hint is not None  # noqa: PT017
        assert [moment.isoformat() in error.hint for moment in expected] == [True] * len(expected)  # noqa: PT017
        assert read(error.hint.split()[1].rstrip(","), now, zone) <= EPOCH + timedelta(seconds=now)  # noqa: PT017
    else:
        assert [found] == expected


@given(now=nows, minute=st.integers(0, 1439), zone=st.sampled_from(ZONES))
def test_a_time_of_day_for_other_options_is_todays(now: int, minute: int, zone: tzinfo) -> None:
    """Also when it is yet to come; the day is the one that the zone has."""
    wall = f"{minute // 60:02d}:{minute % 60:02d}"
    try:
        found = read(wall, now, zone)
    except BadConfig as error:
        assert "clocks were set" in str(error)  # noqa: PT017 - most times are no error
    else:
        today = (EPOCH + timedelta(seconds=now)).astimezone(zone).date()
        assert f"{found:%Y-%m-%d %H:%M}" == f"{today} {wall}"


@given(day=st.dates(date(1970, 1, 2), date(9998, 12, 31)), zone=st.sampled_from(ZONES))
def test_a_day_begins_with_its_first_moment(day: date, zone: tzinfo) -> None:
    """The millisecond before it belongs to the day before."""
    found = read(day.isoformat(), zone=zone)
    assert found.date() == day
    before = found.astimezone(UTC) - timedelta(milliseconds=1)
    assert before.astimezone(zone).date() == day - timedelta(days=1)


@given(wall=st.datetimes(datetime(1970, 1, 3), datetime(2037, 12, 31)), zone=st.sampled_from(ZONES))  # noqa: DTZ001 - a wall clock's
def test_a_date_without_a_zone_is_read_in_the_machines(wall: datetime, zone: tzinfo) -> None:
    """Exactly what was typed stands on the clock then; what no clock showed, or two, is refused."""
    text = wall.isoformat(" ", "milliseconds")
    both = [wall.replace(tzinfo=zone, fold=fold) for fold in (0, 1)]
    try:
        found = read(text, zone=zone)
    except BadConfig as error:
        assert both[0].utcoffset() != both[1].utcoffset()
        assert "clocks were set" in str(error)  # noqa: PT017
    else:
        assert both[0].utcoffset() == both[1].utcoffset()
        assert found.replace(tzinfo=None).isoformat(" ", "milliseconds") == text


@pytest.mark.parametrize(
    ("text", "now", "zone", "said", "hint"),
    [
        (
            "02:30",
            "2026-03-29T10:00",
            "Europe/Berlin",
            "--since: '02:30' does not exist: clocks were set forward over 2026-03-29 02:30:00 (Europe/Berlin)",
            "write 2026-03-29T03:00:00+02:00, the moment of the change",
        ),
        (
            "02:30",
            "2026-10-25T10:00",
            "Europe/Berlin",
            "--since: '02:30' came twice: clocks were set back at 2026-10-25 02:30:00 (Europe/Berlin)",
            "write 2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00",
        ),
        (
            "02:15",
            "2026-10-04T10:00",
            "Australia/Lord_Howe",
            "--since: '02:15' does not exist: clocks were set forward over 2026-10-04 02:15:00 (Australia/Lord_Howe)",
            "write 2026-10-04T02:30:00+11:00, the moment of the change",
        ),
        (
            "2011-12-30",
            "2026-10-10T10:00",
            "Pacific/Apia",
            "--since: there was no 2011-12-30 (Pacific/Apia)",
            "write 2011-12-31T00:00:00+14:00, when the day after it began",
        ),
    ],
)
def test_a_time_that_clocks_skipped_or_showed_twice(text: str, now: str, zone: str, said: str, hint: str) -> None:
    """Is refused, with what can be written instead."""
    place = ZoneInfo(zone)
    with pytest.raises(BadConfig) as raised:
        read(text, at(now, place), place, latest=True)
    assert (str(raised.value), raised.value.hint) == (said, hint)


def test_a_time_that_comes_twice_is_taken_while_only_one_can_be_meant() -> None:
    """Between the two, the second is yet to come; before both, it is yesterday's."""
    first = datetime.fromisoformat("2026-10-25T02:30:00+02:00").timestamp()
    assert read("02:30", first + 60, latest=True).timestamp() == first
    assert read("02:30", first - 60, latest=True).timestamp() == first - 86_400


def test_a_day_whose_midnight_was_skipped() -> None:
    """Begins at one o'clock; where midnight came twice, at the first."""
    assert read("2026-04-24", zone=ZoneInfo("Africa/Cairo")).isoformat() == "2026-04-24T01:00:00+03:00"
    assert read("2026-11-01", zone=ZoneInfo("America/Havana")).isoformat() == "2026-11-01T00:00:00-04:00"


@pytest.mark.parametrize(
    ("since", "until", "now", "first", "last"),
    [
        ("09:00", "09:30", "2026-11-24T10:00", "2026-11-24T09:00", "2026-11-24T09:30"),
        ("09:00", "17:00", "2026-11-24T10:00", "2026-11-24T09:00", "2026-11-24T17:00"),
        ("23:00", "01:00", "2026-11-24T10:00", "2026-11-23T23:00", "2026-11-24T01:00"),
        ("23:00", "23:30", "2026-11-24T00:30", "2026-11-23T23:00", "2026-11-23T23:30"),
        ("2h", "23:30", "2026-11-24T00:30", "2026-11-23T22:30", "2026-11-23T23:30"),
        ("yesterday", "09:30", "2026-11-24T10:00", "2026-11-23T00:00", "2026-11-24T09:30"),
        ("2026-11-20", "09:30", "2026-11-24T09:00", "2026-11-20T00:00", "2026-11-24T09:30"),
        ("today", "now", "2026-11-24T09:00", "2026-11-24T00:00", "2026-11-24T09:00"),
        ("09:30", "09:30", "2026-11-24T10:00", "2026-11-24T09:30", "2026-11-24T09:30"),
    ],
)
def test_a_span_is_what_its_two_times_mean_together(since: str, until: str, now: str, first: str, last: str) -> None:
    """--until is the first such time after --since; with a --since long ago, today's."""
    found = time_options.span(since, until, clock=lambda: at(now), zone=BERLIN)
    assert found == (at(first) * 1000, at(last) * 1000)


def test_an_end_alone_is_todays() -> None:
    """Also when it is yet to come: then what arrives until then is read."""
    now = at("2026-11-24T10:00")
    for until in ("09:30", "17:00"):
        found = time_options.span(None, until, clock=lambda: now, zone=BERLIN)
        assert found == (None, at(f"2026-11-24T{until}") * 1000)


def test_what_was_read_is_said_for_each_bound() -> None:
    """To whoever asks for it."""
    notes: list[str] = []
    time_options.span("09:30", "2026-11-25", clock=lambda: at("2026-11-24T10:00"), zone=BERLIN, note=notes.append)
    assert notes == [
        "--since 09:30 read as 2026-11-24T09:30:00+01:00 (Europe/Berlin)",
        "--until 2026-11-25 read as 2026-11-25T00:00:00+01:00 (Europe/Berlin)",
    ]
    time_options.span("1h", "now", note=notes.append)
    assert len(notes) == 2


def test_a_span_that_ends_before_it_begins() -> None:
    """Is refused in the user's own words."""
    with pytest.raises(BadConfig, match="--since 1h is after --until 2h") as raised:
        time_options.span("1h", "2h")
    assert raised.value.hint == "--since takes the earlier time"


@pytest.fixture
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put this process into Berlin."""
    before = os.environ.get("TZ")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    assert os.environ.get("TZ") == before
    time.tzset()


@pytest.mark.usefixtures("_berlin")
def test_the_machines_own_zone() -> None:
    """Is the one that counts by default, changes of the clocks included."""
    moment = time_options.read("09:30", "--since", clock=lambda: NOW, latest=True)
    assert moment.note == "--since 09:30 read as 2026-09-21T09:30:00+02:00 (CEST)"
    assert moment.milliseconds == at("2026-09-21T09:30") * 1000
    assert time_options.parse("2026-11-24", "--from") == at("2026-11-24T00:00") * 1000
    with pytest.raises(BadConfig, match="does not exist"):
        time_options.parse("2026-03-29T02:30", "--from")
    with pytest.raises(BadConfig, match="came twice"):
        time_options.parse("2026-10-25T02:30", "--from")


def test_an_hour_ago_is_so() -> None:
    """By the real clock too."""
    assert abs(time_options.parse("1h", "--from") / 1000 - (datetime.now(UTC).timestamp() - 3600)) < 60


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("30s", 30_000),
        ("0s", 0),
        ("1h30m", 5_400_000),
        ("1.5s", 1500),
        ("250ms", 250),
        ("1.0009s", 1000),
        ("2d", 172_800_000),
    ],
)
def test_durations(text: str, milliseconds: int) -> None:
    """In milliseconds, which are cut."""
    assert time_options.duration(text, "--for") == milliseconds


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("30", "write 30s for seconds"),
        ("", "1h30m"),
        ("now", "1h30m"),
        ("09:30", "1h30m"),
        ("-3s", "1h30m"),
        ("3 s", "1h30m"),
    ],
)
def test_what_is_no_duration(text: str, hint: str) -> None:
    """Names the option; a bare number gets its unit."""
    with pytest.raises(BadConfig, match=r"^--for: ") as raised:
        time_options.duration(text, "--for")
    assert hint in str(raised.value.hint)


units = st.sampled_from(["d", "h", "m", "s", "ms"])


@given(st.lists(st.tuples(st.integers(0, 999_999), units), min_size=1, max_size=5, unique_by=lambda part: part[1]))
def test_what_a_duration_adds_up_to(parts: list[tuple[int, str]]) -> None:
    """The units in falling order are its sum; in any other order it is refused."""
    sizes = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
    text = "".join(f"{amount}{unit}" for amount, unit in parts)
    if all(sizes[one] > sizes[other] for (_, one), (_, other) in pairwise(parts)):
        assert time_options.duration(text, "--for") == sum(amount * sizes[unit] for amount, unit in parts)
    else:
        with pytest.raises(BadConfig):
            time_options.duration(text, "--for")


shaped = st.from_regex(r"[0-9dhmsZT:.+ -]{0,24}", fullmatch=True)


@given(text=st.one_of(st.text(), shaped), now=nows, zone=st.sampled_from(ZONES), latest=st.booleans())
def test_any_text_is_a_time_or_refused(text: str, now: int, zone: tzinfo, latest: bool) -> None:  # noqa: FBT001
    """With the option's name and a hint, by no other error."""
    try:
        moment = time_options.read(text, "--since", clock=lambda: now, zone=zone, latest=latest)
    except BadConfig as error:
        assert str(error).startswith("--since: ")  # noqa: PT017 - either is fine
        assert error.hint  # noqa: PT017
    else:
        assert moment.milliseconds >= 0
