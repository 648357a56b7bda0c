"""The whole life of a stack: interrupted, killed, stolen from, side by side, and always brought back with its data."""

import json
import os
import select
import signal
import socket
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from executable import Fraudctl, alive, eventually, output_until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def deployed(fraudctl: Fraudctl) -> Fraudctl:
    """A stack with one audit row, made by the demonstration."""
    done = fraudctl("demo")
    assert "flag to first audit row" in done.err
    assert done.err.rstrip().endswith("The stack is running. Stop it with `fraudctl teardown`.")
    return fraudctl


def rows(fraudctl: Fraudctl) -> list[str]:
    """The transaction ids in the audit table."""
    return [row["transaction_id"] for row in fraudctl("audit", "query", "--limit", "100000", "-o", "json").documents]


def kill_everything(deployed: Fraudctl) -> None:
    """Kill every process of the stack as a power failure does, the supervisor first, and wait until all are gone."""
    pids = [item["pid"] for item in deployed.status(code=None)["components"][::-1] if item["pid"]]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not alive(pids))


def test_an_interrupted_deploy_is_finished_by_the_next(fraudctl: Fraudctl) -> None:
    """Ctrl-C at a few moments: exit 130 unless it was done by then, and the next deploy brings it up."""
    codes = []
    for seconds in (0.0, 0.8, 2.0):
        process = fraudctl.popen("deploy", "--no-samples")
        assert process.stderr is not None
        assert select.select([process.stderr], [], [], 60)[0], "it says nothing"
        time.sleep(seconds)  # the moment itself is the case
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        codes.append(process.returncode)
        assert "Traceback" not in err
    assert codes[0] == 130
    assert set(codes) <= {0, 130}
    fraudctl("deploy", "--samples")
    fraudctl.healthy()


@pytest.mark.parametrize("component", ["kafka", "dynamodb", "lambda", "flink"])
def test_a_killed_component_comes_back_by_itself(deployed: Fraudctl, component: str) -> None:
    """After kill -9 the supervisor starts it again, status says when, and no row is lost."""
    before = rows(deployed)
    pid = deployed.pid(component)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: deployed.status(code=None)["healthy"] and deployed.pid(component) != pid, seconds=180)
    found = next(item for item in deployed.status(code=None)["components"] if item["name"] == component)
    assert found["restarts"] >= 1
    assert found["restarted_at"] is not None
    assert set(before) <= set(rows(deployed))


def test_a_killed_supervisor_is_repaired_by_the_next_command(deployed: Fraudctl) -> None:
    """After kill -9 of the supervisor `status` ends its orphans and starts everything again."""
    os.kill(deployed.pid("supervisor"), signal.SIGKILL)
    deployed.healthy()


def test_after_a_reboot_deploy_brings_it_back_with_its_data(deployed: Fraudctl) -> None:
    """Everything killed at once: commands say so with exit 4, and deploy repairs."""
    before = rows(deployed)
    kill_everything(deployed)
    done = deployed("audit", "query", code=4)
    assert "deployed, but not running" in done.err
    assert "fraudctl deploy" in done.err
    assert deployed.status(code=8)["healthy"] is False
    deployed("deploy")
    assert set(before) <= set(rows(deployed))
    eventually(deployed.is_up_to_date)


def test_a_stolen_port_is_given_up_aloud(deployed: Fraudctl) -> None:
    """A port that another program took while the stack was down: the component moves, and deploy says so."""
    address = deployed.status(code=None)["outputs"]["extra"]["kafka"]
    port = int(address.rsplit(":", 1)[1])
    kill_everything(deployed)
    thief = socket.socket()
    thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with thief:
        eventually(lambda: _listens(thief, port))
        done = deployed("deploy")
        assert f"port {port} is taken by another program" in done.err
        assert deployed.status(code=None)["outputs"]["extra"]["kafka"] != address


def _listens(server: socket.socket, port: int) -> bool:
    try:
        server.bind(("127.0.0.1", port))
    except OSError:
        return False
    server.listen()
    return True


def test_flink_stops_with_a_savepoint_and_goes_on_from_it(deployed: Fraudctl) -> None:
    """Stopped on purpose it stays down; started again it runs from the savepoint."""
    deployed("flink", "stop")
    assert deployed("flink", "status", "-o", "json").documents[0]["state"] == "STOPPED"
    newest = deployed("flink", "savepoints", "-o", "json").documents[0]
    assert newest["kind"] == "savepoint"
    deployed("flink", "start")
    status = deployed("flink", "status", "-o", "json").documents[0]
    assert status["state"] == "RUNNING"
    assert Path(newest["location"]).name in str(status["restored_from"])


def test_a_pause_stops_every_process_and_a_resume_brings_all_back(deployed: Fraudctl) -> None:
    """Paused, nothing runs and status says so; then rows, samples and detection go on where they were."""
    before, pids = rows(deployed), [item["pid"] for item in deployed.status(code=None)["components"] if item["pid"]]
    done = deployed("pause")
    assert done.err.rstrip().endswith("Paused. Next: `fraudctl resume`.")
    assert alive(pids) == []
    status = deployed.status(code=8)
    assert status["paused"]["samples"] is True
    assert {item["health"] for item in status["components"]} == {"stopped"}
    assert "it is paused" in deployed("audit", "query", code=4).err
    deployed("pause")  # what is paused stays paused
    deployed("resume")
    document = deployed.healthy()
    assert document["paused"] is None
    assert document["samples"]["enabled"] is True
    assert set(before) <= set(rows(deployed))
    assert "it is not paused" in deployed("resume", code=7).err
    eventually(lambda: len(rows(deployed)) > len(before))


