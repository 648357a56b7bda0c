"""The commands as Typer built them."""

from collections.abc import Iterator
from typing import Any, Final

import typer

from fraudctl.cli import app

TREE: Final[Any] = typer.main.get_command(app)


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every command that does something, by its full name."""
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from leaves(child, (*path, name))
        else:
            yield " ".join((*path, name)), child
