"""A real Kafka broker that clients log in to as to MSK: TLS, IAM tokens, and the policies of the template's roles.

Its two plugins are in tests/java: `IamTokens` checks each token, `IamAuthorizer` each operation.
"""

import ipaddress
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined] # its stub forgets it
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from flink_runs import answers, wait_until
from javatools import classes
from templates import Template, listed, text

from fraudctl import config
from fraudctl.artifacts.downloads import Downloads
from fraudctl.artifacts.pins import Lock
from fraudctl.artifacts.resources import PACKAGE
from fraudctl.local.kafka import broker
from fraudctl.local.processes import ports
from fraudctl.pipeline import topics

NAMES: Final = {
    "AWS::StackName": "fraud-detection",
    "AWS::AccountId": "123456789012",
    "AWS::Region": "eu-west-1",
    "AWS::Partition": "aws",
    "ArtifactBucket": "fraud-detection-artifacts",
}
_UUID: Final = "11111111-2222-3333-4444-555555555555-6"


@dataclass(frozen=True)
class Credentials:
    """What a service gives to the code that runs under a role."""

    access_key: str
    secret: str
    token: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables from which AWS's libraries take them."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_SESSION_TOKEN": self.token,
        }


@dataclass(frozen=True)
class Decision:
    """One line of the plugins' log: what (CONNECTED, REFUSED, ALLOWED, DENIED or LEFT OUT), and its fields."""

    what: str
    fields: tuple[str, ...]


@dataclass
class Roles:
    """The roles of a rendered template, each with a key, in the file that the plugins read."""

    file: Path
    log: Path
    region: str
    cluster_arn: str
    policies: dict[str, list[tuple[str, str, str]]]
    keys: dict[str, Credentials] = field(default_factory=dict)

    @classmethod
    def of(cls, template: Template, folder: Path, names: Mapping[str, str] = NAMES) -> "Roles":
        """Take what the roles of the template may do with Kafka."""
        policies = {role: kafka_rules(template, role, dict(names)) for role in template.of("AWS::IAM::Role")}
        region, account, stack = (names[f"AWS::{name}"] for name in ("Region", "AccountId", "StackName"))
        arn = f"arn:aws:kafka:{region}:{account}:cluster/{stack}/{_UUID}"
        roles = cls(folder / "iam-roles.tsv", folder / "iam.log", region, arn, {})
        for role, rules in policies.items():
            roles.add(role, rules)
        roles.log.touch()
        roles.write()
        return roles

    def add(self, role: str, rules: list[tuple[str, str, str]]) -> None:
        """Add a role that may do this, and give it a key; `write` tells the broker."""
        number = len(self.keys)
        self.policies[role] = rules
        self.keys[role] = Credentials(f"ASIA{number:016d}", f"secret of {role}/+=", f"token of {role}/+==")

    def write(self) -> None:
        """Let the broker know."""
        lines: list[tuple[str, ...]] = [("cluster", self.region, self.cluster_arn)]
        lines += [("key", key.access_key, key.secret, key.token, role) for role, key in self.keys.items()]
        lines += [(effect, role, *rule) for role, rules in self.policies.items() for effect, *rule in rules]
        aside = self.file.with_suffix(".new")
        aside.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")
        aside.replace(self.file)

    def decisions(self, role: str | None = None) -> list[Decision]:
        """Give what was decided so far, of one role or of all; refused tokens belong to none."""
        lines = [line.split("\t")[1:] for line in self.log.read_text(encoding="utf-8").splitlines()]
        return [Decision(what, tuple(rest)) for what, *rest in lines if role is None or rest[0] == role]

    def allowed(self, role: str) -> set[tuple[str, str]]:
        """Give (action, resource's kind and name) for what a role did."""
        return {self._short(found) for found in self.decisions(role) if found.what == "ALLOWED"}

    def denied(self, role: str) -> set[tuple[str, str]]:
        """Give the same for what a role tried and may not."""
        return {self._short(found) for found in self.decisions(role) if found.what == "DENIED"}

    def tokens(self, role: str) -> set[str]:
        """Give the dates of the tokens with which a role has logged in."""
        return {found.fields[1] for found in self.decisions(role) if found.what == "CONNECTED"}

    @staticmethod
    def _short(found: Decision) -> tuple[str, str]:
        _, action, arn = found.fields
        kind, _, name = arn.split(":", 5)[5].partition("/")
        rest = name.split("/", 2)[2:]
        return action.removeprefix("kafka-cluster:"), kind if not rest else f"{kind} {rest[0]}"


