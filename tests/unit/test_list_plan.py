"""A plan for a list of flags, as a file: read as it was written, refused when it was altered or flags have moved."""

import json
from pathlib import Path

import pytest

from fraudctl.errors import BadConfig, Refused
from fraudctl.services.accounts import apply, list_plan
from fraudctl.services.accounts.flag_list import Wanted
from fraudctl.services.accounts.list_plan import ListPlan
from fraudctl.services.flags.rule import FlagEvent, History

NOW = 1_790_000_000_000
DAY = 86_400_000


def history(*events: tuple[int, bool]) -> History:
    """Give an account's flag events: dates, and whether they flag it."""
    return History([FlagEvent(0, date, on, 0, n, "", "mule", "ada") for n, (date, on) in enumerate(events)])


HISTORIES = {
    1: history((0, True)),
    2: history((0, True), (NOW + DAY, False)),
    3: history((0, True)),
}
WANTED = {1: Wanted(1), 2: Wanted(2, until=NOW + 2 * DAY), 4: Wanted(4, until=NOW + DAY, reason="stolen, “again”")}


def planned(*, prune: bool = True) -> ListPlan:
    """Plan the list."""
    return ListPlan(
        stack="fraud-detection",
        target="local",
        made_at=NOW,
        made_by="ada",
        list_file="list.csv",
        prune=prune,
        steps=tuple(apply.steps(HISTORIES, WANTED, NOW, prune=prune)),
        notes=("12 transactions were detected.",),
    )


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    """And is told from a list by how it begins."""
    file = tmp_path / "plan"
    plan = planned()
    plan.write(file)
    assert list_plan.is_plan(str(file))
    assert list_plan.read(str(file)) == plan
    other = tmp_path / "list"
    other.write_text('{"account": 7}\n')
    assert not list_plan.is_plan(str(other))
    (first, *_) = file.read_text().splitlines()
    assert json.loads(first)["summary"] == "+1 flagged, −1 cleared, 1 extended, 1 unchanged"


def test_what_is_shown() -> None:
    """What changes, account by account; the summary and what was said of it."""
    shown = planned().shown()
    assert [(line.action, line.component) for line in shown.changes] == [
        *(("extended", "2"), ("flagged", "4"), ("cleared", "3"))
    ]
    assert [line.detail for line in shown.changes] == [
        "until 2026-09-23T14:13:20.000Z, mule; was until 2026-09-22T14:13:20.000Z",
        "until 2026-09-22T14:13:20.000Z, stolen, “again”",
        "was without an end",
    ]
    assert shown.notes == ("+1 flagged, −1 cleared, 1 extended, 1 unchanged.", "12 transactions were detected.")
    assert [(step.account, len(step.events)) for step in planned().to_publish()] == [(2, 2), (4, 2), (3, 1)]


@pytest.mark.parametrize(
    ("before", "after"),
    [(b'"account_id":4', b'"account_id":5'), (b'"prune":true', b'"prune":false'), (b'{"account_id":1', b"{")],
)
def test_an_altered_plan_is_refused(tmp_path: Path, before: bytes, after: bytes) -> None:
    """A digest covers all of it."""
    file = tmp_path / "plan"
    planned().write(file)
    content = file.read_bytes()
    assert content.count(before) == 1
    file.write_bytes(content.replace(before, after))
    with pytest.raises(BadConfig, match="not as it was written"):
        list_plan.read(str(file))


def test_flags_that_have_moved_refuse_it() -> None:
    """Whoever they are of, in the list or not; exit code 7; the accounts are named."""
    plan = planned()
    plan.check(HISTORIES, NOW + 1)
    moved = {**HISTORIES, 2: history((0, True), (NOW + DAY, False), (NOW + 3 * DAY, True))}
    with pytest.raises(
        Refused, match="the flags of account 2 have moved since the plan was made, 2026-09-21T"
    ) as error:
        plan.check(moved, NOW)
    assert error.value.exit_code == 7
    assert error.value.hint == "make a new plan from the list: `fraudctl accounts apply list.csv --prune`"
    new = {**moved, 4: history((0, False)), 9: history((0, True))}
    with pytest.raises(Refused, match=r"2, 4, 9\)"):
        plan.check(new, NOW)
    with pytest.raises(Refused, match=r"2 accounts \(2, 4\)"):
        planned(prune=False).check(new, NOW)  # who is not in the list does not matter then
    with pytest.raises(Refused, match="too old: what it sets for account 4 has ended by now"):
        plan.check(HISTORIES, NOW + DAY)
