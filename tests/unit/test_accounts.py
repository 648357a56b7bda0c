"""What to flag: the options, checked before anything happens."""

from collections.abc import Mapping
from typing import Any

import pytest
from fakes import FakeFunctions, FakeRecords, FakeTarget, batch, record

from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, OperationFailed
from fraudctl.pipeline.reader import Batch
from fraudctl.services.accounts import flag as accounts

NOW = 1_790_000_000.0


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("007", 7), ("9223372036854775807", 2**63 - 1)])
def test_account_ids(text: str, number: int) -> None:
    """Decimal digits, 1 to 2^63-1."""
    assert accounts.account(text) == number


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "+1", "1.5", "1e3", "0x10", "1_0", " 1", "١", "9223372036854775808", "9" * 5000]
)
def test_what_is_no_account(text: str) -> None:
    """Whatever Python would make of it."""
    with pytest.raises(BadConfig, match=r"not an account number \(digits only\)"):
        accounts.account(text)


def test_the_start_may_lie_in_the_past() -> None:
    """Relative times are counted from now and written as the records have them."""
    assert accounts.flag_request(["7"], start="15m", clock=lambda: NOW).start == "2026-09-21T13:58:20.000Z"
    assert accounts.flag_request(["7"]).start is None


def test_a_start_at_a_time_of_day_is_todays() -> None:
    """Also when it is yet to come; what it was read as is said."""
    notes: list[str] = []
    request = accounts.flag_request(["7"], start="15:00Z", clock=lambda: NOW, note=notes.append)
    assert request.start == "2026-09-21T15:00:00.000Z"
    assert notes == ["--from 15:00Z read as 2026-09-21T15:00:00+00:00"]


def test_who_flags_is_passed_on() -> None:
    """With the reason, for every account."""
    target = FakeTarget()
    request = accounts.flag_request(["7", "8"], reason="", flagged_by="bo", clear=True)
    flags = list(accounts.flag(target, request))
    assert [(flag["account_id"], flag["flagged_by"], flag["reason"]) for flag in flags] == [
        (7, "bo", ""),
        (8, "bo", ""),
    ]
    assert target.functions.payloads == [
        {"accounts": [7, 8], "random": None, "status": "CLEARED", "from": None, "reason": "", "flagged_by": "bo"}
    ]


@pytest.mark.parametrize("lines", [[], ["\n"], ["", " \n"]], ids=repr)
def test_an_empty_file_flags_nobody(lines: list[str]) -> None:
    """It is not the same as no file, which flags sample accounts."""
    with pytest.raises(BadConfig, match="--file: contains no account"):
        accounts.flag_request([], file=lines)


def test_a_later_failure_says_what_was_written() -> None:
    """Accounts go by the thousand, and the thousands before the failure are flagged."""

    class Failing(FakeFunctions):
        def invoke(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
            if self.payloads:
                raise OperationFailed(f"{name}: no Kafka")
            return super().invoke(name, payload)

    request = accounts.flag_request([str(number) for number in range(1, 1501)])
    with pytest.raises(OperationFailed, match="FlagAccountGenerator: no Kafka; the first 1,000 accounts were written"):
        list(accounts.flag(FakeTarget(functions=Failing()), request))


def test_a_long_topic_of_flag_events_is_not_waited_for() -> None:
    """After a second the question stays open, and the note says so; what was read in time counts."""
    page = batch(record(0, b"{}"))
    more = Batch(page.records, page.positions, {0: 1_000_000})
    seconds = iter(range(10))
    clock = Clock(monotonic=lambda: next(seconds))
    request = accounts.flag_request(["7"], clear=True)
    note = accounts.never_flagged(FakeTarget(records=FakeRecords([more] * 9)), request, clock)
    assert note is not None
    assert note.startswith("Whether they had been flagged before was not found out")
    assert next(seconds) == 3
