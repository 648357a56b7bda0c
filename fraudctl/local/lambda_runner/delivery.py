"""How a batch gets to the function: again and again until it is done, or until what failed lies on file."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fraudctl.local.lambda_runner.batches import Delivered, event, failed
from fraudctl.local.lambda_runner.functions import Functions, Result
from fraudctl.local.lambda_runner.on_failure import OnFailure
from fraudctl.local.lambda_runner.spec import EventSourceMappingSpec

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0

log = logging.getLogger(__name__)


class Stopped(Exception):
    """The runner stops; what was under way is not done and will be delivered again."""


@dataclass(slots=True)
class Counts:
    """What happened to records since the start."""

    received: int = 0
    processed: int = 0
    retried: int = 0
    failed: int = 0  # given up here; what the function itself puts on file it counts as processed
    batches: int = 0


class Delivery:
    """Delivers batches. `pause` waits that many seconds and says whether the runner stops."""

    def __init__(
        self,
        spec: EventSourceMappingSpec,
        bootstrap_servers: str,
        functions: Functions,
        on_failure: OnFailure,
        pause: Callable[[float], bool],
    ) -> None:
        """Store the collaborators."""
        self._spec, self._bootstrap_servers = spec, bootstrap_servers
        self._functions, self._on_failure, self._pause = functions, on_failure, pause
        self.counts = Counts()
        self.last_result = "No records processed"

    def deliver(self, records: Sequence[Delivered]) -> None:
        """Return when every record is processed or on file; raises `Stopped` when the runner stops before.

        Records that the function reports are tried again `retries` times, alone and in their order. An invocation that
        fails as a whole is repeated `error_retries` times, for ever with -1.
        """
        self.counts.received += len(records)
        self.counts.batches += 1
        attempts = errors = 0
        while records:
            batch = event(records, self._bootstrap_servers)
            result = self._functions.invoke(self._spec.function, batch)
            attempts += 1
            if result.error:
                errors += 1
                why = str(result.value().get("errorMessage"))
                self.last_result = "PROBLEM: Function call failed"
                again, left = self._allowed(errors, self._spec.error_retries), list(records)
            else:
                left = failed(result.value(), records)
                why = "the function reported the record as failed"
                self.last_result = "PROBLEM: The function reported failed records" if left else "OK"
                again = self._allowed(attempts - errors, self._spec.retries)
            self.counts.processed += len(records) - len(left)
            if left and not again:
                self._give_up(left, result, attempts, why)
                return
            if left:
                self.counts.retried += len(left)
                self._wait(attempts)
            records = left

    def _give_up(self, records: Sequence[Delivered], result: Result, attempts: int, why: str) -> None:
        batch = event(records, self._bootstrap_servers)
        pauses = 0
        while True:
            try:
                files = self._on_failure.write(records, batch, result, attempts, why)
                break
            except OSError as error:
                # A full disk must not lose records: nothing is committed until the files are there.
                log.error("%d records cannot be kept: %s", len(records), error)  # noqa: TRY400 - no bug of ours
                pauses += 1
                self._wait(pauses)
        places = ", ".join(str(file) for file in files)
        log.warning("%d records given up after %d attempts: %s", len(records), attempts, places)
        self.counts.failed += len(records)
        self.last_result = "OK"  # the batch is done; what lies on file is counted beside

    def _wait(self, attempts: int) -> None:
        if self._pause(min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(attempts - 1, 10))):
            raise Stopped

    @staticmethod
    def _allowed(attempts: int, retries: int) -> bool:
        return retries < 0 or attempts <= retries
