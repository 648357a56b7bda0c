"""Every `fraudctl …` in source and documents exists, and README's tables are complete."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from command_tree import TREE, leaves

from fraudctl import errors
from fraudctl.cli import GLOBAL_OPTIONS, move_globals_first
from fraudctl.usage import rewrite

ROOT = Path(__file__).parents[2]
WITH_VALUE = {name for name, takes_value in GLOBAL_OPTIONS.items() if takes_value}
SOURCES = sorted([*(ROOT / "fraudctl").rglob("*.py"), *(ROOT / "lambdas").rglob("*.py")])
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

_QUOTED = re.compile(r"`((?:\S*/)?fraudctl(?: [^`]*)?)`")
_EXAMPLE = re.compile(r"Example: (fraudctl\b.*)")
_TYPED = re.compile(r"(?:\$ )?(fraudctl .*)")
_END = re.compile(r"\s(?:[|;>#&]|2>)")
_PLACEHOLDER = "X"


class Mention(NamedTuple):
    """A command in a text, and where it stands."""

    where: str
    command: str


def in_source(path: Path) -> Iterator[Mention]:
    """Yield the commands in the strings and comments of a Python file."""
    text = path.read_text(encoding="utf-8")
    parents = {id(part): node for node in ast.walk(ast.parse(text)) for part in ast.iter_child_nodes(node)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.keyword) and node.arg == "hint":
            for command in re.findall(r"(?:^|: |run |\| )(fraudctl .*)", spelled(node.value)):
                yield Mention(f"{path.relative_to(ROOT)}:{node.value.lineno}", command)
        if isinstance(node, ast.Constant | ast.JoinedStr) and not isinstance(parents.get(id(node)), ast.JoinedStr):
            for found in (*_QUOTED.finditer(spelled(node)), *_EXAMPLE.finditer(spelled(node))):
                line = node.lineno + (
                    spelled(node).count("\n", 0, found.start()) if isinstance(node, ast.Constant) else 0
                )
                yield Mention(f"{path.relative_to(ROOT)}:{line}", found[1])
    for number, code in enumerate(text.splitlines(), 1):
        for found in _QUOTED.finditer(code.partition("#")[2]):
            yield Mention(f"{path.relative_to(ROOT)}:{number}", found[1])


def spelled(node: ast.AST) -> str:
    """Return a string as it stands in the source, with a placeholder for what is computed."""
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=parts):
            return "".join(spelled(part) for part in parts)
        case ast.FormattedValue():
            return _PLACEHOLDER
    return ""


def in_document(path: Path) -> Iterator[Mention]:
    """Yield the commands of a Markdown file: in backticks, and the lines of its code blocks."""
    block = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        where = f"{path.relative_to(ROOT)}:{number}"
        if line.lstrip().startswith("```"):
            block = not block
        elif block and (typed := _TYPED.match(line.strip())):
            yield Mention(where, typed[1])
        else:
            yield from (Mention(where, found[1]) for found in _QUOTED.finditer(line))


def fault(command: str) -> str | None:
    """Return what is wrong with a command; None when it exists and has all its options."""
    words = [word for word in shlex.split(_END.split(command)[0].replace("'", "")) if set(word) - set(".…")][1:]
    arguments = iter(rewrite(move_globals_first(words), GLOBAL_OPTIONS, WITH_VALUE))
    node: Any = TREE
    known = names(node)
    for word in arguments:
        name, equals, _ = word.partition("=")
        if name.startswith("-") and name != "-":
            if name not in known and not re.fullmatch(r"-o\w+", name):
                return f"{name} is no option of it"
            if name in WITH_VALUE and not equals:
                next(arguments, None)
        elif hasattr(node, "commands"):
            if word not in node.commands:
                return f"{word} is no command"
            node = node.commands[word]
            known |= names(node)
    return None


def names(command: Any) -> set[str]:
    """Return the options of a command."""
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return {name for name in options if name.startswith("-")} | {"--help", "-h"}


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("fraudctl", None),
        ("fraudctl deploy --plan -o json", None),
        ("fraudctl --target aws --stack two deploy --set A=1", None),
        ("fraudctl audit …", None),
        ("fraudctl tail processed --last 5 | head", None),
        ("fraudctl destroy --yes  # an alias", None),
        ("fraudctl doctor", "doctor is no command"),
        ("fraudctl flink logs", "logs is no command"),
        ("fraudctl demo --plan", "--plan is no option of it"),
        ("fraudctl --target aws deploy --recreate", "--recreate is no option of it"),
    ],
)
def test_what_counts_as_a_command(command: str, wrong: str | None) -> None:
    """The test of all texts can fail."""
    assert fault(command) == wrong


def test_where_commands_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In backticks, hints, examples and comments, on their own lines; a computed part is a placeholder."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    source = tmp_path / "some.py"
    source.write_text(
        '"""Module.\n\nExample: fraudctl a\n"""\nraise E(hint="fraudctl b")\nx = f"`fraudctl {c} d`"  # `fraudctl e`\n'
    )
    assert sorted(in_source(source)) == [
        ("some.py:3", "fraudctl a"),
        ("some.py:5", "fraudctl b"),
        ("some.py:6", "fraudctl X d"),
        ("some.py:6", "fraudctl e"),
    ]
    document = tmp_path / "some.md"
    document.write_text("Run `fraudctl a`.\n```\nfraudctl b  # then\nfraudctl_c\n```\n")
    assert list(in_document(document)) == [("some.md:1", "fraudctl a"), ("some.md:3", "fraudctl b  # then")]


@pytest.mark.parametrize("folder", ["fraudctl", "lambdas", "documents"])
def test_every_command_in_a_text_exists(folder: str) -> None:
    """With every option named beside it. A hint that cannot be typed is worse than none."""
    if folder == "documents":
        mentions = [mention for path in DOCUMENTS for mention in in_document(path)]
    else:
        paths = [path for path in SOURCES if path.is_relative_to(ROOT / folder)]
        mentions = [mention for path in paths for mention in in_source(path)]
    assert mentions or folder == "lambdas"
    assert [f"{where}: `{command}`: {wrong}" for where, command in mentions if (wrong := fault(command))] == []


def test_the_readme_lists_every_command_and_no_other() -> None:
    """In one row each; the options that a row names are the command's."""
    rows = re.findall(r"(?m)^\| `(fraudctl [^`]+)` \| (.+) \|$", (ROOT / "README.md").read_text(encoding="utf-8"))
    commands = {f"fraudctl {name}": command for name, command in leaves(TREE)}
    assert sorted(name for name, _ in rows) == sorted(commands)
    for name, description in rows:
        for option in re.findall(r"`(--[a-z-]+)[^`]*`", description):
            assert option in names(commands[name]), (name, option)


def test_the_readme_lists_every_exit_code_and_no_other() -> None:
    """Those of the errors, of success and of Ctrl-C."""
    rows = re.findall(r"(?m)^\| (\d+) \| (.+) \|$", (ROOT / "README.md").read_text(encoding="utf-8"))
    family: list[type[errors.FraudctlError]] = [errors.FraudctlError, *errors.FraudctlError.__subclasses__()]
    assert [int(code) for code, _ in rows] == [0, *sorted(error.exit_code for error in family), 130]
