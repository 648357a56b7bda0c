"""Settings: who wins, and what is said of a wrong one."""

from pathlib import Path
from typing import Any

import pytest

from fraudctl import config
from fraudctl.config import Format, TargetName
from fraudctl.errors import BadConfig


def load(
    folder: Path, flags: dict[str, Any] | None = None, file: str | None = None, **environment: str
) -> config.Settings:
    """Load with these sources and no others."""
    if file is not None:
        (folder / "fraudctl.toml").write_text(file, encoding="utf-8")
    return config.load(flags, environment=environment, folder=folder)


def test_defaults(tmp_path: Path) -> None:
    """Nothing has to be set."""
    settings = load(tmp_path)
    assert (settings.target, settings.stack, settings.output) == (TargetName.LOCAL, "fraud-detection", Format.AUTO)
    assert (settings.hold_ms, settings.slack_ms) == (60_000, 5_000)
    assert settings.sources["stack"] == "default"
    assert settings.home.is_absolute()
    assert settings.cache.is_absolute()


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    """And the source of each value is remembered."""
    file = 'stack = "of-file"\nhold_ms = 1000\nregion = "eu-west-1"\n'
    settings = load(
        tmp_path,
        {"stack": "of-flag", "region": None},
        file,
        FRAUDCTL_STACK="of-environment",
        FRAUDCTL_HOLD_MS="2000",
        FRAUDCTL_OUTPUT="",
    )
    assert (settings.stack, settings.hold_ms, settings.region) == ("of-flag", 2000, "eu-west-1")
    assert [settings.sources[name] for name in ("stack", "hold_ms", "region", "output")] == [
        "--stack",
        "FRAUDCTL_HOLD_MS",
        "fraudctl.toml",
        "default",
    ]


def test_what_nobody_has_set_is_told_apart_from_a_default(tmp_path: Path) -> None:
    """A stack keeps its partitions until somebody asks for others, also for as many as the default."""
    loaded = config.load(environment={"FRAUDCTL_PARTITIONS": "4"}, folder=tmp_path)
    assert (loaded.given("partitions"), loaded.given("parallelism"), loaded.parallelism) == (4, None, 1)
    (tmp_path / "fraudctl.toml").write_text("parallelism = 2\n", encoding="utf-8")
    assert config.load(environment={}, folder=tmp_path).given("parallelism") == 2


def test_reasons_and_the_longest_flag(tmp_path: Path) -> None:
    """A list in the file; commas in a variable. Without them everything is allowed."""
    assert (load(tmp_path).reasons, load(tmp_path).longest) == ((), None)
    loaded = load(tmp_path, file='reasons = ["stolen card", "mule", "mule"]\nlongest = "180d"\n')
    assert (loaded.reasons, loaded.longest) == (("stolen card", "mule"), "180d")
    assert load(tmp_path, FRAUDCTL_REASONS="court order, mule").reasons == ("court order", "mule")


