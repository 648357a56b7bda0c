"""Least privilege: what every role is used for is allowed, what none may ever do is denied, by evaluating its policies.

The lists of what AWS's own services need are those of its documentation, each with its page.
"""

from typing import Any, Final

import pytest
from aws_calls import FUNCTION_CALLS, NOT_IN_THE_RUN, RECORDED, permissions, policy
from roles import NAMES, permitted, statements, trusted
from templates import Template, load, text

from fraudctl.aws.names import Names
from fraudctl.pipeline.names import FUNCTIONS

REGION, ACCOUNT, STACK = NAMES["AWS::Region"], NAMES["AWS::AccountId"], NAMES["AWS::StackName"]
HERE: Final = f"{REGION}:{ACCOUNT}"
KAFKA: Final = f"arn:aws:kafka:{HERE}"
UUID: Final = "0a0a-1"
CLUSTER: Final = f"{KAFKA}:cluster/{STACK}/{UUID}"
FAILED: Final = f"arn:aws:s3:::{STACK}-failed-{ACCOUNT}-{REGION}"
ARTIFACTS: Final = f"arn:aws:s3:::{NAMES['ArtifactBucket']}"
TABLE: Final = f"arn:aws:dynamodb:{HERE}:table/{STACK}-audit"
JAR: Final = "fraud-detection-aws-0123456789ab.jar"
VPC: Final = f"arn:aws:ec2:{HERE}:vpc/vpc-1"

TOPICS: Final = ("demo_transactions", "flagged_accounts", "processed_topic", "dead_letters")

Use = tuple[str, str]


def topic(name: str) -> str:
    """Return a topic's ARN."""
    return f"{KAFKA}:topic/{STACK}/{UUID}/{name}"


def group(name: str) -> str:
    """Return a consumer group's ARN."""
    return f"{KAFKA}:group/{STACK}/{UUID}/{name}"


def stream(function: str) -> str:
    """Return the ARN of a log stream of a function."""
    return f"arn:aws:logs:{HERE}:log-group:/aws/lambda/{STACK}-{function}:log-stream:2026/11/27/[$LATEST]0"


def writing(name: str) -> set[Use]:
    """Return what producing idempotently takes (msk: iam-access-control-use-cases.md).

    The last is of another page, create-iam-access-control-policies.md; Kafka itself asks for none.
    """
    return {
        ("kafka-cluster:WriteData", f"{KAFKA}:transactional-id/{STACK}/{UUID}/x"),
        ("kafka-cluster:Connect", CLUSTER),
        ("kafka-cluster:WriteDataIdempotently", CLUSTER),
        ("kafka-cluster:DescribeTopic", topic(name)),
        ("kafka-cluster:WriteData", topic(name)),
    }


def reading(name: str, consumer: str) -> set[Use]:
    """Return what consuming takes (the same page)."""
    return {
        ("kafka-cluster:Connect", CLUSTER),
        ("kafka-cluster:DescribeTopic", topic(name)),
        ("kafka-cluster:ReadData", topic(name)),
        ("kafka-cluster:DescribeGroup", group(consumer)),
        ("kafka-cluster:AlterGroup", group(consumer)),
    }


def logging(function: str) -> set[Use]:
    """Return what a function's log takes. The group is the template's, so that nobody needs logs:CreateLogGroup."""
    return {("logs:CreateLogStream", stream(function)), ("logs:PutLogEvents", stream(function))}


def anywhere(*actions: str) -> set[Use]:
    """Return actions that are allowed on no resource in particular."""
    return {(action, "*") for action in actions}


