"""Settings: defaults < fraudctl.toml < FRAUDCTL_* < flags, and where each value came from.

The only module that reads the environment.
"""

import os
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from fraudctl.errors import BadConfig

PROGRAM: Final = "fraudctl"
CONFIG_FILE: Final = "fraudctl.toml"
# Long enough for every name AWS derives from it, short enough for a socket's path.
_STACK_NAME: Final = re.compile(r"[a-z][a-z0-9-]{1,39}", re.ASCII)


class TargetName(StrEnum):
    """Where the pipeline runs."""

    LOCAL = "local"
    AWS = "aws"


class Format(StrEnum):
    """How results are printed: `auto` is a table on a terminal and JSON Lines when piped."""

    AUTO = "auto"
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting. `home` holds the stacks' folders, `cache` the downloads, `runtime` the sockets.

    `partitions` are a topic's, `parallelism` the application's; at their defaults a stack keeps what it has.
    `reasons` are those that a flag may have, any when empty; `longest` is how long one may last, a duration as people
    type it. `sources` says where each value came from.
    """

    target: TargetName
    stack: str
    region: str | None
    profile: str | None
    output: Format
    verbose: bool
    color: bool
    home: Path
    cache: Path
    java_home: Path | None
    runtime: Path
    hold_ms: int
    slack_ms: int
    partitions: int
    parallelism: int
    reasons: tuple[str, ...]
    longest: str | None
    sources: Mapping[str, str]

    def given(self, name: str) -> Any:  # noqa: ANN401 - the setting's own type
        """Return a setting that somebody has set; None while it is at its default."""
        return None if self.sources[name] == "default" else getattr(self, name)


_DEFAULTS: Final[dict[str, Any]] = {
    "target": "local",
    "stack": "fraud-detection",
    "region": None,
    "profile": None,
    "output": "auto",
    "verbose": False,
    "color": True,
    "home": None,
    "cache": None,
    "java_home": None,
    "runtime": None,
    "hold_ms": 60_000,
    "slack_ms": 5_000,
    "partitions": 4,
    "parallelism": 1,
    "reasons": (),
    "longest": None,
}
# As the template of the stack on AWS has them too.
MOST_PARTITIONS: Final = 100
MOST_PARALLELISM: Final = 32
# As difflib measures it: HOLD is close to HOLD_MS (0.73), STACK_FOLDER, which a stack's processes carry, not to STACK.
_CLOSE: Final = 0.7
NAMES: Final = tuple(field.name for field in fields(Settings) if field.name != "sources")


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Merge the four sources; a flag that is None was not given. Raises `BadConfig` naming the wrong source."""
    environment = os.environ if environment is None else environment
    values: dict[str, tuple[Any, str]] = {name: (value, "default") for name, value in _DEFAULTS.items()}
    values |= _from_file((folder or Path()) / CONFIG_FILE)
    _check_spelling(environment)
    values |= {
        name: (environment[variable], variable)
        for name in NAMES
        if environment.get(variable := f"FRAUDCTL_{name.upper()}")
    }
    if environment.get("NO_COLOR"):  # https://no-color.org
        values["color"] = (False, "NO_COLOR")
    values |= {
        name: (value, f"--{name.replace('_', '-')}") for name, value in (flags or {}).items() if value is not None
    }
    return Settings(
        target=TargetName(_one_of(values["target"], "target", TargetName)),
        stack=_stack(*values["stack"]),
        region=_text(*values["region"], "region"),
        profile=_text(*values["profile"], "profile"),
        output=Format(_one_of(values["output"], "output", Format)),
        verbose=_flag(*values["verbose"], "verbose"),
        color=_flag(*values["color"], "color"),
        home=_folder(*values["home"], "home") or _platform("user_state_path"),
        cache=_folder(*values["cache"], "cache") or _platform("user_cache_path"),
        java_home=_folder(*values["java_home"], "java_home"),
        runtime=_folder(*values["runtime"], "runtime") or _runtime(),
        hold_ms=_hold(*values["hold_ms"], "hold_ms"),
        slack_ms=_slack(*values["slack_ms"], "slack_ms"),
        partitions=_number(*values["partitions"], "partitions", MOST_PARTITIONS),
        parallelism=_number(*values["parallelism"], "parallelism", MOST_PARALLELISM),
        reasons=_texts(*values["reasons"], "reasons"),
        longest=_text(*values["longest"], "longest"),
        sources={name: source for name, (_, source) in values.items()},
    )


def editor() -> str:
    """Return the user's editor as a command line; empty when none is known."""
    return os.environ.get("VISUAL") or os.environ.get("EDITOR") or ("vi" if shutil.which("vi") else "")


