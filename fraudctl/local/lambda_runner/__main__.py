"""``python -m fraudctl.local.lambda_runner SPEC.json``."""

import logging
import os
import sys
from pathlib import Path

from fraudctl.local.lambda_runner.logs import configure
from fraudctl.local.lambda_runner.runner import Runner
from fraudctl.local.lambda_runner.spec import RunnerSpec


def main() -> int:
    """Run what the file describes until SIGTERM; 1 when its port is taken."""
    spec = RunnerSpec.from_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    configure(spec.log_level)
    try:
        runner = Runner(spec)
    except OSError as error:
        logging.getLogger(__name__).error("port %d: %s", spec.port, error.strerror)  # noqa: TRY400 - no bug of ours
        return 1
    runner.run()
    return 0


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    # Not sys.exit: threads that were abandoned, and librdkafka's own, must not hold the process up.
    os._exit(code)