# lambda: configuration-vpc.md, "Required IAM permissions", on all resources.
FUNCTION_IN_VPC: Final = anywhere(
    *("ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"),
    *("ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"),
)
# lambda: with-msk-permissions.md. Of kafka:DescribeCluster and kafka:DescribeClusterV2 one is needed. For IAM also
# kafka-cluster:Connect, AlterGroup, DescribeGroup, DescribeTopic and ReadData; for S3 s3:PutObject and s3:ListBucket.
MAPPING: Final = (
    {("kafka:DescribeClusterV2", CLUSTER)}
    | anywhere("kafka:GetBootstrapBrokers")
    | anywhere("ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeVpcs")
    | anywhere("ec2:DeleteNetworkInterface", "ec2:DescribeSubnets", "ec2:DescribeSecurityGroups")
    | reading("processed_topic", f"{STACK}-audit-writer")
    | {("s3:PutObject", f"{FAILED}/aws/lambda/x"), ("s3:ListBucket", FAILED)}
)
# managed-flink: vpc-permissions.md. Interfaces are made in a subnet with a group: three resources, one permission each.
MANAGED_FLINK: Final = (
    anywhere("ec2:DescribeVpcs", "ec2:DescribeSubnets", "ec2:DescribeSecurityGroups", "ec2:DescribeDhcpOptions")
    | anywhere("ec2:DescribeNetworkInterfaces")
    | {
        (f"ec2:{action}", f"arn:aws:ec2:{HERE}:network-interface/eni-1")
        for action in ("CreateNetworkInterface", "CreateNetworkInterfacePermission", "DeleteNetworkInterface")
    }
    | {
        ("ec2:CreateNetworkInterface", f"arn:aws:ec2:{HERE}:subnet/subnet-1"),
        ("ec2:CreateNetworkInterface", f"arn:aws:ec2:{HERE}:security-group/sg-1"),
    }
)
# managed-flink: cloudwatch-logs.md, "Permissions policy"; get-started-exercise.md for the code.
FLINK_LOGS: Final = {
    (
        "logs:PutLogEvents",
        f"arn:aws:logs:{HERE}:log-group:/aws/kinesis-analytics/{STACK}-detection:log-stream:application",
    ),
    ("logs:DescribeLogStreams", f"arn:aws:logs:{HERE}:log-group:/aws/kinesis-analytics/{STACK}-detection:log-stream:"),
    ("logs:DescribeLogGroups", f"arn:aws:logs:{HERE}:log-group::log-stream:"),
    ("s3:GetObject", f"{ARTIFACTS}/{JAR}"),
    ("s3:GetObjectVersion", f"{ARTIFACTS}/{JAR}"),
}
# scheduler: setting-up.md, "Lambda – Invoke".
SCHEDULER: Final = {("lambda:InvokeFunction", f"arn:aws:lambda:{HERE}:function:{STACK}-SampleTransactionGenerator")}

NEEDED: Final[dict[str, set[Use]]] = {
    "SampleTransactionGeneratorRole": writing("demo_transactions")
    | logging("SampleTransactionGenerator")
    | FUNCTION_IN_VPC,
    "FlagAccountGeneratorRole": writing("flagged_accounts") | logging("FlagAccountGenerator") | FUNCTION_IN_VPC,
    "AuditWriterRole": MAPPING
    | logging("AuditWriter")
    | {("dynamodb:PutItem", TABLE), ("s3:PutObject", f"{FAILED}/malformed/x.json")},
    "FlinkRole": MANAGED_FLINK
    | FLINK_LOGS
    | reading("demo_transactions", "fraud-detection")
    | reading("flagged_accounts", "fraud-detection")
    | writing("processed_topic")
    | writing("dead_letters"),
    "TopicReaderRole": set[Use]().union(*(reading(name, "fraudctl-reader") for name in TOPICS))
    | {("kafka-cluster:DescribeGroup", group(name)) for name in ("fraud-detection", f"{STACK}-audit-writer")}
    | logging("TopicReader")
    | FUNCTION_IN_VPC,
    "TopicWriterRole": set[Use]().union(*map(writing, TOPICS)) | logging("TopicWriter") | FUNCTION_IN_VPC,
    "ScheduleRole": SCHEDULER,
    "KafdropRole": {
        ("kafka-cluster:Connect", CLUSTER),
        ("kafka-cluster:DescribeCluster", CLUSTER),
        ("kafka-cluster:DescribeTopic", topic("demo_transactions")),
        ("kafka-cluster:ReadData", topic("demo_transactions")),
        ("kafka-cluster:DescribeGroup", group("fraud-detection")),
        ("s3:GetObject", f"{ARTIFACTS}/{NAMES['KafdropAuthJarKey']}"),
    },
}
# What the services say of a request that they make for themselves.
CONTEXT: Final = {"aws_RequestedRegion": REGION, "ec2_Vpc": VPC, "s3_ResourceAccount": ACCOUNT}


