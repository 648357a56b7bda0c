"""What a local stack remembers between commands: its ports, and whether it was deployed to the end."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from fraudctl.atomic import atomic_write
from fraudctl.pipeline import topics

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class StackState:
    """The contents of stack.json. `programs` has a digest of what each running program was started with.

    `paused` has the fields of `Paused`; None while the stack is not paused.
    """

    ports: Mapping[str, int] = field(default_factory=dict)
    deployed: bool = False
    hold_ms: int = 60_000
    slack_ms: int = 5_000
    partitions: int = topics.PARTITIONS
    parallelism: int = 1
    programs: Mapping[str, str] = field(default_factory=dict)
    paused: Mapping[str, Any] | None = None
    format: int = _FORMAT

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Return what the file says; None when it is missing or damaged. Fields of other versions are left out."""
        try:
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            known = {field.name: data[field.name] for field in fields(cls) if field.name in data}
            return cls(**known) if data.get("format") == _FORMAT else None
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            return None

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        atomic_write(path, json.dumps(asdict(self), indent=2).encode(), durable=True)

    def change(self, **changes: Any) -> Self:  # noqa: ANN401 - the fields' own types
        """Return a changed copy."""
        return replace(self, **changes)
