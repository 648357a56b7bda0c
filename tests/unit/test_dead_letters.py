"""Dead letters: what they are, where their error lies, what is counted, and which are sent again."""

import base64
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeTarget
from hypothesis import given
from hypothesis import strategies as st
from topics_in_memory import TopicsInMemory

from fraudctl.clock import Clock
from fraudctl.errors import BadConfig, NotAsAsked, NotDeployed, OperationFailed, TimedOut
from fraudctl.pipeline.fields import MAX_DEPTH
from fraudctl.pipeline.reader import Record
from fraudctl.pipeline.records import Transaction
from fraudctl.pipeline.text import shown
from fraudctl.services.dead_letters import editing, excerpts, letters, selection
from fraudctl.services.dead_letters.by import By
from fraudctl.services.dead_letters.groups import Groups, kind_of
from fraudctl.services.dead_letters.letters import Wanted, letter_of
from fraudctl.services.dead_letters.outcomes import Outcome
from fraudctl.services.dead_letters.redrive import Redrive
from fraudctl.services.dead_letters.spans import Span, located
from fraudctl.services.record_fields import TYPES
from fraudctl.services.where import compile_where
from fraudctl.target import FlinkStatus, TopicInfo

CORPUS = [json.loads(line) for line in (Path(__file__).parents[1] / "data" / "records.jsonl").read_text().splitlines()]
DEAD, TX, FLAGS = "dead_letters", "demo_transactions", "flagged_accounts"
GOOD = (
    '{"transaction_id":"t-1","account_id":7001,"customer_name":"Zoë","transaction_date":"2026-11-24T10:15:30.123Z",'
    '"merchant_type":"Grocery","transaction_type":"Online","amount":12.50}'
).encode()
BAD = GOOD.replace(b"12.50", b'"12.50"')
AMOUNT = "amount is not a number from 0.00 to 999999999.99 with at most two decimals"


# --- where the error lies


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        (BAD, b'"12.50"'),
        (GOOD.replace(b"12.50", b"1e3"), b"1e3"),
        (GOOD.replace(b"12.50", b'{"value":[1,"}"]}'), b'{"value":[1,"}"]}'),
        (GOOD.replace(b"7001", b'"7001"'), b'"7001"'),
        (GOOD.replace(b"Zo\xc3\xab", b"a" * 257), b'"' + b"a" * 257 + b'"'),
        (GOOD.replace(b"12.50", b"NaN"), b"NaN"),
        (GOOD.replace(b"}", b',"flag_date":1}'), b'"flag_date"'),
        (GOOD.replace(b"}", b',"x":{"a":1,"\\u0061":2}}'), b'"\\u0061"'),
        (GOOD.replace(b',"amount":12.50', b""), b"}"),
        (GOOD + b" x", b"x"),
        (b"[" + GOOD + b"]", b"["),
        (b"\xef\xbb\xbf" + GOOD, b"\xef\xbb\xbf"),
        (GOOD.replace("ë".encode(), b"\xeb"), b"\xeb"),
        (b"\x00\x00\x00\x00\x2a" + GOOD, b"\x00\x00\x00\x00\x2a"),
        (b'{"a":' * (MAX_DEPTH + 3) + b"1" + b"}" * (MAX_DEPTH + 3), b"{"),
    ],
)
def test_the_span_is_what_is_wrong(value: bytes, wrong: bytes) -> None:
    """Exactly these bytes; what has no place of its own is at the object's end."""
    found = located(Transaction, value)
    assert found is not None
    span = found[1]
    assert span is not None
    assert value[span.start : span.end] == wrong


def test_the_span_of_the_right_one_of_several() -> None:
    """The last value of a field, the second of two names, the first bracket too many, the end of what is cut off."""
    deep = b'{"a":' * (MAX_DEPTH + 3)
    assert located(Transaction, deep + b"1" + b"}" * (MAX_DEPTH + 3)) == (
        f"nested deeper than {MAX_DEPTH}",
        Span(5 * MAX_DEPTH, 5 * MAX_DEPTH + 1),
    )
    twice = b'{"a":{"b":1},"b":2,"a":3}'
    assert located(Transaction, twice) == ("a field is repeated", Span(19, 22))
    cut = GOOD[:-1]
    found = located(Transaction, cut)
    assert found is not None
    assert found[1] == Span(len(cut), len(cut))
    assert located(Transaction, GOOD[:20]) is not None
    assert located(Transaction, GOOD[:20])[1] == Span(20, 20)  # type: ignore[index]
    assert located(Transaction, b"x" * 70_000) == ("too long: 70000 bytes, the limit is 65536", Span(65536, 65537))
    assert located(Transaction, None) == ("the value is null", None)
    assert located(Transaction, GOOD) is None


