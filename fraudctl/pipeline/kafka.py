"""Kafka clients as data: librdkafka properties for a plain broker or for MSK with IAM, and delivery that is checked.

A connection is a dict (`client`); `producer` and `consumer` add what the pipeline's clients have in common. librdkafka
never writes to the terminal: its lines go to the logger ``librdkafka``, which drops them unless a handler is added.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from fraudctl.pipeline.version import VERSION

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message, Producer

Properties = dict[str, Any]
Opened = TypeVar("Opened")

# What brokers log, count and limit a client by. With the characters that every version of Kafka allows, which are those
# of a topic's name, it stands as it is in metrics and quotas; with a slash it would be quoted there.
CLIENT_ID: Final = f"fraudctl-{VERSION}"

# An IAM token lives 15 minutes and a frozen Lambda environment cannot refresh it, so a client is renewed before that.
_IAM_CLIENT_LIFE_S: Final = 600.0
_POLL_EVERY: Final = 1000
_BUFFER_FULL_WAIT_S: Final = 0.1
_PURGE_WAIT_S: Final = 5.0
# A refusal is heard at each attempt to connect, at least this often (reconnect.backoff.max.ms).
_REFUSAL_COUNTS_S: Final = 30.0
# A changed policy may take a minute (msk, create-iam-access-control-policies); no call waits that long for a login.
_REFUSED_WAIT_S: Final = 5.0
_FLUSH_S: Final = 1.0
# What librdkafka says around a broker's answer, and how Kafka's own class wraps the reason (RFC 7628).
_SASL: Final = "SASL authentication error: "
_TIMING: Final = re.compile(r" \(after \d+ms in state \w+\)$")
_STATUS: Final = re.compile(r'\{"status":"([^"]*)"')
_LARGEST_MESSAGE_BYTES: Final = 2 * 1024 * 1024

_MURMUR: Final = 0x5BD1E995

UNREADABLE_HEADERS: Final = "(unreadable: a header's name is not UTF-8)"

# confluent_kafka 2.16 returns a result and leaves an exception set. This way to call it finds that at once and raises
# SystemError; a plain call, once Python has specialised it, does not look, and the exception appears anywhere later.
_headers: Final = methodcaller("headers")

log = logging.getLogger("librdkafka")
log.addHandler(logging.NullHandler())
log.propagate = False


class Refusals:
    """What librdkafka tells nobody but its error callback: that the brokers refuse the login, and why.

    The calls themselves only end with a time-out or a transport failure then. Other errors it retries by itself; what
    it cannot retry comes back from the call that met it: `fatal` is the error after which a client does nothing any
    more, `denied` says that it may not do something, which it remembers for minutes.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with none."""
        self._clock = clock
        self._heard: tuple[float, str] | None = None
        self._since: float | None = None
        self.fatal: str | None = None
        self.denied = False

    def __call__(self, error: "KafkaError") -> None:
        """Take note of a refusal."""
        if (why := _refused(error)) is not None:
            self._heard = self._clock(), why
            self._since = self._heard[0] if self._since is None else self._since

    def reason(self) -> str | None:
        """Return why the brokers refuse the login; None when none has in the last half minute."""
        if self._heard is None or self._clock() - self._heard[0] > _REFUSAL_COUNTS_S:
            return None
        return self._heard[1]

    def answered(self) -> None:
        """Forget why a login was refused: a broker has answered."""
        self._heard = self._since = None

    def failed(self) -> bool:
        """Return whether another client has better chances than this one."""
        return self.denied or self.fatal is not None or self.reason() is not None

    def hopeless(self) -> bool:
        """Return whether a call that waits can stop: fatal, or refused for some seconds on end."""
        late = self._since is not None and self._clock() - self._since > _REFUSED_WAIT_S
        return self.fatal is not None or (late and self.reason() is not None)

    def forget(self) -> None:
        """Forget everything, for another client."""
        self.answered()
        self.fatal, self.denied = None, False


def _refused(error: "KafkaError") -> str | None:
    """Return why the brokers refuse the login, or why TLS fails, in their words; None for any other error."""
    from confluent_kafka import KafkaError

    _, login, said = error.str().partition(_SASL)
    codes = {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL}  # noqa: SLF001
    if not login and error.code() not in codes:
        return None
    text = _TIMING.sub("", said or error.str())
    status = _STATUS.search(text)
    return f"the brokers refuse the login: {status[1] if status else text}" if login else text


def explained(error: Exception, properties: Mapping[str, Any], poll: Callable[[float], object]) -> Exception:
    """Return the KafkaException that says why the brokers refuse the login, or the given one where that is not it.

    `poll` is the failed client's: only then is the error callback of the `properties` called.
    """
    from confluent_kafka import KafkaError, KafkaException

    poll(0)
    reason = properties["error_cb"].reason() if isinstance(properties.get("error_cb"), Refusals) else None
    silent = {
        KafkaError._TRANSPORT,  # noqa: SLF001 - librdkafka's own codes are named so
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
    }
    if reason is None or error.args[0].code() not in silent:
        return error
    return KafkaException(KafkaError(KafkaError._AUTHENTICATION, reason))  # noqa: SLF001


def client(bootstrap_servers: str, *, security: str = "plain", region: str | None = None) -> Properties:
    """Return what every client of these brokers needs; `security` is ``plain`` or ``iam`` (MSK, with its region).

    Raises ValueError for any other `security`, and for ``iam`` without a region.
    """
    properties: Properties = {
        "bootstrap.servers": bootstrap_servers,
        "client.id": CLIENT_ID,
        "socket.keepalive.enable": True,
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 1000,
        "log.connection.close": False,
        "logger": log,
        "error_cb": Refusals(),
    }
    match security:
        case "plain":
            return properties
        case "iam" if region:
            return properties | _iam(region)
        case "iam":
            raise ValueError("IAM needs the region of the cluster")
        case _:
            raise ValueError(f"security is plain or iam, not {security!r}")


def connection(environment: Mapping[str, str], function: str) -> Properties:
    """Return what every client of a Lambda function needs, from the variables that carry its prefix (``FLAGGER``).

    They are FLAGGER_BOOTSTRAP_SERVERS and FLAGGER_SECURITY, ``plain`` without it; the region is the function's own. A
    prefix, since the local runner's functions share one environment. Raises KeyError without brokers, or as `client`.
    """
    return client(
        environment[f"{function}_BOOTSTRAP_SERVERS"],
        security=environment.get(f"{function}_SECURITY", "plain"),
        region=environment.get("AWS_REGION"),
    )


def producer(connection: Mapping[str, Any]) -> Properties:
    """Return the connection as a safe and fast producer's: no loss, no reordering, the Java clients' partitioner."""
    return {
        **connection,
        "partitioner": "murmur2_random",
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 5,
        "compression.type": "lz4",
        "message.max.bytes": _LARGEST_MESSAGE_BYTES,
        "delivery.timeout.ms": 30_000,
        # The default gives a topic that does not exist 30 s to appear.
        "topic.metadata.propagation.max.ms": 5_000,
    }


def consumer(connection: Mapping[str, Any], group: str) -> Properties:
    """Return the connection as a group's consumer: from the beginning, read committed, offsets committed by hand."""
    return {
        **connection,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
    }


