"""Ctrl-C between two steps of a stream."""

import signal
from collections.abc import Generator

import pytest

from fraudctl.services.interrupts import interruptible


def steps(happened: list[str]) -> Generator[str, None, None]:
    """Yield steps; an interrupt is answered, then goes on."""
    try:
        yield "one"
        yield "two"
        happened.append("went on")
    except KeyboardInterrupt:
        yield "goes on elsewhere"
        raise


def test_an_interrupt_while_a_step_is_shown_reaches_the_work() -> None:
    """It answers with one more step, then the interrupt is raised; the handler is put back."""
    before = signal.getsignal(signal.SIGINT)
    happened: list[str] = []
    stream = interruptible(steps(happened))
    assert next(stream) == "one"
    signal.raise_signal(signal.SIGINT)
    assert next(stream) == "goes on elsewhere"
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    assert happened == []
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_inside_the_work_reaches_it_as_usual() -> None:
    """Where the work waits, nothing is put off."""

    def waiting() -> Generator[str, None, None]:
        yield "one"
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            yield "answered"
            raise

    stream = interruptible(waiting())
    assert [next(stream), next(stream)] == ["one", "answered"]
    with pytest.raises(KeyboardInterrupt):
        next(stream)


def test_a_second_interrupt_does_not_wait() -> None:
    """It is raised at once."""
    stream = interruptible(steps([]))
    next(stream)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_without_an_interrupt_nothing_changes() -> None:
    """All steps, and the handler is put back."""
    before = signal.getsignal(signal.SIGINT)
    happened: list[str] = []
    assert list(interruptible(steps(happened))) == ["one", "two"]
    assert happened == ["went on"]
    assert signal.getsignal(signal.SIGINT) is before
