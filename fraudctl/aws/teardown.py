"""Teardown: stop what makes data or delays the deletion, delete, then prove by name and by tag that nothing is left."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from fraudctl.aws.cloudformation import diagnosis
from fraudctl.aws.cloudformation.describe import Described, Resource, describe, resources
from fraudctl.aws.cloudformation.events import Followed, Operation, follow, going_on, latest
from fraudctl.aws.errors import asking
from fraudctl.aws.names import Names
from fraudctl.aws.preflight import Preflight
from fraudctl.aws.release import Release
from fraudctl.aws.resources import event_source_mapping, table
from fraudctl.aws.resources.bucket import ArtifactBucket
from fraudctl.aws.resources.flink import AwsFlink
from fraudctl.aws.resources.leftovers import Leftover, Leftovers
from fraudctl.aws.resources.schedule import AwsSchedule
from fraudctl.aws.session import AwsSession
from fraudctl.clock import Clock
from fraudctl.errors import FraudctlError, NotAsAsked, NotDeployed, Refused
from fraudctl.pipeline import topics
from fraudctl.target import Change, Consent, Event, Phase, Plan

_ATTEMPTS: Final = 3
_GONE: Final = "DELETE_COMPLETE"
_PROOF_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Teardown:
    """Plans and runs the removal of one stack with all that belongs to it."""

    session: AwsSession
    clock: Clock
    stack: str
    account: str
    release: Release

    def plan(self, *, keep_data: bool) -> Plan:
        """Return what would be removed and what is lost with it; raises `NotDeployed` or `Refused`."""
        found = describe(self.session.client("cloudformation"), self.stack)
        if found is None or found.status == "REVIEW_IN_PROGRESS":  # no stack, or a shell, vouches for the data
            kept = self._preflight.kept(self.account)  # ours, by tag and by account
            if found is None and (keep_data or kept.parameters() == {}):
                raise NotDeployed(f"stack {self.stack}: not deployed", hint="run `fraudctl deploy` first")
        if found is not None:
            self._may(found, keep_data=keep_data)
        rows = table.rows(self.session.client("dynamodb"), self._table)
        changes = [] if found is None else [Change("remove", self.stack, f"the stack ({found.status})")]
        where = "keep" if keep_data else "remove"
        if rows is not None:
            changes.append(Change(where, self._table, f"the audit table, about {rows} rows"))
        if self._bucket.exists():
            changes.append(Change(where, self._bucket.name, "what the audit writer could not write"))
        losses = [f"every record in {', '.join(topic.name for topic in topics.ALL)}"] if found else []
        losses += ["the application's state and snapshots"] if found else []
        if not keep_data:
            losses += [f"about {rows} audit rows (counted within the last 6 h)"] if rows is not None else []
        notes = [f"stack {self.stack} in account {self.account}, region {self.session.region}"]
        notes.append("expected to take 15 to 60 min: the cluster, then the network interfaces")
        return Plan(self.stack, tuple(changes), Consent.NAME, tuple(losses), tuple(notes), keep_data=keep_data)

    def run(self, plan: Plan) -> Iterator[Event]:
        """Remove it as planned, then prove it gone; raises `NotAsAsked` naming what is left with its command."""
        found = describe(self.session.client("cloudformation"), self.stack)
        vpc = ""
        if found is not None:
            self._preflight.ours(found)
            inside = list(resources(self.session.client("cloudformation"), found.id))
            vpc = next((item.physical_id for item in inside if item.type == "AWS::EC2::VPC"), "")
            if found.status != "DELETE_IN_PROGRESS":
                yield from self._stop(inside)
            yield from self._delete(found, vpc)
        if not plan.keep_data:
            yield from table.delete(self.session.client("dynamodb"), self.clock, self._table)
            yield Event(self._bucket.name, Phase.STARTED, "emptying the bucket, all versions")
            existed = self._bucket.delete()
            yield Event(self._bucket.name, Phase.DONE, "removed" if existed else "not there")
        yield from self.release.remove()
        yield from self._prove(vpc, keep_data=plan.keep_data)

    @property
    def _preflight(self) -> Preflight:
        return Preflight(self.session, self.clock, self.stack)

    @property
    def _names(self) -> Names:
        return Names(self.stack)

    @property
    def _table(self) -> str:
        return self._names.audit_table

    @property
    def _bucket(self) -> ArtifactBucket:
        name = self._names.on_failure_bucket(self.account, self.session.region)
        return ArtifactBucket(self.session, name, account=self.account, clock=self.clock)

    def _leftovers(self, vpc: str, kept: frozenset[str] = frozenset()) -> Leftovers:
        return Leftovers(self.session, self._names, self.account, vpc, kept)

    def _may(self, found: Described, *, keep_data: bool) -> None:
        self._preflight.ours(found)
        if found.busy and found.status != "DELETE_IN_PROGRESS":
            raise Refused(
                f"stack {self.stack}: an operation is running ({found.status})",
                hint="`fraudctl deploy --attach` follows it to its end",
            )
        if found.protected:
            raise Refused(
                f"stack {self.stack}: its termination protection is on",
                hint="`aws cloudformation update-termination-protection --no-enable-termination-protection "
                f"--stack-name {self.stack} --region {self.session.region}` switches it off",
            )
        if found.parameters.get("RetainData") == "true" and not keep_data:
            raise Refused(
                f"stack {self.stack}: its data is protected (RetainData)",
                hint="add --keep-data, or `fraudctl deploy --set RetainData=false` first",
            )

    def _stop(self, inside: list[Resource]) -> Iterator[Event]:
        """Stop what makes data or delays the deletion: schedule, mapping, application."""
        by_type = {item.type: item.physical_id for item in inside if item.physical_id and _is_there(item)}
        if name := by_type.get("AWS::Scheduler::Schedule"):
            yield from self._tolerant("schedule", self._stop_schedule(name))
        if uuid := by_type.get("AWS::Lambda::EventSourceMapping"):
            client = self.session.client("lambda")
            yield from self._tolerant("mapping", event_source_mapping.switch(client, self.clock, uuid, on=False))
        if name := by_type.get("AWS::KinesisAnalyticsV2::Application"):
            yield from self._tolerant("flink", self._stop_flink(name))

    def _tolerant(self, what: str, steps: Iterator[Event]) -> Iterator[Event]:
        """Go on when a preparation fails: deleting the stack will say what really stands in the way."""
        try:
            yield from steps
        except FraudctlError as error:
            if error.exit_code == 4:  # noqa: PLR2004 - credentials or network: the rest would fail alike
                raise
            yield Event(what, Phase.NOTE, f"{error}; going on without it")
            yield Event(what, Phase.DONE, "left as it is")

    def _stop_schedule(self, name: str) -> Iterator[Event]:
        AwsSchedule(lambda: self.session.client("scheduler"), lambda: name).stop()
        yield Event("schedule", Phase.DONE, "off")

    def _stop_flink(self, name: str) -> Iterator[Event]:
        client = self.session.client("kinesisanalyticsv2")
        flink = AwsFlink(lambda: client, lambda: name, self.clock)
        yield from flink.stop(savepoint=False)
        snapshots = flink.savepoints()
        for snapshot in snapshots:  # they are billed, and nothing deletes them by itself
            with asking(f"snapshot {snapshot.location}"):
                client.delete_application_snapshot(
                    ApplicationName=name,
                    SnapshotName=snapshot.location,
                    SnapshotCreationTimestamp=snapshot.created_at / 1000,
                )
        if not snapshots:
            return
        for _ in self.clock.poll(_POLL_SECONDS, within=_PROOF_SECONDS):
            if not flink.snapshots():
                break
            yield Event("flink", Phase.PROGRESS, "deleting snapshots")
        yield Event("flink", Phase.DONE, f"stopped, {len(snapshots)} snapshots deleted")

    def _delete(self, found: Described, vpc: str) -> Iterator[Event]:
        cfn = self.session.client("cloudformation")
        operation = None
        if found.status == "DELETE_IN_PROGRESS":
            operation = replace(latest(cfn, found.id, self.stack), resume="`fraudctl teardown`")
            yield Event(self.stack, Phase.NOTE, "it is being deleted already; following that")
        for attempt in range(1, _ATTEMPTS + 1):
            if operation is None:
                token = f"fraudctl-teardown-{int(self.clock.now() * 1000)}"
                operation = Operation(found.id, self.stack, token, resume="`fraudctl teardown`")
                with asking(f"stack {self.stack}"):
                    cfn.delete_stack(StackName=found.id, ClientRequestToken=operation.token)
            ended = Followed()
            yield Event(self.stack, Phase.STARTED, "removing")
            try:
                yield from follow(cfn, self.clock, operation, ended)
            except KeyboardInterrupt:
                yield Event(self.stack, Phase.NOTE, going_on(operation, ended))
                raise
            if ended.status == _GONE:
                yield Event(self.stack, Phase.DONE, "removed")
                return
            error = diagnosis.explain(cfn, operation, ended, doing="teardown")
            if attempt == _ATTEMPTS:
                raise error
            yield Event(self.stack, Phase.NOTE, f"{error}; trying again")
            yield from self._free_interfaces(vpc)
            operation = None

    def _free_interfaces(self, vpc: str) -> Iterator[Event]:
        """Delete the network interfaces that nothing uses any more and that hold subnets and groups back."""
        ec2: Any = self.session.client("ec2")
        for item in self._leftovers(vpc).interfaces():
            if item["Status"] == "available":
                name = item["NetworkInterfaceId"]
                with asking(f"network interface {name}"):
                    ec2.delete_network_interface(NetworkInterfaceId=name)
                yield Event(name, Phase.DONE, "unused network interface deleted")

    def _prove(self, vpc: str, *, keep_data: bool) -> Iterator[Event]:
        kept = frozenset({self._table, self._bucket.name}) if keep_data else frozenset()
        leftovers = self._leftovers(vpc, kept)
        for name in leftovers.log_groups():
            with asking(f"log group {name}"):
                self.session.client("logs").delete_log_group(logGroupName=name)
            yield Event(name, Phase.DONE, "log group deleted")
        yield Event("proof", Phase.STARTED, "looking for what is left")
        found: list[Leftover] = []
        # Lists lag behind deletions by seconds; what is still there after two minutes is left.
        for _ in self.clock.poll(_POLL_SECONDS, within=_PROOF_SECONDS):
            if not (found := leftovers.find()):
                break
            yield Event("proof", Phase.PROGRESS, f"{len(found)} resources are still listed")
        else:
            lines = "\n  ".join(str(item) for item in found)
            raise NotAsAsked(
                f"stack {self.stack}: removed, but this is left and may cost money:\n  {lines}",
                hint="run those commands; `fraudctl teardown` looks again",
            )
        yield Event("proof", Phase.DONE, "nothing is left" + (", but the data that was kept" if keep_data else ""))


def _is_there(resource: Resource) -> bool:
    return resource.status not in {"DELETE_COMPLETE", "DELETE_SKIPPED", "CREATE_FAILED"}
