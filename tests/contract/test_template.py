"""The CloudFormation template, held together with records, topics, the table, the functions and the local target."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from templates import PATH, Template, listed, load, parse, text, user_data

from fraudctl.artifacts import bundles, wheels
from fraudctl.artifacts.resources import resource
from fraudctl.aws import costs
from fraudctl.aws.names import LONGEST_STACK, Names
from fraudctl.aws.resource_types import RESOURCE_TYPES
from fraudctl.local.flink import definition as flink_definition
from fraudctl.local.lambda_runner import definition as lambda_runner
from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.state import StackState
from fraudctl.pipeline import audit_table, names, reader, records, topics
from fraudctl.pipeline.kafka import client
from fraudctl.pipeline.names import FUNCTIONS

TOPICS = {
    "TransactionsTopic": topics.TRANSACTIONS,
    "FlaggedTopic": topics.FLAGGED,
    "ProcessedTopic": topics.PROCESSED,
    "DeadLettersTopic": topics.DEAD_LETTERS,
}
STATEFUL = {"Cluster", "AuditTable", "OnFailureBucket", "FlinkApplication", "EventSourceMapping", "Schedule", *TOPICS}


@pytest.fixture
def template() -> Template:
    """Read the template."""
    return load()


def handler_variables(folder: Path) -> set[str]:
    """Give the environment variables that a handler reads, by itself or for its connection to Kafka."""
    text = (folder / "handler.py").read_text("utf-8")
    connected = re.findall(r"""kafka\.connection\(os\.environ, "([A-Z_]+)"\)""", text)
    return {
        *re.findall(r"""os\.environ(?:\[|\.get\()["']([A-Z_]+)""", text),
        *(f"{prefix}_{name}" for prefix in connected for name in ("BOOTSTRAP_SERVERS", "SECURITY")),
    }


def local_functions(tmp_path: Path) -> dict[str, Any]:
    """Give the local runner's specification, functions by their short name."""
    tools: Any = None
    paths, ports = StackPaths(tmp_path, "demo", tmp_path), dict.fromkeys(("kafka", "lambda", "dynamodb"), 1)
    spec = json.loads(lambda_runner.definition(paths, StackState(ports=ports), tools).files["lambda_runner.json"])
    return {**spec, "functions": {function["name"].removeprefix("demo-"): function for function in spec["functions"]}}


def test_topics_are_those_of_the_pipeline(template: Template) -> None:
    """Names, partitions and configuration come from topics.py; two replicas, one for each broker."""
    found = template.of("AWS::MSK::Topic")
    assert set(found) == set(TOPICS)
    assert list(TOPICS.values()) == list(topics.ALL)
    for name, topic in TOPICS.items():
        config = dict(line.split("=", 1) for line in found[name]["Configs"]["Fn::Base64"].splitlines())
        assert (found[name]["TopicName"], config) == (topic.name, topic.config)
        assert found[name]["PartitionCount"] == {"Ref": "Partitions"}
        assert found[name]["ReplicationFactor"] == template.properties("Cluster")["NumberOfBrokerNodes"] == 2


def test_partitions_start_as_locally(template: Template) -> None:
    """The parameter's default is the local number, and the configuration's, for topics that others create."""
    assert template.data["Parameters"]["Partitions"]["Default"] == topics.PARTITIONS
    assert f"num.partitions={topics.PARTITIONS}\n" in template.properties("ClusterConfiguration")["ServerProperties"]


def test_table_is_that_of_the_pipeline(template: Template) -> None:
    """Keys and indexes come from audit_table.py; beyond them only what protects the rows."""
    table = template.properties("AuditTable")
    expected = audit_table.definition(text(table["TableName"]))
    assert {name: table[name] for name in expected if name != "TableName"} == {
        name: value for name, value in expected.items() if name != "TableName"
    }
    assert text(table["TableName"], {"AWS::StackName": "demo"}) == names.audit_table("demo")
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_flink_gets_the_local_properties_and_the_login(template: Template, tmp_path: Path) -> None:
    """The application's properties are the local ones, without Flink's own settings, and with MSK's login."""
    configuration = template.properties("FlinkApplication")["ApplicationConfiguration"]
    (group,) = configuration["EnvironmentProperties"]["PropertyGroups"]
    found = group["PropertyMap"]
    local = flink_definition._properties(
        StackPaths(tmp_path, "demo", tmp_path), StackState(ports={"flink": 1, "kafka": 2}), tmp_path
    )
    # What Managed Flink sets by itself: flink-2-3.md.
    assert local["flink.pipeline.watermark-alignment.max-drift"] == "0 ms"
    local = {name: value for name, value in local.items() if not name.startswith("flink.")}
    for name in ("exit.when.done", "stopped.marker"):  # Managed Flink ends the JVM itself
        local.pop(name)
    login = {name for name in found if name.startswith("kafka.")}
    assert group["PropertyGroupId"] == "fraudctl"
    assert set(found) - login == set(local)
    parameters = {"bootstrap.servers": "BootstrapServers", "hold.ms": "HoldMs", "slack.ms": "SlackMs"}
    for name in set(local) - set(parameters):
        assert found[name] == local[name], name
    for name, parameter in parameters.items():
        assert found[name] == {"Ref": parameter}
    assert str(local["hold.ms"]) == str(template.data["Parameters"]["HoldMs"]["Default"])
    assert str(local["slack.ms"]) == str(template.data["Parameters"]["SlackMs"]["Default"])
    assert records.flink_properties().items() <= found.items()
    # What the service takes: 50 properties of 1 to 2,048 characters, all of them text.
    assert len(found) <= 50
    assert all(
        isinstance(value, dict) or (isinstance(value, str) and 0 < len(value) <= 2048) for value in found.values()
    )


def test_flink_logs_in_with_the_mechanism_for_its_class_loaders(template: Template) -> None:
    """Kafka's own mechanism, OAUTHBEARER, serves one class loader of a JVM: tests/integration/test_iam.py."""
    configuration = template.properties("FlinkApplication")["ApplicationConfiguration"]
    found = configuration["EnvironmentProperties"]["PropertyGroups"][0]["PropertyMap"]
    login = {name.removeprefix("kafka."): value for name, value in found.items() if name.startswith("kafka.s")}
    assert login == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "AWS_MSK_IAM",
        "sasl.jaas.config": "software.amazon.msk.auth.iam.IAMLoginModule required;",
        "sasl.client.callback.handler.class": "software.amazon.msk.auth.iam.IAMClientCallbackHandler",
    }