def value_of(case: dict[str, Any]) -> bytes | None:
    """Give the bytes of a line of the corpus."""
    if "repeat" in case:
        parts = {name: base64.b64decode(case["repeat"][f"{name}_base64"]) for name in ("prefix", "unit", "suffix")}
        return parts["prefix"] + int(case["repeat"]["times"]) * parts["unit"] + parts["suffix"]
    return None if case["value_base64"] is None else base64.b64decode(case["value_base64"])


def test_every_malformed_record_of_the_corpus_has_a_place_within_its_bytes() -> None:
    """Whatever strangers send; what can be shown is shown, and no character of it can drive a terminal."""
    for case in CORPUS:
        value = value_of(case)
        found = located(TYPES[case["topic"]], value)
        assert (found is None) == (case["verdict"] == "good"), case["name"]
        if found is None or not value:
            continue
        span = found[1]
        assert span is not None, case["name"]
        assert 0 <= span.start <= span.end <= len(value), case["name"]
        rows = excerpts.lines(value, span)
        assert sum("^" in line and not line.strip(" ^") for line in rows) >= 1, (case["name"], rows)
        lines = [*rows, excerpts.sample(value, span)]
        assert lines == [shown(line) for line in lines], case["name"]


@given(st.binary(max_size=12), st.integers(0, len(GOOD)), st.integers(0, 12))
def test_whatever_bytes_have_a_place_that_can_be_shown(piece: bytes, at: int, gone: int) -> None:
    """A record with some of its bytes replaced: nothing is raised, carets stand within the bytes, nothing is obeyed."""
    value = GOOD[:at] + piece + GOOD[at + gone :]
    found = located(Transaction, value)
    span = found[1] if found is not None else None
    assert span is None or 0 <= span.start <= span.end <= len(value)
    lines = [*excerpts.lines(value, span), excerpts.sample(value, span)]
    assert lines == [shown(line) for line in lines]
    assert span is None or any("^" in line and not line.strip(" ^") for line in lines)


# --- how it is shown


def test_carets_stand_below_what_is_wrong() -> None:
    """Rows of at most 72 cells, each with the offset of its first byte."""
    found = located(Transaction, BAD)
    assert found is not None
    lines = excerpts.lines(BAD, found[1])
    assert lines[0] == '  0  {"transaction_id":"t-1","account_id":7001,"customer_name":"Zoë","transac'
    at = next(index for index, line in enumerate(lines) if "^" in line)
    start = lines[at].index("^")
    assert lines[at - 1][start : start + 7] == '"12.50"'
    assert lines[at].strip() == "^" * 7


def test_wide_characters_and_escapes_move_the_carets_by_cells() -> None:
    """A character of two cells, and a control character that is shown as an escape."""
    value = '{"a":"山\u0085",'.encode()
    lines = excerpts.lines(value, Span(6, 9))
    assert lines == ['0  {"a":"山\\x85",', "         ^^"]
    assert excerpts.lines(value, Span(9, 11))[1] == "           ^^^^"


def test_lines_of_a_value_are_lines_and_an_end_is_behind_the_last() -> None:
    """Pretty JSON keeps its lines."""
    assert excerpts.lines(b'{\n "a": 1', Span(9, 9)) == ["0  {", '2   "a": 1', "          ^"]
    assert excerpts.lines(b"{\n", Span(2, 2)) == ["0  {", "2  ", "   ^"]


def test_bytes_that_are_no_text_are_hexadecimal() -> None:
    """Sixteen a line, with carets below each byte."""
    assert excerpts.lines(b"\x00\x00\x00\x00\x2aabcdefghijklmn", Span(0, 5)) == [
        " 0  00 00 00 00 2a 61 62 63 64 65 66 67 68 69 6a 6b  ....*abcdefghijk",
        "    ^^ ^^ ^^ ^^ ^^",
        "16  6c 6d 6e                                         lmn",
    ]


