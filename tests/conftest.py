"""Fixtures of all tiers."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from fraudctl import config
from fraudctl.cli import app
from fraudctl.context import Context
from fraudctl.pipeline import audit_table
from fraudctl.render import Renderer
from fraudctl.target import Target

# How long an example takes says something about the machine, not about the code.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches anybody's account or looks different in another terminal."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["pytest"])  # `python -m pytest` looks like `python -m fraudctl` to hints
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "FRAUDCTL_TARGET", "FRAUDCTL_STACK", "FRAUDCTL_OUTPUT"):
        monkeypatch.delenv(name, raising=False)


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run fraudctl in this process: ``run(target, "tail", "processed", output="json")``."""

    def invoke(target: Target | Any, *arguments: str, output: str = "table", stdin: str | bytes = "") -> Result:
        given = {"output": output, "verbose": "--verbose" in arguments or None}
        settings = config.load(given, environment={"FRAUDCTL_HOME": str(tmp_path)}, folder=tmp_path)
        context = Context(settings, Renderer(settings.output, color=False), target)
        done = CliRunner().invoke(app, list(arguments), obj=context, input=stdin)
        return Result(done.exit_code, done.stdout, done.stderr)

    return invoke


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """The address of librdkafka's mock broker: real clients, no process; topics of 4 partitions appear by writing."""
    host = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    found = next(iter(host.list_topics(timeout=10).brokers.values()))
    yield f"{found.host}:{found.port}"
    host.flush(0)


@pytest.fixture
def audit() -> Iterator[Any]:
    """An empty audit table, in memory."""
    import boto3
    from moto import mock_aws

    with mock_aws():
        yield boto3.resource("dynamodb").create_table(**audit_table.definition("fraud-detection-audit"))
