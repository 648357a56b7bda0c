"""What Kafka's errors mean to the person at the command line."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from fraudctl.errors import FraudctlError, NotDeployed, OperationFailed, Unreachable

_NAMED: Final = 10


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn a KafkaException into `NotDeployed`, `Unreachable` or `OperationFailed`; `what` begins the message."""
    from confluent_kafka import KafkaException

    try:
        yield
    except KafkaException as error:
        raise meaning(what, error) from error
    except TimeoutError as error:
        raise _unreachable(what, str(error)) from error


def is_missing(error: Exception) -> bool:
    """Return whether a KafkaException says that a topic does not exist."""
    from confluent_kafka import KafkaError

    unknown = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}  # noqa: SLF001
    return error.args[0].code() in unknown


def missing(what: str, existing: Iterable[str] = ()) -> NotDeployed:
    """Return the error for a topic that does not exist, with those that do; Kafka's own are left out."""
    found = sorted(name for name in existing if not name.startswith("__"))
    if len(found) > _NAMED:
        found[_NAMED:] = [f"{len(found) - _NAMED:,} more"]
    there = f", which has {' and '.join(filter(None, (', '.join(found[:-1]), found[-1])))}" if found else ""
    return NotDeployed(f"{what}: does not exist in Kafka{there}", hint="run `fraudctl topics create`")


def meaning(what: str, error: Exception) -> FraudctlError:
    """Return the error that a KafkaException stands for."""
    from confluent_kafka import KafkaError

    kafka: KafkaError = error.args[0]
    not_allowed = {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,  # noqa: SLF001 - librdkafka's own codes are named so
    }
    silent = {
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.BROKER_NOT_AVAILABLE,
    }
    code = kafka.code()
    if is_missing(error):
        return missing(what)
    if code in silent:
        return _unreachable(what, kafka.str())
    if code in not_allowed:
        return Unreachable(f"{what}: not allowed: {kafka.str()}", hint="check your credentials and permissions")
    return OperationFailed(f"{what}: {kafka.str()}", hint="run `fraudctl status`")


def _unreachable(what: str, why: str) -> Unreachable:
    return Unreachable(
        f"{what}: Kafka does not answer: {why}", hint="run `fraudctl status`, then `fraudctl deploy` to repair"
    )
