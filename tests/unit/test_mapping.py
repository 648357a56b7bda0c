"""Mappings: what their transforms make of texts, what their checks refuse, and the presets on the broker."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from fakes import FakeTarget

from fraudctl.errors import BadConfig
from fraudctl.local.kafka.records import LocalRecords
from fraudctl.pipeline import kafka, topics
from fraudctl.pipeline.records import Transaction
from fraudctl.services import mapping, transforms
from fraudctl.services.transforms import Numbers
from fraudctl.target import From, Range

FILES = Path(__file__).parent.parent / "data" / "transaction_files"
WHOLE = Range(From.BEGINNING, follow=False)
GERMAN = Numbers(decimal=",", thousands=".", currency=("€", "EUR"))
DOLLARS = Numbers(thousands=",", currency=("$",))
MAP = """
zone = "Europe/Berlin"
[fields]
transaction_id = "id"
account_id = "account"
customer_name = { columns = ["first", "last"] }
transaction_date = { column = "when", date = "%d.%m.%Y %H:%M" }
merchant_type = { constant = "shop" }
transaction_type = { column = "kind", default = "card" }
amount = { column = "amount", decimal = "," }
"""


@pytest.mark.parametrize(
    ("numbers", "text", "expected"),
    [
        (Numbers(), "12.5", "12.50"),
        (Numbers(), "9839.6400", "9839.64"),
        (Numbers(), "007", "7.00"),
        (Numbers(), ".5", "0.50"),
        (Numbers(), "12.", "12.00"),
        (Numbers(), "-0.00", "0.00"),
        (Numbers(), "+3", "3.00"),
        (GERMAN, "1.234.567,8", "1234567.80"),
        (GERMAN, "950,00\u00a0€", "950.00"),
        (GERMAN, "EUR 1.000", "1000.00"),
        (DOLLARS, "$1,234.56", "1234.56"),
        (Numbers(negate=True), "-45.30", "45.30"),
        (Numbers(negate=True), "(45.30)", "45.30"),
        (Numbers(decimal=",", negate=True, currency=("€",)), "45,30-\u00a0€", "45.30"),
        (Numbers(thousands="'"), "1'000", "1000.00"),
    ],
)
def test_amounts_become_those_of_the_record(numbers: Numbers, text: str, expected: str) -> None:
    """With two decimals, whatever the file's signs."""
    assert numbers.amount(text) == expected


@pytest.mark.parametrize(
    ("numbers", "text", "said"),
    [
        (DOLLARS, "$-25.00", "is negative, a refund"),
        (Numbers(), "(25)", "is negative, a refund"),
        (Numbers(negate=True), "45.30", "is a credit, not a payment"),
        (Numbers(), "12.345", "has more than two decimals"),
        (Numbers(), "12,50", "is not a number with '.' before the decimals"),
        (GERMAN, "12.50", "is not a number with '.' between thousands"),
        (GERMAN, "1.23,4", "is not a number with '.' between thousands"),
        (Numbers(), "$5", "is not a number"),
        (Numbers(), "1.25E+2", "is not a number"),
        (Numbers(), "٣", "is not a number"),
        (Numbers(), "--", "is not a number"),
        (Numbers(), ".", "is not a number"),
    ],
)
def test_an_amount_that_could_be_misread_is_refused_by_name(numbers: Numbers, text: str, said: str) -> None:
    """12,50 is not 1250, and 1.23 with points for thousands is nothing."""
    with pytest.raises(ValueError, match=r"is |has ") as raised:
        numbers.amount(text)
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    ("text", "formats", "zone", "expected"),
    [
        ("21/06/2020 12:14", ("%Y-%m-%d", "%d/%m/%Y %H:%M"), "UTC", "2020-06-21T12:14:00.000Z"),
        ("04.09.26", ("%d.%m.%y",), "Europe/Berlin", "2026-09-03T22:00:00.000Z"),
        ("2026-01-05 10:00 +0530", ("%Y-%m-%d %H:%M %z",), None, "2026-01-05T04:30:00.000Z"),
        ("2026-11-25 10:00:00", ("iso",), "Europe/Berlin", "2026-11-25T09:00:00.000Z"),
        ("2026-11-25T10:00:00Z", ("iso",), "Europe/Berlin", "2026-11-25T10:00:00.000Z"),
        ("20240901012345.000[+8:CST]", ("ofx",), None, "2024-08-31T17:23:45.000Z"),
        ("20240115120000", ("ofx",), None, "2024-01-15T12:00:00.000Z"),
        ("20240105", ("ofx",), "Europe/Berlin", "2024-01-04T23:00:00.000Z"),
        ("20240105093000.250[-3.5]", ("ofx",), None, "2024-01-05T13:00:00.250Z"),
    ],
)
def test_dates_become_those_of_the_record(text: str, formats: tuple[str, ...], zone: str | None, expected: str) -> None:
    """In UTC with milliseconds; a zone in the text wins."""
    place = None if zone is None else mapping.zone_of(zone, "zone")
    assert transforms.date(text, formats, place) == expected


