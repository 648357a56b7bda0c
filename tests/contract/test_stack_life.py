"""One life of a stack, the same on both targets: real processes here, an emulated CloudFormation there."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from emulated import REGION, Emulator, running
from executable import eventually

from fraudctl import config
from fraudctl.aws.session import AwsSession
from fraudctl.aws.target import AwsTarget
from fraudctl.errors import BadConfig, NotDeployed, OperationFailed, Unreachable
from fraudctl.local.target import LocalTarget
from fraudctl.services import deploy
from fraudctl.target import Consent, Event, Options, Phase, Plan, Target

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

STACK = "contract"


@dataclass(frozen=True)
class Place:
    """A target, and how to break its Kafka so that a deploy fails, and to repair it."""

    target: Target
    broken: str
    spoil: Callable[[], None]
    repair: Callable[[], None]

    def plan(self) -> Plan:
        """Plan and leave nothing behind."""
        list(self.target.stack.prepare())
        plan = self.target.stack.plan()
        self.target.stack.discard(plan)
        return plan

    def is_up_to_date(self) -> bool:
        """Whether nothing is left to do; a Kafka that has just started may not answer every question yet."""
        try:
            return self.plan().changes == ()
        except (OperationFailed, Unreachable, NotDeployed):
            return False

    def deploy(self) -> list[Event]:
        """Deploy as the command does."""
        with self.target.lock():
            plan = self.target.stack.plan()
            try:
                return list(deploy.run(self.target, plan))
            finally:
                self.target.stack.discard(plan)

    def teardown(self, *, keep_data: bool = False) -> list[Event]:
        """Tear down as the command does."""
        with self.target.lock():
            plan = self.target.stack.plan_teardown(keep_data=keep_data)
            return list(self.target.stack.teardown(plan))


@contextmanager
def local(folder: Path) -> Iterator[Place]:
    """The local target with a home of its own; data of another Kafka breaks it."""
    variables = {"FRAUDCTL_HOME": str(folder / "home"), "FRAUDCTL_CACHE": os.environ.get("FRAUDCTL_CACHE", "")}
    settings = config.load({"stack": STACK}, environment=variables, folder=folder)
    data = folder / "home" / "stacks" / STACK / "data" / "kafka"

    def spoil() -> None:
        data.mkdir(parents=True)
        (data / "meta.properties").write_text("version=1\ncluster.id=another\nnode.id=77\n", encoding="ascii")

    place = Place(LocalTarget(settings), "kafka", spoil, lambda: shutil.rmtree(data))
    try:
        yield place
    finally:
        if (folder / "home" / "stacks" / STACK).exists():
            place.teardown()


@contextmanager
def aws(folder: Path) -> Iterator[Place]:
    """The AWS target on an emulator; its cluster can be made to fail."""
    variables = {"FRAUDCTL_HOME": str(folder / "home"), "FRAUDCTL_CACHE": os.environ.get("FRAUDCTL_CACHE", "")}
    settings = config.load({"stack": STACK, "target": "aws"}, environment=variables, folder=folder)
    with running(folder) as emulator:
        target = AwsTarget(settings, AwsSession(REGION, None, emulator.client))
        yield Place(target, "Cluster", lambda: _spoil(emulator), emulator.heal)


def _spoil(emulator: Emulator) -> None:
    emulator.fail("create", "Cluster", "broken on purpose")


@pytest.fixture(params=[local, aws], ids=["local", "aws"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each target in turn, with nothing deployed."""
    with request.param(tmp_path) as found:
        yield found


def test_without_a_stack(place: Place) -> None:
    """Whatever needs one says so; what one target does not have, or nobody knows, is usage; planning leaves nothing."""
    stack = place.target.stack
    with pytest.raises(NotDeployed):
        stack.outputs()
    with pytest.raises(NotDeployed):
        stack.plan_teardown(keep_data=False)
    with pytest.raises(NotDeployed):
        list(stack.attach())
    with pytest.raises(NotDeployed):
        list(stack.continue_rollback())
    with pytest.raises(BadConfig):
        stack.plan(options=Options({"Nonsense": "1"}))
    first, second = place.plan(), place.plan()
    assert first.changes == second.changes != ()
    assert not first.refusals
    with pytest.raises(NotDeployed):
        stack.outputs()


def test_deploy_fail_retry_keep_and_remove(place: Place) -> None:
    """A broken Kafka fails the deploy by name; repaired, it works; data kept is found again; then nothing is left."""
    stack = place.target.stack
    place.spoil()
    with pytest.raises(OperationFailed, match=place.broken) as caught:
        place.deploy()
    assert caught.value.hint
    with pytest.raises(NotDeployed):
        stack.outputs()
    if isinstance(place.target, LocalTarget):  # what the error sends people to, deployed or not
        assert any("node id 77" in line for line in place.target.logs.lines("kafka", last=10_000, follow=False))

    place.repair()
    told = place.deploy()
    assert told[-1] == Event("samples", Phase.DONE, "10 sample transactions a second")
    outputs = stack.outputs()
    assert (outputs.stack, outputs.audit_table, outputs.hold_ms) == (STACK, f"{STACK}-audit", 60_000)
    assert outputs.bootstrap_servers
    eventually(place.is_up_to_date)
    assert list(place.target.flink.start())[-1].phase is Phase.DONE  # already so

    assert stack.plan_teardown(keep_data=False).consent is not Consent.NONE
    assert stack.plan_teardown(keep_data=False).losses
    place.teardown(keep_data=True)
    with pytest.raises(NotDeployed):
        stack.outputs()
    place.deploy()
    eventually(place.is_up_to_date)
    place.teardown()
    with pytest.raises(NotDeployed):
        stack.plan_teardown(keep_data=False)
