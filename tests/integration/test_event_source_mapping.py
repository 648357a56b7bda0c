"""The Lambda runner between a real Kafka and a real DynamoDB Local: what must hold whatever dies."""

import json
import logging
import re
import socket
import subprocess
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined] # its stub forgets it
from lambda_servers import Pipeline, Servers, servers
from lambda_tools import context, detection, load, msk, send_with_header_name, wait_for

from fraudctl.pipeline import audit_table, kafka, records, topics
from fraudctl.pipeline.text import iso

pytestmark = pytest.mark.integration

Make = Callable[..., Pipeline]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Run Kafka and DynamoDB Local for this file."""
    with servers(tmp_path_factory.mktemp("servers")) as found:
        yield found


@pytest.fixture
def make(running: Servers, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Give a maker of pipelines with a running runner; the log is printed afterwards, for when the test fails."""
    with ExitStack() as stack:

        def maker(**mapping: Any) -> Pipeline:
            pipeline = running.pipeline(**mapping)
            stack.callback(lambda: print(f"{request.node.name}\n{pipeline.log()[-5000:]}"))  # noqa: T201
            pipeline.runner.start()
            stack.callback(pipeline.runner.kill)
            return pipeline

        yield maker


def send(pipeline: Pipeline, *values: tuple[int, bytes | None]) -> list[Message]:
    """Write values, each keyed by an account; gives the confirmed messages in order."""
    order: list[Message] = []
    with kafka.open_producer(kafka.producer(kafka.client(pipeline.servers.brokers))) as producer:
        outgoing = [kafka.Outgoing(pipeline.topic, records.key(account), value) for account, value in values]
        delivery = kafka.deliver(producer, outgoing, on_delivered=order.append)
    assert delivery.failed == ()
    return order


def detections(first: int, number: int) -> list[tuple[int, bytes | None]]:
    """Give this many detections over five accounts, numbered from `first`."""
    return [(offset % 5 + 1, detection(offset, account_id=offset % 5 + 1)) for offset in range(first, first + number)]


def wait_until_done(pipeline: Pipeline, rows: int, seconds: float = 60) -> None:
    """Wait until the table has this many rows and the mapping knows that it has caught up."""
    wait_for(lambda: pipeline.count() >= rows, f"{rows} rows", seconds, pause=0.2)
    wait_for(lambda: caught_up(pipeline), "the mapping has caught up", seconds)


def wait_until_some(pipeline: Pipeline, before: int) -> None:
    """Wait until the table has more rows than before."""
    wait_for(lambda: pipeline.count() > before, f"more than {before} rows")


def caught_up(pipeline: Pipeline) -> bool:
    """Say whether the mapping has processed all there is and knows it."""
    mapping = pipeline.mapping()
    return mapping["lag"] == 0 and not mapping["last_result"].startswith("PROBLEM")


def numbers(pipeline: Pipeline) -> list[int]:
    """Give the numbers of the detections that have a row."""
    return [row.transaction_offset for row in pipeline.rows()]


def test_every_detection_becomes_one_row(make: Make) -> None:
    """All of hundreds of detections, a third of them twice, are one row each, with Kafka's time and place."""
    pipeline = make()
    messages = send(pipeline, *detections(0, 900))
    send(pipeline, *detections(0, 300))
    wait_until_done(pipeline, 900)
    assert numbers(pipeline) == list(range(900))
    written = {(message.partition(), message.offset()): message for message in messages}
    for row in pipeline.rows():
        message = written.pop((row.processed_partition, row.processed_offset))
        assert row.detected_at == iso(message.timestamp()[1])
        value = message.value()
        assert value is not None
        assert json.loads(value)["transaction_id"] == row.transaction_id
    assert written == {}, "the first copy wins"
    wait_for(lambda: pipeline.mapping()["processed"] == 1200, "the second copies are processed too")
    wait_for(lambda: sum(pipeline.committed().values()) == 1200, "the last commit")
    status = pipeline.mapping()
    assert (status["received"], status["processed"], status["failed"], status["state"]) == (1200, 1200, 0, "Enabled")
    ends = {place["partition"]: place["end"] for place in status["partitions"]}
    assert pipeline.committed() == {partition: end for partition, end in ends.items() if end}


