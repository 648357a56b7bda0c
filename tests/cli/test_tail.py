"""fraudctl tail, on a target in memory."""

import json

import pytest
from conftest import Run
from fakes import FakeRecords, FakeTarget, Undeployed, batch, record

from fraudctl.errors import NotDeployed
from fraudctl.pipeline.reader import Batch
from fraudctl.target import From, Range

VALUE = (
    b'{"transaction_id":"t-1","account_id":1000000001,"customer_name":"Ada","transaction_date":'
    b'"2026-11-24T10:15:30.123Z","merchant_type":"Grocery","transaction_type":"Online","amount":12.50}'
)
PROCESSED = VALUE[:-1] + b',"flag_date":"2026-11-24T10:00:00.000Z","flag_reason":"stolen card","flagged_by":"bo"}'


def test_json_splices_the_value_unchanged(run: Run) -> None:
    """The amount keeps its two decimals, the document its promised fields."""
    done = run(FakeTarget(records=FakeRecords([batch(record(7, VALUE))])), "tail", "transactions", output="json")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        '{"topic":"demo_transactions","partition":0,"offset":7,"timestamp":"2026-09-21T14:13:27.000Z",'
        f'"key":"1000000001","value":{VALUE.decode()},"headers":{{}}}}\n'
    )


def test_people_see_one_line_a_record(run: Run) -> None:
    """Time, account, amount, merchant, name, id; and on processed the flag and its reason."""
    processed = record(1, PROCESSED, topic="processed_topic")
    done = run(FakeTarget(records=FakeRecords([batch(processed)])), "tail", "processed")
    assert done.out.split() == [
        *("2026-09-21T14:13:21.000Z", "1000000001", "12.50", "Grocery", "Ada", "t-1"),
        *("flagged", "2026-11-24T10:00:00.000Z:", "stolen", "card"),
    ]
    assert len(done.out.splitlines()) == 1


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
    assert first.split()[1:] == ["5", "CLEARED", "from", "2026-11-24T10:00:00.000Z", "by", "bo"]
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
    """The value is one quoted cell."""
    done = run(FakeTarget(records=FakeRecords([batch(record(1, b'{"a":1}'))])), "tail", "transactions", output="csv")
    assert done.out.splitlines() == [
        "topic,partition,offset,timestamp,key,value",
        'demo_transactions,0,1,2026-09-21T14:13:21.000Z,1000000001,"{""a"":1}"',
    ]


def test_what_is_asked_of_the_target(run: Run) -> None:
    """From now on by default; the last N stop by themselves; names are aliases or full."""
    target = FakeTarget()
    run(target, "tail", "processed")
    run(target, "tail", "dead_letters", "--last", "5")
    run(target, "tail", "processed", "--last", "5", "--follow", "--max", "7")
    run(target, "tail", "transactions", "--from-beginning", "--no-follow")
    assert target.records.asked == [
        ("processed_topic", Range(From.NOW)),
        ("dead_letters", Range(From.LAST, count=5, follow=False)),
        ("processed_topic", Range(From.LAST, count=5, follow=True, limit=7)),
        ("demo_transactions", Range(From.BEGINNING, follow=False)),
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
    [("--last", "1", "--from-beginning"), ("--last", "1", "--since", "1h"), ("--no-follow",), ("--since", "yesterday")],
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
