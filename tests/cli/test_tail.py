"""fraudctl tail, on a target in memory."""

import csv
import io
import json
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from conftest import Run
from fakes import FakeRecords, FakeStack, FakeTarget, Undeployed, batch, record

from fraudctl.clock import Clock
from fraudctl.errors import NotDeployed, Unreachable
from fraudctl.pipeline import topics
from fraudctl.pipeline.reader import Batch
from fraudctl.pipeline.records import AccountFlag, FlaggedTransaction
from fraudctl.services import tail
from fraudctl.services.tail_options import TailOptions
from fraudctl.tables import short_time
from fraudctl.target import From, Outputs, Range

VALUE = (
    b'{"transaction_id":"t-1","account_id":1000000001,"customer_name":"Ada","transaction_date":'
    b'"2026-11-24T10:15:30.123Z","merchant_type":"Grocery","transaction_type":"Online","amount":12.50}'
)
PROCESSED = VALUE[:-1] + b',"flag_date":"2026-11-24T10:00:00.000Z","flag_reason":"stolen card","flagged_by":"bo"}'

WHOLE = tail.prepare(topics.TRANSACTIONS, TailOptions())


def test_json_splices_the_value_unchanged(run: Run) -> None:
    """The amount keeps its two decimals, the document its promised fields."""
    done = run(FakeTarget(records=FakeRecords([batch(record(7, VALUE))])), "tail", "transactions", output="json")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        '{"topic":"demo_transactions","partition":0,"offset":7,"timestamp":"2026-09-21T14:13:27.000Z",'
        f'"key":"1000000001","headers":{{}},"value":{VALUE.decode()}}}\n'
    )


def test_people_see_one_line_a_record(run: Run) -> None:
    """Time, account, amount, merchant, name, id; and on processed the flag and its reason."""
    processed = record(1, PROCESSED, topic="processed_topic")
    done = run(FakeTarget(records=FakeRecords([batch(processed)])), "tail", "processed")
    assert done.out.split() == [
        *short_time("2026-09-21T14:13:21.000Z").split(),
        *("1000000001", "12.50", "Grocery", "Ada", "t-1"),
        *("flagged", *f"{short_time('2026-11-24T10:00:00.000Z')}:".split(), "stolen", "card"),
    ]
    assert len(done.out.splitlines()) == 1


def test_a_detection_of_today_fits_100_columns(run: Run) -> None:
    """Times of day, and the start of its id, which `audit show` takes; another day is named."""
    now = datetime.now(UTC)
    sample = PROCESSED.replace(b"t-1", b"9e8b63f23f3c4a162ee5c20b7e0f5224").replace(
        b',"flag_reason":"stolen card"', b""
    )
    sample = sample.replace(b"2026-11-24", now.date().isoformat().encode())
    seen = record(1, sample, topic="processed_topic", timestamp=int(now.timestamp() * 1000))
    (line,) = run(FakeTarget(records=FakeRecords([batch(seen)])), "tail", "processed").out.splitlines()
    assert line.startswith(f"{now:%H:%M:%S}  1000000001")
    assert line.endswith("  9e8b63f2  flagged 10:00:00")
    assert len(line) <= 100


def test_flags_and_dead_letters_have_lines_of_their_own(run: Run) -> None:
    """A flag says status, from when and by whom; a dead letter why, where from and its bytes."""
    flag = record(
        0,
        b'{"account_id":5,"flag_date":"2026-11-24T10:00:00.000Z","status":"CLEARED","reason":null,"flagged_by":"bo"}',
        topic="flagged_accounts",
    )
    headers = (("error", b"not JSON"), ("topic", b"demo_transactions"), ("partition", b"3"), ("offset", b"42"))
    letter = record(1, b"\xff{", topic="dead_letters", headers=headers, key=None)
    done = run(FakeTarget(records=FakeRecords([batch(flag, letter)])), "tail", "flagged")
    first, second = done.out.splitlines()
    assert " ".join(first.split()).endswith(f" 5 CLEARED from {short_time('2026-11-24T10:00:00.000Z')} by bo")
    assert "not JSON  demo_transactions/3@42  key null" in second
    assert "xff{" in second


