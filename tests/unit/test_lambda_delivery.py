"""MSK events, their answers, retries and the on-failure destination, without any Kafka."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from fraudctl.local.lambda_runner import batches
from fraudctl.local.lambda_runner.batches import Delivered
from fraudctl.local.lambda_runner.delivery import Delivery, Stopped
from fraudctl.local.lambda_runner.functions import PAYLOAD_LIMIT, Result
from fraudctl.local.lambda_runner.on_failure import OnFailure
from fraudctl.local.lambda_runner.spec import EventSourceMappingSpec
from fraudctl.pipeline import on_failure

Answer = Callable[[dict[str, Any]], Any]


def delivered(offset: int, partition: int = 0, value: bytes | None = b"v", **more: Any) -> Delivered:
    """Give a consumed record."""
    timestamp = (1, 1_795_515_331_000 + offset)
    return Delivered.of(Message("processed_topic", partition, offset, b"1", value, timestamp=timestamp, **more))


def places(event: dict[str, Any]) -> list[tuple[int, int]]:
    """Give partition and offset of an event's records, in the event's order."""
    return [(entry["partition"], entry["offset"]) for entries in event["records"].values() for entry in entries]


def report(*found: tuple[int, int]) -> dict[str, Any]:
    """Give the answer that reports these records as failed."""
    identifiers = [{"partition": f"processed_topic-{partition}", "offset": offset} for partition, offset in found]
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in identifiers]}


class Invoked:
    """Functions whose one function answers what it is told; keeps the events."""

    def __init__(self, *answers: Any) -> None:
        """Answer these in turn, the last one for ever; an exception fails the invocation."""
        self.events: list[dict[str, Any]] = []
        self._answers = list(answers)

    def invoke(self, name: str, event: dict[str, Any]) -> Result:
        """Keep the event and answer."""
        assert name == "writer"
        self.events.append(event)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            error = json.dumps({"errorType": type(answer).__name__, "errorMessage": str(answer)}).encode()
            return Result("id", error, "Unhandled", b"the log\n", 0.0)
        return Result("id", json.dumps(answer).encode(), None, b"the log\n", 0.0)


@pytest.fixture
def pauses() -> list[float]:
    """Keep how long was paused."""
    return []


@pytest.fixture
def make(tmp_path: Path, pauses: list[float]) -> Callable[..., Delivery]:
    """Give a maker of deliveries to the functions, which pause at once."""

    def maker(functions: Any, *, stop_after: int = 1000, **changes: Any) -> Delivery:
        folder = tmp_path / "on failure %"
        spec = EventSourceMappingSpec(
            function="writer",
            topic="processed_topic",
            group="g",
            on_failure=str(folder),
            state_file="unused",
            **changes,
        )

        def pause(seconds: float) -> bool:
            pauses.append(seconds)
            return len(pauses) >= stop_after

        return Delivery(spec, "127.0.0.1:9092", functions, OnFailure(folder, "writer", wall=lambda: 0.0), pause)

    return maker


def files(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Give the on-failure files by name."""
    return {file.name: json.loads(file.read_text()) for file in (tmp_path / "on failure %").glob("*")}


def test_the_event_is_msks() -> None:
    """The event has AWS's shape to the letter: partition lists, base64, timestamp types and headers as numbers."""
    headers = [("error", b"\x00\xff"), ("empty", b""), ("error", b"again")]
    records = [
        delivered(7, 1, b'{"a":"\xc3\xa9"}', headers=headers),
        delivered(3),
        Delivered.of(Message("processed_topic", 1, 8, None, None, timestamp=(2, 5))),
    ]
    event = json.loads(json.dumps(batches.event(records, "127.0.0.1:9092")))
    assert event == {
        "eventSource": "aws:kafka",
        "eventSourceArn": batches.CLUSTER_ARN,
        "bootstrapServers": "127.0.0.1:9092",
        "records": {
            "processed_topic-1": [
                {
                    "topic": "processed_topic",
                    "partition": 1,
                    "offset": 7,
                    "timestamp": 1_795_515_331_007,
                    "timestampType": "CREATE_TIME",
                    "key": "MQ==",
                    "value": "eyJhIjoiw6kifQ==",
                    "headers": [{"error": [0, 255]}, {"empty": []}, {"error": [97, 103, 97, 105, 110]}],
                },
                {
                    "topic": "processed_topic",
                    "partition": 1,
                    "offset": 8,
                    "timestamp": 5,
                    "timestampType": "LOG_APPEND_TIME",
                    "headers": [],
                },
            ],
            "processed_topic-0": [
                {
                    "topic": "processed_topic",
                    "partition": 0,
                    "offset": 3,
                    "timestamp": 1_795_515_331_003,
                    "timestampType": "CREATE_TIME",
                    "key": "MQ==",
                    "value": "dg==",
                    "headers": [],
                },
            ],
        },
    }


