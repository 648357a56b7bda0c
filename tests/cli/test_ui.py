"""The pages: their addresses, the program that one needs, and what is missing."""

import json

import pytest
from conftest import Run
from fakes import FakePages, FakeTarget

from fraudctl.aws.pages import AwsPages
from fraudctl.errors import BadConfig, NotDeployed, OperationFailed, Unreachable
from fraudctl.local.pages import LocalPages
from fraudctl.services import programs
from fraudctl.target import FlinkStatus, Outputs


def outputs(**extra: str) -> Outputs:
    """Return a stack's outputs."""
    return Outputs("s", "aws", "b:9098", "s-audit", "s-detection", 1, 1, extra)


def test_a_page_that_is_there(run: Run) -> None:
    """Its address is the data; what to know of it is said beside."""
    done = run(FakeTarget(), "ui", "flink")
    assert (done.code, done.out, done.err) == (0, "http://127.0.0.1:1/flink\n", "Open it soon.\n")
    assert json.loads(run(FakeTarget(), "ui", "flink", output="json").out)["address"] == "http://127.0.0.1:1/flink"


def test_a_page_that_needs_a_program(run: Run) -> None:
    """The command is shown before it runs, also where it cannot run."""
    assert run(FakeTarget(), "ui", "topics").err == "true\n"
    done = run(FakeTarget(pages=FakePages(("aws", "ssm x"), ("no-such-program",))), "ui", "topics")
    assert done.code == 4
    assert done.err.startswith("aws 'ssm x'\n")
    assert "no-such-program: not installed here" in done.err


def test_a_program_that_fails_is_an_error() -> None:
    """Its own message is on the terminal by then."""
    with pytest.raises(OperationFailed, match="exit code 3"):
        programs.run(("aws", "x"), which=lambda _: "/bin/aws", call=lambda _: 3)
    with pytest.raises(Unreachable, match="aws and plugin: not installed"):
        programs.run(("aws", "x"), ("aws", "plugin"), which=lambda _: None, call=lambda _: 0)


def test_kafdrop_is_reached_by_a_forwarded_port() -> None:
    """The whole command, with account and region; a stack without it says how to get it."""

    def pages(found: Outputs) -> AwsPages:
        return AwsPages(None, lambda: found, lambda: ("--region", "eu-west-1", "--profile", "p"))  # type: ignore[arg-type]

    page = pages(outputs(KafdropInstanceId="i-1")).topics()
    assert page.address == "http://127.0.0.1:9000"
    assert page.command == (
        *("aws", "ssm", "start-session", "--target", "i-1", "--document-name", "AWS-StartPortForwardingSession"),
        *("--parameters", '{"portNumber":["9000"],"localPortNumber":["9000"]}'),
        *("--region", "eu-west-1", "--profile", "p"),
    )
    assert page.programs == ("aws", "session-manager-plugin")
    with pytest.raises(NotDeployed, match="it is off in this stack") as caught:
        pages(outputs()).topics()
    assert "--set KafdropEnabled=true" in str(caught.value.hint)


def test_the_local_pages() -> None:
    """Flink's own while it runs; none over the topics."""
    assert (
        LocalPages(lambda: FlinkStatus("RUNNING", web_ui="http://127.0.0.1:1")).flink().address == "http://127.0.0.1:1"
    )
    with pytest.raises(Unreachable, match="only while it runs"):
        LocalPages(lambda: FlinkStatus("STOPPED")).flink()
    with pytest.raises(BadConfig, match="none on the local target") as caught:
        LocalPages(lambda: FlinkStatus("STOPPED")).topics()
    assert "fraudctl topics list --watch" in str(caught.value.hint)
