"""The CloudFormation stack: what it plans, refuses, cleans up and goes on with, from every state a stack can be in."""

from typing import Any

import pytest
from aws_bench import CLUSTER, FIRST, MAPPING, SAME, TOPICS, VALUES, Bench, change
from stubs import ACCOUNT, ANY, REGION, SET_ID, STACK, STACK_ID, Aws, event, missing, stack, tags

from fraudctl.errors import BadConfig, NotDeployed, OperationFailed, Refused, Unreachable
from fraudctl.pipeline import audit_table
from fraudctl.target import Consent, Event, Options, Phase


def test_nothing_to_change_is_up_to_date() -> None:
    """No changes, nothing left; brokers listed in another order are the same brokers."""
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        bench.found("UPDATE_COMPLETE")
        bench.brokers()
        bench.healthy()
        bench.change_set("UPDATE", SAME)
        assert bench.stack().plan().changes == ()
    assert bench.release.steps == []


def test_a_first_plan_shows_costs_and_duration_and_is_discarded() -> None:
    """Defaults of the template count in the bill; the change set and its shell are removed again."""
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        missing(aws)
        bench.unused_names()
        bench.change_set("CREATE", FIRST, [change("Cluster", "AWS::MSK::Cluster")])
        subject = bench.stack()
        plan = subject.plan()
        aws.on("cloudformation").delete_change_set(ChangeSetName=SET_ID).returns()
        aws.on("cloudformation").describe_stacks(StackName=STACK_ID).returns(stack("REVIEW_IN_PROGRESS"))
        aws.on("cloudformation").list_change_sets(StackName=STACK_ID).returns({"Summaries": []})
        aws.on("cloudformation").delete_stack(StackName=STACK_ID).returns()
        subject.discard(plan)
        subject.discard(plan)  # harmless the second time
    assert plan.consent is Consent.YES
    assert [(line.action, line.component) for line in plan.changes] == [("create", "Cluster")]
    assert f"stack {STACK} in account {ACCOUNT}, region {REGION}" in plan.notes
    assert "$  0.200 an hour  brokers" in plan.notes
    assert "an unknown price an hour  other" in plan.notes
    assert "at least $0.200 an hour in all, for not every price is known, until `fraudctl teardown`" in plan.notes
    assert "expected to take about 36 min" in plan.notes


def test_a_first_deploy_goes_through_both_passes() -> None:
    """Artifacts before the change set is executed; then the brokers' addresses; nothing is left to discard."""
    update: list[dict[str, Any]] = [
        {"ParameterKey": "ArtifactBucket", "UsePreviousValue": True},
        {"ParameterKey": "BootstrapServers", "ParameterValue": "b-1:9098,b-2:9098"},
    ]
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        missing(aws)
        bench.unused_names()
        bench.change_set("CREATE", FIRST, [change("Cluster", "AWS::MSK::Cluster")])
        subject = bench.stack()
        plan = subject.plan()
        aws.on("cloudformation").describe_stacks(StackName=STACK).returns(stack("REVIEW_IN_PROGRESS"))
        bench.executed()
        bench.operation(event(STACK, "CREATE_COMPLETE"))
        first = {"ArtifactBucket": "artifacts", "BootstrapServers": "PENDING"}
        bench.found("CREATE_COMPLETE", parameters=first)
        bench.brokers()
        bench.change_set("UPDATE", update, [change("Writer", "AWS::Lambda::Function", "Modify", Replacement="False")])
        bench.executed()
        bench.operation(event(STACK, "UPDATE_COMPLETE"))
        bench.found("UPDATE_COMPLETE")
        bench.topics_and_mapping()
        told = list(subject.apply(plan))
        subject.discard(plan)
    assert bench.release.steps == ["publish"]
    assert Event(STACK, Phase.NOTE, "second pass: the brokers' addresses") in told


