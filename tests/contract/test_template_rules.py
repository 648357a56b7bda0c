"""Rules over the whole template: each stands for something that would have failed or misbehaved on a real account."""

import json
import re
from typing import Any

import pytest
from templates import LONGEST, Template, listed, load, text, user_data

from fraudctl.aws.names import Names


@pytest.fixture
def template() -> Template:
    """Read the template."""
    return load()


def references(value: Any) -> set[str]:
    """Return every name that a value refers to by ``Ref``, ``Fn::GetAtt`` or ``Fn::Sub``."""
    if isinstance(value, list):
        return set().union(*map(references, value))
    if not isinstance(value, dict):
        return set()
    found = {value["Ref"]} if "Ref" in value else set()
    if "Fn::GetAtt" in value:
        found.add(value["Fn::GetAtt"][0])
    if "Fn::Sub" in value:
        found |= {name.split(".")[0] for name in _names(value["Fn::Sub"])}
    return found.union(*(references(inner) for inner in value.values()))


def _names(text: str) -> list[str]:
    return [part.split("}")[0] for part in text.split("${")[1:]]


def test_zones_are_chosen_once(template: Template) -> None:
    """``Fn::GetAZs`` may list the one zone that MSK refuses, and another order later would replace the cluster."""
    assert "Fn::GetAZs" not in json.dumps(template.data)
    zones = {name: subnet["AvailabilityZone"] for name, subnet in template.of("AWS::EC2::Subnet").items()}
    assert zones == {
        "PrivateSubnetA": {"Ref": "ZoneA"},
        "PrivateSubnetB": {"Ref": "ZoneB"},
        "PublicSubnet": {"Ref": "ZoneA"},
    }
    assert all("Default" not in template.data["Parameters"][name] for name in ("ZoneA", "ZoneB"))


def test_no_parameter_follows_what_others_publish(template: Template) -> None:
    """A parameter of an SSM type takes its newest value at each deploy: a new image would replace Kafdrop."""
    assert not [name for name, found in template.data["Parameters"].items() if "SSM" in found["Type"]]
    assert template.properties("KafdropInstance")["ImageId"] == {"Ref": "KafdropImageId"}


def render(value: Any, stack: str) -> Any:
    """Return a value with its intrinsics resolved for a stack, as far as names are concerned."""
    pseudo = {"AWS::StackName": stack, "AWS::AccountId": "1" * 12, "AWS::Region": "eu-west-1", "AWS::Partition": "aws"}
    if isinstance(value, list):
        return [render(item, stack) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) in ({"Ref"}, {"Fn::Sub"}) and isinstance(next(iter(value.values())), str):
        return text(value, pseudo)
    return {key: render(inner, stack) for key, inner in value.items()}


# What has to be unique in an account and region, by type. A topic, a log stream and a security group are unique in what
# holds them, which has a name of its own.
NAMES = {
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::KinesisAnalyticsV2::Application": "ApplicationName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::MSK::Cluster": "ClusterName",
    "AWS::MSK::Configuration": "Name",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::Scheduler::Schedule": "Name",
}


def unique(template: Template, stack: str) -> set[str]:
    """Return all names of one stack that no other in the account may have."""
    named = {
        f"{kind} {render(properties[key], stack)}"
        for kind, key in NAMES.items()
        for properties in template.of(kind).values()
    }
    for mapping in template.of("AWS::Lambda::EventSourceMapping").values():
        group = mapping["AmazonManagedKafkaEventSourceConfig"]["ConsumerGroupId"]
        named.add(f"consumer group {render(group, stack)}")
    for found in template.of("AWS::Logs::MetricFilter").values():
        for metric in found["MetricTransformations"]:
            named.add(f"metric {metric['MetricNamespace']} {render(metric['MetricName'], stack)}")
    return named


