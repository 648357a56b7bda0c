"""Printing: formats, streams, and nothing that drives a terminal."""

import csv
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fakes import Terminal

from fraudctl.config import Format
from fraudctl.errors import Refused
from fraudctl.pipeline.text import iso, json_safe, shown, span
from fraudctl.render import Renderer
from fraudctl.target import Change, Consent, Event, Phase, Plan

NAMES = (
    "山田\u3000太郎",
    "Müller\u00a0& Söhne",
    "back\\nslash",
    "علی\u200cرضا",
    "soft\u00adhyphen",
    "e\u0301 combining",
    "👩\u200d👩\u200d👧",
    "\u200fעברית",
    'quote"comma,',
)
BIDI = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
HOSTILE = "a\x1b[31mb\x9bc\x7fd\u202ee\nf\u2028g"


@dataclass(frozen=True)
class Written:
    """How items are written in batches."""

    json: Callable[[Sequence[Any]], bytes] = lambda _: b""
    columns: Sequence[str] = ()
    row: Callable[[Any], Mapping[str, Any]] = lambda _: {}
    people: Callable[[Sequence[Any]], Iterable[str]] = lambda _: ()
    raw: Callable[[Sequence[Any]], bytes] | None = None


def printed(output: Format, *, terminal: bool = False) -> tuple[Renderer, io.StringIO, io.StringIO]:
    """A renderer and its two streams."""
    out, err = (Terminal(), Terminal()) if terminal else (io.StringIO(), io.StringIO())
    return Renderer(output, color=False, out=out, err=err), out, err


def test_auto_is_json_when_piped_and_a_table_on_a_terminal() -> None:
    """Decided by stdout alone."""
    for terminal in (False, True):
        render, out, _ = printed(Format.AUTO, terminal=terminal)
        render.rows([{"a": 1}], ["a"])
        assert (out.getvalue() == '{"a":1}\n') is not terminal
        assert render.json is not terminal
        assert render.structured is not terminal


def test_json_is_exact() -> None:
    """Decimals as they are, every field, one line a document."""
    render, out, _ = printed(Format.JSON)
    row = {"amount": Decimal("12.50"), "big": 2**63 - 1, "none": None, "yes": True, "inner": {"a": [1]}, "raw": b"\xff"}
    assert render.rows([row, row], ["amount"]) == 2
    lines = out.getvalue().splitlines()
    assert lines[0].startswith('{"amount":12.50,"big":9223372036854775807,"none":null,"yes":true,"inner":{"a":[1]}')
    assert lines[0] == lines[1]


@pytest.mark.parametrize("output", [Format.TABLE, Format.JSON, Format.CSV])
def test_data_never_drives_the_terminal(output: Format) -> None:
    """In no format, in no method, on neither stream."""
    render, out, err = printed(output)
    row = {"name": HOSTILE}
    render.rows([row], ["name"])
    render.record(row)
    render.stream([row], ["name"], lambda found: str(found["name"]))
    written = Written(
        json=lambda batch: (json.dumps(batch[0]) + "\n").encode(),
        columns=["name"],
        row=lambda text: {"name": text},
        people=lambda batch: map(str, batch),
    )
    render.batches([[HOSTILE]], written)
    render.text(HOSTILE)
    render.note(HOSTILE)
    render.error(HOSTILE, HOSTILE)
    render.plan(Plan("s", (Change(HOSTILE, HOSTILE, HOSTILE),), losses=(HOSTILE,), notes=(HOSTILE,)))
    render.events([Event(HOSTILE, Phase.STARTED, HOSTILE), Event(HOSTILE, Phase.DONE, HOSTILE)])
    for stream in (out, err):
        assert "a" in stream.getvalue()
        assert not set(stream.getvalue()) & set("\x1b\x9b\x7f\u202e\u2028")
    if output is Format.JSON:
        assert json.loads(out.getvalue().splitlines()[0]) == row


