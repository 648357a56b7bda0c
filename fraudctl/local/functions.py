"""The Lambda functions and their schedule, as the runner hosts them."""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from fraudctl.errors import NotDeployed, OperationFailed, Unreachable
from fraudctl.local.clients import JsonClient
from fraudctl.pipeline import names
from fraudctl.target import ScheduleStatus

_HINT: Final = "run `fraudctl logs lambda`"
_ANSWER_SECONDS: Final = 3.0
_NOT_CONFIRMED: Final = "NotConfirmed"  # lambdas/flag_account_generator


class LocalFunctions:
    """Invokes through the Lambda API that the runner speaks; `client` gives the boto3 client at first use."""

    def __init__(self, stack: str, client: Callable[[], Any], runner: JsonClient) -> None:
        """Store the stack's name, the prefix of every function's, and the runner's clients; no I/O."""
        self._stack, self._client, self._runner = stack, client, runner

    def invoke(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke and return the result; raises `OperationFailed` with the function's own error.

        Raises `Unreachable` when the runner does not answer, or Kafka does not answer the function.
        """
        from botocore.exceptions import ClientError, EndpointConnectionError, HTTPClientError

        # A function may take minutes. A runner that is hung is found out in seconds.
        self._runner.get("/_fraudctl/status", timeout=_ANSWER_SECONDS)
        try:
            answer = self._client().invoke(
                FunctionName=names.function(self._stack, name), Payload=json.dumps(payload).encode(), LogType="Tail"
            )
            content = answer["Payload"].read()
        except (EndpointConnectionError, HTTPClientError) as error:
            raise Unreachable(f"{name}: the function runner does not answer", hint="run `fraudctl deploy`") from error
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                raise NotDeployed(f"{name}: no such function", hint="run `fraudctl deploy`") from error
            raise OperationFailed(f"{name}: {error.response['Error']['Message']}", hint=_HINT) from error
        result = json.loads(content or b"null")
        if "FunctionError" in answer:
            if isinstance(result, Mapping) and result.get("errorType") == _NOT_CONFIRMED:
                raise Unreachable(
                    f"{name}: Kafka does not answer: {result.get('errorMessage')}",
                    hint="run `fraudctl status`, then the command again; a flag that is written twice counts once",
                )
            raise OperationFailed(f"{name}: {_reason(result, answer.get('LogResult', ''))}", hint=_HINT)
        return dict(result or {})


class LocalSchedule:
    """The runner's schedule, over its control endpoints."""

    def __init__(self, client: JsonClient) -> None:
        """Store the runner's client; no I/O."""
        self._client = client

    def start(self) -> bool:
        """Switch it on; return False when it was on already."""
        return self._switch("start", on=True)

    def stop(self) -> bool:
        """Switch it off; return False when it was off already."""
        return self._switch("stop", on=False)

    def status(self) -> ScheduleStatus:
        """Return whether it is on and how the last tick ended."""
        schedule = self._client.get("/_fraudctl/status")["schedule"]
        return ScheduleStatus(
            enabled=schedule["enabled"], last_at=schedule["last_at"], last_result=schedule["last_result"]
        )

    def _switch(self, verb: str, *, on: bool) -> bool:
        before = self.status().enabled
        self._client.post(f"/_fraudctl/schedule/{verb}")
        return before is not on


def _reason(result: object, log: str) -> str:
    if isinstance(result, Mapping) and result.get("errorMessage"):
        return f"{result.get('errorType', 'Error')}: {result['errorMessage']}"
    lines = base64.b64decode(log).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "failed without a reason"