def kafka_rules(template: Template, role: str, names: dict[str, str]) -> list[tuple[str, str, str]]:
    """Give (effect, action, resource) of a role's statements on Kafka's data plane."""
    found = []
    for statement in template.statements(role):
        actions = [action for action in listed(statement["Action"]) if action.startswith("kafka-cluster:")]
        assert not (actions and "Condition" in statement), "the broker knows no conditions"
        for action in actions:
            found += [(statement["Effect"], action, text(arn, names)) for arn in listed(statement["Resource"])]
    assert not any(re.search(r"\$\{", arn) for _, _, arn in found), found
    return found


@dataclass(frozen=True)
class IamBroker:
    """A running one."""

    address: str
    """Where clients log in, with TLS."""
    plain: str
    """Where a test may do anything."""
    certificate: Path
    roles: Roles
    log: Path

    def create(self, wanted: Mapping[str, tuple[int, dict[str, str]]]) -> None:
        """Create topics, by name their partitions and configuration, and wait until each partition has its leader."""
        if not wanted:
            return
        admin = AdminClient({"bootstrap.servers": self.plain})
        new = [NewTopic(name, partitions, 1, config=config_) for name, (partitions, config_) in wanted.items()]
        for made in admin.create_topics(new).values():
            made.result(30)
        places = [
            TopicPartition(name, number) for name, (partitions, _) in wanted.items() for number in range(partitions)
        ]
        wait_until(lambda: _led(self.plain, places), "every partition has its leader", logs=[self.log])


def certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1, signed by itself; give it, and the file with its key too."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public, both = folder / "certificate.pem", folder / "keystore.pem"
    public.write_bytes(made)
    both.write_bytes(secret + made)
    return public, both


@contextmanager
def running(folder: Path, roles: Roles, made: Sequence[topics.Topic] = topics.ALL) -> Iterator[IamBroker]:
    """Run the broker until the block ends, with these topics."""
    settings = config.load()
    downloads, lock = Downloads(settings.cache), Lock.load(PACKAGE / "local" / "kafka" / "kafka.lock")
    downloads.ensure([lock])
    chosen, _ = ports.choose(["kafka", "controller", "iam"], {}, lambda _: False)
    (folder / "tmp").mkdir(parents=True)
    public, both = certificate(folder)
    file = broker.write_config(folder / "config", folder / "data", chosen["kafka"], chosen["controller"])
    with file.open("a", encoding="ascii") as properties:
        properties.write("".join(f"{key}={value}\n" for key, value in _listener(chosen, both).items()))
    line = broker.command(classes().java, downloads.paths(lock), file, folder / "tmp", settings.cache)
    line[line.index("-cp") + 1] += f":{classes().tests}"
    line[1:1] = [f"-Diam.roles={roles.file}", f"-Diam.log={roles.log}"]
    found = IamBroker(f"127.0.0.1:{chosen['iam']}", f"127.0.0.1:{chosen['kafka']}", public, roles, folder / "kafka.log")
    with found.log.open("wb") as output, subprocess.Popen(line, stdout=output, stderr=output) as process:
        try:
            admin = AdminClient({"bootstrap.servers": found.plain, "log_level": 0, "error_cb": lambda _: None})  # type: ignore[dict-item]
            wait_until(lambda: answers(admin), "Kafka answers", logs=[found.log])
            found.create({topic.name: (topics.PARTITIONS, topic.config) for topic in made})
            yield found
        finally:
            process.terminate()


def _led(address: str, places: Sequence[TopicPartition]) -> bool:
    consumer = Consumer({"bootstrap.servers": address, "group.id": "tests"})
    try:
        for place in places:
            consumer.get_watermark_offsets(place, timeout=10)
    except KafkaException:
        return False
    finally:
        consumer.close()
    return True


def _listener(chosen: Mapping[str, int], keystore: Path) -> dict[str, str]:
    """Return the properties that are added to those of the local broker; the last of a name counts."""
    listeners = f"PLAINTEXT://127.0.0.1:{chosen['kafka']},IAM://127.0.0.1:{chosen['iam']}"
    login = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub"
    return {
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{chosen['controller']}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,IAM:SASL_SSL",
        "sasl.enabled.mechanisms": "OAUTHBEARER,AWS_MSK_IAM",
        "security.providers": "io.fraudctl.iam.IamMechanism",
        "listener.name.iam.aws_msk_iam.sasl.jaas.config": "io.fraudctl.iam.IamMechanism$Login required;",
        "listener.name.iam.aws_msk_iam.sasl.server.callback.handler.class": "io.fraudctl.iam.IamMechanism$Handler",
        "listener.name.iam.oauthbearer.sasl.jaas.config": f'{login}="broker";',
        "listener.name.iam.oauthbearer.sasl.server.callback.handler.class": "io.fraudctl.iam.IamTokens",
        "listener.name.iam.ssl.keystore.type": "PEM",
        "listener.name.iam.ssl.keystore.location": str(keystore),
        "authorizer.class.name": "io.fraudctl.iam.IamAuthorizer",
    }
