"""``python -m fraudctl.artifacts FOLDER``: build the Flink application's jar into FOLDER, for a wheel."""

import sys
from pathlib import Path

from fraudctl import config
from fraudctl.artifacts.downloads import Downloads
from fraudctl.artifacts.jars import flink_jar
from fraudctl.artifacts.java import java_executable
from fraudctl.artifacts.pins import Lock
from fraudctl.artifacts.resources import resource


def main(out_dir: Path) -> None:
    """Build the jar, downloading what that takes."""
    settings = config.load()
    downloads = Downloads(settings.cache)
    folder = resource("flink")
    jars, compiler = (Lock.load(folder / f"{name}.lock") for name in ("jars", "compiler"))
    downloads.ensure([jars, compiler])
    java, (ecj,) = java_executable(settings.java_home), downloads.paths(compiler)
    flink_jar(java, ecj, downloads.paths(jars), folder / "src", out_dir)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
