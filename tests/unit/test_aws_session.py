"""Credentials, region, errors: what is said, and with which exit code, before anything changes."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aws_bench import FIRST, Bench, change
from botocore import exceptions
from stubs import BEGIN, STACK, Aws, missing, stack

from fraudctl import config
from fraudctl.aws import errors
from fraudctl.aws.errors import ConnectionLost, CredentialsExpired, asking
from fraudctl.aws.session import AwsSession
from fraudctl.aws.target import AwsTarget
from fraudctl.errors import BadConfig, FraudctlError, NotDeployed, OperationFailed, Unreachable


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment without any AWS settings."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


def test_without_a_region_or_a_profile_it_is_usage(bare: pytest.MonkeyPatch) -> None:
    """Exit 2 with the option; a region of the environment is taken."""
    with pytest.raises(BadConfig, match="none is set") as caught:
        _ = AwsSession(None, None).region
    assert "--region" in str(caught.value.hint)
    with pytest.raises(BadConfig, match="nobody"):
        _ = AwsSession(None, "nobody").region
    bare.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert AwsSession(None, None).region == "eu-central-1"
    assert AwsSession("eu-north-1", None).region == "eu-north-1"


def test_without_credentials_it_is_said_how_to_get_some(bare: pytest.MonkeyPatch) -> None:
    """Exit 4."""
    bare.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with pytest.raises(Unreachable, match="none found") as caught:
        AwsSession(None, None).expires()
    assert "aws sso login" in str(caught.value.hint)


def test_the_end_of_handed_over_credentials_is_known(bare: pytest.MonkeyPatch) -> None:
    """Those of the environment tell when they end; long-lived ones do not end."""
    bare.setenv("AWS_ACCESS_KEY_ID", "testing")
    bare.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    assert AwsSession("eu-west-1", None).expires() is None
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    bare.setenv("AWS_SESSION_TOKEN", "testing")
    bare.setenv("AWS_CREDENTIAL_EXPIRATION", end.isoformat())
    assert AwsSession("eu-west-1", None).expires() == end


class Ending(AwsSession):
    """A session whose credentials end some minutes after the script's begin."""

    def __init__(self, aws: Aws, minutes: float) -> None:
        """Follow the script."""
        super().__init__("eu-west-1", None, aws.client)
        self._end = datetime.fromtimestamp(BEGIN + minutes * 60, UTC)

    def expires(self) -> datetime:
        """Return the end."""
        return self._end


def test_credentials_about_to_end_are_refused_and_short_ones_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """One minute is too short for anything; ten are too short for a cluster, which AWS makes without us."""
    with Aws() as aws:
        bench = Bench(aws)
        monkeypatch.setattr(aws, "session", lambda: Ending(aws, 1))
        bench.identity()
        with pytest.raises(CredentialsExpired, match="they expire in 1 min"):
            bench.stack().plan()
        monkeypatch.setattr(aws, "session", lambda: Ending(aws, 10))
        bench.identity()
        missing(aws)
        bench.unused_names()
        bench.change_set("CREATE", FIRST, [change("Cluster", "AWS::MSK::Cluster")])
        plan = bench.stack().plan()
    assert any("the credentials expire in 10 min, before that" in note and "--attach" in note for note in plan.notes)


def _client_error(code: str) -> Callable[[], Exception]:
    return lambda: exceptions.ClientError({"Error": {"Code": code, "Message": "because"}}, "Operation")