def test_the_excerpt_of_an_error_stands_between_it_and_its_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caret stays in its column, also where the terminal is narrower than the line."""
    monkeypatch.setenv("COLUMNS", "40")
    render, out, err = printed(Format.AUTO)
    line = "amount > 500 and merchant_type % 5 and \x1b[31m"
    render.error("--where: no", "write it", (line, " " * 31 + "^"))
    assert out.getvalue() == ""
    shown = "amount > 500 and merchant_type % 5 and \\x1b[31m"
    assert err.getvalue() == f"Error: --where: no\n  {shown}\n  {' ' * 31}^\nHint: write it\n"


def test_shown_leaves_what_people_write() -> None:
    """Letters, marks and composed emoji of all scripts."""
    for text in ("Chloé Nguyễn", "漢字 かな", "👩‍👩‍👧", "ع", "a b", *NAMES):
        assert shown(text) == text
    assert shown("\x00\t\r\n\ud800") == "\\x00\\t\\r\\n\\ud800"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_the_same_text_in_every_format(name: str) -> None:
    """What JSON says stands in CSV, in a table and in a record too."""
    documents, table, sheet = printed(Format.JSON), printed(Format.TABLE), printed(Format.CSV)
    for render, _, _ in (documents, table, sheet):
        render.rows([{"name": name}], ["name"])
        render.record({"name": name})
    assert [json.loads(line)["name"] for line in documents[1].getvalue().splitlines()] == [name, name]
    assert table[1].getvalue().count(name) == 2
    assert [row["name"] for row in csv.DictReader(io.StringIO(sheet[1].getvalue()))] == [name, "name", name]


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *BIDI])
def test_every_control_is_escaped(code: int) -> None:
    """The C0 and C1 controls, line separators, and what changes the writing direction of the text that follows."""
    assert chr(code) not in shown(f"a{chr(code)}b")
    document = json_safe(json.dumps(f"aé{chr(code)}b", ensure_ascii=False))
    assert chr(code) not in document
    assert json.loads(document) == f"aé{chr(code)}b"


def test_markup_in_data_is_data() -> None:
    """Neither rich's brackets nor its emoji names mean anything."""
    render, out, err = printed(Format.TABLE)
    render.rows([{"a": "[red]x[/red] :smile:"}], ["a"])
    render.note("[bold] :smile:")
    assert "[red]x[/red] :smile:" in out.getvalue()
    assert err.getvalue() == "[bold] :smile:\n"


def test_a_piped_table_is_not_folded() -> None:
    """However long a cell is."""
    render, out, _ = printed(Format.TABLE)
    render.rows([{"a": "x" * 500, "b": 1}], ["a", "b"])
    assert "x" * 500 in out.getvalue()


def test_an_empty_table_says_so_on_stderr() -> None:
    """In every format: stdout stays as it is for programs, and whoever reads along knows why it is empty."""
    render, out, err = printed(Format.TABLE)
    assert render.rows([], ["a"], empty="There is none.") == 0
    assert (out.getvalue(), err.getvalue()) == ("", "There is none.\n")
    render, out, err = printed(Format.JSON)
    render.rows([], ["a"], empty="There is none.")
    assert (out.getvalue(), err.getvalue()) == ("", "There is none.\n")


def test_csv_quotes_and_has_its_header_even_without_rows() -> None:
    """Programs can rely on the first line."""
    render, out, _ = printed(Format.CSV)
    render.rows([{"a": 'x,"y"', "b": None, "c": "left out"}], ["a", "b"])
    render.rows([], ["a", "b"])
    assert out.getvalue() == 'a,b\n"x,""y""",\na,b\n'


@pytest.mark.parametrize("output", [Format.JSON, Format.CSV, Format.TABLE])
def test_streams_are_printed_as_they_come(output: Format) -> None:
    """Before the next item is asked for: `tail` and `logs --follow` live from it."""
    render, out, _ = printed(output)
    seen = []

    def endless() -> Iterator[dict[str, Any]]:
        for number in range(3):
            yield {"n": f"item {number}"}
            seen.append(f"item {number}" in out.getvalue())

    render.stream(endless(), ["n"], lambda row: str(row["n"]))
    written = Written(
        json=lambda batch: json.dumps(batch[0]).encode() + b"\n",
        columns=["n"],
        row=lambda row: row,
        people=lambda batch: [str(row["n"]) for row in batch],
    )
    render.batches(([row] for row in endless()), written)
    assert seen == [True] * 6


def test_batches_of_json_go_out_as_the_bytes_they_are() -> None:
    """A stream with a binary side gets them unchanged."""
    binary = io.BytesIO()
    render = Renderer(Format.JSON, out=io.TextIOWrapper(binary, encoding="ascii", write_through=True))
    render.text("é".encode("ascii", "backslashreplace").decode())
    written = Written(json=lambda _: "é\n".encode())
    render.batches([[1], [2]], written)
    render.batches([[1]], Written(raw=lambda _: b"\xff\n"))
    assert binary.getvalue() == b"\\xe9\n" + "é\né\n".encode() + b"\xff\n"


def test_a_record_for_people_is_a_line_a_field() -> None:
    """Nested fields in one line."""
    render, out, _ = printed(Format.TABLE)
    render.record({"account_id": 7, "metrics": {"a": 1, "b": None}, "flag": True, "list": [1]})
    assert out.getvalue().splitlines() == ["account id  7", "metrics     a=1 b=", "flag        yes", "list        [1]"]