@pytest.mark.parametrize("text", ["2024", "20241305", "20240901012345[EST]", "20240901012345[+99]", "2024-09-01", ""])
def test_what_is_no_ofx_date_is_refused(text: str) -> None:
    """Never half of it."""
    with pytest.raises(ValueError, match="is not a date like ofx"):
        transforms.date(text, ("ofx",), None)


def test_dates_that_count() -> None:
    """Hours since a start, milliseconds since 1970."""
    start = transforms.start("2026-01-01T00:00:00Z")
    assert transforms.counted("743", "hours", start) == "2026-01-31T23:00:00.000Z"
    epoch = transforms.start("1970-01-01T00:00:00Z")
    assert transforms.counted("1325376018123456", "microseconds", epoch) == "2012-01-01T00:00:18.123Z"
    assert transforms.counted("1325376018123", "milliseconds", epoch) == "2012-01-01T00:00:18.123Z"
    assert transforms.counted("1325376018.5", "seconds", epoch) == "2012-01-01T00:00:18.500Z"
    for text in ("-1", "1e3", "", "9" * 18):
        with pytest.raises(ValueError, match=r"is not a number of days|is after year 9999"):
            transforms.counted(text, "days", epoch)


def test_account_ids() -> None:
    """Digits of a text, or its hash; an exponent has lost them."""
    assert transforms.account("C1230000815", digits=True) == "1230000815"
    assert transforms.account("0000007001") == "7001"
    assert mapping.hashed("DE00000000000000001234") == "8984186886299669302"
    for text, said in (("2.29116E+15", "has lost digits"), ("C1", "is not an integer"), ("0", "is not an integer")):
        with pytest.raises(ValueError, match=said):
            transforms.account(text)
    with pytest.raises(ValueError, match="is not an integer"):
        transforms.account("no digits", digits=True)
    for number in range(200):
        assert 1 <= int(mapping.hashed(str(number))) < 2**63


def _load(tmp_path: Path, text: str, zone: str | None = None) -> mapping.FileMapping:
    path = tmp_path / "bank.toml"
    path.write_text(text, encoding="utf-8")
    return mapping.load(str(path), zone)


def test_a_mapping_of_ones_own(tmp_path: Path) -> None:
    """Columns joined, a constant, a default; --zone wins over the file's."""
    row = {
        "id": "1",
        "account": " 7 ",
        "first": "Ada",
        "last": "",
        "when": "01.07.2026 12:00",
        "kind": "",
        "amount": "3,5",
    }
    expected = {
        "transaction_id": "1",
        "account_id": "7",
        "customer_name": "Ada",
        "transaction_date": "2026-07-01T10:00:00.000Z",
        "merchant_type": "shop",
        "transaction_type": "card",
        "amount": "3.50",
    }
    assert _load(tmp_path, MAP).texts(row, 1) == expected
    elsewhere = _load(tmp_path, MAP, "America/New_York").texts(row, 1)
    assert elsewhere == {**expected, "transaction_date": "2026-07-01T16:00:00.000Z"}


