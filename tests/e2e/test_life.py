"""The whole life of a stack: interrupted, killed, stolen from, side by side, and always brought back with its data."""

import json
import os
import signal
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from executable import Fraudctl, eventually

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def deployed(fraudctl: Fraudctl) -> Fraudctl:
    """A stack with one audit row, made by the demonstration."""
    done = fraudctl("demo")
    assert "flag to first audit row" in done.err
    assert done.err.rstrip().endswith("running; stop it with `fraudctl teardown`")
    return fraudctl


def rows(fraudctl: Fraudctl) -> list[str]:
    """The transaction ids in the audit table."""
    return [row["transaction_id"] for row in fraudctl("audit", "query", "--limit", "100000", "-o", "json").documents]


def test_an_interrupted_deploy_is_finished_by_the_next(fraudctl: Fraudctl) -> None:
    """Ctrl-C at a few moments: exit 130 each time, and the next deploy brings it up."""
    for seconds in (0.4, 1.2, 2.5):
        process = fraudctl.popen("deploy", "--no-samples")
        time.sleep(seconds)  # the moment itself is the case
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode in {0, 130}, err
        assert "Traceback" not in err
    fraudctl("deploy", "--samples")
    assert fraudctl.status()["healthy"] is True


@pytest.mark.parametrize("component", ["kafka", "dynamodb", "lambda", "flink"])
def test_a_killed_component_comes_back_by_itself(deployed: Fraudctl, component: str) -> None:
    """After kill -9 the supervisor starts it again, status says when, and no row is lost."""
    before = rows(deployed)
    pid = deployed.pid(component)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: deployed.status(code=None)["healthy"] and deployed.pid(component) != pid, seconds=90)
    found = next(item for item in deployed.status()["components"] if item["name"] == component)
    assert found["restarts"] >= 1
    assert found["restarted_at"] is not None
    assert set(before) <= set(rows(deployed))


def test_a_killed_supervisor_is_mended_by_the_next_command(deployed: Fraudctl) -> None:
    """After kill -9 of the supervisor `status` ends its orphans and starts everything again."""
    os.kill(deployed.pid("supervisor"), signal.SIGKILL)
    eventually(lambda: deployed.status(code=None)["healthy"], seconds=90)


def test_after_a_reboot_deploy_brings_it_back_with_its_data(deployed: Fraudctl) -> None:
    """Everything killed at once: commands say so with exit 4, and deploy repairs."""
    before = rows(deployed)
    for item in [*deployed.status()["components"]][::-1]:
        if item["pid"]:
            os.kill(item["pid"], signal.SIGKILL)
    done = deployed("audit", "query", code=4)
    assert "deployed, but not running" in done.err
    assert "fraudctl deploy" in done.err
    assert deployed.status(code=8)["healthy"] is False
    deployed("deploy")
    assert set(before) <= set(rows(deployed))
    assert "up to date" in deployed("deploy").err


def test_a_stolen_port_is_given_up_aloud(deployed: Fraudctl) -> None:
    """A port that another program took while the stack was down: the component moves, and deploy says so."""
    address = deployed.status()["outputs"]["extra"]["kafka"]
    port = int(address.rsplit(":", 1)[1])
    for item in [*deployed.status()["components"]][::-1]:
        if item["pid"]:
            os.kill(item["pid"], signal.SIGKILL)
    thief = socket.socket()
    thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with thief:
        eventually(lambda: _listens(thief, port))
        done = deployed("deploy")
        assert f"port {port} is taken by another program" in done.err
        assert deployed.status()["outputs"]["extra"]["kafka"] != address


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


def test_damaged_state_does_not_keep_the_application_down(deployed: Fraudctl) -> None:
    """A snapshot whose bytes are garbage is tried twice, then an older one or, as here, none."""
    eventually(lambda: deployed("flink", "savepoints", "-o", "json").documents)
    pid = deployed.pid("flink")
    newest, *older = sorted(deployed.home.rglob("_metadata"), key=lambda path: path.stat().st_mtime, reverse=True)
    newest.write_bytes(b"garbage")
    for metadata in older:
        metadata.unlink()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: deployed.status(code=None)["healthy"] and deployed.pid("flink") != pid, seconds=240)
    before = rows(deployed)
    eventually(lambda: len(rows(deployed)) > len(before))


def test_tail_waits_for_kafka_and_resumes(deployed: Fraudctl) -> None:
    """Kafka goes away while tailing: said once, and the next record still comes."""
    process = deployed.popen("tail", "transactions", "--max", "2000", "-o", "json")
    try:
        assert process.stdout is not None
        assert process.stdout.readline()  # a sample: it reads
        os.kill(deployed.pid("kafka"), signal.SIGKILL)
        eventually(lambda: deployed.status(code=None)["healthy"], seconds=90)
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
        _, err = process.communicate(timeout=30)  # closes the pipes, whatever failed before
    assert process.returncode == 130
    assert err.count("Kafka does not answer") == 1
    assert "rdkafka" not in err
    assert "%3|" not in err


def test_two_commands_at_once_wait_for_each_other(deployed: Fraudctl) -> None:
    """The second one waits for the lock; held too long it is refused with the holder's pid."""
    first, second = deployed.popen("deploy"), deployed.popen("deploy")
    for process in (first, second):
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err


def test_stacks_live_side_by_side(deployed: Fraudctl) -> None:
    """A second stack has ports and data of its own, and its teardown leaves the first alone."""
    deployed("deploy", "--stack", "second", "--no-samples")
    assert deployed("audit", "query", "--stack", "second", "-o", "json").documents == []
    assert rows(deployed) != []
    deployed("teardown", "--stack", "second", "--yes")
    assert deployed.status()["healthy"] is True


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
    status = deployed.status()
    supervisor = next(item["pid"] for item in status["components"] if item["name"] == "supervisor")
    os.kill(supervisor, signal.SIGKILL)
    deployed("teardown", "--yes")
    left = [item["pid"] for item in status["components"] if item["pid"] and psutil.pid_exists(item["pid"])]
    assert left == []
