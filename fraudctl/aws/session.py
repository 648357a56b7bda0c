"""The way to AWS: one boto3 client per service, made at first use."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

from fraudctl.aws.errors import asking
from fraudctl.errors import BadConfig, Unreachable

_ATTEMPTS: Final = 8
_CONNECT_SECONDS: Final = 10
_READ_SECONDS: Final = 60
# Longer than any function of the stack may run; a test compares.
ONCE_READ_SECONDS: Final = 120
_LOG_IN: Final = "sign in (`aws sso login` or `aws configure`), or name another one with --profile"


def items(client: Any, operation: str, key: str, **arguments: Any) -> Iterator[Any]:  # noqa: ANN401 - boto3's own
    """Yield what is below `key` on every page of an operation's answer, by boto3's paginator; pages come as needed."""
    for page in client.get_paginator(operation).paginate(**arguments):
        yield from page[key]


class AwsSession:
    """Credentials and region. Constructing it does no I/O; tests pass `make`, which gives a client by its name."""

    def __init__(self, region: str | None, profile: str | None, make: Callable[[str], Any] | None = None) -> None:
        """Store what was asked for."""
        self._region, self._profile, self._make = region, profile, make
        self._session: Any = None
        self._clients: dict[tuple[str, bool], Any] = {}

    def client(self, service: str, *, once: bool = False) -> Any:  # noqa: ANN401 - boto3 makes its clients' classes at run time
        """Return the client of a service; with `once`, one that never sends a request a second time.

        That is for what must not happen twice, as writing. It waits for an answer longer than any function runs.
        """
        if (service, once) not in self._clients:
            self._clients[service, once] = self._make(service) if self._make else self._open(service, once=once)
        return self._clients[service, once]

    def table(self, name: str) -> Any:  # noqa: ANN401 - see client
        """Return a DynamoDB table as a boto3 ``Table``."""
        with asking("AWS dynamodb"):
            return self._boto().resource("dynamodb", region_name=self.region, config=_config()).Table(name)

    @property
    def region(self) -> str:
        """The region; raises `BadConfig` when none is set anywhere."""
        found = self._region or (None if self._make else self._boto().region_name)
        if not found:
            raise BadConfig(
                "AWS region: none is set", hint="add --region eu-west-1, or set AWS_REGION or the profile's region"
            )
        return str(found)

    def account(self) -> str:
        """Return the account's number by asking AWS who we are; raises `Unreachable` when we may not."""
        with asking("AWS credentials"):
            return str(self.client("sts").get_caller_identity()["Account"])

    def caller(self) -> str:
        """Return the last part of the caller's ARN: an IAM user's name, a role's session name, or ``root``.

        See the identifiers of principals in IAM/latest/UserGuide/reference_identifiers.
        """
        with asking("AWS credentials"):
            arn = str(self.client("sts").get_caller_identity()["Arn"])
        return arn.rpartition(":")[2].rpartition("/")[2]

    def expires(self) -> datetime | None:
        """Return when the credentials end; None when they do not, or renew themselves, or do not tell."""
        if self._make:
            return None
        with asking("AWS credentials"):
            found = self._boto().get_credentials()
        if found is None:
            raise Unreachable("AWS credentials: none found", hint=_LOG_IN)
        # Credentials of `aws sso login` and of assumed roles renew themselves; what a file, a process or the
        # environment hands over with an end date does not have to. botocore keeps that date in a private attribute.
        if found.method in {"sso", "assume-role", "assume-role-with-web-identity", "iam-role", "container-role"}:
            return None
        end = getattr(found, "_expiry_time", None)
        return end if isinstance(end, datetime) else None

    def _open(self, service: str, *, once: bool) -> Any:  # noqa: ANN401 - see client
        with asking(f"AWS {service}"):
            return self._boto().client(service, region_name=self.region, config=_config(once=once))

    def _boto(self) -> Any:  # noqa: ANN401 - boto3.Session, imported where it is used
        if self._session is None:
            import boto3

            with asking("AWS profile"):
                self._session = boto3.Session(profile_name=self._profile, region_name=self._region)
        return self._session


def _config(*, once: bool = False) -> Any:  # noqa: ANN401 - botocore's Config, imported where it is used
    from botocore.config import Config

    return Config(
        # Adaptive retries slow down by themselves when a service throttles, which hours of polling make likely.
        retries={"total_max_attempts": 1} if once else {"mode": "adaptive", "total_max_attempts": _ATTEMPTS},
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=ONCE_READ_SECONDS if once else _READ_SECONDS,
        tcp_keepalive=True,
        user_agent_extra="fraudctl",
    )
