"""What runs and does not answer: named within seconds, healed without a hand or by a deploy, on real components."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from executable import EXECUTABLE, Fraudctl, alive, eventually

from fraudctl.local import clients

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

PROGRAMS = ("kafka", "dynamodb", "lambda", "flink")
# `status` promises 5 s; Python's own start on a busy machine comes on top, and so does another test file's stack.
STATUS_SECONDS = 10.0


@pytest.fixture(scope="module")
def deployed(fraudctl: Fraudctl) -> Fraudctl:
    """A stack that is well, and whose watchdog has seen every program answer."""
    fraudctl("deploy")
    fraudctl.healthy()
    return fraudctl


@pytest.fixture
def well(deployed: Fraudctl) -> Iterator[Fraudctl]:
    """The stack, well at the beginning of each test and brought back after it."""
    eventually(lambda: set(seen(deployed)) == set(PROGRAMS))
    yield deployed
    if not deployed.status(code=None)["healthy"]:
        deployed("deploy", code=None)
        deployed.healthy()


def root(fraudctl: Fraudctl) -> Path:
    """The stack's folder."""
    return fraudctl.home / "stacks" / "fraud-detection"


def seen(fraudctl: Fraudctl) -> dict[str, int]:
    """The pids that the watchdog has seen answer."""
    file = root(fraudctl) / "run" / "answered.json"
    return dict(json.loads(file.read_text())) if file.exists() else {}


def looked(fraudctl: Fraudctl) -> dict[str, dict[str, Any]]:
    """The components of `status` by name; it must come in time and not be content."""
    began = time.monotonic()
    document = fraudctl.status(code=8)
    assert time.monotonic() - began < STATUS_SECONDS
    return {component["name"]: component for component in document["components"]}


def planned(fraudctl: Fraudctl) -> list[str]:
    """The lines of the plan."""
    return [line for line in fraudctl("deploy", "--plan").err.splitlines() if line.startswith("  ")]


@pytest.mark.parametrize("component", PROGRAMS)
def test_what_hangs_is_named_alone_and_comes_back_by_itself(well: Fraudctl, component: str) -> None:
    """`status` names it in time and blames no other, the plan repairs it, and the watchdog does so without a deploy."""
    pid = well.pid(component)
    os.kill(pid, signal.SIGSTOP)
    found = looked(well)
    assert found[component]["health"] == "unhealthy"
    assert found[component]["detail"].startswith("it does not answer")
    assert {found[name]["health"] for name in (*PROGRAMS, "supervisor", "watchdog") if name != component} == {"healthy"}
    (line,) = planned(well)
    assert line.split()[:2] == ["repair", component]
    eventually(lambda: well.status(code=None)["healthy"] and well.pid(component) != pid, seconds=120)
    assert alive([pid]) == []
    after = next(item for item in well.status(code=None)["components"] if item["name"] == component)
    assert after["restarts"] >= 1
    assert f"{component}: pid {pid} has not answered for" in well("logs", "watchdog").out


def test_a_deploy_replaces_what_hangs(well: Fraudctl) -> None:
    """Kafka and the watchdog itself are stopped: both are named and replaced, and nothing else is restarted."""
    pids = {name: well.pid(name) for name in (*PROGRAMS, "watchdog")}
    for name in ("watchdog", "kafka"):
        os.kill(pids[name], signal.SIGSTOP)
    found = looked(well)
    assert (found["kafka"]["health"], found["watchdog"]["health"]) == ("unhealthy", "unhealthy")
    assert {line.split()[1] for line in planned(well)} == {"kafka", "watchdog"}
    done = well("deploy")
    assert f"pid {pids['kafka']} runs, but does not answer: it is stopped and started again" in done.err
    well.healthy()
    assert {name for name, pid in pids.items() if well.pid(name) != pid} == {"kafka", "watchdog"}
    assert alive([pids["kafka"], pids["watchdog"]]) == []


def test_flags_against_a_hung_kafka(well: Fraudctl) -> None:
    """Exit 4, Kafka by name, and that they may still arrive; with a watchdog it would be back before."""
    for name in ("watchdog", "kafka"):
        os.kill(well.pid(name), signal.SIGSTOP)
    done = well("flag-accounts", "7010", code=4)
    assert "Kafka does not answer: not confirmed, and may still arrive, accounts 7010: " in done.err
    assert "Purged" not in done.err


