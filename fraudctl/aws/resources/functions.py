"""The Lambda functions, invoked from outside the network that they run in."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from fraudctl.aws.errors import asking
from fraudctl.clock import Clock
from fraudctl.errors import FraudctlError, NotDeployed, OperationFailed, TimedOut, Unreachable
from fraudctl.pipeline import names
from fraudctl.pipeline.text import shown

_POLL_SECONDS: Final = 3.0
# Lambda attaches a function to its network again; "a few minutes" in lambda/configuration-vpc.
_ACTIVE_SECONDS: Final = 10 * 60.0
# How Invoke refuses a function that is Pending or Inactive (lambda/functions-states): it was not run.
_NOT_READY: Final = frozenset({"ResourceConflictException", "ResourceNotReadyException", "ENINotReadyException"})
_TOO_LARGE: Final = frozenset({"RequestTooLargeException", "RequestEntityTooLargeException"})
_NOT_CONFIRMED: Final = "NotConfirmed"  # lambdas/flag_account_generator, lambdas/topic_writer
_TIMED_OUT: Final = "Sandbox.Timedout"
_LOG_LINES: Final = 10
# What Lambda itself writes around each invocation.
_FRAME: Final = ("START RequestId:", "END RequestId:", "INIT_START ")


class FunctionError(OperationFailed):
    """The function ran and ended with an error; `kind` is the name of its exception."""

    def __init__(self, message: str, *, kind: str, hint: str | None = None, excerpt: Sequence[str] = ()) -> None:
        """Store the kind beside the rest."""
        super().__init__(message, hint=hint, excerpt=excerpt)
        self.kind = kind


class AwsFunctions:
    """Invokes functions of one stack; `client` gives Lambda's client at first use, `note` tells what is waited for."""

    def __init__(
        self, client: Callable[[], Any], stack: str, clock: Clock, note: Callable[[str], None] = lambda _: None
    ) -> None:
        """Store the collaborators; no I/O."""
        self._client, self._stack, self._clock, self._note = client, stack, clock, note

    def invoke(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke by its short name and return the result.

        A function that Lambda has to prepare first (Pending, Inactive) is waited for once; it has not run by then.

        Raises:
            FunctionError: It ended with an error; the excerpt has the end of its log.
            NotDeployed: The stack has no such function.
            TimedOut: No answer came; what it was asked to do may still happen, or have happened.
            Unreachable: Lambda does not answer, does not allow it or throttles, or Kafka does not answer the function.
        """
        full, body = names.function(self._stack, name), json.dumps(payload).encode()
        answer = self._invoke(name, full, body)
        if answer is None:
            self._wait_until_active(name, full)
            answer = self._invoke(name, full, body)
            if answer is None:
                raise Unreachable(f"{name}: Lambda still prepares it", hint="run the command again in a minute")
        result = json.loads(answer["Content"] or b"null")
        if "FunctionError" in answer:
            raise _failed(name, result, answer.get("LogResult", ""))
        return dict(result or {})

    def _invoke(self, name: str, full: str, body: bytes) -> dict[str, Any] | None:
        """Return the answer with its whole payload as ``Content``; None when the function is not ready."""
        from botocore.exceptions import ClientError, ReadTimeoutError

        with asking(name):
            try:
                answer = self._client().invoke(FunctionName=full, Payload=body, LogType="Tail")
                return {**answer, "Content": answer["Payload"].read()}
            except ReadTimeoutError as error:
                raise TimedOut(
                    f"{name}: no answer in time; what it was asked to do may still happen",
                    hint=f"`{_logs(name)}` shows what it does",
                ) from error
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code in _NOT_READY:
                    return None
                if code == "ResourceNotFoundException":
                    raise NotDeployed(
                        f"{name}: stack {self._stack} has no such function; an older version may have deployed it",
                        hint="run `fraudctl deploy`",
                    ) from error
                if code in _TOO_LARGE:
                    raise OperationFailed(
                        f"{name}: {len(body):,} bytes are more than Lambda takes in a call (6 MB)",
                        hint="send less at once",
                    ) from error
                raise

    def _wait_until_active(self, name: str, full: str) -> None:
        state, why = "", ""
        said = False
        for _ in self._clock.poll(_POLL_SECONDS, within=_ACTIVE_SECONDS):
            with asking(name):
                found = self._client().get_function_configuration(FunctionName=full)
            state, why = str(found.get("State", "Active")), str(found.get("StateReason", ""))
            if state == "Active":
                return
            if state == "Failed":
                raise OperationFailed(f"{name}: Lambda could not prepare it: {why}", hint="run `fraudctl deploy`")
            if not said:
                self._note(f"{name} is {state}: Lambda connects it to the network again, which takes some minutes.")
                said = True
        raise TimedOut(f"{name}: still {state}: {why or 'no reason given'}", hint="run the command again later")


def _failed(name: str, result: object, log: str) -> FraudctlError:
    found = result if isinstance(result, Mapping) else {}
    kind, message = str(found.get("errorType") or "Error"), str(found.get("errorMessage") or "no reason given")
    lines = _log_lines(log)
    hint = f"`{_logs(name)}` shows more of its log"
    if kind == _NOT_CONFIRMED:
        return Unreachable(
            f"{name}: Kafka does not answer: {message}",
            hint="run the command again in a minute; what is written twice counts once",
            excerpt=lines,
        )
    if kind == _TIMED_OUT or "Task timed out" in message:
        return FunctionError(
            f"{name}: it ran out of time: {message}; a part may be done", kind=kind, hint=hint, excerpt=lines
        )
    return FunctionError(f"{name}: {kind}: {message}", kind=kind, hint=hint, excerpt=lines)


def _logs(name: str) -> str:
    """Return the command that shows a function's log; there it is called like the folder of its code."""
    folder = next((folder for folder, short in names.FUNCTIONS.items() if short == name), "lambda")
    return f"fraudctl logs {folder.replace('_', '-')}"


def _log_lines(tail: str) -> list[str]:
    """Return the last lines of the log that came with an answer (4 KB at most), safe to show."""
    lines = base64.b64decode(tail or "").decode(errors="replace").splitlines()
    own = [shown(line.expandtabs()) for line in lines if line.strip() and not line.startswith(_FRAME)]
    return own[-_LOG_LINES:]