def test_a_plan_is_applied_with_its_own_change_set() -> None:
    """Another plan made in between changes nothing for it, and discarding one does not touch the other's change set."""
    first, second = SET_ID, SET_ID.replace("fraudctl-1", "fraudctl-2")
    wanted = [SAME[0], SAME[1], {"ParameterKey": "BrokerVolumeGiB", "ParameterValue": "30"}]
    grows = change("Cluster", "AWS::MSK::Cluster", "Modify", Replacement="False")
    alarm = change("Alarm", "AWS::CloudWatch::Alarm")
    with Aws() as aws:
        bench = Bench(aws)
        subject = bench.stack()
        plans = []
        for parameters, line, set_id, asked in (
            (wanted, grows, first, {"BrokerVolumeGiB": "30"}),
            (SAME, alarm, second, {}),
        ):
            bench.identity()
            bench.found("UPDATE_COMPLETE")
            bench.brokers()
            bench.healthy()
            bench.change_set("UPDATE", parameters, [line], set_id)
            plans.append(subject.plan(options=Options(parameters=asked)))
        assert [[line.component for line in plan.changes] for plan in plans] == [["Cluster"], ["Alarm"]]
        bench.found("UPDATE_COMPLETE")
        bench.executed(first)
        bench.operation(event(STACK, "UPDATE_COMPLETE"))
        bench.found("UPDATE_COMPLETE")
        bench.brokers()
        bench.found("UPDATE_COMPLETE")
        bench.topics_and_mapping()
        list(subject.apply(plans[0]))
        subject.discard(plans[0])  # executed: nothing is left of it
        aws.on("cloudformation").delete_change_set(ChangeSetName=second).returns()
        subject.discard(plans[1])


def test_kept_data_is_adopted() -> None:
    """A table of an earlier stack of this name, with the right keys, is used as it is."""
    definition = audit_table.definition(f"{STACK}-audit")
    found = {
        "TableArn": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{STACK}-audit",
        "KeySchema": definition["KeySchema"],
        "GlobalSecondaryIndexes": [
            {"IndexName": index["IndexName"], "KeySchema": index["KeySchema"]}
            for index in definition["GlobalSecondaryIndexes"]
        ],
    }
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        missing(aws)
        aws.on("dynamodb").describe_table(TableName=f"{STACK}-audit").returns({"Table": found})
        aws.on("dynamodb").list_tags_of_resource(ResourceArn=found["TableArn"]).returns({"Tags": tags(STACK)})
        bench.no_bucket()
        bench.free_cluster()
        adopted = {"ParameterKey": "AdoptAuditTable", "ParameterValue": "true"}
        bench.change_set("CREATE", [*FIRST, adopted], [change("Cluster", "AWS::MSK::Cluster")])
        assert bench.stack().plan().changes


@pytest.mark.parametrize(
    ("tag", "keys", "message"),
    [("other", True, "somebody else's"), (STACK, False, "its keys are not what this version needs")],
)
def test_a_table_that_cannot_be_adopted_is_refused(tag: str, keys: bool, message: str) -> None:  # noqa: FBT001 - parametrized
    """Somebody else's, or one with other keys: exit 7 before anything changes."""
    arn = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{STACK}-audit"
    schema = audit_table.definition("t")["KeySchema"] if keys else [{"AttributeName": "id", "KeyType": "HASH"}]
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        missing(aws)
        aws.on("dynamodb").describe_table(TableName=f"{STACK}-audit").returns(
            {"Table": {"TableArn": arn, "KeySchema": schema}}
        )
        aws.on("dynamodb").list_tags_of_resource(ResourceArn=arn).returns({"Tags": tags(tag)})
        with pytest.raises(Refused, match=message):
            bench.stack().plan()


def test_a_cluster_of_this_name_outside_the_stack_is_refused() -> None:
    """It would fail half an hour later otherwise."""
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        missing(aws)
        aws.on("dynamodb").describe_table(TableName=f"{STACK}-audit").fails("ResourceNotFoundException")
        bench.no_bucket()
        there = [{"ClusterName": f"{STACK}-2"}, {"ClusterName": STACK, "State": "ACTIVE"}]
        aws.on("kafka").list_clusters_v2(ClusterNameFilter=STACK).returns({"ClusterInfoList": there})
        with pytest.raises(Refused, match="there is one already"):
            bench.stack().plan()


@pytest.mark.parametrize("status", ["CREATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", "DELETE_IN_PROGRESS"])
def test_a_running_operation_is_not_planned_into(status: str) -> None:
    """Exit 7; attaching is the way."""
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        bench.found(status)
        with pytest.raises(Refused, match=status) as caught:
            bench.stack().plan()
    assert "deploy --attach" in str(caught.value.hint)


