"""JSON over HTTP to the stack's own servers on loopback."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

from fraudctl.errors import OperationFailed, Unreachable

_TIMEOUT_SECONDS: Final = 10.0
# Never through a proxy of the environment: these servers are on loopback.
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Rest:
    """One server. `name` is how errors call it."""

    def __init__(self, name: str, address: str) -> None:
        """Keep the address, like ``http://127.0.0.1:8081``."""
        self.name, self.address = name, address

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
        """POST (or PATCH) a JSON document and give the answer; raises as `get`."""
        return self._send(method, path, body or {}, timeout)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None, timeout: float) -> Any:  # noqa: ANN401
        request = urllib.request.Request(  # noqa: S310 - http on loopback
            self.address + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
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
