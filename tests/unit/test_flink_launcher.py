"""The Flink launcher: which snapshot it starts from, and what it becomes."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fraudctl.clock import Clock
from fraudctl.local.flink import launcher, snapshots
from fraudctl.local.flink.snapshots import Spec

SECOND = 1_000_000_000


@dataclass
class Application:
    """The folders of one application, and a clock in whole seconds."""

    spec: Spec
    now: int = 1000

    def start(self) -> str | None:
        """Start once; gives the name of the snapshot it starts from."""
        self.now += 1
        chosen = snapshots.choose(self.spec, self.now * SECOND)
        return chosen.name if chosen else None

    def checkpoint(self, name: str, *, complete: bool = True) -> Path:
        """Take a checkpoint as a job does, in a folder named by the job."""
        return self._snapshot(Path(self.spec.checkpoints) / "0f3a" / name, complete=complete)

    def savepoint(self, name: str) -> Path:
        """Take a savepoint."""
        return self._snapshot(Path(self.spec.savepoints) / name)

    def _snapshot(self, folder: Path, *, complete: bool = True) -> Path:
        self.now += 1
        folder.mkdir(parents=True)
        (folder / "e1b2").write_bytes(b"state")
        if complete:
            (folder / "_metadata").write_bytes(b"metadata")
            os.utime(folder / "_metadata", ns=(self.now * SECOND, self.now * SECOND))
        return folder


@pytest.fixture
def application(tmp_path: Path) -> Application:
    """Give an application in a folder with a blank and a %."""
    root = tmp_path / "a stack 100%"
    root.mkdir()
    return Application(
        Spec(
            java="/j/bin/java",
            flags=["-Xmx512m"],
            classpath="/c/a b.jar:/c/c.jar",
            main_class="io.fraudctl.flink.Main",
            arguments=["bootstrap.servers=127.0.0.1:9092"],
            checkpoints=str(root / "checkpoints"),
            savepoints=str(root / "savepoints"),
            attempts=str(root / "attempts.json"),
            fresh=str(root / "fresh"),
            tmp=str(root / "tmp"),
            servers="127.0.0.1:1",
        )
    )


def test_nothing_is_tried_while_kafka_is_down() -> None:
    """The launcher waits for the broker's port, so that an outage is not counted against a snapshot."""
    waits = []
    with socket.socket() as broker:
        broker.bind(("127.0.0.1", 0))

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                broker.listen()

        launcher.wait_for_kafka(f"127.0.0.1:{broker.getsockname()[1]}", Clock(sleep=sleep))
    assert len(waits) == 3


def test_the_first_start_has_no_state(application: Application) -> None:
    """Without snapshots, or even their folders, the application reads from the beginning."""
    assert application.start() is None


def test_the_newest_snapshot_is_taken_whatever_its_kind(application: Application) -> None:
    """Age decides, not the number in the name: a new job counts from 1 again."""
    application.checkpoint("chk-41")
    application.savepoint("savepoint-1")
    assert application.start() == "savepoint-1"
    application.checkpoint("chk-2")
    assert application.start() == "chk-2"


def test_an_unfinished_checkpoint_is_passed_over(application: Application) -> None:
    """A kill in the middle of a checkpoint leaves a folder without _metadata."""
    application.checkpoint("chk-1")
    application.checkpoint("chk-2", complete=False)
    assert application.start() == "chk-1"


def test_a_snapshot_that_failed_twice_is_given_up_for_the_next_older(application: Application) -> None:
    """Two starts without a new checkpoint: the third uses an older one, and when all failed, none."""
    application.checkpoint("chk-1")
    application.checkpoint("chk-2")
    assert [application.start() for _ in range(5)] == ["chk-2", "chk-2", "chk-1", "chk-1", None]


