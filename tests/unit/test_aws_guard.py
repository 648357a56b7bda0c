"""The guard and the plan's words, on change sets as CloudFormation describes them."""

from typing import Any

import pytest

from fraudctl.aws.cloudformation import guard, plans
from fraudctl.aws.cloudformation.change_sets import Detail, ResourceChange
from fraudctl.aws.costs import BY_USE, Cost


def detail(path: str, recreation: str = "Never", **more: Any) -> Detail:
    """Return why a property changes."""
    values: dict[str, Any] = {
        "before": None,
        "after": None,
        "dynamic": False,
        "source": "DirectModification",
        "cause": "",
    }
    return Detail(path=path, recreation=recreation, **{**values, **more})


def modify(name: str, kind: str, replacement: str, *details: Detail) -> ResourceChange:
    """Return a change to a resource that is there."""
    return ResourceChange("Modify", name, kind, f"{name}-1", replacement, details=details)


# The types that hold data, with what is lost.
STATEFUL = {
    "AWS::MSK::Cluster": "every topic and every record in it",
    "AWS::MSK::Topic": "every record in this topic",
    "AWS::DynamoDB::Table": "every row of the audit table",
    "AWS::S3::Bucket": "every object in the bucket",
    "AWS::KinesisAnalyticsV2::Application": "the application's state and snapshots",
}
CLUSTER = "AWS::MSK::Cluster"
TOPIC = "AWS::MSK::Topic"
GROWS = modify("Cluster", CLUSTER, "False", detail("BrokerNodeGroupInfo.StorageInfo", before="20", after="30"))
RENAMED = modify("Cluster", CLUSTER, "True", detail("ClusterName", "Always", before="old", after="new"))


def refers(source: str = "ResourceReference", cause: str = "Cluster") -> ResourceChange:
    """Return a topic that refers to the cluster, which CloudFormation calls a conditional replacement."""
    return modify(
        "TransactionsTopic",
        TOPIC,
        "Conditional",
        detail("ClusterArn", "Always", dynamic=True, source=source, cause=cause),
    )


def test_a_replaced_cluster_is_refused_with_the_property_that_forces_it() -> None:
    """The line names resource, property with both values, and what dies."""
    (found,) = guard.dangers([RENAMED], ())
    assert str(found) == (
        "Cluster would be replaced because of ClusterName: old → new; lost would be every topic and every record in it"
    )


def test_what_refers_to_a_replaced_cluster_is_refused_too() -> None:
    """A topic goes with its cluster, and the reason is the reference."""
    found = guard.dangers([RENAMED, refers()], ())
    assert [danger.logical_id for danger in found] == ["Cluster", "TransactionsTopic"]
    assert found[1].because == ("ClusterArn (Cluster)",)


@pytest.mark.parametrize(("source", "cause"), [("ResourceReference", "Cluster"), ("ResourceAttribute", "Cluster.Arn")])
def test_what_refers_to_a_cluster_that_only_grows_is_not_refused(source: str, cause: str) -> None:
    """The reference stays what it is, although CloudFormation calls it a conditional replacement."""
    assert guard.dangers([GROWS, refers(source, cause)], ()) == []


def test_an_attribute_that_may_change_by_itself_is_refused() -> None:
    """Only names and ARNs are known to live as long as their resource."""
    (found,) = guard.dangers([GROWS, refers("ResourceAttribute", "Cluster.CurrentVersion")], ())
    assert found.verb == "replaced, perhaps,"


@pytest.mark.parametrize("kind", sorted(STATEFUL))
def test_removing_what_holds_data_is_refused(kind: str) -> None:
    """Every stateful type, each with its own loss."""
    (found,) = guard.dangers([ResourceChange("Remove", "Thing", kind, "thing-1", policy_action="Delete")], ())
    assert (found.verb, found.loss) == ("removed", STATEFUL[kind])


