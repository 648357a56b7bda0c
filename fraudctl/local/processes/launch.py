"""``python -P -m fraudctl.local.processes.launch NAME``: become the program that config/NAME.json describes.

supervisord runs this instead of the program itself, so that no path of the stack (with its blanks, its % and its ;)
passes through supervisord's configuration syntax. Standard library only: it is over in some 30 ms.
"""

import json
import os
import shutil
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from fraudctl.atomic import atomic_write
from fraudctl.local.processes import class_data
from fraudctl.local.processes.paths import MARK, hosts_file

# -P keeps the working folder, which may be the stack's own, off the module path.
PYTHON: Final = (sys.executable, "-P", "-m")


def write_hosts(path: Path) -> None:
    """Write the hosts file of the stack's JVMs, in which the machine's present name is loopback.

    Flink ends when the machine's own name does not resolve (InetAddress.getLocalHost), as on many a laptop and in
    containers; it need not be reachable. The system property ``jdk.net.hosts.file`` makes a JVM ask this file alone.
    """
    with suppress(OSError):  # a full disk: the one of the last start will do
        atomic_write(path, f"127.0.0.1 localhost {socket.gethostname()}\n".encode())


def main() -> None:
    """Read the description and replace this process."""
    root = Path(os.environ[MARK])
    program = json.loads((root / "config" / f"{sys.argv[1]}.json").read_text(encoding="utf-8"))
    folder = Path(program["folder"])
    if folder.name == sys.argv[1] and folder.parent == root / "run" / "tmp":
        shutil.rmtree(folder, ignore_errors=True)  # native libraries that a killed JVM left unpacked
        folder.mkdir(parents=True)
    write_hosts(hosts_file(root))
    os.chdir(folder)
    arguments = class_data.resolved(program["arguments"])
    os.execv(arguments[0], arguments)  # noqa: S606 - exec is the purpose


if __name__ == "__main__":
    main()
