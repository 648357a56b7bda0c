"""What an account is at a moment."""

from enum import StrEnum


class State(StrEnum):
    """What an account is at a moment: SCHEDULED will be flagged, EXPIRED was flagged until an end that was set."""

    SCHEDULED = "SCHEDULED"
    FLAGGED = "FLAGGED"
    EXPIRED = "EXPIRED"
    CLEARED = "CLEARED"
