"""What audit rows are counted by."""

from enum import StrEnum


class By(StrEnum):
    """What rows are grouped by; hours and days are of detected_at, UTC."""

    ACCOUNT = "account"
    MERCHANT = "merchant"
    TYPE = "type"
    REASON = "reason"
    HOUR = "hour"
    DAY = "day"
