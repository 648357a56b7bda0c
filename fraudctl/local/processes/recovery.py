"""What a dead supervisor left behind, and how the next command recovers it."""

from collections.abc import Iterable, Sequence
from typing import Final

import psutil

from fraudctl.local.processes import process_table
from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.supervisor import Program, Standing, Supervisor

_STOP_SECONDS: Final = 30.0


def orphans(paths: StackPaths, supervisor: Supervisor) -> list[psutil.Process]:
    """Return the stack's processes when no supervisord answers for them; empty when one does."""
    return [] if supervisor.pid() is not None else process_table.of_stack(paths.root)


def supervisor_lives(supervisor: Supervisor) -> bool:
    """Return, within a millisecond or two, whether the recorded supervisord runs; it may be hung."""
    return supervisor.recorded() is not None


def end_supervisor(standing: Standing) -> None:
    """End a supervisord that runs but cannot be asked; one that can still act on SIGTERM stops its programs first."""
    if standing.process is not None:
        process_table.end([standing.process], grace=0 if standing.hung else _STOP_SECONDS)


def restart_all(
    paths: StackPaths, supervisor: Supervisor, left: Iterable[psutil.Process], programs: Sequence[Program]
) -> None:
    """End the orphans and start supervisord with every program that was not stopped on purpose."""
    process_table.end(left)
    supervisor.start(programs)
    for program in programs:
        if not paths.stopped_marker(program.name).exists():
            supervisor.start_program(program.name)