def test_of_many_rows_those_around_the_error_are_shown() -> None:
    """And how many bytes lie before and behind."""
    lines = excerpts.lines(b"x" * 10_000, Span(5_000, 5_001))
    assert len(lines) == 24 + 3
    assert lines[0].endswith("bytes before")
    assert lines[-1].endswith("bytes more")
    assert sum("^" in line for line in lines) == 1


def test_a_sample_has_the_error_in_it() -> None:
    """However long the record; a character is never cut."""
    assert '"12.50"' in excerpts.sample(BAD, Span(len(BAD) - 8, len(BAD) - 1))
    assert excerpts.sample(b"a" * 16 + "ë".encode() * 100, Span(117, 118)).strip("…") == "ë" * 24
    assert excerpts.sample(b"\x1b[2Jcaf\xe9") == "\\x1b[2Jcaf\\xe9"
    assert (excerpts.sample(None), excerpts.sample(b"")) == ("null", "empty")


# --- what a letter is


def own(error: str = AMOUNT, topic: str = TX, partition: int = 1, offset: int = 42) -> tuple[tuple[str, bytes], ...]:
    """Give the headers that the application appends."""
    return (
        ("error", error.encode()),
        ("topic", topic.encode()),
        ("partition", b"%d" % partition),
        ("offset", b"%d" % offset),
        ("timestamp", b"2026-11-24T10:15:31.000Z"),
    )


def record(value: bytes | None = BAD, headers: tuple[tuple[str, bytes | None], ...] = own(), offset: int = 7) -> Record:
    """Give a record of dead_letters."""
    return Record(DEAD, 0, offset, 1_790_000_000_000, b"7001", value, headers)


def test_a_letter_has_the_originals_headers_without_the_applications() -> None:
    """Also where the original had some of the same names, and none of a time."""
    letter = letter_of(record(headers=(("trace", b"\xff"), ("error", b"mine"), *own())))
    assert letter.headers == (("trace", b"\xff"), ("error", b"mine"))
    assert (letter.error, letter.topic, letter.origin) == (AMOUNT, TX, (1, 42))
    assert letter.published == "2026-11-24T10:15:31.000Z"
    assert letter_of(record(headers=(("timestamp", b"1"), *own()[:-1]))).headers == (("timestamp", b"1"),)


def test_what_the_application_did_not_write_has_no_way_back() -> None:
    """Whoever writes into dead_letters cannot have it written into another topic."""
    foreign = letter_of(record(headers=(("topic", TX.encode()),)))
    assert foreign.topic is None
    assert "did not write" in foreign.error


def test_what_is_sent_names_its_letter_and_counts() -> None:
    """Key and headers are the original's; the marks of the redrive before are replaced."""
    marks = (("redrive-of", b"dead_letters/1:3"), ("redrive-count", b"1"))
    letter = letter_of(record(headers=(("trace", b"x"), *marks, *own())))
    assert (letter.redrives, letter.redrive_of) == (1, "dead_letters/1:3")
    sent = letter.outgoing(GOOD)
    assert (sent.key, sent.value) == (b"7001", GOOD)
    assert sent.headers == (("trace", b"x"), ("redrive-of", b"dead_letters/0:7"), ("redrive-count", b"2"))


@pytest.mark.parametrize("given", ["7", "0:", "a:1", "-1:3", "0:1:2", "processed_topic/0:1"])
def test_a_place_is_partition_and_offset(given: str) -> None:
    """Anything else is refused with how it is written."""
    with pytest.raises(BadConfig, match="PARTITION:OFFSET"):
        letters.place(given)
    assert letters.place("dead_letters/3:42") == (3, 42)


def test_groups_count_by_what_is_common() -> None:
    """Positions and lengths do not tell errors apart; times, sample, and those that came back."""
    groups = Groups(By.ERROR)
    for number, error in enumerate(["not UTF-8 at byte 7", "not UTF-8 at byte 9", AMOUNT]):
        marks = (("redrive-of", b"dead_letters/0:1"), ("redrive-count", b"3")) if number == 1 else ()
        groups.add(letter_of(record(offset=number, headers=(*marks, *own(error)))._replace(timestamp=number * 1000)))
    rows = groups.rows()
    assert [(row["error"], row["count"], row["sample"], row["redriven"], row["parked"]) for row in rows] == [
        ("not UTF-8 at byte …", 2, "0:1", 1, 1),
        (AMOUNT, 1, "0:2", 0, 0),
    ]
    assert (rows[0]["first"], rows[0]["last"]) == ("1970-01-01T00:00:00.000Z", "1970-01-01T00:00:01.000Z")
    assert kind_of("too long: 70000 bytes, the limit is 65536") == "too long: … bytes, the limit is 65536"


