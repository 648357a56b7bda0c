"""The CloudFormation stack's life: plan, apply, attach, continue a rollback; teardown has a file of its own.

A deploy is a row of stages. Nothing passes from `plan` to `apply` but the plan: its `work` holds the change set.

prepare: settings -> artifacts in the cache. Their names, which name their content, become parameters.
plan: template, parameters and the stack as it is -> a change set and the drift that no change set repairs.
publish: artifacts -> objects in the artifact bucket, which the stack's functions and application refer to.
first pass: the plan's change set -> a stack that has a cluster. A new one has ``BootstrapServers=PENDING``, because
    CloudFormation cannot return MSK's bootstrap string; functions get no broker, and the schedule is off.
second pass: the cluster's ARN -> the bootstrap string, by MSK's API -> an update that hands it to functions and
    application. It is left out when the stack has that string already, as in every later deploy.
repair: the stack's outputs -> topics created again, the event source mapping enabled; and the application started
    without its state, if a parameter that decides the state's layout has changed.

`discard` removes what a plan left that was not executed. `attach` follows the pass that is running and does the second
one if it is due.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fraudctl.aws import older, pausing
from fraudctl.aws.cloudformation import guard, parameters, plans
from fraudctl.aws.cloudformation.change_sets import ChangeSet, ChangeSets, Request
from fraudctl.aws.cloudformation.describe import Described, describe
from fraudctl.aws.cloudformation.events import latest
from fraudctl.aws.cloudformation.operations import BACK, GOOD, Operations
from fraudctl.aws.cloudformation.parameters import BOOTSTRAP, ENABLED, PENDING, SAMPLES, Template
from fraudctl.aws.names import Names
from fraudctl.aws.placement import Placement
from fraudctl.aws.preflight import Preflight, brokers, unfinished
from fraudctl.aws.resources.drift import Drift, DriftDetector
from fraudctl.aws.session import AwsSession
from fraudctl.aws.teardown import Teardown
from fraudctl.clock import Clock
from fraudctl.errors import NotDeployed, OperationFailed, Refused
from fraudctl.target import NO_OPTIONS, Change, Consent, Event, Options, Outputs, Paused, Phase, Plan

if TYPE_CHECKING:
    from fraudctl.aws.release import Release


@dataclass(slots=True)
class Work:
    """What a plan needs to be applied or discarded: parameters' values, what may be replaced, the change set.

    `change_set` is the one that is not executed yet; None when there is none.
    """

    values: dict[str, str] = field(default_factory=dict)
    allowed: frozenset[str] = frozenset()
    change_set: ChangeSet | None = None


class AwsStack:
    """One stack in one account and region. `given` are the parameters that the person's settings name."""

    def __init__(
        self,
        name: str,
        session: AwsSession,
        release: "Release",
        drift: DriftDetector,
        clock: Clock,
        given: Mapping[str, str],
        token: Callable[[], str] = lambda: f"fraudctl-{uuid.uuid4()}",
    ) -> None:
        """Store the collaborators; no I/O. `token` marks an operation's events."""
        self._name, self._session, self._release, self._drift = name, session, release, drift
        self._clock, self._given, self._token = clock, given, token
        self._preflight = Preflight(session, clock, name)

    def prepare(self) -> Iterator[Event]:
        """Build the artifacts, whose names are in the plan, after a look at the credentials, which fail faster."""
        self._preflight.credentials()
        yield from self._release.build()

    def plan(self, *, samples: bool | None = None, options: Options = NO_OPTIONS) -> Plan:
        """Return what CloudFormation would do. `discard` removes the change set that this creates."""
        template = Template.read(self._release.template())
        parameters.check(template, options.parameters)
        account = self._preflight.credentials()
        found = describe(self._cfn, self._name)
        self._preflight.state(found)
        notes = [f"stack {self._name} in account {account}, region {self._session.region}"]
        kept: Mapping[str, str] = {}
        if found is None or found.status == "REVIEW_IN_PROGRESS":
            kept = self._preflight.kept(account).parameters()
            self._preflight.cluster_is_free()
            if found is not None:
                notes.append("an unfinished first plan left an empty stack; it is used, or removed")
        current = None if found is not None and unfinished(found) else found
        work = Work(self._wanted(template, current, kept, options, samples=samples), options.allowed)
        if current is not None and current.outputs:
            parameters.check_growth(current.parameters, work.values)
        if found is not None and unfinished(found):
            return self._plan_anew(found, template, notes, work, samples=samples)
        drift = self._drift.detect(found, samples=samples) if found is not None and found.outputs else Drift()
        work.change_set = self._change_set(found, template, work.values, revert_drift=bool(drift.gone))
        if work.change_set is None and not drift.changes:
            return Plan(self._name, (), samples=samples, work=work)
        changes = work.change_set.changes if work.change_set else ()
        dangers = guard.dangers(changes, options.allowed)
        notes += [*self._notes(found, template, work), *drift.notes]
        notes += [f"refused: {danger}; --allow-replacement {danger.logical_id} allows it" for danger in dangers]
        return Plan(
            self._name,
            drift.changes + plans.changes(changes),
            Consent.YES,
            losses=plans.losses(changes),
            notes=tuple(notes),
            samples=samples,
            refusals=tuple(Change(danger.verb, danger.logical_id, str(danger)) for danger in dangers),
            work=work,
        )

    def apply(self, plan: Plan) -> Iterator[Event]:
        """Publish the artifacts, execute the plan's change set, then do the second pass and repair drift."""
        if plan.refusals:
            raise Refused(f"deploy {self._name}: {plan.refusals[0].detail}", hint="see --allow-replacement")
        work: Work = plan.work
        found = describe(self._cfn, self._name)
        if found is not None:
            self._preflight.ours(found)
        relaid = found is not None and bool(found.outputs) and parameters.relaid(found.parameters, work.values)
        grown = found is not None and bool(found.outputs) and parameters.grown(found.parameters, work.values)
        if found is not None and unfinished(found):
            yield from self._operations.clean(found)
            template = Template.read(self._release.template())
            kept = self._preflight.kept(self._session.account()).parameters()
            work.values = parameters.merged(template, work.values, kept)
            work.change_set = self._change_set(None, template, work.values)
        yield from self._release.publish()
        if work.change_set is not None:
            yield from self._execute(work, work.change_set)
        yield from self._second_pass(work)
        after = describe(self._cfn, self._name)
        if after is not None:
            yield from self._drift.repair(after)
        if relaid:
            yield from self._drift.start_fresh()
        elif grown:
            yield Event("flink", Phase.NOTE, "it starts again, to read the new partitions from the beginning")
            yield from self._drift.flink.stop()

    def discard(self, plan: Plan) -> None:
        """Remove the plan's change set unless it was executed, and the empty stack around a first one."""
        if plan.work is not None:
            self._discard(plan.work)

    def attach(self) -> Iterator[Event]:
        """Follow the running operation to its end, then do the second pass if it is due."""
        self._preflight.credentials()
        found = describe(self._cfn, self._name)
        if found is None:
            raise NotDeployed(f"stack {self._name}: not deployed", hint="run `fraudctl deploy` first")
        self._preflight.ours(found)
        if found.status == "DELETE_IN_PROGRESS":
            raise Refused(f"stack {self._name}: it is being torn down", hint="`fraudctl teardown` follows that")
        ended = f"no operation is running; the last one ended in {found.status}"
        if found.busy:
            operation = latest(self._cfn, found.id, self._name)
            yield Event(self._name, Phase.NOTE, f"following {found.status}")
            yield from self._operations.follow(operation, "deploy")
        elif found.status == BACK or unfinished(found):
            yield Event(self._name, Phase.NOTE, ended)
            yield from self._operations.failed(found)
        elif found.status in GOOD:
            yield Event(self._name, Phase.NOTE, ended)
        else:
            self._preflight.state(found)
            raise OperationFailed(f"stack {self._name}: {ended}", hint="run `fraudctl deploy`")
        work = Work()
        try:
            yield from self._second_pass(work)
        finally:
            self._discard(work)

    def continue_rollback(self, skip: Sequence[str] = ()) -> Iterator[Event]:
        """Continue a rollback that got stuck; raises `NotDeployed` or `Refused` when none is."""
        self._preflight.credentials()
        found = describe(self._cfn, self._name)
        if found is None:
            raise NotDeployed(f"stack {self._name}: not deployed", hint="run `fraudctl deploy` first")
        self._preflight.ours(found)
        if found.status != "UPDATE_ROLLBACK_FAILED":
            raise Refused(f"stack {self._name}: no rollback is stuck ({found.status})", hint="run `fraudctl deploy`")
        yield from self._operations.continue_rollback(found, skip)

    def plan_teardown(self, *, keep_data: bool) -> Plan:
        """Return what would be removed and lost; raises `NotDeployed` or `Refused`."""
        account = self._preflight.credentials()
        return self._teardown(account).plan(keep_data=keep_data)

    def teardown(self, plan: Plan) -> Iterator[Event]:
        """Remove the stack as planned, then prove by tag and by name that nothing of it is left."""
        yield from self._teardown(self._session.account()).run(plan)

    def outputs(self) -> Outputs:
        """Return the stack's outputs; raises `NotDeployed`."""
        found = describe(self._cfn, self._name)
        if found is None:
            raise NotDeployed(
                f"stack {self._name}: not deployed in {self._session.region}",
                hint="run `fraudctl deploy` first, or say where it is with --region",
            )
        named = found.outputs
        own = ("BootstrapServers", "AuditTableName", "FlinkApplicationName", "HoldMs", "SlackMs")
        if missing := [name for name in own if name not in named]:
            raise older.lacking(found, missing)
        return Outputs(
            stack=self._name,
            target="aws",
            bootstrap_servers=named["BootstrapServers"],
            audit_table=named["AuditTableName"],
            flink_application=named["FlinkApplicationName"],
            hold_ms=int(named["HoldMs"]),
            slack_ms=int(named["SlackMs"]),
            extra={name: value for name, value in named.items() if name not in own},
        )

    def paused(self) -> Paused | None:
        """Return since when it is paused, as a tag of the application says; None when not, or not deployed."""
        found = describe(self._cfn, self._name)
        return self._pausing.paused() if found is not None and "FlinkApplicationName" in found.outputs else None

    def mark(self, paused: Paused | None) -> None:
        """Set that tag, or remove it."""
        self._pausing.mark(paused)

    def pause(self) -> Iterator[Event]:
        """Disable the event source mapping."""
        return self._pausing.switch(self._mapping(), on=False)

    def resume(self) -> Iterator[Event]:
        """Enable the event source mapping."""
        return self._pausing.switch(self._mapping(), on=True)

    def saving(self) -> Sequence[str]:
        """Return what a pause saves an hour and what goes on: MSK cannot be paused."""
        found = describe(self._cfn, self._name)
        template = Template.read(self._release.template())
        return pausing.saving({**template.defaults, **(found.parameters if found else {})})

    @property
    def _pausing(self) -> pausing.Pausing:
        return pausing.Pausing(self._session, self._clock, self._drift.flink)

    def _mapping(self) -> str:
        return older.output(self.outputs(), "EventSourceMappingId", "event source mapping")

    @property
    def _cfn(self) -> Any:  # noqa: ANN401 - a boto3 client
        return self._session.client("cloudformation")

    @property
    def _operations(self) -> Operations:
        return Operations(self._cfn, self._clock, self._name, self._token)

    @property
    def _sets(self) -> ChangeSets:
        return ChangeSets(self._cfn, self._clock)

    def _teardown(self, account: str) -> Teardown:
        return Teardown(self._session, self._clock, self._name, account, self._release)

    def _wanted(
        self,
        template: Template,
        found: Described | None,
        kept: Mapping[str, str],
        options: Options,
        *,
        samples: bool | None,
    ) -> dict[str, str]:
        before = older.parameters(found) if found is not None and found.outputs else {}
        known: dict[str, str] = {}
        if arn := (found.outputs.get("ClusterArn") if found else None):
            known = {BOOTSTRAP: servers} if (servers := brokers(self._session.client("kafka"), arn)) else {}
        flow = {} if samples is None else {SAMPLES: ENABLED[samples]}
        layers = (before, kept, self._given, options.parameters, flow, known, self._release.parameters())
        values = parameters.merged(template, *layers)
        if found is not None and before:
            values = parameters.merged(template, values, older.zones(self._session, found, template.names))
        chosen = Placement(self._session).missing(template.names, {**template.defaults, **values}, before)
        return parameters.merged(template, values, chosen, options.parameters)

    def _change_set(
        self, found: Described | None, template: Template, values: Mapping[str, str], *, revert_drift: bool = False
    ) -> ChangeSet | None:
        new = found is None or found.status == "REVIEW_IN_PROGRESS"
        try:
            return self._sets.create(
                Request(
                    stack=self._name,
                    kind="CREATE" if new else "UPDATE",
                    parameters=values,
                    tags=Names(self._name).tags,
                    body=template.body,
                    url=self._release.template_url(template.body),
                    revert_drift=revert_drift,
                    previous=frozenset(
                        name
                        for name, value in values.items()
                        if found is not None and not new and found.parameters.get(name) == value
                    ),
                )
            )
        except BaseException:
            self._release.withdraw()
            raise

    def _plan_anew(
        self, found: Described, template: Template, notes: list[str], work: Work, *, samples: bool | None
    ) -> Plan:
        why = f"a first deploy failed and left it in {found.status}"
        notes += self._bill(template, work.values)
        return Plan(
            self._name,
            (Change("remove", self._name, why), Change("create", self._name, "everything in the template, anew")),
            Consent.YES,
            notes=tuple(notes),
            samples=samples,
            work=work,
        )

    def _bill(self, template: Template, values: Mapping[str, str]) -> list[str]:
        return plans.bill(self._release.costs({**template.defaults, **values}))

    def _notes(self, found: Described | None, template: Template, work: Work) -> list[str]:
        before = found.parameters if found is not None else {}
        notes = [
            f"{name}: {before[name]} → {value}"
            for name, value in work.values.items()
            if name in before and before[name] != value
        ]
        if parameters.relaid(before, work.values):
            notes.append("the application starts without its state and reads both input topics from the beginning")
        notes += self._bill(template, work.values)
        pending = work.change_set.changes if work.change_set else ()
        expected = plans.minutes(pending) + (5 if found is None else 0)
        if pending:
            notes.append(f"expected to take about {expected} min")
        left = self._preflight.minutes_left()
        if left is not None and left < expected:
            notes.append(
                f"the credentials expire in {left:.0f} min, before that: AWS goes on without them, "
                "and `fraudctl deploy --attach` follows it"
            )
        return notes

    def _execute(self, work: Work, change_set: ChangeSet) -> Iterator[Event]:
        steps = self._operations.execute(change_set)
        yield next(steps)  # it was started: no longer to be discarded
        work.change_set = None
        yield from steps

    def _discard(self, work: Work) -> None:
        change_set, work.change_set = work.change_set, None
        if change_set is not None:
            self._sets.discard(change_set)
        self._release.withdraw()

    def _second_pass(self, work: Work) -> Iterator[Event]:
        """Hand the bootstrap string, which exists since the first pass, to the stack as a parameter."""
        found = describe(self._cfn, self._name)
        if found is None or not (arn := found.outputs.get("ClusterArn")):
            raise OperationFailed(f"stack {self._name}: it has no cluster", hint="run `fraudctl deploy`")
        servers = brokers(self._session.client("kafka"), arn)
        if servers is None:
            raise OperationFailed(
                f"cluster of {self._name}: it has no bootstrap servers for IAM yet", hint="run `fraudctl deploy` again"
            )
        if found.parameters.get(BOOTSTRAP, PENDING) == servers:
            return
        yield Event(self._name, Phase.NOTE, "second pass: the brokers' addresses")
        template = Template.read(self._release.template())
        work.values = parameters.merged(template, found.parameters, {BOOTSTRAP: servers})
        work.change_set = self._change_set(found, template, work.values)
        if work.change_set is None:
            return
        if dangers := guard.dangers(work.change_set.changes, work.allowed):
            raise Refused(f"second pass of {self._name}: {dangers[0]}", hint="run `fraudctl deploy --plan`")
        yield from self._execute(work, work.change_set)
