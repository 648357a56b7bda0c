"""The deployer policy: exactly what fraudctl calls and what CloudFormation calls with a deployer's credentials.

tests/e2e/test_aws_emulator.py records fraudctl's own calls and compares them with `aws_calls.RECORDED`. What
CloudFormation calls is in each type's schema in its registry: tests/data/handler_permissions.json, of cfn-lint 1.58.0.
"""

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import pytest
from aws_calls import NOT_IN_THE_RUN, RECORDED, allowed, patterns, permissions, policy
from templates import Template, listed, load

from fraudctl.aws.names import Names
from fraudctl.pipeline.names import FUNCTIONS

STACK: Final = "fraud-detection"
# What the handlers may call for properties that the template does not set.
UNUSED: Final = {
    "keys, certificates, file systems, streams and networks of other services": (
        r"(acm-pca|elasticfilesystem|firehose|kinesis|kms|s3files|s3tables|vpc-lattice|vpce):.*|ssm:.*Association.*"
    ),
    "a table's data, import, replicas, streams, policies and insights": (
        r"dynamodb:(BatchWriteItem|DeleteItem|GetItem|PutItem|Query|Scan|UpdateItem|.*Replica|ImportTable|DescribeImport"
        r"|.*KinesisStreaming.*|.*ResourcePolicy|.*ContributorInsights|.*TimeToLive)"
    ),
    "log groups with indexes, data protection, keys and tokens": (
        r"logs:(.*IndexPolic.*|.*DataProtectionPolicy|.*KmsKey|.*BearerToken.*|DeleteResourcePolicy"
        r"|PutLogGroupDeletionProtection|PutLogEvents)"
    ),
    "buckets that serve, log, replicate, lock or analyse": (
        r"s3:(REST\.PUT\.OBJECT|GetObjectMetadata|.*MetadataTable.*|.*(Inventory|Journal|Annotation)Table.*"
        r"|(Put|Delete)(Bucket)?(Accelerate|Analytics|IntelligentTiering|Inventory|Metrics|Replication|Cors|CORS|Website"
        r"|Logging|Notification|Acl|Abac|ObjectLock)(Configuration)?|PutObjectLockConfiguration|PutObjectAcl)"
    ),
    "instances with volumes of their own, addresses and networks with more than one block": (
        r"ec2:(AcceptAddressTransfer|A(ssociate|ssign)Private.*|AssociateNatGatewayAddress|UnassignPrivate.*"
        r"|DisassociateNatGatewayAddress|(Attach|Detach)(Volume|VpnGateway)|(Associate|Disassociate)SubnetCidrBlock"
        r"|CreateVpcEncryptionControl|ModifyInstance(CreditSpecification|MaintenanceOptions|Placement)|ModifyVpcTenancy"
        r"|ModifyPrivateDnsNameOptions|(M|Unm)onitorInstances|(Ass|Disass)ociateAddress|(Ass|Disass)ociateIamInstanceProfile)"
    ),
    "users, groups and boundaries": r"iam:(.*(Group|User)Policy|.*PermissionsBoundary)",
    "functions with layers, versions, signatures and limits": (
        r"lambda:(AssociateRuntimeAlias|.*CodeSigningConfig|.*FunctionConcurrency|PassCapacityProvider|PublishVersion"
        r"|PutFunction(Recursion|Scaling)Config|PutRuntimeManagementConfig|GetLayerVersion)"
    ),
    "Express brokers": r"kafka:UpdateRebalancing",
    "messages' data protection": r"sns:.*DataProtectionPolicy",
}
# What AWS asks of whoever attaches a function to a network, though no schema says so: lambda, configuration-vpc.md.
DOCUMENTED: Final = {
    *("ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs", "ec2:GetSecurityGroupsForVpc"),
}
READING: Final = re.compile(r"[a-z0-9-]+:(Get|List|Describe)")


def handlers() -> dict[str, list[str]]:
    """Return what CloudFormation calls for each type."""
    path = Path(__file__).parent.parent / "data" / "handler_permissions.json"
    found: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def needed() -> set[str]:
    """Return every permission that a deployer needs."""
    by_cloudformation = {
        action
        for actions in handlers().values()
        for action in actions
        if not any(re.fullmatch(pattern, action) for pattern in UNUSED.values())
    }
    own = {action for call in RECORDED | set(NOT_IN_THE_RUN) for action in permissions(call)}
    return by_cloudformation | own | DOCUMENTED


@pytest.fixture
def template() -> Template:
    """Read the template."""
    return load()


def test_every_type_of_the_template_is_counted(template: Template) -> None:
    """A new type needs its line in the data, and what it needs in the policy."""
    assert set(handlers()) == {found["Type"] for found in template.resources.values()}