def test_each_letter_by_itself_is_in_the_order_of_time() -> None:
    """Not in that of reading, partition by partition."""
    groups = Groups(By.LETTER)
    for offset, at in ((5, 3000), (6, 1000)):
        groups.add(letter_of(record(offset=offset)._replace(timestamp=at)))
    assert [row["letter"] for row in groups.rows()] == ["0:6", "0:5"]
    assert groups.newest.name == "0:5"
    assert all('"12.50"' in row["excerpt"] and row["source"] == f"{TX}/1:42" for row in groups.rows())


@pytest.mark.parametrize(
    ("by", "value"),
    [
        (By.TOPIC, TX),
        (By.PARTITION, f"{TX}/1"),
        (By.KEY, "7001"),
        (By.HOUR, "2026-09-21T14"),
        (By.DAY, "2026-09-21"),
    ],
)
def test_groups_by_anything_else(by: By, value: str) -> None:
    """One row, named like the option."""
    groups = Groups(by)
    groups.add(letter_of(record()))
    (row,) = groups.rows()
    assert (row[by.value], row["count"]) == (value, 1)


# --- sending again


@dataclass
class Application:
    """The Flink application, as far as dead letters go: sets aside what is malformed, and commits what it has read."""

    kafka: TopicsInMemory
    state: str = "RUNNING"
    reads: bool = True

    def __post_init__(self) -> None:
        """Listen to what is written."""
        self.kafka.written = self.take

    def take(self, record: Record) -> None:
        """Set a record aside if it is malformed, with its headers."""
        if not self.reads or record.topic not in {TX, FLAGS}:
            return
        found = located(TYPES[record.topic], record.value)
        if found is not None:
            headers = (*record.headers, *own(found[0], record.topic, record.partition, record.offset))
            self.kafka.append(DEAD, record.value, record.key, headers)

    def committed(self, topic: str) -> Mapping[str, Mapping[int, int]]:
        """Return where it goes on."""
        ends = {number: len(log) for number, log in enumerate(self.kafka.log(topic))}
        return {"fraud-detection": ends if self.reads else {}}

    def list(self, *, activity: bool = False) -> list[TopicInfo]:
        """Return the topics."""
        del activity
        return self.kafka.infos()

    def status(self) -> FlinkStatus:
        """Return its state."""
        return FlinkStatus(self.state)


