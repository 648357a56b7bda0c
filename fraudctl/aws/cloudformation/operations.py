"""Operations on a stack: started with a token, followed to their end, explained when they fail."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fraudctl.aws.cloudformation import diagnosis
from fraudctl.aws.cloudformation.change_sets import ChangeSet, ChangeSets
from fraudctl.aws.cloudformation.describe import Described, resources
from fraudctl.aws.cloudformation.events import Followed, Operation, follow, going_on, latest
from fraudctl.aws.errors import asking
from fraudctl.clock import Clock
from fraudctl.errors import BadConfig
from fraudctl.target import Event, Phase

GOOD: Final = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")
BACK: Final = "UPDATE_ROLLBACK_COMPLETE"


@dataclass(frozen=True, slots=True)
class Operations:
    """What can be done to one stack; `token` gives the mark of an operation's events."""

    cfn: Any
    clock: Clock
    stack: str
    token: Callable[[], str]

    def execute(self, change_set: ChangeSet) -> Iterator[Event]:
        """Execute a change set and follow it to its end."""
        token = self.token()
        ChangeSets(self.cfn, self.clock).execute(change_set, token)
        yield from self.follow(Operation(change_set.stack_id, self.stack, token), "deploy")

    def clean(self, found: Described) -> Iterator[Event]:
        """Delete what a failed first deploy left, which can be neither updated nor created again."""
        yield Event(self.stack, Phase.NOTE, f"a first deploy failed and left it in {found.status}; removing that")
        token = self.token()
        with asking(f"stack {self.stack}"):
            self.cfn.delete_stack(StackName=found.id, ClientRequestToken=token)
        yield from self.follow(Operation(found.id, self.stack, token), "cleanup", good=("DELETE_COMPLETE",))

    def continue_rollback(self, found: Described, skip: Sequence[str]) -> Iterator[Event]:
        """Continue a rollback that got stuck, without `skip`; raises `BadConfig` for unknown ones."""
        known = {resource.logical_id for resource in resources(self.cfn, found.id)} if skip else set()
        for name in skip:
            if name not in known:
                raise BadConfig(f"--skip {name}: the stack has no such resource", hint="see `fraudctl deploy --plan`")
        token = self.token()
        more = {"ResourcesToSkip": list(skip)} if skip else {}
        with asking(f"stack {self.stack}"):
            self.cfn.continue_update_rollback(StackName=found.id, ClientRequestToken=token, **more)
        yield from self.follow(Operation(found.id, self.stack, token), "rollback", good=(BACK,))
        for name in skip:
            yield Event(name, Phase.NOTE, "left out of the rollback: it may differ from the template")

    def failed(self, found: Described) -> Iterator[Event]:
        """Yield the events of the last operation, which failed, and raise its root cause as `follow` does."""
        operation = latest(self.cfn, found.id, self.stack)
        if operation.token or operation.since:
            yield from self.follow(operation, "deploy")
        else:  # none of its events is left, so following would wait for its end
            raise diagnosis.explain(self.cfn, operation, Followed(found.status))

    def follow(self, operation: Operation, doing: str, good: Sequence[str] = GOOD) -> Iterator[Event]:
        """Follow one to its end; raises `OperationFailed` with the root cause unless it ends in a `good` status.

        At Ctrl-C it says what AWS goes on with, and how to come back.
        """
        ended = Followed()
        yield Event(self.stack, Phase.STARTED, doing)
        try:
            yield from follow(self.cfn, self.clock, operation, ended)
        except KeyboardInterrupt:
            yield Event(self.stack, Phase.NOTE, going_on(operation, ended))
            raise
        if ended.status not in good:
            raise diagnosis.explain(self.cfn, operation, ended, doing=doing)
        yield Event(self.stack, Phase.DONE, ended.status)
