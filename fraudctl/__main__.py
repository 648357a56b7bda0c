"""The executable. It loads the command line inside the `try`, so Ctrl-C in the first moments is no traceback either."""

import io
import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command line; interrupted before that has begun, exit 130 as it does."""
    try:
        _prepare_streams()
        signal.signal(signal.SIGTERM, _like_ctrl_c)
        from fraudctl.cli import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)


def _prepare_streams() -> None:
    """Make every stream one that can be used: a closed one leads nowhere; text, arguments too, is UTF-8 in any locale.

    Python leaves ``sys.stdout`` None when it was closed (``fraudctl status >&-``).
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - open until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace" if mode == "w" else "surrogateescape")
    sys.argv = [os.fsencode(argument).decode(errors="surrogateescape") for argument in sys.argv]


def _like_ctrl_c(_number: int, _frame: FrameType | None) -> None:
    """Treat SIGTERM as Ctrl-C: whoever listens for the one counts what was done and says how to go on."""
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
