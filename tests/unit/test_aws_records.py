"""Writing on AWS: in batches that Lambda takes, counted exactly, also where one of them fails."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from stubs import FakeTime

from fraudctl.aws.errors import Throttled
from fraudctl.aws.resources.reader import TopicReader
from fraudctl.aws.resources.records import AwsRecords
from fraudctl.errors import TimedOut, Unreachable
from fraudctl.pipeline import topics, wire
from fraudctl.target import Outgoing

TOPIC = topics.TRANSACTIONS.name


class Functions:
    """The functions, as far as `AwsRecords` uses them; `answer` is given each batch's number and size."""

    def __init__(self, answer: Callable[[int, int], Any] = lambda _, size: {"delivered": size}) -> None:
        """Store what they answer."""
        self.answer, self.batches, self.counts = answer, list[list[Any]](), list[int]()

    def invoke(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Take a batch, or a count."""
        if name == "SampleTransactionGenerator":
            self.counts.append(payload["count"])
            return dict(self.answer(len(self.counts), payload["count"]))
        assert (name, payload["topic"]) == ("TopicWriter", TOPIC)
        batch = list(wire.unpacked_contents(payload["records"]))
        answer = self.answer(len(self.batches) + 1, len(batch))
        self.batches.append(batch)
        return {"failed": 0, "reasons": [], **answer}


def records(functions: Functions, time: FakeTime | None = None) -> AwsRecords:
    """Return the records of a stack with these functions."""
    clock = (time or FakeTime()).clock()
    found: Any = functions
    return AwsRecords(TopicReader(found.invoke, clock), found, clock)


def outgoing(number: int, size: int = 200) -> Iterator[Outgoing]:
    """Yield so many records."""
    return (Outgoing(b"%d" % n, b"x" * size, (("n", b"%d" % n),)) for n in range(number))


def test_batches_are_full_and_whole() -> None:
    """Each record once, in order, with its headers; the first alone, so that what is wrong shows at once."""
    functions = Functions()
    report = records(functions).write(TOPIC, outgoing(50_000))
    assert (report.delivered, report.failed, report.stopped) == (50_000, 0, "")
    assert [int(key) for batch in functions.batches for key, _, _ in batch] == list(range(50_000))
    assert functions.batches[1][0] == (b"1", b"x" * 200, (("n", b"1"),))
    sizes = [sum(wire.size(*record) for record in batch) for batch in functions.batches]
    assert len(functions.batches[0]) == 1
    assert all(wire.ROOM_BYTES - 300 < size <= wire.ROOM_BYTES for size in sizes[1:-1])
    large = Functions()
    records(large).write(TOPIC, outgoing(9, 1_048_000))
    assert [len(batch) for batch in large.batches] == [1, 3, 3, 2]


def test_slow_records_are_not_held_back() -> None:
    """At a rate given, a record goes half a second after the last batch, not with a full batch."""
    time, functions = FakeTime(), Functions()

    def slowly() -> Iterator[Outgoing]:
        for record in outgoing(9):
            time.at += 0.2
            yield record

    assert records(functions, time).write(TOPIC, slowly()).delivered == 9
    assert max(map(len, functions.batches)) <= 3


def test_what_kafka_refuses_is_counted_and_the_write_goes_on() -> None:
    """Each reason once."""
    functions = Functions(lambda _, size: {"delivered": size - 1, "failed": 1, "reasons": ["too large"]})
    report = records(functions).write(TOPIC, outgoing(30_000))
    assert (report.delivered, report.failed) == (30_000 - len(functions.batches), len(functions.batches))
    assert report.reasons == ("too large",)


@pytest.mark.parametrize("error", [Throttled("TopicWriter: throttled"), TimedOut("TopicWriter: no answer in time")])
def test_a_batch_whose_end_is_not_known_stops_the_write(error: Exception) -> None:
    """What was confirmed before counts, exactly; the batch is not sent again."""

    def answer(number: int, size: int) -> dict[str, Any]:
        if number == 3:
            raise error
        return {"delivered": size}

    functions = Functions(answer)
    report = records(functions).write(TOPIC, outgoing(60_000))
    assert report.stopped == str(error)
    assert report.delivered == sum(map(len, functions.batches)) > 10_000


def test_ctrl_c_in_the_middle_of_a_batch_counts_those_before() -> None:
    """A second Ctrl-C does not wait for an answer."""

    def answer(number: int, size: int) -> dict[str, Any]:
        if number == 2:
            raise KeyboardInterrupt
        return {"delivered": size}

    report = records(Functions(answer)).write(TOPIC, outgoing(10))
    assert (report.delivered, report.stopped) == (1, "interrupted")


def test_an_error_of_the_first_batch_is_the_error() -> None:
    """Nothing was written: there is nothing to count."""

    def answer(_number: int, _size: int) -> Any:
        raise Unreachable("TopicWriter: not allowed")

    with pytest.raises(Unreachable, match="not allowed"):
        records(Functions(answer)).write(TOPIC, outgoing(10))
    with pytest.raises(Unreachable, match="not allowed"):
        list(records(Functions(answer)).generate(10))


def test_generating_in_parts() -> None:
    """Until there are enough, also where one part is cut short by its time; none in a part ends it."""
    functions = Functions(lambda number, count: {"sent": count if number != 2 else 5})
    assert [part.delivered for part in records(functions).generate(45_000)] == [20_000, 5, 20_000, 4_995]
    assert functions.counts == [20_000, 20_000, 20_000, 4_995]
    assert list(records(Functions()).generate(0)) == []
    stuck = Functions(lambda number, count: {"sent": count if number == 1 else 0})
    *_, last = records(stuck).generate(45_000)
    assert "none was written" in last.stopped