def test_kafdrop_logs_in_like_the_functions(template: Template) -> None:
    """It has one class loader, and the mechanism of every other client."""
    python = client("host:9098", security="iam", region="eu-west-1")
    lines = user_data(template).split("<<'END'\n", 1)[1].split("\nEND\n", 1)[0].splitlines()
    found = dict(line.split("=", 1) for line in lines)
    assert (found["security.protocol"], found["sasl.mechanism"]) == (
        python["security.protocol"],
        python["sasl.mechanisms"],
    )
    handlers = {found[f"sasl.{kind}.callback.handler.class"] for kind in ("login", "client")}
    assert handlers == {"software.amazon.msk.auth.iam.IAMOAuthBearerLoginCallbackHandler"}


def test_flink_takes_only_settings_that_are_the_templates(template: Template) -> None:
    """Checkpoints, parallelism and logs are custom, or the service ignores their values; state is never dropped."""
    properties = template.properties("FlinkApplication")
    flink = properties["ApplicationConfiguration"]["FlinkApplicationConfiguration"]
    runtime = template.data["Parameters"]["FlinkRuntime"]
    assert properties["RuntimeEnvironment"] == {"Ref": "FlinkRuntime"}
    assert runtime["Default"] == "FLINK-2_3"
    assert {section["ConfigurationType"] for section in flink.values()} == {"CUSTOM"}
    assert flink["CheckpointConfiguration"]["CheckpointInterval"] == 1000 * int(
        flink_definition._CHECKPOINT_INTERVAL.split()[0]
    )
    assert flink["ParallelismConfiguration"]["AutoScalingEnabled"] is False
    assert properties["ApplicationConfiguration"]["ApplicationSnapshotConfiguration"] == {"SnapshotsEnabled": True}
    assert properties["RunConfiguration"]["FlinkRunConfiguration"] == {"AllowNonRestoredState": False}


