"""What AWS would run after a deploy, run here from what the deploy uploaded: functions, mapping and application.

The emulator's shim hands invocations and starts over (SHIM_SERVICES). Policies, variables, properties, zips and jar are
read from the emulator's APIs, so they are what CloudFormation made of the template; the broker checks IAM tokens and
these policies. The zips' Kafka client is replaced by the same version for this machine.
"""

import base64
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import iam_broker
import lambda_zips
from emulated import REGION, Emulator, running
from iam_broker import IamBroker, Roles
from managed_flink import ManagedFlink
from templates import listed, load

POLLER: Final = Path(__file__).parent / "iam_poller.py"
_BATCH: Final = 100


@dataclass
class Services:
    """Everything that runs for one stack."""

    folder: Path
    stack: str
    emulator: Emulator
    broker: IamBroker
    variables: Mapping[str, str]
    """More variables for the functions."""
    open: ExitStack = field(default_factory=ExitStack)
    flink: ManagedFlink | None = None
    state: str = ""
    error: str = ""
    failures: list[str] = field(default_factory=list)
    """What went wrong where nobody waited for it."""
    batches: int = 0
    _savepoints: dict[str, str] = field(default_factory=dict)
    _functions: dict[str, tuple[lambda_zips.ZipFunction, threading.Lock]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _known: dict[str, str] = field(default_factory=dict)
    _ending: threading.Event = field(default_factory=threading.Event)

    # --- what the stack is -----------------------------------------------------------------------------------------

    def resources(self) -> dict[str, str]:
        """Return logical id → physical id; the first time, take roles and topics over to the broker."""
        with self._lock:
            if not self._known:
                pages = self.emulator.client("cloudformation").get_paginator("list_stack_resources")
                found = [
                    item for page in pages.paginate(StackName=self.stack) for item in page["StackResourceSummaries"]
                ]
                self._roles([item for item in found if item["ResourceType"] == "AWS::IAM::Role"])
                known = {item["LogicalResourceId"]: item["PhysicalResourceId"] for item in found}
                self._topics(known["Cluster"])
                self._known = known
            return self._known

    def _roles(self, found: list[dict[str, Any]]) -> None:
        iam, roles = self.emulator.client("iam"), self.broker.roles
        for item in found:
            name, rules = item["PhysicalResourceId"], []
            for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
                document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
                for statement in document["Statement"]:
                    rules += [
                        (statement["Effect"], action, arn)
                        for action in listed(statement["Action"])
                        for arn in listed(statement["Resource"])
                        if action.startswith("kafka-cluster:")
                    ]
            roles.add(item["LogicalResourceId"], rules)
        roles.write()

    def _topics(self, cluster: str) -> None:
        kafka = self.emulator.client("kafka")
        wanted = {}
        for item in kafka.list_topics(ClusterArn=cluster)["Topics"]:
            found = kafka.describe_topic(ClusterArn=cluster, TopicName=item["TopicName"])
            lines = base64.b64decode(found["Configs"]).decode().split()
            wanted[item["TopicName"]] = (item["PartitionCount"], dict(line.split("=", 1) for line in lines))
        self.broker.create(wanted)
        self.broker.roles.cluster_arn = cluster
        self.broker.roles.write()

    def _artifact(self, parameter: str) -> Path:
        """Return an uploaded file, by the parameter that names its key."""
        stack = self.emulator.client("cloudformation").describe_stacks(StackName=self.stack)["Stacks"][0]
        parameters = {item["ParameterKey"]: item["ParameterValue"] for item in stack["Parameters"]}
        target: Path = self.folder / parameters[parameter]
        if not target.exists():
            body = self.emulator.client("s3").get_object(Bucket=parameters["ArtifactBucket"], Key=target.name)["Body"]
            target.write_bytes(body.read())
        return target

    # --- functions -------------------------------------------------------------------------------------------------

    def invoke(self, name: str, event: Any) -> dict[str, Any]:
        """Invoke a function by its full name; return its answer, whether it failed, and its log."""
        short = name.removeprefix(f"{self.stack}-")
        function, lock = self._function(short)
        with lock:
            try:
                answer, failed = function(event), False
            except lambda_zips.FunctionError as error:
                kind, _, message = str(error).partition(": ")
                answer, failed = {"errorType": kind, "errorMessage": message}, True
        return {"answer": answer, "failed": failed, "log": function.log.read_text(errors="replace")[-4096:]}

    def _function(self, short: str, handler: Path | None = None) -> tuple[lambda_zips.ZipFunction, threading.Lock]:
        key = handler.stem if handler else short
        with self._lock:
            if key not in self._functions:
                self.resources()
                found = self.emulator.client("lambda").get_function_configuration(FunctionName=f"{self.stack}-{short}")
                folder = self.folder / key
                # The poller needs Kafka's client, which AuditWriter's own zip does not have.
                archive = self._artifact(f"{'TopicReader' if handler else short}Key")
                spec = {
                    "folder": str(lambda_zips.unpacked(archive, folder / "task")),
                    "beside": str(self._beside()),
                    "certificate": str(self.broker.certificate),
                    **({"handler": str(handler)} if handler else {}),
                }
                if not (Path(spec["folder"]) / "confluent_kafka").exists():
                    del spec["certificate"]
                environment = {
                    **found["Environment"]["Variables"],
                    **self.broker.roles.keys[f"{short}Role"].environment,
                    **self.variables,
                    "AWS_REGION": REGION,
                    "AWS_ENDPOINT_URL": self.emulator.url,
                    "BROKERS": self.broker.address,
                }
                running_ = lambda_zips.started(folder, environment, spec, timeout_s=found["Timeout"])
                self._functions[key] = self.open.enter_context(running_), threading.Lock()
            return self._functions[key]

    def _beside(self) -> Path:
        folder = self.folder / "boto3"
        return folder if folder.exists() else lambda_zips.beside(folder)

    # --- the event source mapping ----------------------------------------------------------------------------------

    def map(self) -> None:
        """Feed AuditWriter while the mapping is enabled, until the end."""
        mapping = load().properties("EventSourceMapping")
        group = f"{self.stack}-audit-writer"
        asked = {"topic": mapping["Topics"][0], "group": group, "number": _BATCH, "seconds": 0.5, "soon": True}
        commit = False
        while not self._ending.wait(0.1):
            if not self._enabled():
                continue
            try:
                poll, lock = self._function("AuditWriter", POLLER)
                with lock:
                    answer = poll({**asked, "commit": commit})
                assert "error" not in answer, answer
                commit = bool(answer["number"])
                if commit:
                    done = self.invoke(f"{self.stack}-AuditWriter", answer["event"])
                    assert not done["failed"], done
                    assert done["answer"] == {"batchItemFailures": []}, done
                    self.batches += 1
            except AssertionError as error:
                if not self._ending.is_set():
                    self.failures.append(str(error))
                return

    def _enabled(self) -> bool:
        if not self._known:
            return False
        found = self.emulator.client("lambda").list_event_source_mappings()["EventSourceMappings"]
        return any(item["State"] == "Enabled" and f":{self.stack}-AuditWriter" in item["FunctionArn"] for item in found)

    # --- the application -------------------------------------------------------------------------------------------

    def operate(self, name: str, kind: str, request: Mapping[str, Any], snapshots: list[str]) -> None:
        """Start or stop the application, in a thread of its own; `state` says how far that is."""
        starting = kind == "StartApplication"
        self.state, self.error = "STARTING" if starting else "STOPPING", ""
        work = self._start if starting else self._stop
        threading.Thread(target=self._working, args=(work, name, request, snapshots)).start()

    def _working(self, work: Any, name: str, request: Mapping[str, Any], snapshots: list[str]) -> None:
        try:
            work(name, request, snapshots)
        except Exception as error:  # noqa: BLE001 - whatever it is, the command shall say it
            self.error = f"{type(error).__name__}: {error}"[-2000:]
            self.state = "READY"

    def _start(self, name: str, request: Mapping[str, Any], snapshots: list[str]) -> None:
        self.resources()
        client = self.emulator.client("kinesisanalyticsv2")
        found = client.describe_application(ApplicationName=name)["ApplicationDetail"]
        configuration = found["ApplicationConfigurationDescription"]
        flink = configuration["FlinkApplicationConfigurationDescription"]
        groups = [
            {"PropertyGroupId": group["PropertyGroupId"], "PropertyMap": group["PropertyMap"]}
            for group in configuration["EnvironmentPropertyDescriptions"]["PropertyGroupDescriptions"]
        ]
        checkpoints = flink["CheckpointConfigurationDescription"]
        self.flink = ManagedFlink(
            self.folder / "flink",
            self._artifact("FlinkJarKey"),
            groups,
            {"PATH": os.environ["PATH"], "AWS_REGION": REGION, **self.broker.roles.keys["FlinkRole"].environment},
            {
                "parallelism.default": str(flink["ParallelismConfigurationDescription"]["Parallelism"]),
                "execution.checkpointing.interval": f"{checkpoints['CheckpointInterval']} ms",
                "execution.checkpointing.min-pause": f"{checkpoints['MinPauseBetweenCheckpoints']} ms",
            },
            self.broker.certificate,
        )
        restore = request["RunConfiguration"]["ApplicationRestoreConfiguration"]
        wanted = {
            "SKIP_RESTORE_FROM_SNAPSHOT": None,
            "RESTORE_FROM_LATEST_SNAPSHOT": snapshots[-1] if snapshots else None,
            "RESTORE_FROM_CUSTOM_SNAPSHOT": restore.get("SnapshotName"),
        }[restore["ApplicationRestoreType"]]
        self.flink.start(self._savepoints[wanted] if wanted else None)
        self.state = "RUNNING"

    def _stop(self, _name: str, request: Mapping[str, Any], snapshots: list[str]) -> None:
        assert self.flink is not None
        savepoint = self.flink.stop(savepoint=not request.get("Force"))
        if savepoint is not None:
            self._savepoints[snapshots[-1]] = savepoint
        self.state = "READY"

    def end(self) -> None:
        """End everything."""
        self._ending.set()
        if self.flink is not None:
            self.flink.kill()


class _Handler(BaseHTTPRequestHandler):
    services: Services

    def do_GET(self) -> None:
        self._answer({"state": self.services.state, "error": self.services.error})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        _, what, name, *kind = self.path.split("/")
        if what == "invoke":
            self._answer(self.services.invoke(name, body))
        else:
            self.services.operate(name, kind[0], body["request"], body["snapshots"])
            self._answer({})

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""

    def _answer(self, document: Any) -> None:
        content = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def services(folder: Path, stack: str, variables: Mapping[str, str]) -> Iterator[Services]:
    """Run an emulator whose functions and application really run, and a broker with IAM as its cluster."""
    roles = Roles(folder / "iam-roles.tsv", folder / "iam.log", REGION, "", {})
    roles.log.touch()
    roles.write()
    handler: Any = type("Handler", (_Handler,), {})
    with ExitStack() as everything:
        broker = everything.enter_context(iam_broker.running(folder / "kafka", roles, ()))
        server = everything.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        everything.callback(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        own = {"SHIM_SERVICES": address, "MINISTACK_MSK_BOOTSTRAP_SASL_IAM": broker.address}
        emulator = everything.enter_context(running(folder, own))
        found = Services(folder, stack, emulator, broker, variables)
        everything.enter_context(found.open)
        everything.callback(found.end)
        handler.services = found
        mapping = threading.Thread(target=found.map)
        mapping.start()
        everything.callback(mapping.join, 30)
        everything.callback(found.end)
        yield found