LONG = "ApplicationCloudWatchLogsGroup"


def test_a_plan_and_its_events_are_columns() -> None:
    """As wide as the longest action and the longest name, of 30 characters; the events that follow align with it."""
    render, _, err = printed(Format.TABLE)
    changes = (Change("create", "kafka", "<"), Change("replace-in-place", LONG, "<"), Change("stop", "flink", "<"))
    render.plan(Plan("s", changes))
    lines = err.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["create", "replace-in-place", "stop"]
    assert {line.index("<") for line in lines} == {len(f"  replace-in-place {LONG} ")}
    err.truncate(0)
    err.seek(0)
    render.events([Event(name, Phase.DONE, "ready") for name in ("kafka", LONG)])
    lines = err.getvalue().splitlines()
    assert {line.index("ready") for line in lines} == {len(f"✓ {LONG}    0.0 s  ")}, lines


PLAN = Plan("orders", (Change("remove", "kafka"),), Consent.NAME)


@pytest.mark.parametrize(
    ("consent", "answer", "given"),
    [
        (Consent.NONE, "", True),
        (Consent.YES, "y", True),
        (Consent.YES, "YES", True),
        (Consent.YES, "", False),
        (Consent.YES, "orders", False),
        (Consent.NAME, "orders", True),
        (Consent.NAME, "y", False),
        (Consent.NAME, "order", False),
    ],
)
def test_consent_on_a_terminal(consent: Consent, answer: str, *, given: bool) -> None:
    """A yes, or the stack's name where data would be lost; anything else changes nothing."""
    err = Terminal()
    render = Renderer(out=Terminal(), err=err, stdin=Terminal(answer + "\n"))
    plan = Plan("orders", (), consent)
    if given:
        render.consent(plan, "Tear down orders", "Tearing down orders", given=False)
    else:
        with pytest.raises(Refused, match="declined, nothing was changed"):
            render.consent(plan, "Tear down orders", "Tearing down orders", given=False)
    assert ("Tear down orders?" in err.getvalue()) is (consent is not Consent.NONE)


def test_consent_without_a_terminal_needs_the_option() -> None:
    """It must not wait for an answer that nobody can give."""
    render = Renderer(err=io.StringIO(), stdin=io.StringIO("orders\n"))
    with pytest.raises(Refused) as raised:
        render.consent(PLAN, "Tear down orders", "Tearing down orders", given=False)
    assert str(raised.value) == "Tearing down orders needs confirmation, and there is no terminal to ask on"
    assert raised.value.hint == "add --yes"
    render.consent(PLAN, "Tear down orders", "Tearing down orders", given=True)


def test_moments_and_spans_of_time() -> None:
    """Milliseconds are cut, spans have two units."""
    from datetime import UTC, datetime

    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert iso(1_790_000_000_123) == "2026-09-21T14:13:20.123Z"
    assert iso(None) is None
    spans = {"2026-11-24T11:59:55Z": "5s", "2026-11-24T11:00:00Z": "1h 0m", "2026-11-22T09:00:00Z": "2d 3h"}
    assert {since: span(since, now) for since in spans} == spans
    assert span(None) == ""
    assert span("2026-11-24T13:00:00Z", now) == "0s"


class Closed(io.StringIO):
    """A pipe whose reader has gone."""

    def __init__(self, descriptor: int) -> None:
        """Store the pipe's descriptor."""
        super().__init__()
        self.descriptor = descriptor
        self.times = 0

    def write(self, text: str) -> int:
        """Fail."""
        self.times += 1
        raise BrokenPipeError(text)

    def fileno(self) -> int:
        """Return it."""
        return self.descriptor


def test_a_table_for_a_reader_who_has_gone() -> None:
    """The boundary hears of it, and ends with 0; rich alone would end with 1."""
    with pytest.raises(BrokenPipeError):
        Renderer(Format.TABLE, color=False, out=Closed(-1), err=io.StringIO()).rows([{"a": 1}], ["a"])


def test_work_goes_on_without_a_reader_of_notes() -> None:
    """`deploy 2>&1 | head` must not end the deploy halfway."""
    with tempfile.TemporaryFile() as file:
        err = Closed(file.fileno())
        render = Renderer(Format.TABLE, color=False, out=io.StringIO(), err=err)
        render.note("first")
        render.events([Event("kafka", Phase.DONE, "ready")])
        assert err.times >= 2
        assert os.path.samestat(os.fstat(file.fileno()), Path(os.devnull).stat())