@pytest.mark.parametrize("output", ["table", "json", "csv"])
def test_control_characters_never_reach_the_terminal(run: Run, output: str) -> None:
    """ESC, the one-character CSI and DEL are shown as escapes, in JSON too."""
    hostile = VALUE.replace(b"Ada", "Eve\\u001b[2J\x9b31m\x7f\u202e".encode())
    done = run(FakeTarget(records=FakeRecords([batch(record(1, hostile))])), "tail", "transactions", output=output)
    assert done.code == 0
    assert "Eve" in done.out
    assert not set(done.out) & set("\x1b\x9b\x7f\u202e")
    if output == "json":
        assert json.loads(done.out)["value"]["customer_name"] == "Eve\x1b[2J\x9b31m\x7f\u202e"


def test_csv_has_a_header_and_one_row_a_record(run: Run) -> None:
    """The record's own fields are columns; unknown ones are JSON, and the value of what cannot be read stands last."""
    further = VALUE.replace(b"Ada", b"Chlo\\u00e9")[:-1] + b',"city":"Ath\\u00e8nes"}'
    arriving = [batch(record(1, b'{"a":1}'), record(2, further))]
    done = run(FakeTarget(records=FakeRecords(arriving)), "tail", "transactions", output="csv")
    assert done.out.splitlines() == [
        (
            "partition,offset,timestamp,key,transaction_id,account_id,customer_name,transaction_date,merchant_type,"
            "transaction_type,amount,extra,unparsable,headers,marks"
        ),
        '0,1,2026-09-21T14:13:21.000Z,1000000001,,,,,,,,,"{""a"":1}",,',
        (
            "0,2,2026-09-21T14:13:22.000Z,1000000001,t-1,1000000001,Chloé,2026-11-24T10:15:30.123Z,Grocery,Online,12.50,"
            '"{""city"":""Athènes""}",,,'
        ),
    ]


@pytest.mark.parametrize(("topic", "kind"), [("processed", FlaggedTransaction), ("flagged", AccountFlag)])
def test_csv_of_each_topic_has_its_own_fields(
    run: Run, topic: str, kind: type[FlaggedTransaction | AccountFlag]
) -> None:
    """In the order of the record's definition."""
    (header,) = run(FakeTarget(), "tail", topic, output="csv").out.splitlines()
    assert header.split(",")[4:-4] == [field.name for field in kind.FIELDS]


def test_csv_of_dead_letters_says_why_and_from_where(run: Run) -> None:
    """And has the value as it came."""
    headers = (("error", b"not JSON"), ("topic", b"demo_transactions"), ("partition", b"3"), ("offset", b"42"))
    letter = record(1, b"{,", topic="dead_letters", headers=headers, key=None)
    done = run(FakeTarget(records=FakeRecords([batch(letter)])), "tail", "dead-letters", output="csv")
    (row,) = csv.DictReader(io.StringIO(done.out))
    assert row == {
        "partition": "0",
        "offset": "1",
        "timestamp": "2026-09-21T14:13:21.000Z",
        "key": "",
        "reason": "not JSON",
        "from_topic": "demo_transactions",
        "from_partition": "3",
        "from_offset": "42",
        "value": "{,",
        "headers": '{"error":"not JSON","topic":"demo_transactions","partition":"3","offset":"42"}',
        "marks": "",
    }


@pytest.mark.parametrize(
    ("topic", "what"),
    [
        ("processed", "Waiting for records in processed_topic; flag an account: `fraudctl flag-accounts`."),
        ("transactions", "Waiting for records in demo_transactions; switch on sample transactions: `fraudctl trans"),
    ],
)
def test_nobody_waits_in_silence(run: Run, topic: str, what: str) -> None:
    """Once, on stderr, in a pipe too; and an empty answer says so."""
    done = run(FakeTarget(records=FakeRecords([batch(), batch()])), "tail", topic, output="json")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith(what)
    assert len(done.err.splitlines()) == 1
    done = run(FakeTarget(records=FakeRecords([batch()])), "tail", topic, "--last", "5", output="json")
    assert done.err.startswith("No records there; ")


