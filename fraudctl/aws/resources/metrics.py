"""The newest values of CloudWatch's metrics."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fraudctl.aws.errors import asking
from fraudctl.clock import Clock

# Metrics arrive within a minute or two, and one that is older than this says nothing of now.
_WINDOW: Final = timedelta(minutes=10)
_PERIOD_SECONDS: Final = 60


def newest(
    cloudwatch: Any,  # noqa: ANN401 - a boto3 client
    clock: Clock,
    *,
    namespace: str,
    dimension: tuple[str, str],
    names: Sequence[str],
) -> Mapping[str, float]:
    """Return each metric's newest maximum of a minute, of those that have one, over all that carry the dimension.

    Searched, not named: with which other dimensions a metric comes is not always documented.
    """
    wanted = " OR ".join(f'MetricName="{name}"' for name in names)
    key, value = dimension
    search = f"SEARCH('Namespace=\"{namespace}\" {key}=\"{value}\" ({wanted})', 'Maximum', {_PERIOD_SECONDS})"
    now = datetime.fromtimestamp(clock.now(), UTC)
    found: dict[str, tuple[datetime, float]] = {}
    with asking("metrics"):
        pages = cloudwatch.get_paginator("get_metric_data").paginate(
            MetricDataQueries=[{"Id": "found", "Expression": search, "Label": "${PROP('MetricName')}"}],
            StartTime=now - _WINDOW,
            EndTime=now,
            ScanBy="TimestampDescending",
        )
        for series in (series for page in pages for series in page["MetricDataResults"]):
            name = series.get("Label", "")
            for point in zip(series["Timestamps"], series["Values"], strict=False):
                if name in names:
                    found[name] = max(found.get(name, point), point)
    return {name: value for name, (_, value) in found.items()}
