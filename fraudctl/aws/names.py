"""Every name and tag of a stack on AWS, each computed here and nowhere else.

The template spells the same names with `Fn::Sub`; tests/contract/test_template.py compares the two.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from fraudctl.pipeline import names

TAG: Final = "fraudctl:stack"
# S3's limit for a bucket's name.
_LONGEST_BUCKET: Final = 63
# The longest stack name with which every name in the template keeps within its service's limit, in every region.
LONGEST_STACK: Final = 28


@dataclass(frozen=True, slots=True)
class Names:
    """The names that belong to one stack."""

    stack: str

    @property
    def tags(self) -> dict[str, str]:
        """The tags of everything that belongs to the stack."""
        return {TAG: self.stack}

    @property
    def tag_filter(self) -> list[dict[str, Any]]:
        """EC2's `Filters` for what has the stack's tag."""
        return [{"Name": f"tag:{TAG}", "Values": [self.stack]}]

    @property
    def cluster(self) -> str:
        """The MSK cluster."""
        return self.stack

    @property
    def application(self) -> str:
        """The Managed Flink application."""
        return f"{self.stack}-detection"

    @property
    def audit_table(self) -> str:
        """The DynamoDB table of detections."""
        return names.audit_table(self.stack)

    @property
    def functions(self) -> tuple[str, ...]:
        """The Lambda functions, sorted."""
        return tuple(sorted(names.function(self.stack, short) for short in names.FUNCTIONS.values()))

    @property
    def application_log_group(self) -> str:
        """The log group of the Flink application."""
        return application_log_group(self.application)

    @property
    def broker_log_group(self) -> str:
        """The log group of the brokers."""
        return f"/aws/vendedlogs/{self.stack}/broker"

    @property
    def kafdrop_log_group(self) -> str:
        """The log group of Kafdrop."""
        return f"/fraudctl/{self.stack}/kafdrop"

    @property
    def log_groups(self) -> tuple[str, ...]:
        """The log groups; one that ends in a slash is the beginning of several."""
        functions = [f"/aws/lambda/{name}" for name in self.functions]
        brokers, instances = f"/aws/vendedlogs/{self.stack}/", f"/fraudctl/{self.stack}/"
        return (*functions, brokers, application_log_group(self.application), instances)

    def artifact_bucket(self, account: str, region: str) -> str:
        """Return ``<stack>-artifacts-<account>-<region>``; cut and hashed where that is over S3's 63 characters."""
        end = f"-artifacts-{account}-{region}"
        if len(self.stack) + len(end) <= _LONGEST_BUCKET:
            return self.stack + end
        mark = hashlib.sha256(self.stack.encode()).hexdigest()[:6]
        return f"{self.stack[: _LONGEST_BUCKET - len(end) - len(mark) - 1]}-{mark}{end}"

    def on_failure_bucket(self, account: str, region: str) -> str:
        """Return the bucket of records that the audit writer could not write."""
        return f"{self.stack}-failed-{account}-{region}"

    def buckets(self, account: str, region: str) -> frozenset[str]:
        """Return every bucket of the stack."""
        return frozenset({self.artifact_bucket(account, region), self.on_failure_bucket(account, region)})


def application_log_group(application: str) -> str:
    """Return the log group of a Managed Flink application."""
    return f"/aws/kinesis-analytics/{application}"