def test_tail_waits_while_aws_cannot_be_asked_either() -> None:
    """A network that is away for a while takes the stack's description with it; that is no reason to end."""
    batches = [batch(record(1, b"1")), batch(unreachable="no network"), batch(record(2, b"2"))]
    target = FakeTarget(records=FakeRecords(batches))

    class Away(FakeStack):
        def outputs(self) -> Outputs:
            raise Unreachable("stack fraud-detection: no network")

    target.stack = Away()
    notes: list[str] = []
    found = [seen.offset for some in tail.records(target, WHOLE, notes.append) for seen in some]
    assert found == [1, 2]
    assert notes == ["Kafka does not answer; waiting.", "Kafka is back."]


def test_tail_ends_when_its_stack_was_torn_down() -> None:
    """It does not wait for ever for a Kafka that will not come back."""
    down = [batch(unreachable="down")] * 9
    target = FakeTarget(records=FakeRecords([batch(record(1, b"1")), *down]))

    class Gone(FakeStack):
        def outputs(self) -> Outputs:
            raise NotDeployed("stack fraud-detection: not deployed")

    target.stack = Gone()
    notes: list[str] = []
    found = tail.records(target, WHOLE, notes.append)
    assert [seen.offset for seen in next(found)] == [1]
    with pytest.raises(NotDeployed, match="the stack was torn down"):
        next(found)
    assert notes == ["Kafka does not answer; waiting."]


def test_tail_ends_when_its_stack_stays_stopped() -> None:
    """A repair stops it for a moment only, and is waited for."""

    class Stopped(FakeTarget):
        def recover(self) -> bool:
            return False

    now = iter(range(0, 1000, 3))
    clock = Clock(monotonic=lambda: float(next(now)) + 1)
    arriving = [batch(unreachable="down")] * 3 + [batch()] + [batch(unreachable="down")] * 20
    target = Stopped(records=FakeRecords(arriving))
    with pytest.raises(Unreachable, match="it was stopped"):
        list(tail.records(target, WHOLE, print, clock))
    assert not any(tail.records(Stopped(records=FakeRecords(arriving[:4])), WHOLE, print))


def test_what_is_asked_of_the_target(run: Run) -> None:
    """From now on by default; the last N stop by themselves; names are aliases or full."""
    target = FakeTarget()
    run(target, "tail", "processed")
    run(target, "tail", "dead_letters", "--last", "5")
    run(target, "tail", "processed", "--last", "5", "--follow", "--max", "7")
    run(target, "tail", "transactions", "--from-beginning", "--no-follow")
    assert target.records.asked == [
        ("processed_topic", Range(From.NOW, by_time=True)),
        ("dead_letters", Range(From.LAST, count=5, follow=False, by_time=True)),
        ("processed_topic", Range(From.LAST, count=5, follow=True, limit=7, by_time=True)),
        ("demo_transactions", Range(From.BEGINNING, follow=False, by_time=True)),
    ]


def test_an_unknown_topic_is_a_usage_error_with_the_names(run: Run) -> None:
    """Nothing is asked of the target."""
    target = FakeTarget()
    done = run(target, "tail", "procesed")
    assert (done.code, done.out) == (2, "")
    assert "Error: topic 'procesed': no such topic" in done.err
    assert "transactions, flagged, processed, dead-letters" in done.err
    assert target.records.asked == []


@pytest.mark.parametrize(
    "options",
    [("--last", "1", "--from-beginning"), ("--last", "1", "--since", "1h"), ("--no-follow",), ("--since", "soon")],
    ids=" ".join,
)
def test_contradictions_are_usage_errors(run: Run, options: tuple[str, ...]) -> None:
    """One line, a hint, exit 2."""
    done = run(FakeTarget(), "tail", "processed", *options)
    assert (done.code, done.out) == (2, "")
    assert options[0] in done.err
    assert "Hint: " in done.err


