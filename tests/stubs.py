"""AWS as a script: botocore's Stubber with one order over all services.

``aws.on("cloudformation").describe_stacks(StackName="s").returns({...})`` appends a call to the script. A call that is
not the next one, has other parameters, or is missing at the end fails the test, even if the code under test swallows
errors. Answers are checked against AWS's own model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, Self
from unittest.mock import ANY

import boto3
from botocore.stub import Stubber

from fraudctl.aws.session import AwsSession
from fraudctl.clock import Clock

REGION: Final = "eu-west-1"
ACCOUNT: Final = "123456789012"
STACK: Final = "fraud-detection"
STACK_ID: Final = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK}/4d3c"
SET_ID: Final = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:changeSet/fraudctl-1/7f"
BEGIN: Final = 1_790_000_000.0


@cache
def _boto() -> Any:
    """Return one session for all tests: it keeps AWS's models, whose loading takes most of a test's time."""
    return boto3.Session("testing", "testing", region_name=REGION)


@dataclass
class FakeTime:
    """A clock that never waits: sleeping moves it on. `slept` keeps each pause."""

    at: float = BEGIN
    slept: list[float] = field(default_factory=list)
    on_sleep: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.on_sleep()
        self.slept.append(seconds)
        self.at += seconds

    def clock(self) -> Clock:
        """Return it as the code takes it."""
        return Clock(lambda: self.at, self.sleep, lambda: self.at)


@dataclass
class Call:
    """One expected call and how it ends."""

    service: str
    operation: str
    parameters: Mapping[str, Any]
    answer: Mapping[str, Any] | None = None
    error: tuple[str, str] | BaseException | None = None

    def returns(self, answer: Mapping[str, Any] | None = None) -> None:
        """Answer with this."""
        self.answer = answer or {}

    def fails(self, code: str, message: str = "no") -> None:
        """Answer with an error of AWS."""
        self.error = (code, message)

    def raises(self, error: BaseException) -> None:
        """Do not answer at all."""
        self.error = error

    def __str__(self) -> str:
        """Name it."""
        return f"{self.service}.{self.operation}"


@dataclass(frozen=True)
class Service:
    """One service of the script."""

    aws: "Aws"
    name: str

    def __getattr__(self, operation: str) -> Callable[..., Call]:
        """Expect a call of this operation."""

        def expect(**parameters: Any) -> Call:
            call = Call(self.name, operation, parameters)
            self.aws.script.append(call)
            return call

        return expect


@dataclass
class Aws:
    """The script, and the clients that follow it."""

    script: list[Call] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    clients: dict[str, Any] = field(default_factory=dict)

    def on(self, service: str) -> Service:
        """Expect a call of this service next."""
        return Service(self, service)

    def session(self) -> AwsSession:
        """Return a session whose clients follow the script."""
        return AwsSession(REGION, None, self.client)

    def client(self, service: str) -> Any:
        """Return the client of a service."""
        if service not in self.clients:
            made = _boto().client(service)
            self.clients[service] = made
            stubber = Stubber(made)

            def follow(params: dict[str, Any], model: Any, **_: Any) -> None:
                self._follow(made, stubber, service, model.name, params)

            made.meta.events.register_first("before-parameter-build.*.*", follow)
            stubber.activate()
        return self.clients[service]

    def done(self) -> None:
        """Fail unless the whole script was followed, and nothing else was called."""
        assert not self.broken, self.broken
        assert not self.script, f"never called: {', '.join(map(str, self.script))}"

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Look at the end, unless the test failed already."""
        if kind is None or self.broken:
            self.done()

    def _follow(self, client: Any, stubber: Stubber, service: str, operation: str, parameters: Any) -> None:
        name = next(python for python, api in client.meta.method_to_api_mapping.items() if api == operation)
        if not self.script:
            self._break(f"{service}.{name} was called after the end of the script: {parameters}")
        call = self.script.pop(0)
        if str(call) != f"{service}.{name}":
            self._break(f"{service}.{name} was called instead of {call}: {parameters}")
        if dict(parameters) != dict(call.parameters):
            self._break(f"{call} was called with {parameters} instead of {dict(call.parameters)}")
        if isinstance(call.error, BaseException):
            raise call.error
        if call.error is not None:
            stubber.add_client_error(name, *call.error)
        else:
            stubber.add_response(name, dict(call.answer or {}))

    def _break(self, why: str) -> None:
        self.broken.append(why)
        raise AssertionError(why)


def at(seconds: float) -> datetime:
    """Return a moment after the script's begin."""
    return datetime.fromtimestamp(BEGIN + seconds, UTC)


def stack(status: str, **more: Any) -> dict[str, Any]:
    """Return DescribeStacks' answer; `outputs`, `parameters` as plain dicts. A shell has no tags, others have ours."""
    found: dict[str, Any] = {
        "StackId": STACK_ID,
        "StackName": STACK,
        "CreationTime": at(0),
        "StackStatus": status,
        "Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in more.pop("outputs", {}).items()],
        "Parameters": [
            {"ParameterKey": key, "ParameterValue": value} for key, value in more.pop("parameters", {}).items()
        ],
        "Tags": [] if status == "REVIEW_IN_PROGRESS" else tags(STACK),
    }
    return {"Stacks": [{**found, **more}]}


def tags(stack_name: str) -> list[dict[str, str]]:
    """Return the tag of what belongs to a stack."""
    return [{"Key": "fraudctl:stack", "Value": stack_name}]


def event(name: str, status: str, kind: str = "AWS::DynamoDB::Table", **more: Any) -> dict[str, Any]:
    """Return one stack event; with the stack's own name it is an event of the stack."""
    own = name == STACK
    found: dict[str, Any] = {
        "EventId": f"{name}-{status}",
        "StackId": STACK_ID,
        "StackName": STACK,
        "LogicalResourceId": name,
        "PhysicalResourceId": STACK_ID if own else f"{name}-1",
        "ResourceType": "AWS::CloudFormation::Stack" if own else kind,
        "ResourceStatus": status,
        "Timestamp": at(more.pop("seconds", 0)),
        "ClientRequestToken": "token",
    }
    if (reason := more.pop("reason", None)) is not None:
        found["ResourceStatusReason"] = reason
    return {key: value for key, value in {**found, **more}.items() if value is not None}


def page(*events: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return DescribeStackEvents' answer from events in the order they happened."""
    return {"StackEvents": list(reversed(events)), **more}


def missing(aws: Aws, name: str = STACK) -> None:
    """Expect the question for a stack that is not there."""
    aws.on("cloudformation").describe_stacks(StackName=name).fails(
        "ValidationError", f"Stack with id {name} does not exist"
    )


__all__ = ["ANY", "Aws", "Call", "FakeTime", "at", "event", "missing", "page", "stack", "tags"]
