"""Tables that fit their terminal, and values as people read them."""

import io
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from fakes import Terminal

from fraudctl import tables
from fraudctl.config import Format
from fraudctl.render import Renderer
from fraudctl.tables import Column

ID = "9e8b63f23f3c4a162ee5c20b7e0f5224"
ROW = {
    "detected_at": "2026-11-24T17:10:40.116Z",
    "account_id": 1000000003,
    "customer_name": "Chloé Marchand",
    "amount": 193,
    "detail": "does not answer; see the log of the component for what it said last",
    "transaction_id": ID,
}
COLUMNS: list[str | Column] = [
    "detected_at",
    "account_id",
    Column("customer_name", drop=2),
    Column("amount", text=tables.count),
    Column("detail", drop=1, wrap=True),
    "transaction_id",
]


def printed(monkeypatch: pytest.MonkeyPatch, width: int, rows: list[dict[str, Any]]) -> list[str]:
    """The lines of a table on a terminal of this width."""
    monkeypatch.setenv("COLUMNS", str(width))
    out = Terminal()
    Renderer(Format.TABLE, color=False, out=out).rows(rows, COLUMNS)
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()


@pytest.mark.parametrize("width", range(61, 200, 3))
def test_nothing_is_folded_inside_an_id_a_time_or_a_header(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """At any width each value that is shown stands whole on one line, and no line is longer than the terminal."""
    lines = printed(monkeypatch, width, [ROW, ROW])
    text = "\n".join(lines)
    assert text.count(ID) == 2
    assert text.count("2026-11-24T17:10:40.116Z") == 2
    assert text.count("1000000003") == 2
    assert "transaction id" in text
    if "─" in text:  # a table; a block a row wraps its long texts itself
        assert max(map(len, lines)) <= width


def test_columns_go_by_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """The highest first; what may wrap takes what is left."""
    heads = {width: printed(monkeypatch, width, [ROW])[0].split("  ") for width in (200, 135, 110, 99)}
    shown = {width: [title.strip() for title in head if title.strip()] for width, head in heads.items()}
    assert shown[200] == ["detected at", "account id", "customer name", "amount", "detail", "transaction id"]
    assert shown[135] == ["detected at", "account id", "customer name", "amount", "detail", "transaction id"]
    assert shown[110] == ["detected at", "account id", "amount", "detail", "transaction id"]
    assert shown[99] == ["detected at", "account id", "amount", "transaction id"]


@pytest.mark.parametrize("width", [40, 59, 75])
def test_a_narrow_terminal_gets_a_block_a_row(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Below 60 columns, or where what must be shown does not fit: a line for each field, rows apart."""
    lines = printed(monkeypatch, width, [ROW, ROW])
    assert lines[0] == "detected at     2026-11-24T17:10:40.116Z"
    assert f"transaction id  {ID}" in lines
    assert lines.count("") == 1


def test_a_piped_table_shows_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-o table | less -S` has no width."""
    monkeypatch.setenv("COLUMNS", "40")
    out = io.StringIO()
    Renderer(Format.TABLE, color=False, out=out).rows([ROW], COLUMNS)
    assert str(ROW["detail"]) in out.getvalue()


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (210_582, "211 kB"), (1_400_000_000, "1.4 GB"), (None, "")],
)
def test_sizes(value: int | None, said: str) -> None:
    """In the largest unit."""
    assert tables.size(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, ""),
        (-1, "unlimited"),
        (0, "0 ms"),
        (12, "12 ms"),
        (1_234, "1.23 s"),
        (60_000, "1 min"),
        (400_000, "6 min 40 s"),
        (2_592_000_000, "30 d"),
        (90_000_000, "1 d 1 h"),
        (3_600_000, "1 h"),
    ],
)
def test_durations(value: float | None, said: str) -> None:
    """In the two largest units that say something."""
    assert tables.duration(value) == said


def test_times_ids_and_counts() -> None:
    """Today's times without the day; only long hexadecimal ids are cut; thousands are apart."""
    today = datetime.now(UTC).date().isoformat()
    assert tables.short_time(f"{today}T10:15:30.123Z") == "10:15:30"
    assert tables.short_time(f"{int(today[:4]) + 1}-01-02T10:15:30.123Z") == f"{int(today[:4]) + 1}-01-02 10:15:30"
    assert tables.short_time("no time") == "no time"
    assert tables.short_time(None) == ""
    assert tables.prefix(ID) == "9e8b63f2"
    assert tables.prefix("t-1") == "t-1"
    assert tables.count(1234567) == "1,234,567"
    assert tables.count("missing") == "missing"