def may(found: list[dict[str, Any]], use: Use) -> bool:
    """Return whether statements allow a use, with what its service says of the request."""
    # An interface that is being made is in no network yet; its subnet and its groups are.
    new = use == ("ec2:CreateNetworkInterface", f"arn:aws:ec2:{HERE}:network-interface/eni-1")
    return permitted(found, *use, **{key: value for key, value in CONTEXT.items() if not (new and key == "ec2_Vpc")})


OTHER_CLUSTER: Final = f"{KAFKA}:topic/other/{UUID}/"
EVERYBODY_NEVER: Final[set[Use]] = {
    *((f"kafka-cluster:{verb}Topic", topic("demo_transactions")) for verb in ("Create", "Alter", "Delete")),
    ("kafka-cluster:AlterTopicDynamicConfiguration", topic("flagged_accounts")),
    ("kafka-cluster:AlterCluster", CLUSTER),
    ("kafka-cluster:AlterClusterDynamicConfiguration", CLUSTER),
    ("kafka-cluster:DeleteGroup", group("fraud-detection")),
    *((f"kafka-cluster:{verb}Data", f"{OTHER_CLUSTER}demo_transactions") for verb in ("Read", "Write")),
    # A stack whose name this one's begins.
    *((f"kafka-cluster:{verb}Data", f"{KAFKA}:topic/{STACK}-2/{UUID}/processed_topic") for verb in ("Read", "Write")),
    ("kafka-cluster:Connect", f"{KAFKA}:cluster/other/{UUID}"),
    ("kafka:DeleteCluster", CLUSTER),
    *((f"dynamodb:{verb}", TABLE) for verb in ("DeleteItem", "UpdateItem", "DeleteTable", "Scan", "BatchWriteItem")),
    ("dynamodb:PutItem", f"arn:aws:dynamodb:{HERE}:table/other"),
    ("s3:PutObject", "arn:aws:s3:::other/x"),
    ("s3:PutObject", f"{ARTIFACTS}/{JAR}"),
    ("s3:DeleteObject", f"{FAILED}/malformed/x.json"),
    ("s3:GetObject", f"{FAILED}/malformed/x.json"),
    ("s3:ListAllMyBuckets", "*"),
    ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/{STACK}-FlinkRole-0A"),
    ("iam:CreateRole", "*"),
    ("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/{STACK}-FlinkRole-0A"),
    ("lambda:UpdateFunctionCode", f"arn:aws:lambda:{HERE}:function:{STACK}-AuditWriter"),
    ("lambda:InvokeFunction", f"arn:aws:lambda:{HERE}:function:{STACK}-AuditWriter"),
    ("secretsmanager:GetSecretValue", "*"),
    ("ssm:GetParameter", f"arn:aws:ssm:{HERE}:parameter/x"),
    ("logs:PutLogEvents", f"arn:aws:logs:{HERE}:log-group:/aws/lambda/other:log-stream:x"),
    ("logs:DeleteLogGroup", f"arn:aws:logs:{HERE}:log-group:/aws/lambda/{STACK}-AuditWriter:*"),
    ("ec2:RunInstances", "*"),
    ("ec2:AuthorizeSecurityGroupIngress", f"arn:aws:ec2:{HERE}:security-group/sg-1"),
}
READS: Final = {
    "AuditWriterRole": {"processed_topic"},
    "FlinkRole": {"demo_transactions", "flagged_accounts"},
    "KafdropRole": set(TOPICS),
    "TopicReaderRole": set(TOPICS),
}
WRITES: Final = {
    "SampleTransactionGeneratorRole": {"demo_transactions"},
    "FlagAccountGeneratorRole": {"flagged_accounts"},
    "FlinkRole": {"processed_topic", "dead_letters"},
    "TopicWriterRole": set(TOPICS),
}


@pytest.fixture
def template() -> Template:
    """Read the template."""
    return load()


