"""The wheels that go into the Lambda zips: those of the function's platform, by pip, each verified by its sha256."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from fraudctl import config
from fraudctl.artifacts.downloads import sha256_of
from fraudctl.artifacts.pins import locked_lines
from fraudctl.errors import BadConfig, OperationFailed, Unreachable

PLATFORM: Final = "manylinux_2_28_aarch64"
PYTHON: Final = "3.13"
_PIP_SECONDS: Final = 600
_LINE: Final = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})", re.ASCII
)

Run = Callable[[list[str]], "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True, slots=True)
class Pin:
    """One wheel: its project's name, its version, and the sha256 of the one file that is meant."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class WheelLock:
    """The pins of ``lambdas/requirements.lock``, and the file itself, which pip reads too."""

    path: Path
    pins: tuple[Pin, ...]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a lock file; raises `BadConfig` naming the line that is not ``name==version --hash=sha256:…``."""
        matches = locked_lines(path, _LINE, "name==version --hash=sha256:…")
        pins = (Pin(match["name"], match["version"], match["sha256"]) for match in matches)
        return cls(path, tuple(pins))


class Wheels:
    """The wheels of one lock, below ``wheels`` in the cache. The index is the one that pip is set up for."""

    def __init__(self, cache: Path, lock: WheelLock, *, run: Run | None = None) -> None:
        """Store the collaborators; `run` replaces the call of pip in tests. No I/O."""
        self._lock, self._run = lock, run or _run
        digest = sha256("".join(pin.sha256 for pin in lock.pins).encode()).hexdigest()[:12]
        self._folder = cache / "wheels" / digest

    def missing(self) -> list[Pin]:
        """Return what `ensure` would download; touches no network."""
        return [pin for pin in self._lock.pins if pin not in self._present()]

    def ensure(self) -> list[Path]:
        """Return the wheels in the lock's order, after downloading what is missing or damaged.

        Raises `Unreachable` when pip cannot fetch them, `BadConfig` when there is no pip, and `OperationFailed` when
        what came is not what is pinned.
        """
        if self.missing():
            self._download()
        present = self._present()
        wrong = [pin.name for pin in self._lock.pins if pin not in present]
        if wrong:
            raise OperationFailed(
                f"wheels of the functions: {', '.join(wrong)}: not the file that is pinned",
                hint=f"remove {self._folder} and run the command again",
            )
        return [present[pin] for pin in self._lock.pins]

    def _present(self) -> dict[Pin, Path]:
        hashes = {sha256_of(file): file for file in sorted(self._folder.glob("*.whl"))}
        return {pin: hashes[pin.sha256] for pin in self._lock.pins if pin.sha256 in hashes}

    def _download(self) -> None:
        command = [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"),
            *("--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", str(self._lock.path)),
            *("--platform", PLATFORM, "--python-version", PYTHON, "--implementation", "cp"),
            *("--dest", str(self._folder)),
        ]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            result = self._run(command)
        except subprocess.TimeoutExpired as error:
            raise Unreachable(
                f"wheels of the functions: pip takes over {_PIP_SECONDS} s", hint="run the command again"
            ) from error
        except OSError as error:
            raise BadConfig(
                f"wheels of the functions: {self._folder}: {error.strerror or error}",
                hint="set FRAUDCTL_CACHE to a folder that you can write and that has space",
            ) from error
        if result.returncode != 0:
            raise _failure(result.stderr.strip() or result.stdout.strip())


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    environment = config.child_environment()
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=_PIP_SECONDS, check=False, env=environment
    )


def _failure(said: str) -> BadConfig | OperationFailed | Unreachable:
    last = said.splitlines()[-1] if said else "it says nothing"
    if "No module named pip" in said:
        return BadConfig(
            f"wheels of the functions: {sys.executable} has no pip, which downloads them",
            hint=f"{sys.executable} -m ensurepip",
        )
    if "DO NOT MATCH THE HASHES" in said:
        return OperationFailed(
            f"wheels of the functions: a file is not the one that is pinned: {last}",
            hint="ask who runs your package index why it serves another file",
        )
    return Unreachable(f"wheels of the functions: pip cannot fetch them: {last}", hint="pip download confluent-kafka")
