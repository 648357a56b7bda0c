"""fraudctl transactions send with files as people have them, on a target in memory."""

import gzip
import json
import sys
from pathlib import Path

import pytest
from conftest import Run
from fakes import FakeTarget, Undeployed

from fraudctl.pipeline.records import Transaction

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

HEADER = "transaction_id,account_id,customer_name,transaction_date,merchant_type,transaction_type,amount"
ROW = "t-1,7001,Renée,2026-11-25T10:00:00Z,Grocery,Purchase,12.50"
EXPECTED = {
    "transaction_id": "t-1",
    "account_id": 7001,
    "customer_name": "Renée",
    "transaction_date": "2026-11-25T10:00:00.000Z",
    "merchant_type": "Grocery",
    "transaction_type": "Purchase",
    "amount": "12.50",
}
COMMA = f"{HEADER}\n{ROW}\n"
SEMICOLON = COMMA.replace(",", ";")


def sent(target: FakeTarget) -> list[dict[str, object]]:
    """What arrived, amounts as text."""
    found = (Transaction.parse(outgoing.value).values() for outgoing in target.records.written)
    return [{**values, "amount": str(values["amount"])} for values in found]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (COMMA.encode(), ()),
        (SEMICOLON.replace("12.50", "12,50").encode(), ()),
        (COMMA.replace(",", "\t").encode(), ()),
        (f"sep=;\r\n{SEMICOLON}".encode(), ()),
        (COMMA.replace(",", "|").encode(), ()),
        (COMMA.replace(",", "\t").encode(), ("--delimiter", "tab")),
        (COMMA.encode("utf-8-sig"), ()),
        (COMMA.encode("utf-16"), ()),
        (COMMA.encode("latin-1"), ("--encoding", "latin-1")),
        (COMMA.replace("\n", "\r").encode(), ()),
        (gzip.compress(COMMA.encode()), ()),
        (zstd.compress(COMMA.encode()), ()),
        (gzip.compress(SEMICOLON.encode("utf-16")), ()),
        (COMMA.replace("transaction_id", "Transaction_ID").encode(), ()),
        (
            COMMA.replace(HEADER, ", ".join(f'"{name}"' for name in HEADER.split(","))).replace("1,7", "1, 7").encode(),
            (),
        ),
        (COMMA.replace("\n", ",\n").encode(), ()),
        (COMMA.replace("Z,", ",").encode(), ("--zone", "UTC")),
        (f"\n\n{COMMA}".encode(), ()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_file_is_read_however_it_is_written(
    run: Run, tmp_path: Path, content: bytes, options: tuple[str, ...]
) -> None:
    """Separators, encodings, compression, spelling: the same record arrives."""
    file = tmp_path / "file.csv"
    file.write_bytes(content)
    target = FakeTarget()
    done = run(target, "transactions", "send", str(file), *options)
    assert done.code == 0, done.err
    assert sent(target) == [EXPECTED]


def test_a_file_in_another_encoding_is_named_with_what_to_add(run: Run, tmp_path: Path) -> None:
    """In the header it ends the command, in a row it is one invalid line; never a surrogate."""
    file = tmp_path / "file.csv"
    file.write_bytes(f"{HEADER},Gebühr\n".encode("latin-1"))
    done = run(Undeployed(), "transactions", "send", str(file))
    assert (done.code, done.out) == (2, "")
    assert "not UTF-8 at byte 99 (line 1)" in done.err
    assert "Hint: add --encoding latin-1" in done.err
    file.write_bytes(COMMA.encode("latin-1"))
    target = FakeTarget()
    done = run(target, "transactions", "send", str(file))
    assert (done.code, target.records.written) == (8, [])
    assert "not UTF-8 at byte 4 of customer_name; add --encoding latin-1: 'Renée'" in done.err
    target = FakeTarget()
    done = run(target, "transactions", "send", "-", "--format", "jsonl", stdin=b'{"a":"Ren\xe9e"}\n')
    assert "line 1" in done.err
    assert "not UTF-8 at byte 10; add --encoding latin-1" in done.err


@pytest.mark.parametrize(
    ("old", "new", "said", "document"),
    [
        (
            "12.50",
            "-77.00",
            "amount is negative, a refund: amounts start at 0.00: '-77.00'",
            {"column": "amount", "value": "-77.00"},
        ),
        (
            "12.50",
            '"1,234.56"',
            "with at most two decimals: '1,234.56'",
            {"column": "amount", "value": "1,234.56"},
        ),
        ("7001", "C1", "account_id is not an account number (digits only): 'C1'", {"value": "C1"}),
        ("7001", "9223372036854775808", "not an integer from 1 to 9223372036854775807: '9223372036854775808'", {}),
        ("7001", "\x1b[31m" + "x" * 90, "only): '\\x1b[31m" + "x" * 34 + "…'", {"column": "account_id"}),
        ("10:00:00Z", "10:00:00", "add one, or --zone Europe/Berlin: '2026-11-25T10:00:00'", {}),
        (
            "2026-11-25T10:00:00Z",
            "25/11/2026",
            "transaction_date is not a date with its zone, like",
            {"value": "25/11/2026"},
        ),
        ("Renée", "Smith, John", "8 columns, the header has 7; text with a separator in it needs quotes", {}),
    ],
)
def test_an_invalid_line_shows_its_value(run: Run, old: str, new: str, said: str, document: dict[str, str]) -> None:
    """Shortened and safe for a terminal; for programs as fields of their own."""
    text = COMMA.replace(old, new)
    done = run(FakeTarget(), "transactions", "send", "-", stdin=text)
    assert done.code == 8
    assert "line 2" in done.err
    assert said in done.err
    assert "\x1b" not in done.err
    found = json.loads(run(FakeTarget(), "transactions", "send", "-", output="json", stdin=text).out.splitlines()[0])
    assert found.items() >= {"line": 2, **document}.items()
    assert len(found.get("value", "")) <= 40


def test_an_empty_file_is_said_to_be_empty(run: Run, tmp_path: Path) -> None:
    """And one with nothing but a header that no transaction is in it."""
    file = tmp_path / "file.csv"
    for content, said in (("", f"{file}: the file is empty"), (HEADER, f"{file}: no transaction in it")):
        file.write_text(content)
        for options in ((), ("--dry-run",)):
            done = run(FakeTarget(), "transactions", "send", str(file), *options)
            assert done.code == 0
            assert said in done.err


def test_a_dry_run_needs_no_stack_and_sends_nothing(run: Run, tmp_path: Path) -> None:
    """The first records as they would be sent; reasons counted together, the most frequent first."""
    file = tmp_path / "file.csv"
    rows = [ROW.replace("t-1", f"t-{number}") for number in range(7)]
    bad = [ROW.replace("12.50", "-1"), ROW.replace("7001", "x"), ROW.replace("12.50", "-2")]
    file.write_text("\n".join([f"{HEADER},zip", *(f"{row},00123" for row in (*rows, *bad))]), encoding="utf-8")
    done = run(Undeployed(), "transactions", "send", str(file), "--dry-run", output="json")
    assert done.code == 8
    assert "Error: transactions: 3 of 10 would be refused; nothing was sent" in done.err
    *records, summary = map(json.loads, done.out.splitlines())
    assert len(records) == 5
    assert records[0] == {**EXPECTED, "transaction_id": "t-0", "amount": 12.5, "extra": '{"zip":"00123"}'}
    assert '"amount":12.50' in done.out
    assert summary == {
        "valid": 7,
        "invalid": 3,
        "reasons": [
            {
                "lines": 2,
                "reason": "amount is negative, a refund: amounts start at 0.00",
                "first": "line 9",
                "example": "-1",
            },
            {
                "lines": 1,
                "reason": "account_id is not an account number (digits only)",
                "first": "line 10",
                "example": "x",
            },
        ],
    }
    shown = run(Undeployed(), "transactions", "send", str(file), "--dry-run")
    assert shown.code == 8
    assert "valid    7\ninvalid  3\n" in shown.out
    assert "a refund" in shown.out
    csv = run(Undeployed(), "transactions", "send", str(file), "--dry-run", output="csv")
    assert len(csv.out.splitlines()) == 6
    assert "2 refused: amount is negative" in csv.err
    file.write_text(COMMA, encoding="utf-8")
    assert run(Undeployed(), "transactions", "send", str(file), "--dry-run").code == 0


def test_lines_before_the_header_are_passed_over_with_a_mapping(run: Run, tmp_path: Path) -> None:
    """Some banks write the account and the period there; line numbers are the file's."""
    file = tmp_path / "statement.csv"
    head = '"Konto:";"DE1 / Girokonto";\n"Kontostand vom 20.10.2018:";"1.234,56 EUR";\n\n'
    columns = (
        "Auftragskonto;Buchungstag;Buchungstext;Verwendungszweck;Beguenstigter/Zahlungspflichtiger;Betrag;Waehrung;Info"
    )
    rows = 'DE1;04.09.26;KARTE;Essen;Café;"-12,50";EUR;\nDE1;05.09.26;GUTSCHRIFT;Lohn;Firma;"2.000,00";EUR;\n'
    file.write_bytes((head + columns + "\n" + rows).encode("latin-1"))
    target = FakeTarget()
    done = run(target, "transactions", "send", str(file), "--map", "sparkasse")
    assert done.code == 8
    assert "line 6" in done.err
    assert "amount is a credit, not a payment: amounts start at 0.00 in column Betrag: '2.000,00'" in done.err
    (found,) = sent(target)
    assert (found["amount"], found["merchant_type"]) == ("12.50", "Café")


def test_a_column_that_the_mapping_needs_is_named(run: Run, tmp_path: Path) -> None:
    """With the field it is for and the columns there are; not even the target is asked."""
    file = tmp_path / "file.csv"
    file.write_text("step,type,amount,nameOrig\n1,PAYMENT,1.00,C1\n")
    done = run(Undeployed(), "transactions", "send", str(file), "--map", "paysim")
    assert (done.code, done.out) == (2, "")
    assert "column 'nameDest' is missing, from which paysim takes transaction_id" in done.err
    assert "'step', 'type', 'amount', 'nameOrig'" in done.err


def test_a_pace_moves_the_dates_to_now(run: Run) -> None:
    """The distances stay, so many times shorter."""
    rows = [ROW, ROW.replace("t-1", "t-2").replace("10:00:00Z", "10:01:40Z")]
    target = FakeTarget()
    done = run(target, "transactions", "send", "-", "--pace", "1000x", stdin="\n".join([HEADER, *rows]))
    assert done.code == 0, done.err
    from datetime import UTC, datetime

    first, second = (datetime.fromisoformat(str(one["transaction_date"])) for one in sent(target))
    assert 0.099 <= (second - first).total_seconds() <= 0.101
    assert abs((datetime.now(UTC) - first).total_seconds()) < 60


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--map", "sparkow"), "no such preset"),
        (("--zone", "Mars"), "--zone Mars: unknown time zone"),
        (("--encoding", "klingon"), "--encoding klingon: unknown encoding"),
        (("--delimiter", ";;"), "--delimiter ';;': not one sign"),
        (("--pace", "fast"), "--pace fast: neither live nor a speed"),
    ],
)
def test_a_wrong_option_is_a_usage_error(run: Run, options: tuple[str, ...], said: str) -> None:
    """Named, with a hint, before anything is read."""
    done = run(Undeployed(), "transactions", "send", "-", *options, stdin=COMMA)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "Hint: " in done.err


