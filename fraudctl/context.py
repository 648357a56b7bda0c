"""The one module that knows both targets."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from fraudctl.config import Settings, TargetName
from fraudctl.render import Renderer
from fraudctl.target import Target


@dataclass(frozen=True)
class Context:
    """What a command gets: the settings, the target they choose (opened at first use), and the renderer."""

    settings: Settings
    render: Renderer
    opened: Target | None = None

    @cached_property
    def target(self) -> Target:
        """The chosen target."""
        return self.opened or open_target(self.settings)


def _local(settings: Settings) -> Target:
    from fraudctl.local.target import LocalTarget

    return LocalTarget(settings)


def _aws(settings: Settings) -> Target:
    from fraudctl.aws.target import AwsTarget

    return AwsTarget(settings)


_TARGETS: Final[dict[TargetName, Callable[[Settings], Target]]] = {TargetName.LOCAL: _local, TargetName.AWS: _aws}


def open_target(settings: Settings) -> Target:
    """Give the target that the settings name; constructing it does no I/O."""
    return _TARGETS[settings.target](settings)
