"""The one module that knows both targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from fraudctl.config import Settings, TargetName
from fraudctl.errors import BadConfig, Unreachable

if TYPE_CHECKING:
    from fraudctl.render import Renderer
    from fraudctl.target import Known, Target


@dataclass(frozen=True)
class Context:
    """What a command receives: the settings, the target they choose (constructed at first use), and the renderer."""

    settings: Settings
    render: Renderer
    opened: Target | None = None

    @cached_property
    def target(self) -> Target:
        """The chosen target. Constructing it does no I/O."""
        return self.opened or open_target(self.settings)

    @cached_property
    def running(self) -> Target:
        """The chosen target with its stack deployed and running; a killed supervisor is brought back first.

        Raises:
            NotDeployed: There is no such stack.
            Unreachable: It is deployed, but stopped.
        """
        if not self.target.recover():
            raise Unreachable(
                f"stack {self.settings.stack}: deployed, but not running",
                hint="run `fraudctl deploy` to bring it back; its data is intact",
            )
        return self.target


def _local(settings: Settings) -> Target:
    from fraudctl.local.target import LocalTarget

    return LocalTarget(settings)


def _aws(settings: Settings) -> Target:
    from fraudctl.aws.target import AwsTarget

    return AwsTarget(settings)


_TARGETS: Final[dict[TargetName, Callable[[Settings], Target]]] = {TargetName.LOCAL: _local, TargetName.AWS: _aws}


def open_target(settings: Settings) -> Target:
    """Return the target that the settings name; constructing it does no I/O."""
    return _TARGETS[settings.target](settings)


def known(settings: Settings) -> Known:
    """Return what a shell can complete; raises `BadConfig` for the target AWS, which would have to be asked."""
    if settings.target is not TargetName.LOCAL:
        raise BadConfig("completion: not on AWS in this version", hint="use --target local")
    from fraudctl.local.known import LocalKnown
    from fraudctl.local.processes.paths import StackPaths

    return LocalKnown(StackPaths(settings.home, settings.stack, settings.runtime))