def put_aside(pipeline: Pipeline) -> dict[tuple[int, int], tuple[dict[str, Any], str]]:
    """Give the records in the on-failure folder by partition and offset, each with what is said to be wrong with it."""
    found: dict[tuple[int, int], tuple[dict[str, Any], str]] = {}
    for file in pipeline.on_failure.iterdir():
        document = json.loads(file.read_text())
        assert document["requestContext"]["approximateInvokeCount"] == 1
        for kept in json.loads(document["payload"])["records"].values():
            for record in kept:
                place = record["partition"], record["offset"]
                assert place not in found
                found[place] = record, document["errors"][str(record["offset"])]
    return found


def test_poison_goes_on_file_and_the_rest_on(make: Make) -> None:
    """Records that are no detections end as files with their whole payload, are committed, and block nothing."""
    pipeline = make(retries=2)
    poison = [b"nonsense", None, b"\xff\xfe", b'{"transaction_id":"' + b"x" * 1_500_000]
    values = detections(0, 10)
    for place, value in enumerate(poison):
        values.insert(3 * place, (place % 5 + 1, value))
    messages = send(pipeline, *values)
    wait_until_done(pipeline, 10)
    wait_for(lambda: sum(pipeline.committed().values()) == len(messages), "all is committed, the last poison too")
    assert numbers(pipeline) == list(range(10))
    bad = {(m.partition(), m.offset()): m.value() for m in messages if m.value() in poison}
    found = put_aside(pipeline)
    assert {
        place: b64decode(record["value"]) if "value" in record else None for place, (record, _) in found.items()
    } == bad
    reasons = {bad[place]: reason for place, (_, reason) in found.items()}
    assert (reasons[None], reasons[b"\xff\xfe"]) == ("the value is null", "not UTF-8 at byte 1")
    assert "not JSON" in reasons[b"nonsense"]
    status = pipeline.mapping()
    assert (status["retried"], status["on_failure"], status["on_failure_folder"]) == (0, 4, str(pipeline.on_failure))
    assert status["on_failure_oldest"] <= status["on_failure_newest"]


def test_thousands_of_foreign_records_hold_nothing_up(make: Make) -> None:
    """10,000 records of others with detections between them are through in seconds, every one where it belongs."""
    pipeline = make()
    values = [(number % 5 + 1, b"foreign %d" % number) for number in range(10_000)]
    for number in range(200):
        values.insert(51 * number, detections(number, 1)[0])  # type: ignore[arg-type] # it is bytes
    messages = send(pipeline, *values)
    start = time.monotonic()
    wait_for(lambda: sum(pipeline.committed().values()) == 10_200, "all is committed", 60)
    took = time.monotonic() - start
    assert took < 20, f"{took:.1f} s; tried four times with pauses it would be 80"
    assert numbers(pipeline) == list(range(200))
    bad = {(m.partition(), m.offset()): m.value() for m in messages if (m.value() or b"").startswith(b"foreign")}
    assert {place: b64decode(record["value"]) for place, (record, _) in put_aside(pipeline).items()} == bad
    assert len(list(pipeline.on_failure.iterdir())) < 1_000
    assert (pipeline.mapping()["on_failure"], pipeline.mapping()["retried"]) == (10_000, 0)


def test_keys_and_headers_of_any_bytes_reach_the_function(make: Make) -> None:
    """Repeated headers, headers without a value, and keys and headers that are no text arrive as they were sent."""
    pipeline = make()
    headers: list[tuple[str, bytes | None]] = [
        ("trace", b"one"),
        ("trace", b"two"),
        ("bin", b"\xff\xfe"),
        ("nul", None),
    ]
    with kafka.open_producer(kafka.producer(kafka.client(pipeline.servers.brokers))) as producer:
        producer.produce(pipeline.topic, b"x", b"\xff\x00\x01", headers=headers)  # type: ignore[arg-type] # a stub's slip
        producer.produce(pipeline.topic, b"x", b"\\xff\\x00\\x01")
        assert producer.flush(30) == 0
    wait_for(lambda: sum(pipeline.committed().values()) == 2, "both are committed")
    found = {b64decode(record["key"]): record["headers"] for record, _ in put_aside(pipeline).values()}
    assert found == {
        b"\xff\x00\x01": [{"trace": [*b"one"]}, {"trace": [*b"two"]}, {"bin": [255, 254]}, {"nul": []}],
        b"\\xff\\x00\\x01": [],
    }