def test_two_stacks_share_no_name(template: Template) -> None:
    """Side by side in one account, also where a name is the beginning of the other; Lambda wants groups unique."""
    one, other = unique(template, "fraud"), unique(template, "fraud-two")
    assert len(one) > 20
    assert not one & other
    for role in template.of("AWS::IAM::Role"):
        for statement in render(template.statements(role), "fraud"):
            for arn in listed(statement["Resource"]):
                if isinstance(arn, str) and re.search(r":(kafka|dynamodb|lambda|kinesisanalytics):", arn):
                    assert re.search(r"[/:]fraud(-audit|-\*)?(/|$)", arn), arn
    assert not Names("fraud").buckets("1" * 12, "eu-west-1") & Names("fraud-two").buckets("1" * 12, "eu-west-1")


def owners(template: Template) -> dict[str, set[str]]:
    """Return which roles make network interfaces in which security group."""
    found: dict[str, set[str]] = {name: set() for name in template.of("AWS::EC2::SecurityGroup")}
    for function in template.of("AWS::Lambda::Function").values():
        for group in function.get("VpcConfig", {}).get("SecurityGroupIds", []):
            found[group["Ref"]].add(function["Role"]["Fn::GetAtt"][0])
    for application in template.of("AWS::KinesisAnalyticsV2::Application").values():
        for network in application["ApplicationConfiguration"]["VpcConfigurations"]:
            for group in network["SecurityGroupIds"]:
                found[group["Ref"]].add(application["ServiceExecutionRole"]["Fn::GetAtt"][0])
    for mapping in template.of("AWS::Lambda::EventSourceMapping").values():
        cluster = template.properties(mapping["EventSourceArn"]["Ref"])
        function = template.properties(mapping["FunctionName"]["Ref"])
        for group in cluster["BrokerNodeGroupInfo"]["SecurityGroups"]:
            found[group["Ref"]].add(function["Role"]["Fn::GetAtt"][0])
    return found


def test_roles_outlive_the_groups_of_their_interfaces(template: Template) -> None:
    """AWS deletes a network interface with the role that made it: deleted first, the role leaves it for ever."""
    for group, roles in owners(template).items():
        assert roles <= set(listed(template.resources[group].get("DependsOn", []))), group
    assert sum(map(len, owners(template).values())) >= 4


def test_nothing_waits_for_itself(template: Template) -> None:
    """No resource depends on itself, by reference or by DependsOn, however far around."""
    edges = {
        name: (references(found) | set(listed(found.get("DependsOn", [])))) & set(template.resources)
        for name, found in template.resources.items()
    }
    done: set[str] = set()
    while ready := {name for name in edges.keys() - done if edges[name] <= done}:
        done |= ready
    assert not edges.keys() - done


def test_scheduled_functions_are_not_invoked_again(template: Template) -> None:
    """The schedule invokes asynchronously: Lambda would retry twice, and keep what is throttled for six hours."""
    scheduled = {found["Target"]["Arn"]["Fn::GetAtt"][0] for found in template.of("AWS::Scheduler::Schedule").values()}
    configured = {
        found["FunctionName"]["Ref"]: found for found in template.of("AWS::Lambda::EventInvokeConfig").values()
    }
    assert set(configured) == scheduled != set()
    for found in configured.values():
        assert (found["Qualifier"], found["MaximumRetryAttempts"]) == ("$LATEST", 0)
        assert found["MaximumEventAgeInSeconds"] == 60


def test_pollers_reach_their_bucket_and_themselves(template: Template) -> None:
    """They have the brokers' group: out to S3's addresses by 443, to each other, and nowhere else."""
    group = template.properties("BrokerSecurityGroup")["SecurityGroupEgress"]
    own = [
        found
        for found in template.of("AWS::EC2::SecurityGroupEgress").values()
        if found["GroupId"] == {"Ref": "BrokerSecurityGroup"}
    ]
    assert [found["DestinationSecurityGroupId"] for found in own] == [{"Ref": "BrokerSecurityGroup"}]
    to_s3 = [rule for rule in group if rule.get("DestinationPrefixListId") == {"Ref": "S3PrefixListId"}]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in to_s3] == [(443, 443)]
    assert not [rule for rule in group if rule.get("CidrIp") == "0.0.0.0/0"]