def test_events_fit_into_lambdas_payload() -> None:
    """A batch of large records becomes several events below 6 MB, in order; one record alone always goes."""
    records = [delivered(offset, value=b"x" * 1_500_000) for offset in range(7)] + [
        delivered(7, value=b"x" * 6_000_000)
    ]
    parts = list(batches.split(records))
    assert [record for part in parts for record in part] == records
    assert [len(part) for part in parts] == [3, 3, 1, 1]
    assert all(len(json.dumps(batches.event(part, "b"))) <= PAYLOAD_LIMIT for part in parts[:3])
    assert list(batches.split([])) == []


@pytest.mark.parametrize(
    ("answer", "offsets"),
    [
        (None, []),
        ({}, []),
        ({"batchItemFailures": []}, []),
        ({"batchItemFailures": None}, []),
        ({"anything": 1}, []),
        (report((0, 2)), [2]),
        (report((0, 3), (0, 1)), [1, 3]),
        (report((0, 1), (0, 99)), [1, 2, 3]),
        (report((7, 1)), [1, 2, 3]),
        ({"batchItemFailures": [{"itemIdentifier": {"partition": "processed_topic-0"}}]}, [1, 2, 3]),
        ({"batchItemFailures": [{"itemIdentifier": "1"}]}, [1, 2, 3]),
        ({"batchItemFailures": [{}]}, [1, 2, 3]),
        ({"batchItemFailures": 5}, [1, 2, 3]),
        ({"batchItemFailures": [{"itemIdentifier": {"partition": [], "offset": {}}}]}, [1, 2, 3]),
        ("done", [1, 2, 3]),
        ([], [1, 2, 3]),
        (5, [1, 2, 3]),
    ],
)
def test_answers_are_read_as_lambda_reads_them(answer: Any, offsets: list[int]) -> None:
    """Nothing reported is success, named records have failed, and a report that makes no sense fails the batch."""
    records = [delivered(offset) for offset in (1, 2, 3)]
    assert [record.offset for record in batches.failed(answer, records)] == offsets


def test_a_good_batch_is_one_invocation(make: Callable[..., Delivery], pauses: list[float], tmp_path: Path) -> None:
    """Success on the first attempt: one event, no pause, no file."""
    functions = Invoked({"batchItemFailures": []})
    delivery = make(functions)
    assert delivery.last_result == "No records processed"
    delivery.deliver([delivered(0), delivered(1), delivered(5, 1)])
    assert [places(event) for event in functions.events] == [[(0, 0), (0, 1), (1, 5)]]
    assert (delivery.last_result, pauses, files(tmp_path)) == ("OK", [], {})
    counts = delivery.counts
    assert (counts.received, counts.processed, counts.retried, counts.failed, counts.batches) == (3, 3, 0, 0, 1)


def test_only_failed_records_are_tried_again(
    make: Callable[..., Delivery], pauses: list[float], tmp_path: Path
) -> None:
    """A reported record is tried again alone, in order and after growing pauses, until it succeeds."""
    functions = Invoked(report((1, 5), (0, 1)), report((1, 5)), report((1, 5)), {})
    delivery = make(functions, retries=3)
    delivery.deliver([delivered(0), delivered(1), delivered(5, 1)])
    assert [places(event) for event in functions.events] == [
        [(0, 0), (0, 1), (1, 5)],
        [(0, 1), (1, 5)],
        [(1, 5)],
        [(1, 5)],
    ]
    assert pauses == [0.1, 0.2, 0.4]
    assert files(tmp_path) == {}
    assert (delivery.counts.processed, delivery.counts.retried, delivery.counts.failed) == (3, 4, 0)
    assert delivery.last_result == "OK"