def test_every_role_is_known(template: Template) -> None:
    """A new role needs its lists in this file."""
    assert set(template.of("AWS::IAM::Role")) == set(NEEDED) == set(SERVICES)
    assert set(FUNCTION_CALLS) == set(FUNCTIONS.values())


@pytest.mark.parametrize("role", NEEDED)
def test_a_role_may_do_what_it_is_used_for(template: Template, role: str) -> None:
    """Whatever our code does with it, and whatever AWS documents that its service does with it."""
    found = statements(template, role)
    assert not {use for use in NEEDED[role] if not may(found, use)}


@pytest.mark.parametrize("role", NEEDED)
def test_a_role_may_never_do_what_is_not_its_own(template: Template, role: str) -> None:
    """Nothing of another stack, no other topic, nothing that deletes, changes policies or reaches further rights."""
    found = statements(template, role)
    uses = EVERYBODY_NEVER - NEEDED[role]
    uses |= {("kafka-cluster:ReadData", topic(name)) for name in TOPICS if name not in READS.get(role, set())}
    uses |= {("kafka-cluster:WriteData", topic(name)) for name in TOPICS if name not in WRITES.get(role, set())}
    assert not {use for use in uses if may(found, use)}


@pytest.mark.parametrize("role", NEEDED)
def test_every_need_depends_on_its_statement(template: Template, role: str) -> None:
    """Without any one of its statements something that the role needs is missing: none is there for nothing."""
    found = statements(template, role)
    for statement in found:
        if statement["Effect"] == "Deny":
            continue
        rest = [other for other in found if other is not statement]
        # Kafdrop's log and its cluster's settings are its own; no test drives its instance.
        if role == "KafdropRole" and statement["Sid"] == "Logs":
            continue
        assert {use for use in NEEDED[role] if not may(rest, use)}, statement["Sid"]


@pytest.mark.parametrize("function", FUNCTIONS.values())
def test_interfaces_are_lambdas_not_the_codes(template: Template, function: str) -> None:
    """Lambda makes network interfaces with the role; the function's code cannot (configuration-vpc.md)."""
    found = statements(template, f"{function}Role")
    arn = f"arn:aws:lambda:{HERE}:function:{STACK}-{function}"
    for action in ("ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeSubnets"):
        assert permitted(found, action, "*")
        assert not permitted(found, action, "*", lambda_SourceFunctionArn=arn)


def test_the_application_stays_in_its_network(template: Template) -> None:
    """In another network or region its role changes and sees nothing."""
    found, interface = statements(template, "FlinkRole"), f"arn:aws:ec2:{HERE}:network-interface/eni-1"
    other = {**CONTEXT, "ec2_Vpc": f"arn:aws:ec2:{HERE}:vpc/vpc-2"}
    assert not permitted(found, "ec2:DeleteNetworkInterface", interface, **other)
    assert not permitted(found, "ec2:CreateNetworkInterface", f"arn:aws:ec2:{HERE}:subnet/subnet-9", **other)
    assert not permitted(found, "ec2:DescribeVpcs", "*", **{**CONTEXT, "aws_RequestedRegion": "us-east-1"})
    assert not permitted(found, "s3:GetObject", f"{ARTIFACTS}/AuditWriter-0.zip", **CONTEXT)


def test_nothing_goes_to_a_bucket_of_somebody_else(template: Template) -> None:
    """Were the on-failure bucket deleted and its name taken in another account, the writer could not fill it."""
    found = statements(template, "AuditWriterRole")
    assert not permitted(found, "s3:PutObject", f"{FAILED}/x", s3_ResourceAccount="222222222222")


