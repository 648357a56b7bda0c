"""What a shell gets at a Tab, by the protocol that bash, zsh and fish speak with the program."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_tree import TREE, leaves
from confluent_kafka import Producer
from executable import EXECUTABLE
from lambda_tools import mock_brokers

from fraudctl.commands import completion
from fraudctl.local.known import LocalKnown
from fraudctl.local.processes.paths import StackPaths
from fraudctl.local.processes.state import StackState
from fraudctl.pipeline import topics
from fraudctl.services import record_fields

Complete = Callable[..., list[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with two stacks, whose brokers are not there."""
    for name in ("one", "two"):
        root = tmp_path / "stacks" / name
        (root / "logs").mkdir(parents=True)
        StackState(ports={"kafka": 1}, deployed=True).save(root / "stack.json")
        (root / "logs" / "kafka.log").touch()
        (root / "logs" / f"{name}.log").touch()
        (root / "logs" / "kafka.log.1").touch()
    (tmp_path / "stacks" / "gone.lock").touch()
    return tmp_path


@pytest.fixture
def tab(home: Path) -> Complete:
    """Press Tab behind these words in bash; fails when anything else than suggestions is written."""

    def press(*words: str, environment: dict[str, str] | None = None) -> list[str]:
        done = subprocess.run(
            [EXECUTABLE],
            env={
                **os.environ,
                "FRAUDCTL_HOME": str(home),
                "_FRAUDCTL_COMPLETE": "complete_bash",
                "COMP_WORDS": " ".join(("fraudctl", *words)),
                "COMP_CWORD": str(len(words)),
                **(environment or {}),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    return press


def test_names_of_things(tab: Complete) -> None:
    """Topics by their short names, or by the full ones; stacks, before or after the command; components; formats."""
    assert tab("topics", "describe", "") == ["transactions", "flagged", "processed", "dead-letters"]
    assert tab("topics", "describe", "demo") == ["demo_transactions"]
    assert tab("transactions", "send", "f", "--topic", "d") == ["dead-letters"]
    assert tab("--stack", "") == tab("logs", "--stack", "") == ["one", "two"]
    assert tab("--stack", "two", "logs", "") == ["kafka", "two"]
    assert tab("logs", "--stack", "one", "") == ["kafka", "one"]
    assert tab("topics", "list", "-o", "") == ["auto", "table", "json", "csv"]
    assert tab("--target", "a") == ["aws"]
    assert "--every" in tab("topics", "list", "--")


@pytest.mark.parametrize("words", [("logs", ""), ("audit", "query", ""), ("flag-accounts", "1")], ids=" ".join)
def test_silence_where_nothing_is_known(tab: Complete, words: tuple[str, ...]) -> None:
    """No such stack, no broker, a broken setting, another target: no suggestion, no word of it, exit 0."""
    assert tab("--stack", "nothing", *words) == []
    assert tab("--target", "aws", *words) == []
    assert tab(*words, environment={"FRAUDCTL_HOLD_MS": "x"}) == []
    assert tab("--stack", "Not-A-Name", *words) == []
    if words[0] != "logs":
        assert tab("--stack", "one", *words) == []


@pytest.mark.parametrize(
    ("shell", "environment", "expected"),
    [
        ("zsh", {"_TYPER_COMPLETE_ARGS": "fraudctl topics describe d"}, """_arguments '*: :(("dead-letters"))'\n"""),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "fraudctl logs "}, "_files\n"),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "fraudctl --stack o"}, """_arguments '*: :(("one"))'\n"""),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "fraudctl --stack one logs k"}, """_arguments '*: :(("kafka"))'\n"""),
        (
            "zsh",
            {"_TYPER_COMPLETE_ARGS": "fraudctl tail processed --fields amount,merch"},
            """_arguments '*: :(("amount,merchant_type"))'\n""",
        ),
        (
            "fish",
            {"_TYPER_COMPLETE_ARGS": "fraudctl --stack o", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
            "one\n",
        ),
        (
            "fish",
            {"_TYPER_COMPLETE_ARGS": "fraudctl --stack one logs k", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
            "kafka\n",
        ),
        (
            "fish",
            {
                "_TYPER_COMPLETE_ARGS": "fraudctl tail processed --fields amount,merch",
                "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            },
            "amount,merchant_type\n",
        ),
        (
            "fish",
            {"_TYPER_COMPLETE_ARGS": "fraudctl topics describe d", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
            "dead-letters\n",
        ),
    ],
    ids=str,
)
def test_other_shells(home: Path, shell: str, environment: dict[str, str], expected: str) -> None:
    """In their own words; where nothing is known, zsh goes on with files."""
    done = subprocess.run(
        [EXECUTABLE],
        env={**os.environ, "FRAUDCTL_HOME": str(home), "_FRAUDCTL_COMPLETE": f"complete_{shell}", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == (expected, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str) -> None:
    """The one that ``--install-completion`` puts where the shell finds it."""
    environment = {**os.environ, "_FRAUDCTL_COMPLETE": f"source_{shell}"}
    done = subprocess.run([EXECUTABLE], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert f"_FRAUDCTL_COMPLETE=complete_{shell}" in done.stdout


def loaded(words: str, **environment: str) -> tuple[list[str], set[str]]:
    """Press Tab behind these words in bash; give the suggestions, and the modules that were loaded for them."""
    script = (
        "import atexit, json, sys\n"
        "sys.argv = ['fraudctl']\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n"
        "from fraudctl.cli import app\n"
        "import fraudctl.local.known\n"
        "fraudctl.local.known._ASK_SECONDS = 30.0\n"  # the limit has its own test
        "app(prog_name='fraudctl')"
    )
    words = f"fraudctl {words}"
    protocol = {"_FRAUDCTL_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **protocol, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    *said, modules = done.stderr.splitlines()
    assert said == []
    return done.stdout.split(), set(json.loads(modules))


def test_a_tab_loads_nothing_that_it_does_not_need() -> None:
    """It has 150 ms: pydantic and rich, which Typer would load, take 100 of them."""
    suggestions, modules = loaded("topics d")
    assert suggestions == ["describe"]
    assert (
        modules & {"pydantic", "rich", "boto3", "confluent_kafka", "fraudctl.target", "fraudctl.services.topics"}
        == set()
    )
    # 220 when this was written; every further one costs a fraction of a millisecond.
    assert len(modules) < 240


def test_a_tab_for_an_account_loads_a_client_and_no_more(home: Path) -> None:
    """Of the client's package the binding alone, without asyncio, which takes 40 ms; of fraudctl the reader."""
    with mock_brokers() as broker:
        producer = Producer({"bootstrap.servers": broker})
        for number in range(3):
            producer.produce(topics.FLAGGED.name, b"{}", b"100000000%d" % number, partition=number)
        assert producer.flush(30) == 0
        known(home, int(broker.rpartition(":")[2]))
        suggestions, modules = loaded("--stack one audit query 1", FRAUDCTL_HOME=str(home))
    assert sorted(suggestions) == ["1000000000", "1000000001", "1000000002"]
    assert "confluent_kafka.cimpl" in modules
    assert modules & {"asyncio", "ssl", "boto3", "rich", "fraudctl.target", "fraudctl.services.reading"} == set()
    # 260 when this was written.
    assert len(modules) < 280


def known(home: Path, port: int) -> LocalKnown:
    """What is known of a stack whose Kafka has this port."""
    paths = StackPaths(home, "one", home)
    StackState(ports={"kafka": port}, deployed=True).save(paths.state)
    return LocalKnown(paths)


def test_accounts_are_those_that_were_flagged_newest_first(
    home: Path, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once; keys that are no accounts are left out."""
    monkeypatch.setattr("fraudctl.local.known._ASK_SECONDS", 30.0)  # the limit has its own test
    producer = Producer({"bootstrap.servers": broker})
    for key in ("1000000001", "1000000002", "junk", "1000000001"):
        producer.produce(topics.FLAGGED.name, b"{}", key, partition=0)
    assert producer.flush(30) == 0
    assert known(home, int(broker.rpartition(":")[2])).accounts() == ["1000000001", "1000000002"]


def test_reasons_are_those_of_flag_events_newest_first(
    home: Path, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once; what is no flag event, has none, or would drive a terminal is left out."""
    monkeypatch.setattr("fraudctl.local.known._ASK_SECONDS", 30.0)  # the limit has its own test
    producer = Producer({"bootstrap.servers": broker})
    for reason in ("mule", "stolen card", None, "\x1b[31m", 7, "mule"):
        producer.produce(topics.FLAGGED.name, json.dumps({"reason": reason}), b"1", partition=0)
    for value in (b"", b"[]", b"no JSON"):
        producer.produce(topics.FLAGGED.name, value, b"1", partition=0)
    assert producer.flush(30) == 0
    found = list(known(home, int(broker.rpartition(":")[2])).reasons())
    assert found == ["mule", "stolen card"]


def test_a_broker_that_hangs_is_not_waited_for(home: Path) -> None:
    """It accepts connections and says nothing; a hundred milliseconds are over soon."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = known(home, server.getsockname()[1])
        found.accounts()  # the library is loaded now
        begun = time.monotonic()
        assert found.accounts() == []
        assert time.monotonic() - begun < 2  # far from the ten seconds that a question may take otherwise


def context(**parameters: Any) -> Any:
    """A context of Typer's with a command's parameters, none of them global."""
    return SimpleNamespace(params=parameters, args=[], find_root=lambda: SimpleNamespace(params={}))


def test_columns_of_a_topic() -> None:
    """After each comma one more, none twice; nothing for a topic that does not exist."""
    every = list(record_fields.known(topics.PROCESSED.name))
    assert completion.fields(context(topic="processed"), "") == every
    assert completion.fields(context(topic="processed"), "key,offset,am") == ["key,offset,amount"]
    assert "key,key" not in completion.fields(context(topic="processed"), "key,")
    assert completion.account_fields(context(), "account_id,st") == ["account_id,state"]
    assert completion.fields(context(topic="nothing"), "") == completion.fields(context(), "") == []


def test_reasons_are_those_of_the_settings(tab: Complete) -> None:
    """With their blanks escaped in bash, which does not do that; none where any reason is allowed."""
    allowed = {"FRAUDCTL_REASONS": "mule,stolen card"}
    assert tab("flag-accounts", "7", "--reason", "", environment=allowed) == ["mule", "stolen\\", "card"]
    assert tab("flag-accounts", "7", "--reason", "st", environment=allowed) == ["stolen\\", "card"]
    assert tab("flag-accounts", "7", "--reason", "") == []


def test_what_names_something_can_be_completed() -> None:
    """A new command with a topic, an account, a component or a reason is noticed."""
    missing = [
        (name, parameter.name)
        for name, command in leaves(TREE)
        for parameter in command.params
        if parameter.name in {"topic", "account", "accounts", "component", "reason"}
        and parameter._custom_shell_complete is None
    ]
    assert missing == []
