"""What a local stack remembers between commands: its ports, and whether it was deployed to the end."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class StackState:
    """The contents of stack.json. `programs` has a digest of what each running program was started with."""

    ports: Mapping[str, int] = field(default_factory=dict)
    deployed: bool = False
    samples: bool = True
    hold_ms: int = 60_000
    slack_ms: int = 5_000
    programs: Mapping[str, str] = field(default_factory=dict)
    jar: str = ""
    format: int = _FORMAT

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Read the file; None when it is missing or was cut off by a crash."""
        try:
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return cls(**data) if data.get("format") == _FORMAT else None
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            return None

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        new = path.with_suffix(".new")
        with new.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def change(self, **changes: Any) -> Self:  # noqa: ANN401 - the fields' own types
        """Give a changed copy."""
        return replace(self, **changes)
