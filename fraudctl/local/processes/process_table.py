"""The stack's operating-system processes, found by the mark in their environment, and ended for good."""

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import psutil

from fraudctl.local.processes.paths import MARK

_GRACE_SECONDS: Final = 10.0


def of_stack(root: Path) -> list[psutil.Process]:
    """Return every live process that was started for the stack; psutil tells a recycled pid by its start time."""
    mine = os.getuid()
    found = []
    for process in psutil.process_iter():
        try:
            if process.uids().real != mine or process.pid == os.getpid():
                continue
            if process.environ().get(MARK) == str(root) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # ended meanwhile, or not ours to look into
    return found


def end(processes: Iterable[psutil.Process], grace: float = _GRACE_SECONDS) -> list[psutil.Process]:
    """Terminate, wait `grace` seconds, kill; return those that are still there.

    A stopped process gets SIGCONT too: SIGTERM waits until it goes on.
    """
    remaining = list(processes)
    for process in remaining:
        _signal(process.terminate)
        _signal(process.resume)
    _, remaining = psutil.wait_procs(remaining, timeout=grace)
    for process in remaining:
        _signal(process.kill)
    _, remaining = psutil.wait_procs(remaining, timeout=grace)
    return remaining


def wait(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until the processes have ended by themselves; gives those that are still there."""
    _, remaining = psutil.wait_procs(list(processes), timeout=seconds)
    return list(remaining)


def listener(processes: Iterable[psutil.Process], port: int) -> psutil.Process | None:
    """Return that of the processes which listens on the port."""
    for process in processes:
        try:
            if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in process.net_connections("inet")):
                return process
        except psutil.Error:
            continue
    return None


def is_stopped(pid: int) -> bool:
    """Return whether a process is stopped, by SIGSTOP or a debugger: until it goes on it cannot answer anybody."""
    try:
        return psutil.Process(pid).status() in {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP}
    except psutil.Error:
        return False


def memory_bytes(pid: int) -> int | None:
    """Return a process's resident memory; None when it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None


def _signal(send: Callable[[], object]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        send()
