"""The Flink application's classes for tests: built once, run as programs that talk by lines."""

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fraudctl import config
from fraudctl.artifacts.bundles import flink_fat_jar
from fraudctl.artifacts.downloads import Downloads
from fraudctl.artifacts.jars import JarBuild, flink_jar
from fraudctl.artifacts.java import class_path, java_executable
from fraudctl.artifacts.pins import Lock
from fraudctl.artifacts.resources import resource

SOURCES = Path(__file__).parent / "java"


@dataclass(frozen=True, slots=True)
class Classes:
    """The Java program, the application's jar with what it needs at run time, and the tests' own jar."""

    java: Path
    application: Path
    libraries: tuple[Path, ...]
    tests: Path

    def command(self, main_class: str, *arguments: str) -> list[str]:
        """Give the command line that runs a main class of the tests."""
        path = class_path([self.tests, self.application, *self.libraries])
        return [
            str(self.java),
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            path,
            main_class,
            *arguments,
        ]


@cache
def classes() -> Classes:
    """Build the application and the tests' mains, downloading what that takes; both are cached by content."""
    settings = config.load()
    downloads = Downloads(settings.cache)
    jars, compiler = (Lock.load(resource("flink") / f"{name}.lock") for name in ("jars", "compiler"))
    downloads.ensure([jars, compiler])
    java, (ecj,) = java_executable(settings.java_home), downloads.paths(compiler)
    libraries = tuple(downloads.paths(jars))
    out = settings.cache / "built"
    application = flink_jar(java, ecj, libraries, resource("flink") / "src", out)
    tests = JarBuild("java-tests", SOURCES, (application, *libraries), ecj, out).make(java)
    return Classes(java, application, libraries, tests)


@cache
def service_classpath() -> str:
    """Give the class path that Managed Flink has: our one jar with all it carries, and Flink's own jars."""
    built, settings = classes(), config.load()
    downloads, lock = Downloads(settings.cache), Lock.load(resource("flink") / "aws.lock")
    downloads.ensure([lock])
    carried = downloads.paths(lock)
    jar = flink_fat_jar(built.application, lock, carried, settings.cache / "built")
    return class_path([jar, *(library for library in built.libraries if library not in carried)])


class LineProgram:
    """A running Java program that answers lines with lines."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Wrap a process with text pipes."""
        self._process = process

    def ask(self, lines: Sequence[str], *, until: str | None = None) -> list[str]:
        """Send lines; give the answer's lines: as many, or up to the first one that starts with `until`."""
        assert self._process.stdout is not None
        text = "".join(f"{line}\n" for line in lines)
        # Beside reading: neither pipe holds everything.
        writer = threading.Thread(target=self._write, args=(text,), daemon=True)
        writer.start()
        answer: list[str] = []
        while len(answer) < len(lines) if until is None else not (answer and answer[-1].startswith(until)):
            line = self._process.stdout.readline()
            assert line, f"the Java program ended with code {self._process.wait()}"
            answer.append(line.rstrip("\n"))
        writer.join()
        return answer

    def _write(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text)
        self._process.stdin.flush()


@contextmanager
def line_program(main_class: str, *arguments: str) -> Iterator[LineProgram]:
    """Run a main class of `tests/java` until the block ends."""
    process = subprocess.Popen(
        classes().command(main_class, *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield LineProgram(process)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
