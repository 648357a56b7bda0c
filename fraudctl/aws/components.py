"""The health of every component of a stack on AWS, by asking the service that runs it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from fraudctl.aws.cloudformation.describe import Described, resources
from fraudctl.aws.errors import ConnectionLost, CredentialsExpired, asking
from fraudctl.aws.resources import on_failure
from fraudctl.aws.resources.flink import AwsFlink
from fraudctl.aws.resources.metrics import Metrics
from fraudctl.aws.session import AwsSession, items
from fraudctl.errors import FraudctlError, NotDeployed
from fraudctl.pipeline import names
from fraudctl.target import Component, Health

MAPPING: Final = "audit mapping"
_LAG: Final = "SumOffsetLag"
# msk, msk-cluster-states.md: in these it can be used, and cannot be changed.
_USABLE: Final[Mapping[str, str]] = {
    "ACTIVE": "",
    "HEALING": "AWS is replacing a broker; it can be used, not changed",
    "MAINTENANCE": "AWS is patching its brokers; it can be used, not changed",
    "REBOOTING_BROKER": "a broker reboots; it can be used, not changed",
    "UPDATING": "it is being changed; it can be used",
}
_FLINK: Final[Mapping[str, Health]] = {
    "RUNNING": Health.HEALTHY,
    "STOPPED": Health.STOPPED,
    "STARTING": Health.STARTING,
    "UPDATING": Health.STARTING,
    "ROLLING_BACK": Health.STARTING,
    "AUTOSCALING": Health.STARTING,
    "MAINTENANCE": Health.RESTARTING,
}
_MAPPING: Final[Mapping[str, Health]] = {
    "Enabled": Health.HEALTHY,
    "Creating": Health.STARTING,
    "Enabling": Health.STARTING,
    "Updating": Health.STARTING,
    "Disabled": Health.STOPPED,
    "Disabling": Health.STOPPED,
}


@dataclass(frozen=True, slots=True)
class AwsComponents:
    """Asks about one stack."""

    session: AwsSession
    metrics: Metrics
    flink: AwsFlink
    stack: Described

    def judge(self) -> list[Component]:
        """Return a verdict for every component; one that may not be asked is unhealthy and says why."""
        asked: dict[str, Callable[[str], Component]] = {"kafka": self._cluster}
        asked |= {folder.replace("_", "-"): self._function(short) for folder, short in names.FUNCTIONS.items()}
        asked |= {"flink": self._application, MAPPING: self._mapping, "audit table": self._table}
        if "KafdropInstanceId" in self.stack.outputs:
            asked["kafdrop"] = self._kafdrop
        asked["alarms"] = self._alarms
        return [self._ask(name, question) for name, question in asked.items()]

    def _ask(self, name: str, question: Callable[[str], Component]) -> Component:
        try:
            return question(name)
        except (CredentialsExpired, ConnectionLost):
            raise
        except NotDeployed as error:
            return Component(name, Health.UNHEALTHY, f"{error}; {error.hint}")
        except FraudctlError as error:
            return Component(name, Health.UNHEALTHY, f"not known: {error}")

    def _cluster(self, name: str) -> Component:
        arn = self._output("ClusterArn")
        with asking("cluster"):
            found = self.session.client("kafka").describe_cluster_v2(ClusterArn=arn)["ClusterInfo"]
        state = found["State"]
        common: dict[str, Any] = {
            "version": found.get("Provisioned", {}).get("CurrentBrokerSoftwareInfo", {}).get("KafkaVersion", ""),
            "address": self.stack.outputs.get("BootstrapServers", ""),
        }
        if state in _USABLE:
            why = f"{state}: {_USABLE[state]}" if _USABLE[state] else ""
            return Component(name, Health.HEALTHY, why, **common)
        if state == "CREATING":
            return Component(name, Health.STARTING, "CREATING: clusters take 20 to 35 min", **common)
        why = " ".join(str(found.get("StateInfo", {}).get("Message", "")).split())
        return Component(name, Health.UNHEALTHY, f"{state}{': ' if why else ''}{why}", **common)

    def _function(self, short: str) -> Callable[[str], Component]:
        def ask(name: str) -> Component:
            full = names.function(self.stack.name, short)
            with _existing(f"function {full}"):
                found = self.session.client("lambda").get_function_configuration(FunctionName=full)
            common: dict[str, Any] = {"version": found.get("Runtime", ""), "address": full}
            state, update = found.get("State", "Active"), found.get("LastUpdateStatus", "Successful")
            if state == "Failed" or update == "Failed":
                why = found.get("StateReason") if state == "Failed" else found.get("LastUpdateStatusReason")
                return Component(
                    name, Health.UNHEALTHY, f"{'Failed' if state == 'Failed' else 'update failed'}: {why}", **common
                )
            if state == "Pending" or update == "InProgress":
                why = found.get("StateReason") or "it is being made ready"
                return Component(name, Health.STARTING, f"{state}: {why}", **common)
            if state == "Inactive":
                # lambda, functions-states.md: taken out of the network after weeks without a call.
                return Component(
                    name, Health.HEALTHY, "Inactive: its next call waits until it is in the network again", **common
                )
            return Component(name, Health.HEALTHY, **common)

        return ask

    def _application(self, name: str) -> Component:
        found = self.flink.status()
        health = _FLINK.get(found.state, Health.UNHEALTHY)
        said = [found.note or ""]
        if found.state == "STOPPED":
            said.append("`fraudctl flink start` starts it")
        if found.exception:
            health = Health.RESTARTING if health is Health.HEALTHY and found.metrics.get("restartingMs") else health
            said.append(found.exception)
        if behind := found.metrics.get("recordsLagMax"):
            said.append(f"{behind:,} records behind in a partition, a minute or two ago")
        return Component(
            name,
            health,
            "; ".join(filter(None, said)),
            address=self._output("FlinkApplicationName"),
            restarts=int(found.metrics.get("restarts", 0)),
        )

    def _mapping(self, name: str) -> Component:
        uuid = self._output("EventSourceMappingId")
        with _existing("event source mapping"):
            found = self.session.client("lambda").get_event_source_mapping(UUID=uuid)
        state, result = found["State"], str(found.get("LastProcessingResult") or "")
        health = _MAPPING.get(state, Health.UNHEALTHY)
        problem = result.startswith("PROBLEM")
        if problem and health is Health.HEALTHY:
            health = Health.UNHEALTHY
        reason = str(found.get("StateTransitionReason") or "")
        said = ["" if state == "Enabled" else f"it is {state.lower()}", result if problem else ""]
        said.append(reason if reason not in {"", "USER_INITIATED", "User action"} else "")
        behind = self.metrics.newest("AWS/Lambda", ("EventSourceMappingUUID", uuid), (_LAG,)).get(_LAG)
        said.append(f"{behind:,.0f} records behind, a minute or two ago" if behind else "")
        aside = None
        if bucket := self.stack.outputs.get("OnFailureBucket"):
            aside = on_failure.put_aside(self.session.client("s3"), bucket)
        return Component(name, health, "; ".join(filter(None, said)), address=uuid, put_aside=aside)

    def _table(self, name: str) -> Component:
        table = self._output("AuditTableName")
        with _existing(f"table {table}"):
            found = self.session.client("dynamodb").describe_table(TableName=table)["Table"]
        state = found["TableStatus"]
        usable = state in {"ACTIVE", "UPDATING"}
        health = Health.HEALTHY if usable else Health.STARTING if state == "CREATING" else Health.UNHEALTHY
        return Component(name, health, table if state == "ACTIVE" else f"{table} is {state}")

    def _kafdrop(self, name: str) -> Component:
        instance = self._output("KafdropInstanceId")
        with asking(f"instance {instance}"):
            found = self.session.client("ec2").describe_instances(InstanceIds=[instance])["Reservations"]
        state = next((one["State"]["Name"] for group in found for one in group["Instances"]), "gone")
        health = {"running": Health.HEALTHY, "pending": Health.STARTING, "stopped": Health.STOPPED}.get(
            state, Health.UNHEALTHY
        )
        return Component(name, health, "" if state == "running" else f"its instance is {state}", address=instance)

    def _alarms(self, name: str) -> Component:
        ours = [
            found.physical_id
            for found in resources(self.session.client("cloudformation"), self.stack.id)
            if found.type == "AWS::CloudWatch::Alarm" and found.physical_id
        ]
        if not ours:
            return Component(name, Health.HEALTHY, "none in this stack")
        with asking("alarms"):
            raised = sorted(self._raised(ours))
        if not raised:
            return Component(name, Health.HEALTHY, f"none of {len(ours)} in ALARM")
        return Component(name, Health.UNHEALTHY, "; ".join(raised))

    def _raised(self, alarms: list[str]) -> Iterator[str]:
        found = items(
            self.session.client("cloudwatch"), "describe_alarms", "MetricAlarms", AlarmNames=alarms, StateValue="ALARM"
        )
        for alarm in found:
            short = alarm["AlarmName"].removeprefix(f"{self.stack.name}-")
            yield f"{short}: {alarm.get('AlarmDescription', '')}".removesuffix(": ")

    def _output(self, name: str) -> str:
        if value := self.stack.outputs.get(name):
            return value
        raise NotDeployed(
            f"deployed by an older version, which says no {name}", hint="run `fraudctl deploy --plan`, then deploy"
        )


@contextmanager
def _existing(what: str) -> Iterator[None]:
    """Translate AWS's errors; for what was deleted by hand raises `NotDeployed`."""
    with asking(what):
        try:
            yield
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                raise NotDeployed(f"{what}: it is gone, deleted by hand", hint="run `fraudctl deploy`") from error
            raise
