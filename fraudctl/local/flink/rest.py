"""Flink's REST API, in the questions that are asked here.

https://nightlies.apache.org/flink/flink-docs-release-2.3/docs/ops/rest_api/
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fraudctl.clock import Clock
from fraudctl.errors import FraudctlError
from fraudctl.local.clients import JsonClient
from fraudctl.pipeline.questions import Place

NAME: Final = "flink"
# The group that Managed Flink sends to CloudWatch; the application uses it on both targets.
_METRICS: Final = ".KinesisAnalytics."
_OBSERVED_AT: Final = ".observedAtMs"
# How the names of vertices begin, in Main.java and in Flink.
_DETECTION: Final = "detection"
_SOURCE: Final = "Source: "
_OVERVIEW_SECONDS: Final = 3.0
_LEAST_SECONDS: Final = 0.1
_METRICS_SECONDS: Final = 2.0
_METRICS_EVERY_SECONDS: Final = 0.2
_FRESH_MS: Final = 2_000
# The offset of the newest record that a source has handed on, -1 before its first:
# KafkaSourceReaderMetrics in https://github.com/apache/flink-connector-kafka. Topic names may contain dots.
_OFFSET: Final = re.compile(r"\.KafkaSourceReader\.topic\.(?P<topic>.+)\.partition\.(?P<partition>\d+)\.currentOffset$")


@dataclass(frozen=True, slots=True)
class Metrics:
    """The application's own metrics, added up over its tasks, and when they were taken (epoch milliseconds)."""

    values: Mapping[str, int | float]
    at: int | None


@dataclass(frozen=True, slots=True)
class StopResult:
    """How a stop with savepoint stands: where the savepoint lies, or why there is none; both None while it runs."""

    location: str | None = None
    failure: str | None = None


