"""The executable. It loads the command line inside the `try`, so Ctrl-C in the first moments is no traceback either."""

import sys


def main() -> None:
    """Run the command line; interrupted before that has begun, exit 130 as it does."""
    try:
        from fraudctl.cli import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
