"""The runner's HTTP side, by boto3's Lambda client and by hand."""

import base64
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from lambda_tools import wait_for

from fraudctl.local.lambda_runner.functions import PAYLOAD_LIMIT, Functions, Stopper
from fraudctl.local.lambda_runner.server import Server
from fraudctl.local.lambda_runner.spec import FunctionSpec

HANDLER = """
import logging, pathlib
log = logging.getLogger("mine")

def handler(event, context):
    log.error("called with %s", event)
    if isinstance(event, dict) and "file" in event:
        pathlib.Path(event["file"]).touch()
    if event == "fail":
        raise ValueError("as you wish")
    return {"got": event}
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Serve one function and two controls."""
    (tmp_path / "echo").mkdir()
    (tmp_path / "echo" / "handler.py").write_text(HANDLER)
    functions = Functions([FunctionSpec(name="stack-Echo", folder="echo")], tmp_path, Stopper())
    controls: dict[str, Callable[[], Any]] = {
        "GET /status": lambda: {"fine": True},
        "POST /schedule/stop": lambda: {"changed": True},
        "POST /schedule/start": (tmp_path / "none" / "file").touch,
    }
    with Server(0, functions, controls) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    """Give a boto3 client on the server."""
    found = boto3.client(
        "lambda",
        endpoint_url=f"http://127.0.0.1:{server.server_address[1]}",
        region_name="local",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"total_max_attempts": 1}, proxies={}),
    )
    yield found
    found.close()


