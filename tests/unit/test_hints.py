"""Hints that work when pasted: the target and the stack that were given, and the program as it was called."""

import os
import sys
from pathlib import Path

import pytest

from fraudctl import config
from fraudctl.hints import Invocation


@pytest.mark.parametrize(
    ("text", "pasted"),
    [
        ("run `fraudctl deploy` first", "run `fraudctl --stack two deploy` first"),
        (
            "run `fraudctl status`, then `fraudctl deploy` to repair",
            "run `fraudctl --stack two status`, then `fraudctl --stack two deploy` to repair",
        ),
        ("`fraudctl deploy --stack other`", "`fraudctl deploy --stack other`"),
        ("see `fraudctl`", "see `fraudctl --stack two`"),
        ("`aws sso login`, or the fraudctl docs", "`aws sso login`, or the fraudctl docs"),
        ("`fraudctl-x deploy`", "`fraudctl-x deploy`"),
    ],
)
def test_commands_carry_what_was_given(text: str, pasted: str) -> None:
    """Only commands in backticks, and only what they do not say themselves."""
    assert Invocation("fraudctl", {"--stack": "two"}).paste(text) == pasted


def test_only_what_was_typed_is_repeated(tmp_path: Path) -> None:
    """What the environment or a file says holds for the pasted command too."""
    settings = config.load(
        {"target": "aws", "stack": "two", "profile": "it's mine"},
        environment={"FRAUDCTL_REGION": "eu-west-1", "FRAUDCTL_HOME": str(tmp_path)},
        folder=tmp_path,
    )
    pasted = Invocation.of(settings, ".venv/bin/fraudctl").paste("until `fraudctl teardown`")
    options = "--target aws --stack two --profile 'it'\"'\"'s mine'"
    assert pasted == f"until `.venv/bin/fraudctl {options} teardown`"


def test_the_program_as_the_shell_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name when that is on PATH and is this one; by its path, the shorter one, otherwise."""
    program = tmp_path / "my venv" / "fraudctl"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("PATH", str(program.parent))
    assert config.called_as() == "fraudctl"
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.chdir(tmp_path)
    assert config.called_as() == "'my venv/fraudctl'"
    monkeypatch.chdir("/")
    assert config.called_as() == f"'{str(program)[1:]}'"
    monkeypatch.setattr(sys, "argv", ["/x/fraudctl/__main__.py"])
    assert config.called_as().endswith(" -m fraudctl")
