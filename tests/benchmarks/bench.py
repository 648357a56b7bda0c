"""``make bench``: measures the budgets of a local stack and prints them beside the machine's load.

Deploys a stack of its own (``bench``) with the user's cache, and tears it down at the end.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psutil

EXECUTABLE = str(Path(sys.executable).with_name("fraudctl"))
RUNS = 10
STACK = ("--stack", "bench")


def run(*arguments: str, stdin: str = "") -> str:
    """Run fraudctl and give its stdout; ends the benchmark when it fails."""
    done = subprocess.run([EXECUTABLE, *arguments, *STACK], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"fraudctl {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def timed(call: Callable[[], object]) -> float:
    """Give the seconds that a call takes."""
    begun = time.monotonic()
    call()
    return time.monotonic() - begun


def line(what: str, measured: str, budget: str) -> None:
    """Print one row."""
    sys.stdout.write(f"{what:<52} {measured:>16}   {budget:<12} load {os.getloadavg()[0]:.1f}\n")
    sys.stdout.flush()


def flag_to_audit(account: int) -> float:
    """Give the seconds from `flag-accounts` to the first audit row of a new account, its transactions flowing."""
    transaction = {
        "account_id": account,
        "customer_name": "bench",
        "merchant_type": "m",
        "transaction_type": "t",
        "amount": 1,
    }
    begun = time.monotonic()
    run("flag-accounts", str(account))
    for number in range(1000):
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = {**transaction, "transaction_id": f"{account}-{number}", "transaction_date": now}
        run("transactions", "send", "-", stdin=json.dumps(record))
        if run("audit", "query", str(account), "-o", "json"):
            return time.monotonic() - begun
    sys.exit("no audit row appeared")


def resident() -> int:
    """Give the stack's resident bytes, processes shared pages counted in each."""
    status = json.loads(run("status", "-o", "json"))
    return sum(psutil.Process(item["pid"]).memory_info().rss for item in status["components"] if item["pid"])


def main() -> None:
    """Measure everything."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's Python keeps its bytecode
    run("status", "--help")
    sys.stdout.write(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}\n\n")
    show_help = lambda: subprocess.run([EXECUTABLE, "--help"], capture_output=True, check=True)  # noqa: E731
    helps = [timed(show_help) for _ in range(RUNS)]
    line("fraudctl --help, median of 10", f"{statistics.median(helps) * 1000:.0f} ms", "< 150 ms")
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        os.environ["FRAUDCTL_HOME"] = home
        run("deploy", "--no-samples")  # fills the cache, writes the class-data archives when it ends
        run("teardown", "--yes")
        try:
            deploys = []
            for _ in range(3):
                deploys.append(timed(lambda: run("deploy", "--samples")))
                if len(deploys) < 3:
                    run("teardown", "--yes")
            line("deploy with downloads cached, median of 3", f"{statistics.median(deploys):.1f} s", "< 10 s")
            line("deploy again: up to date", f"{timed(lambda: run('deploy')):.2f} s", "< 2 s")
            first = [flag_to_audit(2_000_000_000 + number) for number in range(RUNS)]
            line("flag-accounts to first audit row, median of 10", f"{statistics.median(first):.2f} s", "< 3 s")
            time.sleep(30)  # idle is what is measured: samples only
            line("whole stack, samples only, resident", f"{resident() / 1e9:.2f} GB", "< 1.5 GB")
            report = json.loads(run("transactions", "generate", "--count", "1000000", "-o", "json").splitlines()[-1])
            line("transactions generate", f"{report['delivered'] / report['seconds']:,.0f}/s", ">= 50,000/s")
        finally:
            run("teardown", "--yes")


if __name__ == "__main__":
    main()