def test_a_header_name_that_is_no_text_stops_nothing(make: Make) -> None:
    """Clients in C write any bytes; the record arrives, marked, and so do those around it."""
    pipeline = make()
    send(pipeline, *detections(0, 5))
    send_with_header_name(pipeline.servers.brokers, pipeline.topic, b"na\xffme", detection(5))
    send(pipeline, *detections(6, 5))
    wait_until_done(pipeline, 11)
    assert numbers(pipeline) == list(range(11))
    send_with_header_name(pipeline.servers.brokers, pipeline.topic, b"na\xffme", b"foreign")
    wait_for(lambda: pipeline.mapping()["on_failure"], "the foreign one is put aside")
    ((record, _),) = put_aside(pipeline).values()
    assert record["headers"] == [{kafka.UNREADABLE_HEADERS: []}]


def make_topic_again(pipeline: Pipeline) -> None:
    """Delete the topic and make it again, as soon as Kafka allows that."""
    admin = pipeline.servers.admin
    admin.delete_topics([pipeline.topic])[pipeline.topic].result(30)
    topic = NewTopic(pipeline.topic, topics.PARTITIONS, 1, config=topics.PROCESSED.config)

    def made() -> bool:
        try:
            admin.create_topics([topic])[pipeline.topic].result(30)
        except KafkaException:
            return False
        return True

    wait_for(made, "the topic is made again")


def test_a_topic_deleted_and_made_again_is_read_from_its_beginning(make: Make) -> None:
    """Five times in mid-run: whatever was committed, and however many records the new topic has, each gets its row."""
    pipeline = make()
    first = 0
    for number in (40, 80, 20, 200, 10):
        if first:
            make_topic_again(pipeline)
        send(pipeline, *detections(first, number))
        first += number
        wait_for(lambda: pipeline.count() == first, f"{first} rows")  # noqa: B023 - asked at once
        wait_for(lambda: caught_up(pipeline), "the mapping has caught up")
    assert numbers(pipeline) == list(range(first))
    assert (pipeline.mapping()["losses"], pipeline.mapping()["accepted_losses"]) == ([], [])


def test_a_topic_made_again_while_the_runner_is_down(make: Make) -> None:
    """Offsets committed in the topic before, even if they came after it was deleted, hide none of its records."""
    pipeline = make()
    send(pipeline, *detections(0, 100))
    wait_until_done(pipeline, 100)
    assert pipeline.runner.terminate() == 0
    before = pipeline.committed()
    make_topic_again(pipeline)
    send(pipeline, *detections(100, 400))
    places = [TopicPartition(pipeline.topic, partition, offset) for partition, offset in before.items()]
    request = [ConsumerGroupTopicPartitions(pipeline.group, places)]
    pipeline.servers.admin.alter_consumer_group_offsets(request)[pipeline.group].result(30)
    pipeline.runner.start()
    wait_until_done(pipeline, 500)
    assert numbers(pipeline) == list(range(500))
    assert "made again" in pipeline.log() or "is read from offset 0" in pipeline.log()


def test_a_topic_made_later_is_found(make: Make, running: Servers) -> None:
    """A runner whose topic is missing says so and goes on by itself when it is made, before any record comes."""
    pipeline = make()
    wait_for(lambda: caught_up(pipeline), "the start")
    running.admin.delete_topics([pipeline.topic])[pipeline.topic].result(30)
    problem = f"PROBLEM: there is no topic {pipeline.topic}"
    wait_for(lambda: pipeline.mapping()["last_result"] == problem, "the problem")
    running.admin.create_topics([NewTopic(pipeline.topic, topics.PARTITIONS, 1)])[pipeline.topic].result(30)
    wait_for(lambda: caught_up(pipeline), "the recovery")


