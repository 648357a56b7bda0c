"""`audit verify` on real topics and a real table: each fault is found and named, and nothing else is.

What the application would have written comes from the tests' own oracle, so that one mistake cannot hide in both.
"""

import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined] # its stub forgets it
from fakes import OUTPUTS, FakeTarget
from histories import epoch_ms, flag_json, transaction_json
from lambda_servers import Servers, servers
from lambda_tools import context, load, wait_for
from oracle import Flag, Transaction, outcome
from sealed import MemoryArchive

from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, NotAsAsked, NotDeployed
from fraudctl.local.kafka.admin import KafkaAdmin
from fraudctl.local.kafka.records import LocalRecords
from fraudctl.local.kafka.topics import LocalTopics
from fraudctl.pipeline import audit_table, kafka, records, topics
from fraudctl.pipeline.audit_table import AuditRow
from fraudctl.pipeline.names import FLINK_GROUP
from fraudctl.services.accounts import changes, effects, listing
from fraudctl.services.seal.archive import FolderArchive
from fraudctl.services.seal.check import Check
from fraudctl.services.seal.rows import TableRows
from fraudctl.services.seal.sealing import Sealing
from fraudctl.services.verify import evidence, reconcile, report
from fraudctl.services.verify.buckets import STAGES
from fraudctl.services.verify.chain import chain, explained, why_not
from fraudctl.services.verify.follow import Following
from fraudctl.services.verify.reconcile import Reconciliation, Result
from fraudctl.services.verify.repair import needed, repair
from fraudctl.services.verify.store import Store
from fraudctl.services.verify.verdicts import Word

pytestmark = pytest.mark.integration

FLAGGED, CLEARED, NEVER, BACK_DATED = 7001, 7002, 7003, 7004
ACCOUNTS = (FLAGGED, CLEARED, NEVER)
NUMBER = 60
BEFORE = 1_600_000_000_000
BEGAN = "2026-01-01T00:00:00.000Z"


@dataclass
class Pipeline:
    """A pipeline that has done its work: what lies in its topics and its table, and how to spoil that."""

    target: Any
    brokers: str
    table: Any
    producer: Producer
    documents: list[bytes] = field(default_factory=list)
    detections: list[tuple[records.FlaggedTransaction, int, int, int]] = field(default_factory=list)

    def verify(self, since: int | None = None, until: int | None = None) -> Result:
        """Reconcile."""
        run = Reconciliation(self.target, since, until)
        list(run.run())
        return run.result

    def produce(self, topic: str, *messages: tuple[int, bytes]) -> list[tuple[int, int, int]]:
        """Write values with their accounts; give partition, offset and time of each."""
        found: list[Any] = []
        for account, value in messages:
            self.producer.produce(
                topic,
                value,
                records.key(account),
                on_delivery=lambda _, m: found.append((m.partition(), m.offset(), m.timestamp()[1])),
            )
            assert self.producer.flush(30) == 0
        return found

    def commit(self, group: str, *names: str) -> None:
        """Commit the ends of topics for a group, as a consumer that has read everything."""
        consumer = Consumer({**kafka.client(self.brokers), "group.id": group, "enable.auto.commit": False})
        places = [TopicPartition(name, number) for name in names for number in range(topics.PARTITIONS)]
        ends = [
            TopicPartition(place.topic, place.partition, consumer.get_watermark_offsets(place, timeout=10)[1])
            for place in places
        ]
        consumer.commit(offsets=ends, asynchronous=False)
        consumer.close()

    def caught_up(self) -> None:
        """Let the application and AuditWriter have read everything."""
        self.commit(FLINK_GROUP, topics.TRANSACTIONS.name, topics.FLAGGED.name)
        self.commit("audit-writer", topics.PROCESSED.name)

    def detect(self, found: records.FlaggedTransaction) -> None:
        """Write a detection, and its row."""
        ((partition, offset, at),) = self.produce(topics.PROCESSED.name, (found.account_id, found.to_json()))
        self.detections.append((found, partition, offset, at))
        self.table.put_item(Item=audit_table.item(found, at, partition, offset))

    def fail(self, number: int) -> None:
        """Put a detection into the on-failure destination."""
        found, partition, offset, at = self.detections[number]
        record = {"topic": topics.PROCESSED.name, "partition": partition, "offset": offset, "timestamp": at}
        payload = {"records": {f"p-{partition}": [{**record, "value": b64encode(found.to_json()).decode()}]}}
        self.documents.append(json.dumps({"payload": json.dumps(payload)}).encode())

    def key(self, number: int) -> dict[str, Any]:
        """Give a row's key."""
        found = self.detections[number][0]
        return {
            "account_id": found.account_id,
            "transaction_key": audit_table.transaction_key(found.transaction_date, found.transaction_id),
        }

    def item(self, number: int) -> dict[str, Any]:
        """Give a row."""
        item: dict[str, Any] = self.table.get_item(Key=self.key(number))["Item"]
        return item


