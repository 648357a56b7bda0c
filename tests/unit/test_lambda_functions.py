"""The runner's functions: loading, invoking, errors, time-outs, and the log of an invocation."""

import io
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lambda_tools import wait_for

from fraudctl.local.lambda_runner import logs
from fraudctl.local.lambda_runner.functions import PAYLOAD_LIMIT, Functions, Stopper
from fraudctl.local.lambda_runner.spec import EventSourceMappingSpec, FunctionSpec, RunnerSpec, ScheduleSpec

HANDLER = """
import logging, os, sys, threading, time
log = logging.getLogger("mine")
calls = []

def handler(event, context):
    calls.append(event)
    match event.get("do"):
        case "raise":
            raise LookupError("no such thing")
        case "exit":
            sys.exit(3)
        case "hang":
            time.sleep(30)
        case "log":
            log.warning("first\\nsecond %s", "x" * event.get("more", 0))
        case "large":
            return "x" * event["size"]
        case "odd":
            return {1, 2}
        case "environment":
            return os.environ.get(event["name"])
        case "wait":
            start = time.monotonic()
            while context.get_remaining_time_in_millis() > 100:
                time.sleep(0.01)
            return time.monotonic() - start
        case "context":
            c = context
            return [c.function_name, c.function_version, c.invoked_function_arn, c.aws_request_id,
                    c.memory_limit_in_mb, c.log_group_name, c.get_remaining_time_in_millis()]
    return {"event": event, "calls": len(calls), "thread": threading.current_thread().name}
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Functions]:
    """Write two functions and host them, one of them under three names; the other one is broken."""
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "handler.py").write_text(HANDLER)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "handler.py").write_text("import no_such_module_at_all\n")
    specs = [
        FunctionSpec(name="stack-Good", folder="good", environment={"GOOD_COLOUR": "red"}, timeout_s=20),
        FunctionSpec(name="stack-Twin", folder="good", timeout_s=20),
        FunctionSpec(name="stack-Hasty", folder="good", timeout_s=1.0),
        FunctionSpec(name="stack-Broken", folder="broken"),
        FunctionSpec(name="stack-Missing", folder="missing"),
    ]
    for name, value in os.environ.items():
        monkeypatch.setenv(name, value)  # so that what the runner changes is put back
    monkeypatch.setenv("AWS_PROFILE", "the-users")
    monkeypatch.setenv("https_proxy", "http://proxy:1")
    monkeypatch.delenv("GOOD_COLOUR", raising=False)
    yield Functions(specs, tmp_path, Stopper())
    for name in ("GOOD_COLOUR", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_EC2_METADATA_DISABLED"):
        os.environ.pop(name, None)


def test_a_handler_gets_the_event_and_answers(functions: Functions) -> None:
    """The event arrives decoded, the answer comes back, and the module is loaded once."""
    first = functions.invoke("stack-Good", {"a": [1, None]})
    assert first.error is None
    assert first.value()["event"] == {"a": [1, None]}
    assert functions.invoke("stack-Good", {}).value()["calls"] == 2


def test_two_functions_of_one_file_are_apart(functions: Functions) -> None:
    """Each function has a module of its own, as each Lambda function has its own process."""
    functions.invoke("stack-Good", {})
    assert functions.invoke("stack-Twin", {}).value()["calls"] == 1


def test_the_context_is_lambdas(functions: Functions) -> None:
    """The handler's context names the function and counts the time down."""
    name, version, arn, request_id, memory, group, left = functions.invoke("stack-Good", {"do": "context"}).value()
    assert (name, version, memory, group) == ("stack-Good", "$LATEST", "512", "/aws/lambda/stack-Good")
    assert arn == "arn:aws:lambda:local:000000000000:function:stack-Good"
    assert len(request_id) == 36
    assert 10_000 < left <= 20_000


@pytest.mark.parametrize(
    ("do", "kind", "message"),
    [
        ("raise", "LookupError", "no such thing"),
        ("exit", "SystemExit", "3"),
        ("odd", "Runtime.MarshalError", "Unable to marshal response: Object of type set is not JSON serializable"),
    ],
)
def test_errors_are_described(functions: Functions, do: str, kind: str, message: str) -> None:
    """What the handler raises, or cannot answer, is an unhandled error with type and text."""
    result = functions.invoke("stack-Good", {"do": do})
    assert result.error == "Unhandled"
    assert (result.value()["errorType"], result.value()["errorMessage"]) == (kind, message)
    assert result.value()["requestId"] == result.request_id


def test_errors_show_the_handlers_lines(functions: Functions) -> None:
    """The stack trace begins in the handler and not in the runner."""
    trace = functions.invoke("stack-Good", {"do": "raise"}).value()["stackTrace"]
    assert 'raise LookupError("no such thing")' in trace[-1]
    assert "handler.py" in trace[0]


def test_broken_functions_fail_when_invoked(functions: Functions) -> None:
    """A module that cannot be imported, or is not there, is the invocation's error and harms nothing else."""
    functions.warm()
    assert functions.invoke("stack-Broken", {}).value()["errorType"] == "ModuleNotFoundError"
    assert functions.invoke("stack-Missing", {}).value()["errorType"] == "FileNotFoundError"
    assert functions.invoke("stack-Good", {}).error is None


def test_a_late_handler_is_left_behind(functions: Functions) -> None:
    """After the time-out the invocation ends with Lambda's words, and the function can be invoked again."""
    start = time.monotonic()
    result = functions.invoke("stack-Hasty", {"do": "hang"})
    assert time.monotonic() - start < 10
    assert result.error == "Unhandled"
    assert result.value()["errorType"] == "Sandbox.Timedout"
    assert result.value()["errorMessage"].endswith("Task timed out after 1.00 seconds")
    assert functions.invoke("stack-Hasty", {}).error is None


