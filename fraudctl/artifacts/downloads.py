"""The download cache: jars by pinned coordinates, each verified against its sha256, shared by every stack.

Only the bytes' hash is trusted, never the place they come from: neither jgo nor a mirror enforces one.
Layout: ``jars/<group>/<artifact>/<version>/<file>``.
"""

import errno
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from fraudctl.artifacts.fetcher import Fetcher, patient_session
from fraudctl.artifacts.pins import Artifact, Lock, distinct
from fraudctl.atomic import atomic_write
from fraudctl.errors import BadConfig, OperationFailed, TimedOut

if TYPE_CHECKING:
    from requests import Session

_VERIFIED: Final = "verified.json"
_WORKERS: Final = 4
_SPARE_BYTES: Final = 32 << 20
_LOCK_SECONDS: Final = 900.0
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the downloads of one call are, in bytes; `current` is the newest file's name.

    `total_bytes` is 0 while another process downloads and this one waits for it.
    """

    done_bytes: int
    total_bytes: int
    current: str


def repositories() -> list[str]:
    """Return the repositories' addresses as jgo knows them: its default, or those of ``~/.config/jgo.conf``.

    Raises `BadConfig` when that file cannot be read.
    """
    import configparser

    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext

    try:
        configured = GlobalSettings.load().repositories
    except (configparser.Error, OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"settings of jgo: {error}", hint="fix or remove ~/.config/jgo.conf") from error
    return [str(address) for address in MavenContext(remote_repos=configured or None).remote_repos.values()]


@dataclass(slots=True)
class Verified:
    """Path → size, modification time in nanoseconds and sha256 of every file whose hash was once computed."""

    folder: Path
    entries: dict[str, tuple[int, int, str]]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the index; one that is missing or damaged counts as empty, and everything is hashed again."""
        try:
            data = json.loads((folder / _VERIFIED).read_bytes())
            return cls(folder, {path: (int(size), int(mtime), str(sha)) for path, (size, mtime, sha) in data.items()})
        except (OSError, ValueError, TypeError, AttributeError):
            return cls(folder, {})

    def holds(self, artifact: Artifact) -> bool:
        """Return whether the file is there, unchanged since it was found to be the pinned one."""
        size, mtime, sha256 = self.entries.get(str(artifact.cache_path), (0, 0, ""))
        if sha256 != artifact.sha256:
            return False
        try:
            found = (self.folder / artifact.cache_path).stat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (size, mtime)

    def add(self, artifact: Artifact) -> None:
        """Note that the file is the pinned one now."""
        found = (self.folder / artifact.cache_path).stat()
        self.entries[str(artifact.cache_path)] = (found.st_size, found.st_mtime_ns, artifact.sha256)

    def drop(self, artifact: Artifact) -> None:
        """Forget a file that is not the pinned one."""
        self.entries.pop(str(artifact.cache_path), None)

    def save(self) -> None:
        """Replace the index by this one in one step."""
        atomic_write(self.folder / _VERIFIED, json.dumps(self.entries, indent=0, sort_keys=True).encode())