def test_the_row_makes_an_id_unique(tmp_path: Path) -> None:
    """Two purchases that look alike are two; the same file again gives the same ids."""
    found = _load(tmp_path, MAP.replace('"id"', '{ columns = ["first"], row = true, hash = true }'))
    row = {"account": "7", "first": "Ada", "last": "", "when": "01.07.2026 12:00", "kind": "", "amount": "3,5"}
    first, second = (found.texts(row, number)["transaction_id"] for number in (1, 2))
    assert first != second
    assert found.texts(row, 1)["transaction_id"] == first == mapping.hashed("Ada 1")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('account_id = "account"', "", "fields.account_id: is missing"),
        ("[fields]", "[felds]", "felds: unknown key; did you mean fields?"),
        ("account_id", "acount_id", "fields.acount_id: unknown key; did you mean account_id?"),
        ("decimal", "decimals", "fields.amount.decimals: unknown key; did you mean decimal?"),
        ('"account"', '{ column = "account", decimal = "," }', "fields.account_id.decimal: unknown key"),
        ('"account"', "7", "fields.account_id: is neither a column's name nor a table"),
        ('"account"', "{ digits = true }", "fields.account_id: needs one of column, columns and constant"),
        ('"account"', '{ column = "a", constant = "7" }', "fields.account_id: needs one of"),
        ('"account"', '{ constant = "x" }', "fields.account_id.constant: 'x' is not an integer"),
        ('"account"', '{ column = "a", digits = "yes" }', "fields.account_id.digits: is neither true nor false"),
        ("%d.%m.%Y %H:%M", "%H:%M", "fields.transaction_date.date: '%H:%M': does not name year, month and day"),
        ("%d.%m.%Y %H:%M", "%Q", "fields.transaction_date.date: '%Q': not a format like"),
        ('zone = "Europe/Berlin"', "", "fields.transaction_date.date: '%d.%m.%Y %H:%M' has no zone"),
        ('date = "%d.%m.%Y %H:%M"', 'unit = "weeks"', "fields.transaction_date.unit: 'weeks' is not one of"),
        (
            'date = "%d.%m.%Y %H:%M"',
            'unit = "days", start = 2026-01-01',
            "fields.transaction_date.start: 2026-01-01: not",
        ),
        ('decimal = ","', 'decimal = ",", thousands = ","', "fields.amount.thousands: is the decimal sign too"),
        ('decimal = ","', "hash = true", "fields.amount.hash: a date or an amount is no hash"),
        ("[fields]", 'extra = ["amount"]\n[fields]', "extra: 'amount' is the name of a field"),
        ("[fields]", 'extra = ["flag_date"]\n[fields]', "extra: 'flag_date' is the name of a field"),
        ("[fields]", 'columns = ["id"]\n[fields]', "fields.account_id: column 'account' is not among the columns"),
        ("[fields]", 'envelope = "maxwell"\n[fields]', "envelope: 'maxwell' is not debezium"),
        ("[fields]", 'delimiter = ";;"\n[fields]', "delimiter: ';;' is not one character"),
        ("[fields]", "zone = ", "not TOML: "),
        ("Europe/Berlin", "Europe/Nowhere", "zone Europe/Nowhere: unknown time zone"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    """With the mapping's name before it and a hint behind."""
    assert old in MAP
    with pytest.raises(BadConfig) as raised:
        _load(tmp_path, MAP.replace(old, new, 1))
    assert "bank.toml" in str(raised.value)
    assert said in str(raised.value)
    assert raised.value.hint


def test_an_unknown_preset_lists_those_there_are() -> None:
    """And what else may stand there."""
    with pytest.raises(BadConfig, match="no such preset") as raised:
        mapping.load("sparkow")
    for name in mapping.presets():
        assert name in (raised.value.hint or "")


FIRST: dict[str, dict[str, Any]] = {
    "sparkov": {
        "transaction_id": "0b242abb00000000000000000000abcd",
        "account_id": 2703180000000001,
        "customer_name": "Ann Sample",
        "transaction_date": "2019-01-01T00:00:18.000Z",
        "merchant_type": "misc_net",
        "transaction_type": "card",
        "amount": Decimal("4.97"),
        "extra": {"merchant": "fraud_Maker, Kub and Son", "city": "Testville", "state": "NC", "is_fraud": "0"},
    },
    "paysim": {
        "transaction_id": "8156112349288719105",
        "account_id": 1230000815,
        "customer_name": "C1230000815",
        "transaction_date": "2026-01-01T01:00:00.000Z",
        "merchant_type": "mobile money",
        "transaction_type": "PAYMENT",
        "amount": Decimal("9839.64"),
        "extra": {"nameOrig": "C1230000815", "nameDest": "M1970000155", "isFraud": "0", "isFlaggedFraud": "0"},
    },
    "tabformer": {
        "transaction_id": "59881945798956627",
        "account_id": 1383456079815177723,
        "customer_name": "0/0",
        "transaction_date": "2002-09-01T06:21:00.000Z",
        "merchant_type": "5300",
        "transaction_type": "Swipe Transaction",
        "amount": Decimal("134.09"),
        "extra": {
            "User": "0",
            "Card": "0",
            "Merchant Name": "3527210000000000953",
            "Merchant City": "Testville",
            "Merchant State": "CA",
            "Errors?": "",
            "Is Fraud?": "No",
        },
    },
    "sparkasse": {
        "transaction_id": "4369357602726917686",
        "account_id": 8984186886299669302,
        "customer_name": "DE00000000000000001234",
        "transaction_date": "2026-09-03T22:00:00.000Z",
        "merchant_type": "Müller GmbH",
        "transaction_type": "LASTSCHRIFT",
        "amount": Decimal("1000.00"),
        "extra": {
            "Auftragskonto": "DE00000000000000001234",
            "Verwendungszweck": "Gebühr",
            "Waehrung": "EUR",
            "Info": "Umsatz gebucht",
        },
    },
    "aib": {
        "transaction_id": mapping.hashed("000000-00000001 04/09/26 SAMPLE SHOP 1,045.30 1"),
        "account_id": int(mapping.hashed("000000-00000001")),
        "customer_name": "000000-00000001",
        "transaction_date": "2026-09-03T23:00:00.000Z",
        "merchant_type": "SAMPLE SHOP",
        "transaction_type": "Debit",
        "amount": Decimal("1045.30"),
        "extra": {"Posted Account": "000000-00000001", "Posted Currency": "EUR"},
    },
    "ofx": {
        "transaction_id": mapping.hashed("0000001234 2024090101"),
        "account_id": int(mapping.hashed("0000001234")),
        "customer_name": "0000001234",
        "transaction_date": "2024-08-31T17:23:45.000Z",
        "merchant_type": "SAMPLE SHOP",
        "transaction_type": "DEBIT",
        "amount": Decimal("45.30"),
        "extra": {"ACCTID": "0000001234", "FITID": "2024090101"},
    },
    "flink-demos": {
        "transaction_id": "0A1B2C3D4E5F6071",
        "account_id": 1000000003,
        "customer_name": "C3000000001",
        "transaction_date": "2026-11-25T10:15:30.123Z",
        "merchant_type": "In Store",
        "transaction_type": "Gas_Station",
        "amount": Decimal("123.45"),
        "extra": None,
    },
    "debezium": {
        "transaction_id": "dbz-1",
        "account_id": 7001,
        "customer_name": "Ada Sample",
        "transaction_date": "2026-11-25T10:00:00.123Z",
        "merchant_type": "Grocery",
        "transaction_type": "card",
        "amount": Decimal("12.50"),
        "extra": {"branch": "North"},
    },
    "fraud-detection-demo": {
        "transaction_id": "12345",
        "account_id": 10001,
        "customer_name": "10001",
        "transaction_date": "2013-01-01T00:00:00.000Z",
        "merchant_type": "unknown",
        "transaction_type": "CSH",
        "amount": Decimal("25.10"),
        "extra": {"beneficiaryId": "20001"},
    },
}
REFUSED = {
    "tabformer": [(3, "amount is negative, a refund: amounts start at 0.00", "Amount", "$-25.00")],
    "debezium": [
        (3, "op is an update: only created rows (c, r) are transactions", "op", "u"),
        (4, "op is a deletion: only created rows (c, r) are transactions", "op", "d"),
        (5, "amount is not a number with '.' before the decimals", "amount", "BNI="),
        (6, "op is missing: not a change event of Debezium", "op", ""),
        (7, "after is not a row", "after", ""),
    ],
    "aib": [(3, "amount is empty", "Debit Amount", "")],
    "ofx": [(4, "amount is a credit, not a payment: amounts start at 0.00", "TRNAMT", "100.00")],
}


def test_every_preset_is_proven_on_a_file() -> None:
    """A new one comes with its row above and its file."""
    assert set(mapping.presets()) == set(FIRST) == {path.stem for path in FILES.iterdir()}


@pytest.mark.parametrize("name", FIRST)
def test_a_preset_sends_its_file_as_it_is(name: str, run: Run, broker: str) -> None:
    """To a broker, and read back from it; what is no payment is refused by name."""
    records = LocalRecords(lambda: kafka.client(broker))
    kafka.open_producer(kafka.producer(kafka.client(broker))).list_topics(topics.TRANSACTIONS.name, timeout=10)
    before = {record.partition: record.offset for record in records.read(topics.TRANSACTIONS.name, WHOLE)}
    (path,) = FILES.glob(f"{name}.*")
    target = FakeTarget(records=records)  # type: ignore[arg-type] # a real one in the place of the fake
    done = run(target, "transactions", "send", str(path), "--map", name, output="json")
    *refused, summary = map(json.loads, done.out.splitlines())
    expected = REFUSED.get(name, [])
    assert done.code == (8 if expected else 0), done.err
    assert [(one["line"], one["reason"], one["column"], one["value"]) for one in refused] == expected
    sent = [
        Transaction.parse(record.value)
        for record in records.read(topics.TRANSACTIONS.name, WHOLE)
        if record.offset > before.get(record.partition, -1)
    ]
    assert len(sent) == summary["delivered"] >= 1
    found = next(one for one in sent if one.transaction_id == FIRST[name]["transaction_id"])
    assert {**found.values(), "extra": json.loads(found.extra) if found.extra else None} == FIRST[name]