SERVICES: Final = {
    "SampleTransactionGeneratorRole": "lambda.amazonaws.com",
    "FlagAccountGeneratorRole": "lambda.amazonaws.com",
    "AuditWriterRole": "lambda.amazonaws.com",
    "TopicReaderRole": "lambda.amazonaws.com",
    "TopicWriterRole": "lambda.amazonaws.com",
    "FlinkRole": "kinesisanalytics.amazonaws.com",
    "ScheduleRole": "scheduler.amazonaws.com",
    "KafdropRole": "ec2.amazonaws.com",
}
# What a service says when it takes a role (managed-flink: iam-cross-service-confused-deputy-prevention.md; scheduler:
# cross-service-confused-deputy-prevention.md, which is the schedule group; Lambda documents nothing).
SOURCES: Final = {
    "lambda.amazonaws.com": "",
    "kinesisanalytics.amazonaws.com": f"arn:aws:kinesisanalytics:{HERE}:application/{STACK}-detection",
    "scheduler.amazonaws.com": f"arn:aws:scheduler:{HERE}:schedule-group/default",
    "ec2.amazonaws.com": "",
}


@pytest.mark.parametrize("role", SERVICES)
def test_a_role_is_taken_by_its_service_only(template: Template, role: str) -> None:
    """For this account and, where AWS documents a source, for what this stack has."""
    service = SERVICES[role]
    source = {"aws_SourceArn": SOURCES[service]} if SOURCES[service] else {}
    assert trusted(template, role, service, aws_SourceAccount=ACCOUNT, **source)
    for other in set(SERVICES.values()) - {service}:
        assert not trusted(template, role, other, aws_SourceAccount=ACCOUNT, aws_SourceArn=SOURCES[other])
    if service == "ec2.amazonaws.com":
        return
    assert not trusted(template, role, service, aws_SourceAccount="222222222222", **source)
    if service == "lambda.amazonaws.com":
        assert trusted(template, role, service)  # it documents no source, and must not be kept out without one
    else:
        assert not trusted(template, role, service)
        foreign = SOURCES[service].replace(ACCOUNT, "222222222222")
        assert not trusted(template, role, service, aws_SourceAccount=ACCOUNT, aws_SourceArn=foreign)


def test_what_functions_call_their_roles_allow(template: Template) -> None:
    """The calls that the functions were seen to make (tests/e2e), on the resources that their variables name."""
    for function, calls in FUNCTION_CALLS.items():
        properties = template.properties(function)
        variables = {key: text(value, NAMES) for key, value in properties["Environment"]["Variables"].items()}
        resources = {
            "dynamodb": f"arn:aws:dynamodb:{HERE}:table/{variables.get('WRITER_TABLE')}",
            "s3": variables.get("WRITER_ON_FAILURE", "").replace("s3://", "arn:aws:s3:::") + "/malformed/x.json",
        }
        found = statements(template, properties["Role"]["Fn::GetAtt"][0])
        for call in calls:
            for action in permissions(call):
                assert permitted(found, action, resources[action.split(":")[0]], s3_ResourceAccount=ACCOUNT), call


def own(action: str) -> str:
    """Return a resource of the default stack that fraudctl acts on by this action."""
    names = Names(STACK)
    service, _, operation = action.partition(":")
    if service == "s3":
        bucket = f"arn:aws:s3:::{names.artifact_bucket(ACCOUNT, REGION)}"
        return f"{bucket}/x" if "Object" in operation or "MultipartUpload" in operation else bucket
    if service == "logs":
        return f"arn:aws:logs:{HERE}:log-group:/aws/lambda/{names.functions[0]}"
    if service == "kafka-cluster":
        return CLUSTER if operation == "Connect" else topic("processed_topic")
    return {
        "cloudformation": f"arn:aws:cloudformation:{HERE}:stack/{STACK}/0-1",
        "dynamodb": TABLE,
        "iam": f"arn:aws:iam::{ACCOUNT}:role/{STACK}-ScheduleRole-0A",
        "kafka": CLUSTER,
        "kinesisanalytics": f"arn:aws:kinesisanalytics:{HERE}:application/{names.application}",
        "lambda": f"arn:aws:lambda:{HERE}:function:{names.functions[0]}",
        "scheduler": f"arn:aws:scheduler:{HERE}:schedule/default/{STACK}-samples",
        "ssm": f"arn:aws:ec2:{HERE}:instance/i-1"
        if operation == "StartSession"
        else f"arn:aws:ssm:{REGION}::parameter/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64",
    }.get(service, "*")


