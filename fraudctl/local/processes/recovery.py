"""What a dead supervisor left behind, and how the next command recovers it."""

from collections.abc import Iterable, Sequence

import psutil

from fraudctl.local.processes import process_table
from fraudctl.local.processes.paths import MARK, StackPaths
from fraudctl.local.processes.supervisor import Program, Supervisor


def orphans(paths: StackPaths, supervisor: Supervisor) -> list[psutil.Process]:
    """Return the stack's processes when no supervisord answers for them; empty when one does."""
    return [] if supervisor.pid() is not None else process_table.of_stack(paths.root)


def supervisor_lives(paths: StackPaths) -> bool:
    """Return, within a millisecond or two, whether the recorded supervisord is a process of this stack."""
    try:
        pid = int((paths.run / "supervisor.pid").read_text(encoding="ascii"))
        return psutil.Process(pid).environ().get(MARK) == str(paths.root)
    except (OSError, ValueError, psutil.Error):
        return False


def restart_all(
    paths: StackPaths, supervisor: Supervisor, left: Iterable[psutil.Process], programs: Sequence[Program]
) -> None:
    """End the orphans and start supervisord with every program that was not stopped on purpose."""
    process_table.end(left)
    supervisor.start(programs)
    for program in programs:
        if not paths.stopped_marker(program.name).exists():
            supervisor.start_program(program.name)
