"""FlagAccountGenerator, on librdkafka's mock broker."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from lambda_tools import load, mock_brokers, read, topics

from fraudctl.pipeline import kafka, samples
from fraudctl.pipeline.records import AccountFlag, key, parse_date

NOW = datetime(2026, 11, 24, 10, 15, 30, 123_456, tzinfo=UTC)
RNG = Random(7)  # noqa: S311 - repeatable draws


@pytest.fixture
def brokers() -> Iterator[str]:
    """Run a mock broker and give its address."""
    with mock_brokers() as address:
        yield address


@pytest.fixture
def flagger(brokers: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Load the flagger against the mock broker."""
    monkeypatch.setenv("FLAGGER_BOOTSTRAP_SERVERS", brokers)
    module = load("flag_account_generator")
    yield module
    module.producer().get().close()


def test_flags_lie_where_the_answer_says(flagger: Any, brokers: str) -> None:
    """Each flag event is in Kafka at the partition and offset that the answer names, keyed and in the order asked."""
    payload = {"accounts": [7, 5, 9223372036854775807], "reason": "stolen card", "flagged_by": "ada"}
    answer = json.loads(json.dumps(flagger.handler(payload, None)))
    assert [flag["account_id"] for flag in answer["flags"]] == [7, 5, 9223372036854775807]
    messages = {(message.partition(), message.offset()): message for message in read(brokers, "flagged_accounts", 3)}
    for flag in answer["flags"]:
        message = messages[flag["partition"], flag["offset"]]
        assert message.key() == key(flag["account_id"])
        written = AccountFlag.parse(message.value())
        assert written.values() == {name: flag[name] for name in written.values()}
        assert (written.status, written.reason, written.flagged_by) == ("FLAGGED", "stolen card", "ada")
        assert parse_date(flag["published"])  # the mock broker makes its times up


def test_five_accounts_are_drawn(flagger: Any, brokers: str) -> None:
    """Without accounts five different ones of the first ten are flagged from now on."""
    flags = flagger.handler({}, None)["flags"]
    accounts = [flag["account_id"] for flag in flags]
    assert accounts == sorted(set(accounts))
    assert (len(accounts), set(accounts) <= set(samples.FLAGGABLE)) == (5, True)
    assert {flag["reason"] for flag in flags} == {None}
    age = datetime.now(UTC) - datetime.fromisoformat(flags[0]["flag_date"])
    assert 0 <= age.total_seconds() < 60
    read(brokers, "flagged_accounts", 5)


def test_all_accounts_that_may_be_drawn_are(flagger: Any) -> None:
    """Ten at random are all of the first ten."""
    assert list(flagger.choose({"random": 10}, RNG)) == list(samples.FLAGGABLE)
    assert len(flagger.choose({"random": 1}, RNG)) == 1
    assert list(flagger.choose({"accounts": [3, 1, 3]}, RNG)) == [3, 1]


def test_clearing_from_a_date_with_a_zone(flagger: Any) -> None:
    """A date with a zone becomes UTC milliseconds, and the status is as asked."""
    (flag,) = flagger.flags({"accounts": [1], "status": "CLEARED", "from": "2026-11-24T11:00:00+01:00"}, RNG, NOW)
    assert (flag.status, flag.flag_date) == ("CLEARED", "2026-11-24T10:00:00.000Z")
    (flag,) = flagger.flags({"accounts": [1]}, RNG, NOW)
    assert flag.flag_date == "2026-11-24T10:15:30.123Z"


