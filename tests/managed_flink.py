"""The Flink application as the service runs it: the uploaded jar, a class loader of its own, the resource's properties.

Its state is on RocksDB and below the one folder that it may write to. The service's own class path has Flink, and not
what the jar carries.
"""

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import Request, urlopen

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from flink_runs import wait_until
from javatools import classes

from fraudctl import config
from fraudctl.artifacts.downloads import Downloads
from fraudctl.artifacts.jars import MAIN_CLASS
from fraudctl.artifacts.java import class_path
from fraudctl.artifacts.pins import Lock
from fraudctl.artifacts.resources import resource
from fraudctl.local.flink.rest import all_running
from fraudctl.local.processes import jvm, ports

_PASSWORD: Final = "changeit"
_ROCKSDB: Final = Path(__file__).parent / "benchmarks" / "rocksdb.lock"
_JOB_MANAGER: Final = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER: Final = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
_OPENS: Final = ("java.util", "java.lang", "java.time")


@dataclass
class ManagedFlink:
    """One application; a start makes a job manager and a task manager, a JVM each, and a stop ends them."""

    folder: Path
    jar: Path
    groups: list[dict[str, Any]]
    environment: Mapping[str, str]
    options: Mapping[str, str]
    certificate: Path
    """What signed the brokers' certificate; the service's own store knows MSK's."""
    _processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    _port: int = 0
    _job: str = ""
    _uploaded: str = ""

    @property
    def log(self) -> Path:
        """What the JVM prints."""
        return self.folder / "flink.log"

    def start(self, savepoint: str | None = None) -> None:
        """Start it, from a savepoint if one is given, and wait until every task runs.

        The JVMs are started unless they run: then the job gets class loaders of its own beside the last one's.
        """
        if not self._processes:
            self._launch()
        run = {
            "entryClass": MAIN_CLASS,
            "programArgsList": [str(self.folder / "application_properties.json")],
            "parallelism": int(self.options["parallelism.default"]),
        }
        if savepoint is not None:
            run["savepointPath"] = savepoint
        self._job = self._rest(f"/jars/{self._uploaded}/run", run)["jobid"]
        wait_until(self.running, "every task runs", logs=[self.log])

    def stop(self, *, savepoint: bool = True, end: bool = True) -> str | None:
        """Stop it, with a savepoint whose path is given unless told otherwise; `end` the JVMs with it."""
        location = None
        if savepoint:
            target = (self.folder / "tmp" / "savepoints").as_uri()
            asked = self._rest(f"/jobs/{self._job}/stop", {"targetDirectory": target, "drain": False})
            path = f"/jobs/{self._job}/savepoints/{asked['request-id']}"
            answer = wait_until(lambda: self._done(path), "the savepoint is complete", logs=[self.log])
            location = str(answer["operation"]["location"])
        if end:
            self.kill()
        return location

    def kill(self) -> None:
        """End the JVM."""
        for process in self._processes:
            process.kill()
            process.wait(30)
        self._processes = []

    def running(self) -> bool:
        """Say whether every task of the job is RUNNING."""
        jobs = [job for job in self._rest("/jobs/overview")["jobs"] if job["jid"] == self._job]
        assert not jobs or jobs[0]["state"] not in {"FAILED", "CANCELED"}, self.log.read_text(errors="replace")[-4000:]
        return bool(jobs) and all_running(jobs[0])

    def written_elsewhere(self) -> list[Path]:
        """Give what it has written beside the folder for temporary files: into its home or its working folder."""
        return list((self.folder / "empty").rglob("*"))

    def _launch(self) -> None:
        for name in ("tmp", "empty", "conf"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "application_properties.json").write_text(json.dumps(self.groups))
        chosen, _ = ports.choose(["flink", "rpc"], {}, lambda _: False)
        self._port = chosen["flink"]
        (self.folder / "conf" / "config.yaml").write_text(json.dumps(self._options(chosen["rpc"])))  # JSON is YAML
        environment = {**self.environment, "TZ": "Asia/Kathmandu", "HOME": str(self.folder / "empty")}
        with self.log.open("ab") as output:
            self._processes = [
                subprocess.Popen(
                    [*self._java(), main, "--configDir", str(self.folder / "conf")],
                    stdout=output,
                    stderr=output,
                    cwd=self.folder / "empty",
                    env=environment,
                )
                for main in (_JOB_MANAGER, _TASK_MANAGER)
            ]
        wait_until(self._answers, "the service's REST API answers", logs=[self.log])
        self._uploaded = self._upload()

    def _done(self, path: str) -> Any:
        answer = self._rest(path)
        if answer["status"]["id"] != "COMPLETED":
            return None
        assert "location" in answer["operation"], answer
        return answer

    def _answers(self) -> bool:
        assert all(process.poll() is None for process in self._processes), self.log.read_text(errors="replace")[-4000:]
        try:
            return bool(self._rest("/taskmanagers")["taskmanagers"])
        except (URLError, ConnectionError, TimeoutError):
            return False

    def _upload(self) -> str:
        boundary = f"part{time.time_ns()}"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="jarfile"; filename="{self.jar.name}"\r\n'
        head += "Content-Type: application/x-java-archive\r\n\r\n"
        body = head.encode() + self.jar.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        found = self._rest("/jars/upload", body, f"multipart/form-data; boundary={boundary}")
        return str(found["filename"]).rsplit("/", 1)[1]

    def _rest(self, path: str, body: Any = None, kind: str = "application/json") -> Any:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = Request(f"http://127.0.0.1:{self._port}{path}", data, {"Content-Type": kind})
        with urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.loads(answer.read())

    def _options(self, rpc_port: int) -> dict[str, str]:
        tmp = self.folder / "tmp"
        return {
            **dict.fromkeys(("rest.address", "rest.bind-address", "jobmanager.bind-host"), "127.0.0.1"),
            **dict.fromkeys(("jobmanager.rpc.address", "taskmanager.bind-host", "taskmanager.host"), "127.0.0.1"),
            **dict.fromkeys(("rest.port", "rest.bind-port"), str(self._port)),
            **dict.fromkeys(("jobmanager.rpc.port", "jobmanager.rpc.bind-port"), str(rpc_port)),
            # Flink's scripts compute these from the size of the process.
            "taskmanager.cpu.cores": "1",
            "taskmanager.memory.task.heap.size": "256m",
            "taskmanager.memory.task.off-heap.size": "0",
            **dict.fromkeys(("taskmanager.memory.network.min", "taskmanager.memory.network.max"), "64m"),
            "taskmanager.memory.managed.size": "128m",
            **{f"taskmanager.memory.framework.{kind}.size": "64m" for kind in ("heap", "off-heap")},
            "taskmanager.memory.jvm-metaspace.size": "128m",
            **{f"taskmanager.memory.jvm-overhead.{end}": "64m" for end in ("min", "max")},
            "taskmanager.numberOfTaskSlots": "4",
            "state.backend.type": "rocksdb",
            "execution.checkpointing.dir": f"file://{tmp}/checkpoints",
            "pipeline.watermark-alignment.max-drift": "0 ms",  # as on Managed Flink: managed-flink, flink-2-3.md
            "io.tmp.dirs": str(tmp),
            "web.upload.dir": str(tmp),
            "classloader.resolve-order": "child-first",
            **self.options,
        }

    def _java(self) -> list[str]:
        """Return the command line of a JVM that has Flink, and not what the jar carries."""
        built, settings = classes(), config.load()
        downloads = Downloads(settings.cache)
        carried, rocksdb = Lock.load(resource("flink") / "aws.lock"), Lock.load(_ROCKSDB)
        downloads.ensure([carried, rocksdb])
        inside = downloads.paths(carried)
        own = [library for library in built.libraries if library not in inside]
        store = self.folder / "trust.p12"
        signer = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        store.write_bytes(
            pkcs12.serialize_java_truststore(
                [pkcs12.PKCS12Certificate(signer, b"brokers")], BestAvailableEncryption(_PASSWORD.encode())
            )
        )
        return [
            str(built.java),
            *("-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
            *(*jvm.ALWAYS, f"-Djava.io.tmpdir={self.folder / 'tmp'}"),
            *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENS),
            f"-Djavax.net.ssl.trustStore={store}",
            f"-Djavax.net.ssl.trustStorePassword={_PASSWORD}",
            "-Dorg.slf4j.simpleLogger.log.org.apache.kafka=warn",
            *("-cp", class_path([*own, *downloads.paths(rocksdb)])),
        ]
