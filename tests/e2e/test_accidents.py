"""Accidents: the command killed in the middle, damaged files, a full disk, a moved folder; nothing is lost."""

import json
import os
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from executable import Fraudctl, eventually

pytestmark = pytest.mark.e2e

STACK = "fraud-detection"


def flagged(fraudctl: Fraudctl, name: str) -> None:
    """Send a transaction of the flagged account 77 and wait for its audit row."""
    transaction = {
        "transaction_id": name,
        "account_id": 77,
        "customer_name": "Ada",
        "transaction_date": datetime.now(UTC).isoformat(),
        "merchant_type": "Grocery",
        "transaction_type": "Online",
        "amount": 1,
    }
    fraudctl("transactions", "send", "-", stdin=json.dumps(transaction))
    eventually(lambda: name in ids(fraudctl), seconds=90)


def ids(fraudctl: Fraudctl) -> list[str]:
    """The ids in the audit table, each as often as it has rows."""
    done = fraudctl("audit", "query", "77", "--limit", "1000", "-o", "json", code=None)
    return sorted(row["transaction_id"] for row in done.documents)


@pytest.fixture(scope="module")
def deployed(fraudctl: Fraudctl) -> Fraudctl:
    """A stack without samples, and one detection."""
    fraudctl("deploy", "--no-samples")
    fraudctl("flag-accounts", "77", "--from", "1m")
    flagged(fraudctl, "before")
    return fraudctl


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.5])
def test_a_deploy_killed_in_the_middle_is_finished_by_the_next(deployed: Fraudctl, seconds: float) -> None:
    """Kill -9 of the command, at moments of a restart of everything."""
    deployed("teardown", "--keep-data", "--yes")
    process = deployed.popen("deploy")
    time.sleep(seconds)  # the moment itself is the case
    process.kill()
    process.communicate()
    deployed("deploy")
    deployed.healthy()
    assert "before" in ids(deployed)
    flagged(deployed, f"after-{seconds}")


def test_a_stop_of_the_application_killed_in_the_middle(deployed: Fraudctl) -> None:
    """Stopped or not: `flink start` brings it back, and what came meanwhile is detected once."""
    process = deployed.popen("flink", "stop")
    time.sleep(0.5)  # the moment itself is the case
    process.kill()
    process.communicate()
    deployed("flink", "start")
    flagged(deployed, "after-stop")
    assert ids(deployed).count("after-stop") == 1


def test_a_teardown_killed_in_the_middle_is_finished_by_the_next(deployed: Fraudctl) -> None:
    """With the data kept, and deployed again."""
    process = deployed.popen("teardown", "--keep-data", "--yes")
    time.sleep(0.5)  # the moment itself is the case
    process.kill()
    process.communicate()
    deployed("teardown", "--keep-data", "--yes", code=None)
    assert [path.name for path in (deployed.home / "stacks" / STACK).iterdir()] == ["data"]
    deployed("deploy")
    flagged(deployed, "after-teardown")
    assert "before" in ids(deployed)


def test_a_damaged_state_file_costs_nothing_but_a_restart(deployed: Fraudctl) -> None:
    """Cut off, the stack counts as not deployed; the next deploy finds its processes and its data."""
    (deployed.home / "stacks" / STACK / "stack.json").write_text('{"ports": {"ka', encoding="utf-8")
    assert "not deployed" in deployed("status", code=3).err
    deployed("deploy")
    deployed.healthy()
    flagged(deployed, "after-damage")
    assert "before" in ids(deployed)


def test_a_moved_state_folder_is_deployed_from_where_it_is(deployed: Fraudctl, tmp_path: Path) -> None:
    """Topics, rows, and the application's state with its absolute paths."""
    deployed("flink", "stop")
    deployed("teardown", "--keep-data", "--yes")
    moved = Fraudctl(tmp_path / "moved")
    shutil.move(deployed.home, moved.home)
    try:
        moved("deploy")
        flagged(moved, "after-move")
        assert {"before", "after-damage"} <= set(ids(moved))
        assert sorted(set(ids(moved))) == ids(moved)
    finally:
        moved("teardown", "--yes", code=None)


def test_a_full_disk_is_named_and_survived(tmp_path: Path) -> None:
    """A state folder on a file system of 300 MB that fills up: refused by name, and well again when there is room."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mount is not allowed here: {mounted.stderr.decode().strip()}")
    run = Fraudctl(small / "home")
    try:
        ballast = small / "ballast"
        ballast.write_bytes(bytes(200 << 20))
        done = run("deploy", "--no-samples", code=5)
        assert "no disk space" in done.err
        ballast.unlink()
        run("deploy", "--no-samples")
        run("flag-accounts", "77", "--from", "1m")
        flagged(run, "before")
        free = shutil.disk_usage(small).free
        ballast.write_bytes(bytes(max(0, free - (1 << 20))))
        with pytest.raises(OSError, match="No space left"):
            (small / "rest").write_bytes(bytes(4 << 20))
        (small / "rest").unlink()
        assert run("status", code=None).code in {0, 8}  # it answers
        ballast.unlink()
        run("deploy", code=None)
        run.healthy(seconds=240)
        flagged(run, "after")
        assert ids(run) == ["after", "before"]
        run("teardown", "--yes")
    finally:
        run("teardown", "--yes", code=None)
        subprocess.run(["umount", str(small)], check=False)


def test_two_deploys_from_the_first_moment(tmp_path: Path) -> None:
    """Of a new stack: one does it, the other waits, or is refused by name; then nothing is left to do."""
    run = Fraudctl(tmp_path / "two")
    try:
        both = [run.popen("deploy", "--no-samples") for _ in range(2)]
        ends = [(process.communicate(timeout=200)[1], process.returncode) for process in both]
        assert 0 in [code for _, code in ends]
        assert {code for _, code in ends} <= {0, 7}, ends
        run.healthy()
        eventually(run.is_up_to_date)
    finally:
        for process in both:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
        run("teardown", "--yes", code=None)
