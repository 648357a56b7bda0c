"""Pause and resume: on any target in order and repeatable, and what AWS is told."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aws_bench import MAPPING, OUTPUTS, VALUES, Bench
from conftest import Run
from fakes import FakeFlink, FakeSchedule, FakeStack, FakeTarget
from stubs import BEGIN, STACK, Aws, FakeTime, stack

from fraudctl.artifacts.resources import resource
from fraudctl.aws import pausing as on_aws
from fraudctl.aws.cloudformation.parameters import Template
from fraudctl.errors import FraudctlError, OperationFailed, Refused, Unreachable
from fraudctl.local.processes.state import StackState
from fraudctl.services import deploy, pausing
from fraudctl.target import Change, Component, Event, Health, Paused, Plan

APPLICATION = f"{STACK}-detection"
ARN = "arn:aws:kinesisanalytics:eu-west-1:123456789012:application/x"


@dataclass
class Stubborn(FakeFlink):
    """An application that does not stop at first."""

    fails: int = 1

    def stop(self, *, savepoint: bool = True) -> Iterator[Event]:
        """Fail, then stop."""
        self.calls.append(("stop", savepoint))
        if self.fails:
            self.fails -= 1
            raise OperationFailed("flink: no savepoint", hint="run `fraudctl logs flink`")
        yield from super().stop(savepoint=savepoint)


def pause(target: FakeTarget) -> list[Event]:
    """Pause at the script's begin."""
    return list(pausing.pause(target, FakeTime().clock()))


def test_a_pause_remembers_first_and_stops_in_order() -> None:
    """Samples, application with its state, the rest; that it is paused is written down before anything is off."""
    target = FakeTarget()
    pause(target)
    assert target.stack.calls == [("mark", True), "pause"]
    assert target.flink.calls == [("stop", True)]
    assert not target.schedule.on
    assert target.stack.marked == Paused(int(BEGIN * 1000), samples=True)


def test_a_resume_is_the_opposite_and_forgets_last() -> None:
    """What flowed before flows again."""
    target = FakeTarget()
    pause(target)
    list(pausing.resume(target))
    assert target.stack.calls[2:] == ["resume", ("mark", False)]
    assert target.flink.calls[-1] == ("start", False)
    assert target.schedule.on
    with pytest.raises(Refused, match="it is not paused"):
        list(pausing.resume(target))


def test_samples_that_were_off_stay_off() -> None:
    """A pause is no reason to switch them on."""
    target = FakeTarget(schedule=FakeSchedule(on=False))
    pause(target)
    list(pausing.resume(target))
    assert not target.schedule.on


def test_a_pause_that_failed_half_way_is_finished_by_the_same_command() -> None:
    """Samples are off by then; that they were on is remembered all the same."""
    target = FakeTarget(flink=Stubborn())
    with pytest.raises(OperationFailed):
        pause(target)
    assert not target.schedule.on
    assert target.stack.calls == [("mark", True)]
    pause(target)
    assert target.stack.calls == [("mark", True), "pause"]
    assert target.stack.marked == Paused(int(BEGIN * 1000), samples=True)


def test_a_pause_that_was_interrupted_is_finished_by_the_same_command() -> None:
    """Ctrl-C between two steps; nothing is forgotten, and nothing is done twice that would matter."""
    target = FakeTarget()
    steps = pausing._pause(target, FakeTime().clock())
    assert next(steps).component == "samples"
    with pytest.raises(KeyboardInterrupt):
        steps.throw(KeyboardInterrupt())
    assert (target.schedule.on, target.flink.calls) == (False, [])
    pause(target)
    assert target.stack.calls == [("mark", True), "pause"]
    again = pausing._resume(target)
    next(again)
    with pytest.raises(KeyboardInterrupt):
        again.throw(KeyboardInterrupt())
    assert target.stack.marked is not None
    list(pausing.resume(target))
    assert target.schedule.on
    assert target.stack.paused() is None


