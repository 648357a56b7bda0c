"""What is deployed to AWS: one zip for each function, the Flink application's jar, and the jar Kafdrop logs in with.

Everything is named by its content, so that what has not changed is neither uploaded nor deployed again. Zips hold the
function's own code, `fraudctl.pipeline` and pinned wheels, never anything of the Python that builds them.
"""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fraudctl import config
from fraudctl.artifacts.downloads import Downloads, Progress
from fraudctl.artifacts.fat_jar import FatJar
from fraudctl.artifacts.jars import APPLICATION, MAIN_CLASS, cache_file, flink_jar, write_zip
from fraudctl.artifacts.java import java_executable
from fraudctl.artifacts.pins import Lock
from fraudctl.artifacts.resources import PACKAGE, resource
from fraudctl.artifacts.wheels import WheelLock, Wheels
from fraudctl.errors import OperationFailed
from fraudctl.pipeline.names import FUNCTIONS
from fraudctl.pipeline.records import flink_properties

# The functions in the VPC need Kafka's client.
WITHOUT_WHEELS: Final = frozenset({"audit_writer"})
# What Lambda takes at most, unpacked.
LARGEST_BYTES: Final = 250 * 1024 * 1024
_AUTH: Final = "software.amazon.msk:aws-msk-iam-auth:"
_PIPELINE: Final = PACKAGE / "pipeline"
_IMPORT_SECONDS: Final = 60
_IMPORT: Final = """
import sys, time
sys.path.insert(0, sys.argv[1])
start = time.perf_counter()
import handler
assert callable(handler.handler)
print(round((time.perf_counter() - start) * 1000))
"""


@dataclass(frozen=True, slots=True)
class LambdaZip:
    """One function's zip, how large it is, and how long importing its handler takes here.

    The time is that of the handler alone, in a bare Python: boto3 and Kafka's client are imported by the first call.
    """

    path: Path
    size_bytes: int
    import_ms: int


@dataclass(frozen=True, slots=True)
class Bundles:
    """Everything a deployment uploads. A file's name is its key."""

    sample_transaction_generator: Path
    flag_account_generator: Path
    audit_writer: Path
    topic_reader: Path
    topic_writer: Path
    flink_jar: Path
    kafdrop_auth_jar: Path
    zips: tuple[LambdaZip, ...] = ()

    def paths(self) -> tuple[Path, ...]:
        """Return the seven files."""
        return (
            self.sample_transaction_generator,
            self.flag_account_generator,
            self.audit_writer,
            self.topic_reader,
            self.topic_writer,
            self.flink_jar,
            self.kafdrop_auth_jar,
        )

    def parameters(self) -> dict[str, str]:
        """Return the template's parameters that name the files."""
        return {
            "SampleTransactionGeneratorKey": self.sample_transaction_generator.name,
            "FlagAccountGeneratorKey": self.flag_account_generator.name,
            "AuditWriterKey": self.audit_writer.name,
            "TopicReaderKey": self.topic_reader.name,
            "TopicWriterKey": self.topic_writer.name,
            "FlinkJarKey": self.flink_jar.name,
            "KafdropAuthJarKey": self.kafdrop_auth_jar.name,
        }


def lambda_zip(function_folder: str, out_dir: Path, wheels: Iterable[Path] = ()) -> LambdaZip:
    """Return the zip of the function in a folder of `FUNCTIONS`, ``<Function>-<hash>.zip``, written unless it is there.

    The hash covers names and contents, not the compressed bytes. Raises `OperationFailed` when the zip would be too
    large for Lambda, when its handler cannot be imported out of it, or when the folder cannot be written.
    """
    name = FUNCTIONS[function_folder]
    entries = sorted(_entries(resource("lambdas") / function_folder, wheels).items())
    unpacked = sum(len(data) for _, data in entries)
    if unpacked > LARGEST_BYTES:
        raise OperationFailed(f"{name}: {unpacked} bytes, Lambda takes {LARGEST_BYTES}", hint="remove a dependency")
    target = out_dir / f"{name}-{_digest(entries)}.zip"
    if not target.is_file():
        with cache_file(name, target) as partial:
            write_zip(partial, entries)
    return LambdaZip(target, target.stat().st_size, _import_ms(name, target))


