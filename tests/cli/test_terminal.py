"""The executable on a terminal and in a pipe: colours, width, Ctrl-C, a reader that leaves, hostile bytes."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer
from executable import EXECUTABLE, Fraudctl, kafka_alone
from lambda_tools import mock_brokers
from terminal import CTRL_C, on_terminal

from fraudctl.pipeline import topics

WAITING = b"Waiting for records"
NAME = "Ada Augusta King-Noel, Countess of Lovelace"


class Brokers:
    """A broker in this process, and fraudctl with a stack of it."""

    def __init__(self, address: str, fraudctl: Fraudctl) -> None:
        """Store both."""
        self.fraudctl = fraudctl
        self._producer = Producer({"bootstrap.servers": address})

    def write(self, topic: topics.Topic, *values: bytes) -> None:
        """Write values into partition 0."""
        for value in values:
            self._producer.produce(topic.name, value, partition=0)
        assert self._producer.flush(30) == 0

    @property
    def environment(self) -> dict[str, str]:
        """The environment of somebody with a terminal that has colours."""
        mine = {name: value for name, value in self.fraudctl.environment.items() if name not in {"NO_COLOR", "COLUMNS"}}
        return {**mine, "TERM": "xterm-256color"}


def transaction(number: int) -> bytes:
    """Give a transaction's bytes."""
    return (
        f'{{"transaction_id":"t-{number:032d}","account_id":1000000001,"customer_name":"{NAME}","amount":{number}.50,'
        '"transaction_date":"2026-11-24T10:15:30.123Z","merchant_type":"Grocery","transaction_type":"Online"}'
    ).encode()


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    """Run a broker with all topics, each with a record."""
    home = tmp_path_factory.mktemp("home")
    with mock_brokers() as address, kafka_alone(home, address) as fraudctl:
        found = Brokers(address, fraudctl)
        for topic in topics.ALL:
            found.write(topic, transaction(0))
        yield found


def test_colours_on_a_terminal_and_none_in_a_pipe(brokers: Brokers) -> None:
    """Nor where they are not wanted, by either way to say so."""
    command = [str(EXECUTABLE), "tail", "nothing"]
    with on_terminal(command, brokers.environment) as terminal:
        assert terminal.end() == 2
        assert terminal.output.startswith(b"\x1b[31mError: ")
    for environment, more in (({"NO_COLOR": "1"}, []), ({}, ["--no-color"])):
        with on_terminal([*command, *more], brokers.environment | environment) as terminal:
            assert terminal.end() == 2
            assert terminal.output.startswith(b"Error: ")
            assert b"\x1b" not in terminal.output
    done = subprocess.run(command, env=brokers.environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"Error: ")
    assert b"\x1b" not in done.stderr


def test_lines_fit_the_terminal_also_after_it_was_resized(brokers: Brokers) -> None:
    """A line is cut at the width that the terminal has when it is written."""
    command = [str(EXECUTABLE), "tail", "transactions"]
    with on_terminal(command, brokers.environment, columns=60) as terminal:
        terminal.read_until(WAITING)
        for number, columns in enumerate((60, 75, 50, 300), 1):
            terminal.resize(columns)
            brokers.write(topics.TRANSACTIONS, transaction(number))
            line = terminal.read_until(b"%d.50" % number).decode().rstrip("\r\n")
            assert len(line) == columns if columns < 300 else len(line) < columns
            assert line.endswith("…") is (columns < 300)
        assert NAME in line
        terminal.type(CTRL_C)
        assert terminal.end() == 130


def test_a_terminal_without_a_size_gets_whole_lines(brokers: Brokers) -> None:
    """As there are in containers: the width is said to be 0."""
    command = [str(EXECUTABLE), "tail", "transactions", "--offsets", "0:0", "--max", "1"]
    with on_terminal(command, brokers.environment, columns=0) as terminal:
        assert terminal.end() == 0
        assert NAME.encode() in terminal.output


@pytest.mark.parametrize("options", [(), ("--raw",), ("-o", "json"), ("-o", "csv")], ids=str)
def test_what_lies_in_a_topic_never_drives_the_terminal(brokers: Brokers, options: tuple[str, ...]) -> None:
    """No escape, carriage return or C1 character of a record reaches it; the terminal's own line ends do."""
    hostile = b"\x1b]0;title\x07\x1b[2J\r\x7f\xc2\x9b31m\xff"
    brokers.write(topics.PROCESSED, hostile, b'{"account_id":"\x1b[31m","a\\u001b":1}')
    command = [str(EXECUTABLE), "tail", "processed", "--last", "2", *options]
    with on_terminal(command, brokers.environment, columns=200) as terminal:
        assert terminal.end() == 0
        assert b"account_id" in terminal.output
        assert re.search(rb"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|\xc2[\x80-\x9f]", terminal.output) is None


@pytest.mark.parametrize("options", [("--raw",), ("-o", "json"), ("-o", "csv"), ("-o", "table")], ids=str)
def test_a_reader_that_leaves_ends_it_in_silence(brokers: Brokers, options: tuple[str, ...]) -> None:
    """As in `fraudctl tail … | head -1`: exit 0, also while it waits for records that do not come."""
    command = [str(EXECUTABLE), "tail", "flagged", "--from-beginning", "--where", "amount < 1", *options]
    with subprocess.Popen(command, env=brokers.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert os.read(process.stdout.fileno(), 65536)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_ctrl_c_says_how_to_go_on_and_that_can_be_pasted(brokers: Brokers) -> None:
    """Into a shell, however narrow the terminal; what came meanwhile is shown, nothing twice and nothing less."""
    topic = topics.DEAD_LETTERS
    brokers.write(topic, *(b'{"n":%d}' % number for number in range(1, 6)))
    where = ["--where", "n >= 3 and n != 4"]
    command = [str(EXECUTABLE), "tail", topic.alias, "--from-beginning", *where, "--fields", "n"]
    with on_terminal(command, brokers.environment, columns=40) as terminal:
        first = terminal.read_until(b"5")
        terminal.type(CTRL_C)
        assert terminal.end() == 130
        said = terminal.output[len(first) :].decode()
    assert first.split() == [b"n", b"3", b"5"]
    assert "Matched 2 of 6." in said
    (pasted,) = re.findall(r"Interrupted\. Go on with `(.*)`\.\r\n", said)
    assert shlex.split(pasted)[:4] == ["fraudctl", "tail", topic.alias, "--offsets"]
    brokers.write(topic, *(b'{"n":%d}' % number for number in range(6, 10)))
    done = subprocess.run(
        ["sh", "-c", f"{pasted} --max 4 -o json"],
        env=brokers.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == ['{"n":6}', '{"n":7}', '{"n":8}', '{"n":9}']