def test_a_start_that_made_a_checkpoint_proves_its_snapshot(application: Application) -> None:
    """What worked counts as untried again: only failures in a row are counted."""
    application.checkpoint("chk-1")
    application.start()
    application.checkpoint("chk-2")
    assert [application.start(), application.start()] == ["chk-2", "chk-2"]
    application.checkpoint("chk-3")
    assert application.start() == "chk-3"
    assert application.start() == "chk-3"


def test_after_an_older_snapshot_worked_its_checkpoints_are_used(application: Application) -> None:
    """The broken newest one is behind once a newer one exists."""
    application.checkpoint("chk-1")
    application.checkpoint("chk-2")
    assert [application.start() for _ in range(3)] == ["chk-2", "chk-2", "chk-1"]
    application.checkpoint("chk-3")
    assert application.start() == "chk-3"


def test_a_fresh_start_forgets_older_snapshots_for_good(application: Application) -> None:
    """The marker works once, but a crash before the first new checkpoint does not bring the old state back."""
    application.checkpoint("chk-7")
    Path(application.spec.fresh).touch()
    assert application.start() is None
    assert not Path(application.spec.fresh).exists()
    assert application.start() is None
    application.checkpoint("chk-1")
    assert application.start() == "chk-1"


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"since": 1}', b"\xff"])
def test_a_damaged_attempts_file_counts_as_empty(application: Application, damage: bytes) -> None:
    """A power cut may leave anything there; it must not keep the application down."""
    application.checkpoint("chk-1")
    Path(application.spec.attempts).write_bytes(damage)
    assert application.start() == "chk-1"


def test_the_snapshot_is_passed_as_flink_reads_paths(application: Application) -> None:
    """Blanks and % stay as they are in the file URL: Flink decodes nothing."""
    snapshot = application.checkpoint("chk-1")
    assert launcher.command(application.spec, snapshot) == [
        "/j/bin/java",
        "-Xmx512m",
        f"-Djava.io.tmpdir={application.spec.tmp}",
        "-cp",
        "/c/a b.jar:/c/c.jar",
        "io.fraudctl.flink.Main",
        "bootstrap.servers=127.0.0.1:9092",
        f"flink.execution.state-recovery.path=file://{snapshot}",
    ]


def test_a_spec_survives_its_file(application: Application) -> None:
    """What is written is what is read."""
    assert Spec.from_json(application.spec.to_json()) == application.spec


def test_the_launcher_becomes_the_program(application: Application, tmp_path: Path) -> None:
    """Run as supervisord runs it: the same process id, an emptied folder for temporary files, the newest snapshot."""
    snapshot = application.checkpoint("chk-1")
    program = tmp_path / "java"
    seen = tmp_path / "seen.json"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"what = [os.getpid(), os.listdir({application.spec.tmp!r}), sys.argv[1:]]\n"
        f"open({str(seen)!r}, 'w').write(json.dumps(what))\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    kafka = socket.create_server(("127.0.0.1", 0))
    spec = replace(application.spec, java=str(program), servers=f"127.0.0.1:{kafka.getsockname()[1]}")
    leftover = Path(spec.tmp, "flink-rpc-akka_1", "x.jar")
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"jar")
    spec_file = tmp_path / "a spec.json"
    spec_file.write_text(spec.to_json(), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "fraudctl.local.flink.launcher", str(spec_file)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        output, _ = process.communicate(timeout=30)
    kafka.close()
    assert (process.returncode, output) == (0, f"flink_launcher: starting from {snapshot}\n")
    assert json.loads(seen.read_text(encoding="utf-8")) == [process.pid, [], launcher.command(spec, snapshot)[1:]]


def test_the_launcher_loads_the_standard_library_only() -> None:
    """It runs at every start of the application: nothing of the command line tool comes along."""
    code = (
        "import sys; before = set(sys.modules); import fraudctl.local.flink.launcher\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(new - set(sys.stdlib_module_names)))"
    )
    result = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert result.stdout.split() == ["fraudctl"]
