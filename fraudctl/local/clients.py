"""Clients of the stack's own servers on loopback: boto3 for DynamoDB and Lambda, JSON over HTTP for the rest."""

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Final

from fraudctl.errors import OperationFailed, Unreachable
from fraudctl.local.processes.ports import LOOPBACK

_TIMEOUT_SECONDS: Final = 10.0
# Never through a proxy of the environment: these servers are on loopback.
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
CREDENTIALS: Final[dict[str, Any]] = {
    "region_name": "local",
    "aws_access_key_id": "local",
    "aws_secret_access_key": "local",
}


def dynamodb(port: int) -> Any:  # noqa: ANN401 - a boto3 client
    """Return a DynamoDB client on the stack's DynamoDB Local."""
    return _session().client("dynamodb", **_endpoint(port, _TIMEOUT_SECONDS, attempts=2))


def dynamodb_resource(port: int) -> Any:  # noqa: ANN401 - a boto3 resource
    """Return a DynamoDB resource on the stack's DynamoDB Local."""
    return _session().resource("dynamodb", **_endpoint(port, _TIMEOUT_SECONDS, attempts=2))


def lambda_client(port: int) -> Any:  # noqa: ANN401 - a boto3 client
    """Return a Lambda client on the stack's function runner."""
    # Once only: a repeated invocation flags twice.
    return _session().client("lambda", **_endpoint(port, 120.0, attempts=1))


class JsonClient:
    """JSON over HTTP to one server. `name` is how errors call it, `address` gives ``http://127.0.0.1:8081``.

    `headers` go with every request.
    """

    def __init__(self, name: str, address: Callable[[], str], *, headers: Mapping[str, str] | None = None) -> None:
        """Store where to ask; no I/O."""
        self.name, self._address, self._headers = name, address, dict(headers or {})

    @property
    def address(self) -> str:
        """The server's address."""
        return self._address()

    def get(self, path: str, *, timeout: float = _TIMEOUT_SECONDS) -> Any:  # noqa: ANN401 - any JSON
        """GET a JSON document; raises `Unreachable` or, for an answer that is an error, `OperationFailed`."""
        return self._send("GET", path, None, timeout)

    def post(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        method: str = "POST",
        timeout: float = _TIMEOUT_SECONDS,
    ) -> Any:  # noqa: ANN401 - any JSON
        """POST (or PATCH) a JSON document and return the answer; raises as `get`."""
        return self._send(method, path, body or {}, timeout)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None, timeout: float) -> Any:  # noqa: ANN401
        request = urllib.request.Request(  # noqa: S310 - http on loopback
            self.address + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **self._headers},
        )
        try:
            with _OPENER.open(request, timeout=timeout) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            detail = error.read().decode(errors="replace").strip()
            raise OperationFailed(f"{self.name}: {error.code}: {detail[:300]}") from error
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                f"{self.name}: does not answer on {self.address}: {getattr(error, 'reason', error)}",
                hint="run `fraudctl status`, then `fraudctl deploy` to repair",
            ) from error
        try:
            return json.loads(content) if content.strip() else {}
        except ValueError as error:
            raise OperationFailed(f"{self.name}: answered {content[:80]!r}, not JSON") from error


class DynamoDbClient:
    """DynamoDB Local's answer to a single question, soon and without boto3, which takes 40 MB and a third of a second.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.LowLevelAPI.html
    """

    def __init__(self, port: int) -> None:
        """Store where to ask; no I/O."""
        # DynamoDB Local wants a credential and does not check the signature.
        credential = "Credential=local/20260101/local/dynamodb/aws4_request"
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            # Not DescribeTable: DynamoDB Local counts the rows for that, 2.5 s for a million.
            "X-Amz-Target": "DynamoDB_20120810.DescribeTimeToLive",
            "Authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=none",
        }
        self._client = JsonClient("dynamodb", lambda: f"http://{LOOPBACK}:{port}", headers=headers)

    def has_table(self, name: str, *, timeout: float) -> bool:
        """Return whether a table exists; raises `Unreachable` or `OperationFailed`."""
        try:
            self._client.post("/", {"TableName": name}, timeout=timeout)
        except OperationFailed as error:
            if "ResourceNotFoundException" in str(error):
                return False
            raise
        return True


def _session() -> Any:  # noqa: ANN401 - a boto3 session
    """Return a session that reads nothing of the machine's settings for AWS.

    A profile that does not exist, a file that cannot be parsed or a retry mode that nobody knows is for the user's own
    account. Every session variable of botocore (its name in a file, in the environment, a default, a conversion) is
    reduced to its default.
    """
    import boto3
    import botocore.session
    from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES as VARIABLES

    defaults = {name: (None, None, default, convert) for name, (_, _, default, convert) in VARIABLES.items()}
    nothing = (None, None, os.devnull, None)
    own = botocore.session.Session(session_vars={**defaults, "config_file": nothing, "credentials_file": nothing})
    return boto3.session.Session(botocore_session=own, **CREDENTIALS)


def _endpoint(port: int, read_timeout: float, *, attempts: int) -> dict[str, Any]:
    from botocore.config import Config

    # Never through a proxy of the environment: the server is on loopback.
    config = Config(connect_timeout=2, read_timeout=read_timeout, retries={"total_max_attempts": attempts}, proxies={})
    return {"endpoint_url": f"http://{LOOPBACK}:{port}", "config": config}