def ask(server: Server, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
    """Ask by hand; gives the status and the decoded answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=30)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, json.loads(content) if content else None


def test_an_invocation_answers(client: Any) -> None:
    """boto3 gets status, version, request id and the payload, and no error."""
    answer = client.invoke(FunctionName="stack-Echo", Payload=b'{"a": 1}')
    assert json.load(answer["Payload"]) == {"got": {"a": 1}}
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert "FunctionError" not in answer
    assert "LogResult" not in answer
    assert len(answer["ResponseMetadata"]["RequestId"]) == 36


@pytest.mark.parametrize("payload", [b"[1]", b'"text"', b"null", "é😀".encode().join([b'"', b'"'])])
def test_any_json_is_an_event(client: Any, payload: bytes) -> None:
    """The event is whatever JSON was sent."""
    answer = client.invoke(FunctionName="stack-Echo", Payload=payload)
    assert json.load(answer["Payload"]) == {"got": json.loads(payload)}


def test_no_payload_is_an_empty_event(client: Any) -> None:
    """Without a payload the handler gets an empty object."""
    assert json.load(client.invoke(FunctionName="stack-Echo")["Payload"]) == {"got": {}}


def test_a_failed_function_is_a_successful_call(client: Any) -> None:
    """An exception comes as FunctionError with its description, and status 200."""
    answer = client.invoke(FunctionName="stack-Echo", Payload=b'"fail"')
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    error = json.load(answer["Payload"])
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "as you wish")
    assert "as you wish" in error["stackTrace"][-1]


def test_the_log_comes_on_demand(client: Any) -> None:
    """With LogType=Tail the answer holds the invocation's log, also of a failed one."""
    root = _Lines()
    with root:
        answer = client.invoke(FunctionName="stack-Echo", Payload=b'"fail"', LogType="Tail")
    log = base64.b64decode(answer["LogResult"]).decode()
    assert "ERROR called with fail\n" in log
    assert "ERROR ValueError: as you wish\n" in log


@pytest.mark.parametrize("name", ["stack-Nobody", "stack-Echo:prod", "arn:aws:lambda:a:123456789012:function:stack-No"])
def test_an_unknown_function_is_not_found(client: Any, name: str) -> None:
    """Boto3 raises what it raises for AWS, naming the function."""
    with pytest.raises(client.exceptions.ResourceNotFoundException, match=name.rpartition("function:")[2]):
        client.invoke(FunctionName=name, Payload=b"{}")


def test_functions_are_found_by_arn_and_qualifier(client: Any) -> None:
    """A full ARN and an explicit $LATEST reach the function; another qualifier does not."""
    arn = "arn:aws:lambda:eu-west-1:123456789012:function:stack-Echo"
    for arguments in ({"FunctionName": arn}, {"FunctionName": "stack-Echo", "Qualifier": "$LATEST"}):
        assert json.load(client.invoke(Payload=b"1", **arguments)["Payload"]) == {"got": 1}
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke(FunctionName="stack-Echo", Qualifier="7", Payload=b"1")


@pytest.mark.parametrize("payload", [b"{", b"nope", b'{"a":}', b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(client: Any, payload: bytes) -> None:
    """A payload that is no JSON never reaches the function."""
    with pytest.raises(
        client.exceptions.InvalidRequestContentException, match="Could not parse request body into json"
    ):
        client.invoke(FunctionName="stack-Echo", Payload=payload)


def test_payloads_have_a_limit(client: Any) -> None:
    """Exactly 6 MB pass, one more byte is refused, and the connection goes on."""
    text = b'"' + b"x" * (PAYLOAD_LIMIT - 2) + b'"'
    assert "FunctionError" in client.invoke(FunctionName="stack-Echo", Payload=text), "the answer is larger than 6 MB"
    with pytest.raises(client.exceptions.RequestTooLargeException, match="6291457 byte payload is too large"):
        client.invoke(FunctionName="stack-Echo", Payload=text + b" ")
    assert json.load(client.invoke(FunctionName="stack-Echo", Payload=b"1")["Payload"]) == {"got": 1}


def test_an_event_is_accepted_and_done_later(client: Any, tmp_path: Path) -> None:
    """InvocationType=Event answers 202 without a payload, and the function runs."""
    file = tmp_path / "done"
    answer = client.invoke(FunctionName="stack-Echo", InvocationType="Event", Payload=json.dumps({"file": str(file)}))
    assert (answer["StatusCode"], answer["Payload"].read()) == (202, b"")
    wait_for(file.exists, "the event is done")


def test_a_dry_run_does_nothing(client: Any, tmp_path: Path) -> None:
    """InvocationType=DryRun answers 204 and does not run the function."""
    file = tmp_path / "done"
    answer = client.invoke(FunctionName="stack-Echo", InvocationType="DryRun", Payload=json.dumps({"file": str(file)}))
    assert answer["StatusCode"] == 204
    assert json.load(client.invoke(FunctionName="stack-Echo", Payload=b"1")["Payload"]) == {"got": 1}
    assert not file.exists()


def test_functions_are_listed(client: Any) -> None:
    """ListFunctions names them."""
    listed = client.list_functions()["Functions"]
    assert [(entry["FunctionName"], entry["Version"]) for entry in listed] == [("stack-Echo", "$LATEST")]


def test_controls_answer(server: Server) -> None:
    """The control API gives what the controls give, by method and path."""
    assert ask(server, "GET", "/_fraudctl/status") == (200, {"fine": True})
    assert ask(server, "POST", "/_fraudctl/schedule/stop", b"{}") == (200, {"changed": True})


def test_a_control_that_the_disk_refuses_says_so(server: Server) -> None:
    """An error of the system is an answer with its text, not a connection that just closes."""
    status, answer = ask(server, "POST", "/_fraudctl/schedule/start", b"{}")
    assert status == 500
    assert "No such file or directory" in answer["Message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/_fraudctl/status"),
        ("GET", "/_fraudctl/schedule/stop"),
        ("GET", "/status"),
        ("POST", "/schedule/stop"),
        ("GET", "/"),
        ("POST", "/2015-03-31/functions/stack-Echo"),
    ],
)
def test_anything_else_is_not_found(server: Server, method: str, path: str) -> None:
    """Other paths and methods are 404, in AWS's form."""
    status, answer = ask(server, method, path)
    assert (status, answer["Type"]) == (404, "User")


@pytest.mark.parametrize("path", ["/_fraudctl/schedule/stop", "/2015-03-31/functions/stack-Echo/invocations"])
def test_web_pages_are_kept_out(server: Server, tmp_path: Path, path: str) -> None:
    """A request that a page in a browser sends is refused, and does nothing."""
    body = json.dumps({"file": str(tmp_path / "done")}).encode()
    status, _ = ask(server, "POST", path, body, Origin="https://example.com")
    assert status == 403
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "rebound.example:PORT", "Origin": "http://rebound.example:PORT"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://127.0.0.1:PORT"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_pages_of_other_sites_are_refused(server: Server, method: str, headers: dict[str, str]) -> None:
    """Before any method sees them, GET too, and in AWS's form."""
    port = str(server.server_address[1])
    sent = {name: value.replace("PORT", port) for name, value in headers.items()}
    status, answer = ask(server, method, "/_fraudctl/status", b"{}", **sent)
    assert (status, answer["Type"]) == (403, "User")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_programs_and_the_servers_own_pages_are_answered(server: Server, name: str) -> None:
    """Its own Origin, or none, by either name."""
    host = f"{name}:{server.server_address[1]}"
    for headers in ({}, {"Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        assert ask(server, "GET", "/_fraudctl/status", b"", Host=host, **headers) == (200, {"fine": True})


def test_only_loopback_is_served(server: Server) -> None:
    """The server's address is 127.0.0.1."""
    assert server.server_address[0] == "127.0.0.1"


def test_many_invocations_at_once(client: Any) -> None:
    """Twenty threads get their own answers."""
    answers: dict[int, Any] = {}

    def call(number: int) -> None:
        answer = client.invoke(FunctionName="stack-Echo", Payload=str(number).encode())
        answers[number] = json.load(answer["Payload"])

    threads = [threading.Thread(target=call, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: {"got": number} for number in range(20)}


class _Lines:
    """The runner's logging, for as long as it is open."""

    def __enter__(self) -> None:
        import io
        import logging

        from fraudctl.local.lambda_runner.logs import LineHandler

        self._handler, self._root = LineHandler(io.StringIO()), logging.getLogger()
        self._handler.setFormatter(logging.Formatter("%(message)s"))
        self._root.addHandler(self._handler)

    def __exit__(self, *_: object) -> None:
        self._root.removeHandler(self._handler)