def test_kafka_going_away_is_said_once_and_its_return_too(run: Run) -> None:
    """The records before and after come without gap; stdout has records only."""
    arriving = [
        batch(record(1, b"1")),
        batch(unreachable="down"),
        batch(unreachable="down"),
        batch(),
        batch(record(2, b"2")),
        batch(unreachable="down"),
        batch(record(3, b"3")),
    ]
    done = run(FakeTarget(records=FakeRecords(arriving)), "tail", "transactions", output="json")
    assert [json.loads(line)["value"] for line in done.out.splitlines()] == [1, 2, 3]
    assert done.err.splitlines() == ["Kafka does not answer; waiting.", "Kafka is back."] * 2


def test_ctrl_c_ends_with_130(run: Run) -> None:
    """What was read stays printed."""
    arriving: list[Batch | BaseException] = [batch(record(1, b"1")), KeyboardInterrupt()]
    done = run(FakeTarget(records=FakeRecords(arriving)), "tail", "transactions", output="json")
    assert done.code == 130
    assert json.loads(done.out)["offset"] == 1
    assert "Traceback" not in done.err


def test_a_topic_that_is_not_there_and_a_stack_that_is_not_deployed(run: Run) -> None:
    """Exit 3 with the command to run."""
    missing = NotDeployed("topic processed_topic: does not exist", hint="run `fraudctl topics create`")
    done = run(FakeTarget(records=FakeRecords([missing])), "tail", "processed")
    assert (done.code, done.out) == (3, "")
    assert "Hint: run `fraudctl topics create`" in done.err
    done = run(Undeployed(), "tail", "processed", output="json")
    assert (done.code, done.out) == (3, "")
    assert "Hint: run `fraudctl deploy` first" in done.err


def test_chosen_fields_raw_values_and_a_filter(run: Run) -> None:
    """Each as it is asked for; how many matched is said on stderr."""
    arriving = [batch(record(1, VALUE), record(2, VALUE.replace(b"12.50", b"700.00")))]
    done = run(FakeTarget(records=FakeRecords(arriving)), "tail", "transactions", "--fields", "amount,record.offset")
    assert [line.split() for line in done.out.splitlines()] == [
        ["amount", "record.offset"],
        ["12.50", "1"],
        ["700.00", "2"],
    ]
    done = run(FakeTarget(records=FakeRecords(arriving)), "tail", "transactions", "--raw")
    assert done.out.encode().splitlines() == [VALUE, VALUE.replace(b"12.50", b"700.00")]
    why = ("--where", "amount > 500", "--why-not")
    done = run(FakeTarget(records=FakeRecords(arriving)), "tail", "transactions", *why, output="json")
    assert [json.loads(line)["stopped_by"] for line in done.out.splitlines()] == ["amount > 500", None]
    assert done.err.splitlines() == ["Matched 1 of 2."]


@pytest.mark.parametrize("options", [("--raw", "--fields", "amount"), ("--where", "amount >")], ids=" ".join)
def test_what_does_not_go_together(run: Run, options: tuple[str, ...]) -> None:
    """One line, a hint, exit 2."""
    done = run(FakeTarget(), "tail", "transactions", *options)
    assert (done.code, done.out) == (2, "")
    assert f"Error: {options[0]}" in done.err


def test_what_was_expected_did_not_come(run: Run) -> None:
    """Exit 8 with the number; 0 when it came."""
    arriving = [batch(record(1, VALUE))]
    done = run(FakeTarget(records=FakeRecords(arriving)), "tail", "processed", "--expect", "2", output="json")
    assert done.code == 8
    assert "Error: tail: 1 of 2 expected records within 30 s" in done.err
    assert json.loads(done.out)["offset"] == 1
    done = run(FakeTarget(records=FakeRecords(arriving)), "tail", "processed", "--expect", "1")
    assert done.code == 0


