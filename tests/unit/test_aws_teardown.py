"""Teardown: what it refuses, what it stops first, how it gets past what stands in the way, and what it proves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from aws_bench import Bench
from stubs import ACCOUNT, ANY, REGION, STACK, STACK_ID, Aws, FakeTime, event, missing, stack, tags

from fraudctl.aws.errors import CredentialsExpired
from fraudctl.aws.names import Names
from fraudctl.aws.resources.leftovers import Leftovers
from fraudctl.aws.teardown import Teardown
from fraudctl.errors import NotAsAsked, NotDeployed, OperationFailed, Refused
from fraudctl.pipeline import audit_table
from fraudctl.target import Consent, Event, Phase, Plan

TABLE = f"{STACK}-audit"
BUCKET = f"{STACK}-failed-{ACCOUNT}-{REGION}"
REMOVES, KEEPS = Plan(STACK, ()), Plan(STACK, (), keep_data=True)


@dataclass
class Scene:
    """A teardown on a script."""

    aws: Aws
    time: FakeTime
    bench: Bench

    @property
    def teardown(self) -> Teardown:
        """Return what is tested."""
        return Teardown(self.aws.session(), self.time.clock(), STACK, ACCOUNT, self.bench.release)

    def table(self, rows: int | None, **more: Any) -> None:
        """Expect the question for the table."""
        call = self.aws.on("dynamodb").describe_table(TableName=TABLE)
        if rows is None:
            call.fails("ResourceNotFoundException")
        else:
            arn = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{TABLE}"
            call.returns({"Table": {"TableArn": arn, "ItemCount": rows, **more}})

    def resources(self, *found: tuple[str, str]) -> None:
        """Expect the list of the stack's resources."""
        rows = [
            {
                "LogicalResourceId": kind.rpartition(":")[2],
                "PhysicalResourceId": physical,
                "ResourceType": kind,
                "ResourceStatus": "CREATE_COMPLETE",
                "LastUpdatedTimestamp": 0,
            }
            for kind, physical in found
        ]
        self.aws.on("cloudformation").list_stack_resources(StackName=STACK_ID).returns({"StackResourceSummaries": rows})

    def deleted(self, *events: dict[str, Any]) -> None:
        """Expect one attempt to delete the stack; its events bear the attempt's own token."""
        token = f"fraudctl-teardown-{int(self.time.at * 1000)}"
        self.aws.on("cloudformation").delete_stack(StackName=STACK_ID, ClientRequestToken=token).returns()
        self.bench.operation(*({**item, "ClientRequestToken": token} for item in events))

    def proof(self, *, logs: Sequence[str] = (), volumes: Sequence[str] = (), vpc: str = "", tagged: Any = ()) -> None:
        """Expect one look for what is left."""
        on, tag = self.aws.on, [{"Name": "tag:fraudctl:stack", "Values": [STACK]}]
        on("kafka").list_clusters_v2(ClusterNameFilter=STACK).returns({"ClusterInfoList": []})
        on("kinesisanalyticsv2").describe_application(ApplicationName=f"{STACK}-detection").fails(
            "ResourceNotFoundException"
        )
        on("ec2").describe_instances(Filters=tag).returns({"Reservations": []})
        on("ec2").describe_nat_gateways(Filters=tag).returns(
            {"NatGateways": [{"NatGatewayId": "n", "State": "deleted"}]}
        )
        on("ec2").describe_addresses(Filters=tag).returns({"Addresses": []})
        if vpc:
            on("ec2").describe_network_interfaces(Filters=[{"Name": "vpc-id", "Values": [vpc]}]).returns(
                {"NetworkInterfaces": []}
            )
        on("ec2").describe_volumes(Filters=tag).returns({"Volumes": [{"VolumeId": name} for name in volumes]})
        on("lambda").list_functions().returns({"Functions": [{"FunctionName": f"{STACK}-of-somebody-else"}]})
        self.logs(logs)
        self.table(None)
        on("s3").list_buckets().returns({"Buckets": [{"Name": "another-bucket"}]})
        on("resourcegroupstaggingapi").get_resources(TagFilters=[{"Key": "fraudctl:stack", "Values": [STACK]}]).returns(
            {"ResourceTagMappingList": [{"ResourceARN": arn} for arn in tagged]}
        )

    def logs(self, names: Sequence[str] = ()) -> None:
        """Expect the questions for log groups, one a prefix; all found are under the first."""
        for number, prefix in enumerate(
            [
                *(f"/aws/lambda/{STACK}-{name}" for name in FUNCTIONS),
                f"/aws/vendedlogs/{STACK}/",
                f"/aws/kinesis-analytics/{STACK}-detection",
                f"/fraudctl/{STACK}/",
            ]
        ):
            found = [{"logGroupName": name} for name in names] if number == 0 else []
            self.aws.on("logs").describe_log_groups(logGroupNamePrefix=prefix).returns({"logGroups": found})


