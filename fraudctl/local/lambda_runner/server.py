"""The runner's HTTP side: Lambda's Invoke API, so that a boto3 client works, and the runner's own control API.

Control: ``GET /_fraudctl/status``, ``POST /_fraudctl/schedule/start`` and ``…/stop``. Loopback only; web pages
are refused, whatever the method.
"""

import json
import logging
import re
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Mapping
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

from fraudctl.local.lambda_runner.functions import MEMORY_MB, PAYLOAD_LIMIT, VERSION, Function, Functions, Result, arn

HOST: Final = "127.0.0.1"
API: Final = "/2015-03-31/functions"
CONTROL: Final = "/_fraudctl"
_LOOPBACK: Final = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?", re.ASCII)

log = logging.getLogger(__name__)


class Server(ThreadingMixIn, TCPServer):
    """Serves the functions and the controls; `controls` maps ``METHOD path`` below /_fraudctl to what it answers.

    No HTTPServer, because that looks its own name up in the DNS, which takes seconds on some laptops.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, port: int, functions: Functions, controls: Mapping[str, Callable[[], Any]]) -> None:
        """Bind the port; raises OSError when it is taken."""
        super().__init__((HOST, port), _Handler)
        self.functions = functions
        self.controls = controls

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the base class's names
        """Log what went wrong in a request, a client that hung up among it, instead of writing to stderr."""
        log.warning("a request from %s failed: %r", client_address, sys.exception())


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def parse_request(self) -> bool:
        """Read the request's head; one that `_refusal` refuses is answered here, before any method sees it."""
        if not super().parse_request():
            return False
        why = _refusal(self.headers)
        if why:
            self._body()  # read to its end, or closing the connection would take the answer away
            self.close_connection = True
            self._fail(HTTPStatus.FORBIDDEN, "AccessDeniedException", why)
        return not why

    def do_GET(self) -> None:
        """Answer ListFunctions, GetFunction's configuration part, and the control API's questions."""
        self._body()
        path = unquote(urlsplit(self.path).path).rstrip("/")
        if path == API:
            configurations = [_configuration(name) for name in self.server.functions.names()]
            self._send(HTTPStatus.OK, {"Functions": configurations})
        else:
            self._control(path)

    def do_POST(self) -> None:
        """Answer Invoke and the control API's orders."""
        body = self._body()
        url = urlsplit(self.path)
        path = unquote(url.path).rstrip("/")
        if not (path.startswith(f"{API}/") and path.endswith("/invocations")):
            self._control(path)
            return
        reference = path[len(API) + 1 : -len("/invocations")]
        qualifier = parse_qs(url.query).get("Qualifier", [""])[0]
        function = self.server.functions.find(f"{reference}:{qualifier}" if qualifier else reference)
        if function is None:
            name = arn(reference.rpartition("function:")[2])
            self._fail(HTTPStatus.NOT_FOUND, "ResourceNotFoundException", f"Function not found: {name}")
        else:
            self._invoke(function, body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
        """Log requests for those who look closely."""
        log.debug(format, *args)

    def _control(self, path: str) -> None:
        action = self.server.controls.get(f"{self.command} {path.removeprefix(CONTROL)}")
        if action is None or not path.startswith(CONTROL):
            self._fail(HTTPStatus.NOT_FOUND, "UnknownOperationException", f"no {self.command} {path}")
        else:
            try:
                answer = action()
            except OSError as error:  # a full disk, mostly
                self._fail(HTTPStatus.INTERNAL_SERVER_ERROR, "ServiceException", str(error))
            else:
                self._send(HTTPStatus.OK, answer)

    def _invoke(self, function: Function, body: bytes | None) -> None:
        kind = self.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        if body is None:
            text = f"{self.headers['Content-Length']} byte payload is too large (limit is {PAYLOAD_LIMIT} bytes)"
            self._fail(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "RequestTooLargeException", text)
        elif why := _not_json(body):
            text = f"Could not parse request body into json: {why}"
            self._fail(HTTPStatus.BAD_REQUEST, "InvalidRequestContentException", text)
        elif kind == "DryRun":
            self._send(HTTPStatus.NO_CONTENT, None)
        elif kind == "Event":
            self._later(function, body)
        elif kind == "RequestResponse":
            self._answer(self.server.functions.run(function, body))
        else:
            text = f"InvocationType {kind} is not RequestResponse, Event or DryRun"
            self._fail(HTTPStatus.BAD_REQUEST, "InvalidParameterValueException", text)

    def _later(self, function: Function, body: bytes) -> None:
        threading.Thread(target=self.server.functions.run, args=(function, body), daemon=True).start()
        self._send(HTTPStatus.ACCEPTED, None)

    def _answer(self, result: Result) -> None:
        headers = {"X-Amz-Executed-Version": VERSION, "x-amzn-RequestId": result.request_id}
        if result.error:
            headers["X-Amz-Function-Error"] = result.error
        if self.headers.get("X-Amz-Log-Type") == "Tail":
            headers["X-Amz-Log-Result"] = b64encode(result.log_tail).decode()
        self._send_bytes(HTTPStatus.OK, result.payload, headers)

    def _body(self) -> bytes | None:
        """Read the request's body to its end; None when it is too large."""
        length = int(self.headers.get("Content-Length") or 0)
        if length <= PAYLOAD_LIMIT:
            return self.rfile.read(length)
        while length > 0 and (part := self.rfile.read(min(length, 1 << 20))):
            length -= len(part)
        return None

    def _send(self, status: HTTPStatus, body: object) -> None:
        self._send_bytes(status, b"" if body is None else json.dumps(body).encode(), {})

    def _fail(self, status: HTTPStatus, code: str, message: str) -> None:
        body = json.dumps({"Type": "User", "Message": message}).encode()
        self._send_bytes(status, body, {"x-amzn-ErrorType": code})

    def _send_bytes(self, status: HTTPStatus, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"x-amzn-RequestId": str(uuid4())} | dict(headers)).items():
            self.send_header(name, value)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def _refusal(headers: Message) -> str:
    """Return why a web page sent this request, empty when a program or a page of this server did.

    The same rule as in ``java_src/io/fraudctl/local/SameOrigin.java``, which has the reasons.
    """
    host = headers.get("Host", "").lower()
    if not _LOOPBACK.fullmatch(host):
        return "Host is not 127.0.0.1 or localhost"
    if headers.get("Origin", f"http://{host}").lower() != f"http://{host}":
        return "Origin is another site"
    if headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}:
        return "sent by a page of another site"
    return ""


def _not_json(body: bytes) -> str | None:
    """Return why the payload is not JSON, None if it is; an empty one is an empty event."""
    try:
        json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        return str(error)
    return None


def _configuration(name: str) -> dict[str, Any]:
    return {
        "FunctionName": name,
        "FunctionArn": arn(name),
        "Handler": "handler.handler",
        "MemorySize": MEMORY_MB,
        "PackageType": "Zip",
        "Version": VERSION,
    }
