"""``pytest tests/soak/soak_flink.py``: the same claims as in `make test`, for longer; by hand, about half an hour."""

import time
from pathlib import Path

import pytest
from flink_live import SLACK, live_run, outcomes
from flink_runs import Application, new_topics, running_broker
from histories import flag_json, transaction_json
from oracle import Flag, Identity, Transaction

MINUTES = 20
RATE = 200
ACCOUNTS = 100


@pytest.mark.timeout(1800)
def test_500_seeds_and_20_kills(tmp_path: Path) -> None:
    """Nothing is missing and every outcome is right after twenty kills; the replay is exact."""
    with running_broker(tmp_path / "kafka") as broker:
        run = live_run(broker, tmp_path / "application", seeds=range(1000, 1500), kills=20, span=240_000)
    first = dict[Identity, tuple[int, str | None]]()
    for found in run.live:
        first.setdefault(found.identity, (found.flag_date, found.reason))
        right = set[object]().union(*(outcomes(run, copy) for copy in run.transactions[found.identity]))
        assert (found.flag_date, found.reason) in right
    assert all(
        identity in first or any(None in outcomes(run, copy) for copy in copies)
        for identity, copies in run.transactions.items()
    )
    assert {(found.identity, found.flag_date, found.reason) for found in run.replayed} == run.exact


@pytest.mark.timeout(60 * (MINUTES + 5))
def test_state_is_bounded(tmp_path: Path) -> None:
    """The checkpoints of a steady stream stop growing once hold is over, and flag events beyond 64 go.

    Five accounts get 600 flag events a minute each; kept, they would be 20 MB in the end.
    """
    sizes = []
    with running_broker(tmp_path / "kafka") as broker:
        topics = new_topics(broker, "bounded", log_append_time=True)
        application = Application(topics, tmp_path / "application", {"slack.ms": str(SLACK)})
        application.start()
        try:
            for minute in range(MINUTES):
                for second in range(60):
                    now = round(time.time() * 1000)
                    numbers = range((minute * 60 + second) * RATE, (minute * 60 + second + 1) * RATE)
                    made = (Transaction(0, number % ACCOUNTS + 1, now, str(number)) for number in numbers)
                    topics.write(("transactions", 0, one.account, transaction_json(one)) for one in made)
                    many = [
                        Flag(0, number % 5 + 1, now + 10**9, flagged=True, reason="x" * 200) for number in range(50)
                    ]
                    topics.write(("flagged", 0, flag.account, flag_json(flag)) for flag in many)
                    time.sleep(max(0.0, 1 - (time.time() - now / 1000)))
                latest = application.rest(f"/jobs/{application.job()}/checkpoints")["latest"]["completed"]
                sizes.append(latest["state_size"])
        finally:
            application.kill()
    print(f"checkpoint bytes, minute by minute: {sizes}")  # noqa: T201 - the figure is what a soak is for
    assert max(sizes[3:]) < 1.5 * sizes[2], sizes
