"""What the template allows: roles, networks, encryption, tags."""

import re
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from templates import LONGEST, Template, listed, load, text, user_data

from fraudctl.artifacts.bundles import flink_fat_jar
from fraudctl.artifacts.pins import Lock
from fraudctl.pipeline import topics

# CloudFormation gives these no tags.
UNTAGGED = {
    "AWS::EC2::Route",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::EC2::VPCGatewayAttachment",
    "AWS::IAM::InstanceProfile",
    "AWS::IAM::ManagedPolicy",
    "AWS::KinesisAnalyticsV2::ApplicationCloudWatchLoggingOption",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Logs::LogStream",
    "AWS::Logs::MetricFilter",
    "AWS::MSK::Configuration",
    "AWS::MSK::Topic",
    "AWS::S3::BucketPolicy",
    "AWS::Scheduler::Schedule",
}
INTERFACES = {"ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces"}
LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
PRODUCE = {
    "kafka-cluster:Connect",
    "kafka-cluster:DescribeTopic",
    "kafka-cluster:WriteData",
    "kafka-cluster:WriteDataIdempotently",
}
CONSUME = {
    "kafka-cluster:AlterGroup",
    "kafka-cluster:Connect",
    "kafka-cluster:DescribeGroup",
    "kafka-cluster:DescribeTopic",
    "kafka-cluster:ReadData",
}
ROLES = {
    "SampleTransactionGeneratorRole": PRODUCE | LOGS,
    "FlagAccountGeneratorRole": PRODUCE | LOGS,
    "TopicReaderRole": CONSUME | LOGS,
    "TopicWriterRole": PRODUCE | LOGS,
    "AuditWriterRole": CONSUME
    | LOGS
    | INTERFACES
    | {"dynamodb:PutItem", "kafka:DescribeClusterV2", "kafka:GetBootstrapBrokers", "s3:ListBucket", "s3:PutObject"}
    | {"kafka-cluster:DescribeClusterDynamicConfiguration"}
    | {"ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs"},
    "FlinkRole": CONSUME
    | PRODUCE
    | INTERFACES
    | {"ec2:CreateNetworkInterfacePermission", "ec2:DescribeDhcpOptions", "ec2:DescribeSecurityGroups"}
    | {"ec2:DescribeSubnets", "ec2:DescribeVpcs", "s3:GetObject", "s3:GetObjectVersion"}
    | {"logs:DescribeLogGroups", "logs:DescribeLogStreams", "logs:PutLogEvents"},
    "ScheduleRole": {"lambda:InvokeFunction"},
    "KafdropRole": LOGS
    | {"kafka-cluster:Connect", "kafka-cluster:DescribeCluster", "kafka-cluster:DescribeClusterDynamicConfiguration"}
    | {"kafka-cluster:DescribeTopic", "kafka-cluster:DescribeTopicDynamicConfiguration", "kafka-cluster:ReadData"}
    | {"kafka-cluster:DescribeGroup", "s3:GetObject"},
}
# Which topics a role may touch, and how.
ACCESS = {
    "SampleTransactionGeneratorRole": {("WriteData", "demo_transactions")},
    "FlagAccountGeneratorRole": {("WriteData", "flagged_accounts")},
    "TopicReaderRole": {("ReadData", topic.name) for topic in topics.ALL},
    "TopicWriterRole": {("WriteData", topic.name) for topic in topics.ALL},
    "AuditWriterRole": {("ReadData", "processed_topic")},
    "FlinkRole": {
        ("ReadData", "demo_transactions"),
        ("ReadData", "flagged_accounts"),
        ("WriteData", "processed_topic"),
        ("WriteData", "dead_letters"),
    },
    "ScheduleRole": set(),
    "KafdropRole": {("ReadData", "*")},
}


@pytest.fixture
def template() -> Template:
    """Read the template."""
    return load()


@pytest.mark.parametrize("role", ROLES)
def test_roles_may_do_what_they_need_and_nothing_else(template: Template, role: str) -> None:
    """The actions are exactly the known ones, none has a wildcard, and only network interfaces know no resource."""
    allowed: set[str] = set()
    for statement in template.statements(role):
        if statement["Effect"] == "Deny":
            continue
        actions = set(listed(statement["Action"]))
        allowed |= actions
        for resource_ in listed(statement["Resource"]):
            if resource_ == "*":
                # GetBootstrapBrokers knows no resource: Service Authorization Reference, Amazon MSK.
                assert all(action.startswith("ec2:") or action == "kafka:GetBootstrapBrokers" for action in actions)
    assert allowed == ROLES[role]
    assert not any("*" in action for action in allowed)


@pytest.mark.parametrize("role", ROLES)
def test_roles_touch_only_their_topics(template: Template, role: str) -> None:
    """Each role reads and writes the topics of its place in the pipeline, of this stack's cluster only."""
    found = set()
    for statement in template.statements(role):
        for arn in map(text, (value for value in listed(statement["Resource"]) if "Fn::GetAtt" not in value)):
            if ":kafka:" in arn:
                assert re.search(rf":(cluster|topic|group|transactional-id)/{LONGEST['AWS::StackName']}/\*", arn), arn
            if ":topic/" in arn:
                verbs = {action.split(":")[1] for action in listed(statement["Action"])} & {"ReadData", "WriteData"}
                found |= {(verb, arn.rsplit("/", 1)[1]) for verb in verbs}
    assert found == ACCESS[role]


