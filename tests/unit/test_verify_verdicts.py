"""Verdicts on rows that say what cannot be, on a pipeline in memory."""

from typing import Any

import pytest
from sealed import Pipeline

from fraudctl.services.verify.reconcile import Reconciliation


def verdicts(pipeline: Pipeline) -> dict[str, str]:
    """Give the cases that are not ok, with their verdicts and why."""
    run = Reconciliation(pipeline.target)
    list(run.run())
    assert not run.result.gaps
    return {case.identity[2]: f"{case.word}: {case.why}" for case in run.result.cases}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (
            {"transaction_id": "made-up", "transaction_offset": 1000},
            "unexpected: it names demo_transactions/0:1000, where no record ever was",
        ),
        (
            {"transaction_id": "made-up", "transaction_partition": 99},
            "unexpected: it names demo_transactions/99:0, where no record ever was",
        ),
        ({"flag_offset": 1000}, "different: it names flagged_accounts/0:1000, where no record ever was"),
        ({"processed_partition": 99}, "different: it names processed_topic/99:0, where no record ever was"),
    ],
)
def test_a_row_that_names_what_never_was(audit: Any, change: dict[str, Any], verdict: str) -> None:
    """It does not wait in flight for ever."""
    pipeline = Pipeline(audit)
    pipeline.send(0, "sent")
    assert verdicts(pipeline) == {}
    item = {**pipeline.items[0], **change}
    item["transaction_key"] = f"{item['transaction_date']}#{item['transaction_id']}"
    audit.put_item(Item=item)
    assert verdicts(pipeline) == {item["transaction_id"]: verdict}
