"""Free loopback ports, remembered by the stack."""

import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Say whether a server could listen on the loopback port now."""
    with socket.socket() as probe:
        # As servers do: a port in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def choose(
    names: Iterable[str],
    remembered: Mapping[str, int],
    ours: Callable[[int], bool],
) -> tuple[dict[str, int], dict[str, int]]:
    """Give a port for every name, and those remembered ones that another program has taken.

    A remembered port stays when it is free or when `ours` says that the stack itself listens on it.
    """
    chosen: dict[str, int] = {}
    stolen: dict[str, int] = {}
    with ExitStack() as held:  # hold every new port until all are chosen: no two alike
        for name in names:
            port = remembered.get(name)
            if port is not None and (ours(port) or is_free(port)):
                chosen[name] = port
                continue
            if port is not None:
                stolen[name] = port
            probe = held.enter_context(socket.socket())
            probe.bind((LOOPBACK, 0))
            chosen[name] = probe.getsockname()[1]
    return chosen, stolen
