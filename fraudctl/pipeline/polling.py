"""Read a topic batch by batch, with `fraudctl.pipeline.reader` in this process or behind a function."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from fraudctl.pipeline.reader import Batch, Request


def batches(
    look: Callable[[Request], Batch],
    request: Request,
    *,
    follow: bool,
    patience_s: float = 30.0,
    clock: Callable[[], float] = time.time,
) -> Iterator[Batch]:
    """Yield batches, each from where the last ended, until the end, the limit or `until` is reached.

    The end is where the topic ended at the first batch; there is none when following. While the brokers do not answer,
    batches are empty and say why; without following, `TimeoutError` is raised after `patience_s`.
    """
    left = request.limit
    answered = clock()
    while left is None or left > 0:
        bounded = not follow or (request.until is not None and clock() * 1000 >= request.until)
        batch = look(request)
        if left is not None:
            batch = replace(batch, records=batch.records[:left])
            left -= len(batch.records)
        yield batch
        if batch.unreachable is None:
            answered = clock()
            if bounded and not request.ends:
                request = replace(request, ends=batch.ends)
            if request.ends and batch.at_end:
                return
        elif bounded and clock() - answered > patience_s:
            raise TimeoutError(batch.unreachable)
        request = replace(request, positions=batch.positions, limit=left)
