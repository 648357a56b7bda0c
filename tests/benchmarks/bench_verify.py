"""``make bench-verify``: reconciles 1,000,000 transactions with `audit verify`, 1 % and then 5 % of them detected.

Deploys a stack of its own (``bench-verify``) with the user's cache, fills it through the pipeline itself, and tears it
down at the end; with ``--home FOLDER`` the stack stays there, and the next run measures it again. `audit query` for one
account is measured on the same rows. Everything is measured from the shell's point of view: with the start of the
program, to /dev/null, the stack running and idle.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

EXECUTABLE = str(Path(sys.executable).with_name("fraudctl"))
STACK = ("--stack", "bench-verify")
TRANSACTIONS = 1_000_000
ACCOUNTS = range(1, 2_001)
# The first flagged ones are not flagged again.
SHARES = {"1 %": ACCOUNTS[:20], "5 %": ACCOUNTS[20:100]}
ROUNDS = 3
QUERIES = 9
PATIENCE_SECONDS = 900


def fraudctl(*arguments: str, allowed: tuple[int, ...] = (0,)) -> str:
    """Run fraudctl and return its stdout; ends the benchmark when it fails."""
    done = subprocess.run([EXECUTABLE, *arguments, *STACK], capture_output=True, text=True, check=False)
    if done.returncode not in allowed:
        sys.exit(f"fraudctl {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def lines(seed: int) -> Iterator[bytes]:
    """Yield transactions of all accounts in turn of a random order, of the size that the samples have."""
    draw = Random(seed)  # noqa: S311 - sample data
    for _ in range(TRANSACTIONS):
        date = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        yield (
            f'{{"transaction_id":"{draw.getrandbits(128):032x}","account_id":{draw.choice(ACCOUNTS)},'
            f'"customer_name":"Ada Lovelace","transaction_date":"{date}","merchant_type":"Grocery",'
            f'"transaction_type":"Contactless","amount":{draw.randrange(100, 90_000) / 100:.2f}}}\n'
        ).encode()


def send(seed: int) -> None:
    """Send the transactions through `transactions send`."""
    command = [EXECUTABLE, "transactions", "send", "-", *STACK]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        process.stdin.writelines(lines(seed))  # type: ignore[union-attr]
    if process.returncode:
        sys.exit(f"transactions send ended with {process.returncode}")


def verified(*window: str) -> dict[str, Any]:
    """Reconcile and return the outcome."""
    found: dict[str, Any] = json.loads(fraudctl("audit", "verify", "-o", "json", *window, allowed=(0, 8)))
    return found


def settled(*window: str) -> dict[str, Any]:
    """Wait until everything is decided and written, and return the outcome."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := verified(*window))["in_flight"] or found["lost"] or not found["ok"]:
        if time.monotonic() > deadline:
            sys.exit(f"not settled: {found}")
        time.sleep(5)
    if found["unexpected"] or found["different"] or found["transactions_read"] != TRANSACTIONS:
        sys.exit(f"not as it should be: {found}")
    return found


def fill(share: str) -> list[str]:
    """Flag so many of the accounts, send the transactions, wait for their detections; return the window of them."""
    accounts = SHARES[share]
    fraudctl("flag-accounts", *map(str, accounts), "--reason", "benchmark")
    time.sleep(1)  # a window begins at a full second
    window = ["--since", datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")]
    send(len(accounts))
    settled(*window)
    return window


def timed(*arguments: str) -> tuple[float, float, float]:
    """Run a command with its output to /dev/null: seconds, seconds of processor time, and the most memory in MB."""
    with subprocess.Popen([EXECUTABLE, *arguments, *STACK], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as it:
        begun = time.monotonic()
        _, status, usage = os.wait4(it.pid, 0)
        seconds = time.monotonic() - begun
        it.returncode = os.waitstatus_to_exitcode(status)
        if it.returncode:
            sys.exit(f"fraudctl {' '.join(arguments)} ended with {it.returncode}:\n{it.stderr.read().decode()}")  # type: ignore[union-attr]
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def measure(share: str, window: list[str]) -> None:
    """Print what reconciling takes, medians of the rounds."""
    rows = settled(*window)["ok"]
    load = os.getloadavg()[0]
    runs = [timed("audit", "verify", *window) for _ in range(ROUNDS)]
    seconds, processor, memory = map(statistics.median, zip(*runs, strict=True))
    row = f"{share:<10}{rows:>8,}{seconds:>9.2f}{processor:>11.2f}{TRANSACTIONS / seconds:>10,.0f}{memory:>6.0f}"
    sys.stdout.write(f"{row}{load:>7.1f}\n")
    sys.stdout.flush()


def query() -> None:
    """Print what one account's rows take."""
    load = os.getloadavg()[0]
    runs = [timed("audit", "query", str(ACCOUNTS[0]), "--limit", "20")[0] for _ in range(QUERIES)]
    middle = statistics.median(runs) * 1000
    sys.stdout.write(f"\naudit query of one account, 20 rows: {middle:.0f} ms (budget < 700 ms), load {load:.1f}\n")
    sys.stdout.write("audit verify: budget >= 100,000 tx/s\n")


def main() -> None:
    """Make the data, measure, take everything away again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="keep the stack in this folder; measure 5 % again if it is there")
    given = parser.parse_args().home
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's Python keeps its bytecode
    with tempfile.TemporaryDirectory(prefix="bench-verify-") as temporary:
        home = given or Path(temporary)
        home.mkdir(parents=True, exist_ok=True)
        os.environ["FRAUDCTL_HOME"] = str(home)
        made = home / "bench-verify.json"
        try:
            fraudctl("deploy", "--yes", "--no-samples")
            sys.stdout.write(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, medians of {ROUNDS} rounds\n\n")
            heads = f"{'detected':<10}{'rows':>8}{'seconds':>9}{'processor':>11}{'tx/s':>10}{'MB':>6}{'load':>7}\n"
            sys.stdout.write(heads)
            if made.exists():
                measure("5 %", json.loads(made.read_text()))
            else:
                for share in SHARES:
                    window = fill(share)
                    measure(share, window)
                made.write_text(json.dumps(window))
            query()
        finally:
            if given is None:
                fraudctl("teardown", "--yes")


if __name__ == "__main__":
    main()
