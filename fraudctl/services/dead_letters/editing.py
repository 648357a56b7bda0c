"""An editor on the bytes of a letter."""

import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from fraudctl.errors import BadConfig, OperationFailed

Note = Callable[[str], None]


def editor(command: str, note: Note) -> Callable[[bytes, str], bytes]:
    """Return what opens the user's editor on some bytes and returns them as they were left.

    `command` is as in $VISUAL: a program with its arguments. Raises `BadConfig` when it is empty.
    """
    words = shlex.split(command)
    if not words:
        raise BadConfig("--edit: no editor is known", hint="set EDITOR, such as `export EDITOR=vim`")

    def edit(before: bytes, about: str) -> bytes:
        note(f"Editing {about}")
        with tempfile.TemporaryDirectory(prefix="fraudctl-") as folder:
            file = Path(folder) / "letter.json"
            file.touch(mode=0o600)
            file.write_bytes(before)
            try:
                code = subprocess.run([*words, str(file)], check=False).returncode
            except OSError as error:
                raise BadConfig(f"editor {words[0]}: {error.strerror}", hint="set EDITOR to another one") from error
            if code:
                raise OperationFailed(f"editor {words[0]}: it ended with {code}", hint="nothing was sent")
            after = file.read_bytes()
        # Editors end a file with a line end, which belongs to no record.
        return after if before.endswith(b"\n") else after.removesuffix(b"\n").removesuffix(b"\r")

    return edit