def open_producer(properties: Properties) -> "Producer":
    """Open a producer; with IAM the first token is made here, so that missing credentials raise their own error."""
    from confluent_kafka import Producer

    _sign(properties)
    return Producer(properties)


def open_consumer(properties: Properties) -> "Consumer":
    """Open a consumer, like `open_producer`."""
    from confluent_kafka import Consumer

    _sign(properties)
    return Consumer(properties)


def open_admin(properties: Properties) -> Any:  # noqa: ANN401 - half of AdminClient has no types
    """Open an admin client, like `open_producer`."""
    from confluent_kafka.admin import AdminClient

    _sign(properties)
    return AdminClient(properties)


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition that a record with this key lies in: that of the Java clients' default partitioner.

    murmur2 with their seed, as in org.apache.kafka.common.utils.Utils; librdkafka calls it ``murmur2_random``.
    """
    word = 0xFFFFFFFF
    hashed = (0x9747B28C ^ len(key)) & word
    for at in range(0, len(key) - len(key) % 4, 4):
        mixed = int.from_bytes(key[at : at + 4], "little") * _MURMUR & word
        mixed = (mixed ^ mixed >> 24) * _MURMUR & word
        hashed = hashed * _MURMUR & word ^ mixed
    if rest := key[len(key) - len(key) % 4 :]:
        hashed = (hashed ^ int.from_bytes(rest, "little")) * _MURMUR & word
    hashed = (hashed ^ hashed >> 13) * _MURMUR & word
    return ((hashed ^ hashed >> 15) & 0x7FFFFFFF) % partitions


def headers(message: "Message") -> tuple[tuple[str, bytes | None], ...]:
    """Return a consumed record's headers in their order, repeated names too.

    Clients in C or Go can write a header name that is not UTF-8, which confluent_kafka cannot read, nor the headers
    beside it; such a record has the one header `UNREADABLE_HEADERS`, without a value.
    """
    try:
        found: Any = _headers(message) or ()
    except (SystemError, UnicodeDecodeError):
        return ((UNREADABLE_HEADERS, None),)
    pairs = found.items() if isinstance(found, dict) else found
    return tuple((name, value.encode() if isinstance(value, str) else value) for name, value in pairs)


class Kept(Generic[Opened]):
    """One client for many calls, opened at the first.

    It is renewed after the brokers did not let it do its work and, with IAM, before its token can be too old.
    """

    def __init__(
        self,
        properties: Properties,
        opener: Callable[[Properties], Opened],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Store what is needed to open the client; no I/O."""
        self.properties, self._opener, self._clock = properties, opener, clock
        self.refusals: Refusals = properties.get("error_cb") or Refusals()
        self._life_s = _IAM_CLIENT_LIFE_S if "oauth_cb" in properties else float("inf")
        self._lock = threading.Lock()
        self._client: Opened | None = None
        self._opened = 0.0

    def get(self) -> Opened:
        """Return the client, a new one if the last is too old or was not let in."""
        with self._lock:
            now = self._clock()
            if self._client is None or self.refusals.failed() or now - self._opened > self._life_s:
                self._client, self._opened = self._opener(self.properties), now
                self.refusals.forget()
            return self._client


