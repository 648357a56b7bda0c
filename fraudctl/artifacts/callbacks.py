"""Work that reports by callback, turned into a stream."""

import queue
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_POLL_SECONDS: Final = 0.1


def heard(work: Callable[[Callable[[T], None]], R]) -> Generator[T, None, R]:
    """Run `work` beside, yield what it reports, and give its result; raises what it raises. Ctrl-C ends it too."""
    reports: queue.SimpleQueue[T] = queue.SimpleQueue()
    stop = threading.Event()

    def hear(report: T) -> None:
        if stop.is_set():
            raise InterruptedError
        reports.put(report)

    with ThreadPoolExecutor(1, thread_name_prefix="fraudctl-work") as pool:
        future = pool.submit(work, hear)
        try:
            while not (future.done() and reports.empty()):
                try:
                    report = reports.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    continue
                yield report
        finally:
            stop.set()
        return future.result()