@dataclass
class Stage:
    """A target whose topics are in memory, and a clock that does not wait."""

    kafka: TopicsInMemory = field(default_factory=TopicsInMemory)
    application: Application = field(init=False)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Start the application."""
        self.application = Application(self.kafka)

    def redrive(self, wanted: Wanted = Wanted(), **options: Any) -> Redrive:  # noqa: B008 - frozen
        """Give one that has read."""
        target: Any = FakeTarget()
        target.records, target.topics, target.flink = self.kafka, self.application, self.application
        clock = Clock(sleep=self._sleep, monotonic=lambda: self.seconds)
        found = Redrive(target, wanted, clock=clock, **options)
        list(found.read())
        return found

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def sent(self, topic: str = TX) -> list[str]:
        """Give what the records of a topic were sent again for."""
        marks = (dict(record.headers).get("redrive-of") for log in self.kafka.log(topic) for record in log)
        return sorted(mark.decode() for mark in marks if mark is not None)


@pytest.fixture
def stage() -> Stage:
    """A stage with three dead letters: two transactions and a flag event."""
    found = Stage()
    found.kafka.append(TX, BAD)
    found.kafka.append(TX, b"{", key=None, partition=1)
    found.kafka.append(FLAGS, b"[]")
    return found


def done(redrive: Redrive, within: float = 60) -> list[str]:
    """Send and wait; give each outcome."""
    list(redrive.send())
    list(redrive.wait(within))
    return [item.outcome.value for item in redrive.items]


def test_fixed_letters_go_back_to_their_topics_and_are_accepted(stage: Stage) -> None:
    """Each to the topic in its header, with its key."""
    redrive = stage.redrive()
    assert [item.letter.full_name for item in redrive.items] == [f"{DEAD}/0:0", f"{DEAD}/0:1", f"{DEAD}/0:2"]
    flag = b'{"account_id":7,"flag_date":"2026-11-24T10:00:00.000Z","status":"CLEARED","reason":null,"flagged_by":"bo"}'
    redrive.edit(lambda before, _: flag if before == b"[]" else GOOD)
    assert [(change.component, change.detail) for change in redrive.plan().changes] == [
        (TX, "2 dead letters: 0:0, 0:1"),
        (FLAGS, "1 dead letter: 0:2"),
    ]
    assert done(redrive) == ["accepted"] * 3
    redrive.check()
    assert stage.sent() == [f"{DEAD}/0:0", f"{DEAD}/0:1"]
    assert stage.sent(FLAGS) == [f"{DEAD}/0:2"]
    assert [record.key for log in stage.kafka.log(TX) for record in log if record.headers] == [b"7001", None]


def test_unfixed_letters_come_back_and_are_parked_after_three(stage: Stage) -> None:
    """Exit 8 names each with its error; the fourth time nothing is sent, unless asked for."""
    wanted = Wanted(where=compile_where('record.headers.error like "amount%"'))
    for turn in range(1, 4):
        redrive = stage.redrive(wanted)
        (item,) = redrive.items
        assert "would come back" in redrive.plan().notes[-2]
        assert item.letter.redrives == turn - 1
        assert done(redrive) == ["came back"]
        with pytest.raises(NotAsAsked) as raised:
            redrive.check()
        assert AMOUNT in raised.value.excerpt[0]
        assert ("parked" in str(raised.value)) == (turn == 3)
    redrive = stage.redrive(wanted)
    assert redrive.items == []
    assert [item.outcome for item in redrive.left] == [Outcome.REDRIVEN] * 3 + [Outcome.PARKED]
    assert not redrive.plan().changes
    assert len(stage.redrive(wanted, parked=True).items) == 1


def test_what_was_sent_is_not_sent_again(stage: Stage) -> None:
    """Killed in the middle of sending, and run again: each letter is sent once."""
    stage.kafka.fails_after = 1
    redrive = stage.redrive()
    with pytest.raises(KeyboardInterrupt):
        list(redrive.send())
    assert (stage.sent(), stage.sent(FLAGS)) == ([f"{DEAD}/0:0"], [])
    stage.kafka.fails_after = None
    again = stage.redrive()
    assert [item.letter.name for item in again.left if item.outcome is Outcome.REDRIVEN] == ["0:0"]
    assert [item.letter.name for item in again.items] == ["0:1", "0:2", "0:3"]  # the last one is the first, come back
    done(again)
    assert stage.sent() == [f"{DEAD}/0:0", f"{DEAD}/0:1", f"{DEAD}/0:3"]
    assert stage.sent(FLAGS) == [f"{DEAD}/0:2"]


def test_what_somebody_else_sends_meanwhile_is_not_sent_again(stage: Stage) -> None:
    """Between the plan and the yes."""
    mine, other = stage.redrive(), stage.redrive()
    list(other.send())
    list(mine.send())
    assert mine.items == []
    assert len(stage.sent()) == 2


def test_reading_begins_when_the_first_letter_was_set_aside(stage: Stage) -> None:
    """No week of transactions is read for a letter of today."""
    first = stage.kafka.log(DEAD)[0][0].timestamp
    assert first is not None
    stage.redrive()
    starts = [wanted.since for topic, wanted in stage.kafka.asked if topic == TX]
    assert starts == [first - 60_000]


def test_where_retention_has_deleted_what_would_tell_a_letter_is_left_out_unless_named(stage: Stage) -> None:
    """Nobody knows whether it was sent before."""
    stage.kafka.now += 8 * 86_400_000
    stage.kafka.append(TX, GOOD)
    stage.kafka.delete(TX, 0, before=1)
    redrive = stage.redrive()
    assert [item.outcome for item in redrive.left] == [Outcome.FORGOTTEN] * 2
    assert [item.letter.topic for item in redrive.items] == [FLAGS]  # that topic is kept for ever
    named = stage.redrive(Wanted(places=frozenset({(0, 0)})))
    assert [item.letter.name for item in named.items] == ["0:0"]


def test_a_letter_that_came_back_proves_that_it_was_sent(stage: Stage) -> None:
    """Also when its topic has lost the record that was sent."""
    done(stage.redrive())
    stage.kafka.now += 8 * 86_400_000
    for partition, log in enumerate(stage.kafka.log(TX)):
        stage.kafka.delete(TX, partition, before=len(log))
    outcomes = {item.letter.name: item.outcome for item in stage.redrive().left}
    assert outcomes["0:0"] is Outcome.REDRIVEN


def test_an_application_that_does_not_run_or_read_is_not_waited_for_for_ever(stage: Stage) -> None:
    """Exit 6, with what to run."""
    stage.application.reads = False
    redrive = stage.redrive()
    list(redrive.send())
    with pytest.raises(TimedOut, match="not read the 3 records within 30 s"):
        list(redrive.wait(30))
    assert stage.seconds >= 30
    stage.application.state = "STOPPED"
    with pytest.raises(TimedOut, match="it is STOPPED") as raised:
        list(redrive.wait(30))
    assert "fraudctl flink start" in str(raised.value.hint)


def test_max_sends_the_oldest_and_says_that_there_are_more(stage: Stage) -> None:
    """The next run goes on behind them."""
    stage.application.reads = False
    redrive = stage.redrive(most=2)
    assert "there are more" in redrive.plan().notes[-1]
    list(redrive.send())
    assert [item.letter.name for item in stage.redrive(most=2).items] == ["0:2"]


def test_letters_beyond_what_is_held_at_once_come_next(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were sent before do not stand in the way of those behind them."""
    stage.application.reads = False
    monkeypatch.setattr(selection, "MOST_LETTERS", 1)
    sent = []
    for _ in range(3):
        redrive = stage.redrive()
        list(redrive.send())
        sent += [item.letter.name for item in redrive.items]
    assert sent == ["0:0", "0:1", "0:2"]
    assert "left out: 3 letters, sent again before" in stage.redrive().plan().notes