def test_a_stuck_rollback_names_its_resource() -> None:
    """UPDATE_ROLLBACK_FAILED: the resource, its reason, and the option."""
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        bench.found("UPDATE_ROLLBACK_FAILED")
        rows: list[dict[str, Any]] = [
            {"LogicalResourceId": "Vpc", "ResourceType": "AWS::EC2::VPC", "ResourceStatus": "UPDATE_COMPLETE"},
            {"LogicalResourceId": "Cluster", "ResourceType": "T", "ResourceStatus": "UPDATE_FAILED"}
            | {"ResourceStatusReason": "version is gone"},
        ]
        rows = [{**row, "LastUpdatedTimestamp": 0} for row in rows]
        aws.on("cloudformation").list_stack_resources(StackName=STACK_ID).returns({"StackResourceSummaries": rows})
        with pytest.raises(Refused, match="got stuck: Cluster: version is gone") as caught:
            bench.stack().plan()
    assert "--continue-rollback" in str(caught.value.hint)


def test_continuing_a_rollback_can_leave_a_resource_out() -> None:
    """The named one is skipped, and said to differ perhaps."""
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        bench.found("UPDATE_ROLLBACK_FAILED")
        row: dict[str, Any] = {"LogicalResourceId": "Cluster", "ResourceType": "T", "ResourceStatus": "UPDATE_FAILED"}
        rows = {"StackResourceSummaries": [row | {"LastUpdatedTimestamp": 0}]}
        aws.on("cloudformation").list_stack_resources(StackName=STACK_ID).returns(rows)
        aws.on("cloudformation").continue_update_rollback(
            StackName=STACK_ID, ClientRequestToken="token", ResourcesToSkip=["Cluster"]
        ).returns()
        bench.operation(event(STACK, "UPDATE_ROLLBACK_COMPLETE"))
        told = list(bench.stack().continue_rollback(["Cluster"]))
    assert "left out of the rollback" in told[-1].detail


def test_continuing_without_a_stuck_rollback_is_refused() -> None:
    """Also without a stack."""
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        bench.found("UPDATE_COMPLETE")
        with pytest.raises(Refused, match="no rollback is stuck"):
            list(bench.stack().continue_rollback())
        bench.identity()
        missing(aws)
        with pytest.raises(NotDeployed):
            list(bench.stack().continue_rollback())


@pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "CREATE_FAILED", "ROLLBACK_FAILED"])
def test_a_failed_first_deploy_is_removed_aloud_and_tried_again(status: str) -> None:
    """The plan says so and changes nothing; applying it deletes, then creates."""
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        bench.found(status, outputs={})
        subject = bench.stack()
        plan = subject.plan()
        assert [(line.action, line.component) for line in plan.changes] == [("remove", STACK), ("create", STACK)]
        bench.found(status, outputs={})
        aws.on("cloudformation").delete_stack(StackName=STACK_ID, ClientRequestToken="token").returns()
        bench.operation(event(STACK, "DELETE_COMPLETE"))
        bench.identity()
        aws.on("dynamodb").describe_table(TableName=f"{STACK}-audit").fails("ResourceNotFoundException")
        bench.no_bucket()
        bench.change_set("CREATE", FIRST, [change("Cluster", "AWS::MSK::Cluster")])
        bench.executed()
        bench.operation(
            event("Cluster", "CREATE_FAILED", "AWS::MSK::Cluster", reason="again"), event(STACK, "ROLLBACK_COMPLETE")
        )
        aws.on("cloudformation").describe_events(StackName=STACK_ID, Filters=ANY).returns({"OperationEvents": []})
        steps = subject.apply(plan)
        told = [next(steps) for _ in range(3)]
        with pytest.raises(OperationFailed, match="again"):
            list(steps)
        subject.discard(plan)
    assert any(f"left it in {status}; removing that" in item.detail for item in told)


def test_a_replacement_is_refused_unless_allowed() -> None:
    """The refusal stands in the plan; a plan that has one is not applied; the losses are named either way."""
    target = {"Attribute": "Properties", "Name": "ClusterName", "RequiresRecreation": "Always"}
    target |= {"Path": "/Properties/ClusterName", "BeforeValue": "a", "AfterValue": "b"}
    details = [{"Target": target, "Evaluation": "Static", "ChangeSource": "DirectModification"}]
    replaced = change("Cluster", "AWS::MSK::Cluster", "Modify", Replacement="True", Details=details)
    with Aws() as aws:
        bench = Bench(aws)
        for allowed in (frozenset[str](), frozenset({"Cluster"})):
            bench.identity()
            bench.found("UPDATE_COMPLETE")
            bench.brokers()
            bench.healthy()
            bench.change_set("UPDATE", SAME, [replaced])
            subject = bench.stack()
            plan = subject.plan(options=Options(allowed=allowed))
            assert "ClusterName: a → b; lost would be every topic" in plan.losses[0]
            assert [refusal.component for refusal in plan.refusals] == ([] if allowed else ["Cluster"])
            if not allowed:
                with pytest.raises(Refused, match="ClusterName"):
                    list(subject.apply(plan))
            aws.on("cloudformation").delete_change_set(ChangeSetName=SET_ID).returns()
            subject.discard(plan)


