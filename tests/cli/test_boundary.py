"""The one error boundary: every way a command can end has its exit code and its line."""

import errno
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from conftest import Run
from fakes import FakeStack, FakeTarget
from typer.testing import CliRunner

from fraudctl import config
from fraudctl.__main__ import main
from fraudctl.cli import app, move_globals_first
from fraudctl.context import Context
from fraudctl.errors import (
    BadConfig,
    FraudctlError,
    NotAsAsked,
    NotDeployed,
    OperationFailed,
    Refused,
    TimedOut,
    Unreachable,
)
from fraudctl.render import Renderer
from fraudctl.target import Event, Plan


@dataclass
class Failing(FakeStack):
    """Raises instead of planning."""

    error: BaseException | None = None

    def prepare(self) -> Iterator[Event]:
        """Raise."""
        raise self.error or AssertionError

    def plan_teardown(self, *, keep_data: bool) -> Plan:
        """Raise."""
        raise self.error or AssertionError(keep_data)


def end(run: Run, error: BaseException) -> tuple[int, str, str]:
    """Return how `deploy` ends when planning it raises."""
    done = run(FakeTarget(stack=Failing(error=error)), "deploy")
    return done.code, done.out, done.err


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (BadConfig, 2),
        (NotDeployed, 3),
        (Unreachable, 4),
        (OperationFailed, 5),
        (TimedOut, 6),
        (Refused, 7),
        (NotAsAsked, 8),
    ],
)
def test_an_expected_error_is_one_line_a_hint_and_its_code(run: Run, kind: type[FraudctlError], code: int) -> None:
    """No traceback, nothing on stdout."""
    assert end(run, kind("stack x: because", hint="run `y`")) == (code, "", "Error: stack x: because\nHint: run `y`\n")


def test_a_full_disk_names_the_file(run: Run) -> None:
    """It is no bug of ours, wherever it shows."""
    code, out, err = end(run, OSError(errno.ENOSPC, "No space left on device", "/somewhere/file"))
    assert (code, out) == (5, "")
    assert "Error: /somewhere/file: No space left on device" in err


def test_ctrl_c_is_130(run: Run) -> None:
    """Interrupted is not an error."""
    assert end(run, KeyboardInterrupt()) == (130, "", "Interrupted.\n")


def test_a_closed_pipe_is_the_end_not_an_error(run: Run) -> None:
    """`fraudctl tail … | head` has what it wanted."""
    assert end(run, BrokenPipeError()) == (0, "", "")


def test_anything_else_is_a_bug_with_its_traceback_in_a_file(run: Run) -> None:
    """One line names the error and the file; the terminal sees no control character of the message."""
    code, out, err = end(run, ValueError("\x1b[31mred"))
    assert (code, out) == (1, "")
    assert err.startswith("Error: ValueError: \\x1b[31mred: this is a bug in fraudctl\nHint: the traceback is in ")
    path = err.splitlines()[-1].rpartition(" in ")[2]
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - a path out of a message
        assert "ValueError: \x1b[31mred" in file.read()


@pytest.mark.parametrize(
    ("given", "moved"),
    [
        ("audit query 5 -o json", "-o json audit query 5"),
        ("status --output=csv --verbose", "--output=csv --verbose status"),
        ("deploy --stack two --yes", "--stack two deploy --yes"),
        ("tail processed -- --stack two", "tail processed -- --stack two"),
        ("status -o", "-o"),
        ("status -ojson", "-ojson status"),
        ("deploy --region= --plan", "--region= deploy --plan"),
    ],
)
def test_global_options_may_stand_anywhere(given: str, moved: str) -> None:
    """They move to the front, up to a lone double dash."""
    assert " ".join(move_globals_first(given.split())) == moved


def test_a_traceback_on_request_is_readable(tmp_path: Path) -> None:
    """Line by line, as Python prints it."""
    settings = config.load({"verbose": True}, environment={"FRAUDCTL_HOME": str(tmp_path)}, folder=tmp_path)
    context = Context(settings, Renderer(settings.output, color=False), FakeTarget(stack=Failing(error=Refused("no"))))
    done = CliRunner().invoke(app, ["teardown"], obj=context)
    assert done.exit_code == 7
    assert "Traceback (most recent call last):\n" in done.stderr
    assert "\\n" not in done.stderr


def test_ctrl_c_while_the_command_line_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 130 without a traceback, as later."""

    class Loading(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt(name)

    monkeypatch.setitem(sys.modules, "fraudctl.cli", Loading("fraudctl.cli"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
