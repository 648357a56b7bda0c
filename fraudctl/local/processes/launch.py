"""``python -P -m fraudctl.local.processes.launch NAME``: become the program that config/NAME.json describes.

supervisord runs this instead of the program itself, so that no path of the stack (with its blanks, its % and its ;)
passes through supervisord's configuration syntax. Standard library only: it is over in some 30 ms.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from fraudctl.local.processes import class_data
from fraudctl.local.processes.paths import MARK

# -P keeps the working folder, which may be the stack's own, off the module path.
PYTHON: Final = (sys.executable, "-P", "-m")


def main() -> None:
    """Read the description and replace this process."""
    root = Path(os.environ[MARK])
    program = json.loads((root / "config" / f"{sys.argv[1]}.json").read_text(encoding="utf-8"))
    folder = Path(program["folder"])
    if folder.name == sys.argv[1] and folder.parent == root / "run" / "tmp":
        shutil.rmtree(folder, ignore_errors=True)  # native libraries that a killed JVM left unpacked
        folder.mkdir(parents=True)
    os.chdir(folder)
    arguments = class_data.resolved(program["arguments"])
    os.execv(arguments[0], arguments)  # noqa: S606 - exec is the purpose


if __name__ == "__main__":
    main()