def test_flink_may_read_every_version_of_its_jar(template: Template, tmp_path: Path) -> None:
    """The policy stays when the jar changes, so that neither the new one nor going back to the old waits for IAM."""
    application = tmp_path / "application.jar"
    with zipfile.ZipFile(application, "w") as archive:
        archive.writestr("Main.class", b"")
    key = flink_fat_jar(application, Lock(()), (), tmp_path / "built").name
    (code,) = (statement for statement in template.statements("FlinkRole") if statement["Sid"] == "Code")
    bucket, _, allowed = text(code["Resource"]).partition("/")
    assert bucket == "arn:aws:s3:::${ArtifactBucket}"
    assert fnmatchcase(key, allowed)
    assert not fnmatchcase("AuditWriter-0123456789ab.zip", allowed)
    assert re.fullmatch(template.data["Parameters"]["FlinkJarKey"]["AllowedPattern"], key)


def test_every_role_is_known(template: Template) -> None:
    """A new role needs its line in this file; only functions in the VPC get the shared policy."""
    roles = template.of("AWS::IAM::Role")
    assert set(roles) == set(ROLES)
    shared = {
        name for name, role in roles.items() if {"Ref": "FunctionNetworkPolicy"} in role.get("ManagedPolicyArns", [])
    }
    writers = {"SampleTransactionGeneratorRole", "FlagAccountGeneratorRole", "TopicWriterRole"}
    assert shared == writers | {"TopicReaderRole"}
    (allowed, denied) = template.properties("FunctionNetworkPolicy")["PolicyDocument"]["Statement"]
    assert all(action.startswith("ec2:") and "*" not in action for action in allowed["Action"])
    assert (denied["Effect"], denied["Action"]) == ("Deny", "ec2:*")


def test_kafka_is_private_and_encrypted(template: Template) -> None:
    """Two brokers in two private subnets, IAM only, TLS only, no topic by accident."""
    cluster = template.properties("Cluster")
    assert cluster["KafkaVersion"] == "3.9.x.kraft"
    assert cluster["ClientAuthentication"] == {
        "Sasl": {"Iam": {"Enabled": True}},
        "Unauthenticated": {"Enabled": False},
    }
    assert cluster["EncryptionInfo"]["EncryptionInTransit"] == {"ClientBroker": "TLS", "InCluster": True}
    assert cluster["BrokerNodeGroupInfo"]["ClientSubnets"] == [{"Ref": "PrivateSubnetA"}, {"Ref": "PrivateSubnetB"}]
    assert "ConnectivityInfo" not in cluster["BrokerNodeGroupInfo"]
    server = dict(
        line.split("=") for line in template.properties("ClusterConfiguration")["ServerProperties"].splitlines()
    )
    assert server["auto.create.topics.enable"] == "false"
    assert server["num.partitions"] == str(topics.PARTITIONS)


def test_nothing_lets_anything_in(template: Template) -> None:
    """Every inbound rule names a security group of the stack, never an address; Kafdrop's group has none."""
    rules = [(name, rule) for name, rule in template.of("AWS::EC2::SecurityGroupIngress").items()]
    for name, group in template.of("AWS::EC2::SecurityGroup").items():
        rules += [(name, rule) for rule in group.get("SecurityGroupIngress", [])]
        assert group["SecurityGroupEgress"], name
    assert len(rules) == 4
    for name, rule in rules:
        assert {"Ref"} == set(rule["SourceSecurityGroupId"]), name
        assert not {"CidrIp", "CidrIpv6", "SourcePrefixListId"} & set(rule), name
        assert (rule["FromPort"], rule["ToPort"]) == (9098, 9098)
        assert rule.get("GroupId", {"Ref": name}) == {"Ref": "BrokerSecurityGroup"}


def test_kafdrop_listens_on_loopback_only(template: Template) -> None:
    """IMDSv2, an encrypted disk, no key, and a page that only the instance itself can open."""
    instance, script = template.properties("KafdropInstance"), user_data(template)
    assert "SERVER_ADDRESS=127.0.0.1" in script
    assert "-Dloader.path=/opt/kafdrop" in script
    assert "${KafdropAuthJarKey}" in script
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    assert "KeyName" not in instance
    assert template.resources["KafdropInstance"]["Condition"] == "KafdropRuns"
    assert instance["NetworkInterfaces"][0]["SubnetId"] == {
        "Fn::If": ["Nat", {"Ref": "PrivateSubnetA"}, {"Ref": "PublicSubnet"}]
    }
    # Every ${…} that CloudFormation shall not fill would be one that the shell never sees.
    assert set(re.findall(r"\$\{([^}]+)\}", script)) <= {
        *template.data["Parameters"],
        *template.resources,
        "AWS::Region",
    }


def test_everything_taggable_is_tagged(template: Template) -> None:
    """Each resource carries the stack's name, so that teardown can prove by tag that nothing is left."""
    for name, found in template.resources.items():
        tags = template.properties(name).get("Tags")
        if found["Type"] in UNTAGGED:
            assert tags is None, name
        elif found["Type"] == "AWS::MSK::Cluster":
            assert tags == {"fraudctl:stack": {"Ref": "AWS::StackName"}}
        else:
            assert {"Key": "fraudctl:stack", "Value": {"Ref": "AWS::StackName"}} in (tags or []), name