def test_a_pause_of_what_is_paused_only_looks_for_leftovers() -> None:
    """A local stack does not run then, so there is nothing to ask."""
    target = FakeTarget(running=False, stack=FakeStack(marked=Paused(1, samples=True)))
    pause(target)
    assert (target.stack.calls, target.flink.calls) == (["pause"], [])


def test_a_stack_that_is_down_by_accident_is_not_called_paused() -> None:
    """Nobody knows whether its samples were on."""
    target = FakeTarget(running=False)
    with pytest.raises(Unreachable, match="it does not run, so it cannot be paused"):
        pause(target)
    assert target.stack.marked is None


def test_a_deploy_resumes() -> None:
    """Its plan says so; samples are as before the pause unless it is told otherwise."""
    for asked, on in ((None, True), (False, False)):
        stack_ = FakeStack(plans=[Plan(STACK, (), samples=asked)], marked=Paused(1, samples=True))
        target = FakeTarget(stack=stack_, schedule=FakeSchedule(on=False))
        shown = Shown()
        applied = deploy.deploy(target, shown, samples=asked, confirmed=True)
        assert applied.changes == (Change("resume", "pipeline", "it is paused; a deploy ends with everything running"),)
        assert (target.schedule.on, target.stack.marked) == (on, None)
        assert target.flink.calls == [("start", False)]


@dataclass
class Shown:
    """A display that keeps what it is shown."""

    events_: list[Event] = field(default_factory=list)

    def events(self, events: Any) -> None:
        """Keep them."""
        self.events_ += events

    def plan(self, plan: Plan) -> None:
        """Nothing to show."""

    def consent(self, plan: Plan, question: str, subject: str, *, given: bool) -> None:
        """It is given."""
        del plan, question, subject
        assert given


@dataclass
class Down(FakeTarget):
    """A paused stack, all of it stopped."""

    def components(self) -> list[Component]:
        """Return two components."""
        return [Component("kafka", Health.STOPPED), Component("flink", Health.STOPPED)]


def test_commands_and_status_of_a_paused_stack(run: Run) -> None:
    """Exit 4 for what needs it to run; `status` says paused and since when, with exit 8, and asks nothing else."""
    target = Down(running=False, stack=FakeStack(marked=Paused(1_790_000_000_000, samples=True)))
    done = run(target, "tail", "processed")
    assert (done.code, done.out) == (4, "")
    assert "it is paused" in done.err
    assert "Hint: run `fraudctl resume`" in done.err
    done = run(target, "status")
    assert done.code == 8
    assert "fraud-detection on fake: paused since 2026-09-21T14:13:20.000Z" in done.out
    assert "it is paused" in done.err
    document = json.loads(run(target, "status", output="json").out)
    assert document["paused"] == {"since": "2026-09-21T14:13:20.000Z", "samples": True}
    assert document["problems"] == []
    table = SimpleNamespace(item_count=0)
    target.running, target.table = True, table
    assert "the pause is not finished" not in run(target, "status").err
    unfinished = FakeTarget(stack=FakeStack(marked=Paused(1, samples=True)), table=table)
    unfinished.components = lambda: [Component("flink", Health.HEALTHY)]  # type: ignore[method-assign]
    assert "the pause is not finished: `fraudctl pause` finishes it" in run(unfinished, "status").err


def test_the_commands_say_what_comes_next(run: Run) -> None:
    """What is saved, then the way back."""
    target = FakeTarget()
    done = run(target, "pause")
    assert (done.code, target.locked) == (0, 1)
    assert "saved: $1 an hour" in done.err
    assert done.err.rstrip().endswith("Paused. Next: `fraudctl resume`.")
    done = run(target, "resume")
    assert done.code == 0
    assert "Ready." in done.err


