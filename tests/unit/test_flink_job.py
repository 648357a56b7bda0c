"""What the application sets, for Managed Flink to allow, and the names under which its state is kept."""

import re
import subprocess

from javatools import classes

from fraudctl.artifacts.resources import resource
from fraudctl.pipeline import records

# https://docs.aws.amazon.com/managed-flink/latest/java/programmatic-configuration.html: from Flink 2.2 on the service
# refuses an application whose code sets another key. Those of the pipeline section; we have no use for the others.
ALLOWED = {
    "execution.runtime-mode",
    "pipeline.auto-generate-uids",
    "pipeline.auto-watermark-interval",
    "pipeline.cached-files",
    "pipeline.classpaths",
    "pipeline.closure-cleaner-level",
    "pipeline.force-avro",
    "pipeline.force-kryo",
    "pipeline.generic-types",
    "pipeline.global-job-parameters",
    "pipeline.jars",
    "pipeline.jobvertex-parallelism-overrides",
    "pipeline.max-parallelism",
    "pipeline.name",
    "pipeline.object-reuse",
    "pipeline.operator-chaining.chain-operators-with-different-max-parallelism",
    "pipeline.operator-chaining.enabled",
    "pipeline.serialization-config",
    "pipeline.vertex-description-mode",
    "pipeline.vertex-name-include-index-prefix",
    "pipeline.watermark-alignment.allow-unaligned-source-splits",
}
UIDS = {"transactions", "flagged", "parse-transactions", "parse-flagged", "detection", "processed", "dead-letters"}


def wired() -> list[list[str]]:
    """Wire the job without running it; give what it says, word by word."""
    properties = {"bootstrap.servers": "127.0.0.1:1", **records.flink_properties()}
    properties |= {f"topic.{alias}": alias for alias in ("transactions", "flagged", "processed", "dead_letters")}
    properties |= {"group.id": "tests", "hold.ms": "60000", "slack.ms": "5000"}
    line = classes().command("io.fraudctl.flink.JobMain", *(f"{name}={value}" for name, value in properties.items()))
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    return [text.split(" ") for text in done.stdout.splitlines()]


def test_keys_and_uids() -> None:
    """No key outside Managed Flink's list is set; every operator that may keep state has its fixed uid."""
    said = wired()
    keys = {words[1] for words in said if words[0] == "key"}
    assert "pipeline.object-reuse" in keys
    assert keys <= ALLOWED
    uids = {words[1] for words in said if words[0] == "uid"}
    # Committers of the sinks keep nothing: delivery is at least once.
    assert {uid for uid in uids if uid != "null" and not re.search(r"[Cc]ommitter", uid)} == UIDS


def test_what_a_checkpoint_covers_is_written() -> None:
    """Both sinks flush before a checkpoint completes; by default Flink's does not, and an outage would lose records."""
    assert [words[1] for words in wired() if words[0] == "guarantee"] == ["at-least-once"] * 2


def test_no_record_field_but_the_structural_ones_is_named_in_java() -> None:
    """A new field needs no Java: the sources know only the fields that the rule itself is about."""
    text = "\n".join(path.read_text() for path in (resource("flink") / "src").rglob("*.java"))
    fields = {field.name for field in (*records.Transaction.FIELDS, *records.AccountFlag.FIELDS)}
    structural = {"account_id", "transaction_id", "transaction_date", "flag_date", "status"}
    assert not {name for name in fields - structural if re.search(rf'"{name}\b', text)}


def test_watermarks_before_any_partition_is_assigned() -> None:
    """Asked for on a slow machine: there is none, and the job goes on when partitions come."""
    line = classes().command("io.fraudctl.flink.ClockMain")
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "0 watermarks\n"), done.stderr


def test_serializer() -> None:
    """Events come back from their bytes as they were: with nulls, the largest numbers, long values, any text."""
    done = subprocess.run(
        classes().command("io.fraudctl.flink.EventMain"), capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "4 of 4, 0 bytes left\n"
