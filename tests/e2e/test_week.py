"""A week of an analyst's: flags with an end, ahead, extended and late; who was flagged, and what it came to."""

from datetime import UTC, datetime
from typing import Any

import pytest
import week
from executable import Fraudctl, eventually
from week import LATE, MOVED, STOLEN, Week

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