ULB = 'Time,{},Amount,Class\n0,{},149.62,"0"\n406,{},0,"1"\n'.format(
    ",".join(f'"V{number}"' for number in range(1, 29)),
    ",".join(["-1.3598071336738"] * 28),
    ",".join(["2.5e-05"] * 28),
)


def test_leading_zeros_of_an_account_are_no_part_of_it(run: Run) -> None:
    """As in a mapping and in a list of accounts to flag; alone they are no account."""
    target = FakeTarget()
    done = run(target, "transactions", "send", "-", stdin=COMMA.replace("7001", "0000007001"))
    assert (done.code, sent(target)) == (0, [EXPECTED])
    assert run(target, "transactions", "send", "-", stdin=COMMA.replace("7001", "0000")).code == 8


def test_a_file_that_names_no_account_is_refused_by_name(run: Run, tmp_path: Path) -> None:
    """With the reason, as it is and with the preset that somebody might look for."""
    file = tmp_path / "creditcard.csv"
    file.write_text(ULB)
    for options, where in (((), str(file)), (("--map", "ulb"), "--map ulb")):
        done = run(Undeployed(), "transactions", "send", str(file), *options)
        assert (done.code, done.out) == (2, "")
        assert f"{where}: the ULB data (creditcard.csv) names no account, and accounts are what is flagged" in done.err
        assert "Hint: docs/files.md has a mapping that gives all rows one account of your choice" in done.err


def test_the_mapping_for_the_ulb_data_in_the_docs_works(run: Run, tmp_path: Path) -> None:
    """Copied from the page as it stands."""
    page = (Path(__file__).parents[2] / "docs" / "files.md").read_text()
    toml = page.split("creditcard.csv", 1)[1].split("```toml\n", 1)[1].split("```", 1)[0]
    (tmp_path / "ulb-one.toml").write_text(toml)
    (tmp_path / "creditcard.csv").write_text(ULB)
    target = FakeTarget()
    done = run(
        target, "transactions", "send", str(tmp_path / "creditcard.csv"), "--map", str(tmp_path / "ulb-one.toml")
    )
    assert done.code == 0, done.err
    found = [(one["account_id"], one["transaction_date"], one["amount"]) for one in sent(target)]
    assert found == [
        (1000000003, "2013-09-01T00:00:00.000Z", "149.62"),
        (1000000003, "2013-09-01T00:06:46.000Z", "0.00"),
    ]
