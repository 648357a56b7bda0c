"""A pause on AWS: what switches the mapping, remembers the pause, and says what it saves.

The pause is remembered as a tag of the application, so that whoever looks at the stack from another machine sees it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fraudctl.aws.costs import Cost, hourly
from fraudctl.aws.errors import asking
from fraudctl.aws.resources import event_source_mapping
from fraudctl.aws.resources.flink import AwsFlink
from fraudctl.aws.session import AwsSession
from fraudctl.clock import Clock
from fraudctl.errors import NotDeployed
from fraudctl.pipeline.text import iso
from fraudctl.target import Event, Paused

TAG: Final = "fraudctl:paused"
_WITH_SAMPLES: Final = "samples=on"
_WITHOUT: Final = "samples=off"
# Logical ids of what costs nothing while it is paused.
_SAVED: Final = frozenset({"FlinkApplication", "SampleTransactionGenerator"})
# lambda, kafka-scaling-modes.md: charged by the minimum of pollers; nothing on a mapping that is disabled.
_MAPPING: Final = "EventSourceMapping"


@dataclass(frozen=True, slots=True)
class Pausing:
    """The pause of one stack."""

    session: AwsSession
    clock: Clock
    flink: AwsFlink

    def paused(self) -> Paused | None:
        """Return what the application's tag says; None without the tag or the application."""
        try:
            arn = self.flink.detail()["ApplicationARN"]
        except NotDeployed:
            return None
        with asking("tags of the flink application"):
            found = self._client.list_tags_for_resource(ResourceARN=arn)["Tags"]
        value = next((tag.get("Value", "") for tag in found if tag["Key"] == TAG), None)
        if value is None:
            return None
        when, _, samples = value.partition(" ")
        since = 0
        with suppress(ValueError):  # somebody has written the tag by hand
            since = int(datetime.fromisoformat(when).timestamp() * 1000)
        return Paused(since, samples == _WITH_SAMPLES)

    def mark(self, paused: Paused | None) -> None:
        """Set the tag, or with None remove it."""
        arn = self.flink.detail()["ApplicationARN"]
        with asking("tags of the flink application"):
            if paused is None:
                self._client.untag_resource(ResourceARN=arn, TagKeys=[TAG])
            else:
                value = f"{iso(paused.since)} {_WITH_SAMPLES if paused.samples else _WITHOUT}"
                self._client.tag_resource(ResourceARN=arn, Tags=[{"Key": TAG, "Value": value}])

    def switch(self, mapping: str, *, on: bool) -> Iterator[Event]:
        """Switch the event source mapping and wait until it is so."""
        return event_source_mapping.switch(self.session.client("lambda"), self.clock, mapping, on=on)

    @property
    def _client(self) -> Any:  # noqa: ANN401 - a boto3 client
        return self.session.client("kinesisanalyticsv2")


def saving(parameters: Mapping[str, str]) -> Sequence[str]:
    """Return what a pause saves an hour and what goes on, by list prices of us-east-1."""
    prices = hourly(parameters)
    saved = [price for price in prices if price.resource in _SAVED]
    left = [price for price in prices if price.resource not in {*_SAVED, _MAPPING} and price.usd_per_hour != 0]
    mapping = [price for price in prices if price.resource == _MAPPING]
    return (
        f"saved: about ${_sum(saved):.2f} an hour, for application and samples",
        f"perhaps saved: ${_sum(mapping):.3f} an hour for the poller; AWS does not say if a disabled one costs",
        f"still costs: {_about(left)} ${_sum(left):.2f} an hour: {'; '.join(price.what for price in left)}",
        "the alarm application-stopped goes off after 15 min, as it should",
    )


def _sum(prices: Sequence[Cost]) -> float:
    return sum(price.usd_per_hour or 0 for price in prices)


def _about(prices: Sequence[Cost]) -> str:
    return "at least" if any(price.usd_per_hour is None for price in prices) else "about"
