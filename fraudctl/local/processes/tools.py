"""What the local programs run with: Java, the pinned jars, and the jars compiled from source."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from fraudctl.artifacts.callbacks import reported
from fraudctl.artifacts.downloads import Downloads, Progress
from fraudctl.artifacts.jars import JarBuild, flink_build
from fraudctl.artifacts.java import java_executable, version
from fraudctl.artifacts.pins import Lock
from fraudctl.artifacts.resources import resource
from fraudctl.local.processes import class_data
from fraudctl.target import Event, Phase

_NAME: Final = "packages"
_LOCAL: Final = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Tools:
    """Paths of everything that a program's command line names.

    `local_jar` has DynamoDB Local's launcher, and what keeps web pages away from it and from Flink's REST API.
    """

    java: Path
    kafka: list[Path]
    dynamodb: list[Path]
    flink: list[Path]
    flink_jar: Path
    local_jar: Path
    cache: Path


class Toolbox:
    """Brings the tools: downloads and compiles what is missing, and does nothing when all is there."""

    def __init__(self, cache: Path, java_home: Path | None) -> None:
        """Store the cache's folder and the user's own Java, if any; no I/O."""
        self._cache, self._java_home = cache, java_home
        self._downloads = Downloads(cache)

    def missing(self) -> str:
        """Return what `ensure` would fetch or build; empty when all is there."""
        if absent := self._downloads.missing(self._locks.values()):
            return f"{len(absent)} files, {sum(artifact.size for artifact in absent) / 1e6:.0f} MB"
        return "" if all(build.path().is_file() for build in self._builds.values()) else "to be compiled"

    def ensure(self) -> Iterator[Event]:
        """Download and compile what is missing; raises what `Downloads.ensure` and `JarBuild.make` raise."""
        if self._downloads.missing(self._locks.values()):
            yield Event(_NAME, Phase.STARTED, "looking")
            yield from self._download()
        for name, build in self._builds.items():
            if not build.path().is_file():
                yield Event("compiler", Phase.STARTED, f"compiling for {name}")
                made = build.make(self._java)
                yield Event("compiler", Phase.DONE, made.name)
        # One layer of class data for every program of this Java: a second once, half a second less at each start.
        class_data.make_base(self._java, self._cache, version(self._java))

    def tools(self) -> Tools:
        """Return the paths; they exist after `ensure`."""
        return Tools(
            java=self._java,
            kafka=self._paths("kafka"),
            dynamodb=self._paths("dynamodb"),
            flink=self._paths("flink"),
            flink_jar=self._builds["flink"].path(),
            local_jar=self._builds["local"].path(),
            cache=self._cache,
        )

    def versions(self) -> dict[str, str]:
        """Return the versions that the lock files pin, by program."""
        leading = {"kafka": "org.apache.kafka:kafka_", "dynamodb": ":DynamoDBLocal:", "flink": ":flink-runtime:"}
        return {
            name: artifact.coordinates.split(":")[2]
            for name, part in leading.items()
            for artifact in self._locks[name].artifacts
            if part in artifact.coordinates
        }

    @cached_property
    def _java(self) -> Path:
        return java_executable(self._java_home)

    @cached_property
    def _locks(self) -> dict[str, Lock]:
        flink = resource("flink")
        return {
            "kafka": Lock.load(_LOCAL / "kafka" / "kafka.lock"),
            "dynamodb": Lock.load(_LOCAL / "dynamodb" / "dynamodb.lock"),
            "flink": Lock.load(flink / "jars.lock"),
            "compiler": Lock.load(flink / "compiler.lock"),
        }

    @cached_property
    def _builds(self) -> dict[str, JarBuild]:
        (ecj,) = self._paths("compiler")
        out = self._cache / "built"
        return {
            # What both servers load of ours, on this machine only: nothing of it is in the jar for AWS.
            "local": JarBuild(
                "local-servers",
                _LOCAL / "java_src",
                (*self._paths("dynamodb"), *self._paths("flink")),
                ecj,
                out,
            ),
            "flink": flink_build(ecj, self._paths("flink"), resource("flink") / "src", out),
        }

    def _paths(self, name: str) -> list[Path]:
        return self._downloads.paths(self._locks[name])

    def _download(self) -> Iterator[Event]:
        total = 0

        def download(report: Callable[[Progress], None]) -> list[Path]:
            return self._downloads.ensure(self._locks.values(), report)

        for progress in reported(download):
            total = progress.total_bytes
            yield Event(_NAME, Phase.PROGRESS, progress.current, progress.done_bytes, total)
        yield Event(_NAME, Phase.DONE, f"{total / 1e6:.0f} MB downloaded" if total else "verified")