FUNCTIONS = ("AuditWriter", "FlagAccountGenerator", "SampleTransactionGenerator", "TopicReader", "TopicWriter")


def scene(aws: Aws) -> Scene:
    """Set it."""
    return Scene(aws, time := FakeTime(), Bench(aws, time))


def test_the_plan_says_what_dies() -> None:
    """Topics, state and rows; the stack's name has to be typed."""
    with Aws() as aws:
        it = scene(aws)
        it.bench.found("UPDATE_COMPLETE")
        it.table(42)
        aws.on("s3").head_bucket(Bucket=BUCKET, ExpectedBucketOwner=ACCOUNT).returns()
        plan = it.teardown.plan(keep_data=False)
    assert plan.consent is Consent.NAME
    assert [(line.action, line.component) for line in plan.changes] == [
        ("remove", STACK),
        ("remove", TABLE),
        ("remove", BUCKET),
    ]
    assert "about 42 audit rows (counted within the last 6 h)" in plan.losses
    assert "every record in demo_transactions, flagged_accounts, processed_topic, dead_letters" in plan.losses


@pytest.mark.parametrize(
    ("status", "more", "message", "hint"),
    [
        ("UPDATE_IN_PROGRESS", {}, "an operation is running", "deploy --attach"),
        ("UPDATE_COMPLETE", {"EnableTerminationProtection": True}, "termination protection", "--no-enable-termination"),
        ("UPDATE_COMPLETE", {"parameters": {"RetainData": "true"}}, "protected", "--set RetainData=false"),
    ],
)
def test_what_stands_against_it(status: str, more: dict[str, Any], message: str, hint: str) -> None:
    """Exit 7 with the command that removes the obstacle."""
    with Aws() as aws:
        it = scene(aws)
        it.bench.found(status, **more)
        with pytest.raises(Refused, match=message) as caught:
            it.teardown.plan(keep_data=False)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("status", ["UPDATE_COMPLETE", "ROLLBACK_COMPLETE", "DELETE_FAILED", "DELETE_IN_PROGRESS"])
def test_a_stack_of_somebody_else_is_not_removed(status: str) -> None:
    """Without our tag, or with another stack's: exit 7 before anything is stopped, also when consent came late."""
    with Aws() as aws:
        it = scene(aws)
        for found in (tags("other"), []):
            for remove in (lambda: it.teardown.plan(keep_data=False), lambda: list(it.teardown.run(REMOVES))):
                it.bench.found(status, Tags=found)
                with pytest.raises(Refused, match="without the tag fraudctl:stack=fraud-detection,"):
                    remove()
    assert it.bench.release.steps == []


def test_the_shell_of_a_plan_does_not_vouch_for_data() -> None:
    """REVIEW_IN_PROGRESS has no tags and no resources: a table of its name may be somebody else's."""
    with Aws() as aws:
        it = scene(aws)
        it.bench.found("REVIEW_IN_PROGRESS", outputs={})
        it.table(7)
        aws.on("dynamodb").list_tags_of_resource(ResourceArn=ANY).returns({"Tags": []})
        with pytest.raises(Refused, match=r"table fraud-detection-audit: .* somebody else's"):
            it.teardown.plan(keep_data=False)
        it.bench.found("REVIEW_IN_PROGRESS", outputs={})
        for _ in ("whose it is", "how much it has"):
            it.table(None)
            aws.on("s3").head_bucket(Bucket=BUCKET, ExpectedBucketOwner=ACCOUNT).fails("404")
        assert [line.component for line in it.teardown.plan(keep_data=False).changes] == [STACK]


