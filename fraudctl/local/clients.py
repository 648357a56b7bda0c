"""boto3 clients of the stack's own servers on loopback."""

from typing import Any, Final

from fraudctl.local.processes.ports import LOOPBACK

CREDENTIALS: Final[dict[str, Any]] = {
    "region_name": "local",
    "aws_access_key_id": "local",
    "aws_secret_access_key": "local",
}


def dynamodb(port: int, *, read_timeout: float = 30.0) -> Any:  # noqa: ANN401 - a boto3 client
    """Open a DynamoDB client on the stack's DynamoDB Local."""
    return _session().client("dynamodb", **_endpoint(port, read_timeout, attempts=2))


def dynamodb_resource(port: int) -> Any:  # noqa: ANN401 - a boto3 resource
    """Open a DynamoDB resource on the stack's DynamoDB Local."""
    return _session().resource("dynamodb", **_endpoint(port, 30.0, attempts=2))


def lambda_client(port: int) -> Any:  # noqa: ANN401 - a boto3 client
    """Open a Lambda client on the stack's function runner."""
    # Once only: a repeated invocation flags twice.
    return _session().client("lambda", **_endpoint(port, 120.0, attempts=1))


def _session() -> Any:  # noqa: ANN401 - a boto3 session
    import boto3

    return boto3.session.Session(**CREDENTIALS)


def _endpoint(port: int, read_timeout: float, *, attempts: int) -> dict[str, Any]:
    from botocore.config import Config

    # Never through a proxy of the environment: the server is on loopback.
    config = Config(connect_timeout=2, read_timeout=read_timeout, retries={"total_max_attempts": attempts}, proxies={})
    return {"endpoint_url": f"http://{LOOPBACK}:{port}", "config": config}
