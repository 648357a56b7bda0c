"""Where a local stack keeps what: one folder per stack, the control socket apart because its path must be short."""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fraudctl.atomic import private_folder

# The stack's children carry their stack's folder in this variable: that is how orphans are found.
MARK: Final = "FRAUDCTL_STACK_FOLDER"


def hosts_file(root: Path) -> Path:
    """Return the hosts file of the JVMs of the stack in `root`, written at each start of a program."""
    return root / "run" / "hosts"


@dataclass(frozen=True, slots=True)
class FlinkFolders:
    """Where the application's state lies; a file `fresh` asks the launcher to start without any.

    `unread` says, while it exists, which records were deleted unread and keep the application from starting;
    `topic_ids` has the ids of the topics that it was started with, `begun` where it began when it had no state.
    """

    checkpoints: Path
    savepoints: Path
    attempts: Path
    layout: Path
    fresh: Path
    unread: Path
    topic_ids: Path
    begun: Path


@dataclass(frozen=True, slots=True)
class StackPaths:
    """The folders and files of one stack. `runtime` is a folder with a short path, for the socket."""

    home: Path
    stack: str
    runtime: Path

    @property
    def root(self) -> Path:
        """The stack's own folder."""
        return self.home / "stacks" / self.stack

    @property
    def lock(self) -> Path:
        """The lock; beside the folder, so that teardown can remove the folder while holding it."""
        return self.home / "stacks" / f"{self.stack}.lock"

    @property
    def config(self) -> Path:
        """Generated configuration; rewritten by every deploy."""
        return self.root / "config"

    @property
    def data(self) -> Path:
        """What must survive: topics, rows, checkpoints."""
        return self.root / "data"

    @property
    def logs(self) -> Path:
        """One log file per component."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Temporary files and the supervisor's pid."""
        return self.root / "run"

    @property
    def state(self) -> Path:
        """Ports and what was deployed."""
        return self.root / "stack.json"

    @property
    def socket(self) -> Path:
        """The supervisor's control socket: a path over about 104 bytes cannot be bound."""
        digest = hashlib.sha256(str(self.root).encode()).hexdigest()[:12]
        return self.runtime / f"{digest}.sock"

    @property
    def flink(self) -> FlinkFolders:
        """What the Flink application keeps."""
        data = self.data / "flink"
        return FlinkFolders(
            checkpoints=data / "checkpoints",
            savepoints=data / "savepoints",
            attempts=data / "attempts.json",
            layout=data / "layout.json",
            fresh=data / "fresh",
            unread=data / "unread",
            topic_ids=data / "topic_ids.json",
            begun=data / "begun.json",
        )

    @property
    def schedule(self) -> Path:
        """The file in which the function runner keeps whether sample transactions flow."""
        return self.data / "lambda" / "schedule.json"

    @property
    def event_source_mapping(self) -> Path:
        """The file in which the event source mapping keeps what it has to know beyond its group's offsets."""
        return self.schedule.with_name("event_source_mapping.json")

    @property
    def on_failure(self) -> Path:
        """The on-failure destination of the event source mapping."""
        return self.data / "on-failure"

    @property
    def answered(self) -> Path:
        """What the watchdog has seen answer, a pid a program; the file's time is that of its last turn."""
        return self.run / "answered.json"

    @property
    def lost(self) -> Path:
        """The records that somebody accepted as lost, one JSON object a line."""
        return self.data / "lost.jsonl"

    @property
    def flink_spec(self) -> Path:
        """What the launcher of the Flink application is told."""
        return self.config / "flink_launcher.json"

    def temporary(self, program: str) -> Path:
        """Return a program's folder for temporary files, emptied at each start."""
        return self.run / "tmp" / program

    def log(self, component: str) -> Path:
        """Return a component's log file."""
        return self.logs / f"{component}.log"

    def stopped_marker(self, program: str) -> Path:
        """Return the file whose existence means: stopped on purpose, a repair leaves it so."""
        return self.data / f"{program}.stopped"

    def free_bytes(self) -> int:
        """Return the free space of the disk with the stack's data."""
        return shutil.disk_usage(self.root).free

    def make_folders(self) -> None:
        """Create the stack's folders, for the user alone, as is all that lies there already. Raises OSError."""
        for folder in (self.config, self.data, self.logs, self.run / "tmp"):
            private_folder(folder)
        self._close_to_others()
        self.runtime.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.runtime.stat().st_uid != os.getuid():
            raise PermissionError(errno.EPERM, "belongs to another user", str(self.runtime))

    def _close_to_others(self) -> None:
        """Take from what an earlier version or another umask left there the rights of group and others."""
        self.root.chmod(0o700)
        for path in self._contents():
            with suppress(FileNotFoundError):  # a running program removed it
                mode = path.lstat().st_mode
                if mode & 0o077 and not stat.S_ISLNK(mode):
                    path.chmod(stat.S_IMODE(mode) & ~0o077)

    def _contents(self) -> Iterator[Path]:
        for folder, folders, files in os.walk(self.root):
            yield from (Path(folder, name) for name in (*folders, *files))