def test_alarm_watches_a_counter_that_exists(template: Template) -> None:
    """The application counts dead letters under the alarm's name, in the group that the service publishes."""
    metric = template.properties("DeadLettersAlarm")["Metrics"][0]["MetricStat"]["Metric"]
    sources = "".join(path.read_text("utf-8") for path in (resource("flink") / "src").rglob("*.java"))
    assert f'counter("{metric["MetricName"]}")' in sources
    assert 'addGroup("KinesisAnalytics")' in sources
    assert metric["Namespace"] == "AWS/KinesisAnalytics"


def test_functions_are_built_for_their_runtime(template: Template, tmp_path: Path) -> None:
    """Runtime, architecture and handler fit the zips; time-outs and names are those of the local runner."""
    local = local_functions(tmp_path)["functions"]
    functions = template.of("AWS::Lambda::Function")
    assert set(functions) == set(FUNCTIONS.values())
    assert set(local) == set(functions) - names.ON_AWS_ONLY
    for name, properties in functions.items():
        assert properties["Runtime"] == f"python{wheels.PYTHON}"
        assert properties["Architectures"] == ["arm64"]
        assert wheels.PLATFORM.endswith("aarch64")
        assert properties["Handler"] == "handler.handler"
        if name in local:
            assert properties["Timeout"] == local[name]["timeout_s"]
        assert text(properties["FunctionName"], {"AWS::StackName": "demo"}) == names.function("demo", name)
        assert properties["Code"]["S3Key"] == {"Ref": f"{name}Key"}
        assert properties["Role"] == {"Fn::GetAtt": [f"{name}Role", "Arn"]}
        assert properties["LoggingConfig"]["LogGroup"] == {"Ref": f"{name}LogGroup"}
        log_group = template.properties(f"{name}LogGroup")
        assert text(log_group["LogGroupName"]) == f"/aws/lambda/{text(properties['FunctionName'])}"
    in_the_vpc = {name for name, properties in functions.items() if "VpcConfig" in properties}
    assert in_the_vpc == {FUNCTIONS[folder] for folder in set(FUNCTIONS) - bundles.WITHOUT_WHEELS}


def test_handlers_read_what_the_template_sets(template: Template) -> None:
    """A handler's variables are the template's, and the other way round; no two functions share one."""
    taken: dict[str, str] = {}
    for folder, name in FUNCTIONS.items():
        # Lambda sets the region; WRITER_DYNAMODB names an endpoint, which only the local target has.
        read = handler_variables(resource("lambdas") / folder) - {"AWS_REGION", "WRITER_DYNAMODB"}
        variables = template.properties(name)["Environment"]["Variables"]
        assert set(variables) == read
        assert not taken.keys() & read
        taken |= dict.fromkeys(read, name)
        for variable, value in variables.items():
            if variable.endswith("_BOOTSTRAP_SERVERS"):
                assert value == {"Ref": "BootstrapServers"}
            if variable.endswith("_SECURITY"):
                assert client("host:9098", security=value, region="eu-west-1")["security.protocol"] == "SASL_SSL"
    assert template.properties("AuditWriter")["Environment"]["Variables"]["WRITER_TABLE"]["Fn::If"][1] == {
        "Ref": "AuditTable"
    }


def test_every_handler_has_a_bundle() -> None:
    """A folder with a handler that nobody deploys, or a bundle without a handler, is a mistake."""
    assert {path.parent.name for path in resource("lambdas").glob("*/handler.py")} == set(FUNCTIONS)


def test_consumer_groups_are_the_local_ones(template: Template) -> None:
    """Both groups have the names of the local target, the writer's with the stack's before it; no others are joined."""
    mapping = template.properties("EventSourceMapping")
    pseudo = {"AWS::StackName": "demo"}
    group = text(mapping["AmazonManagedKafkaEventSourceConfig"]["ConsumerGroupId"], pseudo)
    assert group == f"demo-{lambda_runner.WRITER_GROUP}"
    for role, name in (("AuditWriterRole", group), ("FlinkRole", flink_definition.GROUP)):
        arns = [text(found["Resource"], pseudo) for found in template.statements(role) if found["Sid"] == "Group"]
        assert [arn.rsplit("/", 1)[1] for arn in arns] == [name]
    # TopicReader sees both, and changes neither: it may alter none but the one that its client names and never joins.
    groups = {flink_definition.GROUP, group}
    own = reader.properties({})["group.id"]
    environment = template.properties("TopicReader")["Environment"]["Variables"]
    assert set(text(environment["TOPIC_READER_GROUPS"], pseudo).split(",")) == groups
    statements = {found["Sid"]: found for found in template.statements("TopicReaderRole")}
    seen = {text(arn, pseudo).rsplit("/", 1)[1] for arn in statements["Groups"]["Resource"]}
    assert seen == {*groups, own}
    assert text(statements["OwnGroup"]["Resource"], pseudo).rsplit("/", 1)[1] == own


