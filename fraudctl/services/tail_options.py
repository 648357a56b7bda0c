"""The options of `tail` as typed; `fraudctl.services.tail` says what they mean together."""

from dataclasses import dataclass
from enum import StrEnum


class Order(StrEnum):
    """How records of several partitions are ordered: merged by the brokers' timestamps, or as they arrive."""

    TIME = "time"
    PARTITION = "partition"


@dataclass(frozen=True, slots=True, kw_only=True)
class TailOptions:
    """What was asked of `tail`; None is what was not."""

    last: int | None = None
    from_beginning: bool = False
    since: str | None = None
    until: str | None = None
    offsets: str | None = None
    partitions: tuple[int, ...] = ()
    follow: bool | None = None
    most: int | None = None
    duration: str | None = None
    order: Order = Order.TIME
    where: str | None = None
    account: str | None = None
    key: str | None = None
    grep: str | None = None
    sample: str | None = None
    why_not: bool = False
    expect: int | None = None
    timeout: str | None = None
    stats: bool = False

    def rest(self) -> tuple[str, ...]:
        """Return the options that hold wherever a read begins and ends, as they are typed."""
        pairs = (
            ("--where", self.where),
            ("--account", self.account),
            ("--key", self.key),
            ("--grep", self.grep),
            ("--sample", self.sample),
        )
        given = [part for name, value in pairs if value is not None for part in (name, value)]
        order = () if self.order is Order.TIME else ("--order", self.order.value)
        flags = (("--why-not", self.why_not), ("--stats", self.stats))
        return (*given, *(name for name, is_given in flags if is_given), *order)
