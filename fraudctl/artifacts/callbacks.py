"""Work that reports by callback, turned into a stream."""

import queue
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_POLL_SECONDS: Final = 0.1


def reported(work: Callable[[Callable[[T], None]], R]) -> Generator[T, None, R]:
    """Run `work` in a thread, yield what it reports and return its result; raise what it raises.

    When the generator is closed, or Ctrl-C is raised in it, the next report of `work` raises InterruptedError there.
    """
    reports: queue.SimpleQueue[T] = queue.SimpleQueue()
    stop = threading.Event()

    def report(item: T) -> None:
        if stop.is_set():
            raise InterruptedError
        reports.put(item)

    with ThreadPoolExecutor(1, thread_name_prefix="fraudctl-work") as pool:
        future = pool.submit(work, report)
        try:
            while not (future.done() and reports.empty()):
                try:
                    item = reports.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    continue
                yield item
        finally:
            stop.set()
        return future.result()
