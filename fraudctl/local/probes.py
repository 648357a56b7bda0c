"""Readiness: every check asks the component a real question."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final

from fraudctl.errors import FraudctlError
from fraudctl.local import clients, programs
from fraudctl.local.rest import Rest
from fraudctl.pipeline import audit_table, kafka
from fraudctl.target import Event, Phase

_ANSWER_SECONDS: Final = 0.5


class Probes:
    """Asks the components of one stack; a client is opened once and kept."""

    def __init__(self, stack: str, ports: Mapping[str, int]) -> None:
        """Keep the ports; no I/O."""
        self._stack, self._ports = stack, ports

    def ready(self, name: str) -> bool:
        """Say whether the component answers a real question."""
        question = {
            "kafka": self._kafka,
            "dynamodb": self._dynamodb,
            "lambda": self._lambda,
            "flink": self._flink,
        }[name]
        return question()

    def create_table(self) -> Iterator[Event]:
        """Create the audit table unless it is there."""
        from botocore.exceptions import ClientError

        name = programs.table_name(self._stack)
        try:
            self._client.create_table(**audit_table.definition(name))
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceInUseException":
                raise
        else:
            yield Event("audit table", Phase.DONE, f"{name} created")

    def samples(self) -> bool | None:
        """Say whether sample transactions flow; None when the runner does not answer."""
        try:
            status = Rest("lambda", programs.address("lambda", self._ports["lambda"])).get("/_fraudctl/status")
        except FraudctlError:
            return None
        return bool(status["schedule"]["enabled"])

    @cached_property
    def _admin(self) -> Any:  # noqa: ANN401 - confluent_kafka has no types
        from confluent_kafka.admin import AdminClient

        connection = kafka.client(programs.bootstrap(self._ports))
        return AdminClient({**connection, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100})

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401 - a boto3 client
        return clients.dynamodb(self._ports["dynamodb"], read_timeout=5)

    def _kafka(self) -> bool:
        from confluent_kafka import KafkaException

        try:
            return bool(self._admin.list_topics(timeout=_ANSWER_SECONDS).brokers)
        except KafkaException:
            return False

    def _dynamodb(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.list_tables(Limit=1)
        except (BotoCoreError, ClientError):
            return False
        return True

    def _lambda(self) -> bool:
        return self.samples() is not None

    def _flink(self) -> bool:
        rest = Rest("flink", programs.address("flink", self._ports["flink"]))
        try:
            jobs = rest.get("/jobs/overview", timeout=2)["jobs"]
        except FraudctlError:
            return False
        return any(job["state"] == "RUNNING" and job["tasks"]["running"] == job["tasks"]["total"] for job in jobs)
