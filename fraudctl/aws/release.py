"""What a deploy brings along: the template and the artefacts, built here, published before the stack needs them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fraudctl.target import Event


@dataclass(frozen=True, slots=True)
class Price:
    """One line of the bill: dollars an hour, None where the price is not known."""

    what: str
    hourly: float | None


class Release(Protocol):
    """One version of the pipeline."""

    def template(self) -> str:
        """Give the CloudFormation template's text."""

    def prepare(self) -> Iterator[Event]:
        """Download and build what is not there yet."""

    def parameters(self) -> Mapping[str, str]:
        """Give the parameters that name bucket and artefacts, building what is not built yet."""

    def publish(self) -> Iterator[Event]:
        """Upload what the bucket does not hold yet; makes the bucket when it is missing."""

    def costs(self, parameters: Mapping[str, str]) -> Sequence[Price]:
        """Give what costs what an hour with these parameters, which are all of the template's."""

    def remove(self) -> Iterator[Event]:
        """Empty the bucket, old versions included, and delete it."""
