"""``make bench-what-if``: back-tests lists of flags on 1,000,000 transactions, and prints transactions a second.

Deploys a stack of its own (``bench-what-if``) with the user's cache, and tears it down at the end. What is timed is the
command from the shell's point of view: with the start of the program. Medians of the rounds.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

EXECUTABLE = str(Path(sys.executable).with_name("fraudctl"))
STACK = ("--stack", "bench-what-if")
TRANSACTIONS = 1_000_000
ROUNDS = 3
LABELS = 100_000
FIRST, ACCOUNTS = 1_000_000_001, 20  # the sample data's accounts, all used alike
BUDGET = 100_000


class Run(NamedTuple):
    """One command: seconds, seconds of processor time, the most memory in MB."""

    seconds: float
    processor: float
    memory: float


def fraudctl(*arguments: str) -> str:
    """Run fraudctl and return its stdout; ends the benchmark when it fails."""
    done = subprocess.run([EXECUTABLE, *arguments, *STACK], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"fraudctl {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def measured(command: Sequence[str]) -> Run:
    """Run a command; ends the benchmark when it fails."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        begun = time.monotonic()
        error = process.stderr.read()  # type: ignore[union-attr]
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{error.decode()}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def lists(folder: Path) -> dict[str, list[str]]:
    """Write the lists and the labels, and return the options of each question by its name."""
    files = {name: folder / f"{name}.csv" for name in ("none", "tenth", "all", "many", "labels")}
    files["none"].write_text("account\n7\n")
    files["tenth"].write_text("account\n" + "".join(f"{FIRST + n}\n" for n in range(ACCOUNTS // 10)))
    files["all"].write_text("account\n" + "".join(f"{FIRST + n}\n" for n in range(ACCOUNTS)))
    files["many"].write_text("account\n" + "".join(f"{FIRST + n}\n" for n in range(ACCOUNTS - 2, 1_000_000)))
    newest = fraudctl("tail", "transactions", "--last", str(LABELS), "--fields", "transaction_id", "-o", "csv")
    ids = newest.split()[1:]
    files["labels"].write_text(
        "transaction_id,fraud\n" + "".join(f"{name},{'yes' if n % 50 == 0 else 'no'}\n" for n, name in enumerate(ids))
    )
    labels = ["--labels", str(files["labels"])]
    return {
        "no account of the list": ["--file", str(files["none"])],
        "10 % detected": ["--file", str(files["tenth"])],
        "10 % detected, a list of 1,000,000": ["--file", str(files["many"])],
        f"10 % detected, {LABELS:,} labels": ["--file", str(files["tenth"]), *labels],
        "all detected": ["--file", str(files["all"])],
    }


def check(options: list[str], share: float) -> None:
    """End the benchmark unless the list detects about that share of what was sent."""
    found = json.loads(fraudctl("accounts", "what-if", *options, "-o", "json"))
    if found["transactions_read"] != TRANSACTIONS:
        sys.exit(f"not all were read: {found}")
    if not 0.98 * share <= found["added"]["transactions"] / TRANSACTIONS <= 1.02 * share:
        sys.exit(f"not {share:.0%} detected: {found}")


def main() -> None:
    """Measure everything."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's Python keeps its bytecode
    with tempfile.TemporaryDirectory(prefix="bench-what-if-") as home:
        os.environ["FRAUDCTL_HOME"] = home
        try:
            fraudctl("deploy", "--no-samples")
            fraudctl("flink", "stop", "--no-savepoint")  # the broker is to be alone with its reader
            fraudctl("transactions", "generate", "--count", str(TRANSACTIONS))
            questions = lists(Path(home))
            check(questions["10 % detected"], 0.1)
            check(questions["all detected"], 1.0)
            load = os.getloadavg()[0]
            command = [EXECUTABLE, "accounts", "what-if", "-o", "json", *STACK]
            runs: dict[str, list[Run]] = {name: [] for name in questions}
            for _ in range(ROUNDS):
                for name, options in questions.items():
                    runs[name].append(measured([*command, *options]))
        finally:
            fraudctl("teardown", "--yes")
    sys.stdout.write(
        f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, load {load:.1f} before;"
        f" {TRANSACTIONS:,} transactions, {ROUNDS} rounds, medians; budget >= {BUDGET:,}/s\n\n"
    )
    sys.stdout.write(f"{'':<36}{'seconds':>8}{'processor':>11}{'transactions/s':>16}{'MB':>6}\n")
    for name, found in runs.items():
        run = Run(*map(statistics.median, zip(*found, strict=True)))
        rate = TRANSACTIONS / run.seconds
        sys.stdout.write(f"{name:<36}{run.seconds:>8.2f}{run.processor:>11.2f}{rate:>16,.0f}{run.memory:>6.0f}\n")


if __name__ == "__main__":
    main()