def test_without_a_stack_kept_data_can_still_be_removed() -> None:
    """Nothing at all is exit 3; a table kept before is planned to be removed, unless it shall be kept."""
    with Aws() as aws:
        it = scene(aws)
        missing(aws)
        it.table(None)
        aws.on("s3").head_bucket(Bucket=BUCKET, ExpectedBucketOwner=ACCOUNT).fails("404")
        with pytest.raises(NotDeployed):
            it.teardown.plan(keep_data=False)
        missing(aws)
        definition = audit_table.definition(TABLE)
        it.table(7, **{key: definition[key] for key in ("KeySchema", "GlobalSecondaryIndexes")})
        aws.on("dynamodb").list_tags_of_resource(ResourceArn=ANY).returns({"Tags": tags(STACK)})
        for _ in range(2):
            aws.on("s3").head_bucket(Bucket=BUCKET, ExpectedBucketOwner=ACCOUNT).fails("404")
            if _ == 0:
                it.table(7)
        plan = it.teardown.plan(keep_data=False)
    assert [line.component for line in plan.changes] == [TABLE]


def test_the_whole_order() -> None:
    """Schedule, mapping, application with its snapshots, functions' network, stack, data, artifacts, proof."""
    moment = {"SnapshotName": "s-1", "SnapshotStatus": "READY", "ApplicationVersionId": 1}
    snapshot = moment | {"SnapshotCreationTimestamp": datetime.fromtimestamp(1_790_000_000, UTC)}
    uuid = "0a1b2c3d-0000-4000-8000-000000000001"
    schedule = {"Name": "fraud-detection-samples", "State": "DISABLED"}
    with Aws() as aws:
        it = scene(aws)
        it.bench.found("UPDATE_COMPLETE")
        it.resources(
            ("AWS::EC2::VPC", "vpc-1"),
            ("AWS::Scheduler::Schedule", "fraud-detection-samples"),
            ("AWS::Lambda::EventSourceMapping", uuid),
            ("AWS::KinesisAnalyticsV2::Application", f"{STACK}-detection"),
            ("AWS::Lambda::Function", f"{STACK}-FlagAccountGenerator"),
        )
        aws.on("scheduler").get_schedule(Name="fraud-detection-samples").returns(schedule)
        for state in ("Enabled", "Disabling", "Disabled"):
            aws.on("lambda").get_event_source_mapping(UUID=uuid).returns({"State": state})
            if state == "Enabled":
                aws.on("lambda").update_event_source_mapping(UUID=uuid, Enabled=False).returns()
        it.bench.application("READY")
        for summaries in ([snapshot], []):
            aws.on("kinesisanalyticsv2").list_application_snapshots(
                ApplicationName=f"{STACK}-detection", Limit=50
            ).returns({"SnapshotSummaries": summaries})
            if summaries:
                aws.on("kinesisanalyticsv2").delete_application_snapshot(
                    ApplicationName=f"{STACK}-detection", SnapshotName="s-1", SnapshotCreationTimestamp=1_790_000_000.0
                ).returns()
        it.time.at += 6  # waiting for the mapping
        it.deleted(event("AuditTable", "DELETE_SKIPPED"), event(STACK, "DELETE_COMPLETE"))
        it.time.at -= 6
        it.table(3)
        it.table(3)
        aws.on("dynamodb").delete_table(TableName=TABLE).returns()
        it.table(3)
        it.table(None)
        aws.on("s3").head_bucket(Bucket=BUCKET, ExpectedBucketOwner=ACCOUNT).fails("404")
        it.logs(["/aws/lambda/fraud-detection-AuditWriter"])
        aws.on("logs").delete_log_group(logGroupName="/aws/lambda/fraud-detection-AuditWriter").returns()
        it.proof(vpc="vpc-1")
        told = list(it.teardown.run(REMOVES))
    assert it.bench.release.steps == ["remove"]
    assert told[-1] == Event("proof", Phase.DONE, "nothing is left")
    assert Event("flink", Phase.DONE, "stopped, 1 snapshots deleted") in told