def test_no_color(tmp_path: Path) -> None:
    """The convention of no-color.org, and an empty value does not count."""
    assert load(tmp_path).color is True
    assert load(tmp_path, NO_COLOR="1").color is False
    assert load(tmp_path, NO_COLOR="").color is True


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"FRAUDCTL_TARGET": "mars"}, r"target: one of local, aws; got 'mars' \(from FRAUDCTL_TARGET\)"),
        ({"FRAUDCTL_OUTPUT": "xml"}, "output: one of auto, table, json, csv"),
        ({"FRAUDCTL_STACK": "../other"}, "stack: a name is"),
        ({"FRAUDCTL_STACK": "A"}, "stack: a name is"),
        ({"FRAUDCTL_STACK": "a" * 41}, "stack: a name is"),
        ({"FRAUDCTL_STACK": "fraud\n"}, "stack: a name is"),
        ({"FRAUDCTL_HOLD_MS": "0"}, "hold ms: must be milliseconds"),
        ({"FRAUDCTL_HOLD_MS": "1e3"}, "hold ms: must be milliseconds"),
        ({"FRAUDCTL_HOLD_MS": "86400001"}, "hold ms: must be milliseconds from 1 to a day"),
        ({"FRAUDCTL_SLACK_MS": "60001"}, "slack ms: must be milliseconds from 1 to a minute"),
        ({"FRAUDCTL_PARTITIONS": "0"}, "partitions: must be a number from 1 to 100, got '0'"),
        ({"FRAUDCTL_PARTITIONS": "101"}, "partitions: must be a number from 1 to 100"),
        ({"FRAUDCTL_PARALLELISM": "1.5"}, "parallelism: must be a number from 1 to 32"),
        ({"FRAUDCTL_VERBOSE": "maybe"}, "verbose: must be true or false"),
        ({"FRAUDCTL_REASONS": "stolen card,,mule"}, "reasons: must be a list of texts"),
        ({"FRAUDCTL_HOME": "a\nb"}, "home: must be a folder"),
    ],
    ids=str,
)
def test_a_wrong_value_names_its_source(tmp_path: Path, environment: dict[str, str], said: str) -> None:
    """What, why, and where it came from."""
    with pytest.raises(BadConfig, match=said) as raised:
        config.load(environment=environment, folder=tmp_path)
    assert next(iter(environment)) in str(raised.value)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("stak = 'x'", "unknown setting 'stak'"),
        ("stack = ", "fraudctl.toml: "),
        ("verbose = 3", r"verbose: must be true or false, got 3 \(from fraudctl.toml\)"),
        ("region = ''", r"region: must be a text, got '' \(from fraudctl.toml\)"),
        ("stack = 5", "stack: a name is"),
        ("reasons = [1]", r"reasons: must be a list of texts, .* got \[1\] \(from fraudctl.toml\)"),
        ("reasons = ['']", "reasons: must be a list of texts"),
        ("longest = 180", r"longest: must be a text, got 180 \(from fraudctl.toml\)"),
    ],
)
def test_a_wrong_file(tmp_path: Path, file: str, said: str) -> None:
    """A setting that is misspelled must not be passed over."""
    with pytest.raises(BadConfig, match=said):
        load(tmp_path, file=file)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("FRAUDCTL_STCK", "FRAUDCTL_STACK"),
        ("FRAUDCTL_STACKS", "FRAUDCTL_STACK"),
        ("FRAUDCTL_HOLD", "FRAUDCTL_HOLD_MS"),
        ("FRAUDCTL_JAVAHOME", "FRAUDCTL_JAVA_HOME"),
        ("FRAUDCTL_stack", "FRAUDCTL_STACK"),
        ("FRAUDCTL_SLACK", "FRAUDCTL_SLACK_MS"),
    ],
)
def test_a_misspelled_variable(tmp_path: Path, variable: str, meant: str) -> None:
    """Is named with what was meant; otherwise the command would work on another stack."""
    with pytest.raises(BadConfig, match=variable) as raised:
        config.load(environment={variable: "two"}, folder=tmp_path)
    assert meant in (raised.value.hint or "")
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    "variable", ["FRAUDCTL_STACK_FOLDER", "FRAUDCTL_CI_RUN", "FRAUDCTL_", "STCK", "MY_FRAUDCTL_STCK"]
)
def test_other_variables_are_not_settings(tmp_path: Path, variable: str) -> None:
    """Such as the one that the processes of a stack carry."""
    assert config.load(environment={variable: "two"}, folder=tmp_path).stack == "fraud-detection"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Bytes that are no text, or a folder in its place."""
    (tmp_path / "fraudctl.toml").write_bytes(b"\xff")
    with pytest.raises(BadConfig, match=r"fraudctl\.toml"):
        load(tmp_path)
    (tmp_path / "fraudctl.toml").unlink()
    (tmp_path / "fraudctl.toml").mkdir()
    with pytest.raises(BadConfig, match=r"fraudctl\.toml"):
        load(tmp_path)


@pytest.mark.parametrize(("text", "value"), [("1", True), ("TRUE", True), ("on", True), ("0", False), ("no", False)])
def test_flags_in_the_environment(tmp_path: Path, text: str, *, value: bool) -> None:
    """Spelled as people spell them."""
    assert load(tmp_path, FRAUDCTL_VERBOSE=text).verbose is value


def test_folders_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is the user's home, and nothing depends on the folder one happens to be in."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert load(tmp_path, FRAUDCTL_HOME="~/state").home == tmp_path / "state"
    assert load(tmp_path, FRAUDCTL_CACHE="cache").cache == tmp_path / "cache"


def test_children_do_not_inherit_what_would_change_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's JAVA_TOOL_OPTIONS or PYTHONPATH is not for the stack; the rest is."""
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1m")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("LANG", "C.UTF-8")
    environment = config.child_environment()
    assert "JAVA_TOOL_OPTIONS" not in environment
    assert "PYTHONPATH" not in environment
    assert environment["LANG"] == "C.UTF-8"


def test_a_home_of_nobody_and_a_working_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong settings, not bugs; and without a folder there is no file in it."""
    with pytest.raises(BadConfig, match=r"home: .*FRAUDCTL_HOME"):
        load(tmp_path, FRAUDCTL_HOME="~nobody-of-this-name/x")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert config.load({}, environment={"FRAUDCTL_HOME": str(tmp_path)}).home == tmp_path
