"""Functions invoked on AWS: what is said when Lambda, the network or the function itself fails."""

import base64
import io
import json
import re
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from botocore.response import StreamingBody
from stubs import STACK, Aws, FakeTime
from templates import load

from fraudctl.aws.resources.functions import AwsFunctions, FunctionError
from fraudctl.aws.resources.logs import AwsLogs
from fraudctl.aws.resources.table import AuditTable
from fraudctl.aws.session import ONCE_READ_SECONDS, AwsSession
from fraudctl.errors import NotDeployed, OperationFailed, TimedOut, Unreachable

NAME = "FlagAccountGenerator"
FULL = f"{STACK}-{NAME}"
PAYLOAD = {"random": 1}


def asked(aws: Aws) -> Any:
    """Expect one invocation."""
    return aws.on("lambda").invoke(FunctionName=FULL, Payload=json.dumps(PAYLOAD).encode(), LogType="Tail")


def answer(result: Any, error: str | None = None, log: str = "") -> dict[str, Any]:
    """Return Invoke's answer."""
    body = json.dumps(result).encode()
    found = {"StatusCode": 200, "Payload": StreamingBody(io.BytesIO(body), len(body))}
    if error:
        found |= {"FunctionError": error, "LogResult": base64.b64encode(log.encode()).decode()}
    return found


def functions(aws: Aws, time: FakeTime | None = None, notes: list[str] | None = None) -> AwsFunctions:
    """Return the functions of a stack whose Lambda follows the script."""
    note = (notes if notes is not None else []).append
    return AwsFunctions(lambda: aws.session().client("lambda", once=True), STACK, (time or FakeTime()).clock(), note)


def test_the_result_comes_back() -> None:
    """By the stack's full name, as JSON."""
    with Aws() as aws:
        asked(aws).returns(answer({"flags": [{"account_id": 7}]}))
        assert functions(aws).invoke(NAME, PAYLOAD) == {"flags": [{"account_id": 7}]}


def test_an_error_of_the_function_comes_with_its_log() -> None:
    """Kind and message in the line, the log's own lines below, without what Lambda frames them with, safe to show."""
    log = (
        "INIT_START Runtime Version: python:3.13\nSTART RequestId: 1 Version: $LATEST\n"
        "[WARNING] a broker \x1b[31mhangs\nEND RequestId: 1\nREPORT RequestId: 1 Duration: 3 ms\n"
    )
    with Aws() as aws:
        asked(aws).returns(answer({"errorType": "ValueError", "errorMessage": "random is 0"}, "Unhandled", log))
        with pytest.raises(FunctionError, match=f"{NAME}: ValueError: random is 0") as caught:
            functions(aws).invoke(NAME, PAYLOAD)
    assert caught.value.kind == "ValueError"
    assert caught.value.excerpt == ["[WARNING] a broker \\x1b[31mhangs", "REPORT RequestId: 1 Duration: 3 ms"]
    assert "`fraudctl logs flag-account-generator` shows more" in str(caught.value.hint)
    assert "flag-account-generator" in AwsLogs(lambda: None, STACK, FakeTime().clock()).groups()


def test_a_function_that_ran_out_of_time() -> None:
    """A part may be done, so it is said."""
    message = "RequestId: 1 Error: Task timed out after 60.00 seconds"
    with Aws() as aws:
        asked(aws).returns(answer({"errorType": "Sandbox.Timedout", "errorMessage": message}, "Unhandled"))
        with pytest.raises(OperationFailed, match=r"ran out of time: .*60\.00 seconds; a part may be done"):
            functions(aws).invoke(NAME, PAYLOAD)


def test_kafka_that_does_not_confirm_is_unreachable() -> None:
    """As on the local target: exit 4, and that twice does no harm."""
    error = {"errorType": "NotConfirmed", "errorMessage": "not confirmed, accounts 7: no answer within 30 s"}
    with Aws() as aws:
        asked(aws).returns(answer(error, "Unhandled"))
        with pytest.raises(Unreachable, match="Kafka does not answer: not confirmed") as caught:
            functions(aws).invoke(NAME, PAYLOAD)
    assert "counts once" in str(caught.value.hint)


@pytest.mark.parametrize("code", ["ResourceConflictException", "ResourceNotReadyException"])
def test_a_function_that_is_not_ready_is_waited_for_once(code: str) -> None:
    """Lambda did not run it: the second invocation is the first. One word, however long it takes."""
    time, notes = FakeTime(), list[str]()
    with Aws() as aws:
        asked(aws).fails(code, "The function is currently in the following state: Pending")
        for state in ("Inactive", "Pending", "Active"):
            aws.on("lambda").get_function_configuration(FunctionName=FULL).returns({"State": state})
        asked(aws).returns(answer({"flags": []}))
        assert functions(aws, time, notes).invoke(NAME, PAYLOAD) == {"flags": []}
    assert len(time.slept) == 2
    assert notes == [f"{NAME} is Inactive: Lambda connects it to the network again, which takes some minutes."]