class KeptProducer(Kept["Producer"]):
    """A producer that is kept."""

    def __init__(
        self,
        properties: Properties,
        *,
        opener: "Callable[[Properties], Producer]" = open_producer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Store what is needed to open the producer; no I/O."""
        super().__init__(properties, opener, clock)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be written; headers in their order, a name as often as it is there."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """A record that was not confirmed, and why; without its headers, which a delivery report does not have.

    `unanswered`: the brokers did not say no, they said nothing in time. The record may still be written, from a request
    that waits in a broker's socket.
    """

    record: Outgoing
    reason: str
    unanswered: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """How many records the brokers confirmed, and those they did not."""

    delivered: int
    failed: tuple[Failed, ...]


def deliver(
    producer: "Producer",
    records: Iterable[Outgoing],
    *,
    timeout_s: "float | Callable[[], float]" = 30.0,
    on_delivered: "Callable[[Message], None] | None" = None,
    refusals: Refusals | None = None,
) -> Delivery:
    """Write the records and wait for every delivery report.

    The iterable may take its time. `timeout_s` bounds the wait after the last record, a function is asked then; what
    is unconfirmed at its end counts as failed. `on_delivered` is called with each confirmed message (partition, offset,
    broker timestamp). `refusals` is what the producer hears: a login that stays refused is not waited for to
    the end, and is then the reason for which the records failed.
    """
    from confluent_kafka import KafkaException

    reports = _Reports(on_delivered, refusals or Refusals())
    produce = producer.produce
    for number, record in enumerate(records, 1):
        while True:
            try:
                produce(
                    record.topic,
                    record.value,
                    record.key,
                    on_delivery=reports,
                    headers=list(record.headers) if record.headers else None,
                )
            except BufferError:
                reports.serve(producer.poll, _BUFFER_FULL_WAIT_S)
                continue
            except KafkaException as error:
                reports.refuse(record, error.args[0], producer)
            break
        if number % _POLL_EVERY == 0:
            reports.serve(producer.poll, 0)
    reports.waited_s = timeout_s() if callable(timeout_s) else timeout_s
    if reports.flush(producer, reports.waited_s):
        producer.purge()
        reports.serve(producer.flush, _PURGE_WAIT_S)
    return Delivery(reports.delivered, tuple(reports.failed))


class _Reports:
    """The delivery reports of one `deliver`."""

    def __init__(self, on_delivered: "Callable[[Message], None] | None", refusals: Refusals) -> None:
        from confluent_kafka import KafkaError

        self.delivered, self.waited_s = 0, 0.0
        self.failed: list[Failed] = []
        self.refusals, self._on_delivered = refusals, on_delivered
        # librdkafka's own errors are named like private ones.
        self._given_up = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}  # noqa: SLF001
        self._unanswered = {*self._given_up, KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT, KafkaError._TRANSPORT}  # noqa: SLF001

    def __call__(self, error: "KafkaError | None", message: "Message") -> None:
        """Count one."""
        if error is not None:
            record = Outgoing(message.topic() or "", message.key(), message.value())
            reason = f"no answer within {self.waited_s:.0f} s" if error.code() in self._given_up else error.str()
            silent = error.code() in self._unanswered
            self._notice(error)
            if silent and (why := self.refusals.fatal or self.refusals.reason()):
                # Without a login nothing was sent; what an earlier one sent may have arrived.
                reason, silent = why, self.delivered > 0
            self.failed.append(Failed(record, reason, silent))
            return
        self.delivered += 1
        self.refusals.answered()
        if self._on_delivered:
            self._on_delivered(message)

    def refuse(self, record: Outgoing, error: "KafkaError", producer: "Producer") -> None:
        """Count a record that librdkafka does not take."""
        if error.code() == error._FATAL:  # noqa: SLF001 - named so
            self.serve(producer.poll, 0)  # gives the reason
        self._notice(error)
        self.failed.append(Failed(record, self.refusals.fatal or error.str()))

    def _notice(self, error: "KafkaError") -> None:
        if error.code() in {error.TOPIC_AUTHORIZATION_FAILED, error.CLUSTER_AUTHORIZATION_FAILED}:
            self.refusals.denied = True

    def serve(self, call: Callable[[float], int], seconds: float) -> int:
        """Call poll or flush; an error that ends the producer for good comes out of these, and only once."""
        from confluent_kafka import KafkaException

        try:
            return call(seconds)
        except KafkaException as error:
            if not error.args[0].fatal():
                raise
            self.refusals.fatal = error.args[0].str()
            return call(0)

    def flush(self, producer: "Producer", seconds: float) -> int:
        """Wait for the reports; return how many are still missing."""
        end = time.monotonic() + seconds
        while left := self.serve(producer.flush, max(0.0, min(_FLUSH_S, end - time.monotonic()))):
            if time.monotonic() >= end or self.refusals.hopeless():
                break
        return left


def _sign(properties: Properties) -> None:
    if token := properties.get("oauth_cb"):
        token("")


def _iam(region: str) -> Properties:
    """Return SASL/OAUTHBEARER with MSK IAM tokens; the backoff is longer because AWS limits new connections."""

    def token(_config: str) -> tuple[str, float]:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider

        try:
            text, expires_ms = MSKAuthTokenProvider.generate_auth_token(region)
        except Exception:
            # librdkafka swallows what a callback raises and reports a time-out instead.
            logging.getLogger(__name__).exception("no IAM token for Kafka")
            raise
        # librdkafka wants seconds; milliseconds are taken for a date far away and the token is never refreshed.
        return text, expires_ms / 1000

    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "OAUTHBEARER",
        "oauth_cb": token,
        "reconnect.backoff.ms": 1000,
        "reconnect.backoff.max.ms": 10_000,
    }