def test_drift_is_in_the_plan_and_repaired() -> None:
    """A topic deleted by hand is created with the pipeline's values; a disabled mapping is enabled and waited for."""
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        bench.found("UPDATE_COMPLETE")
        bench.brokers()
        bench.healthy(TOPICS[2:], mapping="Disabled", flink="READY", unlisted=TOPICS[1:2])
        bench.change_set("UPDATE", SAME)
        subject = bench.stack()
        plan = subject.plan()
        assert [(line.action, line.component) for line in plan.changes] == [
            ("repair", "demo_transactions"),
            ("repair", "mapping"),
            ("start", "flink"),
        ]
        bench.found("UPDATE_COMPLETE")
        bench.found("UPDATE_COMPLETE")
        bench.brokers()
        bench.found("UPDATE_COMPLETE")
        aws.on("kafka").list_topics(ClusterArn=CLUSTER).returns(
            {"Topics": [{"TopicName": name} for name in TOPICS[1:]]}
        )
        bench.described("demo_transactions", there=False)
        created = {
            "ClusterArn": CLUSTER,
            "TopicName": "demo_transactions",
            "PartitionCount": 4,
            "ReplicationFactor": 2,
            # message.timestamp.type=LogAppendTime, compression.type=uncompressed, retention.ms=604800000, a line each
            "Configs": "bWVzc2FnZS50aW1lc3RhbXAudHlwZT1Mb2dBcHBlbmRUaW1lCmNvbXByZXNzaW9uLnR5cGU9dW5j"
            "b21wcmVzc2VkCnJldGVudGlvbi5tcz02MDQ4MDAwMDAK",
        }
        aws.on("kafka").create_topic(**created).fails("NotControllerException", "the controller moved")
        aws.on("kafka").create_topic(**created).returns()
        for state in ("Disabled", "Disabled"):
            aws.on("lambda").get_event_source_mapping(UUID=MAPPING).returns({"State": state})
        aws.on("lambda").update_event_source_mapping(UUID=MAPPING, Enabled=True).returns()
        for state in ("Enabling", "Enabled"):
            aws.on("lambda").get_event_source_mapping(UUID=MAPPING).returns({"State": state})
        told = list(subject.apply(plan))
    assert Event("demo_transactions", Phase.DONE, "created again") in told
    assert told[-1] == Event("mapping", Phase.DONE, "enabled")


def test_another_hold_starts_the_application_without_its_state() -> None:
    """Its state is laid out by hold and slack: the plan says so, and after the update it reads both topics again."""
    parameters = VALUES | {"HoldMs": "60000"}
    wanted = [*SAME, {"ParameterKey": "HoldMs", "ParameterValue": "90000"}]
    client = "kinesisanalyticsv2"
    name = {"ApplicationName": f"{STACK}-detection"}
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        bench.found("UPDATE_COMPLETE", parameters=parameters)
        bench.brokers()
        bench.healthy()
        bench.change_set("UPDATE", wanted, [change("Application", "AWS::KinesisAnalyticsV2::Application", "Modify")])
        subject = bench.stack()
        plan = subject.plan(options=Options(parameters={"HoldMs": "90000"}))
        assert "HoldMs: 60000 → 90000" in plan.notes
        assert "the application starts without its state and reads both input topics from the beginning" in plan.notes
        bench.found("UPDATE_COMPLETE", parameters=parameters)
        bench.executed()
        bench.operation(event(STACK, "UPDATE_COMPLETE"))
        bench.found("UPDATE_COMPLETE")
        bench.brokers()
        bench.found("UPDATE_COMPLETE")
        bench.topics_and_mapping()
        bench.application("RUNNING")
        aws.on(client).stop_application(**name, Force=True).returns({})
        bench.application("READY")
        bench.application("READY")
        aws.on(client).start_application(
            **name,
            RunConfiguration={
                "FlinkRunConfiguration": {"AllowNonRestoredState": False},
                "ApplicationRestoreConfiguration": {"ApplicationRestoreType": "SKIP_RESTORE_FROM_SNAPSHOT"},
            },
        ).returns({})
        bench.application("RUNNING")
        told = list(subject.apply(plan))
    assert told[-1] == Event("flink", Phase.DONE, "running")


