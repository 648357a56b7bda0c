"""Kafka clients as data, and delivery, against librdkafka's own mock broker."""

import logging
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message
from lambda_tools import mock_brokers, read

from fraudctl.pipeline import kafka
from fraudctl.pipeline.kafka import Outgoing


@pytest.fixture
def brokers() -> Iterator[str]:
    """Run a mock broker and give its address."""
    with mock_brokers() as address:
        yield address


@pytest.fixture
def signer(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put a signer of IAM tokens where the real one would be; gives the regions it signed for."""
    regions: list[str] = []

    def generate_auth_token(region: str) -> tuple[str, int]:
        if region == "nowhere":
            raise RuntimeError("no credentials")
        regions.append(region)
        return "token", 1_795_515_331_500

    provider = types.SimpleNamespace(generate_auth_token=generate_auth_token)
    module = types.ModuleType("aws_msk_iam_sasl_signer")
    module.MSKAuthTokenProvider = provider  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", module)
    return regions


def test_clients_are_plain_data() -> None:
    """The pipeline's properties are those that the design and the facts ask for."""
    connection = kafka.client("127.0.0.1:9092")
    before = dict(connection)
    assert connection["bootstrap.servers"] == "127.0.0.1:9092"
    assert "security.protocol" not in connection
    producer = kafka.producer(connection)
    assert (producer["partitioner"], producer["acks"], producer["enable.idempotence"]) == (
        "murmur2_random",
        "all",
        True,
    )
    consumer = kafka.consumer(connection, "audit")
    assert (consumer["group.id"], consumer["isolation.level"]) == ("audit", "read_committed")
    assert (consumer["auto.offset.reset"], consumer["enable.auto.commit"]) == ("earliest", False)
    assert connection == before, "producer and consumer must not change what they are given"


def test_one_account_lies_where_java_puts_it(brokers: str) -> None:
    """The partition of a key is murmur2's, as the Java clients choose it (values of Kafka's own Utils.murmur2)."""
    producer = kafka.open_producer(kafka.producer(kafka.client(brokers)))
    partitions: dict[bytes | None, int | None] = {}
    keys = [b"1000000001", b"1000000002", b"21", b"foobar"]
    kafka.deliver(
        producer,
        [Outgoing("accounts", key, b"{}") for key in keys],
        on_delivered=lambda message: partitions.__setitem__(message.key(), message.partition()),
    )
    producer.close()
    expected = {key: (_murmur2(key) & 0x7FFFFFFF) % 4 for key in keys}
    assert _murmur2(b"21") == -973932308 % 2**32, "the reference value from Kafka's own tests"
    assert partitions == expected


def test_iam_takes_a_region_and_seconds(signer: list[str]) -> None:
    """With IAM the token's expiry is in seconds, and the region is the cluster's."""
    connection = kafka.client("b-1:9098", security="iam", region="eu-west-1")
    assert (connection["security.protocol"], connection["sasl.mechanisms"]) == ("SASL_SSL", "OAUTHBEARER")
    assert connection["oauth_cb"]("") == ("token", 1_795_515_331.5)
    assert signer == ["eu-west-1"]


def test_iam_without_a_region_is_refused() -> None:
    """A connection that cannot work is refused when it is described."""
    with pytest.raises(ValueError, match="region"):
        kafka.client("b-1:9098", security="iam")
    with pytest.raises(ValueError, match="'tls'"):
        kafka.client("b-1:9098", security="tls")


def test_a_functions_connection_is_in_its_variables(signer: list[str]) -> None:
    """Each function has its own prefix; plain unless told otherwise; without brokers the variable is named."""
    both = {"FLAGGER_BOOTSTRAP_SERVERS": "a:1", "GENERATOR_BOOTSTRAP_SERVERS": "b:2", "GENERATOR_SECURITY": "iam"}
    plain = kafka.connection(both, "FLAGGER")
    assert (plain["bootstrap.servers"], "oauth_cb" in plain) == ("a:1", False)
    iam = kafka.connection(both | {"AWS_REGION": "eu-west-1"}, "GENERATOR")
    assert (iam["bootstrap.servers"], iam["sasl.mechanisms"]) == ("b:2", "OAUTHBEARER")
    iam["oauth_cb"]("")
    assert signer == ["eu-west-1"]
    with pytest.raises(ValueError, match="IAM needs the region"):
        kafka.connection(both, "GENERATOR")
    with pytest.raises(KeyError, match="TOPIC_READER_BOOTSTRAP_SERVERS"):
        kafka.connection(both, "TOPIC_READER")


@pytest.mark.usefixtures("signer")
def test_missing_credentials_are_named() -> None:
    """What the signer raises comes out of opening a client, instead of a time-out 10 s later."""
    connection = kafka.client("127.0.0.1:1", security="iam", region="nowhere")
    with pytest.raises(RuntimeError, match="no credentials"):
        kafka.open_producer(kafka.producer(connection))
    with pytest.raises(RuntimeError, match="no credentials"):
        kafka.open_consumer(kafka.consumer(connection, "group"))


def test_a_plain_producer_is_kept() -> None:
    """Without IAM one producer serves for ever."""
    opened: list[dict[str, Any]] = []
    now = [0.0]
    kept = kafka.KeptProducer({"a": 1}, opener=_opener(opened), clock=lambda: now[0])
    first = kept.get()
    now[0] = 1e9
    assert kept.get() is first
    assert opened == [{"a": 1}]


def test_an_iam_producer_is_renewed() -> None:
    """With IAM a producer older than 10 minutes is replaced, because a frozen Lambda refreshes no token."""
    opened: list[dict[str, Any]] = []
    now = [0.0]
    kept = kafka.KeptProducer({"oauth_cb": str}, opener=_opener(opened), clock=lambda: now[0])
    first = kept.get()
    now[0] = 599.0
    assert kept.get() is first
    now[0] = 601.0
    assert kept.get() is not first
    assert len(opened) == 2


@pytest.mark.parametrize("failure", [{"_heard": (0.0, "no")}, {"fatal": "no"}, {"denied": True}])
def test_a_producer_that_was_not_let_in_is_renewed(failure: dict[str, Any]) -> None:
    """The next call gets a new one, which may be let in by then, and knows nothing of the old one's failure."""
    opened: list[dict[str, Any]] = []
    properties = {"error_cb": kafka.Refusals(lambda: 0.0)}
    kept = kafka.KeptProducer(properties, opener=_opener(opened), clock=lambda: 0.0)
    first = kept.get()
    for name, value in failure.items():
        setattr(kept.refusals, name, value)
    second = kept.get()
    assert second is not first
    assert kept.get() is second
    assert not kept.refusals.failed()


# librdkafka's texts, as a broker with IAM made it say them.
BROKER = "sasl_ssl://b-1.x.kafka.eu-west-1.amazonaws.com:9098/bootstrap: "
SAID = [
    (
        KafkaError._AUTHENTICATION,
        f'{BROKER}SASL authentication error: {{"status":"Access denied: why"}} (after 5ms in state AUTH_REQ)',
        "the brokers refuse the login: Access denied: why",
    ),
    (
        KafkaError._TRANSPORT,
        f"{BROKER}SASL authentication error: SaslAuthenticateRequest failed (after 0ms in state DOWN)",
        "the brokers refuse the login: SaslAuthenticateRequest failed",
    ),
    (
        KafkaError._SSL,
        f"{BROKER}SSL handshake failed: certificate verify failed (after 4ms in state SSL_HANDSHAKE)",
        f"{BROKER}SSL handshake failed: certificate verify failed",
    ),
    (KafkaError._TRANSPORT, f"{BROKER}Connection refused (after 0ms in state CONNECT)", None),
    (KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down", None),
]


@pytest.mark.parametrize(("code", "text", "reason"), SAID)
def test_a_refused_login_is_told_from_other_errors(code: int, text: str, reason: str | None) -> None:
    """What the brokers say is kept without librdkafka's wrapping, until a record is confirmed."""
    refusals = kafka.Refusals()
    refusals(KafkaError(code, text))
    assert refusals.reason() == reason
    assert refusals.failed() == (reason is not None)
    refusals.answered()
    assert not refusals.failed()


def test_a_login_that_stays_refused_is_given_up() -> None:
    """Some seconds are left for a policy that was just changed; the first refusal counts."""
    now = [0.0]
    refusals = kafka.Refusals(lambda: now[0])
    for now[0] in (1.0, 4.0, 6.0):
        refusals(KafkaError(*SAID[0][:2]))
        assert not refusals.hopeless()
    now[0] = 6.1
    assert refusals.hopeless()


def test_every_record_is_confirmed(brokers: str) -> None:
    """All records arrive as they were given, null values and keys among them, and are counted."""
    records = [Outgoing("t", b"%d" % number, b"v%d" % number) for number in range(2500)]
    records += [Outgoing("t", None, b"no key"), Outgoing("t", b"no value", None)]
    producer = kafka.open_producer(kafka.producer(kafka.client(brokers)))
    delivery = kafka.deliver(producer, iter(records))
    producer.close()
    assert delivery == kafka.Delivery(2502, ())
    found = {(message.key(), message.value()) for message in read(brokers, "t", 2502)}
    assert found == {(record.key, record.value) for record in records}


def test_a_full_buffer_is_waited_for(brokers: str) -> None:
    """More records than the producer can hold are delivered all the same."""
    properties = kafka.producer(kafka.client(brokers)) | {"queue.buffering.max.messages": 10}
    producer = kafka.open_producer(properties)
    delivery = kafka.deliver(producer, (Outgoing("t", b"k", b"%d" % number) for number in range(200)))
    producer.close()
    assert delivery == kafka.Delivery(200, ())


def test_a_record_that_is_too_large_fails_alone(brokers: str) -> None:
    """A record that the client refuses is reported with its reason; the others go."""
    records = [Outgoing("t", b"a", b"1"), Outgoing("t", b"b", b"x" * 3_000_000), Outgoing("t", b"c", b"3")]
    producer = kafka.open_producer(kafka.producer(kafka.client(brokers)))
    delivery = kafka.deliver(producer, records)
    producer.close()
    assert delivery.delivered == 2
    assert [failed.record for failed in delivery.failed] == [records[1]]
    assert "size too large" in delivery.failed[0].reason.lower()


def test_unconfirmed_records_are_given_up_in_time(capfd: pytest.CaptureFixture[str]) -> None:
    """With no broker every record is reported as failed when the time is over, and librdkafka prints nothing."""
    producer = kafka.open_producer(kafka.producer(kafka.client("127.0.0.1:1")))
    records = [Outgoing("t", b"k", b"v", (("h", b"1"), ("h", None))), Outgoing("t", None, None)]
    delivery = kafka.deliver(producer, records, timeout_s=0.5)
    producer.close()
    assert delivery.delivered == 0
    assert {(failed.record.key, failed.record.value) for failed in delivery.failed} == {(b"k", b"v"), (None, None)}
    assert all(failed.reason for failed in delivery.failed)
    assert capfd.readouterr() == ("", "")


def test_delivery_reports_are_believed() -> None:
    """A report with an error counts as failed even though producing raised nothing."""
    producer: Any = _Refusing()
    delivery = kafka.deliver(producer, [Outgoing("t", b"a", b"1"), Outgoing("t", b"b", b"2")])
    assert delivery.delivered == 1
    assert [failed.record.key for failed in delivery.failed] == [b"a"]


def test_librdkafkas_lines_go_nowhere() -> None:
    """The logger that clients get passes nothing on to the handlers of the program."""
    logger = kafka.client("127.0.0.1:1")["logger"]
    assert not logger.propagate
    assert [type(handler) for handler in logger.handlers if type(handler) in _OWN] == [logging.NullHandler]


_OWN = (logging.NullHandler, logging.StreamHandler)  # not those that pytest adds


class _Refusing:
    """A producer whose broker refuses the first record."""

    def __init__(self) -> None:
        self._reports: list[Any] = []

    def produce(self, topic: str, value: bytes, key: bytes, *, on_delivery: Any, headers: Any) -> None:
        assert headers is None
        error = None if self._reports else KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
        self._reports.append(lambda: on_delivery(error, Message(topic, key=key, value=value)))

    def poll(self, _timeout: float) -> int:
        return 0

    def flush(self, _timeout: float) -> int:
        for report in self._reports:
            report()
        return 0


def _opener(opened: list[dict[str, Any]]) -> Any:
    def opener(properties: dict[str, Any]) -> object:
        opened.append(properties)
        return object()

    return opener


def _murmur2(data: bytes) -> int:
    """Compute murmur2 with the seed and the mixing that Kafka's Java clients use."""
    mask, mixer = 0xFFFFFFFF, 0x5BD1E995
    result = 0x9747B28C ^ len(data)
    whole = len(data) - len(data) % 4
    for at in range(0, whole, 4):
        part = int.from_bytes(data[at : at + 4], "little") * mixer & mask
        result = (result * mixer & mask) ^ ((part ^ part >> 24) * mixer & mask)
    if rest := data[whole:]:
        result = (result ^ int.from_bytes(rest, "little")) * mixer & mask
    result = (result ^ result >> 13) * mixer & mask
    return result ^ result >> 15
