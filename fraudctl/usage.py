"""Other names of commands, `help`, and usage errors worded like all other errors."""

import itertools
import re
from collections.abc import Collection, Sequence
from typing import Any, Final

from fraudctl.errors import BadConfig

# What people type out of habit from docker, kubectl, cdk and gh → the command and options it stands for.
ALIASES: Final = {
    **dict.fromkeys(("destroy", "delete", "remove", "rm", "down"), ("teardown",)),
    "up": ("deploy",),
    "ps": ("status",),
    "flag": ("flag-accounts",),
    **dict.fromkeys(("unflag", "clear"), ("flag-accounts", "--clear")),
}
# Words of somebody who wants something gone: for them no command is suggested that changes anything.
_DESTRUCTIVE: Final = re.compile(
    r"(un|re)?(destroy|delete|remove|purge|wipe|clean|drop|kill|nuke|erase|reset|undeploy|uninstall|prune)\w*", re.ASCII
)
_CHANGING: Final = frozenset(
    {"dead-letters", "demo", "deploy", "flag-accounts", "teardown", "transactions", "topics", "flink"}
)
_CLOSE: Final = 0.7
# How Typer (pydantic's words) puts it → how fraudctl does.
_REASONS: Final = (
    (r"greater than or equal to (\S+)", r"must be at least \1"),
    (r"less than or equal to (\S+)", r"must be at most \1"),
    (r"valid integer", "not a whole number"),
    (r"valid number", "not a number"),
    (r"is not one of (.*?)\.?$", r"one of \1"),
)
# Other messages of Typer → what they are about, and why it is wrong.
_MESSAGES: Final = (
    (r"No such command '(.*?)'", "{command} {name}", "no such command"),
    (r"Got unexpected extra argument\(?s?\)? \((.*)\)", "{command}", "unexpected argument '{name}'"),
    (r"Option '(.*?)' requires an argument", "{name}", "it needs a value"),
    (r"Option '(.*?)' does not take a value", "{name}", "it takes no value"),
)


def rewrite(arguments: Sequence[str], global_options: Collection[str], with_value: Collection[str]) -> list[str]:
    """Return the arguments with an alias replaced, and ``help COMMAND`` as ``COMMAND --help``.

    The global options stand first; `with_value` are those that take the next argument as their value.
    """
    at = 0
    while at < len(arguments) and (name := arguments[at].partition("=")[0]).startswith("-"):
        if name not in global_options and not name.startswith("-o"):
            return list(arguments)
        at += 2 if arguments[at] in with_value else 1
    if at >= len(arguments):
        return list(arguments)
    before, word, after = arguments[:at], arguments[at], arguments[at + 1 :]
    if word == "help":
        return [*before, *after, "--help"]
    return [*before, *ALIASES.get(word, (word,)), *after]


def suggestion(word: str, commands: Collection[str]) -> str | None:
    """Return the command that was probably meant; None when no command is close, or when a wrong guess could hurt."""
    import difflib  # not for `--help`: it takes milliseconds

    close = difflib.get_close_matches(word, [*commands, *ALIASES], n=1, cutoff=_CLOSE)
    if not close:
        return None
    meant = ALIASES.get(close[0], (close[0],))[0]
    return None if _DESTRUCTIVE.fullmatch(word) and meant in _CHANGING else meant


def explained(error: Any, arguments: Sequence[str]) -> BadConfig:  # noqa: ANN401 - Typer's vendored UsageError
    """Return Typer's usage error as fraudctl words it; `arguments` is what was typed."""
    context = getattr(error, "ctx", None)
    words = context.command_path.split()[1:] if context is not None else _words(arguments)
    command = " ".join(("fraudctl", *words))
    hint = f"run `{command} --help`"
    message = str(error.format_message())
    match type(error).__name__:
        case "NoSuchOption":
            what, why = f"{command} {error.option_name}", "no such option"
            if close := [*(error.possibilities or ())][:1]:
                hint = f"did you mean `{close[0]}`? `{command} --help` lists the options"
        case "MissingParameter":
            what, why = command, f"{str(error.param.name).upper()} is missing"
        case "BadParameter":
            what, why = _given(error.param, arguments), _reason(message)
        case _:
            what, why = command, message
            for pattern, template, better in _MESSAGES:
                if found := re.match(pattern, message):
                    what, why = template.format(command=command, name=found[1]), better.format(name=found[1])
    if why == "no such command":
        meant = suggestion(what.split()[-1], getattr(getattr(context, "command", None), "commands", ()))
        hint = f"did you mean `{command} {meant}`?" if meant else f"`{command} --help` lists the commands"
    return BadConfig(f"`{what}`: {why}", hint=hint)


def _words(arguments: Sequence[str]) -> list[str]:
    """Return what was typed before the first option."""
    return list(itertools.takewhile(lambda argument: not argument.startswith("-"), arguments))


def _given(parameter: Any, arguments: Sequence[str]) -> str:  # noqa: ANN401 - Typer's vendored Parameter
    """Return the option as it was typed, with its value; an argument's name otherwise."""
    options = [name for name in getattr(parameter, "opts", ()) if name.startswith("-")]
    for index, argument in enumerate(arguments):
        name, equals, _ = argument.partition("=")
        if name in options:
            return argument if equals or index + 1 == len(arguments) else f"{argument} {arguments[index + 1]}"
    return options[0] if options else str(getattr(parameter, "name", "") or "").upper()


def _reason(message: str) -> str:
    for pattern, better in _REASONS:
        if found := re.search(pattern, message):
            return found.expand(better).replace("'", "")
    return message