def test_more_partitions_and_tasks_are_a_deploy(deployed: Fraudctl) -> None:
    """On a running stack: topics grow, the application starts again from its state, and both stay so."""
    done = deployed("deploy", "--partitions", "5", "--parallelism", "2")
    assert "4 → 5 of each topic" in done.err
    listed = deployed("topics", "list", "-o", "json").documents
    assert {topic["partitions"] for topic in listed} == {5}
    before = rows(deployed)
    eventually(lambda: len(rows(deployed)) > len(before))
    eventually(deployed.is_up_to_date)
    assert "Kafka's topics never shrink" in deployed("deploy", "--partitions", "4", code=2).err


def test_damaged_state_does_not_keep_the_application_down(deployed: Fraudctl) -> None:
    """A snapshot whose bytes are garbage is tried twice, then an older one or, as here, none."""
    eventually(lambda: deployed("flink", "savepoints", "-o", "json").documents)
    pid = deployed.pid("flink")
    os.kill(pid, signal.SIGSTOP)  # no snapshot is added or removed meanwhile
    try:
        newest, *older = sorted(deployed.home.rglob("_metadata"), key=lambda path: path.stat().st_mtime, reverse=True)
        newest.write_bytes(b"garbage")
        for metadata in older:
            metadata.unlink()
    finally:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: deployed.status(code=None)["healthy"] and deployed.pid("flink") != pid, seconds=240)
    before = rows(deployed)
    eventually(lambda: len(rows(deployed)) > len(before))


def test_tail_waits_for_kafka_and_resumes(deployed: Fraudctl) -> None:
    """Kafka goes away while tailing: said once, not at every look, and the next record still comes."""
    process = deployed.popen("tail", "transactions", "-o", "json")
    try:
        assert process.stdout is not None
        assert process.stdout.readline()  # a sample: it reads
        pid = deployed.pid("kafka")
        os.kill(pid, signal.SIGSTOP)
        try:
            heard = output_until("Kafka does not answer", process, seconds=90)
        finally:
            with suppress(ProcessLookupError):  # the watchdog may have been quicker
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: deployed.status(code=None)["healthy"] and deployed.pid("kafka") != pid, seconds=180)
        marker = {
            "transaction_id": "after-the-outage",
            "account_id": 1,
            "customer_name": "n",
            "transaction_date": datetime.now(UTC).isoformat(),
            "merchant_type": "m",
            "transaction_type": "t",
            "amount": 1,
        }
        deployed("transactions", "send", "-", stdin=json.dumps(marker))
        seen = iter(process.stdout.readline, "")
        assert any("after-the-outage" in line for line in seen)
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)  # closes the pipes, whatever failed before
    assert process.returncode == 130
    err = heard + err
    said = [line for line in err.splitlines() if "Kafka" in line]
    assert said[:2] == ["Kafka does not answer; waiting.", "Kafka is back."]
    assert all(one != next_one for one, next_one in pairwise(said)), said  # a slow start may look like an outage more
    assert "rdkafka" not in err
    assert "%3|" not in err


def test_two_commands_at_once_wait_for_each_other(deployed: Fraudctl) -> None:
    """The second one waits for the lock; held too long it is refused with the holder's pid."""
    with ExitStack() as whatever_happens:
        first, second = (whatever_happens.enter_context(deployed.popen("deploy")) for _ in range(2))
        for process in (first, second):
            whatever_happens.callback(process.kill)
        for process, other in ((first, second), (second, first)):
            _, err = process.communicate(timeout=120)
            if process.returncode != 0:
                assert process.returncode == 7, err
                assert f"another fraudctl (pid {other.pid}) is changing it" in err
    assert 0 in {first.returncode, second.returncode}


def test_stacks_live_side_by_side(deployed: Fraudctl) -> None:
    """A second stack has ports and data of its own, and its teardown leaves the first alone."""
    try:
        deployed("deploy", "--stack", "second", "--no-samples")
        assert deployed("audit", "query", "--stack", "second", "-o", "json").documents == []
        assert rows(deployed) != []
    finally:
        deployed("teardown", "--stack", "second", "--yes")
    deployed.healthy()


def test_keep_data_keeps_it_for_the_next_deploy(deployed: Fraudctl) -> None:
    """The data folder survives the teardown, and the next deploy adopts it."""
    before = rows(deployed)
    deployed("teardown", "--keep-data", "--yes")
    deployed("audit", "query", code=3)
    assert [path.name for path in (deployed.home / "stacks" / "fraud-detection").iterdir()] == ["data"]
    deployed("deploy")
    assert set(before) <= set(rows(deployed))


def test_teardown_ends_even_what_the_supervisor_lost(deployed: Fraudctl) -> None:
    """Orphans of a killed supervisor are found and ended."""
    status = deployed.status(code=None)
    supervisor = next(item["pid"] for item in status["components"] if item["name"] == "supervisor")
    os.kill(supervisor, signal.SIGKILL)
    deployed("teardown", "--yes")
    assert alive(item["pid"] for item in status["components"] if item["pid"]) == []
