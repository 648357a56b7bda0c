"""What the runner hosts, as one JSON file."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSpec:
    """One function: its full name, its folder below the lambdas folder, its environment and its time-out."""

    name: str
    folder: str
    environment: dict[str, str] = field(default_factory=dict)
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpec:
    """Invoke `function` with `payload` every `every_s` seconds; `state_file` keeps whether it is on."""

    function: str
    payload: dict[str, Any]
    state_file: str
    every_s: float = 60.0
    enabled: bool = True  # until the state file says otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSourceMappingSpec:
    """Feed `topic` to `function` as MSK events.

    `retries` bounds how often records that the function reports as failed are tried again before they go to the folder
    `on_failure`; `error_retries` the same for invocations that fail as a whole, where -1 means for ever. `state_file`
    keeps which topic the group's offsets belong to, and which losses were accepted.
    """

    function: str
    topic: str
    group: str
    on_failure: str
    state_file: str
    batch_size: int = 100
    window_ms: int = 100
    retries: int = 3
    error_retries: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSpec:
    """Everything the runner needs to know."""

    port: int
    lambdas_folder: str
    functions: tuple[FunctionSpec, ...]
    bootstrap_servers: str
    schedule: ScheduleSpec | None = None
    mapping: EventSourceMappingSpec | None = None
    log_level: str = "INFO"

    def to_json(self) -> str:
        """Write the specification."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; raises TypeError or KeyError for anything else."""
        data = json.loads(text)
        schedule, mapping = data.get("schedule"), data.get("mapping")
        return cls(
            **{
                **data,
                "functions": tuple(FunctionSpec(**function) for function in data["functions"]),
                "schedule": ScheduleSpec(**schedule) if schedule else None,
                "mapping": EventSourceMappingSpec(**mapping) if mapping else None,
            }
        )