def test_what_is_left_as_it_was_in_the_editor_is_not_sent(stage: Stage) -> None:
    """Closing an editor without a change means no."""
    redrive = stage.redrive()
    redrive.edit(lambda before, _: GOOD if before == BAD else before)
    assert [item.letter.name for item in redrive.items] == ["0:0"]
    assert [item.outcome for item in redrive.left] == [Outcome.UNCHANGED] * 2


def test_a_letter_that_is_not_there_is_named(stage: Stage) -> None:
    """Exit 3."""
    with pytest.raises(NotDeployed, match="0:99 is not there"):
        stage.redrive(Wanted(places=frozenset({(0, 0), (0, 99)})))
    with pytest.raises(NotDeployed, match="0:99 is not there"):
        letters.one(stage.kafka, (0, 99))


def test_a_new_hold_is_said(stage: Stage) -> None:
    """Of transactions alone."""
    assert any("new hold" in note for note in stage.redrive().plan().notes)
    flags = Wanted(where=compile_where(f'record.headers.topic == "{FLAGS}"'))
    assert not any("new hold" in note for note in stage.redrive(flags).plan().notes)


# --- the editor


def test_the_editor_gets_the_bytes_and_gives_them_back(tmp_path: Path) -> None:
    """A line end that it adds is no part of the record; bytes that are no text survive."""
    program = tmp_path / "editor"
    program.write_text(
        f"#!{sys.executable}\nimport sys\np = sys.argv[-1]\nb = open(p, 'rb').read()\n"
        "assert sys.argv[1] == '-x'\nopen(p, 'wb').write(b.replace(b'a', b'b') + b'\\n')\n"
    )
    program.chmod(0o700)
    notes: list[str] = []
    edit = editing.editor(f"{program} -x", notes.append)
    assert edit(b"\xffa", "0:1: why") == b"\xffb"
    assert edit(b"a\n", "0:1") == b"b\n\n"
    assert notes[0] == "Editing 0:1: why"


def test_without_an_editor_or_with_one_that_fails_nothing_is_sent() -> None:
    """Each says what to do."""
    with pytest.raises(BadConfig, match="no editor"):
        editing.editor("", print)
    with pytest.raises(BadConfig, match="editor /no/such"):
        editing.editor("/no/such", print)(b"", "")
    with pytest.raises(OperationFailed, match="ended with 1"):
        editing.editor("false", print)(b"", "")
