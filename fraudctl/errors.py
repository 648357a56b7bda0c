"""Every error fraudctl expects, each with its exit code.

    FraudctlError            1  base; by itself it means a bug
    ├── BadConfig            2  usage or configuration is wrong
    ├── NotDeployed          3  the stack, or the thing asked for, is not there
    ├── Unreachable          4  AWS, Kafka, Flink or DynamoDB does not answer, or does not allow it
    ├── OperationFailed      5  the other side said no
    ├── TimedOut             6  still running when the wait ended
    ├── Refused              7  a guard, a declined prompt, a lock
    └── NotAsAsked           8  done, but not as asked: lines skipped, expectation unmet, leftovers

Exit code 0 is success (also "already so"), 130 is Ctrl-C.
"""

from collections.abc import Sequence
from typing import Final

INTERRUPTED: Final = 130


class FraudctlError(Exception):
    """An expected error: ``str(error)`` reads "{what}: {why}", ``hint`` says what to type next.

    ``excerpt`` has the lines to show between the two: what was typed, and a caret below what is wrong.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, excerpt: Sequence[str] = ()) -> None:
        """Store the message for people, and the hint and the excerpt beside it."""
        super().__init__(message)
        self.hint = hint
        self.excerpt = excerpt


class BadConfig(FraudctlError):
    """An option, an argument, a configuration file or an environment variable is wrong."""

    exit_code = 2


class NotDeployed(FraudctlError):
    """The stack, topic, table, application or file asked for does not exist."""

    exit_code = 3


class Unreachable(FraudctlError):
    """Kafka, Flink, DynamoDB, AWS or a download does not answer, or does not allow the call."""

    exit_code = 4


class OperationFailed(FraudctlError):
    """The other side answered, and the answer was no."""

    exit_code = 5


class TimedOut(FraudctlError):
    """The operation still runs, but the time to wait for it is over."""

    exit_code = 6


class Refused(FraudctlError):
    """A guard stopped the command before it changed anything."""

    exit_code = 7


class NotAsAsked(FraudctlError):
    """The command ended, but not with what was asked for."""

    exit_code = 8
