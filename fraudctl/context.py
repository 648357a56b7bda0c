"""The one module that knows both targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fraudctl.config import Settings, TargetName
from fraudctl.errors import BadConfig, Unreachable

if TYPE_CHECKING:
    from fraudctl.render import Renderer
    from fraudctl.services.seal.archive import Archive
    from fraudctl.target import Known, Target

Note = Callable[[str], None]


@dataclass(frozen=True)
class Context:
    """What a command receives: the settings, the target they choose (constructed at first use), and the renderer."""

    settings: Settings
    render: Renderer
    opened: Target | None = None

    def having(self, **given: int | None) -> Context:
        """Return a context with settings given to the command itself; those that are None were not given."""
        values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        sources = {**self.settings.sources, **{name: f"--{name}" for name in values}}
        return replace(self, settings=replace(self.settings, **values, sources=sources))

    @cached_property
    def target(self) -> Target:
        """The chosen target. Constructing it does no I/O."""
        return self.opened or open_target(self.settings, self.render.note)

    @cached_property
    def running(self) -> Target:
        """The chosen target with its stack deployed and running; a killed supervisor is brought back first.

        Raises:
            NotDeployed: There is no such stack.
            Unreachable: It is deployed, but stopped or paused.
        """
        if not self.target.recover():
            if self.target.stack.paused() is not None:
                raise Unreachable(f"stack {self.settings.stack}: it is paused", hint="run `fraudctl resume`")
            raise Unreachable(
                f"stack {self.settings.stack}: deployed, but not running",
                hint="run `fraudctl deploy` to bring it back; its data is intact",
            )
        return self.target

    def archive(self, place: str) -> Archive:
        """Return where seals lie: a folder, or a bucket (``s3://BUCKET/PREFIX``) on either target. No I/O."""
        if place.startswith("s3://"):
            from fraudctl.aws.resources.archive import BucketArchive
            from fraudctl.aws.session import AwsSession

            return BucketArchive(AwsSession(self.settings.region, self.settings.profile), place)
        from fraudctl.services.seal.archive import FolderArchive

        return FolderArchive(Path(place).expanduser())


def _local(settings: Settings, _note: Note) -> Target:
    from fraudctl.local.target import LocalTarget

    return LocalTarget(settings)


def _aws(settings: Settings, note: Note) -> Target:
    from fraudctl.aws.target import AwsTarget

    return AwsTarget(settings, note=note)


_TARGETS: Final[dict[TargetName, Callable[[Settings, Note], Target]]] = {TargetName.LOCAL: _local, TargetName.AWS: _aws}


def open_target(settings: Settings, note: Note = lambda _: None) -> Target:
    """Return the target that the settings name; constructing it does no I/O. `note` tells people what is waited for."""
    return _TARGETS[settings.target](settings, note)


def known(settings: Settings) -> Known:
    """Return what a shell can complete; raises `BadConfig` for the target AWS, which would have to be asked."""
    if settings.target is not TargetName.LOCAL:
        raise BadConfig("completion: not on AWS in this version", hint="use --target local")
    from fraudctl.local.known import LocalKnown
    from fraudctl.local.processes.paths import StackPaths

    return LocalKnown(StackPaths(settings.home, settings.stack, settings.runtime))
