"""Change sets: what CloudFormation says it would do, asked for, read and removed again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from fraudctl.aws.cloudformation.describe import describe
from fraudctl.aws.errors import asking
from fraudctl.aws.session import items
from fraudctl.clock import Clock
from fraudctl.errors import OperationFailed, TimedOut

_WAIT_SECONDS: Final = 600.0
_POLL_SECONDS: Final = 0.3
_LONGEST_POLL_SECONDS: Final = 5.0
_NOTHING: Final = ("didn't contain changes", "No updates are to be performed")
_GONE: Final = frozenset({"ChangeSetNotFound", "ChangeSetNotFoundException"})
CAPABILITIES: Final = ("CAPABILITY_IAM",)


@dataclass(frozen=True, slots=True)
class Detail:
    """Why one property changes. `recreation` is Never, Conditionally or Always; `cause` a parameter or resource."""

    path: str
    before: str | None
    after: str | None
    recreation: str
    dynamic: bool
    source: str
    cause: str


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """What happens to one resource. `replacement` is True, False or Conditional, in CloudFormation's words."""

    action: str
    logical_id: str
    type: str
    physical_id: str = ""
    replacement: str = "False"
    policy_action: str = ""
    details: tuple[Detail, ...] = ()


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """A change set that can be executed; `kind` is CREATE or UPDATE."""

    id: str
    stack_id: str
    kind: str
    changes: tuple[ResourceChange, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What CreateChangeSet is asked for; `body` is the template's text, `url` where it lies if it is too long to send.

    Parameters named in `previous` keep what the stack has, which matters for those that CloudFormation resolves itself.
    With `revert_drift` the resources are compared with what is really there.
    """

    stack: str
    kind: str
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    body: str = ""
    url: str = ""
    previous: frozenset[str] = frozenset()
    revert_drift: bool = False

    def arguments(self, name: str) -> dict[str, Any]:
        """Return CreateChangeSet's arguments."""
        return {
            "StackName": self.stack,
            "ChangeSetName": name,
            "ChangeSetType": self.kind,
            "Parameters": [
                {"ParameterKey": key, "UsePreviousValue": True}
                if key in self.previous
                else {"ParameterKey": key, "ParameterValue": value}
                for key, value in self.parameters.items()
            ],
            "Tags": [{"Key": key, "Value": value} for key, value in self.tags.items()],
            "Capabilities": list(CAPABILITIES),
            **({"TemplateURL": self.url} if self.url else {"TemplateBody": self.body}),
            **({"DeploymentMode": "REVERT_DRIFT"} if self.revert_drift else {}),
        }


@dataclass(frozen=True, slots=True)
class ChangeSets:
    """The change sets of one account and region."""

    cfn: Any
    clock: Clock

    def create(self, request: Request) -> ChangeSet | None:
        """Create one and wait for it; return None when nothing would change, and then nothing of it is left.

        Raises `OperationFailed` with CloudFormation's reason; of that attempt nothing is left either.
        """
        name = f"fraudctl-{int(self.clock.now() * 1000)}"
        with asking(f"plan of stack {request.stack}"):
            made = self.cfn.create_change_set(**request.arguments(name))
        empty = ChangeSet(made["Id"], made["StackId"], request.kind, ())
        try:
            status, reason, changes = self._settled(empty)
        except BaseException:
            self.discard(empty)
            raise
        if status == "CREATE_COMPLETE":
            return ChangeSet(empty.id, empty.stack_id, empty.kind, changes)
        reasons = [] if any(text in reason for text in _NOTHING) else self._validation_errors(empty)
        self.discard(empty)
        if any(text in reason for text in _NOTHING):
            return None
        raise OperationFailed(
            f"plan of stack {request.stack}: {'; '.join(reasons) or reason}",
            hint="nothing was changed; fix that, then run `fraudctl deploy --plan` again",
        )

    def execute(self, change_set: ChangeSet, token: str) -> None:
        """Execute it; its events carry `token`."""
        with asking("change set"):
            self.cfn.execute_change_set(ChangeSetName=change_set.id, ClientRequestToken=token)

    def discard(self, change_set: ChangeSet) -> None:
        """Remove it, and the empty shell of a stack that a first plan makes. Harmless when executed or removed."""
        with asking("change set"):
            try:
                self.cfn.delete_change_set(ChangeSetName=change_set.id)
            except ClientError as error:
                if error.response["Error"]["Code"] not in {*_GONE, "InvalidChangeSetStatus"}:
                    raise
        if change_set.kind != "UPDATE":
            self.remove_shell(change_set.stack_id)

    def remove_shell(self, stack_id: str) -> None:
        """Delete a stack that is only a shell, unless another change set waits in it."""
        found = describe(self.cfn, stack_id)
        if found is None or found.status != "REVIEW_IN_PROGRESS":
            return
        with asking(f"stack {found.name}"):
            if not any(items(self.cfn, "list_change_sets", "Summaries", StackName=stack_id)):
                self.cfn.delete_stack(StackName=stack_id)

    def _settled(self, made: ChangeSet) -> tuple[str, str, tuple[ResourceChange, ...]]:
        pages = self.cfn.get_paginator("describe_change_set")
        for _ in self.clock.poll(_POLL_SECONDS, longest=_LONGEST_POLL_SECONDS, within=_WAIT_SECONDS):
            with asking("change set"):
                found: list[Mapping[str, Any]] = []
                for page in pages.paginate(ChangeSetName=made.id, IncludePropertyValues=True):
                    if page["Status"] == "FAILED":
                        return "FAILED", page.get("StatusReason", ""), ()
                    if page["Status"] != "CREATE_COMPLETE":
                        break
                    found += page["Changes"]
                else:
                    return "CREATE_COMPLETE", "", tuple(_changes(found))
        raise TimedOut(f"plan: CloudFormation still works on it after {_WAIT_SECONDS:.0f} s", hint="run it again")

    def _validation_errors(self, made: ChangeSet) -> list[str]:
        """Return what the validation before a deployment found; the change set's own reason only counts it."""
        try:
            found = self.cfn.describe_events(ChangeSetName=made.id, Filters={"FailedEvents": True})
        except ClientError:  # an old endpoint or a missing permission: the change set's own reason has to do
            return []
        return [
            f"{event.get('LogicalResourceId', 'template')}: {reason}"
            for event in reversed(found["OperationEvents"])
            if (reason := event.get("ValidationStatusReason") or event.get("ResourceStatusReason"))
        ]


def _changes(found: Iterable[Mapping[str, Any]]) -> Iterable[ResourceChange]:
    for item in found:
        change = item.get("ResourceChange")
        if change:
            yield ResourceChange(
                action=change["Action"],
                logical_id=change["LogicalResourceId"],
                type=change["ResourceType"],
                physical_id=change.get("PhysicalResourceId", ""),
                replacement=change.get("Replacement", "False"),
                policy_action=change.get("PolicyAction", ""),
                details=tuple(_detail(detail) for detail in change.get("Details", [])),
            )


def _detail(found: Mapping[str, Any]) -> Detail:
    target = found.get("Target", {})
    path = str(target.get("Path", "")).removeprefix("/Properties/").replace("/", ".")
    return Detail(
        path=path or target.get("Name") or target.get("Attribute", ""),
        before=target.get("BeforeValue"),
        after=target.get("AfterValue"),
        recreation=target.get("RequiresRecreation", "Never"),
        dynamic=found.get("Evaluation") == "Dynamic",
        source=found.get("ChangeSource", ""),
        cause=found.get("CausingEntity", ""),
    )