def test_answers_have_a_limit(functions: Functions) -> None:
    """An answer of exactly 6 MB passes, one more byte does not."""
    assert functions.invoke("stack-Good", {"do": "large", "size": PAYLOAD_LIMIT - 2}).error is None
    result = functions.invoke("stack-Good", {"do": "large", "size": PAYLOAD_LIMIT - 1})
    assert result.value()["errorType"] == "Function.ResponseSizeTooLarge"


def test_a_stopping_runner_shortens_the_time(functions: Functions) -> None:
    """A running handler learns from its remaining time that the runner stops."""
    stopper = Stopper()
    threading.Timer(0.2, stopper.stop, (0.2,)).start()
    assert functions.invoke("stack-Good", {"do": "wait"}, stopper).value() < 10


def test_idle_means_that_nothing_runs(functions: Functions) -> None:
    """The runner can wait for running invocations, with a limit."""
    assert functions.wait_until_idle(0)
    stopper = Stopper()
    thread = threading.Thread(target=functions.invoke, args=("stack-Good", {"do": "wait"}, stopper))
    thread.start()
    wait_for(lambda: functions._running, "the invocation")
    assert not functions.wait_until_idle(0.1)
    stopper.stop(0)
    assert functions.wait_until_idle(10)
    thread.join()


def test_functions_share_one_clean_environment(functions: Functions) -> None:
    """Handlers see their variables, and nothing of the user's AWS account or proxies."""
    functions.set_environment()
    seen = {
        name: functions.invoke("stack-Good", {"do": "environment", "name": name}).value()
        for name in ("GOOD_COLOUR", "AWS_PROFILE", "https_proxy", "AWS_CONFIG_FILE", "AWS_EC2_METADATA_DISABLED")
    }
    assert seen == {
        "GOOD_COLOUR": "red",
        "AWS_PROFILE": None,
        "https_proxy": None,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("stack-Good", True),
        ("stack-Good:$LATEST", True),
        ("arn:aws:lambda:eu-west-1:123456789012:function:stack-Good", True),
        ("arn:aws:lambda:eu-west-1:123456789012:function:stack-Good:$LATEST", True),
        ("123456789012:function:stack-Good", True),
        ("stack-Good:prod", False),
        ("arn:aws:lambda:eu-west-1:123456789012:function:stack-Good:7", False),
        ("stack", False),
        ("", False),
    ],
)
def test_functions_are_found_as_lambda_finds_them(functions: Functions, reference: str, found: bool) -> None:  # noqa: FBT001
    """A name, a partial or a full ARN, with $LATEST or without a qualifier, names a function."""
    function = functions.find(reference)
    assert (function is not None and function.spec.name == "stack-Good") is found


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Send all logging to a text."""
    text = io.StringIO()
    handler, root = logs.LineHandler(text), logging.getLogger()
    handler.setFormatter(logging.Formatter("%(message)s"))
    root.addHandler(handler)
    yield text
    root.removeHandler(handler)


def test_log_lines_name_their_component(functions: Functions, stream: io.StringIO) -> None:
    """Every line has time, component and level; the lines of one record are separate lines."""
    functions.invoke("stack-Good", {"do": "log"})
    logging.getLogger("anything").error("of the runner")
    lines = [line.split(" ", 3) for line in stream.getvalue().splitlines()]
    assert [line[1:] for line in lines] == [
        ["stack-Good", "WARNING", "first"],
        ["stack-Good", "WARNING", "second "],
        ["runner", "ERROR", "of the runner"],
    ]
    assert all(len(line[0]) == len("2026-11-24T10:15:30.123Z") and line[0].endswith("Z") for line in lines)


def test_fields_follow_their_message(stream: io.StringIO) -> None:
    """What is logged with `extra` is JSON behind the text, on one line, whatever is in it."""
    logging.getLogger("anything").error("batch: %d written", 7, extra={"written": 7, "error": "of\ntwo lines"})
    (line,) = stream.getvalue().splitlines()
    assert line.split(" ", 1)[1] == 'runner ERROR batch: 7 written {"written": 7, "error": "of\\ntwo lines"}'


@pytest.mark.usefixtures("stream")
def test_an_invocation_has_its_log(functions: Functions) -> None:
    """The result carries the last 4 KB of what this invocation logged, and of no other."""
    other = functions.invoke("stack-Good", {"do": "raise"}).log_tail
    tail = functions.invoke("stack-Good", {"do": "log", "more": 5000}).log_tail
    assert b"LookupError: no such thing" in other
    assert len(tail) == 4096
    assert tail == b"x" * 4095 + b"\n"


def test_a_specification_survives_json() -> None:
    """What the lead of the stack writes is what the runner reads, with and without the optional parts."""
    functions = (FunctionSpec(name="a", folder="b", environment={"C": "d"}, timeout_s=1.5),)
    bare = RunnerSpec(port=1, lambdas_folder="/f", functions=functions, bootstrap_servers="127.0.0.1:2")
    full = RunnerSpec(
        port=1,
        lambdas_folder="/folder with blank %",
        functions=functions,
        bootstrap_servers="127.0.0.1:2",
        schedule=ScheduleSpec(function="a", payload={"count": 1}, state_file="/s", enabled=False),
        mapping=EventSourceMappingSpec(
            function="a", topic="t", group="g", on_failure="/o", state_file="state.json", retries=0
        ),
        log_level="DEBUG",
    )
    for spec in (bare, full):
        assert RunnerSpec.from_json(spec.to_json()) == spec
    with pytest.raises(TypeError):
        RunnerSpec.from_json(json.dumps(json.loads(bare.to_json()) | {"surprise": 1}))
