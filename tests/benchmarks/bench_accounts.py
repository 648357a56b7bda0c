"""``make bench-accounts``: lists the accounts of 1,000,000 flag events, and prints seconds and memory.

Deploys a stack of its own (``bench-accounts``) with the user's cache for each shape of the topic, and tears it down at
the end: ten events for each of 100,000 accounts, and one for each of 1,000,000. Every reason is another one, the worst
case for memory. Every command writes to /dev/null; what counts is the median of the rounds, from the shell's point of
view: with the start of the program.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from confluent_kafka import Producer

EXECUTABLE: Final = str(Path(sys.executable).with_name("fraudctl"))
STACK: Final = ("--stack", "bench-accounts")
EVENTS: Final = 1_000_000
SHAPES: Final = (100_000, 1_000_000)
ROUNDS: Final = 3
BUDGET: Final = "budget for accounts list: < 10 s, < 300 MB"


class Run(NamedTuple):
    """One command from its start to its end: seconds, seconds of processor time, and the most memory in MB."""

    seconds: float
    processor: float
    memory: float


def measured(command: list[str]) -> Run:
    """Run a command with its output to /dev/null; ends the benchmark when it fails."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        begun = time.monotonic()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{process.stderr.read().decode()}")  # type: ignore[union-attr]
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def fraudctl(*arguments: str) -> str:
    """Run fraudctl and return its stdout; ends the benchmark when it fails."""
    done = subprocess.run([EXECUTABLE, *arguments, *STACK], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"fraudctl {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def write(broker: str, accounts: int) -> str:
    """Write the flag events, every account's in its partition; return the time when half of them were written."""
    dice = random.Random(1)  # noqa: S311 - not for secrets
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 20, "queue.buffering.max.messages": 200_000})
    begin = datetime.now(UTC) - timedelta(days=30)
    half = ""
    for number in range(EVENTS):
        if number == EVENTS // 2:
            producer.flush(60)
            time.sleep(1)  # no event is published in the millisecond that divides them
            half = datetime.now(UTC).isoformat(timespec="milliseconds")
        account = 1_000_000_000 + (number * 7_919) % accounts
        date = (begin + timedelta(seconds=dice.randrange(60 * 86_400))).isoformat(timespec="milliseconds")[:23] + "Z"
        event = {
            "account_id": account,
            "flag_date": date,
            "status": "FLAGGED" if dice.random() < 0.6 else "CLEARED",
            "reason": f"stolen card, case {number}",
            "flagged_by": f"analyst-{number % 20}",
        }
        producer.produce("flagged_accounts", json.dumps(event, separators=(",", ":")), str(account))
        producer.poll(0)
    if producer.flush(120):
        sys.exit("not every flag event was written")
    return half


def commands(half: str, accounts: int) -> dict[str, list[str]]:
    """Return what is measured, by name."""
    program = [EXECUTABLE, "accounts"]
    return {
        "list -o json": [*program, "list", "-o", "json"],
        "list --flagged -o csv": [*program, "list", "--flagged", "-o", "csv"],
        "list -o table": [*program, "list", "-o", "table"],
        "list --known-at HALF -o json": [*program, "list", "--known-at", half, "-o", "json"],
        "diff HALF -o json": [*program, "diff", half, "-o", "json"],
        "show ACCOUNT -o json": [*program, "show", str(1_000_000_000 + accounts // 2), "-o", "json"],
    }


def check(accounts: int) -> None:
    """End the benchmark unless every account is listed."""
    done = subprocess.run(
        [EXECUTABLE, "accounts", "list", "-o", "csv", "--fields", "account_id", *STACK],
        stdout=subprocess.PIPE,
        check=True,
    )
    found = set(done.stdout.split()[1:])
    if len(found) != accounts:
        sys.exit(f"{len(found):,} accounts are listed, not {accounts:,}")


def shape(accounts: int) -> None:
    """Measure one shape of the topic."""
    with tempfile.TemporaryDirectory(prefix="bench-accounts-") as home:
        os.environ["FRAUDCTL_HOME"] = home
        try:
            fraudctl("deploy", "--no-samples")
            status = json.loads(fraudctl("status", "-o", "json"))
            fraudctl("flink", "stop", "--no-savepoint")  # the broker is to be alone with its reader
            broker = next(item["address"] for item in status["components"] if item["name"] == "kafka")
            compared = commands(write(broker, accounts), accounts)
            check(accounts)
            load = os.getloadavg()[0]
            runs: dict[str, list[Run]] = {name: [] for name in compared}
            for _ in range(ROUNDS):
                for name, command in compared.items():
                    runs[name].append(measured([*command, *STACK]))
            sys.stdout.write(f"\n{EVENTS:,} flag events of {accounts:,} accounts, load {load:.1f} before\n")
            sys.stdout.write(f"{'accounts …':<32}{'seconds':>8}{'processor':>11}{'MB':>6}\n")
            for name, found in runs.items():
                run = Run(*map(statistics.median, zip(*found, strict=True)))
                sys.stdout.write(f"{name:<32}{run.seconds:>8.2f}{run.processor:>11.2f}{run.memory:>6.0f}\n")
            sys.stdout.flush()
        finally:
            fraudctl("teardown", "--yes")


def main() -> None:
    """Measure every shape."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's Python keeps its bytecode
    sys.stdout.write(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}; {ROUNDS} rounds, medians; {BUDGET}\n")
    for accounts in SHAPES:
        shape(accounts)


if __name__ == "__main__":
    main()
