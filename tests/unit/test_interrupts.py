"""Ctrl-C between two steps of a stream."""

import signal
from collections.abc import Generator

import pytest

from fraudctl.services.interrupts import interruptible


def steps(heard: list[str]) -> Generator[str, None, None]:
    """Give steps; an interrupt is answered, then goes on."""
    try:
        yield "one"
        yield "two"
        heard.append("went on")
    except KeyboardInterrupt:
        yield "goes on elsewhere"
        raise


def test_an_interrupt_while_a_step_is_shown_reaches_the_work() -> None:
    """It answers with one more step, then the interrupt is raised; the handler is put back."""
    before = signal.getsignal(signal.SIGINT)
    heard: list[str] = []
    stream = interruptible(steps(heard))
    assert next(stream) == "one"
    signal.raise_signal(signal.SIGINT)
    assert next(stream) == "goes on elsewhere"
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    assert heard == []
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_inside_the_work_reaches_it_as_usual() -> None:
    """Where the work waits, nothing is put off."""

    def waiting() -> Generator[str, None, None]:
        yield "one"
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            yield "heard"
            raise

    stream = interruptible(waiting())
    assert [next(stream), next(stream)] == ["one", "heard"]
    with pytest.raises(KeyboardInterrupt):
        next(stream)


def test_a_second_interrupt_does_not_wait() -> None:
    """Whoever presses twice is let out."""
    stream = interruptible(steps([]))
    next(stream)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_without_an_interrupt_nothing_changes() -> None:
    """All steps, and the handler is put back."""
    before = signal.getsignal(signal.SIGINT)
    heard: list[str] = []
    assert list(interruptible(steps(heard))) == ["one", "two"]
    assert heard == ["went on"]
    assert signal.getsignal(signal.SIGINT) is before
