"""``make chaos``: every component killed and made to hang, alone and in pairs, under load; about half an hour.

Prints the table of docs/reliability.md.
"""

import itertools
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos_runs import HOLD, Fault, Stack, wreak
from executable import Fraudctl

COMPONENTS = ("kafka", "dynamodb", "lambda", "flink")


def main() -> int:
    """Run all faults, print how long each took to heal and what the check found; 1 when anything is not right."""
    os.environ["FRAUDCTL_HOLD_MS"] = str(HOLD)
    faults = [Fault(how, (name,)) for name in COMPONENTS for how in ("kill", "hang")]
    faults += [Fault(how, pair) for pair in itertools.combinations(COMPONENTS, 2) for how in ("kill", "hang")]
    with tempfile.TemporaryDirectory() as home:
        fraudctl = Fraudctl(Path(home))
        try:
            stack = Stack.deploy(fraudctl)
            healed = wreak(stack, faults, per_second=200, seed=os.getpid())
            report = stack.check()
        finally:
            fraudctl("teardown", "--yes", code=None)
    lines = ["| fault | healthy again after |", "|---|---|"]
    lines += [f"| {item.fault} | {item.seconds:.0f} s |" for item in healed]
    lines.append(
        f"\n{report.transactions:,} transactions, {report.detected:,} detected: "
        f"{report.lost} lost, {report.duplicates} twice, {report.wrong} wrong; load average {os.getloadavg()[0]:.1f}"
    )
    sys.stdout.write("\n".join([*lines, *report.details]) + "\n")
    return 1 if report.lost or report.wrong or report.duplicates else 0


if __name__ == "__main__":
    sys.exit(main())
