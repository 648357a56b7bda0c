"""What dead letters are counted by, and where they come from."""

from enum import StrEnum


class By(StrEnum):
    """What the letters of a group have in common; hours and days are UTC's."""

    ERROR = "error"
    TOPIC = "topic"
    PARTITION = "partition"
    KEY = "key"
    HOUR = "hour"
    DAY = "day"
    LETTER = "letter"  # nothing: each by itself


class Source(StrEnum):
    """Where records were set aside."""

    TOPIC = "topic"  # dead_letters, by the Flink application
    ON_FAILURE = "on-failure"  # AuditWriter's destination for what it could not write