# What a request of the schedule's role, and one to Kafdrop's instance, says of itself.
INSTANCE_TAG: Final = "ssm:resourceTag/fraudctl:stack"
DEPLOYERS: Final = {"iam_PassedToService": "scheduler.amazonaws.com", INSTANCE_TAG: STACK}


def test_a_deployer_may_do_what_fraudctl_calls() -> None:
    """Each recorded call, on the resources of the stack that it is about, by the deployer policy as it stands."""
    found = policy()["Statement"]
    refused = {}
    for call in RECORDED | set(NOT_IN_THE_RUN):
        for action in permissions(call):
            if not permitted(found, action, own(action), **DEPLOYERS):
                refused[action] = call
    assert not refused


DEPLOYER_NEVER: Final[set[Use]] = {
    ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/Administrator"),
    ("iam:CreateUser", "*"),
    ("iam:AttachRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/Administrator"),
    ("s3:GetObject", "arn:aws:s3:::payroll/x"),
    ("s3:DeleteBucket", "arn:aws:s3:::payroll"),
    ("dynamodb:DeleteTable", f"arn:aws:dynamodb:{HERE}:table/payroll"),
    ("dynamodb:PutItem", TABLE),
    ("kafka:DeleteCluster", f"{KAFKA}:cluster/other/{UUID}"),
    ("kafka-cluster:ReadData", topic("processed_topic")),
    ("kafka-cluster:WriteData", topic("flagged_accounts")),
    ("lambda:InvokeFunction", f"arn:aws:lambda:{HERE}:function:payroll"),
    ("lambda:UpdateFunctionCode", f"arn:aws:lambda:{HERE}:function:payroll"),
    ("cloudformation:DeleteStack", f"arn:aws:cloudformation:{HERE}:stack/payroll/0-1"),
    ("secretsmanager:GetSecretValue", "*"),
    ("organizations:LeaveOrganization", "*"),
}


def test_a_deployer_may_never_do_more() -> None:
    """Nothing outside the stack's names; no role but the stack's is handed over, and to no other service."""
    found = policy()["Statement"]
    assert not {use for use in DEPLOYER_NEVER if permitted(found, *use, iam_PassedToService="lambda.amazonaws.com")}
    handed = f"arn:aws:iam::{ACCOUNT}:role/{STACK}-FlinkRole-0A"
    assert permitted(found, "iam:PassRole", handed, iam_PassedToService="kinesisanalytics.amazonaws.com")
    assert not permitted(found, "iam:PassRole", handed, iam_PassedToService="glue.amazonaws.com")
    instance = own("ssm:StartSession")
    assert not permitted(found, "ssm:StartSession", instance, **{INSTANCE_TAG: "payroll"})
    document = f"arn:aws:ssm:{REGION}::document/"
    assert permitted(found, "ssm:StartSession", f"{document}AWS-StartPortForwardingSession")
    assert not permitted(found, "ssm:StartSession", f"{document}SSM-SessionManagerRunShell")


def test_the_evaluator_can_say_no(template: Template) -> None:
    """Denials win, conditions count, and a statement about one resource says nothing of another."""
    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::mine/*"}
    deny = {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "*"}
    assert permitted([allow], "s3:DeleteObject", "arn:aws:s3:::mine/x")
    assert not permitted([allow, deny], "s3:DeleteObject", "arn:aws:s3:::mine/x")
    assert not permitted([allow], "s3:GetObject", "arn:aws:s3:::other/x")
    only = allow | {"Condition": {"StringEquals": {"aws:SourceAccount": "1"}}}
    assert permitted([only], "s3:GetObject", "arn:aws:s3:::mine/x", aws_SourceAccount="1")
    assert not permitted([only], "s3:GetObject", "arn:aws:s3:::mine/x")
    never = {**deny, "Condition": {"ArnLike": {"lambda:SourceFunctionArn": "arn:*"}}}
    assert permitted([allow, never], "s3:DeleteObject", "arn:aws:s3:::mine/x")
    assert not permitted([allow, never], "s3:DeleteObject", "arn:aws:s3:::mine/x", lambda_SourceFunctionArn="arn:x")
    assert statements(template, "FlinkRole")