def test_a_function_that_does_not_get_ready() -> None:
    """The reason that Lambda gives, or that it is said again later."""
    with Aws() as aws:
        asked(aws).fails("ResourceNotReadyException")
        failed = {"State": "Failed", "StateReason": "no address is left in the subnet"}
        aws.on("lambda").get_function_configuration(FunctionName=FULL).returns(failed)
        with pytest.raises(OperationFailed, match="no address is left in the subnet"):
            functions(aws).invoke(NAME, PAYLOAD)
    with Aws() as aws:
        asked(aws).fails("ResourceConflictException")
        aws.on("lambda").get_function_configuration(FunctionName=FULL).returns({"State": "Active"})
        asked(aws).fails("ResourceConflictException")
        with pytest.raises(Unreachable, match="Lambda still prepares it"):
            functions(aws).invoke(NAME, PAYLOAD)


@pytest.mark.parametrize(
    ("code", "message", "error", "said", "hint"),
    [
        ("ResourceNotFoundException", "no", NotDeployed, "older version", "fraudctl deploy"),
        ("TooManyRequestsException", "Rate Exceeded.", Unreachable, "throttling: Rate Exceeded", "wait a minute"),
        ("ExpiredTokenException", "it expired", Unreachable, "it expired", "aws sso login"),
        ("RequestTooLargeException", "too big", OperationFailed, "6 MB", "less at once"),
        (
            "AccessDeniedException",
            "User: arn:aws:iam::1:user/a is not authorized to perform: lambda:InvokeFunction on resource: x",
            Unreachable,
            "not allowed",
            "ask for lambda:InvokeFunction.*cfn/deployer-policy.json",
        ),
        ("ForbiddenException", "no", Unreachable, "not allowed", "ask for Invoke"),
    ],
)
def test_what_lambda_refuses(code: str, message: str, error: type[Exception], said: str, hint: str) -> None:
    """One line each, never a second invocation."""
    with Aws() as aws:
        asked(aws).fails(code, message)
        with pytest.raises(error, match=said) as caught:
            functions(aws).invoke(NAME, PAYLOAD)
    assert re.search(hint, str(getattr(caught.value, "hint", "")))


def test_no_answer_in_time_says_that_it_may_still_happen() -> None:
    """Exit 6: nobody knows whether it was written."""
    with Aws() as aws:
        asked(aws).raises(ReadTimeoutError(endpoint_url="https://lambda"))
        with pytest.raises(TimedOut, match="may still happen"):
            functions(aws).invoke(NAME, PAYLOAD)


def test_the_client_for_writing_never_repeats_and_outwaits_every_function() -> None:
    """Botocore repeats after a lost connection or a throttled call by default; a flag could be written twice."""
    session = AwsSession("eu-west-1", None)
    once, usual = (session.client("lambda", once=once) for once in (True, False))
    assert session.client("lambda", once=True) is once is not usual
    assert once.meta.config.retries["total_max_attempts"] == 1
    assert usual.meta.config.retries["total_max_attempts"] > 1
    assert once.meta.config.read_timeout == ONCE_READ_SECONDS
    assert all(found["Timeout"] < ONCE_READ_SECONDS for found in load().of("AWS::Lambda::Function").values())


def test_the_audit_table_tells_errors_like_everything_else(audit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that is gone, a missing permission: no raw answer of AWS reaches the terminal."""
    found = AuditTable(audit.name, lambda _: audit)
    assert found.item_count == 0
    assert "Item" not in found.get_item(Key={"account_id": 7, "transaction_key": "a"})
    message = "User: a is not authorized to perform: dynamodb:Query on resource: x"

    def refuse(code: str) -> None:
        def query(**_: Any) -> None:
            raise ClientError({"Error": {"Code": code, "Message": message}}, "Query")

        monkeypatch.setattr(audit, "query", query, raising=False)

    refuse("AccessDeniedException")
    with pytest.raises(Unreachable, match="not allowed") as caught:
        found.query(Limit=1)
    assert "dynamodb:Query" in str(caught.value.hint)
    refuse("ThrottlingException")  # waited out by who asks
    with pytest.raises(ClientError):
        found.query(Limit=1)
    refuse("ResourceNotFoundException")
    with pytest.raises(NotDeployed, match="it is not there"):
        found.query(Limit=1)
