"""The names that are derived from a stack's, the same on both targets."""

from typing import Final

# Folder below lambdas → the function's short name.
FUNCTIONS: Final = {
    "sample_transaction_generator": "SampleTransactionGenerator",
    "flag_account_generator": "FlagAccountGenerator",
    "audit_writer": "AuditWriter",
    "topic_reader": "TopicReader",
    "topic_writer": "TopicWriter",
}
# What a laptop does not need, where fraudctl itself reaches the brokers.
ON_AWS_ONLY: Final = frozenset({"TopicReader", "TopicWriter"})

# The Flink application's consumer group; each stack has brokers of its own.
FLINK_GROUP: Final = "fraud-detection"


def audit_table(stack: str) -> str:
    """Return the audit table's name."""
    return f"{stack}-audit"


def function(stack: str, short_name: str) -> str:
    """Return a function's full name: ``fraud-detection-AuditWriter``."""
    return f"{stack}-{short_name}"