def test_a_hung_function_runner_is_found_out_in_seconds(well: Fraudctl) -> None:
    """A function may take a minute; whether its runner lives is asked first."""
    os.kill(well.pid("lambda"), signal.SIGSTOP)
    began = time.monotonic()
    done = well("flag-accounts", "7011", code=4)
    assert time.monotonic() - began < 10
    assert "lambda: does not answer" in done.err


def test_a_hung_supervisor_is_named_and_replaced(well: Fraudctl) -> None:
    """Its programs run on and are shown so; deploy kills it and starts all again."""
    supervisor, kafka = well.pid("supervisor"), well.pid("kafka")
    os.kill(supervisor, signal.SIGSTOP)
    found = looked(well)
    assert found["supervisor"]["health"] == "unhealthy"
    assert found["supervisor"]["detail"].startswith("it does not answer")
    assert {found[name]["health"] for name in PROGRAMS} == {"healthy"}
    assert found["kafka"]["pid"] == kafka
    assert planned(well)[0].split()[:2] == ["repair", "supervisor"]
    done = well("deploy")
    assert f"pid {supervisor} runs, but it does not answer" in done.err
    well.healthy()
    assert alive([supervisor, kafka]) == []


def test_a_missing_control_socket_is_named_and_made_again(well: Fraudctl) -> None:
    """Nothing is shown as stopped; supervisord cannot make its socket again, so it is restarted, in order."""
    supervisor = well.pid("supervisor")
    text = (root(well) / "config" / "supervisord.conf").read_text()
    Path(text.split("file=", 1)[1].splitlines()[0].replace("%%", "%")).unlink()
    found = looked(well)
    assert found["supervisor"]["detail"].startswith("its control socket is missing")
    assert found["supervisor"]["pid"] == supervisor
    assert {found[name]["health"] for name in PROGRAMS} == {"healthy"}
    assert f"pid {supervisor} runs, but its control socket is missing: it is restarted" in well("deploy").err
    well.healthy()
    assert alive([supervisor]) == []


def test_a_deleted_audit_table_is_made_again(well: Fraudctl) -> None:
    """`status`, the plan and deploy agree on it."""
    address = well.status(code=None)["outputs"]["extra"]["dynamodb"]
    clients.dynamodb(int(address.rsplit(":", 1)[1])).delete_table(TableName="fraud-detection-audit")
    found = looked(well)
    assert (found["audit table"]["health"], found["dynamodb"]["health"]) == ("unhealthy", "healthy")
    (line,) = planned(well)
    assert line.split(maxsplit=3) == ["repair", "audit", "table", "fraud-detection-audit does not exist"]
    assert "fraud-detection-audit created" in well("deploy").err
    well.healthy()
    assert well("audit", "query", "-o", "json").documents == []


def test_teardown_ends_what_hangs(deployed: Fraudctl) -> None:
    """Everything is stopped, the supervisor among it: nothing is left."""
    pids = [item["pid"] for item in deployed.status(code=None)["components"][::-1] if item["pid"]]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    deployed("teardown", "--yes")
    assert alive(pids) == []
    assert not root(deployed).exists()


def test_the_machines_settings_do_not_matter(fraudctl: Fraudctl, tmp_path: Path) -> None:
    """A name that does not resolve, a profile that does not exist, a file that is none, a proxy that is gone."""
    broken = tmp_path / "broken"
    broken.write_text("no ini [")
    settings = {
        "AWS_PROFILE": "nope",
        "AWS_CONFIG_FILE": str(broken),
        "AWS_RETRY_MODE": "nonsense",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
    }
    unshare = shutil.which("unshare")
    renamed = [unshare, "-u", "sh", "-c", 'hostname no-such-host-xyz; exec "$@"', "-"] if unshare else []
    if subprocess.run([*renamed, "true"], capture_output=True, check=False).returncode:
        renamed = []  # not root: at least the settings
    for words in (("deploy", "--no-samples"), ("status",), ("audit", "query"), ("flag-accounts", "7001")):
        done = subprocess.run(
            [*renamed, str(EXECUTABLE), *words],
            env={**fraudctl.environment, **settings},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{words}\n{done.stderr}{fraudctl.logs()}"
    for log in root(fraudctl).glob("logs/*.log"):
        assert "UnknownHostException" not in log.read_text(errors="replace")
