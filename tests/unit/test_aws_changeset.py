"""Change sets: read whole, and nothing left of those that are not executed."""

from typing import Any

import pytest
from stubs import ANY, SET_ID, STACK, STACK_ID, Aws, FakeTime, at, missing, stack

from fraudctl.aws.cloudformation.change_sets import ChangeSets, Request
from fraudctl.errors import OperationFailed, TimedOut, Unreachable

REQUEST = Request(STACK, "UPDATE", {"A": "1", "B": "2"}, {"fraudctl:stack": STACK}, "body", previous=frozenset({"B"}))
FIRST = Request(STACK, "CREATE", {}, {}, "body")


def sets(aws: Aws, time: FakeTime | None = None) -> ChangeSets:
    """Return what is tested."""
    return ChangeSets(aws.client("cloudformation"), (time or FakeTime()).clock())


def create(aws: Aws, kind: str = "UPDATE") -> None:
    """Expect a change set to be asked for."""
    parameters = [{"ParameterKey": "A", "ParameterValue": "1"}, {"ParameterKey": "B", "UsePreviousValue": True}]
    aws.on("cloudformation").create_change_set(
        StackName=STACK,
        ChangeSetName="fraudctl-1790000000000",
        ChangeSetType=kind,
        Parameters=parameters if kind == "UPDATE" else [],
        Tags=[{"Key": "fraudctl:stack", "Value": STACK}] if kind == "UPDATE" else [],
        Capabilities=["CAPABILITY_IAM"],
        TemplateBody="body",
    ).returns({"Id": SET_ID, "StackId": STACK_ID})


def described(
    aws: Aws, status: str, *changes: dict[str, Any], reason: str = "", token: str = "", more: str = ""
) -> None:
    """Expect the change set to be looked at; `token` asks for a further page, `more` announces one."""
    asked = {"ChangeSetName": SET_ID, "IncludePropertyValues": True} | ({"NextToken": token} if token else {})
    answer: dict[str, Any] = {"Status": status, "Changes": list(changes)}
    answer |= {"StatusReason": reason} if reason else {}
    aws.on("cloudformation").describe_change_set(**asked).returns(answer | ({"NextToken": more} if more else {}))


def removed(aws: Aws) -> None:
    """Expect the change set to be deleted."""
    aws.on("cloudformation").delete_change_set(ChangeSetName=SET_ID).returns()


def change(name: str) -> dict[str, Any]:
    """Return a change with values before and after."""
    target = {
        "Attribute": "Properties",
        "Name": "VolumeSize",
        "Path": "/Properties/Storage/VolumeSize",
        "BeforeValue": "20",
        "AfterValue": "30",
        "RequiresRecreation": "Never",
    }
    return {
        "Type": "Resource",
        "ResourceChange": {
            "Action": "Modify",
            "LogicalResourceId": name,
            "PhysicalResourceId": "p",
            "ResourceType": "AWS::MSK::Cluster",
            "Replacement": "False",
            "Details": [{"Target": target, "Evaluation": "Static", "ChangeSource": "ParameterReference"}],
        },
    }


def test_a_change_set_is_waited_for_and_read_to_its_last_page() -> None:
    """Parameters that stay are named as such; every page is read, with the properties' values."""
    with Aws() as aws:
        create(aws)
        described(aws, "CREATE_IN_PROGRESS")
        described(aws, "CREATE_COMPLETE", change("A"), more="2")
        described(aws, "CREATE_COMPLETE", change("B"), token="2")
        found = sets(aws).create(REQUEST)
    assert found is not None
    assert [item.logical_id for item in found.changes] == ["A", "B"]
    (detail,) = found.changes[0].details
    assert (detail.path, detail.before, detail.after) == ("Storage.VolumeSize", "20", "30")


@pytest.mark.parametrize(
    "reason", ["The submitted information didn't contain changes. Submit", "No updates are to be performed."]
)
def test_no_changes_leave_no_change_set(reason: str) -> None:
    """None, and the failed change set is deleted."""
    with Aws() as aws:
        create(aws)
        described(aws, "FAILED", reason=reason)
        removed(aws)
        assert sets(aws).create(REQUEST) is None