def test_mapping_feeds_detections_to_the_writer(template: Template, tmp_path: Path) -> None:
    """Topic, batch size and partial answers are as locally; what is given up goes to the bucket with its content."""
    local = local_functions(tmp_path)["mapping"]
    mapping = template.properties("EventSourceMapping")
    assert mapping["Topics"] == [topics.PROCESSED.name] == [local["topic"]]
    assert mapping["FunctionName"] == {"Ref": "AuditWriter"}
    assert mapping["BatchSize"] == local["batch_size"]
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["ProvisionedPollerConfig"] == {"MinimumPollers": 1, "MaximumPollers": 2}
    assert mapping["MaximumRetryAttempts"] >= local["retries"]
    name = text(template.properties("OnFailureBucket")["BucketName"])
    assert text(mapping["DestinationConfig"]["OnFailure"]["Destination"]) == f"arn:aws:s3:::{name}"
    assert {"ProcessedTopic", "PollersToBrokers"} <= set(template.resources["EventSourceMapping"]["DependsOn"])


def test_only_locally_rows_are_written_in_transactions(template: Template, tmp_path: Path) -> None:
    """On AWS they cost twice, and the setting is a whole number of rows on both targets."""
    name = "WRITER_TRANSACTION_ROWS"
    assert template.properties("AuditWriter")["Environment"]["Variables"][name] == "1"
    assert local_functions(tmp_path)["functions"]["AuditWriter"]["environment"][name] == "100"


def test_what_is_no_detection_goes_to_the_same_bucket(template: Template, tmp_path: Path) -> None:
    """The writer's own destination is the mapping's, on both targets, it may put objects there, and an alarm tells."""
    name = text(template.properties("OnFailureBucket")["BucketName"])
    environment = template.properties("AuditWriter")["Environment"]["Variables"]
    assert text(environment["WRITER_ON_FAILURE"]) == f"s3://{name}"
    (allowed,) = (found for found in template.statements("AuditWriterRole") if found["Sid"] == "OnFailure")
    assert "s3:PutObject" in allowed["Action"]
    assert f"arn:aws:s3:::{name}/*" in [text(resource_) for resource_ in allowed["Resource"]]
    local = local_functions(tmp_path)
    writer = local["functions"]["AuditWriter"]
    assert writer["environment"]["WRITER_ON_FAILURE"] == Path(local["mapping"]["on_failure"]).as_uri()

    counted = template.properties("MalformedDetectionsFilter")
    assert counted["LogGroupName"] == template.properties("AuditWriter")["LoggingConfig"]["LogGroup"]
    # Of a field of the entry that the writer logs for each batch, which is JSON only in Lambda's JSON format.
    assert template.properties("AuditWriter")["LoggingConfig"]["LogFormat"] == "JSON"
    assert counted["FilterPattern"] == "{ $.put_aside > 0 }"
    assert '"put_aside": self.put_aside' in (resource("lambdas") / "audit_writer" / "handler.py").read_text()
    (metric,) = counted["MetricTransformations"]
    assert metric["MetricValue"] == "$.put_aside"
    alarm = template.properties("MalformedDetectionsAlarm")
    assert (alarm["Namespace"], alarm["MetricName"]) == (metric["MetricNamespace"], metric["MetricName"])


def test_schedule_ticks_as_locally(template: Template, tmp_path: Path) -> None:
    """Each minute the same payload as locally; off until the brokers' address is known."""
    local, schedule = local_functions(tmp_path)["schedule"], template.properties("Schedule")
    assert json.loads(schedule["Target"]["Input"]) == local["payload"]
    assert (schedule["ScheduleExpression"], local["every_s"]) == ("rate(1 minute)", 60.0)
    assert schedule["Target"]["Arn"] == {"Fn::GetAtt": ["SampleTransactionGenerator", "Arn"]}
    assert schedule["State"] == {"Fn::If": ["SamplesFlow", "ENABLED", "DISABLED"]}
    assert {"Condition": "Bootstrapped"} in template.data["Conditions"]["SamplesFlow"]["Fn::And"]