def test_topics_that_may_not_be_looked_at_do_not_stop_a_plan() -> None:
    """A cluster under maintenance, or a missing permission: said, and gone on."""
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        bench.found("UPDATE_COMPLETE")
        bench.brokers()
        aws.on("kafka").list_topics(ClusterArn=CLUSTER).fails("ForbiddenException", "no kafka-cluster:DescribeTopic")
        aws.on("lambda").get_event_source_mapping(UUID=MAPPING).returns({"State": "Enabled"})
        bench.application("READY")
        bench.change_set("UPDATE", SAME)
        plan = bench.stack().plan()
    assert any("topics were not looked at" in note for note in plan.notes)


def test_an_unfinished_second_pass_is_planned_again() -> None:
    """PENDING in the stack and brokers in MSK: the address is a change like any other."""
    parameters = [SAME[0], {"ParameterKey": "BootstrapServers", "ParameterValue": "b-1:9098,b-2:9098"}, SAME[2]]
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        bench.found("CREATE_COMPLETE", parameters={**VALUES, "BootstrapServers": "PENDING"})
        bench.brokers()
        bench.healthy(flink="READY")
        bench.change_set("UPDATE", parameters, [change("Writer", "AWS::Lambda::Function", "Modify")])
        plan = bench.stack().plan()
    assert [line.action for line in plan.changes] == ["start", "update"]
    assert "BootstrapServers: PENDING → b-1:9098,b-2:9098" in plan.notes


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidClientTokenId", "AccessDenied"])
def test_bad_credentials_are_said_before_anything_is_built(code: str) -> None:
    """Exit 4, with the way to sign in."""
    with Aws() as aws:
        bench = Bench(aws)
        aws.on("sts").get_caller_identity().fails(code, "bad")
        with pytest.raises(Unreachable) as caught:
            list(bench.stack().prepare())
    assert caught.value.hint is not None
    assert bench.release.steps == []


def test_a_name_too_long_for_aws_and_unknown_parameters_are_usage() -> None:
    """Exit 2 before any call."""
    with Aws() as aws, pytest.raises(BadConfig, match="at most 28 characters"):
        Bench(aws).stack("a" * 29).plan()
    for name, why in (("Nope", "no such parameter"), ("ArtifactBucket", "fraudctl sets it")):
        with Aws() as aws, pytest.raises(BadConfig, match=why) as caught:
            Bench(aws).stack().plan(options=Options({name: "1"}))
        assert caught.value.hint == "the parameters are BrokerVolumeGiB, HoldMs"


@pytest.mark.parametrize(("asked", "refused"), [("10", True), ("30", False)])
def test_a_disk_never_shrinks(asked: str, refused: bool) -> None:  # noqa: FBT001 - parametrized
    """MSK refuses it after minutes, the topics' partitions alike; the plan says so at once."""
    wanted = [SAME[0], SAME[1], {"ParameterKey": "BrokerVolumeGiB", "ParameterValue": asked}]
    options = Options(parameters={"BrokerVolumeGiB": asked})
    with Aws() as aws:
        bench = Bench(aws)
        bench.identity()
        bench.found("UPDATE_COMPLETE")
        bench.brokers()
        if refused:
            with pytest.raises(BadConfig, match="BrokerVolumeGiB=10: the stack has 20, and MSK's disks never shrink"):
                bench.stack().plan(options=options)
            return
        bench.healthy()
        bench.change_set("UPDATE", wanted)
        assert bench.stack().plan(options=options).changes == ()


def test_outputs() -> None:
    """The contract between infrastructure and code; a stack that is not finished has none."""
    with Aws() as aws:
        bench = Bench(aws)
        bench.found("UPDATE_COMPLETE")
        found = bench.stack().outputs()
        bench.found("ROLLBACK_COMPLETE", outputs={})
        with pytest.raises(NotDeployed, match="it is in ROLLBACK_COMPLETE"):
            bench.stack().outputs()
    assert (found.target, found.audit_table, found.hold_ms) == ("aws", f"{STACK}-audit", 60_000)
    assert found.extra["ScheduleName"] == f"{STACK}-samples"
