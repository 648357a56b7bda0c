"""Commands in messages that work when pasted: as this program was called, with the target and stack it was given."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from fraudctl.config import Settings

_COMMAND: Final = re.compile(r"`fraudctl(?= |`)([^`]*)`")
_OPTIONS: Final = ("target", "stack", "region", "profile")


@dataclass(frozen=True, slots=True)
class Invocation:
    """How this program was called: its name as the shell finds it, and the options that say where it works."""

    program: str = "fraudctl"
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, program: str) -> Self:
        """Return the invocation by these settings; what came from the environment or a file needs no repeating."""
        values: dict[str, Any] = {name: getattr(settings, name) for name in _OPTIONS}
        given = {
            f"--{name}": str(value)
            for name, value in values.items()
            if settings.sources.get(name, "").startswith("--") and value is not None
        }
        return cls(program, given)

    def paste(self, text: str) -> str:
        """Return the text with every `fraudctl …` in backticks written so that it does what it says when pasted."""
        return _COMMAND.sub(self._command, text)

    def _command(self, match: re.Match[str]) -> str:
        words = match[1].split()
        given = [f"{name} {shlex.quote(value)}" for name, value in self.options.items() if name not in words]
        return f"`{' '.join([self.program, *given, *match[1].split(' ')[1:]])}`"
