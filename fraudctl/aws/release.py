"""What a deploy brings along: the packaged template, and the artifacts that are built from this installation.

They are built below the cache, and published to the artifact bucket before the stack needs them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

from fraudctl.artifacts.bundles import Bundles, build_all, template_body
from fraudctl.artifacts.callbacks import reported
from fraudctl.artifacts.downloads import Progress
from fraudctl.artifacts.resources import resource
from fraudctl.aws import costs
from fraudctl.aws.costs import Cost
from fraudctl.aws.names import Names
from fraudctl.aws.resources.bucket import COMPONENT, ArtifactBucket
from fraudctl.aws.session import AwsSession
from fraudctl.clock import Clock
from fraudctl.config import Settings
from fraudctl.target import Event, Phase

TEMPLATE: Final = "fraud-detection-stack.yaml"
# What CloudFormation takes in a call; a longer template has to lie in a bucket.
LARGEST_BODY: Final = 51_200


class Release:
    """One version of the pipeline. It is built at first use; a second use takes a second at most."""

    def __init__(self, settings: Settings, session: AwsSession, clock: Clock) -> None:
        """Store the collaborators; no I/O."""
        self._settings, self._session, self._clock = settings, session, clock
        self._built: Bundles | None = None
        self._bucket_is_new = False

    def template(self) -> str:
        """Return the template without its comments."""
        return template_body(resource("cfn") / TEMPLATE)

    def template_url(self, body: str) -> str:
        """Return where CloudFormation reads a template that is too long for a call; empty when it is not.

        The template is put into the bucket, which is created if need be; `withdraw` removes it if only a plan was made.
        """
        if len(body.encode()) <= LARGEST_BODY:
            return ""
        if not self._bucket.exists():
            self._bucket_is_new = self._bucket.ensure()
        return self._bucket.put_template(body)

    def withdraw(self) -> None:
        """Remove the bucket again that only a plan has needed; harmless otherwise."""
        if self._bucket_is_new:
            self._bucket_is_new = False
            self._bucket.delete()

    def build(self) -> Iterator[Event]:
        """Download and build what is not built yet, and yield the progress of the downloads."""

        def build(report: Callable[[Progress], None]) -> Bundles:
            return build_all(self._settings.cache, java_home=self._settings.java_home, progress=report)

        yield Event(COMPONENT, Phase.STARTED, "building")
        work = reported(build)
        while True:
            try:
                progress = next(work)
            except StopIteration as end:
                self._built = end.value
                break
            yield Event(COMPONENT, Phase.PROGRESS, progress.current, progress.done_bytes, progress.total_bytes)
        zips = self._bundles.zips
        sizes = ", ".join(f"{made.path.name.rpartition('-')[0]} {made.size_bytes / 1e6:.1f} MB" for made in zips)
        slowest = max((made.import_ms for made in zips), default=0)
        yield Event(COMPONENT, Phase.DONE, f"{sizes}; handlers import within {slowest} ms")

    def parameters(self) -> Mapping[str, str]:
        """Return the template's parameters that name bucket and artifacts, building what is not built yet."""
        return {"ArtifactBucket": self._bucket.name, **self._bundles.parameters()}

    def publish(self) -> Iterator[Event]:
        """Create the bucket when it is missing, then upload what it does not hold."""
        yield Event(COMPONENT, Phase.STARTED, "looking into the bucket")
        if self._bucket.ensure() or self._bucket_is_new:
            yield Event(COMPONENT, Phase.NOTE, f"bucket {self._bucket.name} created")
        self._bucket_is_new = False
        done = False

        def upload(report: Callable[[Event], None]) -> dict[Path, str]:
            return self._bucket.upload(self._bundles.paths(), report)

        for event in reported(upload):
            done = done or event.phase is Phase.DONE
            yield event
        if not done:
            yield Event(COMPONENT, Phase.DONE, "unchanged, nothing uploaded")

    def costs(self, parameters: Mapping[str, str]) -> Sequence[Cost]:
        """Return what costs something by the hour with these parameters, which are all of the template's."""
        return [cost for cost in costs.hourly(parameters) if cost.usd_per_hour != 0]

    def remove(self) -> Iterator[Event]:
        """Empty the bucket, old versions included, and delete it."""
        yield Event(COMPONENT, Phase.STARTED, f"removing bucket {self._bucket.name}")
        existed = self._bucket.delete()
        yield Event(COMPONENT, Phase.DONE, "bucket removed" if existed else "no bucket")

    @property
    def _bundles(self) -> Bundles:
        if self._built is None:
            self._built = build_all(self._settings.cache, java_home=self._settings.java_home)
        return self._built

    @cached_property
    def _bucket(self) -> ArtifactBucket:
        account, names = self._session.account(), Names(self._settings.stack)
        name = names.artifact_bucket(account, self._session.region)
        return ArtifactBucket(self._session, name, account=account, tags=names.tags, clock=self._clock)
