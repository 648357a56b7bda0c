"""The hosted functions: loaded by file path, invoked with a time-out, as Lambda does it."""

import contextvars
import importlib.util
import json
import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from fraudctl.local.lambda_runner.logs import Capture, current
from fraudctl.local.lambda_runner.spec import FunctionSpec

VERSION: Final = "$LATEST"
PAYLOAD_LIMIT: Final = 6 * 1024 * 1024
MEMORY_MB: Final = 512

Handler = Callable[[Any, Any], Any]

log = logging.getLogger(__name__)


def arn(name: str) -> str:
    """Return the function's name in the form that Lambda's context and errors carry; the account is made up."""
    return f"arn:aws:lambda:local:000000000000:function:{name}"


class Stopper:
    """Ends running functions early: their remaining time becomes what is left of the grace period."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing to stop."""
        self._clock = clock
        self._deadline: float | None = None

    def stop(self, grace_s: float) -> None:
        """Leave every running function this many seconds."""
        self._deadline = self._clock() + grace_s

    def remaining(self, deadline: float) -> float:
        """Return the seconds until the deadline, or until the grace is over."""
        return max(0.0, (deadline if self._deadline is None else min(deadline, self._deadline)) - self._clock())


@dataclass(frozen=True, slots=True)
class Context:
    """Lambda's context object."""

    function_name: str
    aws_request_id: str
    log_stream_name: str
    _remaining: Callable[[], float]
    function_version: str = VERSION
    memory_limit_in_mb: str = str(MEMORY_MB)
    identity: None = None
    client_context: None = None

    @property
    def invoked_function_arn(self) -> str:
        """Return the function's ARN."""
        return arn(self.function_name)

    @property
    def log_group_name(self) -> str:
        """Return the name its log group would have."""
        return f"/aws/lambda/{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the time-out, or until the runner stops."""
        return int(self._remaining() * 1000)


@dataclass(frozen=True, slots=True)
class Result:
    """How an invocation ended: the JSON answer, or with `error` the JSON description of the error."""

    request_id: str
    payload: bytes
    error: str | None
    log_tail: bytes
    seconds: float

    def value(self) -> Any:  # noqa: ANN401 - any JSON
        """Decode the answer."""
        return json.loads(self.payload)


class Function:
    """One function, its handler loaded at the first use."""

    def __init__(self, spec: FunctionSpec, lambdas_folder: Path) -> None:
        """Store what is needed; load nothing."""
        self.spec = spec
        self._file = lambdas_folder / spec.folder / "handler.py"
        self._lock = threading.Lock()
        self._module: Any = None

    def load(self) -> Handler:
        """Return the handler; raises whatever its module raises."""
        with self._lock:
            if self._module is None:
                name = f"lambdas.{self.spec.folder}.handler"
                module_spec = importlib.util.spec_from_file_location(name, self._file)
                if module_spec is None or module_spec.loader is None:
                    raise ImportError(f"no handler at {self._file}")
                module = importlib.util.module_from_spec(module_spec)
                module_spec.loader.exec_module(module)
                self._module = module
            handler: Handler = self._module.handler
            return handler

    def warm(self) -> None:
        """Load the handler and let it open its clients, so that the first invocation need not; never raises."""
        current.set(Capture(self.spec.name))
        try:
            self.load()
            if hasattr(self._module, "warm"):
                self._module.warm()
        except Exception as error:  # noqa: BLE001 - the invocation meets the same error and reports it
            log.debug("not warmed up: %r", error)

    def invoke(self, payload: bytes, stopper: Stopper) -> Result:
        """Run the handler with the decoded payload and wait for it, at most its time-out; never raises."""
        request_id, start = str(uuid4()), time.monotonic()
        deadline = start + self.spec.timeout_s
        context = Context(self.spec.name, request_id, VERSION, lambda: stopper.remaining(deadline))
        capture = Capture(self.spec.name)
        answers: list[tuple[bytes, str | None]] = []

        def run() -> None:
            current.set(capture)
            answers.append(_answer(self.load, payload, context))

        # Not a pool: a handler that hangs is left behind, as in Lambda, and must not keep the process from ending.
        thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name=self.spec.name, daemon=True)
        thread.start()
        thread.join(self.spec.timeout_s)
        if not answers:
            message = f"{request_id} Task timed out after {self.spec.timeout_s:.2f} seconds"
            log.error(message, extra={"component": self.spec.name})
            capture.add(message)
            answers.append((_error("Sandbox.Timedout", message), "Unhandled"))
        body, error = answers[0]
        return Result(request_id, body, error, capture.tail(), time.monotonic() - start)