def test_kafdrop_is_asked_for(template: Template) -> None:
    """A page over all records, on a machine with a public address, is nothing to get by default."""
    assert template.data["Parameters"]["KafdropEnabled"]["Default"] == "false"


def test_kafdrop_may_do_nothing_to_its_machine(template: Template) -> None:
    """Not root, no capabilities, nothing writable but a memory file system."""
    command = user_data(template).split("docker run", 1)[1].split("--part--", 1)[0]
    for option in (
        *("--user 65534:65534", "--read-only", "--tmpfs /tmp", "--cap-drop ALL", "--security-opt no-new-privileges"),
        *("/opt/kafdrop:/opt/kafdrop:ro", "KAFKA_PROPERTIES_FILE=/tmp/kafka.properties", "SERVER_ADDRESS=127.0.0.1"),
    ):
        assert option in command, option
    assert "--privileged" not in command


def test_the_application_reaches_nothing_but_brokers(template: Template) -> None:
    """The service keeps its state itself (managed-flink: vpc.md), so the job needs no S3 and no internet."""
    for group in ("FlinkSecurityGroup", "FunctionSecurityGroup"):
        rules = template.properties(group)["SecurityGroupEgress"]
        assert [(rule["CidrIp"], rule["FromPort"], rule["ToPort"]) for rule in rules] == [("10.42.0.0/22", 9098, 9098)]
    everywhere = {
        name
        for name, group in template.of("AWS::EC2::SecurityGroup").items()
        for rule in group["SecurityGroupEgress"]
        if rule.get("CidrIp") == "0.0.0.0/0"
    }
    assert everywhere == {"KafdropSecurityGroup"}


def test_the_way_to_s3_ends_in_this_account(template: Template) -> None:
    """Without a policy the endpoint leads to every bucket of the world; repositories are Kafdrop's, to read."""
    own, other = template.properties("S3Endpoint")["PolicyDocument"]["Statement"]
    assert own["Condition"] == {"StringEquals": {"aws:ResourceAccount": {"Ref": "AWS::AccountId"}}}
    assert set(own["Action"]) == {"s3:GetObject", "s3:ListBucket", "s3:PutObject"}
    condition, repositories, nothing = other["Fn::If"]
    assert (condition, nothing) == ("Kafdrop", {"Ref": "AWS::NoValue"})
    assert repositories["Action"] == "s3:GetObject"
    assert text(repositories["Resource"]) == "arn:aws:s3:::al2023-repos-ap-southeast-1-de612dc2/*"


def test_the_application_makes_interfaces_in_its_network_only(template: Template) -> None:
    """Its role changes nothing outside the stack's network, and looks only at its own region."""
    changing = {"ec2:CreateNetworkInterface", "ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface"}
    for statement in template.statements("FlinkRole"):
        actions = {action for action in listed(statement["Action"]) if action.startswith("ec2:")}
        if not actions & changing:
            if actions:
                assert statement["Condition"] == {"StringEquals": {"aws:RequestedRegion": {"Ref": "AWS::Region"}}}
            continue
        arns = [text(found) for found in listed(statement["Resource"])]
        assert all(arn.startswith("arn:aws:ec2:ap-southeast-1:111111111111:") for arn in arns)
        if "Condition" in statement:
            assert references(statement["Condition"]["ArnEquals"]["ec2:Vpc"]) >= {"Vpc"}
        else:  # an interface that is being made is in no network yet, but its subnet and its groups are
            assert (actions, [arn.rsplit(":", 1)[1] for arn in arns]) == (
                {"ec2:CreateNetworkInterface"},
                ["network-interface/*"],
            )


