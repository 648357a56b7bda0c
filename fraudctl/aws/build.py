"""The release of this installation: the packaged template, and the artefacts built from it below the cache."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

from fraudctl.artifacts.bundles import Bundles, build_all, template_body
from fraudctl.artifacts.callbacks import reported
from fraudctl.artifacts.downloads import Progress
from fraudctl.artifacts.resources import resource
from fraudctl.aws import costs
from fraudctl.aws.preflight import TAG
from fraudctl.aws.release import Price
from fraudctl.aws.resources.bucket import ArtifactBucket, bucket_name
from fraudctl.aws.session import AwsSession
from fraudctl.clock import Clock
from fraudctl.config import Settings
from fraudctl.target import Event, Phase

TEMPLATE: Final = "fraud-detection-stack.yaml"


class Build:
    """Builds at first use; a second use costs a second at most."""

    def __init__(self, settings: Settings, session: AwsSession, clock: Clock) -> None:
        """Keep the collaborators; no I/O."""
        self._settings, self._session, self._clock = settings, session, clock
        self._built: Bundles | None = None

    def template(self) -> str:
        """Give the template without its comments, which keeps it below CloudFormation's limit."""
        return template_body(resource("cfn") / TEMPLATE)

    def prepare(self) -> Iterator[Event]:
        """Build what is not built yet, with the downloads' progress."""

        def build(hear: Callable[[Progress], None]) -> Bundles:
            return build_all(self._settings.cache, java_home=self._settings.java_home, progress=hear)

        yield Event("artefacts", Phase.STARTED, "building")
        work = reported(build)
        while True:
            try:
                report = next(work)
            except StopIteration as end:
                self._built = end.value
                break
            yield Event("artefacts", Phase.PROGRESS, report.current, report.done_bytes, report.total_bytes)
        zips = self._bundles.zips
        sizes = ", ".join(f"{made.path.name.rpartition('-')[0]} {made.size_bytes / 1e6:.1f} MB" for made in zips)
        slowest = max((made.import_ms for made in zips), default=0)
        yield Event("artefacts", Phase.DONE, f"{sizes}; handlers import within {slowest} ms")

    def parameters(self) -> Mapping[str, str]:
        """Give bucket and keys."""
        return {"ArtifactBucket": self._bucket.name, **self._bundles.parameters()}

    def publish(self) -> Iterator[Event]:
        """Make the bucket when it is missing, then upload what it does not hold."""
        yield Event("artefacts", Phase.STARTED, "looking into the bucket")
        if self._bucket.ensure():
            yield Event("artefacts", Phase.NOTE, f"bucket {self._bucket.name} made")
        done = False

        def upload(hear: Callable[[Event], None]) -> dict[Path, str]:
            return self._bucket.upload(self._bundles.paths(), hear)

        for event in reported(upload):
            done = done or event.phase is Phase.DONE
            yield event
        if not done:
            yield Event("artefacts", Phase.DONE, "unchanged, nothing uploaded")

    def costs(self, parameters: Mapping[str, str]) -> Sequence[Price]:
        """Give what costs by the hour."""
        return [Price(cost.what, cost.usd_per_hour) for cost in costs.hourly(parameters) if cost.usd_per_hour != 0]

    def remove(self) -> Iterator[Event]:
        """Empty and delete the bucket."""
        yield Event("artefacts", Phase.STARTED, f"removing bucket {self._bucket.name}")
        there = self._bucket.delete()
        yield Event("artefacts", Phase.DONE, "bucket removed" if there else "no bucket")

    @property
    def _bundles(self) -> Bundles:
        if self._built is None:
            self._built = build_all(self._settings.cache, java_home=self._settings.java_home)
        return self._built

    @cached_property
    def _bucket(self) -> ArtifactBucket:
        account = self._session.account()
        name = bucket_name(self._settings.stack, account, self._session.region)
        tags = {TAG: self._settings.stack}
        return ArtifactBucket(self._session, name, account=account, tags=tags, sleep=self._clock.sleep)