def test_on_aws_the_pause_is_a_tag_of_the_application() -> None:
    """Whoever looks from another machine sees it; the value has no character that a tag may not have."""
    paused = Paused(int(BEGIN * 1000), samples=True)
    tag = {"Key": "fraudctl:paused", "Value": "2026-09-21T14:13:20.000Z samples=on"}
    with Aws() as aws:
        bench, client = Bench(aws), aws.on("kinesisanalyticsv2")
        subject = bench.stack()
        bench.application("RUNNING")
        client.tag_resource(ResourceARN=ARN, Tags=[tag]).returns()
        subject.mark(paused)
        bench.found("UPDATE_COMPLETE")
        bench.application("READY")
        client.list_tags_for_resource(ResourceARN=ARN).returns({"Tags": [tag]})
        assert subject.paused() == paused
        bench.application("READY")
        client.untag_resource(ResourceARN=ARN, TagKeys=["fraudctl:paused"]).returns()
        subject.mark(None)
        bench.found("UPDATE_COMPLETE")
        bench.application("READY")
        client.list_tags_for_resource(ResourceARN=ARN).returns({"Tags": [{"Key": "other", "Value": "x"}]})
        assert subject.paused() is None
        bench.found("UPDATE_COMPLETE")
        bench.application("READY")
        client.list_tags_for_resource(ResourceARN=ARN).returns({"Tags": [{**tag, "Value": "by hand"}]})
        assert subject.paused() == Paused(0, samples=False)
        aws.on("cloudformation").describe_stacks(StackName=STACK).fails("ValidationError", "Stack does not exist")
        assert subject.paused() is None


def test_on_aws_the_mapping_is_switched_and_waited_for() -> None:
    """What is left once samples and application are off, and the first to be on again."""
    with Aws() as aws:
        bench, functions = Bench(aws), aws.on("lambda")
        for wanted, before, step in ((False, "Enabled", "pause"), (True, "Disabled", "resume")):
            bench.found("UPDATE_COMPLETE")
            functions.get_event_source_mapping(UUID=MAPPING).returns({"State": before})
            functions.update_event_source_mapping(UUID=MAPPING, Enabled=wanted).returns()
            after = "Enabled" if wanted else "Disabled"
            functions.get_event_source_mapping(UUID=MAPPING).returns({"State": after})
            told = list(getattr(bench.stack(), step)())
            assert told[-1].detail == after.lower()


def test_what_a_pause_saves() -> None:
    """MSK goes on, and it says so; what is not documented is not promised."""
    template = Template.read((resource("cfn") / "fraud-detection-stack.yaml").read_text(encoding="utf-8"))
    lines = on_aws.saving(template.defaults)
    assert lines[0] == "saved: about $0.24 an hour, for application and samples"
    assert "perhaps saved: $0.185" in lines[1]
    assert lines[2].startswith("still costs: about $0.42 an hour: 2 × kafka.m7g.large")
    assert "cannot be paused" in lines[2]


def test_a_stack_of_an_older_version_has_no_mapping_to_switch() -> None:
    """One line, and the command that brings it up to date."""
    outputs = {key: value for key, value in OUTPUTS.items() if key != "EventSourceMappingId"}
    with Aws() as aws:
        aws.on("cloudformation").describe_stacks(StackName=STACK).returns(
            stack("UPDATE_COMPLETE", outputs=outputs, parameters=VALUES)
        )
        with pytest.raises(FraudctlError, match="deployed by an older version, without event source mapping"):
            Bench(aws).stack().pause()


def test_the_state_of_a_local_stack_keeps_the_pause(tmp_path: Path) -> None:
    """Written and read whole; a state from before has none."""
    path = tmp_path / "stack.json"
    StackState(deployed=True, paused={"since": 1, "samples": False}).save(path)
    found = StackState.load(path)
    assert found is not None
    assert found.paused == {"since": 1, "samples": False}
    path.write_text('{"format": 1, "deployed": true}', encoding="utf-8")
    before = StackState.load(path)
    assert before is not None
    assert before.paused is None
