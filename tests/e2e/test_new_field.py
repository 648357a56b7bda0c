"""A field added to Transaction by one line of Python goes through the whole pipeline, in a copy of the project."""

import json
import os
import re
import shutil
import site
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from executable import eventually

from fraudctl.pipeline.records import format_date

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
LINE = "    customer_name: Text\n"
ADDED = f"{LINE}    country: Text\n"
Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The copy's fraudctl, with a virtual environment that finds the copy first and then this one's packages."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("fraudctl", "flink", "lambdas", "cfn"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "_data"))
    records = folder / "fraudctl" / "pipeline" / "records.py"
    text = records.read_text(encoding="utf-8")
    assert text.count(LINE) == 1
    records.write_text(text.replace(LINE, ADDED), encoding="utf-8")
    environment = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=60)
    packages = next(environment.glob("lib/python*/site-packages"))
    (packages / "copy.pth").write_text("\n".join([str(folder), *site.getsitepackages()]), encoding="utf-8")

    def fraudctl(*arguments: str, stdin: str = "") -> list[dict[str, Any]]:
        done = subprocess.run(
            [str(environment / "bin" / "python"), "-m", "fraudctl", *arguments, "-o", "json"],
            env={**os.environ, "FRAUDCTL_HOME": str(folder / "home")},
            input=stdin,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    try:
        fraudctl("deploy", "--yes")  # with samples: the generator has to follow
        yield fraudctl
    finally:
        fraudctl("teardown", "--yes")


def test_a_field_is_one_line(run: Run) -> None:
    """It is read from a file, checked, detected with, and an attribute of its own in the audit row."""
    run("flag-accounts", "77", "--from", "1m")
    transaction = {
        "transaction_id": "with-a-country",
        "account_id": 77,
        "customer_name": "Ada",
        "transaction_date": format_date(datetime.now(UTC)),
        "merchant_type": "Grocery",
        "transaction_type": "Online",
        "amount": 12.5,
        "country": "PT",
    }
    assert run("transactions", "send", "-", stdin=json.dumps(transaction))[-1]["delivered"] == 1
    (row,) = eventually(lambda: run("audit", "query", "77"), seconds=60)
    assert (row["transaction_id"], row["country"], row["extra"]) == ("with-a-country", "PT", None)


def test_a_transaction_without_it_is_a_dead_letter(run: Run) -> None:
    """The application knows the rule: nobody told it but the one line."""
    old = b'{"transaction_id":"old","account_id":77,"customer_name":"A","transaction_date":"2026-11-24T10:15:30.123Z",'
    old += b'"merchant_type":"g","transaction_type":"o","amount":1}'
    from confluent_kafka import Producer

    (status,) = run("status")
    producer = Producer({"bootstrap.servers": status["outputs"]["bootstrap_servers"]})
    producer.produce("demo_transactions", old, b"77")
    assert producer.flush(30) == 0
    (letter,) = eventually(lambda: run("tail", "dead-letters", "--last", "1"), seconds=60)
    assert letter["value"]["transaction_id"] == "old"
    assert letter["headers"]["error"] == "country is missing"


def test_sample_transactions_have_it_too(run: Run) -> None:
    """They stay good records, with a value that fits the field's kind."""
    records = eventually(lambda: run("tail", "transactions", "--last", "20"), seconds=60)
    samples = [record["value"] for record in records if record["value"]["account_id"] > 1_000_000_000]
    assert samples
    assert all(re.fullmatch(r"country \d+", sample["country"]) for sample in samples), samples
