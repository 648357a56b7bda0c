"""TopicReader and TopicWriter in this process: their real handlers, JSON both ways, Lambda's limits."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

from lambda_tools import load

from fraudctl.aws.resources.functions import FunctionError

LARGEST_BYTES: Final = 6_291_456
FOLDERS: Final = {"TopicReader": "topic_reader", "TopicWriter": "topic_writer"}


@dataclass(frozen=True)
class Context:
    """Lambda's context with a fixed end."""

    ends: float

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until then."""
        return int((self.ends - time.monotonic()) * 1000)


@dataclass
class TopicFunctions:
    """Invokes the two; `invoked` counts, `sizes` has the bytes of each answer."""

    modules: Mapping[str, ModuleType]
    invoked: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    before: Callable[[str], None] = lambda _: None

    def invoke(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke one as `AwsFunctions` does."""
        body = json.dumps(payload).encode()
        assert len(body) <= LARGEST_BYTES
        self.before(name)
        self.invoked.append(name)
        try:
            result = self.modules[name].handler(json.loads(body), Context(time.monotonic() + 60))
        except Exception as error:
            raise FunctionError(f"{name}: {error}", kind=type(error).__name__) from error
        answer = json.dumps(result).encode()
        self.sizes.append(len(answer))
        if len(answer) > LARGEST_BYTES:
            raise FunctionError("too large", kind="Function.ResponseSizeTooLarge")
        found: dict[str, Any] = json.loads(answer)
        return found


def topic_functions() -> TopicFunctions:
    """Load both anew; the environment has their brokers."""
    return TopicFunctions({name: load(folder) for name, folder in FOLDERS.items()})


def environment(brokers: str) -> dict[str, str]:
    """Return the variables of both, as the template sets them."""
    return {
        "TOPIC_READER_BOOTSTRAP_SERVERS": brokers,
        "TOPIC_READER_GROUPS": "fraud-detection,demo-audit-writer",
        "TOPIC_WRITER_BOOTSTRAP_SERVERS": brokers,
    }
