"""The functions as they are deployed: run out of their zips, alone with boto3, in another time zone than UTC."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import confluent_kafka

RUNTIME: Final = Path(__file__).parent / "lambda_runtime.py"
# Lambda's runtimes have boto3 with what it needs.
BOTO3: Final = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3")
TIME_ZONE: Final = "Asia/Kathmandu"


class FunctionError(AssertionError):
    """What a handler raised."""


def beside(folder: Path) -> Path:
    """Make a folder that has boto3 and what that needs, and nothing else."""
    folder.mkdir()
    for name in BOTO3:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        found = origin.parent if origin.name == "__init__.py" else origin
        (folder / found.name).symlink_to(found)
    return folder


def unpacked(archive: Path, folder: Path) -> Path:
    """Unpack a zip, with Kafka's client for this machine in place of Lambda's, of the same version."""
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    described = list(folder.glob("confluent_kafka-*.dist-info"))
    if described:
        assert described[0].name == f"confluent_kafka-{version('confluent-kafka')}.dist-info"
        for name in ("confluent_kafka", "confluent_kafka.libs"):
            shutil.rmtree(folder / name)
            (folder / name).symlink_to(Path(confluent_kafka.__file__).parents[1] / name)
    return folder


@dataclass(frozen=True)
class ZipFunction:
    """A function in a process of its own."""

    process: "subprocess.Popen[str]"
    timeout_s: float
    log: Path

    def __call__(self, event: Mapping[str, Any]) -> Any:
        """Invoke it; raises `FunctionError` when the handler raises."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"event": event, "timeout_s": self.timeout_s}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.log.read_text(errors="replace")[-3000:]
        answer = json.loads(line)
        if "error" in answer:
            raise FunctionError(f"{answer['error']['errorType']}: {answer['error']['errorMessage']}")
        return answer["answer"]


@contextmanager
def started(
    folder: Path, environment: Mapping[str, str], spec: Mapping[str, Any], *, timeout_s: float = 60
) -> Iterator[ZipFunction]:
    """Run a function until the block ends; see `lambda_runtime` for the specification."""
    folder.mkdir(parents=True, exist_ok=True)
    file, log = folder / "spec.json", folder / "function.log"
    file.write_text(json.dumps(spec), encoding="utf-8")
    variables = {
        **environment,
        "PATH": os.environ["PATH"],
        "TZ": TIME_ZONE,
        "AWS_DEFAULT_REGION": environment["AWS_REGION"],
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            [sys.executable, "-I", "-S", str(RUNTIME), str(file)],
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=folder,
        ) as process,
    ):
        try:
            yield ZipFunction(process, timeout_s, log)
        finally:
            process.kill()
