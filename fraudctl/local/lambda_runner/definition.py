"""What the function runner hosts in a local stack: the functions, their schedule and their event source mapping."""

import hashlib
import json
from pathlib import Path
from typing import Final

from fraudctl.artifacts.resources import PACKAGE, resource
from fraudctl.local import clients
from fraudctl.local.lambda_runner.spec import EventSourceMappingSpec, FunctionSpec, RunnerSpec, ScheduleSpec
from fraudctl.local.processes import launch
from fraudctl.local.processes.definition import Definition
from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.ports import LOOPBACK, bootstrap_servers
from fraudctl.local.processes.state import StackState
from fraudctl.local.processes.tools import Tools
from fraudctl.pipeline import names, topics

WRITER_GROUP: Final = "audit-writer"


def definition(paths: StackPaths, state: StackState, _tools: Tools) -> Definition:
    """Return what the function runner is started with."""
    bootstrap = bootstrap_servers(state.ports)
    endpoint = {"endpoint_url": f"http://{LOOPBACK}:{state.ports['dynamodb']}", **clients.CREDENTIALS}

    def function(name: str, folder: str, timeout_s: float, **environment: str) -> FunctionSpec:
        return FunctionSpec(
            name=names.function(paths.stack, name), folder=folder, timeout_s=timeout_s, environment=environment
        )

    spec = RunnerSpec(
        port=state.ports["lambda"],
        lambdas_folder=str(resource("lambdas")),
        functions=(
            function(
                "SampleTransactionGenerator", "sample_transaction_generator", 90, GENERATOR_BOOTSTRAP_SERVERS=bootstrap
            ),
            function("FlagAccountGenerator", "flag_account_generator", 60, FLAGGER_BOOTSTRAP_SERVERS=bootstrap),
            function(
                "AuditWriter",
                "audit_writer",
                60,
                WRITER_TABLE=names.audit_table(paths.stack),
                WRITER_DYNAMODB=json.dumps(endpoint),
                WRITER_ON_FAILURE=paths.on_failure.as_uri(),
                WRITER_TRANSACTION_ROWS="100",
            ),
        ),
        bootstrap_servers=bootstrap,
        schedule=ScheduleSpec(
            function=names.function(paths.stack, "SampleTransactionGenerator"),
            payload={"per_second": 10, "seconds": 55},
            state_file=str(paths.schedule),
        ),
        mapping=EventSourceMappingSpec(
            function=names.function(paths.stack, "AuditWriter"),
            topic=topics.PROCESSED.name,
            group=WRITER_GROUP,
            on_failure=str(paths.on_failure),
            state_file=str(paths.event_source_mapping),
        ),
    )
    file = paths.config / "lambda_runner.json"
    return Definition(
        "lambda",
        (*launch.PYTHON, "fraudctl.local.lambda_runner", str(file)),
        paths.temporary("lambda"),
        files={file.name: spec.to_json()},
        inputs=_sources_digest(),
    )


def _sources_digest() -> str:
    """Return a digest of what the runner loads: after an upgrade or an edit it is started again."""
    digest = hashlib.sha256()
    for folder in (resource("lambdas"), PACKAGE / "pipeline", Path(__file__).parent):
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