def test_roles_are_taken_for_this_account_only(template: Template) -> None:
    """A service that is tricked by another account cannot use them; EC2 says nothing of a source."""
    conditions = {}
    for name, role in template.of("AWS::IAM::Role").items():
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        conditions[name] = {
            (operator, key, text(value))
            for operator, values in statement.get("Condition", {}).items()
            for key, value in values.items()
        }
    account = LONGEST["AWS::AccountId"]
    functions = {name for name, found in conditions.items() if name[:-4] in template.of("AWS::Lambda::Function")}
    for name in functions:
        # Lambda documents no source for execution roles: an absent one must not stop the function.
        assert conditions.pop(name) == {("StringEqualsIfExists", "aws:SourceAccount", account)}
    assert conditions.pop("KafdropRole") == set()
    assert set(conditions) == {"FlinkRole", "ScheduleRole"}
    for name, found in conditions.items():
        assert ("StringEquals", "aws:SourceAccount", account) in found, name
        (source,) = (value for _, key, value in found if key == "aws:SourceArn")
        assert source.split(":")[3:5] == [LONGEST["AWS::Region"], account], name
    # The scheduler sends its group, never the schedule: scheduler, cross-service-confused-deputy-prevention.md.
    assert any(value.endswith(":schedule-group/default") for _, _, value in conditions["ScheduleRole"])


def test_payloads_expire(template: Template) -> None:
    """The on-failure bucket holds whole records of accounts; they are not kept for ever."""
    (rule,) = template.properties("OnFailureBucket")["LifecycleConfiguration"]["Rules"]
    assert (rule["Status"], rule["ExpirationInDays"]) == ("Enabled", {"Ref": "OnFailureDays"})
    assert template.data["Parameters"]["OnFailureDays"]["Default"] == 90


def test_a_new_kafka_version_replaces_nothing(template: Template) -> None:
    """``KafkaVersionsList`` cannot be changed, and a configuration of a given name not be made beside itself."""
    assert "KafkaVersionsList" not in template.properties("ClusterConfiguration")


def test_the_flink_version_can_be_set(template: Template) -> None:
    """A version that AWS retires is left without a new version of the template."""
    assert template.properties("FlinkApplication")["RuntimeEnvironment"] == {"Ref": "FlinkRuntime"}


def test_the_mapping_may_do_what_aws_lists(template: Template) -> None:
    """lambda, with-msk-permissions.md and msk-cluster-auth.md; the bootstrap string knows no resource."""
    allowed = {
        (action, "*" if found["Resource"] == "*" else "its own")
        for found in template.statements("AuditWriterRole")
        if found["Effect"] == "Allow"
        for action in listed(found["Action"])
    }
    assert ("kafka:GetBootstrapBrokers", "*") in allowed
    assert ("kafka-cluster:DescribeClusterDynamicConfiguration", "its own") in allowed
    assert {action for action, where in allowed if where == "*"} == {
        "kafka:GetBootstrapBrokers",
        *(f"ec2:{name}NetworkInterface" for name in ("Create", "Delete")),
        *(f"ec2:Describe{name}" for name in ("NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs")),
    }


def test_detections_are_written_at_once(template: Template) -> None:
    """Without a window Lambda waits half a second for more; zero is its setting for low latency."""
    assert template.properties("EventSourceMapping")["MaximumBatchingWindowInSeconds"] == 0


