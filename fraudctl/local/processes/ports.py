"""Free loopback ports, remembered by the stack."""

import random
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Final

from fraudctl.errors import OperationFailed

LOOPBACK: Final = "127.0.0.1"
# Below what Linux (32768 on) and macOS (49152 on) give to outgoing connections: one of those may hold a port just when
# a killed component comes back for it.
_RANGE: Final = range(20_000, 32_000)


def bootstrap_servers(ports: Mapping[str, int]) -> str:
    """Return Kafka's bootstrap servers."""
    return f"{LOOPBACK}:{ports['kafka']}"


def address(program: str, port: int) -> str:
    """Return a program's address for people: a URL, or ``host:port`` for Kafka."""
    return f"{LOOPBACK}:{port}" if program == "kafka" else f"http://{LOOPBACK}:{port}"


def is_free(port: int) -> bool:
    """Return whether a server could listen on the loopback port now."""
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
    """Return a port for every name, and the remembered ones that another program has taken.

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
            chosen[name] = _take(held)
    return chosen, stolen


def _take(held: ExitStack) -> int:
    """Bind a free port of `_RANGE` until `held` is closed."""
    for port in random.sample(_RANGE, len(_RANGE)):
        probe = socket.socket()
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            probe.close()
            continue
        held.enter_context(probe)
        return port
    raise OperationFailed("ports: none is free from 20000 to 31999", hint="end a program that listens there")