def test_network_interfaces_in_the_way_are_removed_and_it_is_tried_again() -> None:
    """DELETE_FAILED: unused interfaces go, used ones stay; a second attempt succeeds."""
    security = "AWS::EC2::SecurityGroup"
    reason = "resource sg-1 has a dependent object (Service: Ec2)"
    with Aws() as aws:
        it = scene(aws)
        it.bench.found("UPDATE_COMPLETE")
        it.resources(("AWS::EC2::VPC", "vpc-1"))
        it.deleted(event("Group", "DELETE_FAILED", security, reason=reason), event(STACK, "DELETE_FAILED"))
        aws.on("cloudformation").describe_events(StackName=STACK_ID, Filters=ANY).returns({"OperationEvents": []})
        aws.on("ec2").describe_network_interfaces(Filters=[{"Name": "vpc-id", "Values": ["vpc-1"]}]).returns(
            {
                "NetworkInterfaces": [
                    {"NetworkInterfaceId": "eni-used", "Status": "in-use"},
                    {"NetworkInterfaceId": "eni-free", "Status": "available"},
                ]
            }
        )
        aws.on("ec2").delete_network_interface(NetworkInterfaceId="eni-free").returns()
        it.deleted(event(STACK, "DELETE_COMPLETE"))
        it.logs()
        it.proof(vpc="vpc-1")
        told = list(it.teardown.run(KEEPS))
    assert any("has a dependent object" in item.detail and "trying again" in item.detail for item in told)
    assert Event("eni-free", Phase.DONE, "unused network interface deleted") in told
    assert told[-1].detail == "nothing is left, but the data that was kept"


def test_after_three_attempts_the_cause_is_raised() -> None:
    """Exit 5 with the resource and its reason; nothing after the stack is touched."""
    with Aws() as aws:
        it = scene(aws)
        it.bench.found("UPDATE_COMPLETE")
        it.resources()
        for _ in range(3):
            it.deleted(
                event("Cluster", "DELETE_FAILED", "AWS::MSK::Cluster", reason="busy"), event(STACK, "DELETE_FAILED")
            )
            aws.on("cloudformation").describe_events(StackName=STACK_ID, Filters=ANY).returns({"OperationEvents": []})
        with pytest.raises(OperationFailed, match=r"teardown fraud-detection: Cluster \(AWS::MSK::Cluster\): busy"):
            list(it.teardown.run(REMOVES))
    assert it.bench.release.steps == []


def test_leftovers_are_listed_with_their_commands() -> None:
    """What is still there after two minutes: exit 8; lists that lag behind are waited for."""
    rest = "arn:aws:elasticfilesystem:eu-west-1:1:file-system/fs-1"
    stale = "arn:aws:dynamodb:eu-west-1:1:table/fraud-detection-audit"
    with Aws() as aws:
        it = scene(aws)
        missing(aws)
        it.logs()
        for _ in range(25):
            it.proof(volumes=["vol-1"], tagged=[rest, stale])
        with pytest.raises(NotAsAsked) as caught:
            list(it.teardown.run(KEEPS))
    assert caught.value.exit_code == 8
    lines = str(caught.value).splitlines()[1:]
    assert lines == [
        "  volume vol-1: aws ec2 delete-volume --volume-id vol-1 --region eu-west-1",
        f"  resource {rest}: aws resourcegroupstaggingapi get-resources  # {rest} --region eu-west-1",
    ]
    assert it.time.at - 1_790_000_000 == 120


def test_a_deletion_under_way_is_followed() -> None:
    """Ctrl-C and come back: nothing is stopped twice, the running deletion is followed to its end."""
    with Aws() as aws:
        it = scene(aws)
        aws.on("cloudformation").describe_stacks(StackName=STACK).returns(stack("DELETE_IN_PROGRESS"))
        it.resources(("AWS::EC2::VPC", "vpc-1"))
        it.bench.operation(event(STACK, "DELETE_IN_PROGRESS"))
        it.bench.operation(event(STACK, "DELETE_IN_PROGRESS"), event(STACK, "DELETE_COMPLETE"))
        it.logs()
        it.proof(vpc="vpc-1")
        told = list(it.teardown.run(KEEPS))
    assert "it is being deleted already; following that" in [item.detail for item in told]


@pytest.mark.parametrize("running", [True, False])
def test_credentials_that_expire_meanwhile_name_teardown_as_the_way_back(running: bool) -> None:  # noqa: FBT001 - parametrized
    """`deploy --attach` would refuse to follow a deletion."""
    with Aws() as aws:
        it = scene(aws)
        if running:
            aws.on("cloudformation").describe_stacks(StackName=STACK).returns(stack("DELETE_IN_PROGRESS"))
            it.resources()
            it.bench.operation(event(STACK, "DELETE_IN_PROGRESS"))
        else:
            it.bench.found("UPDATE_COMPLETE")
            it.resources()
            aws.on("cloudformation").delete_stack(StackName=STACK_ID, ClientRequestToken=ANY).returns()
        aws.on("cloudformation").describe_stack_events(StackName=STACK_ID).fails("ExpiredToken", "expired")
        with pytest.raises(CredentialsExpired) as caught:
            list(it.teardown.run(REMOVES))
    assert caught.value.hint == "sign in again (`aws sso login`), then `fraudctl teardown` follows it"


