"""What to flag: the options, checked before anything happens; and what else happens meanwhile."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from fakes import FakeFunctions, FakeRecords, FakeTarget, batch, record

from fraudctl.errors import BadConfig, OperationFailed
from fraudctl.pipeline.reader import Batch
from fraudctl.pipeline.records import AccountFlag, Status
from fraudctl.services.accounts import flag as accounts
from fraudctl.services.accounts import outcome
from fraudctl.services.accounts.plan import Action, Request
from fraudctl.services.accounts.publish import prepare, publish, published

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


def at(text: str) -> int:
    """Return a date in epoch milliseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def test_the_start_may_lie_in_the_past() -> None:
    """Relative times are counted from now."""
    (request,) = accounts.flag_requests(["7"], start="15m", clock=lambda: NOW)
    assert request.start == at("2026-09-21T13:58:20")
    assert accounts.flag_requests(["7"])[0].start is None


def test_a_start_at_a_time_of_day_is_todays() -> None:
    """Also when it is yet to come; what it was read as is said."""
    notes: list[str] = []
    (request,) = accounts.flag_requests(["7"], start="15:00Z", clock=lambda: NOW, note=notes.append)
    assert request.start == at("2026-09-21T15:00:00")
    assert notes == ["--from 15:00Z read as 2026-09-21T15:00:00+00:00"]


def test_an_end_at_a_time_of_day_is_the_first_after_the_start() -> None:
    """It is 14:13; a duration counts from the start on, for an extension from each account's end."""
    for until, expected in (("18:00Z", "2026-09-21T18:00:00"), ("09:00Z", "2026-09-22T09:00:00")):
        (request,) = accounts.flag_requests(["7"], until=until, clock=lambda: NOW)
        assert request.until == at(expected)
    (request,) = accounts.flag_requests(["7"], start="1d", until="2d", clock=lambda: NOW)
    assert (request.until, request.lasting) == (int(NOW * 1000) + 86_400_000, None)
    (request,) = accounts.flag_requests(["7"], extend=True, until="2d", clock=lambda: NOW)
    assert (request.action, request.until, request.lasting) == (Action.EXTEND, None, 2 * 86_400_000)


def test_who_flags_is_passed_on() -> None:
    """With the reason, for every account."""
    target = FakeTarget()
    requests = accounts.flag_requests(["7", "8"], reason="", clear=True)
    flags = list(publish(target, prepare(target, requests, int(NOW * 1000)).plans, "bo"))
    assert [(flag["account_id"], flag["flagged_by"], flag["reason"]) for flag in flags] == [
        (7, "bo", ""),
        (8, "bo", ""),
    ]
    assert target.functions.payloads == [
        {
            "events": [
                {"account_id": account, "status": "CLEARED", "flag_date": None, "reason": ""} for account in (7, 8)
            ],
            "flagged_by": "bo",
        }
    ]


@pytest.mark.parametrize("lines", [[], ["\n"], ["", " \n"]], ids=repr)
def test_an_empty_file_flags_nobody(lines: list[str]) -> None:
    """It is not the same as no file, which flags sample accounts."""
    with pytest.raises(BadConfig, match="--file: contains no account"):
        accounts.flag_requests([], file=lines)


def test_a_later_failure_says_what_was_written() -> None:
    """Accounts go by the thousand events, and those before the failure are flagged; no account is cut in two."""

    class Failing(FakeFunctions):
        def invoke(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
            if self.payloads:
                raise OperationFailed(f"{name}: no Kafka")
            return super().invoke(name, payload)

    for until, written in ((None, "1,000"), ("1d", "500")):
        target = FakeTarget(functions=Failing())
        requests = accounts.flag_requests([str(number) for number in range(1, 1501)], until=until)
        plans = prepare(target, requests, int(NOW * 1000)).plans
        with pytest.raises(
            OperationFailed, match=f"FlagAccountGenerator: no Kafka; the first {written} accounts were written"
        ):
            list(publish(target, plans, "bo"))


def test_a_long_topic_of_flag_events_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 30 s accounts are flagged without, and that is said; reading is announced once it takes two."""
    page = batch(record(0, b"{}"))
    more = Batch(page.records, page.positions, {0: 1_000_000})
    seconds = iter(range(100))
    monkeypatch.setattr("fraudctl.services.flags.reading.time.monotonic", lambda: next(seconds))
    target, notes = FakeTarget(records=FakeRecords([more] * 9)), list[str]()
    requests = accounts.flag_requests(["7"], clear=True)
    prepared = prepare(target, requests, int(NOW * 1000), note=notes.append)
    assert notes == ["Reading what is set for the accounts …"]
    assert target.records.asked[0][1].seconds == 30
    assert prepared.unread == "topic flagged_accounts: not read to its end within 30 s"
    assert [event.status for event in prepared.plans[0].events] == ["CLEARED"]
    assert "a flag that was set for later still comes" in "".join(outcome.undone(requests, prepared, int(NOW * 1000)))


def test_somebody_else_at_the_same_time_is_noticed() -> None:
    """Their event lies between what was read and ours: what holds counts it in, and it is named."""

    def event(account: int, status: Status, date: str) -> bytes:
        return AccountFlag(account_id=account, flag_date=date, status=status, reason=None, flagged_by="eve").to_json()

    class Ours(FakeFunctions):
        def invoke(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
            found = super().invoke(name, payload)["flags"]
            return {"flags": [{**flag, "partition": 0, "offset": 4 + number} for number, flag in enumerate(found)]}

    class Meanwhile(FakeRecords):
        def batches(self, topic: str, wanted: Any) -> Any:
            super().batches(topic, wanted)
            if wanted.offsets:
                assert wanted.offsets == {0: 2}
                yield batch(
                    record(2, event(7, Status.CLEARED, "2999-01-01T00:00:00.000Z")),
                    record(3, event(8, Status.CLEARED, "2999-01-01T00:00:00.000Z")),
                    record(4, event(7, Status.FLAGGED, "2026-11-24T10:00:00.000Z")),
                )
            else:
                yield batch(record(1, event(7, Status.CLEARED, "2026-01-01T00:00:00.000Z")))

    target = FakeTarget(records=Meanwhile(), functions=Ours())
    requests = [Request(account=7)]
    prepared = prepare(target, requests, at("2026-11-24T10:00:00"))
    done = published(target, prepared, list(publish(target, prepared.plans, "bo")))
    assert list(outcome.holding(done)) == ["7 is flagged from 2026-11-24T10:00:00.000Z until 2999-01-01T00:00:00.000Z."]
    (said,) = outcome.remarks(requests, prepared, done)
    assert said.startswith("Somebody else changed 7 at the same time: CLEARED at 2999-01-01T00:00:00.000Z by eve.")
