"""Components killed and made to hang under load: the stack heals by itself, and nothing is lost, twice or wrong."""

import pytest
from chaos_runs import Fault, Stack, wreak
from executable import Fraudctl

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_faults_under_load(fraudctl: Fraudctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few of the faults of `make chaos`, judged by an oracle that is not the application."""
    monkeypatch.setenv("FRAUDCTL_HOLD_MS", "6000")
    stack = Stack.deploy(fraudctl)
    faults = [Fault("kill", ("flink",)), Fault("hang", ("kafka",)), Fault("kill", ("lambda", "dynamodb"))]
    healed = wreak(stack, faults, per_second=100, seed=1)
    report = stack.check()
    assert (report.lost, report.wrong, report.duplicates) == (0, 0, 0), (report, healed)
    assert report.transactions > 1000
    assert report.detected > 100
