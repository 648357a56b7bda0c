"""One case whose answer is known, for any target: exactly the expected fraud ends in the audit table."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from executable import Fraudctl, eventually

FLAGGED, CLEARED, CLEAN, LATE = 7001, 7002, 7003, 7004
SLACK = timedelta(seconds=5)
BASE = {"customer_name": "Zoë Ōta", "merchant_type": "GROCERY", "transaction_type": "PURCHASE"}


def transaction(number: str, account: int, when: datetime, **changes: Any) -> dict[str, Any]:
    """A transaction; amounts are spelled in JSON text by the caller's own choice."""
    date = when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}Z"
    known = {"transaction_id": number, "account_id": account, **BASE, "transaction_date": date, "amount": 12.5}
    return {**known, **changes}


def exactly_the_expected_fraud(fraudctl: Fraudctl, tmp_path: Path) -> None:
    """Flagged, cleared, never flagged, flagged late, a duplicate, the largest input and a malformed line."""
    flagged = fraudctl("flag-accounts", str(FLAGGED), str(CLEARED), "--reason", "stolen card", "-o", "json")
    assert [flag["account_id"] for flag in flagged.documents] == [FLAGGED, CLEARED]
    cleared = fraudctl("flag-accounts", str(CLEARED), "--clear", "-o", "json").documents
    assert [(flag["account_id"], flag["status"]) for flag in cleared] == [(CLEARED, "CLEARED")]
    published = datetime.fromisoformat(cleared[0]["published"])
    eventually(lambda: datetime.now(UTC) > published + SLACK)  # before, a transaction may be decided without it

    now = datetime.now(UTC)
    largest = transaction("largest", FLAGGED, now, note="")
    largest["note"] = "n" * (64 * 1024 - len(json.dumps(largest)))
    lines = [
        transaction("plain", FLAGGED, now),
        transaction("plain", FLAGGED, now),  # the same identity again
        transaction("before-the-flag", FLAGGED, now - timedelta(days=1)),
        transaction("cleared", CLEARED, now),
        transaction("clean", CLEAN, now),
        transaction("late", LATE, now),
        largest,
    ]
    file = tmp_path / "known.jsonl"
    text = [json.dumps(line) for line in lines]
    assert len(text[-1]) == 64 * 1024
    text.insert(2, '{"transaction_id": "broken"')
    file.write_text("\n".join(text) + "\n")
    sent = fraudctl("transactions", "send", str(file), code=8)
    assert "line 3" in sent.err
    line, summary = sent.documents
    assert (line["line"], summary["delivered"], summary["invalid"], summary["failed"]) == (3, 7, 1, 0)
    fraudctl("flag-accounts", str(LATE), "--from", (now - timedelta(minutes=1)).isoformat(), "--reason", "late")

    def rows() -> list[dict[str, Any]]:
        return fraudctl("audit", "query", "-o", "json").documents

    eventually(lambda: len(rows()) >= 3)
    fraudctl("transactions", "send", str(file), code=8)  # everything once more: nothing new in the table
    marker = transaction("marker", FLAGGED, datetime.now(UTC))
    fraudctl("transactions", "send", "-", stdin=json.dumps(marker))
    found = eventually(lambda: {row["transaction_id"]: row for row in rows()} if len(rows()) >= 4 else {})
    assert {name: (row["account_id"], row["flag_reason"]) for name, row in found.items()} == {
        "plain": (FLAGGED, "stolen card"),
        "largest": (FLAGGED, "stolen card"),
        "late": (LATE, "late"),
        "marker": (FLAGGED, "stolen card"),
    }
    assert found["plain"]["customer_name"] == "Zoë Ōta"
    assert json.loads(found["largest"]["extra"])["note"] == largest["note"]
    assert '"amount":12.50' in fraudctl("audit", "query", str(LATE), "-o", "json").out
    assert rows()[0]["transaction_id"] == "marker"