def number(message: Message) -> int:
    """Give a detection's number."""
    return records.FlaggedTransaction.parse(message.value()).transaction_offset


def delete_records(pipeline: Pipeline, before: dict[int, int]) -> None:
    """Move the log start, as retention does."""
    places = [TopicPartition(pipeline.topic, partition, offset) for partition, offset in before.items()]
    for done in pipeline.servers.admin.delete_records(places).values():
        done.result(30)


def test_records_deleted_unread_stop_their_partition_until_that_is_accepted(make: Make) -> None:
    """What retention takes while the runner is down is named by partition and offsets; the other partitions go on."""
    pipeline = make()
    send(pipeline, *detections(0, 100))
    wait_until_done(pipeline, 100)
    assert pipeline.runner.terminate() == 0
    before = pipeline.committed()
    messages = send(pipeline, *detections(100, 100))
    (partition, *_) = sorted({place for message in messages if (place := message.partition()) is not None})
    end = before[partition] + 7
    delete_records(pipeline, {partition: end})
    pipeline.runner.start()
    wait_for(lambda: pipeline.mapping()["losses"], "the loss")
    loss = {"topic": pipeline.topic, "partition": partition, "from": before[partition], "to": end}
    assert pipeline.mapping()["losses"] == [loss]
    sent = {number(message): message for message in messages}
    others = {which for which, message in sent.items() if message.partition() != partition}
    wait_for(lambda: set(numbers(pipeline)) == {*range(100), *others}, "the other partitions go on")
    assert pipeline.mapping()["last_result"].startswith("PROBLEM: records of")

    assert pipeline.post("/_fraudctl/mapping/accept-loss")["accepted"][0].items() >= loss.items()
    left = {which for which in sent.keys() - others if (sent[which].offset() or 0) >= end}
    wait_for(lambda: set(numbers(pipeline)) == {*range(100), *others, *left}, "the rest of the partition")
    wait_for(lambda: caught_up(pipeline), "the recovery")
    pipeline.runner.kill()
    pipeline.runner.start()
    wait_for(lambda: caught_up(pipeline), "the next start")
    assert pipeline.mapping()["losses"] == []
    assert pipeline.mapping()["accepted_losses"][0].items() >= loss.items()


def test_records_deleted_before_a_running_mapping_reads_them(make: Make, running: Servers) -> None:
    """While the function cannot write, retention takes what waits: named, not skipped, even in mid-run."""
    pipeline = make(batch_size=1)
    send(pipeline, *((1, detection(which)) for which in range(10)))
    wait_until_done(pipeline, 10)
    (partition,) = pipeline.committed()
    running.dynamodb.kill()
    try:
        filler = json.dumps({"filler": "x" * 60_000})
        send(pipeline, *((1, detection(which, extra=filler)) for which in range(10, 800)))
        wait_for(lambda: pipeline.mapping()["last_result"] == "PROBLEM: Function call failed", "the problem")
        delete_records(pipeline, {partition: 800})
    finally:
        running.dynamodb.start()
    wait_for(lambda: pipeline.mapping()["losses"], "the loss", 60)
    (loss,) = pipeline.mapping()["losses"]
    assert (loss["partition"], loss["to"]) == (partition, 800)
    assert numbers(pipeline) == list(range(loss["from"])), "what had been fetched is written, the rest is named"
    assert 10 < loss["from"] < 800


def test_the_largest_detections_pass(make: Make) -> None:
    """Records that together exceed Lambda's payload and DynamoDB's transaction are all written."""
    pipeline = make()
    extra = json.dumps({"filler": "é" * 30_000})
    send(pipeline, *((1, detection(number, extra=extra)) for number in range(60)))
    wait_until_done(pipeline, 60)
    assert numbers(pipeline) == list(range(60))
    assert {row.extra for row in pipeline.rows()} == {'{"filler":"' + "é" * 30_000 + '"}'}


def test_kill_9_in_mid_stream_loses_nothing(make: Make) -> None:
    """Killed three times while detections stream in, the runner goes on where it was: each has exactly one row."""
    pipeline = make()
    for part in range(3):
        send(pipeline, *detections(part * 400, 400))
        wait_until_some(pipeline, part * 400)
        pipeline.runner.kill()
        pipeline.runner.start()
    wait_until_done(pipeline, 1200)
    assert numbers(pipeline) == list(range(1200))
    wait_for(lambda: sum(pipeline.committed().values()) == 1200, "the last commit")


