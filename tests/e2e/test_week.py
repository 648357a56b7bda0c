"""A week of an analyst's: who was flagged and what it came to, a list tried and applied, a dead letter worked."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import week
from executable import Fraudctl, WithEditor, eventually
from known_answer import transaction
from week import HONEST, LATE, MOVED, MULE, STOLEN, Week

from fraudctl.pipeline import kafka

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def days(fraudctl: Fraudctl) -> Week:
    """The week, published and read; every detection of it is in the audit table."""
    fraudctl("deploy", "--no-samples")
    fraudctl("flink", "stop")
    found = Week.before(datetime.now(UTC))
    week.publish(fraudctl.status(code=None)["outputs"]["bootstrap_servers"], found)
    fraudctl("flink", "start", "--fresh")
    detected = sorted(found.detected())
    assert len(detected) == 37

    def audited() -> list[str]:
        rows = fraudctl("audit", "query", "--all", "-o", "json").documents
        return sorted(row["transaction_id"] for row in rows)

    eventually(lambda: len(audited()) >= len(detected))
    assert audited() == detected
    return found


def states(fraudctl: Fraudctl, *options: str) -> dict[int, tuple[str, str, str | None]]:
    """What `accounts list` says of each account: its state, since and until."""
    rows = fraudctl("accounts", "list", *options, "-o", "json").documents
    return {row["account_id"]: (row["state"], row["since"], row["until"]) for row in rows}


def test_the_list_of_another_day_and_as_it_was_known_then(fraudctl: Fraudctl, days: Week) -> None:
    """An extension, a flag set ahead and a late one: each is in the list from when it was known on."""
    noon = days.at(2, "12:30")
    # What we know today of day 2: the extension of that morning, and the complaint that nobody knew of then.
    assert states(fraudctl, "--as-of", noon) == {
        STOLEN: ("FLAGGED", days.at(0, "10:00"), days.at(5, "12:00")),
        MOVED: ("SCHEDULED", days.at(3), None),
        LATE: ("SCHEDULED", days.at(3, "11:00"), days.at(4, "16:00")),
    }
    # The same moment, by what was known the evening before: it ends at noon.
    assert states(fraudctl, "--as-of", noon, "--known-at", days.at(1, "18:00")) == {
        STOLEN: ("EXPIRED", days.at(2, "12:00"), None),
        MOVED: ("SCHEDULED", days.at(3), None),
    }
    assert states(fraudctl) == {
        STOLEN: ("EXPIRED", days.at(5, "12:00"), None),
        MOVED: ("FLAGGED", days.at(3), None),
        LATE: ("CLEARED", days.at(4, "16:00"), None),
    }
    assert states(fraudctl, "--flagged").keys() == {MOVED}


def test_what_changed_between_two_days(fraudctl: Fraudctl, days: Week) -> None:
    """From the second evening to the fourth: one extended, one begun, one new."""
    done = fraudctl("accounts", "diff", days.at(1, "18:00"), days.at(3, "18:00"), "-o", "json")
    assert [(row["change"], row["account_id"], row["was_until"], row["until"]) for row in done.documents] == [
        ("changed", STOLEN, days.at(2, "12:00"), days.at(5, "12:00")),
        ("changed", MOVED, None, None),  # was scheduled, is flagged
        ("flagged", LATE, None, None),
    ]


def test_what_each_flag_of_an_account_did(fraudctl: Fraudctl, days: Week) -> None:
    """Detections and sums by flag event; what came late says how late, and what it could not reach."""

    def shown(account: int) -> dict[str, Any]:
        (found,) = fraudctl("accounts", "show", str(account), "-o", "json").documents
        return dict(found)

    stolen = shown(STOLEN)
    # An extension changes nothing before the old end: two events share the detections, and the old end has none.
    assert [(event["status"], event["detections"], event["amount"]) for event in stolen["events"]] == [
        ("FLAGGED", 8, 160),
        ("CLEARED", 0, 0),
        ("FLAGGED", 12, 240),
        ("CLEARED", 0, 0),
    ]
    assert stolen["transactions"]["count"] == 24
    late = shown(LATE)["events"][0]
    assert (late["late_ms"], late["detections"]) == (3 * 60 * 60 * 1000, 5)
    assert late["reaches_back_to"] == days.at(3, "13:59")


def test_flags_that_end_begin_later_and_are_extended(fraudctl: Fraudctl, days: Week) -> None:
    """Each command says what holds now, and the list has it; `days` is over by then."""
    del days
    tomorrow = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    fraudctl("flag-accounts", str(HONEST), "--until", "2d", "--reason", "new device")
    (first, _) = (datetime.fromisoformat(str(at)) for at in states(fraudctl, str(HONEST))[HONEST][1:])
    assert f"{HONEST} is flagged from" in fraudctl("flag-accounts", str(HONEST), "--extend", "--until", "1d").err
    state, since, until = states(fraudctl, str(HONEST))[HONEST]
    assert (state, datetime.fromisoformat(since)) == ("FLAGGED", first)
    # The end counts from the command, the start is when the function published it.
    assert timedelta(0) <= first + timedelta(days=3) - datetime.fromisoformat(str(until)) < timedelta(minutes=1)
    fraudctl("flag-accounts", str(STOLEN), "--from", tomorrow.isoformat(), "--until", "12h")
    state, since, until = states(fraudctl, str(STOLEN))[STOLEN]
    assert (state, datetime.fromisoformat(since)) == ("SCHEDULED", tomorrow)
    assert datetime.fromisoformat(str(until)) == tomorrow + timedelta(hours=12)
    done = fraudctl("flag-accounts", "--clear", str(STOLEN))
    assert "Undone" in done.err
    assert states(fraudctl, str(STOLEN))[STOLEN][0] != "SCHEDULED"


def test_a_list_is_tried_on_the_week(fraudctl: Fraudctl, days: Week, tmp_path: Path) -> None:
    """Two accounts of which one was flagged for a day: what they add, what pruning removes, and how right that is."""
    suspects = tmp_path / "suspects.csv"
    suspects.write_text(f"account,reason\n{MULE},mule\n{LATE},complaint\n")
    labels = tmp_path / "chargebacks.csv"
    rows = (f"{record['transaction_id']},{record['account_id'] == MULE}" for _, record in days.transactions())
    labels.write_text("\n".join(["transaction_id,fraud", *rows]))

    def tried(*options: str) -> dict[str, Any]:
        done = fraudctl("accounts", "what-if", "--file", str(suspects), *options, "-o", "json")
        (found,) = done.documents
        return dict(found)

    def sums(found: dict[str, Any], side: str) -> tuple[int, int, float]:
        return found[side]["transactions"], found[side]["accounts"], found[side]["amount"]

    found = tried("--labels", str(labels))
    assert (found["transactions_read"], found["gaps"]) == (120, [])
    assert sums(found, "as_they_were") == (37, 3, 20 * 20 + 12 * 30 + 5 * 40)
    assert sums(found, "added") == (24 + 19, 2, 24 * 50 + 19 * 40)
    assert sums(found, "removed") == (0, 0, 0)
    before, after = (found["labels"][side] for side in ("as_they_were", "with_the_list"))
    assert (before["precision"], before["recall"]) == (0, 0)
    assert (after["precision"], after["recall"]) == (24 / 80, 1)
    pruned = tried("--prune", "--limit", "0")
    assert sums(pruned, "removed") == (20 + 12, 2, 20 * 20 + 12 * 30)
    assert sums(pruned, "with_the_list") == (48, 2, 24 * 50 + 24 * 40)
    # Nothing was published.
    assert MULE not in states(fraudctl)


def test_a_list_is_applied_by_plan(fraudctl: Fraudctl, days: Week, tmp_path: Path) -> None:
    """Exactly the plan, unless flags have moved since; then the list is planned again, and is the list of accounts."""
    del days
    suspects, plan = tmp_path / "suspects.csv", tmp_path / "suspects.plan"
    suspects.write_text(f"account,until,reason\n{MULE},2999-01-01,mule\n{MOVED},,new address\n")
    made = ("accounts", "apply", str(suspects), "--prune", "--since", "7d", "--plan", str(plan))
    done = fraudctl(*made)
    assert "+1 flagged, −1 cleared, 1 unchanged." in done.err
    fraudctl("flag-accounts", str(LATE), "--until", "1h")
    assert f"the flags of account {LATE} have moved" in fraudctl("accounts", "apply", str(plan), "--yes", code=7).err
    assert states(fraudctl, "--flagged").keys() == {HONEST, LATE, MOVED}
    fraudctl(*made)
    fraudctl("accounts", "apply", str(plan), "--yes")
    found = states(fraudctl, "--flagged")
    assert {account: until for account, (_, _, until) in found.items()} == {
        MULE: "2999-01-01T00:00:00.000Z",
        MOVED: None,
    }


def test_a_dead_letter_is_fixed_and_redriven(fraudctl: Fraudctl, days: Week, tmp_path: Path) -> None:
    """An amount with a comma, of a flagged account: corrected and sent again, it is detected."""
    del days
    bad = json.dumps(transaction("comma", MOVED, datetime.now(UTC), amount="12,50"))
    producer = kafka.open_producer(
        kafka.producer(kafka.client(fraudctl.status(code=None)["outputs"]["bootstrap_servers"]))
    )
    producer.produce("demo_transactions", bad.encode(), str(MOVED).encode())
    assert producer.flush(30) == 0

    def listed() -> list[dict[str, Any]]:
        return fraudctl("dead-letters", "list", "--by", "letter", "-o", "json").documents

    (letter,) = eventually(listed)
    editor = tmp_path / "fix"
    editor.write_text('#!/bin/sh\nsed -i \'s/"12,50"/12.50/\' "$1"\n')
    editor.chmod(0o700)
    edited = WithEditor(fraudctl.home, str(editor))
    done = edited("dead-letters", "redrive", letter["letter"], "--edit", "--yes", "-o", "json")
    assert [row["outcome"] for row in done.documents] == ["accepted"]
    query = ("audit", "query", str(MOVED), "--where", "transaction_id = 'comma'", "-o", "json")
    (row,) = eventually(lambda: fraudctl(*query).documents)
    assert (row["amount"], row["flag_reason"]) == (12.5, "new address")