def test_data_outlives_the_stack(template: Template) -> None:
    """Table and bucket stay when the stack is deleted, and can be taken from an earlier one by their names."""
    for name, condition in (("AuditTable", "OwnsAuditTable"), ("OnFailureBucket", "OwnsOnFailureBucket")):
        found = template.resources[name]
        assert (found["DeletionPolicy"], found["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
        assert found["Condition"] == condition
    names = {name: text(template.data["Outputs"][name]["Value"]) for name in ("AuditTableName", "OnFailureBucket")}
    assert names["AuditTableName"] == text(template.properties("AuditTable")["TableName"])
    assert names["OnFailureBucket"] == text(template.properties("OnFailureBucket")["BucketName"])


def test_nothing_depends_on_a_resource_that_may_not_exist(template: Template) -> None:
    """What is made on a condition is only named where the same condition, or a stricter one, holds."""
    implied = {"Nat": {"Public"}, "Kafdrop": {"Public"}, "KafdropRuns": {"Kafdrop", "Public", "Bootstrapped"}}
    conditional = {name: found["Condition"] for name, found in template.resources.items() if "Condition" in found}

    def check(value: Any, holding: set[str]) -> None:
        if isinstance(value, list):
            for item in value:
                check(item, holding)
        elif isinstance(value, dict):
            for key, inner in value.items():
                name = inner if key == "Ref" else inner[0] if key == "Fn::GetAtt" else None
                if name in conditional:
                    assert conditional[name] in holding, name
                if key == "Fn::If":
                    check(inner[1], holding | {inner[0]} | implied.get(inner[0], set()))
                    check(inner[2], holding)
                else:
                    check(inner, holding)

    for name, found in [*template.resources.items(), *template.data["Outputs"].items()]:
        own = found.get("Condition")
        holding = {own} | implied.get(own, set()) if own else set()
        check(found.get("Properties", found.get("Value")), holding)
        for other in listed(found.get("DependsOn", [])):
            assert conditional.get(other) in {None, *holding}, (name, other)


def test_names_fit_their_limits(template: Template) -> None:
    """With the longest stack name, in the region with the longest one, every name is still a valid one."""
    assert len(text(template.properties("OnFailureBucket")["BucketName"])) <= 63
    for properties in template.of("AWS::Lambda::Function").values():
        assert len(text(properties["FunctionName"])) <= 64
    assert len(text(template.properties("Schedule")["Name"])) <= 64
    assert len(text(template.properties("Cluster")["ClusterName"])) <= 64
    assert len(Names("s" * 40).artifact_bucket("1" * 12, "ap-southeast-1")) <= 63


def test_names_are_those_that_fraudctl_looks_for(template: Template) -> None:
    """The template spells the names that names.py computes, each resource's."""
    stack, account, region = "s" * LONGEST_STACK, "1" * 12, "eu-west-1"
    pseudo = {"AWS::StackName": stack, "AWS::AccountId": account, "AWS::Region": region}
    names = Names(stack)

    def named(kind: str, key: str) -> set[str]:
        return {text(properties[key], pseudo) for properties in template.of(kind).values()}

    assert named("AWS::MSK::Cluster", "ClusterName") == {names.cluster}
    assert named("AWS::KinesisAnalyticsV2::Application", "ApplicationName") == {names.application}
    assert named("AWS::DynamoDB::Table", "TableName") == {names.audit_table}
    assert named("AWS::S3::Bucket", "BucketName") == {names.on_failure_bucket(account, region)}
    assert named("AWS::Lambda::Function", "FunctionName") == set(names.functions)
    groups = named("AWS::Logs::LogGroup", "LogGroupName")
    for group in groups:
        assert any(group == known or (known.endswith("/") and group.startswith(known)) for known in names.log_groups)
    assert len(groups) == len(names.log_groups)


def test_every_type_has_its_row(template: Template) -> None:
    """One table tells plans, guard, events and leftovers about a type; beyond the template it has what others make."""
    types = {found["Type"] for found in template.resources.values()}
    made_elsewhere = {"AWS::CloudFormation::Stack", "AWS::EC2::NetworkInterface", "AWS::EC2::Volume"}
    assert set(RESOURCE_TYPES) == types | made_elsewhere
    assert all(bool(row.noun) == bool(row.removal) for row in RESOURCE_TYPES.values())


def test_interface_is_the_agreed_one(template: Template) -> None:
    """Stateful resources keep their logical ids; parameters and outputs have descriptions and the agreed names."""
    assert set(template.resources) >= STATEFUL
    parameters, outputs = template.data["Parameters"], template.data["Outputs"]
    assert set(outputs) == {
        *("ClusterArn", "AuditTableName", "FlinkApplicationName", "SampleTransactionGeneratorName"),
        *("TopicReaderName", "TopicWriterName"),
        *("FlagAccountGeneratorName", "AuditWriterName", "EventSourceMappingId", "ScheduleName", "OnFailureBucket"),
        *("KafdropInstanceId", "HoldMs", "SlackMs", "BootstrapServers", "VpcId"),
    }
    assert {"ArtifactBucket", "BootstrapServers", "SamplesEnabled", "KafdropEnabled", "NatGateway"} <= set(parameters)
    assert {"KafkaInstanceType", "BrokerVolumeGiB", "HoldMs", "SlackMs", "FlinkParallelism"} <= set(parameters)
    assert {"AlarmEmail", "RetainData", "AdoptAuditTable", "AdoptOnFailureBucket"} <= set(parameters)
    for name, found in [*parameters.items(), *outputs.items()]:
        assert len(found["Description"]) > 15, name
        assert found["Description"].endswith("."), name
    assert parameters["BootstrapServers"]["Default"] == "PENDING"
    # Every other parameter has a default, so that the template can be used by hand.
    assert {name for name, found in parameters.items() if "Default" not in found} == {
        *("ArtifactBucket", "SampleTransactionGeneratorKey", "FlagAccountGeneratorKey", "AuditWriterKey"),
        *("TopicReaderKey", "TopicWriterKey"),
        *("FlinkJarKey", "ZoneA", "ZoneB", "S3PrefixListId", "KafdropImageId"),
    }


def test_bundles_fill_the_keys(template: Template) -> None:
    """Every key that the template asks for is one of the bundles."""
    a, b, c, d, e, f, g = (Path(f"{name}.zip") for name in "abcdefg")
    built = bundles.Bundles(a, b, c, d, e, f, g).parameters()
    assert set(built) == {name for name in template.data["Parameters"] if name.endswith("Key")}
    assert set(built.values()) == {f"{name}.zip" for name in "abcdefg"}


def test_costs_name_resources_of_the_template(template: Template) -> None:
    """Prices hang on logical ids that exist, count every alarm, and know every size that the template takes."""
    parameters = {name: str(found.get("Default", "")) for name, found in template.data["Parameters"].items()}
    everything = costs.hourly({**parameters, "NatGateway": "true", "KafdropEnabled": "true"})
    assert {cost.resource for cost in everything} <= set(template.resources)
    alarms = template.of("AWS::CloudWatch::Alarm").values()
    watched = [max(1, sum("MetricStat" in metric for metric in alarm.get("Metrics", []))) for alarm in alarms]
    assert sum(watched) == costs._ALARM_METRICS
    payload = json.loads(template.properties("Schedule")["Target"]["Input"])
    assert payload["seconds"] * costs._CALLS_PER_HOUR == costs._GENERATOR_SECONDS
    assert template.properties("SampleTransactionGenerator")["MemorySize"] == costs._GENERATOR_GB * 1024
    assert template.properties("Cluster")["NumberOfBrokerNodes"] == costs._BROKERS
    pattern = re.compile(template.data["Parameters"]["KafkaInstanceType"]["AllowedPattern"])
    assert all(pattern.fullmatch(size) for size in costs.BROKER_PER_HOUR)
    assert not pattern.fullmatch("kafka.t3.small")


def test_template_without_comments_says_the_same(template: Template) -> None:
    """What is sent has the records' rules and no comments; CloudFormation takes 1 MB from a bucket."""
    body, raw = bundles.template_body(PATH), parse(PATH.read_text(encoding="utf-8")).data
    configuration = raw["Resources"]["FlinkApplication"]["Properties"]["ApplicationConfiguration"]
    configuration["EnvironmentProperties"]["PropertyGroups"][0]["PropertyMap"] |= records.flink_properties()
    assert len(body.encode()) <= 1_000_000
    assert parse(body).data == template.data == raw
    assert not [line for line in body.splitlines() if line.lstrip().startswith("# ")]
