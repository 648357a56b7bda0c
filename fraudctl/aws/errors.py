"""AWS's errors, translated into fraudctl's own."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from fraudctl.errors import BadConfig, FraudctlError, OperationFailed, Unreachable

EXPIRED: Final = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "InvalidClientTokenId"}
    | {"UnrecognizedClientException", "InvalidToken"}
)
DENIED: Final = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthFailure", "Unauthorized", "403"}
    | {"UnauthorizedException", "ForbiddenException", "NotAuthorized", "SignatureDoesNotMatch"}
)
THROTTLED: Final = frozenset(
    {"Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"}
)
# As most services name what is missing: User … is not authorized to perform … on resource …
_ACTION: Final = re.compile(r"perform: ([\w-]+:\w+)", re.ASCII)
SIGN_IN: Final = "sign in again (`aws sso login`), or name another profile with --profile"


class CredentialsExpired(Unreachable):
    """The credentials ended; whatever AWS was asked to do before goes on."""


class ConnectionLost(Unreachable):
    """AWS cannot be reached; whatever it was asked to do before goes on."""


class Throttled(Unreachable):
    """AWS asks to be asked less often, even after all retries."""


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Translate the errors of one or more calls; `what` names the thing they are about."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _answered(dict(error.response["Error"]), what, error.operation_name) from error
    except BotoCoreError as error:
        raise _unanswered(error, what) from error


def _answered(answer: Mapping[str, Any], what: str, operation: str) -> FraudctlError:
    reason, message = answer.get("Code", "Unknown"), " ".join(answer.get("Message", "no reason given").split())
    if reason in EXPIRED:
        return CredentialsExpired(f"{what}: AWS does not accept the credentials any more: {message}", hint=SIGN_IN)
    if reason in DENIED:
        named = _ACTION.search(message)
        action = named[1] if named else operation
        return Unreachable(
            f"{what}: {action} is not allowed: {message}",
            hint=f"ask for {action}, as in cfn/deployer-policy.json, or use another --profile",
        )
    if reason in THROTTLED:
        return Throttled(f"{what}: AWS is throttling: {message}", hint="wait a minute, then run the command again")
    return OperationFailed(f"{what}: {message}", hint="run it again with --verbose to see the call")


def _unanswered(error: Exception, what: str) -> FraudctlError:
    from botocore import exceptions

    match error:
        case exceptions.NoRegionError():
            return BadConfig("AWS region: none is set", hint="add --region eu-west-1, or set AWS_REGION")
        case exceptions.ProfileNotFound():
            return BadConfig(f"{what}: {error}", hint="`aws configure list-profiles` lists them")
        case (
            exceptions.UnauthorizedSSOTokenError()
            | exceptions.SSOTokenLoadError()
            | exceptions.TokenRetrievalError()
            | exceptions.CredentialRetrievalError()
        ):
            return CredentialsExpired(f"{what}: {error}", hint=SIGN_IN)
        case exceptions.NoCredentialsError() | exceptions.PartialCredentialsError():
            return Unreachable(f"{what}: {error}", hint="`aws configure` or `aws sso login`, or --profile NAME")
        case exceptions.HTTPClientError() | exceptions.ConnectionError():
            return ConnectionLost(f"{what}: {error}", hint="check the network and --region, then try again")
    return Unreachable(f"{what}: {error}", hint="check credentials, region and network")