def flink_fat_jar(application: Path, lock: Lock, libraries: Iterable[Path], out_dir: Path) -> Path:
    """Return the application with its libraries as one jar; `libraries` are the files of `lock`, in its order.

    Raises as `FatJar.make` does.
    """
    pins = tuple(f"{artifact.coordinates} {artifact.sha256}" for artifact in lock.artifacts)
    return FatJar(f"{APPLICATION}-aws", application, tuple(libraries), pins, MAIN_CLASS, out_dir).make()


def build_all(
    cache: Path,
    *,
    java_home: Path | None = None,
    downloads: Downloads | None = None,
    wheels: Wheels | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Bundles:
    """Build everything below `cache`, downloading what that takes; within a second when nothing has changed.

    Raises what `Downloads.ensure`, `Wheels.ensure`, `lambda_zip` and `flink_jar` raise.
    """
    out, folder = cache / "built", resource("flink")
    downloads = downloads or Downloads(cache)
    wheels = wheels or Wheels(cache, WheelLock.load(resource("lambdas") / "requirements.lock"))
    jars, compiler, aws = (Lock.load(folder / f"{name}.lock") for name in ("jars", "compiler", "aws"))
    downloads.ensure([jars, compiler, aws], progress)
    (ecj,) = downloads.paths(compiler)
    application = flink_jar(java_executable(java_home), ecj, downloads.paths(jars), folder / "src", out)
    fetched = wheels.ensure()
    zips = {name: lambda_zip(name, out, () if name in WITHOUT_WHEELS else fetched) for name in FUNCTIONS}
    return Bundles(
        **{name: built.path for name, built in zips.items()},
        flink_jar=flink_fat_jar(application, aws, downloads.paths(aws), out),
        kafdrop_auth_jar=_auth_jar(aws, downloads, out),
        zips=tuple(zips.values()),
    )


def template_body(path: Path) -> str:
    """Return the template as it is deployed: with the records' rules, without comments and blank lines.

    A comment is a line that starts with ``# ``; the scripts inside the template have none. The rules of
    `records.flink_properties` replace the values of the properties of these names.
    """
    rules = flink_properties()
    lines = path.read_text(encoding="utf-8").splitlines()
    body = (line for line in lines if not line.lstrip().startswith("# ") and line.strip() != "#")
    return "".join(f"{_with_rule(line, rules)}\n" for line in body)


def _with_rule(line: str, rules: Mapping[str, str]) -> str:
    name, colon, _ = line.partition(":")
    return f'{name}: "{rules[name.strip()]}"' if colon and name.strip() in rules else line


def _entries(folder: Path, wheels: Iterable[Path]) -> dict[str, bytes]:
    entries: dict[str, bytes] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            entries |= {entry.filename: archive.read(entry) for entry in archive.infolist() if not entry.is_dir()}
    entries["fraudctl/__init__.py"] = b""
    for root, prefix in ((_PIPELINE, "fraudctl/pipeline/"), (folder, "")):
        for file in root.rglob("*.py"):
            entries[prefix + file.relative_to(root).as_posix()] = file.read_bytes()
    return entries


def _digest(entries: Iterable[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, data in entries:
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()[:12]


def _import_ms(name: str, archive: Path) -> int:
    # Isolated and without site-packages: what the zip lacks is missed here, not in AWS.
    command = [sys.executable, "-I", "-S", "-c", _IMPORT, str(archive)]
    environment = config.child_environment()
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=_IMPORT_SECONDS, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise OperationFailed(
            f"{name}: importing its handler takes over {_IMPORT_SECONDS} s", hint="run the command again"
        ) from error
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise OperationFailed(
            f"{name}: its handler cannot be imported out of the zip: {last}", hint="install fraudctl again"
        )
    return int(result.stdout)


def _auth_jar(lock: Lock, downloads: Downloads, out: Path) -> Path:
    """Return MSK's login as a file of its own, named by its pinned content."""
    (artifact,) = (artifact for artifact in lock.artifacts if artifact.coordinates.startswith(_AUTH))
    source = downloads.paths(Lock((artifact,)))[0]
    target = out / f"{source.stem}-{artifact.sha256[:12]}.jar"
    if not target.is_file():
        with cache_file(source.stem, target) as partial:
            shutil.copyfile(source, partial)
    return target