def child_environment() -> dict[str, str]:
    """Return the environment for child processes: ours without what would change a Java or Python child."""
    unwanted = {"JAVA_HOME", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH", "PYTHONPATH"}
    return {name: value for name, value in os.environ.items() if name not in unwanted}


def completes() -> bool:
    """Return whether a shell asks for completions (Typer's protocol) and no command is to run."""
    return f"_{PROGRAM.upper()}_COMPLETE" in os.environ


def completes_in_bash() -> bool:
    """Return whether it is bash that asks: it writes a suggestion into the line as it is, other shells quote it."""
    return os.environ.get(f"_{PROGRAM.upper()}_COMPLETE") == "complete_bash"


def called_as() -> str:
    """Return how a shell calls this program: ``fraudctl`` when that is what it finds, else the path as it was typed."""
    typed = Path(sys.argv[0])
    if typed.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m fraudctl"
    found = shutil.which(PROGRAM)
    if typed.name != PROGRAM or (found is not None and Path(found).resolve() == typed.resolve()):
        return PROGRAM
    try:
        shorter = typed.absolute().relative_to(Path.cwd())
    except (ValueError, OSError):  # elsewhere; a working folder that is gone
        shorter = typed
    return shlex.quote(str(shorter))


def program_environment() -> dict[str, str]:
    """Return the environment for the programs of a local stack: they need neither an AWS account nor a proxy."""
    return {
        name: value
        for name, value in child_environment().items()
        if not (name.startswith("AWS_") or name.upper().endswith("_PROXY"))
    }


def _from_file(path: Path) -> dict[str, tuple[Any, str]]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadConfig(f"{CONFIG_FILE}: {error}", hint=f"fix {CONFIG_FILE} or remove it") from error
    unknown = sorted(set(data) - set(NAMES))
    if unknown:
        raise BadConfig(
            f"{CONFIG_FILE}: unknown setting {unknown[0]!r}", hint=f"the settings are {', '.join(sorted(NAMES))}"
        )
    return {name: (value, CONFIG_FILE) for name, value in data.items()}


def _check_spelling(environment: Mapping[str, str]) -> None:
    """Raise `BadConfig` for a variable whose name is almost that of a setting; other names are not ours to judge."""
    prefix = f"{PROGRAM.upper()}_"
    known = [f"{prefix}{name.upper()}" for name in NAMES]
    for variable in sorted(environment):
        if not environment[variable] or not variable.upper().startswith(prefix) or variable in known:
            continue
        # The names are compared without the prefix, which all have in common.
        name = variable.upper().removeprefix(prefix)
        from difflib import get_close_matches  # not for `--help`: it takes milliseconds

        if close := get_close_matches(name, map(str.upper, NAMES), cutoff=_CLOSE):
            raise BadConfig(
                f"{variable}: no such setting (from the environment)",
                hint=f"did you mean {' or '.join(prefix + match for match in close)}?",
            )


def _platform(kind: str) -> Path:
    import platformdirs

    path: Path = getattr(platformdirs, kind)("fraudctl")
    return path


def _runtime() -> Path:
    """Return a folder with a short path for sockets: a unix socket's path has at most some 104 bytes.

    It depends neither on the environment nor on the login: every command of this user must find the same sockets, and
    /run/user goes away with the last login while the stack runs on. systemd-tmpfiles leaves sockets that are in use.
    """
    return Path("/tmp") / f"fraudctl-{os.getuid()}"  # noqa: S108 - made for the user alone, its owner is checked


def _bad(name: str, why: str, source: str) -> BadConfig:
    return BadConfig(f"{name.replace('_', ' ')}: {why} (from {source})")


def _one_of(value_and_source: tuple[Any, str], name: str, choices: type[StrEnum]) -> str:
    value, source = value_and_source
    names = [choice.value for choice in choices]
    if value not in names:
        raise _bad(name, f"one of {', '.join(names)}; got {value!r}", source)
    return str(value)


def _stack(value: object, source: str) -> str:
    if isinstance(value, str) and _STACK_NAME.fullmatch(value):
        return value
    raise _bad("stack", f"a name is 2 to 40 of a-z, 0-9 and -, a letter first; got {value!r}", source)


def _text(value: object, source: str, name: str) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise _bad(name, f"must be a text, got {value!r}", source)


def _texts(value: object, source: str, name: str) -> tuple[str, ...]:
    """Return a list of texts; a variable of the environment has commas between them."""
    listed = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not all(isinstance(text, str) and text.strip() for text in listed):
        raise _bad(name, f'must be a list of texts, like ["stolen card", "mule"], got {value!r}', source)
    return tuple(dict.fromkeys(listed))


def _flag(value: object, source: str, name: str) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in {"1", "true", "yes", "on"}:
        return True
    if str(value).lower() in {"0", "false", "no", "off"}:
        return False
    raise _bad(name, f"must be true or false, got {value!r}", source)


def _folder(value: object, source: str, name: str) -> Path | None:
    if value is None:
        return None
    if isinstance(value, str | Path) and "\n" not in str(value):
        try:
            return Path(value).expanduser().absolute()
        except (RuntimeError, OSError) as error:  # ~nobody; a working folder that is gone
            raise _bad(name, str(error), source) from error
    raise _bad(name, f"must be a folder, got {value!r}", source)


def _hold(value: object, source: str, name: str) -> int:
    return _milliseconds(value, source, name, 24 * 60 * 60 * 1000, "a day")


def _slack(value: object, source: str, name: str) -> int:
    # The application keeps a list for each half of hold, or each second, of hold and slack.
    return _milliseconds(value, source, name, 60 * 1000, "a minute")


def _number(value: object, source: str, name: str, most: int) -> int:
    if not isinstance(value, bool) and re.fullmatch(r"\d{1,9}", str(value), re.ASCII) and 0 < int(str(value)) <= most:
        return int(str(value))
    raise _bad(name, f"must be a number from 1 to {most}, got {value!r}", source)


def _milliseconds(value: object, source: str, name: str, most: int, called: str) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = -1
    if 0 < number <= most:
        return number
    raise _bad(name, f"must be milliseconds from 1 to {called}, got {value!r}", source)