class FlinkRest:
    """The application's own server; `address` gives ``http://127.0.0.1:8081``."""

    def __init__(self, address: Callable[[], str], *, clock: Clock = Clock()) -> None:  # noqa: B008 - frozen
        """Store where to ask; no I/O."""
        self._client, self._clock = JsonClient(NAME, address), clock

    @property
    def address(self) -> str:
        """The address of the web UI."""
        return self._client.address

    def job(self, *, timeout: float = _OVERVIEW_SECONDS) -> Mapping[str, Any] | None:
        """Return the newest job of the overview, None without one; raises `Unreachable` or `OperationFailed`.

        The overview, because Flink answers ``/jobs/ID`` from a cache of 3 s.
        """
        return _newest(self._client.get("/jobs/overview", timeout=timeout))

    def ready(self) -> bool:
        """Return whether the application runs (see `all_running`); False too when nothing answers."""
        try:
            job = self.job()
        except FraudctlError:
            return False
        return job is not None and all_running(job)

    def checkpoints(self, job_id: str) -> Mapping[str, Any]:
        """Return the counts and the newest of the job's checkpoints."""
        found: Mapping[str, Any] = self._client.get(f"/jobs/{job_id}/checkpoints")
        return found

    def exception(self, job_id: str) -> str | None:
        """Return the first line of what made the job fail last; None when nothing did."""
        root = self._client.get(f"/jobs/{job_id}/exceptions").get("root-exception")
        return str(root).splitlines()[0] if root else None

    def metrics(self, job_id: str) -> Metrics:
        """Return the application's own metrics of now, or the newest that there are after two seconds.

        Flink answers with what it knew at the question before, so one question alone may get values of minutes ago.
        """
        vertices = self._client.get(f"/jobs/{job_id}").get("vertices", [])
        found = Metrics({}, None)
        for _ in self._clock.poll(_METRICS_EVERY_SECONDS, within=_METRICS_SECONDS):
            found = self._metrics(job_id, [vertex["id"] for vertex in vertices])
            if found.at is not None and self._clock.now() * 1000 - found.at < _FRESH_MS:
                break
        return found

    def _metrics(self, job_id: str, vertices: Sequence[str]) -> Metrics:
        values: dict[str, int | float] = {}
        at: int | None = None
        for vertex in vertices:
            base = f"/jobs/{job_id}/vertices/{vertex}/subtasks/metrics"
            names = [metric["id"] for metric in self._client.get(base)]
            ours = [name for name in names if _METRICS in name or name.endswith(_OBSERVED_AT)]
            for metric in self._client.get(f"{base}?get={','.join(ours)}&agg=min,sum") if ours else []:
                if metric["id"].endswith(_OBSERVED_AT):
                    at = int(metric["min"])
                else:
                    name = metric["id"].rsplit(_METRICS, 1)[1]
                    values[name] = values.get(name, 0) + int(metric["sum"])
        return Metrics(values, at)

    def positions(self, *, since: float, within: float) -> Mapping[Place, int | None] | None:
        """Return the next offset of each partition that the job reads, at `since` (epoch seconds) or later.

        None for a partition of which it has read nothing since its start. None instead of all of them when the job does
        not run, or has not said so `within` seconds. Raises `Unreachable` or `OperationFailed`.
        """
        deadline = self._clock.monotonic() + within

        def ask(path: str) -> Any:  # noqa: ANN401 - any JSON
            return self._client.get(path, timeout=max(_LEAST_SECONDS, deadline - self._clock.monotonic()))

        job = _newest(ask("/jobs/overview"))
        if job is None or not all_running(job):
            return None
        base = f"/jobs/{job['jid']}"
        metrics = {item["name"]: f"{base}/vertices/{item['id']}/subtasks/metrics" for item in ask(base)["vertices"]}
        sources = [path for name, path in metrics.items() if name.startswith(_SOURCE)]
        observed = next(path for name, path in metrics.items() if name.startswith(_DETECTION))
        for _ in self._clock.poll(_METRICS_EVERY_SECONDS, within=within):
            # Flink fetches all metrics at once: what is asked for after this time is not older.
            found = ask(f"{observed}?get={_DETECTION}{_OBSERVED_AT}&agg=min")
            if found and found[0]["min"] >= since * 1000:
                break
        else:
            return None
        positions: dict[Place, int | None] = {}
        for path in sources:
            names = [metric["id"] for metric in ask(path) if _OFFSET.search(metric["id"])]
            for metric in ask(f"{path}?get={','.join(names)}&agg=max") if names else []:
                positions[_place(metric["id"])] = _next(metric["max"])
        return positions or None

    def stop(self, job_id: str, savepoints: Path) -> str:
        """Ask for a savepoint below `savepoints` and the job's end after it, and return the request's id."""
        body = {"targetDirectory": f"file://{savepoints}", "drain": False}
        return str(self._client.post(f"/jobs/{job_id}/stop", body)["request-id"])

    def stop_result(self, job_id: str, request_id: str) -> StopResult:
        """Return how a requested stop stands."""
        answer = self._client.get(f"/jobs/{job_id}/savepoints/{request_id}")
        operation = answer.get("operation") or {}
        if answer["status"]["id"] != "COMPLETED":
            return StopResult()
        if "failure-cause" in operation:
            why = str(operation["failure-cause"].get("stack-trace", "")).splitlines()
            return StopResult(failure=why[0] if why else "unknown")
        return StopResult(location=str(operation["location"]))


def all_running(job: Mapping[str, Any]) -> bool:
    """Return whether a job of the overview is RUNNING with every task of it; one without tasks is not yet."""
    return bool(job["state"] == "RUNNING" and job["tasks"]["running"] == job["tasks"]["total"] > 0)


def _newest(overview: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return max(overview["jobs"], key=lambda job: job["start-time"], default=None)


def _place(metric: str) -> Place:
    found = _OFFSET.search(metric)
    assert found is not None  # noqa: S101 - only such metrics were asked for
    return found["topic"], int(found["partition"])


def _next(current: float) -> int | None:
    return int(current) + 1 if current >= 0 else None