def test_what_audit_writer_has_written_survives_a_kill_of_dynamodb(
    running: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DynamoDB Local answers before it commits; killed right after the function's answer it must have every row."""
    running.table_client.create_table(**audit_table.definition("killed"))
    monkeypatch.setenv("WRITER_TABLE", "killed")
    monkeypatch.setenv("WRITER_DYNAMODB", json.dumps(running.dynamodb_options))
    writer: Any = load("audit_writer")
    for turn in range(10):
        values = [detection(turn * 250 + number, account_id=turn + 1) for number in range(250)]
        assert writer.handler(msk(*values), context()) == {"batchItemFailures": []}
        running.dynamodb.kill()
        running.dynamodb.start()
        found = running.table_client.query(
            TableName="killed",
            KeyConditionExpression="account_id = :account",
            ExpressionAttributeValues={":account": {"N": str(turn + 1)}},
            Select="COUNT",
        )
        assert found["Count"] == 250


def test_two_invocations_with_the_same_batch_write_each_row_once(
    running: Servers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch that comes again while its first delivery still writes: both succeed, and each row was written once."""
    caplog.set_level(logging.INFO, "audit_writer")
    running.table_client.create_table(**audit_table.definition("twice"))
    monkeypatch.setenv("WRITER_TABLE", "twice")
    monkeypatch.setenv("WRITER_DYNAMODB", json.dumps(running.dynamodb_options))
    writer: Any = load("audit_writer")
    event = msk(*(detection(number) for number in range(400)))
    with ThreadPoolExecutor(2) as two:
        answers = list(two.map(lambda _: writer.handler(event, context()), range(2)))
    assert answers == [{"batchItemFailures": []}] * 2
    entries: list[Any] = [record for record in caplog.records if hasattr(record, "offsets")]
    assert sum(entry.written for entry in entries) == 400
    assert sum(entry.already_there for entry in entries) == 400


def test_an_outage_of_dynamodb_is_waited_out(make: Make, running: Servers) -> None:
    """While DynamoDB is gone nothing is committed or given up; when it is back every detection gets its row."""
    pipeline = make(retries=0)
    send(pipeline, *detections(0, 10))
    wait_until_done(pipeline, 10)
    running.dynamodb.kill()
    send(pipeline, *detections(10, 300))
    wait_for(lambda: pipeline.mapping()["last_result"] == "PROBLEM: Function call failed", "the problem")
    assert sum(pipeline.committed().values()) == 10
    running.dynamodb.start()
    wait_until_done(pipeline, 310)
    assert numbers(pipeline) == list(range(310))
    assert (pipeline.mapping()["failed"], pipeline.on_failure.exists()) == (0, False)


def test_an_outage_of_kafka_is_waited_out(make: Make, running: Servers) -> None:
    """While Kafka is gone the runner says so, once an outage, and lives on; when it is back it goes on by itself."""
    pipeline = make()
    send(pipeline, *detections(0, 10))
    wait_until_done(pipeline, 10)
    running.kafka.kill()
    problem = "PROBLEM: Kafka does not answer"
    wait_for(lambda: pipeline.mapping()["last_result"] == problem, "the problem", 60)
    running.kafka.start()
    wait_for(lambda: caught_up(pipeline), "the recovery", 60)
    send(pipeline, *detections(10, 300))
    wait_until_done(pipeline, 310)
    assert numbers(pipeline) == list(range(310))
    log = pipeline.log()
    said = re.findall("Kafka does not answer at|Kafka answers again", log)
    assert said[:2] == ["Kafka does not answer at", "Kafka answers again"]
    assert all(one != next_one for one, next_one in pairwise(said)), said  # a slow start may look like an outage more
    assert "rdkafka" not in log


def test_sigterm_ends_it_cleanly(make: Make, running: Servers) -> None:
    """It ends by itself with code 0, all work committed, and its place in the group is free at once."""
    pipeline = make()
    send(pipeline, *detections(0, 500))
    wait_until_done(pipeline, 500)
    assert pipeline.runner.terminate() == 0
    assert sum(pipeline.committed().values()) == 500
    group = running.admin.describe_consumer_groups([pipeline.group])[pipeline.group].result(30)
    assert (group.state, group.members) == (ConsumerGroupState.EMPTY, [])
    assert pipeline.log().splitlines()[-1].endswith("runner INFO stopped")


def test_sigterm_ends_it_while_the_function_fails(make: Make, running: Servers) -> None:
    """In the middle of retries it ends by itself, and the batch comes again to the next runner."""
    pipeline = make()
    send(pipeline, *detections(0, 10))
    wait_until_done(pipeline, 10)
    running.dynamodb.kill()
    try:
        send(pipeline, *detections(10, 10))
        wait_for(lambda: pipeline.mapping()["last_result"] == "PROBLEM: Function call failed", "the problem")
        assert pipeline.runner.terminate() == 0
    finally:
        running.dynamodb.start()
    assert len(numbers(pipeline)) == 10
    pipeline.runner.start()
    wait_until_done(pipeline, 20)
    assert numbers(pipeline) == list(range(20))


def test_flags_carry_the_brokers_time(make: Make, running: Servers) -> None:
    """The published time in the answer is the broker's append time of the record at that partition and offset."""
    pipeline = make()
    answer = pipeline.invoke("FlagAccountGenerator", {"random": 10})
    assert len(answer["flags"]) == 10
    consumer = kafka.open_consumer(kafka.consumer(kafka.client(running.brokers), "reader"))
    for flag in answer["flags"]:
        consumer.assign([TopicPartition("flagged_accounts", flag["partition"], flag["offset"])])
        message = consumer.poll(30)
        assert message is not None
        kind, published = message.timestamp()
        assert (kind, iso(published)) == (TIMESTAMP_LOG_APPEND_TIME, flag["published"])
        assert message.key() == records.key(flag["account_id"])
    consumer.close()


def test_the_schedule_makes_transactions_flow(make: Make, running: Servers) -> None:
    """Switched on, transactions flow at their pace at once; switched off, they stop; a restart remembers it."""
    pipeline = make()
    consumer = kafka.open_consumer(kafka.consumer(kafka.client(running.brokers), f"{pipeline.name}-reader"))
    consumer.subscribe(["demo_transactions"])
    assert pipeline.get("/_fraudctl/status")["schedule"]["enabled"] is False
    assert pipeline.post("/_fraudctl/schedule/start")["changed"] is True
    found: list[Message] = []
    while len(found) < 40:
        message = consumer.poll(30)
        assert message is not None, len(found)
        found.append(message)
    values = [message.value() for message in found]
    dates = sorted(datetime.fromisoformat(records.Transaction.parse(value).transaction_date) for value in values)
    assert 1.5 < (dates[-1] - dates[0]).total_seconds() < 20, "twenty a second"
    assert pipeline.post("/_fraudctl/schedule/stop")["changed"] is True
    wait_for(lambda: not pipeline.get("/_fraudctl/status")["schedule"]["running"], "the tick's end")
    status = pipeline.get("/_fraudctl/status")["schedule"]
    sent = json.loads(status["last_result"])["sent"]
    assert (status["last_ok"], 40 <= sent < 1100) == (True, True)
    while len(found) < sent:
        message = consumer.poll(30)
        assert message is not None, f"{len(found)} of {sent}"
        found.append(message)
    consumer.close()
    assert pipeline.runner.terminate() == 0
    pipeline.runner.start()
    assert pipeline.get("/_fraudctl/status")["schedule"]["enabled"] is False


def test_a_taken_port_is_said_in_one_line(running: Servers, tmp_path: Path) -> None:
    """When its port is taken the runner ends with code 1 and one line that says so."""
    pipeline = running.pipeline()
    with socket.create_server(("127.0.0.1", int(pipeline.address.rpartition(":")[2]))):
        done = subprocess.run(
            pipeline.runner.command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
        )
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.strip().endswith("Address already in use")
    assert len(done.stdout.splitlines()) == 1
