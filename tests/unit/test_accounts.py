"""What to flag: the options, checked before anything happens."""

import pytest
from fakes import FakeTarget

from fraudctl.errors import BadConfig
from fraudctl.services import accounts

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
    with pytest.raises(BadConfig, match="not an integer from 1 to 9223372036854775807"):
        accounts.account(text)


def test_the_start_may_lie_in_the_past() -> None:
    """Relative times are counted from now and written as the records have them."""
    assert accounts.wish(["7"], start="15m", clock=lambda: NOW).start == "2026-09-21T13:58:20.000Z"
    assert accounts.wish(["7"]).start is None


def test_who_flags_is_passed_on() -> None:
    """With the reason, for every account."""
    target = FakeTarget()
    wish = accounts.wish(["7", "8"], reason="", flagged_by="bo", clear=True)
    flags = list(accounts.flag(target, wish))
    assert [(flag["account_id"], flag["flagged_by"], flag["reason"]) for flag in flags] == [
        (7, "bo", ""),
        (8, "bo", ""),
    ]
    assert target.functions.payloads == [
        {"accounts": [7, 8], "random": None, "status": "CLEARED", "from": None, "reason": "", "flagged_by": "bo"}
    ]