# Metric → its namespace and the dimensions that AWS documents it for: managed-flink metrics-dimensions.md (level
# Application), lambda monitoring-metrics-types.md, msk metrics-details.md (level DEFAULT).
DOCUMENTED = {
    "lastCheckpointSize": ("AWS/KinesisAnalytics", {"Application"}),
    "numRestarts": ("AWS/KinesisAnalytics", {"Application"}),
    "deadLetters": ("AWS/KinesisAnalytics", {"Application"}),  # ours, published by the service
    "PollingErrorCount": ("AWS/Lambda", {"EventSourceMappingUUID"}),
    "OnFailureDestinationDeliveredEventCount": ("AWS/Lambda", {"EventSourceMappingUUID"}),
    "OnFailureDestinationDeliveryErrorCount": ("AWS/Lambda", {"EventSourceMappingUUID"}),
    "DroppedEventCount": ("AWS/Lambda", {"EventSourceMappingUUID"}),
    "SumOffsetLag": ("AWS/Lambda", {"EventSourceMappingUUID"}),
    "Errors": ("AWS/Lambda", {"FunctionName"}),
    "KafkaDataLogsDiskUsed": ("AWS/Kafka", {"Cluster Name", "Broker ID"}),
    "${AWS::StackName}-malformed": ("fraudctl", set()),  # ours, of a metric filter
}
# The group that has to be switched on in the mapping for a metric: monitoring-metrics-types.md.
GROUPS = {
    "PollingErrorCount": "ErrorCount",
    "OnFailureDestinationDeliveryErrorCount": "ErrorCount",
    "OnFailureDestinationDeliveredEventCount": "EventCount",
    "DroppedEventCount": "EventCount",
    "SumOffsetLag": "KafkaMetrics",
}


def watched(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the metrics of an alarm."""
    return [found["MetricStat"]["Metric"] for found in alarm.get("Metrics", []) if "MetricStat" in found] or [alarm]


def test_alarms_watch_what_is_documented(template: Template) -> None:
    """Every metric exists with exactly these dimensions, or the alarm never goes off."""
    groups = template.properties("EventSourceMapping")["MetricsConfig"]["Metrics"]
    seen = set()
    for name, alarm in template.of("AWS::CloudWatch::Alarm").items():
        for metric in watched(alarm):
            known = metric["MetricName"] if isinstance(metric["MetricName"], str) else metric["MetricName"]["Fn::Sub"]
            dimensions = {found["Name"] for found in metric.get("Dimensions", [])}
            assert DOCUMENTED[known] == (metric["Namespace"], dimensions), name
            assert GROUPS.get(known, groups[0]) in groups, name
            seen.add(known)
    assert seen == set(DOCUMENTED)


def test_each_way_to_fail_has_its_alarm(template: Template) -> None:
    """A stopped application, one that restarts again and again, a mapping behind, lost detections, full disks."""
    alarms = template.of("AWS::CloudWatch::Alarm")
    stopped = alarms["ApplicationStoppedAlarm"]
    assert (stopped["MetricName"], stopped["TreatMissingData"]) == ("lastCheckpointSize", "breaching")
    assert (stopped["ComparisonOperator"], stopped["Threshold"]) == ("LessThanThreshold", 0)
    restarts = alarms["ApplicationRestartsAlarm"]
    assert [found["Expression"] for found in restarts["Metrics"] if "Expression" in found] == ["DIFF(restarts)"]
    assert (restarts["EvaluationPeriods"], restarts["DatapointsToAlarm"]) == (3, 2)  # maintenance restarts once
    for name, metric in (("DroppedAlarm", "DroppedEventCount"), ("MappingBehindAlarm", "SumOffsetLag")):
        assert alarms[name]["MetricName"] == metric
    disks = watched(alarms["BrokerDiskAlarm"])
    brokers = [found["Value"] for disk in disks for found in disk["Dimensions"] if found["Name"] == "Broker ID"]
    assert brokers == [str(number + 1) for number in range(template.properties("Cluster")["NumberOfBrokerNodes"])]
    assert {alarm["TreatMissingData"] for name, alarm in alarms.items() if name != "ApplicationStoppedAlarm"} == {
        "notBreaching"
    }


def test_partitions_and_parallelism_are_parameters(template: Template) -> None:
    """All topics have the same number, and the parallelism may be above it."""
    for name, topic in template.of("AWS::MSK::Topic").items():
        assert topic["PartitionCount"] == {"Ref": "Partitions"}, name
    parameters = template.data["Parameters"]
    assert parameters["FlinkParallelism"]["MaxValue"] > parameters["Partitions"]["Default"]