def detection(
    transaction: Transaction, place: tuple[int, int, int], flag: Flag, flag_place: tuple[int, int, int]
) -> records.FlaggedTransaction:
    """Give a detection as the application writes it."""
    values = records.Transaction.parse(transaction_json(transaction)).values()
    event = records.AccountFlag.parse(flag_json(flag))
    return records.FlaggedTransaction(
        **values,
        flag_date=event.flag_date,
        flag_reason=event.reason,
        flagged_by=event.flagged_by,
        transaction_partition=place[0],
        transaction_offset=place[1],
        flag_partition=flag_place[0],
        flag_offset=flag_place[1],
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Run Kafka and DynamoDB Local for this file."""
    with servers(tmp_path_factory.mktemp("servers")) as found:
        found.admin.create_topics([NewTopic(topics.PROCESSED.name, 4, 1), NewTopic(topics.DEAD_LETTERS.name, 4, 1)])
        yield found


@pytest.fixture(scope="module")
def pipeline(running: Servers) -> Iterator[Pipeline]:
    """Flag, send and detect by the oracle: one account flagged, one flagged and cleared, one never flagged."""
    resource = boto3.resource("dynamodb", **running.dynamodb_options)
    table = resource.create_table(**audit_table.definition("fraud-detection-audit"))

    def connection() -> dict[str, Any]:
        return kafka.client(running.brokers)

    found = Pipeline(None, running.brokers, table, Producer(kafka.producer(connection())))
    found.target = FakeTarget(
        topics=LocalTopics(KafkaAdmin(connection)),  # type: ignore[arg-type]
        records=LocalRecords(connection),  # type: ignore[arg-type]
        table=table,
    )
    # Without slack no outcome depends on the order of reading.
    found.target.stack.outputs = lambda: replace(OUTPUTS, slack_ms=0)
    found.target.on_failure = lambda: iter(found.documents)
    flags = [
        Flag(0, FLAGGED, BEFORE, flagged=True, reason="stolen"),
        Flag(0, CLEARED, BEFORE, flagged=True, reason="lost"),
        Flag(0, CLEARED, BEFORE + 1000, flagged=False, reason="found"),
    ]
    flag_places = found.produce(topics.FLAGGED.name, *((flag.account, flag_json(flag)) for flag in flags))
    sent = [
        Transaction(0, ACCOUNTS[n % 3], BEFORE + n % 2 * 2000 + n // 2, f"t-{n}")  # half of them before the clearing
        for n in range(NUMBER)
    ]
    places = found.produce(topics.TRANSACTIONS.name, *((t.account, transaction_json(t)) for t in sent))
    for transaction, place in zip(sent, places, strict=True):
        own = [(flag, at) for flag, at in zip(flags, flag_places, strict=True) if flag.account == transaction.account]
        detects = outcome(transaction, [flag for flag, _ in own], len(own))
        if detects is not None:
            at = next(at for flag, at in own if flag is detects)
            found.detect(detection(transaction, place, detects, at))
    found.caught_up()
    yield found
    table.meta.client.close()


class Writer:
    """AuditWriter itself, in this process."""

    def __init__(self) -> None:
        """Load it."""
        self.handler = load("audit_writer").handler
        self.invocations, self.works = 0, True

    def invoke(self, name: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Hand it an event as JSON, or only say that all is written."""
        assert name == "AuditWriter"
        self.invocations += 1
        event = json.loads(json.dumps(payload))
        answer: dict[str, Any] = self.handler(event, context()) if self.works else {"batchItemFailures": []}
        return answer


@pytest.fixture
def writer(pipeline: Pipeline, running: Servers, monkeypatch: pytest.MonkeyPatch) -> Writer:
    """Give the pipeline its writer."""
    monkeypatch.setenv("WRITER_TABLE", pipeline.table.name)
    monkeypatch.setenv("WRITER_DYNAMODB", json.dumps(running.dynamodb_options))
    found = Writer()
    monkeypatch.setattr(pipeline.target, "functions", found)
    return found


def found_in(result: Result) -> list[tuple[str, str]]:
    """Give the cases that are listed, by verdict and transaction."""
    return [(case["verdict"], case["transaction_id"]) for case in report.cases(result, 99)]


def test_a_right_pipeline_is_right(pipeline: Pipeline) -> None:
    """Everything that had to be detected is ok; nothing else is said."""
    result = pipeline.verify()
    assert result.counts == {Word.OK: NUMBER // 3 + NUMBER // 6}
    assert (result.transactions, result.attempted, result.faults) == (NUMBER, 30, 0)
    assert (result.unknown, result.gaps, found_in(result)) == (False, [], [])
    assert result.through is not None
    report.check(result, allow_unknown=False)


@pytest.mark.parametrize("events", range(1, 9))
def test_an_interrupted_run_goes_on_where_it_was(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: int
) -> None:
    """Whenever it is interrupted, nothing is counted twice or left out; what came meanwhile is not judged."""
    monkeypatch.setattr(reconcile, "_SAVED_EVERY_SECONDS", 0)
    file = tmp_path / "verify.sqlite"
    first = Reconciliation(pipeline.target, file=file, by=1000)
    running: Any = first.run()
    shown = [next(running).component for _ in range(events)]
    running.close()
    second = Reconciliation(pipeline.target, file=file, by=1000)
    list(second.run())
    assert second.result.counts == {Word.OK: NUMBER // 3 + NUMBER // 6}, shown
    assert (second.result.transactions, second.result.attempted, second.result.unknown) == (NUMBER, 30, False)
    assert second.result.buckets is not None
    (bucket, *more) = second.result.buckets.rows()
    counted = {stage: sum(row[stage] for row in (bucket, *more)) for stage in STAGES}
    assert counted == {"in": NUMBER, "should": 30, "processed": 30, "table": 30, "dead": 0}


def test_a_topic_made_anew_is_not_gone_on_with(pipeline: Pipeline, tmp_path: Path) -> None:
    """Its offsets are of other records."""
    file = tmp_path / "verify.sqlite"
    first = Reconciliation(pipeline.target, file=file)
    list(first.run())
    with Store(file) as store:
        state = store.state()
        assert state is not None
        state["transactions"]["first_at"] = dict.fromkeys(state["transactions"]["first_at"], 1)
        store.save(state)
    with pytest.raises(BadConfig, match="not the topic that was read before"):
        list(Reconciliation(pipeline.target, file=file).run())


def test_the_first_bucket_that_differs_is_told(pipeline: Pipeline) -> None:
    """By the time of publishing; the stages before the one that lost it have it."""
    with spoiled(pipeline, 3, lambda _: None):
        run = Reconciliation(pipeline.target, by=24 * 60 * 60 * 1000)
        list(run.run())
    assert run.result.buckets is not None
    rows = run.result.buckets.rows()
    (found,) = [row for row in rows if row["differs"]]
    assert [row["first"] for row in rows if row["differs"]] == [True]
    assert found["differs"] == "1 lost"
    assert (found["should"], found["processed"] - found["table"]) == (found["processed"], 1)


@contextmanager
def spoiled(
    pipeline: Pipeline, number: int, change: Callable[[dict[str, Any]], dict[str, Any] | None]
) -> Iterator[str]:
    """Change a row, or delete it, and put it back at the end; give its transaction."""
    before = pipeline.item(number)
    changed = change(dict(before))
    if changed is None:
        pipeline.table.delete_item(Key=pipeline.key(number))
    else:
        pipeline.table.put_item(Item=changed)
    try:
        yield before["transaction_id"]
    finally:
        pipeline.table.put_item(Item=before)


def test_a_deleted_row_is_lost(pipeline: Pipeline) -> None:
    """Exit 8, and where it stopped."""
    with spoiled(pipeline, 3, lambda _: None) as transaction:
        result = pipeline.verify()
        assert found_in(result) == [("lost", transaction)]
        assert report.cases(result, 1)[0]["why"] == "in processed_topic, not in the table"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"amount": 99}, "the row has other values than the transaction"),
        ({"customer_name": "Eve"}, "the row has other values than the transaction"),
        ({"flag_reason": "because"}, "what is said of its flag is not what flagged_accounts/"),
        ({"processed_offset": 0}, "where no such record lies"),
    ],
)
def test_an_altered_row_is_different(pipeline: Pipeline, change: dict[str, Any], why: str) -> None:
    """Whatever of it was altered."""
    with spoiled(pipeline, 4, lambda item: {**item, **change}) as transaction:
        result = pipeline.verify()
        assert found_in(result) == [("different", transaction)]
        assert why in report.cases(result, 1)[0]["why"]


