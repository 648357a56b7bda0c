"""The pages of a local stack: Flink has one of its own."""

from collections.abc import Callable
from dataclasses import dataclass

from fraudctl.errors import BadConfig, Unreachable
from fraudctl.target import FlinkStatus, Page


@dataclass(frozen=True, slots=True)
class LocalPages:
    """Knows the pages; `flink_status` asks the application."""

    flink_status: Callable[[], FlinkStatus]

    def flink(self) -> Page:
        """Return the address of Flink's own page; raises `Unreachable` while the application does not run."""
        found = self.flink_status()
        if found.web_ui is None:
            raise Unreachable(
                f"flink: the application is {found.state}, and has a page only while it runs",
                hint="run `fraudctl flink start`",
            )
        return Page(found.web_ui)

    def topics(self) -> Page:
        """Refuse: Kafdrop would be a container, and nothing here needs one."""
        raise BadConfig(
            "page over the topics: there is none on the local target",
            hint="`fraudctl topics list --watch` and `fraudctl tail` show the same",
        )