def test_several_events_of_an_account_keep_their_order(flagger: Any, brokers: str) -> None:
    """Each has its own status, date and reason, and lies where the answer says; without a date it is one of now."""
    listed = [
        {"account_id": 7, "status": "CLEARED", "flag_date": "2026-12-24T11:00:00+01:00", "reason": "stolen card"},
        {"account_id": 8, "status": "CLEARED", "flag_date": None},
        {"account_id": 7, "status": "FLAGGED", "reason": "stolen card"},
        {"account_id": 7, "status": "FLAGGED", "flag_date": "2026-11-24T10:00:00.000Z", "reason": None},
    ]
    found = flagger.handler({"events": listed, "flagged_by": "ada"}, None)["flags"]
    assert [(flag["account_id"], flag["status"], flag["reason"], flag["flagged_by"]) for flag in found] == [
        (7, "CLEARED", "stolen card", "ada"),
        (8, "CLEARED", None, "ada"),
        (7, "FLAGGED", "stolen card", "ada"),
        (7, "FLAGGED", None, "ada"),
    ]
    assert (found[0]["flag_date"], found[3]["flag_date"]) == ("2026-12-24T10:00:00.000Z", "2026-11-24T10:00:00.000Z")
    assert found[1]["flag_date"] == found[2]["flag_date"]
    first, second, third = (flag["offset"] for flag in found if flag["account_id"] == 7)
    assert first < second < third
    messages = {(message.partition(), message.offset()): message for message in read(brokers, "flagged_accounts", 4)}
    for flag in found:
        written = AccountFlag.parse(messages[flag["partition"], flag["offset"]].value())
        assert written.values() == {name: flag[name] for name in written.values()}


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ({"accounts": [0]}, "account_id"),
        ({"accounts": [-1]}, "account_id"),
        ({"accounts": [2**63]}, "account_id"),
        ({"accounts": ["1"]}, "integers"),
        ({"accounts": [1.0]}, "integers"),
        ({"accounts": [True]}, "integers"),
        ({"accounts": [[1]]}, "integers"),
        ({"accounts": []}, "accounts"),
        ({"accounts": 1}, "accounts"),
        ({"random": 0}, "1 to 10"),
        ({"random": 11}, "1 to 10"),
        ({"random": "3"}, "1 to 10"),
        ({"random": True}, "1 to 10"),
        ({"accounts": [1], "random": 1}, "together"),
        ({"accounts": [1], "status": "flagged"}, "status"),
        ({"accounts": [1], "from": "yesterday"}, "flag_date"),
        ({"accounts": [1], "from": "2026-11-24T10:00:00"}, "flag_date"),
        ({"accounts": [1], "reason": "x" * 257}, "reason"),
        ({"accounts": [1], "reason": 1}, "reason"),
        ({"accounts": [1], "flagged_by": "x" * 257}, "flagged_by"),
        ({"account": [1]}, "unknown in the payload: account"),
        ({"events": []}, "events is not a list"),
        ({"events": {}}, "events is not a list"),
        ({"events": [1]}, "events is not a list"),
        ({"events": [{"account_id": 1, "status": "FLAGGED"}], "accounts": [1]}, "events and accounts"),
        ({"events": [{"account_id": 1, "status": "FLAGGED"}], "from": "2026-11-24T10:00:00Z"}, "events and from"),
        ({"events": [{"account_id": 1, "status": "FLAGGED", "flagged_by": "x"}]}, "unknown in an event: flagged_by"),
        ({"events": [{"account_id": 1, "status": "FLAGGED"}, {"account_id": 1, "status": "CLEAR"}]}, "status"),
        ({"events": [{"account_id": 1}]}, "status is missing"),
        ({"events": [{"status": "FLAGGED"}]}, "account_id is missing"),
        ({"events": [{"account_id": True, "status": "FLAGGED"}]}, "account_id"),
        ({"events": [{"account_id": 1, "status": "FLAGGED", "flag_date": 1}]}, "flag_date"),
    ],
)
def test_the_flagger_refuses_nonsense(flagger: Any, brokers: str, event: dict[str, Any], why: str) -> None:
    """A payload that would make a malformed flag event is refused by name, and nothing is written."""
    with pytest.raises(ValueError, match=why):
        flagger.handler(event, None)
    assert "flagged_accounts" not in topics(brokers)


def test_the_flagger_names_what_was_not_written(flagger: Any) -> None:
    """Without a broker the invocation fails and names the accounts."""
    quick = kafka.producer(kafka.client("127.0.0.1:1")) | {"delivery.timeout.ms": 300, "linger.ms": 0}
    events = flagger.flags({"accounts": [3, 4]}, RNG, NOW)
    with kafka.open_producer(quick) as producer, pytest.raises(RuntimeError, match="accounts 3, 4: Local: Message"):
        flagger.write(producer, events)
    with kafka.open_producer(quick) as producer, pytest.raises(flagger.NotConfirmed, match="and may still arrive"):
        flagger.write(producer, events)


def test_what_kafka_refuses_will_not_arrive(flagger: Any, brokers: str) -> None:
    """A no is no silence: the error is another one, and does not say that the flags may still come."""
    strict = kafka.producer(kafka.client(brokers)) | {"message.max.bytes": 1000}
    (event,) = flagger.flags({"accounts": [3], "reason": "x" * 256}, RNG, NOW)
    too_large = replace(event, reason="x" * 2000)
    with (
        kafka.open_producer(strict) as producer,
        pytest.raises(RuntimeError, match="not written, accounts 3") as caught,
    ):
        flagger.write(producer, [too_large])
    assert not isinstance(caught.value, flagger.NotConfirmed)