def test_a_protected_table_is_not_deleted() -> None:
    """Deletion protection of a kept table: exit 7 with the command that lifts it."""
    with Aws() as aws:
        it = scene(aws)
        missing(aws)
        it.table(5)
        it.table(5, DeletionProtectionEnabled=True)
        with pytest.raises(Refused, match="deletion protection is on") as caught:
            list(it.teardown.run(REMOVES))
    assert "--no-deletion-protection-enabled" in str(caught.value.hint)


def test_a_stack_with_a_longer_name_is_somebody_elses() -> None:
    """Names are compared whole: fraud-detection2's cluster, functions and buckets are not ours."""
    with Aws() as aws:
        it = scene(aws)
        tag = [{"Name": "tag:fraudctl:stack", "Values": [STACK]}]
        other = {"ClusterInfoList": [{"ClusterName": f"{STACK}2", "ClusterArn": "arn"}]}
        aws.on("kafka").list_clusters_v2(ClusterNameFilter=STACK).returns(other)
        aws.on("kinesisanalyticsv2").describe_application(ApplicationName=f"{STACK}-detection").fails(
            "ResourceNotFoundException"
        )
        aws.on("ec2").describe_instances(Filters=tag).returns({"Reservations": []})
        aws.on("ec2").describe_nat_gateways(Filters=tag).returns({"NatGateways": []})
        aws.on("ec2").describe_addresses(Filters=tag).returns({"Addresses": []})
        aws.on("ec2").describe_volumes(Filters=tag).returns({"Volumes": []})
        aws.on("lambda").list_functions().returns({"Functions": [{"FunctionName": f"{STACK}2-AuditWriter"}]})
        it.logs()
        it.table(None)
        buckets = [f"{STACK}-2-failed-{ACCOUNT}-{REGION}", BUCKET]
        aws.on("s3").list_buckets().returns({"Buckets": [{"Name": name} for name in buckets]})
        aws.on("resourcegroupstaggingapi").get_resources(TagFilters=ANY).returns({"ResourceTagMappingList": []})
        found = Leftovers(aws.session(), Names(STACK), ACCOUNT).find()
    assert [item.what for item in found] == [f"bucket {BUCKET}"]


def test_a_shortened_bucket_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest stack name in a region with a long one: the artifact bucket's name is cut and hashed."""
    name, region = "s" * 28, "ap-southeast-1"
    ours, others = Names(name).artifact_bucket(ACCOUNT, region), Names("s" * 27 + "t").artifact_bucket(ACCOUNT, region)
    assert not ours.startswith(f"{name}-artifacts")
    with Aws() as aws:
        aws.on("dynamodb").describe_table(TableName=f"{name}-audit").fails("ResourceNotFoundException")
        aws.on("s3").list_buckets().returns({"Buckets": [{"Name": bucket} for bucket in (others, ours)]})
        session = aws.session()
        monkeypatch.setattr(session, "_region", region)
        found = list(Leftovers(session, Names(name), ACCOUNT)._data())
    assert [str(item) for item in found] == [f"bucket {ours}: aws s3 rb s3://{ours} --force --region {region}"]


def test_log_groups_of_a_stack_with_a_longer_name_stay() -> None:
    """The application of stack fraud is fraud-detection, which begins the name of stack fraud-detection's."""
    application, function = "/aws/kinesis-analytics/fraud-detection", "/aws/lambda/fraud-AuditWriter"
    listed = {
        application: [application, f"{application}-detection"],
        function: [function, f"{function}-2"],
        "/aws/vendedlogs/fraud/": ["/aws/vendedlogs/fraud/broker"],
    }
    prefixes = [*(f"/aws/lambda/fraud-{name}" for name in FUNCTIONS), "/aws/vendedlogs/fraud/", application]
    with Aws() as aws:
        for prefix in [*prefixes, "/fraudctl/fraud/"]:
            aws.on("logs").describe_log_groups(logGroupNamePrefix=prefix).returns(
                {"logGroups": [{"logGroupName": name} for name in listed.get(prefix, [])]}
            )
        found = Leftovers(aws.session(), Names("fraud"), ACCOUNT).log_groups()
    assert found == [function, "/aws/vendedlogs/fraud/broker", application]