def test_a_retained_resource_says_that_it_would_stay_without_a_stack() -> None:
    """Removed from the stack is still refused: nobody would look after it."""
    (found,) = guard.dangers([ResourceChange("Remove", "T", "AWS::DynamoDB::Table", "t", policy_action="Retain")], ())
    assert "would stay in AWS, without a stack" in found.loss


def test_an_allowed_resource_passes_and_no_other() -> None:
    """--allow-replacement names one resource."""
    assert [danger.logical_id for danger in guard.dangers([RENAMED, refers()], {"Cluster"})] == ["TransactionsTopic"]


def test_stateless_replacements_and_updates_pass() -> None:
    """A function may be replaced, a cluster may grow, a table may be created."""
    changes = [
        modify("Writer", "AWS::Lambda::Function", "True", detail("FunctionName", "Always")),
        GROWS,
        ResourceChange("Add", "AuditTable", "AWS::DynamoDB::Table"),
    ]
    assert guard.dangers(changes, ()) == []


def test_a_parameter_with_unknown_recreation_is_refused() -> None:
    """What CloudFormation cannot exclude is not done by accident."""
    change = modify(
        "AuditTable",
        "AWS::DynamoDB::Table",
        "Conditional",
        detail("KeySchema", "Conditionally", source="ParameterReference", cause="Keys", dynamic=True),
    )
    assert [danger.because for danger in guard.dangers([change], ())] == [("KeySchema (Keys)",)]


def test_a_dynamic_change_is_refused() -> None:
    """A nested change that is only known later may be anything."""
    (found,) = guard.dangers([ResourceChange("Dynamic", "AuditTable", "AWS::DynamoDB::Table")], ())
    assert str(found) == (
        "AuditTable would be changed in a way only known later; lost would be every row of the audit table"
    )


def test_the_plan_names_properties_with_their_values_removals_first() -> None:
    """One line per resource, in the order of danger; long values are cut, unknown ones said to be."""
    writer = modify(
        "Writer",
        "AWS::Lambda::Function",
        "False",
        detail("Environment", dynamic=True, cause="BootstrapServers", source="ParameterReference"),
        detail("Environment", before="x" * 80, after="{{changeSet:KNOWN_AFTER_APPLY}}"),
    )
    lines = plans.changes([ResourceChange("Add", "Nat", "AWS::EC2::NatGateway"), writer, RENAMED])
    assert [(line.action, line.component) for line in lines] == [
        ("replace", "Cluster"),
        ("update", "Writer"),
        ("create", "Nat"),
    ]
    assert lines[0].detail == "MSK Cluster: ClusterName: old → new"
    assert lines[1].detail == f"Lambda Function: Environment: {'x' * 59}… → (known later)"


def test_durations_follow_the_slowest_resource() -> None:
    """A first cluster takes half an hour, a function a minute or two, nothing takes nothing."""
    assert plans.minutes([]) == 0
    assert plans.minutes([modify("Writer", "AWS::Lambda::Function", "False")]) == 2
    assert plans.minutes([GROWS]) == 25
    assert plans.minutes([ResourceChange("Add", "Cluster", CLUSTER)]) == 31
    assert plans.minutes([ResourceChange("Remove", "Cluster", CLUSTER)]) == 15


def test_a_bill_with_an_unknown_price_says_the_least() -> None:
    """What is not known does not count as free."""
    brokers, flink = Cost("Cluster", "brokers", 0.408), Cost("FlinkApplication", "flink", 0.22)
    until = "until `fraudctl teardown`"
    by_use = [f"by use, on top: {line}" for line in BY_USE]
    assert any("audit rows: $1.88 a million" in line for line in by_use)
    assert plans.bill([brokers, flink]) == [
        "$  0.408 an hour  brokers",
        "$  0.220 an hour  flink",
        f"$  0.628 an hour in all, about $15 a day, {until}",
        *by_use,
    ]
    assert plans.bill([Cost("Cluster", "brokers", None), flink]) == [
        "an unknown price an hour  brokers",
        "$  0.220 an hour  flink",
        f"at least $0.220 an hour in all, for not every price is known, {until}",
        *by_use,
    ]