def test_a_row_that_was_made_up_is_unexpected(pipeline: Pipeline) -> None:
    """It refers to a transaction that is another one."""
    item = pipeline.item(5)
    made_up = {**item, "transaction_id": "x", "transaction_key": item["transaction_date"] + "#x"}
    pipeline.table.put_item(Item=made_up)
    try:
        assert found_in(pipeline.verify()) == [("unexpected", "x")]
    finally:
        pipeline.table.delete_item(Key={name: made_up[name] for name in ("account_id", "transaction_key")})


def test_what_lies_in_the_on_failure_destination_is_recovered(pipeline: Pipeline) -> None:
    """Not in the table, but not lost."""
    pipeline.fail(6)
    with spoiled(pipeline, 6, lambda _: None) as transaction:
        result = pipeline.verify()
    pipeline.documents.clear()
    assert found_in(result) == [("recovered", transaction)]
    report.check(result, allow_unknown=False)


@pytest.fixture(scope="module")
def seals(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> FolderArchive:
    """Seal what the right pipeline has, two minutes later."""
    archive = FolderArchive(tmp_path_factory.mktemp("seals") / "here")
    run = Sealing(pipeline.target, archive, 10_000, clock=Clock(now=lambda: time.time() + 120))
    list(run.run())
    assert run.result.faulty is None
    assert sum(window.rows for window in run.result.windows) == len(pipeline.detections)
    assert sum(window.verify["ok"] for window in run.result.windows) == len(pipeline.detections)
    return archive


def against(seals: FolderArchive, pipeline: Pipeline) -> list[tuple[str, str]]:
    """Compare the table with the seals; give the rows that are not as sealed."""
    check = Check(seals, TableRows(pipeline.table))
    list(check.run())
    result = check.result
    assert (result.chains.valid, result.windows) == (result.chains.number, result.chains.number)
    assert result.faults == bool(result.cases)
    return [(case.fault.value, case.identity[2]) for case in result.cases]


def spoil_against(seals: FolderArchive, pipeline: Pipeline) -> None:
    """Delete, alter and add a row, one after the other: each is named, and nothing else is."""
    assert against(seals, pipeline) == []
    with spoiled(pipeline, 3, lambda _: None) as transaction:
        assert against(seals, pipeline) == [("deleted", transaction)]
    with spoiled(pipeline, 4, lambda item: {**item, "amount": 99}) as transaction:
        assert against(seals, pipeline) == [("changed", transaction)]
    with spoiled(pipeline, 5, lambda item: {**item, "detected_at": BEGAN, "detected_key": f"{BEGAN}#x"}) as transaction:
        assert against(seals, pipeline) == [("changed", transaction)]
    made_up = {**pipeline.item(5), "transaction_id": "x", "transaction_key": "2020-01-01T00:00:00.000Z#x"}
    pipeline.table.put_item(Item=made_up)
    try:
        assert against(seals, pipeline) == [("added", "x")]
    finally:
        pipeline.table.delete_item(Key={name: made_up[name] for name in ("account_id", "transaction_key")})
    assert against(seals, pipeline) == []


def test_seals_name_what_was_done_to_rows(pipeline: Pipeline, seals: FolderArchive) -> None:
    """While the topics are whole; a second run seals nothing again, and a fault is not sealed."""
    spoil_against(seals, pipeline)
    with spoiled(pipeline, 3, lambda _: None):
        run = Sealing(pipeline.target, MemoryArchive(), 10_000, clock=Clock(now=lambda: time.time() + 120))
        list(run.run())
        assert (run.result.faults, run.result.faulty is not None) == ({"lost": 1}, True)


def test_the_evidence_of_a_row(pipeline: Pipeline) -> None:
    """Step by step with its places, and the flag events around the one in force; a row that disagrees is named."""
    number = next(n for n, found in enumerate(pipeline.detections) if found[0].account_id == CLEARED)
    found, partition, offset, _ = pipeline.detections[number]
    row = AuditRow.from_item(pipeline.item(number))
    shown = chain(pipeline.target, row)
    steps = [step.cells() for step in shown.steps]
    assert [step["step"] for step in steps] == [
        "transaction made",
        "transaction published",
        "flag event in force",
        "flag event after it",
        "detected",
    ]
    assert [step["place"] for step in steps] == [
        None,
        f"demo_transactions/{found.transaction_partition}:{found.transaction_offset}",
        f"flagged_accounts/{found.flag_partition}:{found.flag_offset}",
        f"flagged_accounts/{found.flag_partition}:{found.flag_offset + 1}",
        f"processed_topic/{partition}:{offset}",
    ]
    assert steps[2]["says"] == f"FLAGGED from {found.flag_date} on, by tests: lost"
    assert steps[3]["says"].startswith("CLEARED from ")
    assert all(step["after_ms"] >= 0 for step in (steps[1], steps[4]))
    assert shown.verdict == "Verdict: ok, the row is what the topics say."
    altered = chain(pipeline.target, replace(row, customer_name="Eve"))
    assert altered.verdict == "Verdict: different: the row has other values than the transaction."


def test_who_is_flagged_and_what_each_flag_did(pipeline: Pipeline) -> None:
    """By all that is known, and by what was known before; detections by flag event, and the transactions in Kafka."""
    records_ = pipeline.target.records
    now = int(time.time() * 1000)
    rows = {row["account_id"]: row for row in listing.listing(records_, listing.Query(as_of=now)).rows()}
    assert {account: (row["state"], row["reason"]) for account, row in rows.items()} == {
        FLAGGED: ("FLAGGED", "stolen"),
        CLEARED: ("CLEARED", "found"),
    }
    published = records.parse_date(rows[CLEARED]["published"])
    before = int(published.timestamp() * 1000) - 1
    known = listing.listing(records_, listing.Query(as_of=now, known_at=before, accounts=frozenset({CLEARED})))
    assert [row["state"] for row in known.rows()] in (["FLAGGED"], [])  # of the same millisecond both are unknown
    changed = changes.changes(records_, changes.Span((0, now), (0, now)))
    assert [(row["change"], row["account_id"]) for row in changed.rows()] == [
        ("flagged", FLAGGED),
        ("changed", CLEARED),
    ]
    share = NUMBER // len(ACCOUNTS)
    for account, counts in ((FLAGGED, [share]), (CLEARED, [share // 2, 0])):
        found = effects.account(pipeline.target, account)
        assert [effect.detections.count for effect in found.effects] == counts
        assert found.detections.amount == sum(counts) * Decimal("12.50")
        assert (found.transactions.count, found.since, found.unexplained) == (share, None, 0)
        assert found.transactions.amount == share * Decimal("12.50")
        assert all(effect.late_ms and not effect.missed.count for effect in found.effects)
    with pytest.raises(NotDeployed, match=f"account {NEVER}: was never flagged or cleared"):
        effects.account(pipeline.target, NEVER)


def test_why_a_transaction_is_not_in_the_table(pipeline: Pipeline) -> None:
    """In a sentence, by the stage at which it stopped."""
    never, cleared = (
        next(n for n in range(NUMBER) if ACCOUNTS[n % 3] == account and (account == NEVER or n % 2))
        for account in (NEVER, CLEARED)
    )
    assert why_not(pipeline.target, "no such") == "it was never seen"
    assert why_not(pipeline.target, f"t-{never}") == f"account {NEVER} was never flagged"
    assert why_not(pipeline.target, f"t-{cleared}").startswith(f"account {CLEARED} was cleared from 2020-09-13T")
    early = Transaction(0, FLAGGED, BEFORE - 5000, "early")
    pipeline.produce(topics.TRANSACTIONS.name, (FLAGGED, transaction_json(early)))
    assert why_not(pipeline.target, "early").startswith(f"account {FLAGGED} was flagged from 2020-09-13T")
    pipeline.produce(topics.TRANSACTIONS.name, (FLAGGED, b'{"transaction_id":"broken"}'))
    assert why_not(pipeline.target, "broken").startswith("it is malformed and a dead letter: ")
    pipeline.caught_up()
    detected = pipeline.detections[7][0].transaction_id
    assert why_not(pipeline.target, detected) == (
        "it was detected, and lies in processed_topic; AuditWriter has not written it"
    )
    with pytest.raises(NotDeployed, match=r"transaction no such: not in the audit table.*; it was never seen"):
        explained(pipeline.target, "no such")
    ((row, found),) = explained(pipeline.target, detected)
    assert (row.transaction_id, found and found.case.word) == (detected, Word.OK)


def test_a_window_judges_what_was_published_in_it(pipeline: Pipeline) -> None:
    """Rows of transactions from before it belong to no verdict."""
    ((*_, at),) = pipeline.produce(
        topics.TRANSACTIONS.name, (NEVER, transaction_json(Transaction(0, NEVER, BEFORE, "later")))
    )
    pipeline.caught_up()
    result = pipeline.verify(since=at)
    assert (result.transactions, dict(result.counts), result.unknown) == (1, {}, False)


def test_a_window_ends_before_what_was_published_later(pipeline: Pipeline) -> None:
    """Later detections belong to no verdict."""
    whole = pipeline.verify()
    found, *_ = pipeline.detections[0]
    reader = pipeline.target.records
    place = found.transaction_partition, found.transaction_offset
    record = evidence.at(reader, topics.TRANSACTIONS.name, place)
    assert record is not None
    assert record.timestamp is not None
    result = pipeline.verify(until=record.timestamp)
    assert (dict(result.counts), found_in(result), result.unknown) == ({}, [], False)
    result = pipeline.verify(until=record.timestamp + 1)
    assert 1 <= result.counts[Word.OK] < whole.counts[Word.OK]
    assert set(result.counts) == {Word.OK}


def test_a_repair_has_what_is_missing_written(pipeline: Pipeline, writer: Writer) -> None:
    """From processed_topic and from the on-failure destination, and looks at it again."""
    pipeline.fail(8)
    with spoiled(pipeline, 3, lambda _: None), spoiled(pipeline, 8, lambda _: None):
        before = pipeline.verify()
        assert (before.counts[Word.LOST], before.counts[Word.RECOVERED]) == (1, 1)
        wanted = needed(before)
        assert [change.detail for change in wanted.plan("s").changes] == [
            "1 row from processed_topic, by AuditWriter",
            "1 row from the on-failure destination, by AuditWriter",
        ]
        list(repair(pipeline.target, wanted))
        wanted.check()
        wanted.settle(before)
        assert (wanted.document(), before.faults) == ({"repaired": 2, "not_repaired": 0}, 0)
        after = pipeline.verify()
        assert (found_in(after), after.counts[Word.OK]) == ([], before.counts[Word.OK])
    pipeline.documents.clear()
    assert writer.invocations == 1


def test_a_repair_that_does_not_work_says_so(pipeline: Pipeline, writer: Writer) -> None:
    """What is not in the table afterwards was not repaired, whatever the writer says."""
    writer.works = False
    with spoiled(pipeline, 3, lambda _: None):
        wanted = needed(pipeline.verify())
        list(repair(pipeline.target, wanted))
        assert wanted.document() == {"repaired": 0, "not_repaired": 1}
        with pytest.raises(NotAsAsked, match="1 row could not be written"):
            wanted.check()


def test_a_back_dated_flag_detects_nothing(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published more than hold after the transaction; a detection that names it had not to be."""
    monkeypatch.setattr(pipeline.target.stack, "outputs", lambda: replace(OUTPUTS, slack_ms=0, hold_ms=0))
    before = pipeline.verify()
    transaction = Transaction(0, BACK_DATED, BEFORE + 2000, "back-dated")
    (place,) = pipeline.produce(topics.TRANSACTIONS.name, (BACK_DATED, transaction_json(transaction)))
    wait_for(lambda: time.time() * 1000 > place[2] + 1, "the next millisecond")
    flag = Flag(0, BACK_DATED, BEFORE, flagged=True, reason="late")
    (flag_place,) = pipeline.produce(topics.FLAGGED.name, (BACK_DATED, flag_json(flag)))
    pipeline.caught_up()
    after = pipeline.verify()
    assert (after.counts, after.transactions) == (before.counts, before.transactions + 1)
    pipeline.detect(detection(transaction, place, flag, flag_place))
    pipeline.caught_up()
    (case,) = report.cases(pipeline.verify(), 99)
    assert (case["verdict"], case["transaction_id"]) == ("unexpected", "back-dated")
    named = f"flagged_accounts/{flag_place[0]}:{flag_place[1]}"
    assert (case["flag"], case["row"]) == (named, True)
    assert case["why"].startswith(f"no flag event detects what lies at demo_transactions/{place[0]}:{place[1]}")
    # By the hold that the other tests have, it is right.
    monkeypatch.undo()
    assert found_in(pipeline.verify()) == []


def test_what_nobody_has_read_is_in_flight_and_then_lost(pipeline: Pipeline) -> None:
    """Until the application's position is behind it; a detection that AuditWriter has not read is in flight too."""
    transaction = Transaction(0, FLAGGED, BEFORE + 9000, "fresh")
    (place,) = pipeline.produce(topics.TRANSACTIONS.name, (FLAGGED, transaction_json(transaction)))
    assert pipeline.verify().counts[Word.IN_FLIGHT] == 1
    assert why_not(pipeline.target, "fresh").startswith("it is pending")
    pipeline.caught_up()
    assert why_not(pipeline.target, "fresh").startswith("it had to be detected and was not")
    result = pipeline.verify()
    assert found_in(result) == [("lost", "fresh")]
    assert report.cases(result, 1)[0]["why"] == "not in processed_topic"
    flag = Flag(0, FLAGGED, BEFORE, flagged=True, reason="stolen")
    flag_place = next(
        (case[0].flag_partition, case[0].flag_offset, 0)
        for case in pipeline.detections
        if case[0].account_id == FLAGGED
    )
    found = detection(transaction, place, flag, flag_place)
    ((partition, offset, at),) = pipeline.produce(topics.PROCESSED.name, (FLAGGED, found.to_json()))
    assert pipeline.verify().counts[Word.IN_FLIGHT] == 1
    pipeline.commit("audit-writer", topics.PROCESSED.name)
    assert found_in(pipeline.verify()) == [("lost", "fresh")]
    pipeline.table.put_item(Item=audit_table.item(found, at, partition, offset))
    result = pipeline.verify()
    assert (found_in(result), result.copies) == ([], 0)
    pipeline.produce(topics.PROCESSED.name, (FLAGGED, found.to_json()))
    pipeline.caught_up()
    result = pipeline.verify()
    assert (found_in(result), result.copies) == ([], 1)


def test_a_detection_that_nobody_should_have_written(pipeline: Pipeline) -> None:
    """Of an account that was cleared by then."""
    transaction = Transaction(0, CLEARED, BEFORE + 50_000, "cleared")
    (place,) = pipeline.produce(topics.TRANSACTIONS.name, (CLEARED, transaction_json(transaction)))
    other = next(d[0] for d in pipeline.detections if d[0].account_id == CLEARED)
    flag = Flag(0, CLEARED, epoch_ms(other.flag_date), flagged=True, reason="lost")
    pipeline.detect(detection(transaction, place, flag, (other.flag_partition, other.flag_offset, 0)))
    pipeline.caught_up()
    assert found_in(pipeline.verify()) == [("unexpected", "cleared")]
    pipeline.table.delete_item(Key=pipeline.key(-1))
    assert found_in(pipeline.verify()) == [("unexpected", "cleared")]


class Rounds:
    """Rounds of a reconciliation that goes on, and what they have told."""

    def __init__(self, pipeline: Pipeline, file: Path) -> None:
        """Begin, or go on."""
        self.following = Following(pipeline.target, file=file, every=0.02)
        self.rounds: Any = self.following.rounds()
        self.told: list[tuple[str, str]] = []

    def until(self, condition: Callable[[Result], object], what: str) -> Result:
        """Go round until the result is so."""

        def met() -> bool:
            found = next(self.rounds)
            self.told += [(case.word.value, case.identity[2]) for case in found.new]
            return bool(condition(found.result))

        wait_for(met, what)
        return self.following.result


def test_following_judges_what_is_new(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, whatever comes late or again; a stopped writer is waited for, and what it has passed over is lost."""
    monkeypatch.setattr(pipeline.target.stack, "outputs", lambda: replace(OUTPUTS, slack_ms=0, hold_ms=0))
    whole = pipeline.verify()
    rounds = Rounds(pipeline, tmp_path / "follow.sqlite")
    result = rounds.until(lambda found: not found.counts[Word.IN_FLIGHT] and found.through, "all is judged")
    assert (result.counts, result.transactions) == (whole.counts, whole.transactions)
    assert sorted(rounds.told) == sorted(found_in(whole)) == [("unexpected", "back-dated"), ("unexpected", "cleared")]
    rounds.told.clear()
    ok = result.counts[Word.OK]

    flag = Flag(0, FLAGGED, BEFORE, flagged=True, reason="stolen")
    first = next(d[0] for d in pipeline.detections if d[0].account_id == FLAGGED)
    flag_place = first.flag_partition, first.flag_offset, 0

    def detected(name: str) -> records.FlaggedTransaction:
        transaction = Transaction(0, FLAGGED, BEFORE + 90_000, name)
        (place,) = pipeline.produce(topics.TRANSACTIONS.name, (FLAGGED, transaction_json(transaction)))
        return detection(transaction, place, flag, flag_place)

    pipeline.detect(detected("new"))
    pipeline.caught_up()
    result = rounds.until(lambda found: found.counts[Word.OK] == ok + 1, "what is new is judged")
    assert (result.transactions, rounds.told) == (whole.transactions + 1, [])

    late, never = detected("late"), detected("never")
    places = pipeline.produce(topics.PROCESSED.name, (FLAGGED, late.to_json()), (FLAGGED, never.to_json()))
    pipeline.commit(FLINK_GROUP, topics.TRANSACTIONS.name, topics.FLAGGED.name)
    rounds.until(lambda found: found.transactions == whole.transactions + 3, "they are read")
    result = rounds.until(lambda found: found.counts[Word.IN_FLIGHT] == 2, "they wait for the writer")
    assert rounds.told == []
    partition, offset, at = places[0]
    pipeline.table.put_item(Item=audit_table.item(late, at, partition, offset))
    pipeline.commit("audit-writer", topics.PROCESSED.name)
    result = rounds.until(lambda found: not found.counts[Word.IN_FLIGHT], "the writer is behind them")
    assert (result.counts[Word.OK], rounds.told) == (ok + 2, [("lost", "never")])

    copies = result.copies
    pipeline.produce(topics.PROCESSED.name, (FLAGGED, late.to_json()))
    pipeline.caught_up()
    result = rounds.until(lambda found: found.copies == copies + 1, "the copy is read")
    assert (result.counts[Word.OK], rounds.told) == (ok + 2, [("lost", "never")])

    rounds.rounds.close()
    again = Rounds(pipeline, tmp_path / "follow.sqlite")
    result = again.until(lambda found: found.through is not None, "it goes on")
    assert (result.transactions, result.counts) == (whole.transactions + 3, rounds.following.result.counts)
    pipeline.detect(detected("last"))
    pipeline.caught_up()
    result = again.until(lambda found: found.counts[Word.OK] == ok + 3, "what is new is judged")
    assert (again.told, result.transactions) == ([], whole.transactions + 4)
    again.rounds.close()


def test_what_kafka_has_deleted_is_unknown(pipeline: Pipeline, running: Servers) -> None:
    """Never exit 0 unless that is allowed, or less is asked for. From here on: nothing brings the records back."""
    before = pipeline.verify()
    names = [TopicPartition(topics.TRANSACTIONS.name, number, 5) for number in range(topics.PARTITIONS)]
    ends = {info.partition: info.latest for info in pipeline.target.topics.list()[0].partitions}
    cut = [place for place in names if ends[place.partition] > 5]
    for future in running.admin.delete_records(cut).values():
        future.result(30)
    gone = sum(
        d[0].transaction_offset < 5 and ends[d[0].transaction_partition] > 5
        for d in pipeline.detections
        if d[0].transaction_id != "cleared"
    )
    result = pipeline.verify()
    assert gone > 0
    assert result.counts[Word.UNKNOWN] == gone
    assert result.counts[Word.OK] == before.counts[Word.OK] - gone
    (gap,) = result.gaps
    assert "Kafka has deleted them" in gap
    assert result.unknown


def test_seals_outlive_the_topics(pipeline: Pipeline, seals: FolderArchive, running: Servers) -> None:
    """The last test: transactions and detections are deleted, and nothing else could tell."""
    for name in (topics.TRANSACTIONS.name, topics.PROCESSED.name):
        info = pipeline.target.topics.describe(name)
        cut = [TopicPartition(name, part.partition, part.latest) for part in info.partitions]
        for future in running.admin.delete_records(cut).values():
            future.result(30)
    for item in pipeline.table.scan()["Items"]:
        if not item["transaction_id"].startswith("t-"):  # of other tests, in windows that are sealed without them
            pipeline.table.delete_item(Key={name: item[name] for name in ("account_id", "transaction_key")})
    spoil_against(seals, pipeline)
