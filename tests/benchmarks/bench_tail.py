"""``make bench-tail``: reads 1,000,000 transactions with `fraudctl tail` and with kcat in turn, and prints the ratios.

Deploys a stack of its own (``bench-tail``) with the user's cache, and tears it down at the end. kcat is a package of
Debian (``apt-get install kcat``). Every command reads the same four partitions of the same broker to the end, to
/dev/null; what is compared is the median of the rounds, from the shell's point of view: with the start of the program.
By librdkafka's default a full queue stops fetching for a second, which slows kcat -J; "tuned", its queue is never full.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

EXECUTABLE = str(Path(sys.executable).with_name("fraudctl"))
STACK = ("--stack", "bench-tail")
TOPIC = "demo_transactions"
RECORDS = 1_000_000
ROUNDS = 7
ALL = ("tail", "transactions", "--from-beginning", "--no-follow")


class Run(NamedTuple):
    """One command from its start to its end: seconds, seconds of processor time, and the most memory in MB."""

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
    """Run a command with its output to /dev/null; ends the benchmark when it fails."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        begun = time.monotonic()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{process.stderr.read().decode()}")  # type: ignore[union-attr]
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def lines(command: Sequence[str]) -> Iterator[bytes]:
    """Yield the lines that a command writes; held together they would count as memory of every later child."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        yield from process.stdout or ()
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")


def first_line(command: Sequence[str]) -> float:
    """Return the seconds from the start of a command to its first line."""
    begun = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        process.stdout.readline()  # type: ignore[union-attr]
        return time.monotonic() - begun


def rare_amount() -> str:
    """Return an amount that one in a hundred transactions exceeds."""
    sample = lines([EXECUTABLE, "tail", "transactions", "--last", "20000", "--raw", *STACK])
    amounts = sorted(json.loads(value)["amount"] for value in sample)
    return str(amounts[-len(amounts) // 100])


def commands(broker: str) -> dict[str, list[str]]:
    """Return what is compared, by name."""
    kcat = ["kcat", "-C", "-q", "-e", "-o", "beginning", "-b", broker, "-t", TOPIC]
    tail = [EXECUTABLE, *ALL, *STACK]
    return {
        "kcat -C": kcat,
        "tail --raw --order partition": [*tail, "--raw", "--order", "partition"],
        "kcat -J": [*kcat, "-J"],
        "kcat -J, tuned": [*kcat, "-J", "-X", "queued.min.messages=2000000"],
        "tail -o json --order partition": [*tail, "-o", "json", "--order", "partition"],
        "tail -o json": [*tail, "-o", "json"],
        "tail -o json --where, 1 % match": [*tail, "-o", "json", "--where", f"amount > {rare_amount()}"],
    }


def check(compared: dict[str, list[str]]) -> None:
    """End the benchmark unless all commands that do the same read the same."""
    sizes = {name: sum(1 for _ in lines(command)) for name, command in compared.items() if "where" not in name}
    if set(sizes.values()) != {RECORDS}:
        sys.exit(f"not the same records: {sizes}")
    found = sum(1 for _ in lines(compared["tail -o json --where, 1 % match"]))
    if not RECORDS * 0.008 < found < RECORDS * 0.012:
        sys.exit(f"--where matched {found:,}, not about 1 %")


def show(runs: dict[str, list[Run]], last: list[float]) -> None:
    """Print the table."""
    middle = {name: Run(*map(statistics.median, zip(*found, strict=True))) for name, found in runs.items()}
    budgets = {
        "tail --raw --order partition": ("kcat -C", ">= 0.5"),
        "tail -o json --order partition": ("kcat -J", ">= 1.0"),
        "tail -o json": ("kcat -J", ">= 0.7"),
    }
    sys.stdout.write(f"{'':<34}{'seconds':>8}{'processor':>11}{'records/s':>12}{'MB':>6}   ratio, budget\n")
    for name, run in middle.items():
        ratio = ""
        if name in budgets:
            other, budget = budgets[name]
            ratio = f"{middle[other].seconds / run.seconds:.2f} x {other}, {budget}"
            if (tuned := middle.get(f"{other}, tuned")) is not None:
                ratio += f" ({tuned.seconds / run.seconds:.2f} tuned)"
        elif "where" in name:
            ratio = "budget >= 150,000 records/s"
        row = f"{name:<34}{run.seconds:>8.2f}{run.processor:>11.2f}{RECORDS / run.seconds:>12,.0f}{run.memory:>6.0f}"
        sys.stdout.write(f"{row}   {ratio}".rstrip() + "\n")
    first = f"{statistics.median(last) * 1000:.0f} ms"
    sys.stdout.write(f"tail --last 10, to the first line: {first} (budget < 700 ms). Memory: budget < 200 MB.\n")


def main() -> None:
    """Measure everything."""
    if shutil.which("kcat") is None:
        sys.exit("bench-tail: kcat is not on PATH; it is a Debian package: apt-get install kcat")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's Python keeps its bytecode
    with tempfile.TemporaryDirectory(prefix="bench-tail-") as home:
        os.environ["FRAUDCTL_HOME"] = home
        try:
            fraudctl("deploy", "--no-samples")
            status = json.loads(fraudctl("status", "-o", "json"))
            fraudctl("flink", "stop", "--no-savepoint")  # the broker is to be alone with its reader
            fraudctl("transactions", "generate", "--count", str(RECORDS))
            compared = commands(next(item["address"] for item in status["components"] if item["name"] == "kafka"))
            check(compared)
            load = os.getloadavg()[0]
            runs: dict[str, list[Run]] = {name: [] for name in compared}
            for _ in range(ROUNDS):
                for name, command in compared.items():
                    runs[name].append(measured(command))
            last = [first_line([EXECUTABLE, "tail", "transactions", "--last", "10", *STACK]) for _ in range(ROUNDS)]
            python = sys.version.split()[0]
            sys.stdout.write(
                f"{os.cpu_count()} cores, Python {python}, load {load:.1f} before; {ROUNDS} rounds, medians\n\n"
            )
            show(runs, last)
        finally:
            fraudctl("teardown", "--yes")


if __name__ == "__main__":
    main()
