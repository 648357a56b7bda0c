"""A file's transactions at the distances of their own dates."""

import json

import pytest

from fraudctl.clock import Clock
from fraudctl.errors import BadConfig
from fraudctl.pipeline.records import Transaction
from fraudctl.services import pacing
from fraudctl.target import Outgoing

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z


def outgoing(date: str) -> Outgoing:
    """A transaction of that date."""
    text = (
        '{"transaction_id":"t","account_id":7,"customer_name":"Ada","transaction_date":"%s","merchant_type":"g",'
        '"transaction_type":"o","amount":12.50,"zip":"00123"}'
    )
    return Outgoing(b"7", (text % date).encode())


@pytest.mark.parametrize(
    ("times", "sent", "dates"),
    [
        (1.0, [0, 10, 10, 70.5], ["14:13:20.000", "14:13:30.000", "14:13:15.000", "14:14:30.500"]),
        (100.0, [0, 0.1, 0.1, 0.705], ["14:13:20.000", "14:13:20.100", "14:13:19.950", "14:13:20.705"]),
    ],
)
def test_the_first_is_now_and_the_others_follow(times: float, sent: list[float], dates: list[str]) -> None:
    """One out of order waits for nothing; everything but the date stays."""
    passed = [0.0]

    def sleep(seconds: float) -> None:
        passed[0] += seconds

    clock = Clock(now=lambda: NOW + passed[0], sleep=sleep, monotonic=lambda: 5 + passed[0])
    records = [outgoing(f"2012-06-21T12:{time}Z") for time in ("14:25.000", "14:35.000", "14:20.000", "15:35.500")]
    found = [(passed[0], one) for one in pacing.paced(records, times, clock)]
    assert [at for at, _ in found] == pytest.approx(sent)
    assert [Transaction.parse(one.value).transaction_date for _, one in found] == [
        f"2026-09-21T{date}Z" for date in dates
    ]
    assert {one.key for _, one in found} == {b"7"}
    assert b'"amount":12.50' in (found[0][1].value or b"")
    assert json.loads(found[0][1].value or b"")["zip"] == "00123"


@pytest.mark.parametrize(("text", "times"), [("live", 1.0), ("100x", 100.0), ("0.5x", 0.5)])
def test_a_pace_is_live_or_so_many_times(text: str, times: float) -> None:
    """A speed below 1 is slow motion."""
    assert pacing.speed(text) == times


@pytest.mark.parametrize("text", ["", "fast", "0x", "-1x", "x", "100", "1e3x", "infx"])
def test_another_pace_is_a_usage_error(text: str) -> None:
    """It is named."""
    with pytest.raises(BadConfig, match="--pace"):
        pacing.speed(text)
