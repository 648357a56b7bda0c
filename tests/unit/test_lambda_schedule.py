"""The schedule: when it ticks, that it keeps its state, and that two ticks never overlap."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from lambda_tools import wait_for

from fraudctl.local.lambda_runner.functions import Functions, Stopper
from fraudctl.local.lambda_runner.schedule import Schedule
from fraudctl.local.lambda_runner.spec import FunctionSpec, ScheduleSpec

HANDLER = """
import threading, time
ticks, running = [], threading.Lock()

def handler(event, context):
    assert running.acquire(blocking=False), "overlap"
    ticks.append((time.monotonic(), event))
    try:
        while event.get("long") and context.get_remaining_time_in_millis() > 0:
            time.sleep(0.005)
        usual = event.get("seconds", 0)
        time.sleep(usual if len(ticks) > 1 else event.get("first", usual))
        if event.get("fail"):
            raise RuntimeError("no Kafka")
        return {"sent": len(ticks), "failed": 0}
    finally:
        running.release()
"""

Make = Callable[..., Schedule]


@pytest.fixture
def functions(tmp_path: Path) -> Functions:
    """Host a function that notes its ticks."""
    (tmp_path / "tick").mkdir()
    (tmp_path / "tick" / "handler.py").write_text(HANDLER)
    return Functions([FunctionSpec(name="stack-Tick", folder="tick", timeout_s=60)], tmp_path, Stopper())


@pytest.fixture
def make(functions: Functions, tmp_path: Path) -> Iterator[Make]:
    """Give a maker of schedules; all are ended afterwards."""
    made: list[Schedule] = []

    def maker(**changes: Any) -> Schedule:
        spec = ScheduleSpec(function="stack-Tick", payload={}, state_file=str(tmp_path / "run" / "schedule.json"))
        made.append(Schedule(replace(spec, **changes), functions))
        return made[-1]

    yield maker
    for schedule in made:
        schedule.end()
        assert schedule.join(10)


def ticks(functions: Functions) -> list[tuple[float, Any]]:
    """Give the ticks so far: when and with what payload."""
    function = functions.find("stack-Tick")
    assert function is not None
    function.load()
    found: list[tuple[float, Any]] = list(function._module.ticks)
    return found


def test_the_first_tick_is_at_once(make: Make, functions: Functions) -> None:
    """The schedule invokes with its payload when it starts, not a minute later, and says how that ended."""
    schedule = make(payload={"per_second": 10})
    before = int(time.time() * 1000)
    schedule.start_thread()
    wait_for(lambda: schedule.status()["last_at"], "the first tick")
    status = schedule.status()
    assert [payload for _, payload in ticks(functions)] == [{"per_second": 10}]
    assert (status["enabled"], status["last_ok"], status["last_result"]) == (True, True, '{"sent": 1, "failed": 0}')
    assert before <= status["last_at"] <= int(time.time() * 1000)
    assert 0 < status["next_at"] - status["last_at"] <= 60_000


def test_ticks_keep_their_time(make: Make, functions: Functions) -> None:
    """Ticks come every 0.1 s from the start on, without drift by what they take."""
    start = time.monotonic()
    schedule = make(every_s=0.1, payload={"seconds": 0.03})
    schedule.start_thread()
    first = wait_for(lambda: schedule._next, "the second tick's time")
    wait_for(lambda: len(ticks(functions)) >= 6, "six ticks")
    times = [moment for moment, _ in ticks(functions)]
    assert all(moment - start >= 0.1 * number - 1e-6 for number, moment in enumerate(times)), (start, times)
    assert first is not None
    assert schedule._next is not None
    intervals = (schedule._next - first) / 0.1
    assert abs(intervals - round(intervals)) < 1e-6


def test_long_ticks_do_not_overlap(make: Make, functions: Functions) -> None:
    """A tick that takes longer than its interval delays the next one; the handler never runs twice at once."""
    schedule = make(every_s=0.05, payload={"seconds": 0.12})
    schedule.start_thread()
    wait_for(lambda: len(ticks(functions)) >= 4, "four ticks")
    assert schedule.status()["last_ok"] is True
    times = [moment for moment, _ in ticks(functions)]
    assert all(later - earlier >= 0.12 for earlier, later in pairwise(times))


def test_missed_ticks_are_left_out(make: Make, functions: Functions) -> None:
    """After one tick of five intervals the next one comes at once, and those it ran over do not come in a bunch."""
    start = time.monotonic()
    make(every_s=0.1, payload={"first": 0.5}).start_thread()
    wait_for(lambda: len(ticks(functions)) >= 6, "six ticks")
    times = [moment for moment, _ in ticks(functions)]
    assert times[1] - times[0] >= 0.5
    assert times[5] - start > 0.85


def test_stopping_ends_a_running_tick(make: Make, functions: Functions) -> None:
    """Stop tells the running function that its time is over, and no further tick comes."""
    schedule = make(every_s=0.05, payload={"long": True})
    schedule.start_thread()
    wait_for(lambda: schedule.status()["running"], "a running tick")
    assert schedule.stop()["changed"] is True
    wait_for(lambda: not schedule.status()["running"], "the tick's end")
    number = len(ticks(functions))
    status = schedule.status()
    assert (status["enabled"], status["next_at"], status["last_ok"]) == (False, None, True)
    schedule.end()
    assert schedule.join(10)
    assert len(ticks(functions)) == number


def test_starting_ticks_at_once(make: Make, functions: Functions) -> None:
    """After a stop, start ticks at once, also when the stopped tick has not yet ended; twice changes nothing."""
    schedule = make(payload={"long": True})
    schedule.start_thread()
    wait_for(lambda: schedule.status()["running"], "a running tick")
    schedule.stop()
    assert schedule.start()["changed"] is True
    wait_for(lambda: len(ticks(functions)) == 2, "the second tick")
    assert schedule.start()["changed"] is False
    assert len(ticks(functions)) == 2


def test_the_switch_survives_a_restart(make: Make, functions: Functions, tmp_path: Path) -> None:
    """A schedule that was stopped stays so in the next run, and one that was started too."""
    first = make()
    assert first.stop()["changed"] is True
    assert json.loads((tmp_path / "run" / "schedule.json").read_text()) == {"enabled": False}
    second = make()
    second.start_thread()
    assert second.status()["enabled"] is False
    second.start()
    wait_for(lambda: len(ticks(functions)) == 1, "a tick")
    assert make(enabled=False).status()["enabled"] is True


def test_the_specification_says_how_it_begins(make: Make, functions: Functions) -> None:
    """Without a state file the specification decides; stopped like this it writes nothing and never ticks."""
    schedule = make(enabled=False, every_s=0.01)
    schedule.start_thread()
    assert schedule.stop()["changed"] is False
    assert schedule.status()["next_at"] is None
    schedule.end()
    assert schedule.join(10)
    assert ticks(functions) == []


def test_a_damaged_state_file_is_no_obstacle(make: Make, tmp_path: Path) -> None:
    """A file that is no JSON counts as none."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "schedule.json").write_text("{")
    assert make().status()["enabled"] is True
    assert make(enabled=False).status()["enabled"] is False


def test_a_failed_tick_is_told_and_not_the_last(make: Make, functions: Functions) -> None:
    """A tick that fails is in the status with its reason, and the next one comes in its time."""
    schedule = make(every_s=0.05, payload={"fail": True})
    schedule.start_thread()
    wait_for(lambda: len(ticks(functions)) >= 2, "two ticks")
    status = schedule.status()
    assert (status["last_ok"], status["last_result"]) == (False, "no Kafka")


def test_the_end_does_not_wait_for_the_next_tick(make: Make) -> None:
    """Ending does not wait for the minute, and ends a running tick early."""
    schedule = make(payload={"long": True})
    schedule.start_thread()
    wait_for(lambda: schedule.status()["running"], "a running tick")
    schedule.end()
    assert schedule.join(10)
