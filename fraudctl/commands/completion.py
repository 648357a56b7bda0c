"""What a shell completes at a Tab: a function for each kind of value, for ``autocompletion=`` of an option or argument.

Nothing is ever printed but suggestions: without a stack, with a broken setting or a broker that hangs there are none.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fraudctl.target import Known

    Completer = Callable[[typer.Context, str], list[str]]

_GLOBAL: Final = ("target", "stack", "region", "profile")


def prepare() -> None:
    """Take out of the way of a Tab what it does not need of Typer: half of its 150 ms.

    Typer checks every value with pydantic, which it imports for that, and cleans help texts with rich. Here values need
    no check, and help texts have no markup. A test counts the modules, so another version of Typer is noticed.
    """
    from typer import _completion_classes, core

    parameter: Any = core._TyperParameter  # noqa: SLF001
    parameter.process_value = lambda _self, _ctx, value: value
    _completion_classes._sanitize_help_text = lambda text: text  # noqa: SLF001


def _silent(complete: Completer) -> Completer:
    """Give no suggestions where something goes wrong: an error here would be written into the line being typed."""

    @functools.wraps(complete)
    def wrapper(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            return [found for found in complete(ctx, incomplete) if found.startswith(incomplete)]
        except Exception:  # noqa: BLE001 - whatever it is, the command itself will say it
            return []

    del wrapper.__wrapped__  # Typer passes arguments by the names that it finds there
    return wrapper


def _known(ctx: Any) -> Known:  # noqa: ANN401 - Typer's vendored Context
    from fraudctl import config
    from fraudctl.context import known

    given = ctx.find_root().params
    return known(config.load({name: given.get(name) for name in _GLOBAL}))


def _others(ctx: Any, found: Iterable[str]) -> list[str]:  # noqa: ANN401 - Typer's vendored Context
    """Return what has not been given yet to an argument that takes several."""
    given = {str(item) for value in ctx.params.values() if isinstance(value, list | tuple) for item in value}
    return [item for item in found if item not in given]


def _typed(text: str) -> str:
    """Return a text with blanks as it has to be typed: bash puts it into the line as it is, other shells quote it."""
    from fraudctl import config

    return text.replace(" ", "\\ ") if config.completes_in_bash() else text


def _next_of(incomplete: str, names: Iterable[str]) -> list[str]:
    """Return a list with commas that has been begun, with each name behind it that it does not have."""
    before, comma, _ = incomplete.rpartition(",")
    given = before.split(",")
    return [f"{before}{comma}{name}" for name in names if name not in given]


@_silent
def topics(_ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the topics: the short names, or the full ones where no short one begins like that."""
    from fraudctl.pipeline.topics import ALL

    short = [topic.alias for topic in ALL if topic.alias.startswith(incomplete)]
    return short or [topic.name for topic in ALL]


@_silent
def stacks(ctx: typer.Context, _incomplete: str) -> list[str]:
    """Complete the stacks that are deployed."""
    return list(_known(ctx).stacks())


@_silent
def components(ctx: typer.Context, _incomplete: str) -> list[str]:
    """Complete the components that have a log."""
    return list(_known(ctx).components())


@_silent
def accounts(ctx: typer.Context, _incomplete: str) -> list[str]:
    """Complete the accounts that were flagged or cleared, newest first."""
    return _others(ctx, _known(ctx).accounts())


@_silent
def reasons(ctx: typer.Context, _incomplete: str) -> list[str]:
    """Complete the reasons of flag events, newest first."""
    return [_typed(reason) for reason in _known(ctx).reasons()]


@_silent
def allowed_reasons(ctx: typer.Context, _incomplete: str) -> list[str]:
    """Complete the reasons that the settings allow, or where they allow any, those of flag events, newest first."""
    from fraudctl import config

    return [_typed(reason) for reason in config.load().reasons or _known(ctx).reasons()]


@_silent
def fields(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the last of several columns, ``a,b,c``, of the records of the topic that the command names."""
    from fraudctl.services.record_fields import known
    from fraudctl.services.topics import named

    # The option has no value yet, at which the parser gives up: arguments are left as they were typed.
    topic = ctx.params.get("topic") or ctx.args[0]
    return _next_of(incomplete, known(named(topic).name))


@_silent
def account_fields(_ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the last of several columns, ``a,b,c``, of the list of accounts."""
    from fraudctl.services.accounts.listing import FIELDS

    return _next_of(incomplete, FIELDS)


@_silent
def audit_fields(_ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the last of several columns, ``a,b,c``, of the audit table."""
    from fraudctl.pipeline.audit_table import AuditRow

    return _next_of(incomplete, [field.name for field in AuditRow.FIELDS])


@_silent
def letters(_ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the last of several columns, ``a,b,c``, of counted dead letters."""
    before, comma, _ = incomplete.rpartition(",")
    names = ("error", "count", "first", "last", "redriven", "parked", "sample", "excerpt")
    return [f"{before}{comma}{name}" for name in names if name not in before.split(",")]


@_silent
def letter_places(ctx: typer.Context, _incomplete: str) -> list[str]:
    """Complete dead letters, newest first."""
    return _others(ctx, _known(ctx).dead_letters())


@_silent
def outputs(_ctx: typer.Context, _incomplete: str) -> list[str]:
    """Complete the formats of ``--output``."""
    from fraudctl.config import Format

    return [choice.value for choice in Format]


@_silent
def targets(_ctx: typer.Context, _incomplete: str) -> list[str]:
    """Complete the targets."""
    from fraudctl.config import TargetName

    return [choice.value for choice in TargetName]