def test_a_refused_change_set_says_what_the_validation_found() -> None:
    """The change set only counts the findings; the events name resource and reason."""
    with Aws() as aws:
        create(aws)
        described(aws, "FAILED", reason="2 validation errors")
        aws.on("cloudformation").describe_events(ChangeSetName=SET_ID, Filters={"FailedEvents": True}).returns(
            {
                "OperationEvents": [
                    {"LogicalResourceId": "B", "ValidationStatusReason": "second", "Timestamp": at(2)},
                    {"LogicalResourceId": "AuditTable", "ValidationStatusReason": "name is taken", "Timestamp": at(1)},
                ]
            }
        )
        removed(aws)
        with pytest.raises(OperationFailed, match="AuditTable: name is taken; B: second") as caught:
            sets(aws).create(REQUEST)
    assert "nothing was changed" in str(caught.value.hint)


def test_a_refused_change_set_falls_back_on_its_own_reason() -> None:
    """Where events may not be read, the reason is CloudFormation's own line."""
    with Aws() as aws:
        create(aws)
        described(aws, "FAILED", reason="Template error: no such attribute")
        aws.on("cloudformation").describe_events(ChangeSetName=SET_ID, Filters=ANY).fails("AccessDenied")
        removed(aws)
        with pytest.raises(OperationFailed, match="no such attribute"):
            sets(aws).create(REQUEST)


def test_the_shell_of_a_first_plan_is_removed() -> None:
    """Discarding a change set that would create the stack also deletes the stack that waits for it."""
    with Aws() as aws:
        create(aws, "CREATE")
        described(aws, "CREATE_COMPLETE")
        removed(aws)
        aws.on("cloudformation").describe_stacks(StackName=STACK_ID).returns(stack("REVIEW_IN_PROGRESS"))
        aws.on("cloudformation").list_change_sets(StackName=STACK_ID).returns({"Summaries": []})
        aws.on("cloudformation").delete_stack(StackName=STACK_ID).returns()
        found = sets(aws).create(FIRST)
        assert found is not None
        sets(aws).discard(found)


def test_a_shell_in_which_somebody_elses_plan_waits_is_left_alone() -> None:
    """Two people may plan the same new stack."""
    with Aws() as aws:
        create(aws, "CREATE")
        described(aws, "FAILED", reason="No updates are to be performed")
        removed(aws)
        aws.on("cloudformation").describe_stacks(StackName=STACK_ID).returns(stack("REVIEW_IN_PROGRESS"))
        aws.on("cloudformation").list_change_sets(StackName=STACK_ID).returns({"Summaries": [{"ChangeSetName": "x"}]})
        assert sets(aws).create(FIRST) is None


@pytest.mark.parametrize("code", ["ChangeSetNotFound", "InvalidChangeSetStatus"])
def test_discarding_what_is_gone_or_executed_is_harmless(code: str) -> None:
    """It is always called, also after an execution."""
    with Aws() as aws:
        create(aws, "CREATE")
        described(aws, "CREATE_COMPLETE")
        aws.on("cloudformation").delete_change_set(ChangeSetName=SET_ID).fails(code)
        missing(aws, STACK_ID)
        found = sets(aws).create(FIRST)
        assert found is not None
        sets(aws).discard(found)


def test_ctrl_c_while_waiting_leaves_no_change_set() -> None:
    """The half-made change set is deleted before the interrupt goes on."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with Aws() as aws:
        create(aws)
        described(aws, "CREATE_IN_PROGRESS")
        removed(aws)
        with pytest.raises(KeyboardInterrupt):
            sets(aws, FakeTime(on_sleep=interrupt)).create(REQUEST)


def test_a_change_set_that_never_ends_times_out() -> None:
    """After ten minutes the question is given up, and the change set deleted."""
    time = FakeTime()
    with Aws() as aws:
        create(aws)
        described(aws, "CREATE_IN_PROGRESS")
        described(aws, "CREATE_IN_PROGRESS")
        removed(aws)
        time.on_sleep = lambda: setattr(time, "at", time.at + 601)
        with pytest.raises(TimedOut, match="still works on it after 600 s"):
            sets(aws, time).create(REQUEST)


def test_not_allowed_is_said_as_such() -> None:
    """AWS's text stands in the message, exit 4."""
    with Aws() as aws:
        aws.on("cloudformation").create_change_set(**FIRST.arguments("fraudctl-1790000000000")).fails(
            "AccessDenied", "User x may not cloudformation:CreateChangeSet"
        )
        with pytest.raises(Unreachable, match="not allowed: User x may not cloudformation:CreateChangeSet") as caught:
            sets(aws).create(FIRST)
    assert caught.value.exit_code == 4
