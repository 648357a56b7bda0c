"""A verdict for every component of a local stack."""

import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from fraudctl.errors import FraudctlError
from fraudctl.local import history, programs
from fraudctl.local.history import Restarts
from fraudctl.local.probes import Probes
from fraudctl.local.processes import process_table
from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.state import StackState
from fraudctl.local.processes.supervisor import ProgramInfo, Supervisor
from fraudctl.local.rest import Rest
from fraudctl.target import Component, Health


def components(
    paths: StackPaths, state: StackState, supervisor: Supervisor, pinned: Mapping[str, str]
) -> list[Component]:
    """Ask supervisord and every component."""
    infos = supervisor.programs()
    ended = history.restarts(paths.logs / "supervisor.log")
    probes = Probes(paths.stack, state.ports)
    versions = {**pinned, "lambda": f"Python {sys.version.split()[0]}"}
    found = [
        _component(paths, state, probes, infos.get(name), ended.get(name, Restarts()), name, versions[name])
        for name in programs.NAMES
    ]
    found += _mapping(state) if infos else []
    pid = supervisor.pid
    found.append(
        Component(
            name="supervisor",
            health=Health.HEALTHY if pid else Health.STOPPED,
            version=metadata.version("supervisor"),
            pid=pid,
            memory_bytes=process_table.memory_bytes(pid) if pid else None,
        )
    )
    return found


def _component(
    paths: StackPaths,
    state: StackState,
    probes: Probes,
    info: ProgramInfo | None,
    ended: Restarts,
    name: str,
    version: str,
) -> Component:
    common: dict[str, Any] = {
        "name": name,
        "version": version,
        "address": programs.address(name, state.ports[name]),
        "restarts": ended.count,
        "restarted_at": ended.last_at,
    }
    if info is None or info.state not in {"RUNNING", "STARTING"}:
        on_purpose = programs.stopped_marker(paths, name).exists()
        detail = "stopped by `fraudctl flink stop`" if on_purpose else (info.detail if info else "")
        return Component(health=Health.STOPPED, detail=detail, **common)
    if probes.ready(name):
        health, detail = Health.HEALTHY, ended.last_reason and f"was restarted: {ended.last_reason}"
    else:
        health = Health.STARTING if info.state == "STARTING" else Health.UNHEALTHY
        detail = "does not answer yet" if info.state == "STARTING" else f"does not answer; see `fraudctl logs {name}`"
    return Component(
        health=health,
        detail=detail,
        pid=info.pid,
        started_at=info.started_at,
        memory_bytes=process_table.memory_bytes(info.pid) if info.pid else None,
        **common,
    )


def _mapping(state: StackState) -> list[Component]:
    """Give the event source mapping that feeds AuditWriter, a part of the runner."""
    try:
        status = Rest("lambda", programs.address("lambda", state.ports["lambda"])).get("/_fraudctl/status")
    except FraudctlError:
        return []
    mapping = status.get("mapping")
    if not mapping:
        return []
    left = mapping.get("on_failure") or 0
    result = str(mapping.get("last_result") or "")
    problem = result.startswith("PROBLEM")
    detail = "; ".join(filter(None, (result, f"{left} records in the on-failure folder" if left else "")))
    return [Component(name="audit mapping", health=Health.UNHEALTHY if problem else Health.HEALTHY, detail=detail)]