def test_records_that_keep_failing_go_on_file(make: Callable[..., Delivery], tmp_path: Path) -> None:
    """After the retries the failed records are a file a partition that holds their whole event and why."""
    functions = Invoked(report((0, 1), (1, 5)))
    delivery = make(functions, retries=2)
    delivery.deliver([delivered(0), delivered(1, value=b"poison"), delivered(5, 1, None)])
    assert len(functions.events) == 3
    first, second = "processed_topic-0.1-1.1.1795515331001.json", "processed_topic-1.5-5.1.1795515331005.json"
    assert set(files(tmp_path)) == {first, second}
    document = files(tmp_path)[first]
    assert json.loads(document["payload"]) == batches.event([delivered(1, value=b"poison")], "127.0.0.1:9092")
    assert document["requestContext"] == {
        "requestId": "id",
        "functionArn": "arn:aws:lambda:local:000000000000:function:writer",
        "condition": "RetryAttemptsExhausted",
        "approximateInvokeCount": 3,
    }
    assert document["responseContext"]["functionError"] is None
    assert document["KafkaBatchInfo"]["recordsInfo"] == {
        "processed_topic-0": {
            "firstRecordOffset": "1",
            "lastRecordOffset": "1",
            "firstRecordTimestamp": "2026-11-24T10:15:31.001Z",
            "lastRecordTimestamp": "2026-11-24T10:15:31.001Z",
        }
    }
    assert document["error"] == "the function reported the record as failed"
    assert document["log"] == "the log\n"
    assert (delivery.counts.processed, delivery.counts.failed) == (1, 2)


def test_no_retries_means_none(make: Callable[..., Delivery], pauses: list[float], tmp_path: Path) -> None:
    """With retries=0 a reported record goes on file after the first attempt."""
    functions = Invoked(report((0, 0)))
    make(functions, retries=0).deliver([delivered(0)])
    assert (len(functions.events), pauses, len(files(tmp_path))) == (1, [], 1)


def test_a_failed_invocation_repeats_the_whole_batch(make: Callable[..., Delivery], pauses: list[float]) -> None:
    """When the function itself fails the whole batch comes again, as often as it takes, with pauses up to 10 s."""
    functions = Invoked(*[ConnectionError("no table")] * 12, {})
    delivery = make(functions, retries=1)
    delivery.deliver([delivered(0), delivered(1)])
    assert [places(event) for event in functions.events] == [[(0, 0), (0, 1)]] * 13
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert max(pauses) == pauses[-1] == 10.0
    assert (delivery.counts.processed, delivery.counts.failed) == (2, 0)


def test_failed_invocations_do_not_use_up_retries(make: Callable[..., Delivery], tmp_path: Path) -> None:
    """An outage between two attempts leaves a reported record its retries."""
    functions = Invoked(report((0, 0)), *[OSError("outage")] * 5, report((0, 0)), {})
    make(functions, retries=2).deliver([delivered(0)])
    assert files(tmp_path) == {}
    assert len(functions.events) == 8


def test_failed_invocations_can_be_limited(make: Callable[..., Delivery], tmp_path: Path) -> None:
    """With a limit for failed invocations the whole batch goes on file, with the function's error."""
    functions = Invoked(ValueError("bug"))
    delivery = make(functions, error_retries=2)
    delivery.deliver([delivered(0), delivered(1)])
    assert len(functions.events) == 3
    ((name, document),) = files(tmp_path).items()
    assert (name, document["error"]) == ("processed_topic-0.0-1.2.1795515331000.json", "bug")
    assert document["responseContext"]["functionError"] == "Unhandled"
    assert places(json.loads(document["payload"])) == [(0, 0), (0, 1)]
    assert document["KafkaBatchInfo"]["recordsInfo"] == {
        "processed_topic-0": {
            "firstRecordOffset": "0",
            "lastRecordOffset": "1",
            "firstRecordTimestamp": "2026-11-24T10:15:31.000Z",
            "lastRecordTimestamp": "2026-11-24T10:15:31.001Z",
        }
    }
    assert delivery.counts.failed == 2


def test_a_stop_between_attempts_leaves_the_batch_undone(make: Callable[..., Delivery], tmp_path: Path) -> None:
    """When the runner stops while a batch is tried again, delivery says so and nothing goes on file."""
    functions = Invoked(ConnectionError("no table"))
    with pytest.raises(Stopped):
        make(functions, stop_after=2).deliver([delivered(0)])
    assert (len(functions.events), files(tmp_path)) == (2, {})


