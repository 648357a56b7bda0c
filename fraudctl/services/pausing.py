"""Pause and resume: samples, application and what feeds the audit table, off and on again on any target.

Each step is harmless when it is done already, so what was interrupted or failed is finished by the same command again.
What was on is remembered before anything is switched off, and forgotten when everything is on again.
"""

from collections.abc import Generator, Iterator

from fraudctl.clock import Clock
from fraudctl.errors import Refused, Unreachable
from fraudctl.services.interrupts import interruptible
from fraudctl.target import Event, Paused, Phase, Target


def pause(target: Target, clock: Clock) -> Iterator[Event]:
    """Switch off samples, then the application with a snapshot, then the rest. Hold the stack's lock.

    Raises `NotDeployed`, and `Unreachable` for a stack that does not run without being paused.
    """
    return interruptible(_pause(target, clock))


def resume(target: Target) -> Iterator[Event]:
    """Switch on what `pause` switched off, in the opposite order. Hold the stack's lock.

    Raises `NotDeployed`, and `Refused` for a stack that is not paused.
    """
    return interruptible(_resume(target))


def _pause(target: Target, clock: Clock) -> Generator[Event, None, None]:
    running = target.recover()
    if target.stack.paused() is None:
        if not running:
            raise Unreachable(
                f"stack {target.stack.outputs().stack}: it does not run, so it cannot be paused",
                hint="run `fraudctl deploy` to bring it back; its data is intact",
            )
        target.stack.mark(Paused(int(clock.now() * 1000), target.schedule.status().enabled))
    if running:
        target.schedule.stop()
        yield Event("samples", Phase.DONE, "off")
        yield from target.flink.stop()
    yield from target.stack.pause()


def _resume(target: Target) -> Generator[Event, None, None]:
    name = target.stack.outputs().stack
    paused = target.stack.paused()
    if paused is None:
        raise Refused(f"stack {name}: it is not paused", hint="run `fraudctl status`")
    yield from target.stack.resume()
    yield from target.flink.start()
    yield samples(target, paused)
    target.stack.mark(None)


def samples(target: Target, paused: Paused) -> Event:
    """Switch sample transactions on again if they flowed before the pause."""
    if paused.samples:
        target.schedule.start()
    return Event("samples", Phase.DONE, "10 sample transactions a second" if paused.samples else "off, as before")
