"""The pages of a stack on AWS: Flink's by a signed address, Kafdrop by a forwarded port."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fraudctl.aws.resources.flink import AwsFlink
from fraudctl.errors import NotDeployed
from fraudctl.target import Outputs, Page

_PORT: Final = "9000"


@dataclass(frozen=True, slots=True)
class AwsPages:
    """Knows the pages; `arguments` are the AWS CLI's for this account and region."""

    application: AwsFlink
    outputs: Callable[[], Outputs]
    arguments: Callable[[], tuple[str, ...]]

    def flink(self) -> Page:
        """Return the signed address of Flink's own page; raises `Refused` while the application does not run."""
        return self.application.page()

    def topics(self) -> Page:
        """Return Kafdrop with the command that forwards its port to this machine; raises `NotDeployed` without one."""
        instance = self.outputs().extra.get("KafdropInstanceId")
        if not instance:
            raise NotDeployed(
                "Kafdrop: it is off in this stack",
                hint="run `fraudctl deploy --set KafdropEnabled=true`: $0.023 an hour",
            )
        parameters = json.dumps({"portNumber": [_PORT], "localPortNumber": [_PORT]}, separators=(",", ":"))
        command = (
            *("aws", "ssm", "start-session", "--target", instance),
            *("--document-name", "AWS-StartPortForwardingSession", "--parameters", parameters),
            *self.arguments(),
        )
        note = "The page is there while this runs, until Ctrl-C:"
        return Page(f"http://127.0.0.1:{_PORT}", note, command, ("aws", "session-manager-plugin"))
