"""An emulated AWS on this machine: ministack with its shim, in an environment of its own."""

import hashlib
import json
import os
import subprocess
import sys
import time
import urllib.request
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
from aws_calls import Recorder
from executable import Fraudctl

from fraudctl.local.processes import ports

REGION: Final = "eu-west-1"
_FOLDER: Final = Path(__file__).parent / "emulator"
_READY_SECONDS: Final = 60.0


def environment() -> Path:
    """Return the emulator's Python, in a virtual environment made from its lock; every hash is checked by pip."""
    lock = _FOLDER / "requirements.lock"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = Path(sys.prefix) / f"emulator-{digest}"
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        venv.create(folder, with_pip=True, clear=True)
        command = ["-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--require-hashes", "-r"]
        subprocess.run([str(python), *command, str(lock)], check=True)
        complete.touch()
    return python


@dataclass(frozen=True)
class Emulator:
    """A running one. `faults` is the file by which steps are made to fail."""

    url: str
    faults: Path
    log: Path

    def client(self, service: str) -> Any:
        """Return a boto3 client of it."""
        boto: Any = boto3.Session("test", "test", region_name=REGION)
        return boto.client(service, endpoint_url=self.url)

    def fail(self, verb: str, name: str, reason: str, *, after: int = 0) -> None:
        """Let one step fail after so many that do not: create, update, delete a resource, or an operation of flink."""
        faults = json.loads(self.faults.read_text(encoding="utf-8"))
        faults.setdefault(verb, {})[name] = {"reason": reason, "after": after, "times": 1}
        self._write(faults)

    def heal(self) -> None:
        """Let nothing fail, and hold nothing back."""
        self._write({})

    def hold(self) -> None:
        """Let clusters not become ready until `heal`."""
        self._write({"held": True})

    def order(self, **orders: Any) -> None:
        """Let the shim do something beside what it does: `interfaces`, or `calls`, which count from now."""
        faults = json.loads(self.faults.read_text(encoding="utf-8"))
        self._write({**faults, **orders})

    def _write(self, orders: dict[str, Any]) -> None:
        aside = self.faults.with_suffix(".new")
        aside.write_text(json.dumps(orders), encoding="utf-8")
        aside.replace(self.faults)  # the emulator never reads half of it


@dataclass(frozen=True)
class AwsFraudctl(Fraudctl):
    """The installed executable, turned to the emulator."""

    url: str
    stack: str
    recorder: Recorder | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The user's environment with the emulator as AWS."""
        return {
            **super().environment,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_DEFAULT_REGION": REGION,
            "FRAUDCTL_TARGET": "aws",
            "FRAUDCTL_STACK": self.stack,
            **(self.recorder.environment if self.recorder else {}),
        }


@contextmanager
def running(folder: Path, environment_: Mapping[str, str] | None = None) -> Iterator[Emulator]:
    """Run an emulator, with more variables for it; it listens on 127.0.0.1 only and is ended by its pid."""
    python = environment()  # may take a minute, in which somebody else could take the port
    chosen, _ = ports.choose(["emulator"], {}, lambda _: False)
    port = chosen["emulator"]
    emulator = Emulator(f"http://127.0.0.1:{port}", folder / "faults.json", folder / "emulator.log")
    emulator.heal()
    variables = {
        **os.environ,
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "LAMBDA_EXECUTOR": "local",
        "SHIM_FAULTS": str(emulator.faults),
        **(environment_ or {}),
    }
    with emulator.log.open("wb") as log:
        process = subprocess.Popen(
            [str(python), str(_FOLDER / "shim.py")], env=variables, stdout=log, stderr=log, cwd=folder
        )
    try:
        _wait(emulator, process)
        yield emulator
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(emulator: Emulator, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{emulator.url}/_ministack/health", timeout=5):  # noqa: S310 - on 127.0.0.1
                return
        except OSError:
            tail = emulator.log.read_text(errors="replace")[-2000:]
            assert process.poll() is None, tail
            assert time.monotonic() < deadline, tail
            time.sleep(0.1)
