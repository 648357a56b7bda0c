"""Programs of the person's own that a page needs, run in the foreground."""

import shutil
import subprocess
from collections.abc import Callable, Sequence

from fraudctl.errors import OperationFailed, Unreachable


def run(
    command: Sequence[str],
    needs: Sequence[str] = (),
    *,
    which: Callable[[str], str | None] = shutil.which,
    call: Callable[[Sequence[str]], int] = subprocess.call,
) -> None:
    """Run a command until it ends or Ctrl-C; raises `Unreachable` naming what of `needs` is not installed."""
    if missing := [name for name in needs if which(name) is None]:
        raise Unreachable(
            f"{' and '.join(missing)}: not installed here",
            hint="install that (docs/aws.md: pages), or run the command above where it is installed",
        )
    if code := call(command):
        raise OperationFailed(f"{command[0]}: it ended with exit code {code}", hint="its own message is above")