@pytest.mark.parametrize(
    ("options", "rest"),
    [
        (("--where", "amount > 5"), "--where 'amount > 5'"),
        (("--from-beginning", "--no-follow"), "--no-follow"),
        (("--last", "4", "--follow", "--max", "3"), "--max 2"),
        (
            ("--until", "2026-11-24T10:00:00Z", "--why-not", "--key", "k v"),
            "--until 1795514400000 --key 'k v' --why-not",
        ),
        (("--order", "partition", "--stats", "--raw"), "--stats --order partition --raw"),
        (("--fields", "amount,record.offset"), "--fields amount,record.offset"),
    ],
    ids=str,
)
def test_ctrl_c_says_how_to_go_on(run: Run, options: tuple[str, ...], rest: str) -> None:
    """With the offsets behind what was shown, and what else was asked for."""
    arriving: list[Batch | BaseException] = [batch(record(1, VALUE)), KeyboardInterrupt()]
    done = run(FakeTarget(records=FakeRecords(arriving)), "tail", "transactions", *options)
    assert done.code == 130
    assert (
        done.err.splitlines()[-1]
        == f"Interrupted. Go on with `fraudctl tail transactions --offsets 0:2 {rest} -o table`."
    )
    assert done.err.count("Interrupted") == 1


def test_ctrl_c_says_what_matched_wherever_it_comes(run: Run) -> None:
    """While it waits; and nothing can be gone on with when all was shown, or nothing read."""
    where, limit = ("--where", "amount > 500"), ("--max", "1")
    arriving: list[Batch | BaseException] = [batch(record(1, VALUE)), KeyboardInterrupt()]
    done = run(FakeTarget(records=FakeRecords(arriving)), "tail", "transactions", *where, "--why-not", *limit)
    assert (done.code, done.err.splitlines()) == (130, ["Matched 0 of 1.", "Interrupted."])
    done = run(FakeTarget(records=FakeRecords(arriving[1:])), "tail", "transactions", *where)
    assert (done.code, done.err.splitlines()) == (130, ["Interrupted."])


def test_who_reads_no_further_is_told_nothing() -> None:
    """As when the pipe was closed: `head` has what it wanted."""
    notes: list[str] = []
    ready = tail.prepare(topics.TRANSACTIONS, TailOptions(grep="Grocery", stats=True, from_beginning=True))
    found = tail.records(FakeTarget(records=FakeRecords([batch(record(1, VALUE))] * 3)), ready, notes.append)
    assert isinstance(found, Generator)
    next(found)
    found.close()
    assert notes == []


@pytest.mark.parametrize(
    ("arriving", "said"),
    [
        ([replace(batch(), scanned=0)], "Waiting for records in demo_transactions; switch on sample transactions"),
        ([replace(batch(record(4, b"1")), records=[])], "No match in 1 record of demo_transactions; waiting for more."),
        ([batch(record(4, VALUE)), batch()], ""),
        ([replace(batch(), positions={0: 7}, ends={0: 9}), batch(record(8, VALUE))], ""),  # not at the end yet
    ],
    ids=["nothing there", "nothing matches", "something", "not yet"],
)
def test_what_is_waited_for(arriving: list[Batch], said: str) -> None:
    """Said once, when all that is there was read and nothing could be shown."""
    notes: list[str] = []
    ready = tail.prepare(topics.TRANSACTIONS, TailOptions(from_beginning=True))
    for _ in tail.records(FakeTarget(records=FakeRecords([*arriving, batch(), batch()])), ready, notes.append):
        pass
    assert [note[: len(said)] for note in notes] == ([said] if said else [])


def test_records_that_were_deleted_meanwhile_are_counted(run: Run) -> None:
    """On stderr, with their partition."""
    arriving = [replace(batch(record(900, VALUE)), lost={0: 900})]
    done = run(FakeTarget(records=FakeRecords(arriving)), "tail", "transactions", "--from-beginning", output="json")
    assert done.err.splitlines()[0] == (
        "900 records of demo_transactions, partition 0, were deleted before they could be read."
    )