class Functions:
    """All functions by name, and how many invocations are running."""

    def __init__(self, specs: Iterable[FunctionSpec], lambdas_folder: Path, stopper: Stopper) -> None:
        """Store the functions; load nothing."""
        self._functions = {spec.name: Function(spec, lambdas_folder) for spec in specs}
        self._stopper = stopper
        self._changed = threading.Condition()
        self._running = 0

    def names(self) -> list[str]:
        """Return the names."""
        return list(self._functions)

    def find(self, reference: str) -> Function | None:
        """Find a function by name, ``name:qualifier``, partial or full ARN; None when there is no such function."""
        name, _, qualifier = reference.rpartition("function:")[2].partition(":")
        return self._functions.get(name) if qualifier in {"", VERSION} else None

    def run(self, function: Function, payload: bytes, stopper: Stopper | None = None) -> Result:
        """Run one of the functions and wait for it; never raises. `stopper` is what may end it early."""
        with self._changed:
            self._running += 1
        try:
            return function.invoke(payload, stopper or self._stopper)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def invoke(self, name: str, event: object, stopper: Stopper | None = None) -> Result:
        """Run a function that exists with any JSON value."""
        return self.run(self._functions[name], json.dumps(event).encode(), stopper)

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until no invocation is running; returns whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, timeout_s)

    def warm(self) -> None:
        """Load all functions and open their clients; one that is broken fails when it is invoked."""
        for function in self._functions.values():
            contextvars.copy_context().run(function.warm)

    def set_environment(self) -> None:
        """Put the functions' variables into the one environment they share, without a way to the user's AWS account.

        The variables' names are unique across functions. Credentials, profiles and proxies of the person who started
        the stack stay out: everything local is on loopback.
        """
        for name in [name for name in os.environ if name.startswith("AWS_") or name.upper().endswith("_PROXY")]:
            del os.environ[name]
        os.environ |= {
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        for function in self._functions.values():
            os.environ.update(function.spec.environment)


def _answer(load: Callable[[], Handler], payload: bytes, context: Context) -> tuple[bytes, str | None]:
    """Run the handler: the JSON of what it returned, or of what it raised and how that is called."""
    try:
        answer = load()(json.loads(payload or b"{}"), context)
    except BaseException as error:  # noqa: BLE001 - SystemExit, too, is the function's failure
        frames = traceback.format_tb(error.__traceback__.tb_next if error.__traceback__ else None)
        # Without the exceptions behind it: an outage is tried many times, and each would fill pages.
        log.error("%s: %s\n%s", type(error).__name__, error, "".join(frames))  # noqa: TRY400
        return _error(type(error).__name__, str(error), context.aws_request_id, frames), "Unhandled"
    try:
        body = json.dumps(answer).encode()
    except (TypeError, ValueError) as error:
        return _error(
            "Runtime.MarshalError", f"Unable to marshal response: {error}", context.aws_request_id
        ), "Unhandled"
    if len(body) > PAYLOAD_LIMIT:
        text = f"Response payload size exceeded maximum allowed payload size ({PAYLOAD_LIMIT} bytes)."
        return _error("Function.ResponseSizeTooLarge", text), "Unhandled"
    return body, None


def _error(kind: str, message: str, request_id: str | None = None, frames: list[str] | None = None) -> bytes:
    body: dict[str, Any] = {"errorMessage": message, "errorType": kind}
    if request_id is not None:
        body |= {"requestId": request_id, "stackTrace": frames or []}
    return json.dumps(body).encode()