def sha256_of(path: Path) -> str:
    """Return the file's sha256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Downloads:
    """The pinned files below the folder `cache`. `session` and `addresses` replace the network's for tests."""

    def __init__(
        self,
        cache: Path,
        session: "Session | None" = None,
        *,
        addresses: Callable[[], list[str]] = repositories,
    ) -> None:
        """Store the collaborators; no I/O."""
        self._cache, self._session, self._addresses = cache, session, addresses
        self._jars = cache / "jars"

    def paths(self, lock: Lock) -> list[Path]:
        """Return where the files of a lock lie, in its order; does not look whether they are there."""
        return [self._jars / artifact.cache_path for artifact in lock.artifacts]

    def missing(self, locks: Iterable[Lock]) -> list[Artifact]:
        """Return what `ensure` would download or at least hash again; touches no network and writes nothing."""
        verified = Verified.load(self._jars)
        return [artifact for artifact in distinct(locks) if not verified.holds(artifact)]

    def ensure(self, locks: Iterable[Lock], progress: Callable[[Progress], None] = lambda _: None) -> list[Path]:
        """Return the files of all locks, each once, after downloading what is missing or damaged.

        A file is hashed once and then trusted for as long as its size and modification time stay.
        `progress` is called in this thread, several times a second, and only while something is downloaded or awaited.
        Raises `Unreachable` when a file is missing and no repository answers, `OperationFailed` when a file is wrong
        twice or the disk is full, `BadConfig` when the cache cannot be written, and `TimedOut` when another process
        holds the cache for 15 minutes.
        """
        wanted = distinct(locks)
        verified = Verified.load(self._jars)
        if not all(map(verified.holds, wanted)):
            with self._writing(), self._alone(progress):
                self._repair(wanted, progress)
        return [self._jars / artifact.cache_path for artifact in wanted]

    def _repair(self, wanted: list[Artifact], progress: Callable[[Progress], None]) -> None:
        verified = Verified.load(self._jars)  # another process may have changed it while this one waited
        absent = []
        for artifact in wanted:
            if verified.holds(artifact):
                continue
            path = self._jars / artifact.cache_path
            if path.is_file() and sha256_of(path) == artifact.sha256:
                verified.add(artifact)
            else:
                verified.drop(artifact)
                absent.append(artifact)
        try:
            if absent:
                self._download(absent, verified, progress)
        finally:
            verified.save()  # after Ctrl-C too: what is complete need not be hashed again

    def _download(self, absent: list[Artifact], verified: Verified, progress: Callable[[Progress], None]) -> None:
        total = sum(artifact.size for artifact in absent)
        free = shutil.disk_usage(self._jars).free
        if free < total + _SPARE_BYTES:
            raise self._full(f"{_megabytes(total + _SPARE_BYTES)} are needed, {_megabytes(free)} are free")
        partial = self._jars / ".partial"
        shutil.rmtree(partial, ignore_errors=True)  # left by a killed process: the cache's lock is ours
        partial.mkdir()
        fetcher = Fetcher(self._session or patient_session(_WORKERS), self._addresses(), partial)
        pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="download")
        try:
            # The largest first, so that the last one to end is small.
            futures = {
                pool.submit(fetcher.fetch, artifact, self._jars / artifact.cache_path): artifact
                for artifact in sorted(absent, key=lambda artifact: -artifact.size)
            }
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                    verified.add(futures[future])
                progress(Progress(min(fetcher.received, total), total, fetcher.current))
        finally:
            fetcher.stop()
            pool.shutdown(cancel_futures=True)
            shutil.rmtree(partial, ignore_errors=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            self._jars.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise self._full(error.strerror or "full") from error
            raise BadConfig(
                f"cache folder {self._cache}: {error.strerror or error}",
                hint="set FRAUDCTL_CACHE to a folder that you can write",
            ) from error

    @contextmanager
    def _alone(self, progress: Callable[[Progress], None]) -> Iterator[None]:
        from filelock import FileLock, Timeout

        lock = FileLock(self._cache / "downloads.lock")
        deadline = time.monotonic() + _LOCK_SECONDS
        wait = 0.0
        while not lock.is_locked:
            try:
                lock.acquire(timeout=wait)
            except Timeout as error:
                if time.monotonic() > deadline:
                    raise TimedOut(
                        f"cache folder {self._cache}: another fraudctl keeps downloading",
                        hint="end it, or set FRAUDCTL_CACHE to another folder",
                    ) from error
                progress(Progress(0, 0, "another fraudctl is downloading"))  # raises once the caller has gone
                wait = 0.2
        try:
            yield
        finally:
            lock.release()

    def _full(self, why: str) -> OperationFailed:
        return OperationFailed(
            f"cache folder {self._cache}: no disk space: {why}",
            hint="free some, or set FRAUDCTL_CACHE to a folder on another disk",
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