def test_a_full_disk_loses_nothing(make: Callable[..., Delivery], tmp_path: Path, pauses: list[float]) -> None:
    """While the file cannot be written the record is not given up; when it can, it is."""
    (tmp_path / "on failure %").write_text("a file where the folder belongs")
    delivery = make(Invoked(report((0, 0))), retries=0, stop_after=3)
    with pytest.raises(Stopped):
        delivery.deliver([delivered(0)])
    assert (len(pauses), delivery.counts.failed) == (3, 0)
    (tmp_path / "on failure %").unlink()
    delivery.deliver([delivered(0)])
    assert set(files(tmp_path)) == {"processed_topic-0.0-0.1.1795515331000.json"}


def test_giving_up_again_makes_no_second_file(make: Callable[..., Delivery], tmp_path: Path) -> None:
    """A record that is delivered and given up again after a crash is still one file, and is counted once."""
    delivery = make(Invoked(report((0, 0))), retries=0)
    delivery.deliver([delivered(0)])
    delivery.deliver([delivered(0)])
    assert set(files(tmp_path)) == {"processed_topic-0.0-0.1.1795515331000.json"}
    assert OnFailure(tmp_path / "on failure %", "writer").count() == 1
    assert OnFailure(tmp_path / "nowhere", "writer").count() == 0


def test_records_are_counted_not_files(make: Callable[..., Delivery], tmp_path: Path) -> None:
    """A record in several files, as batches are cut otherwise after a crash, counts once; files of old count too."""
    delivery = make(Invoked(ValueError("bug")), error_retries=0)
    delivery.deliver([delivered(offset) for offset in range(10)] + [delivered(3, 1)])
    delivery.deliver([delivered(offset) for offset in range(8, 12)])
    folder = tmp_path / "on failure %"
    assert len(list(folder.iterdir())) == 3
    assert OnFailure(folder, "writer").count() == 12 + 1
    (folder / "processed_topic-0-77.json").write_text(json.dumps({"payload": json.dumps({"records": {}})}))
    (folder / "notes.json").write_text("{}")
    assert OnFailure(folder, "writer").count() == 12 + 1 + 1


def test_a_topic_made_again_overwrites_nothing(make: Callable[..., Delivery], tmp_path: Path) -> None:
    """A record of another time at the offset of an earlier one is another record, with a file of its own."""
    delivery = make(Invoked(report((0, 4))), retries=0)
    delivery.deliver([delivered(4)])
    delivery.deliver([Delivered.of(Message("processed_topic", 0, 4, b"1", b"later", timestamp=(1, 1_795_600_000_000)))])
    assert len(files(tmp_path)) == 2
    assert OnFailure(tmp_path / "on failure %", "writer").count() == 2


def test_where_given_up_records_lie(make: Callable[..., Delivery], tmp_path: Path) -> None:
    """The status has the folder, how many records are in it, and since when and until when."""
    folder = tmp_path / "on failure %"
    destination = OnFailure(folder, "writer")
    nothing = {
        "on_failure": 0,
        "on_failure_unwritten": 0,
        "on_failure_folder": str(folder),
        "on_failure_oldest": None,
        "on_failure_newest": None,
    }
    assert destination.status() == nothing
    make(Invoked(ValueError("bug")), error_retries=0).deliver([delivered(4), delivered(5, 1)])
    for name, seconds in ((4, 1_795_515_331), (5, 1_795_515_392)):
        (file,) = folder.glob(f"*.{name}-*")
        os.utime(file, (seconds, seconds))
    assert destination.status() == {
        "on_failure": 2,
        "on_failure_unwritten": 2,
        "on_failure_folder": str(folder),
        "on_failure_oldest": "2026-11-24T10:15:31.000Z",
        "on_failure_newest": "2026-11-24T10:16:32.000Z",
    }


def test_records_that_are_no_detections_are_told_from_those_that_could_not_be_written(
    make: Callable[..., Delivery], tmp_path: Path
) -> None:
    """By the condition in each file; one that cannot be read may hold a detection."""
    folder = tmp_path / "on failure %"
    make(Invoked(ValueError("bug")), error_retries=0).deliver([delivered(4), delivered(5)])
    failure = on_failure.Failure(
        function_arn="a", version="1", request_id="r", condition=on_failure.MALFORMED, attempts=1, error="none"
    )
    foreign = [delivered(offset).body for offset in (7, 8, 9)]
    for name, content in on_failure.documents({}, foreign, failure, 0):
        (folder / name).write_bytes(content)
    assert (OnFailure(folder, "writer").count(), OnFailure(folder, "writer").unwritten()) == (5, 2)
    (folder / "processed_topic-0-77.json").write_text("{")
    assert (OnFailure(folder, "writer").count(), OnFailure(folder, "writer").unwritten()) == (6, 3)
