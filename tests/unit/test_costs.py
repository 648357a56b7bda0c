"""Prices of the plan."""

import pytest

from fraudctl.aws import costs

PARAMETERS = {
    "KafkaInstanceType": "kafka.m7g.large",
    "BrokerVolumeGiB": "20",
    "FlinkParallelism": "1",
    "NatGateway": "false",
    "KafdropEnabled": "false",
    "SamplesEnabled": "ENABLED",
}


def by_resource(**changed: str) -> dict[str, float | None]:
    """Return the prices with some parameters changed."""
    return {cost.resource: cost.usd_per_hour for cost in costs.hourly({**PARAMETERS, **changed})}


def test_the_default_stack_costs_under_a_dollar_an_hour() -> None:
    """Two brokers with their disks, two processing units, a poller unit, sample transactions and alarms."""
    found = by_resource()
    assert found["Cluster"] == pytest.approx(2 * 0.204 + 2 * 20 * 0.10 / 730)
    assert found["FlinkApplication"] == pytest.approx(2 * 0.11 + 50 * 0.10 / 730)
    assert found["EventSourceMapping"] == 0.185
    # Each minute 55 s of a quarter of a GB.
    assert found["SampleTransactionGenerator"] == pytest.approx(0.25 * 55 * 60 * 0.0000133334 + 60 * 0.0000002)
    assert not {"Nat", "KafdropInstance"} & set(found)
    assert sum(price or 0 for price in found.values()) == pytest.approx(0.838, abs=0.002)
    assert "SampleTransactionGenerator" not in by_resource(SamplesEnabled="DISABLED")


def test_the_dearest_comes_first() -> None:
    """Sorted by price."""
    prices = [cost.usd_per_hour or 0.0 for cost in costs.hourly(PARAMETERS)]
    assert prices == sorted(prices, reverse=True)
    assert costs.hourly(PARAMETERS)[0].resource == "Cluster"


def test_parameters_change_the_price() -> None:
    """A NAT gateway costs, and spares Kafdrop's address; more parallelism means more processing units."""
    found, nat = by_resource(KafdropEnabled="true"), by_resource(KafdropEnabled="true", NatGateway="true")
    assert found["KafdropInstance"] == pytest.approx(0.0168 + 0.005 + 8 * 0.08 / 730)
    assert nat["Nat"] == pytest.approx(0.05)
    assert (found["KafdropInstance"] or 0) - (nat["KafdropInstance"] or 0) == pytest.approx(0.005)
    assert by_resource(FlinkParallelism="3")["FlinkApplication"] == pytest.approx(4 * 0.11 + 150 * 0.10 / 730)


def test_an_unknown_size_has_no_price() -> None:
    """Rather none than a wrong one; the sum is unknown then too."""
    parameters = {**PARAMETERS, "KafkaInstanceType": "kafka.m7g.16xlarge"}
    first = costs.hourly(parameters)[0]
    assert (first.resource, first.usd_per_hour) == ("Cluster", None)
