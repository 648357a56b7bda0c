"""What the stack costs per hour: list prices of us-east-1 in US dollars, as of 2026-11.

Sources: Managed Flink (how-pricing) and the provisioned pollers (lambda/pricing) from AWS's documentation; brokers from
published price tables; EC2, NAT gateway, public addresses and disks from AWS's price pages as of that month. Other
regions differ by up to a third, data and requests come on top, and no discount is considered: good for a plan, not for
a bill.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_HOURS_PER_MONTH: Final = 730
_BROKERS: Final = 2
BROKER_PER_HOUR: Final = {
    "kafka.m5.large": 0.21,
    "kafka.m5.xlarge": 0.42,
    "kafka.m5.2xlarge": 0.84,
    "kafka.m5.4xlarge": 1.68,
    "kafka.m7g.large": 0.204,
    "kafka.m7g.xlarge": 0.408,
    "kafka.m7g.2xlarge": 0.816,
    "kafka.m7g.4xlarge": 1.632,
}
_BROKER_GIB_MONTH: Final = 0.10
_PROCESSING_UNIT: Final = 0.11
_PROCESSING_UNIT_GIB: Final = 50
_FLINK_GIB_MONTH: Final = 0.10
_POLLER_UNIT: Final = 0.185
_NAT: Final = 0.045
_PUBLIC_ADDRESS: Final = 0.005
_KAFDROP_INSTANCE: Final = 0.0168
_KAFDROP_GIB: Final = 8
_GP3_GIB_MONTH: Final = 0.08
_ALARM_MONTH: Final = 0.10
# CloudWatch charges an alarm for each metric that it watches.
_ALARM_METRICS: Final = 12
_GB_SECOND: Final = 0.0000133334  # of a function on ARM
_MILLION_CALLS: Final = 0.20
_GENERATOR_GB: Final = 0.25
_GENERATOR_SECONDS: Final = 55 * 60
_CALLS_PER_HOUR: Final = 60
# What is paid by use, with its unit prices. A row of the audit table is written three times, with its two indexes.
BY_USE: Final = (
    "audit rows: $1.88 a million written with both indexes, $0.45 a GB and month kept with point-in-time recovery",
    "calls of functions: $0.20 a million and $0.0000133 a GB-second",
    "logs: $0.50 a GB written; metrics of mapping and malformed records: $0.30 a month each",
    "on-failure bucket, artifacts and snapshots: $0.023 a GB and month; traffic between zones: $0.01 a GB each way",
    "event source mapping: $0.185 an hour more while a second poller unit is needed",
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one resource costs in dollars an hour; None where the price is not known. `resource` is a logical id."""

    resource: str
    what: str
    usd_per_hour: float | None


def hourly(parameters: Mapping[str, str]) -> tuple[Cost, ...]:
    """Return what costs by the hour with these template parameters (all of them, as text), the dearest first.

    The sample transactions are in it while they flow; what else is paid by use has its unit prices in `BY_USE`.
    """
    size, volume = parameters["KafkaInstanceType"], int(parameters["BrokerVolumeGiB"])
    units = int(parameters["FlinkParallelism"]) + 1
    broker = BROKER_PER_HOUR.get(size)
    disks = _BROKERS * volume * _BROKER_GIB_MONTH / _HOURS_PER_MONTH
    nat, kafdrop = parameters["NatGateway"] == "true", parameters["KafdropEnabled"] == "true"
    storage = (units - 1) * _PROCESSING_UNIT_GIB * _FLINK_GIB_MONTH / _HOURS_PER_MONTH
    found = [
        Cost(
            "Cluster",
            f"{_BROKERS} × {size}, {volume} GiB each; cannot be paused",
            None if broker is None else _BROKERS * broker + disks,
        ),
        Cost(
            "FlinkApplication",
            f"{units} processing units (one steers) while it runs, at least 10 minutes for each start",
            units * _PROCESSING_UNIT + storage,
        ),
        Cost("EventSourceMapping", "1 provisioned poller unit", _POLLER_UNIT),
        Cost("AuditTable", "on demand, with point-in-time recovery: by rows written and kept; none by the hour", 0.0),
        Cost("DeadLettersAlarm", "alarms", _ALARM_METRICS * _ALARM_MONTH / _HOURS_PER_MONTH),
    ]
    if parameters["SamplesEnabled"] == "ENABLED":
        calls = _CALLS_PER_HOUR * _MILLION_CALLS / 1_000_000
        price = _GENERATOR_GB * _GENERATOR_SECONDS * _GB_SECOND + calls
        found.append(Cost("SampleTransactionGenerator", "10 sample transactions a second, while they are on", price))
    if nat:
        found.append(Cost("Nat", "NAT gateway and its address; each GB through it 0.045 more", _NAT + _PUBLIC_ADDRESS))
    if kafdrop:
        disk = _KAFDROP_GIB * _GP3_GIB_MONTH / _HOURS_PER_MONTH
        address = 0.0 if nat else _PUBLIC_ADDRESS
        found.append(Cost("KafdropInstance", "t4g.small, its disk and its address", _KAFDROP_INSTANCE + disk + address))
    return tuple(sorted(found, key=lambda cost: -(float("inf") if cost.usd_per_hour is None else cost.usd_per_hour)))