def test_permissions_are_those_of_the_schemas() -> None:
    """The data is what cfn-lint's copy of the registry says; `make lint` installs that."""
    folders = list(Path(__file__).parents[2].glob(".venv-cfn/lib/*/site-packages/cfnlint/data/schemas/resources"))
    if not folders:
        pytest.skip("cfn-lint is not installed: `make lint` installs it")
    found = {}
    for path in folders[0].glob("*.json"):
        text = path.read_text(encoding="utf-8")
        if '"handlers"' in text and (schema := json.loads(text))["typeName"] in handlers():
            verbs = (schema["handlers"].get(verb, {}) for verb in ("create", "read", "update", "delete"))
            actions = {action.replace("Kafka:", "kafka:") for verb in verbs for action in verb.get("permissions", ())}
            found[schema["typeName"]] = sorted(actions)
    pinned = dict(handlers())
    pinned.pop("AWS::KinesisAnalyticsV2::ApplicationCloudWatchLoggingOption")  # without a schema of its own
    assert found == pinned


def test_nothing_is_missing() -> None:
    """Whatever fraudctl or CloudFormation calls is allowed."""
    assert not sorted(action for action in needed() if not allowed(action))


def test_nothing_is_too_much() -> None:
    """What changes anything is named and needed; only reading may have a star, and none reads more than is needed."""
    wanted = {action.lower() for action in needed()}
    for pattern in patterns():
        if "*" in pattern:
            assert READING.match(pattern), pattern
        assert any(fnmatchcase(action, pattern.lower()) for action in wanted), pattern
    assert len(patterns()) == len({*patterns()}) + 1  # a session is started on an instance, by a document


def test_it_fits_into_a_role() -> None:
    """IAM counts 10,240 characters without white space over the policies in a role; a managed one takes 6,144."""
    assert len(json.dumps(policy(), separators=(",", ":"))) <= 10_240


def statements(prefix: str) -> list[dict[str, Any]]:
    """Return the statements with an action of this beginning."""
    return [found for found in policy()["Statement"] if any(a.startswith(prefix) for a in listed(found["Action"]))]


# What changes something and knows no resource that could be named, or one whose name only the service knows.
ANY_RESOURCE: Final = re.compile(
    r"ec2:.*|lambda:(Create|Update|Delete)EventSourceMapping|lambda:(Tag|Untag)Resource"
    r"|logs:(Create|Update|Delete)LogDelivery|logs:PutResourcePolicy|kafka:CreateConfiguration"
)


def test_changes_stay_within_the_stack() -> None:
    """Names begin with the stack's; what has no name of its own is listed."""
    for statement in policy()["Statement"]:
        if "*" not in listed(statement["Resource"]):
            tagged = {"ssm:resourceTag/fraudctl:stack": STACK}
            assert statement.get("Condition", {}).get("StringEquals") == tagged or all(
                re.search(
                    r"[/:]fraud-detection|ami-amazon-linux|aws-service-role/|AWS-StartPortForwardingSession$", arn
                )
                or arn.endswith(":event-source-mapping:*")
                for arn in listed(statement["Resource"])
            ), statement
            continue
        for action in listed(statement["Action"]):
            assert READING.match(action) or ANY_RESOURCE.fullmatch(action), action


def test_roles_are_handed_to_their_services_only(template: Template) -> None:
    """Otherwise a deployer could take any right by handing a stronger role to a function."""
    (statement,) = statements("iam:PassRole")
    trusted = {
        found["Principal"]["Service"]
        for role in template.of("AWS::IAM::Role").values()
        for found in role["AssumeRolePolicyDocument"]["Statement"]
    }
    assert set(statement["Condition"]["StringEquals"]["iam:PassedToService"]) == trusted
    assert statement["Resource"] == f"arn:aws:iam::*:role/{STACK}-*"
    for found in statements("iam:Create"):
        assert "*" not in listed(found["Resource"])


def test_every_name_of_a_stack_is_covered() -> None:
    """The resources are those that names.py computes for the default stack."""
    names, account, region = Names(STACK), "1" * 12, "eu-west-1"
    arns = [
        f"arn:aws:dynamodb:{region}:{account}:table/{names.audit_table}",
        f"arn:aws:kinesisanalytics:{region}:{account}:application/{names.application}",
        f"arn:aws:kafka:{region}:{account}:cluster/{names.cluster}/0-1",
        f"arn:aws:kafka:{region}:{account}:topic/{names.cluster}/0-1/demo_transactions",
        f"arn:aws:scheduler:{region}:{account}:schedule/default/{STACK}-samples",
        f"arn:aws:cloudformation:{region}:{account}:stack/{STACK}/0-1",
        f"arn:aws:iam::{account}:role/{STACK}-FlinkRole-0A",
        *(f"arn:aws:s3:::{bucket}" for bucket in names.buckets(account, region)),
        *(f"arn:aws:s3:::{bucket}/x" for bucket in names.buckets(account, region)),
        *(f"arn:aws:lambda:{region}:{account}:function:{function}" for function in names.functions),
        *(f"arn:aws:logs:{region}:{account}:log-group:{group}:*" for group in names.log_groups),
    ]
    resources = [arn for found in policy()["Statement"] for arn in listed(found["Resource"]) if arn != "*"]
    assert len(names.functions) == len(FUNCTIONS)
    for arn in arns:
        assert any(fnmatchcase(arn, pattern) for pattern in resources), arn
