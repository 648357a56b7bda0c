"""The newest values of CloudWatch's metrics."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fraudctl.aws.errors import asking
from fraudctl.clock import Clock

# Metrics arrive within a minute or two, and one that is older than this says nothing of now.
_WINDOW: Final = timedelta(minutes=10)
_PERIOD_SECONDS: Final = 60
# There is a value a minute, and each one that is asked for costs.
_KEPT_SECONDS: Final = 30.0

Found = Mapping[str, float]


class Metrics:
    """Asks CloudWatch, and again only after half a minute: `status --watch` looks every 2 s."""

    def __init__(self, cloudwatch: Callable[[], Any], clock: Clock) -> None:
        """Store where to ask; no I/O."""
        self._cloudwatch, self._clock = cloudwatch, clock
        self._known: dict[tuple[str, str], tuple[float, Found]] = {}

    def newest(self, namespace: str, dimension: tuple[str, str], names: Sequence[str]) -> Found:
        """Return each metric's newest maximum of a minute, of those that have one, over all that carry the dimension.

        Searched, not named: with which other dimensions a metric comes is not always documented.
        """
        at = self._clock.monotonic()
        asked, found = self._known.get(dimension, (float("-inf"), {}))
        if at - asked >= _KEPT_SECONDS:
            found = self._ask(namespace, dimension, names)
            self._known[dimension] = at, found
        return found

    def _ask(self, namespace: str, dimension: tuple[str, str], names: Sequence[str]) -> Found:
        wanted = " OR ".join(f'MetricName="{name}"' for name in names)
        key, value = dimension
        search = f"SEARCH('Namespace=\"{namespace}\" {key}=\"{value}\" ({wanted})', 'Maximum', {_PERIOD_SECONDS})"
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        found: dict[str, tuple[datetime, float]] = {}
        with asking("metrics"):
            pages = (
                self._cloudwatch()
                .get_paginator("get_metric_data")
                .paginate(
                    MetricDataQueries=[{"Id": "found", "Expression": search, "Label": "${PROP('MetricName')}"}],
                    StartTime=now - _WINDOW,
                    EndTime=now,
                    ScanBy="TimestampDescending",
                )
            )
            for series in (series for page in pages for series in page["MetricDataResults"]):
                name = series.get("Label", "")
                for point in zip(series["Timestamps"], series["Values"], strict=False):
                    if name in names:
                        found[name] = max(found.get(name, point), point)
        return {name: value for name, (_, value) in found.items()}
