"""What the command lines of Kafka and DynamoDB Local have in common."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fraudctl.artifacts.java import class_path

# Small and quick to start; these servers wait more than they compute, so the C1 compiler and the serial collector do.
_SMALL: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
# For the Flink application. What it holds grows with the rate, so its heap may take a quarter of the machine's memory,
# as Java has it. A small young generation makes short pauses. The parallel collector gives up when memory is short; the
# serial one collects for ever, and the application answers nobody. MetaspaceSize is what it needs anyway: without it
# there are three full collections on the way up.
WORKING: Final = ("-Xms256m", "-Xmn128m", "-XX:+UseParallelGC", "-XX:MetaspaceSize=96m")
# Out of memory: end, so that the supervisor starts it again. IPv4: the listener is 127.0.0.1, not ::ffff:127.0.0.1.
ALWAYS: Final = (
    "-XX:+ExitOnOutOfMemoryError",
    "-Duser.timezone=UTC",
    "-Djava.net.preferIPv4Stack=true",
    "-Djava.awt.headless=true",
)
# slf4j-simple is set by properties: its file would have to lie in a folder on the class path, which forbids AppCDS.
_LOGGING: Final = {
    "logFile": "System.out",
    "showDateTime": "true",
    "dateTimeFormat": "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'",
    "showThreadName": "false",
}


def command(  # noqa: PLR0913 - a JVM's settings
    java: Path,
    classpath: Sequence[Path],
    main_class: str,
    arguments: Sequence[str],
    *,
    heap_mb: tuple[int, int],
    tmp: Path,
    quiet: Sequence[str] = (),
    level: str = "info",
    extra: Sequence[str] = (),
) -> list[str]:
    """Return a command line. `heap_mb` is the first and the largest heap, `quiet` the loggers that only warn."""
    lowest, highest = heap_mb
    return [
        str(java),
        f"-Xms{lowest}m",
        f"-Xmx{highest}m",
        *_SMALL,
        *ALWAYS,
        *extra,
        f"-Djava.io.tmpdir={tmp}",
        *logging(level=level, quiet=quiet),
        "-cp",
        class_path(classpath),
        main_class,
        *arguments,
    ]


def names(hosts: Path) -> list[str]:
    """Return the option that makes a JVM resolve host names by a file alone, the machine's own name among them."""
    return [f"-Djdk.net.hosts.file={hosts}"]


def logging(*, level: str, quiet: Sequence[str] = ()) -> list[str]:
    """Return the options that set up slf4j-simple; the loggers named in `quiet`, and those below them, only warn."""
    settings = {**_LOGGING, "defaultLogLevel": level, **{f"log.{name}": "warn" for name in quiet}}
    return [f"-Dorg.slf4j.simpleLogger.{name}={value}" for name, value in settings.items()]
