"""What people type out of habit, by mistake, or in a shell with closed streams."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Run
from executable import EXECUTABLE
from fakes import FakeStack, FakeTarget
from typer.testing import CliRunner

from fraudctl.cli import GLOBAL_OPTIONS, app
from fraudctl.target import Change, Plan
from fraudctl.usage import ALIASES, rewrite, suggestion

COMMANDS = ("audit", "demo", "deploy", "flag-accounts", "flink", "logs", "status", "tail", "teardown", "topics")
CHANGING = {"demo", "deploy", "flag-accounts", "flink", "teardown", "topics", "transactions"}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("destroy --yes", "teardown --yes"),
        ("--stack two rm", "--stack two teardown"),
        ("-o json ps", "-o json status"),
        ("-ojson ps --watch", "-ojson status --watch"),
        ("up --plan", "deploy --plan"),
        ("unflag 1000000003", "flag-accounts --clear 1000000003"),
        ("help", "--help"),
        ("help audit query", "audit query --help"),
        ("tail help", "tail help"),
        ("audit show rm", "audit show rm"),
        ("--stack", "--stack"),
    ],
)
def test_other_names_and_help(typed: str, meant: str) -> None:
    """Only the first word is a command's name; global options before it stay where they are."""
    with_value = {name for name, takes_value in GLOBAL_OPTIONS.items() if takes_value}
    assert " ".join(rewrite(typed.split(), GLOBAL_OPTIONS, with_value)) == meant


@pytest.mark.parametrize("alias", [name for name, stands_for in ALIASES.items() if stands_for == ("teardown",)])
def test_every_word_for_teardown_plans_a_teardown(run: Run, alias: str) -> None:
    """And asks as teardown does."""
    plan = Plan("fraud-detection", (Change("remove", "folder"),))
    target = FakeTarget(stack=FakeStack(teardown_plan=plan))
    assert run(target, alias, "--yes").code == 0
    assert [call[0] for call in target.stack.calls] == ["plan_teardown", "teardown"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("deploi", "deploy"),
        ("statsu", "status"),
        ("logz", "logs"),
        ("flag-account", "flag-accounts"),
        ("nonsense", None),
        ("destory", "teardown"),
        ("undeploy", None),
        ("reset", None),
        ("wipe-all", None),
    ],
)
def test_suggestions(word: str, meant: str | None) -> None:
    """The closest command, but for a destructive word never one that changes anything."""
    assert suggestion(word, COMMANDS) == meant


@pytest.mark.parametrize("word", ["destroyed", "undeploy", "purge", "redeploy-clean", "uninstall", "kill"])
def test_a_destructive_word_suggests_nothing_that_changes(word: str) -> None:
    """Whatever is close."""
    done = CliRunner().invoke(app, [word])
    assert done.exit_code == 2
    suggested = [name for name in CHANGING if f"`fraudctl {name}`" in done.stderr]
    assert suggested == [], done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("tail processed --last abc", "Error: `--last abc`: not a whole number\n"),
        ("transactions generate --count=-1", "Error: `--count=-1`: must be at least 0\n"),
        ("transactions generate --per-second x", "Error: `--per-second x`: not a number\n"),
        ("transactions send f --on-error panic", "Error: `--on-error panic`: one of skip, stop\n"),
        ("tail", "Error: `fraudctl tail`: TOPIC is missing\n"),
        ("tail processed more", "Error: `fraudctl tail`: unexpected argument 'more'\n"),
        ("status --watch=3", "Error: `--watch`: it takes no value\nHint: run `fraudctl status --help`\n"),
        ("tail x --lst 3", "no such option\nHint: did you mean `--last`?"),
        ("deploi", "Error: `fraudctl deploi`: no such command\nHint: did you mean `fraudctl deploy`?\n"),
    ],
)
def test_usage_errors_are_worded_like_all_others(arguments: str, said: str) -> None:
    """What, why, and what to type next."""
    done = CliRunner().invoke(app, arguments.split())
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_nothing_typed_is_help_on_stdout() -> None:
    """Exit 0, as `fraudctl help`."""
    bare, asked = CliRunner().invoke(app, []), CliRunner().invoke(app, ["help"])
    assert (bare.exit_code, bare.stderr) == (0, "")
    assert bare.stdout == asked.stdout
    assert "Usage: " in bare.stdout


def shell(command: str, home: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run a shell's line with the executable as F."""
    environment = {**os.environ, "FRAUDCTL_HOME": str(home), **variables}
    line = command.replace("F", str(EXECUTABLE), 1)
    return subprocess.run(["sh", "-c", line], env=environment, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("F --version >&-", 0),
        ("F --version 2>&-", 0),
        ("F status >&-", 3),
        ("F status 2>&-", 3),
        ("F teardown <&-", 0),
        ("F transactions send - <&-", 3),
        ("F --version >/dev/full", 5),
        ("F --help >/dev/full", 5),
    ],
)
def test_closed_and_full_streams(tmp_path: Path, line: str, code: int) -> None:
    """No traceback and no complaint of Python's, anywhere."""
    done = shell(line, tmp_path)
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_output_is_utf8_whatever_the_locale(tmp_path: Path, variables: dict[str, str]) -> None:
    """An option's text comes back in the error as it was typed."""
    done = shell("F tail processed --since é", tmp_path, **variables)
    assert done.returncode == 2
    assert "'é' is not a time".encode() in done.stderr


def test_a_termination_ends_like_ctrl_c(tmp_path: Path) -> None:
    """SIGTERM in the middle of reading a file: 130, and it says so."""
    command = [str(EXECUTABLE), "transactions", "send", "-", "--on-error", "stop"]
    environment = {**os.environ, "FRAUDCTL_HOME": str(tmp_path)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b'{"transaction_id": 1}\n' * 20_000)  # more than a pipe holds: it is being read
        process.stdin.flush()
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, (err, sys.version)
    assert b"Interrupted." in err