@pytest.mark.parametrize(
    ("make", "kind", "exit_code", "message"),
    [
        (_client_error("ExpiredToken"), CredentialsExpired, 4, "AWS does not accept the credentials any more: because"),
        (_client_error("AccessDenied"), Unreachable, 4, "Operation is not allowed: because"),
        (_client_error("Throttling"), errors.Throttled, 4, "AWS is throttling: because"),
        (_client_error("ValidationError"), OperationFailed, 5, "because"),
        (
            lambda: exceptions.EndpointConnectionError(endpoint_url="https://x"),
            ConnectionLost,
            4,
            'Could not connect to the endpoint URL: "https://x"',
        ),
        (
            lambda: exceptions.ReadTimeoutError(endpoint_url="https://x"),
            ConnectionLost,
            4,
            'Read timeout on endpoint URL: "https://x"',
        ),
        (exceptions.UnauthorizedSSOTokenError, CredentialsExpired, 4, str(exceptions.UnauthorizedSSOTokenError())),
        (
            lambda: exceptions.SSOTokenLoadError(error_msg="expired"),
            CredentialsExpired,
            4,
            "Error loading SSO Token: expired",
        ),
        (exceptions.NoCredentialsError, Unreachable, 4, "Unable to locate credentials"),
        (exceptions.NoRegionError, BadConfig, 2, "none is set"),
    ],
)
def test_every_kind_of_error_has_a_meaning(
    make: Callable[[], Exception], kind: type[FraudctlError], exit_code: int, message: str
) -> None:
    """Translated once, with a hint, and the cause kept."""
    with pytest.raises(kind) as caught, asking("thing"):
        raise make()
    assert caught.value.exit_code == exit_code
    assert caught.value.hint
    assert isinstance(caught.value.__cause__, exceptions.ClientError | exceptions.BotoCoreError)
    what = "AWS region" if kind is BadConfig else "thing"
    assert str(caught.value) == f"{what}: {message}"


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        ("arn:aws:iam::111122223333:user/ada", "ada"),
        ("arn:aws:iam::111122223333:user/fraud/desk/ada", "ada"),
        ("arn:aws:sts::111122223333:assumed-role/Analyst/ada@example.com", "ada@example.com"),
        ("arn:aws-cn:sts::111122223333:federated-user/ada", "ada"),
        ("arn:aws:iam::111122223333:root", "root"),
    ],
)
def test_the_caller_is_who_sts_says(tmp_path: Path, arn: str, name: str) -> None:
    """A user's name, a role's session name."""
    settings = config.load({"target": "aws"}, environment={"FRAUDCTL_HOME": str(tmp_path)}, folder=tmp_path)
    with Aws() as aws:
        aws.on("sts").get_caller_identity().returns({"Arn": arn})
        assert AwsTarget(settings, AwsSession("eu-west-1", None, aws.client)).caller() == name


def test_constructing_the_target_does_nothing(tmp_path: Path) -> None:
    """No client, no file; what is not there yet says so as usage."""
    settings = config.load(
        {"stack": STACK, "target": "aws"}, environment={"FRAUDCTL_HOME": str(tmp_path)}, folder=tmp_path
    )

    def refuse(service: str) -> Any:
        raise AssertionError(service)

    target = AwsTarget(settings, AwsSession("eu-west-1", None, refuse))
    assert all((target.topics, target.records, target.functions, target.schedule, target.flink, target.pages))
    assert target.logs.groups().keys() >= {"kafka", "lambda", "flink", "audit-writer"}
    with target.lock():
        assert [path.name for path in (tmp_path / "stacks").iterdir()] == [f"aws-eu-west-1-default-{STACK}.lock"]


def test_a_stack_that_is_elsewhere_or_half_deployed(tmp_path: Path) -> None:
    """Where it was looked for is said; without its brokers' address it does not run yet."""
    settings = config.load({"stack": STACK, "target": "aws"}, environment={"FRAUDCTL_HOME": str(tmp_path)})
    with Aws() as aws:
        missing(aws)
        with pytest.raises(NotDeployed, match=f"stack {STACK}: not deployed in eu-west-1") as caught:
            AwsTarget(settings, aws.session()).recover()
    assert "--region" in str(caught.value.hint)
    for brokers, runs in (("PENDING", False), ("b-1.x:9098", True)):
        outputs = {
            "BootstrapServers": brokers,
            "AuditTableName": "a",
            "FlinkApplicationName": "f",
            "HoldMs": "1",
            "SlackMs": "1",
        }
        with Aws() as aws:
            described = stack("UPDATE_COMPLETE", outputs=outputs)
            aws.on("cloudformation").describe_stacks(StackName=STACK).returns(described)
            assert AwsTarget(settings, aws.session()).recover() is runs
