"""What a page in the user's browser, another user of the machine and a stranger's stop can do to a stack: nothing."""

import http.client
import json
import os
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from executable import Fraudctl, eventually

pytestmark = pytest.mark.e2e

ACCOUNT = 7100
SERVERS = ("flink", "dynamodb", "lambda")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# Headers of one request; PORT becomes the server's.
REFUSED: dict[str, dict[str, str]] = {
    "foreign host": {"Host": "evil.example"},
    "rebinding": {"Host": "rebound.evil.example:PORT"},
    "rebinding, as same origin": {"Host": "rebound.evil.example:PORT", "Origin": "http://rebound.evil.example:PORT"},
    "name that begins right": {"Host": "127.0.0.1.evil.example:PORT"},
    "name that ends right": {"Host": "evil-localhost:PORT"},
    "another address": {"Host": "0.0.0.0:PORT"},
    "empty host": {"Host": ""},
    "foreign origin": {"Origin": "https://evil.example"},
    "sandboxed frame or file": {"Origin": "null"},
    "empty origin": {"Origin": ""},
    "another server of this machine": {"Origin": "http://127.0.0.1:1"},
    "same server by its other name": {"Host": "localhost:PORT", "Origin": "http://127.0.0.1:PORT"},
    "other scheme": {"Origin": "https://127.0.0.1:PORT"},
    "image of another site": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    "link on another site": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    "image of another server of this machine": {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
}
ANSWERED: dict[str, dict[str, str]] = {
    "program": {},
    "program, by name": {"Host": "localhost:PORT"},
    "program, by name in capitals": {"Host": "LocalHost:PORT"},
    "own page": {"Origin": "http://127.0.0.1:PORT", "Sec-Fetch-Site": "same-origin"},
    "own page, by name": {"Host": "localhost:PORT", "Origin": "http://localhost:PORT"},
    "address bar": {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    "through a tunnel with another port": {"Host": "localhost:1", "Origin": "http://localhost:1"},
}


@pytest.fixture(scope="module")
def deployed(fraudctl: Fraudctl) -> Fraudctl:
    """A stack, deployed where new files are for everybody unless a program says otherwise."""
    before = os.umask(0)
    try:
        fraudctl("deploy", "--no-samples")
    finally:
        os.umask(before)
    return fraudctl


@pytest.fixture(scope="module")
def ports(deployed: Fraudctl) -> dict[str, int]:
    """The port of every server that speaks HTTP."""
    addresses: Mapping[str, str] = deployed.status(code=None)["outputs"]["extra"]
    return {name: urlsplit(addresses[name]).port or 0 for name in SERVERS}


def ask(
    port: int, method: str, path: str = "/", headers: Mapping[str, str] | None = None, body: bytes = b""
) -> tuple[int, bytes]:
    """Send one request with just these headers, the right Host unless it is among them; gives status and body."""
    sent = {"Host": "127.0.0.1:PORT", "Content-Length": str(len(body)), **(headers or {})}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in sent.items():
        connection.putheader(name, value.replace("PORT", str(port)))
    connection.endheaders(body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def newest_job(port: int) -> dict[str, Any]:
    """The newest job of the application; empty while it starts."""
    with suppress(OSError, http.client.HTTPException):
        status, body = ask(port, "GET", "/jobs/overview")
        jobs: list[dict[str, Any]] = json.loads(body)["jobs"] if status == 200 else []
        return max(jobs, key=lambda job: int(job["start-time"]), default={})
    return {}


def detects(fraudctl: Fraudctl, name: str) -> None:
    """Send one transaction of the flagged account, and wait until it is in the audit table."""
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    transaction = {"transaction_id": name, "account_id": ACCOUNT, "transaction_date": date, "amount": 1}
    rest = {"customer_name": "n", "merchant_type": "GROCERY", "transaction_type": "PURCHASE"}
    fraudctl("transactions", "send", "-", stdin=json.dumps(transaction | rest))
    eventually(
        lambda: name in fraudctl("audit", "query", str(ACCOUNT), "-o", "json", code=None).out,
        seconds=120,
    )


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("server", SERVERS)
def test_web_pages_of_others_are_refused(ports: dict[str, int], server: str, case: str) -> None:
    """Whatever the method; HTTP without a host at all is answered with 400 by one of them."""
    codes = {method: ask(ports[server], method, headers=REFUSED[case])[0] for method in METHODS}
    wanted = {400, 403} if case == "empty host" else {403}
    assert set(codes.values()) <= wanted, codes


@pytest.mark.parametrize("case", ANSWERED)
@pytest.mark.parametrize("server", SERVERS)
def test_programs_and_own_pages_are_answered(ports: dict[str, int], server: str, case: str) -> None:
    """They get what the server itself says of the method: that there is no such thing, mostly."""
    codes = {method: ask(ports[server], method, headers=ANSWERED[case])[0] for method in METHODS}
    assert 403 not in codes.values(), codes


def test_no_page_stops_the_job_or_writes_a_savepoint(ports: dict[str, int], tmp_path: Path) -> None:
    """What Flink answers to everybody: stop, savepoint, cancel, and the GET that cancels for YARN."""
    port, target = ports["flink"], tmp_path / "savepoint"
    job = eventually(lambda: newest_job(port))
    base, body = f"/jobs/{job['jid']}", json.dumps({"targetDirectory": f"file://{target}", "cancel-job": True}).encode()
    for headers in REFUSED.values():
        for method, path in (("POST", "/stop"), ("POST", "/savepoints"), ("PATCH", "?mode=cancel")):
            assert ask(port, method, base + path, {"Content-Type": "text/plain"} | headers, body)[0] in {400, 403}
    for path in ("/yarn-cancel", "/yarn-stop", "/%79arn-cancel", "/yarn-cancel/?a=b"):
        assert ask(port, "GET", base + path)[0] == 403, path
    after = newest_job(port)
    assert (after["jid"], after["state"]) == (job["jid"], "RUNNING")
    assert not target.exists()


def test_an_upload_of_a_page_is_not_written_to_the_disk(deployed: Fraudctl, ports: dict[str, int]) -> None:
    """Flink writes the files of a form before it looks who sent them; a refused one leaves nothing, and no heap."""
    form = {"Content-Type": "multipart/form-data; boundary=b", "Origin": "https://evil.example"}
    head = b'--b\r\nContent-Disposition: form-data; name="jarfile"; filename="evil.jar"\r\n\r\n'
    for server in SERVERS:
        status, _ = ask(ports[server], "POST", "/jars/upload", form, head + b"0" * 1_000_000 + b"\r\n--b--\r\n")
        assert status == 403, server
    assert list(deployed.home.rglob("*evil.jar*")) == []


def test_the_web_ui_works(ports: dict[str, int]) -> None:
    """The page and the scripts it names come with what a browser sends for them."""
    status, page = ask(ports["flink"], "GET", "/", {"Sec-Fetch-Site": "none"})
    assert status == 200
    assert b"<title>Apache Flink Web Dashboard</title>" in page
    scripts = [part.split(b'"')[0].decode() for part in page.split(b'src="')[1:]]
    assert scripts
    own = {"Origin": "http://127.0.0.1:PORT", "Sec-Fetch-Site": "same-origin"}
    for path in (*(f"/{script}" for script in scripts), "/config", "/overview", "/jobs/overview"):
        assert ask(ports["flink"], "GET", path, own)[0] == 200, path


def test_every_port_refuses_or_speaks_no_http(deployed: Fraudctl, ports: dict[str, int]) -> None:
    """Kafka's ports and Flink's others close the connection: a browser gets nothing from them, nor they from it."""
    pids = [item["pid"] for item in deployed.status(code=None)["components"] if item["pid"]]
    listening = {
        connection.laddr.port
        for pid in pids
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening > set(ports.values())
    for port in listening:
        for method in ("GET", "POST"):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                text = f"{method} / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n"
                connection.sendall(text.encode())
                answer = b""
                with suppress(ConnectionResetError):
                    answer = connection.recv(1000)
            assert answer.startswith(b"HTTP/1.1 403 ") if port in ports.values() else answer == b"", port


def test_a_stop_that_nobody_asked_fraudctl_for_is_made_good(deployed: Fraudctl, ports: dict[str, int]) -> None:
    """A program may ask Flink's REST API; the application starts again by itself, from the savepoint, and detects."""
    published = deployed("flag-accounts", str(ACCOUNT), "-o", "json").documents[0]["published"]
    eventually(lambda: datetime.now(UTC) > datetime.fromisoformat(published) + timedelta(seconds=5))
    detects(deployed, "before")
    for orders in (("POST", "/jobs/{}/stop", b'{"drain": false}'), ("PATCH", "/jobs/{}?mode=cancel", b"")):
        method, path, body = orders
        job, pid = newest_job(ports["flink"])["jid"], deployed.pid("flink")
        status, _ = ask(ports["flink"], method, path.format(job), {"Content-Type": "application/json"}, body)
        assert status == 202
        eventually(lambda old=job: newest_job(ports["flink"]).get("jid", old) != old, seconds=120)  # type: ignore[misc]
        deployed.healthy()
        assert deployed.pid("flink") != pid
        detects(deployed, f"after {method}")


def test_a_stop_that_fraudctl_asked_for_stays(deployed: Fraudctl) -> None:
    """It ended with the code that the supervisor expects, and is down until `flink start`."""
    deployed("flink", "stop")
    assert deployed("flink", "status", "-o", "json").documents[0]["state"] == "STOPPED"
    log = next(deployed.home.rglob("logs/supervisor.log")).read_text()
    assert log.rstrip().splitlines()[-1].endswith("exited: flink (exit status 0; expected)")
    deployed("flink", "start")
    detects(deployed, "after start")


def open_to_others(home: Path) -> list[str]:
    """Whatever lies in the home and grants its group or others anything."""
    found = []
    for path in home.rglob("*"):
        with suppress(FileNotFoundError):  # temporary files come and go
            mode = path.lstat().st_mode
            if mode & 0o077 and not stat.S_ISLNK(mode):
                found.append(f"{stat.filemode(mode)} {path}")
    return found


def test_files_and_folders_are_for_the_user_alone(deployed: Fraudctl) -> None:
    """Topics, rows, savepoints, logs, settings, locks: after all that happened above."""
    assert {"server.properties", "supervisor.log", "_metadata", "stack.json"} <= {
        path.name for path in deployed.home.rglob("*")
    }
    assert open_to_others(deployed.home) == []
