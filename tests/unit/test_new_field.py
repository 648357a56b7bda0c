"""Fields added to Transaction in a copy of the package, one line of Python each: what follows without more."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fraudctl.pipeline import records

ROOT = Path(__file__).parents[2]
LINE = "    customer_name: Text\n"
# Of every kind, with narrow and with wide lengths, and one that may be null.
ADDED = """\
    country: Annotated[str, Rule(Kind.TEXT, shortest=2, longest=2)]
    device: Annotated[str, Rule(Kind.IDENTIFIER, shortest=40, longest=40)]
    note: Annotated[str | None, Rule(Kind.TEXT, shortest=0)]
    settled: Date
    fee: Amount
    counter_account: Account
    attempts: Count
    verdict: FlagStatus
"""
NAMES = ["country", "device", "note", "settled", "fee", "counter_account", "attempts", "verdict"]
PROGRAM = """
import json, sys
from dataclasses import asdict
from itertools import islice
from random import Random
from fraudctl.pipeline import audit_table, records, samples

value = json.loads(sys.argv[1])
own = json.loads(sys.argv[2])
detection = records.FlaggedTransaction.parse(json.dumps(value | own).encode())
item = audit_table.item(detection, 1_795_515_331_007, 0, 0)
older = {name: found for name, found in item.items() if name not in json.loads(sys.argv[3])}
refused = []
for name in value:
    try:
        records.Transaction.parse(json.dumps({key: value[key] for key in value if key != name}).encode())
    except records.Malformed as error:
        refused.append(str(error))
drawn = [value for _, value in islice(samples.stream(Random(1)), 3000)]
print(json.dumps({
    "written": records.Transaction.parse(json.dumps(value).encode()).to_json().decode(),
    "refused": refused,
    "item": item,
    "row": asdict(audit_table.AuditRow.from_item(item)),
    "older": asdict(audit_table.AuditRow.from_item(older)),
    "flink": records.flink_properties(),
    "samples": [json.loads(value) for value in drawn],
    "same": all(records.Transaction.parse(value).to_json() == value for value in drawn),
}, default=str))
"""
VALUE = {
    "transaction_id": "t-1",
    "account_id": 7,
    "customer_name": "Ada",
    "country": "PT",
    "device": "d" * 40,
    "note": None,
    "settled": "2026-11-25T10:15:30.123Z",
    "fee": 0.5,
    "counter_account": 8,
    "attempts": 0,
    "verdict": "CLEARED",
    "transaction_date": "2026-11-24T10:15:30.123Z",
    "merchant_type": "Grocery",
    "transaction_type": "Online",
    "amount": 12.5,
}
OWN = {
    "flag_date": "2026-11-24T10:00:00.000Z",
    "flag_reason": None,
    "flagged_by": "ada",
    "transaction_partition": 0,
    "transaction_offset": 1,
    "flag_partition": 0,
    "flag_offset": 2,
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the program with a copy of the package that has the lines."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "fraudctl" / "pipeline", folder / "fraudctl" / "pipeline")
    (folder / "fraudctl" / "__init__.py").touch()
    file = folder / "fraudctl" / "pipeline" / "records.py"
    text = file.read_text(encoding="utf-8")
    assert text.count(LINE) == 1
    file.write_text(text.replace(LINE, LINE + ADDED), encoding="utf-8")
    line = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{PROGRAM}"]
    arguments = [json.dumps(argument) for argument in (VALUE, OWN, NAMES)]
    done = subprocess.run([*line, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_record_has_them(found: dict[str, Any]) -> None:
    """They are read, required by name and written in the order of the class."""
    assert json.loads(found["written"]) == VALUE
    assert list(json.loads(found["written"])) == list(VALUE)
    assert found["refused"] == [f"{name} is missing" for name in VALUE]


def test_they_are_attributes_of_their_own(found: dict[str, Any]) -> None:
    """In the item and in the audit row, amounts with two decimals; a row of before the change is still read."""
    assert {name: found["item"].get(name) for name in NAMES} == {
        "country": "PT",
        "device": "d" * 40,
        "note": None,
        "settled": "2026-11-25T10:15:30.123Z",
        "fee": "0.50",
        "counter_account": 8,
        "attempts": 0,
        "verdict": "CLEARED",
    }
    assert {name: found["row"][name] for name in NAMES} == {name: found["item"].get(name) for name in NAMES}
    assert (found["row"]["extra"], found["row"]["amount"]) == (None, "12.50")
    assert {found["older"][name] for name in NAMES} == {None}
    assert found["older"]["customer_name"] == "Ada"


def test_the_application_is_told(found: dict[str, Any]) -> None:
    """By the same property as before: the new rules stand after the customer's name, and nothing else has changed."""
    ours, theirs = records.flink_properties(), found["flink"]
    rules = (
        "country:text:2:2:set,device:identifier:40:40:set,note:text:0:256:null,settled:date:1:256:set,"
        "fee:amount:1:256:set,counter_account:account:1:256:set,attempts:count:1:256:set,verdict:status:1:256:set"
    )
    name = "customer_name:text:1:256:set"
    assert theirs["fields.transaction"] == ours["fields.transaction"].replace(name, f"{name},{rules}")
    assert {**theirs, "fields.transaction": ours["fields.transaction"]} == ours


def test_samples_stay_good_records(found: dict[str, Any]) -> None:
    """Each has a value that fits the kind and the lengths, and is written as the record writes itself."""
    assert found["same"]
    assert all(len(sample["country"]) == 2 and len(sample["device"]) == 40 for sample in found["samples"])
    assert {sample["verdict"] for sample in found["samples"]} == {"FLAGGED", "CLEARED"}
    assert all(sample["settled"] == sample["transaction_date"] for sample in found["samples"])
    assert len({sample["device"] for sample in found["samples"]}) > 100
